/* What every part of the benchmark knows: a job (one side of one measurement), the systems that can do it,
 * and the few helpers that both sides share. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "die.h"

enum bench_kind {
    BENCH_KIND_THROUGHPUT, /* entries one way, for a time, until the last one is counted */
    BENCH_KIND_ROUND_TRIP, /* one entry in flight */
    BENCH_KIND_REPLICATE,  /* the time of one sender_replicate call */
    BENCH_KIND_MEMORY,     /* resident memory of a writer with many readers */
    BENCH_KIND_APPEND,     /* entries appended to a disk by several threads, nobody reads */
    BENCH_KIND_CATCH_UP,   /* a log that is there already to a reader that has nothing */
    BENCH_KIND_REOPEN,     /* opening a log */
    BENCH_KIND_TRIM,       /* entries appended while old segments go, nobody reads */
    BENCH_KIND_COUNT
};

enum bench_role { BENCH_ROLE_WRITER, BENCH_ROLE_READER };

/* One side of one measurement. The driver passes it to a child process as arguments. */
struct bench_job {
    enum bench_role role;
    enum bench_kind kind;
    const struct bench_system *system;
    const char *variant; /* how to use the system; each system knows its own */
    size_t size;         /* payload bytes of an entry */
    unsigned readers;
    double seconds;
    uint16_t port;           /* where the writer listens; readers only */
    uint64_t buffer_entries; /* libreplication's buffer; 0 = the library's default */
    uint64_t buffer_bytes;
    const char *dir;    /* a directory of its own, for files; "" where the kind needs none */
    uint64_t wal_bytes; /* payload bytes in a log that is there already */
};

/* A way to bring entries from one process to another. Both functions run in a process of their own, talk to the
 * driver over standard input and output (see control.h), and end the process through bench_fail when they cannot go
 * on. */
struct bench_system {
    const char *name;
    const char *title;
    void (*writer)(const struct bench_job *job);
    void (*reader)(const struct bench_job *job);
};

extern const struct bench_system bench_system_replication;
extern const struct bench_system bench_system_tcp;
extern const struct bench_system bench_system_zmq;
extern const struct bench_system bench_system_nng;
extern const struct bench_system bench_system_disk;
extern const struct bench_system bench_system_sqlite;
extern const struct bench_system bench_system_rocksdb;

const struct bench_system *bench_system_find(const char *name);
const char *bench_kind_name(enum bench_kind kind);
bool bench_kind_find(const char *name, enum bench_kind *out);

/* The reader where nobody reads. */
void bench_read_nothing(const struct bench_job *job);

/* An entry of this size ends a stream; it carries the number of entries before it, so that each reader can check
 * for itself that none is missing. No measured entry may have this size, nor that of the greeting. */
#define BENCH_END_SIZE 8u
/* The first message of a stream: a reader that has it is connected, and so is the writer that sent it. */
#define BENCH_HELLO_SIZE 1u
#define BENCH_MIN_SIZE 16u

/* A writer looks at the clock once in this many entries: about every 64 KiB. */
static inline uint64_t bench_entries_per_clock(size_t size)
{
    uint64_t entries = (64u << 10) / size;
    return entries > 0 ? entries : 1;
}

/* What one reader has counted. On its own cache line: eight readers count in eight threads. */
struct bench_counter {
    _Alignas(64) uint64_t entries;
    uint64_t bytes;
    uint64_t end_ns;
};

/* Counts one message; true when it was the end. Ends the process when the stream was not whole. */
bool bench_count(struct bench_counter *counter, const void *data, size_t len);
/* Tells the driver what all readers counted together, and when the last of them had everything. */
void bench_report_counters(const struct bench_counter *counters, unsigned count);

#endif
