/* RocksDB's write-ahead log: a Put with sync=true returns when the log is synced; concurrent ones share a sync. */
#include <rocksdb/c.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "append.h"
#include "bench.h"

struct log {
    rocksdb_t *db;
    rocksdb_writeoptions_t *options;
    struct {
        _Alignas(64) uint64_t next;
    } threads[APPEND_THREADS];
};

static void check(const char *error, const char *what)
{
    if (error != NULL) {
        bench_fail("%s: %s", what, error);
    }
}

static void append(void *context, unsigned thread, const void *payload, size_t size)
{
    struct log *log = context;
    char *error = NULL;
    /* Rising keys, as sequences are. */
    uint64_t key = __builtin_bswap64(log->threads[thread].next++ * APPEND_THREADS + thread);
    rocksdb_put(log->db, log->options, (const char *)&key, sizeof key, payload, size, &error);
    check(error, "rocksdb_put");
}

static void writer(const struct bench_job *job)
{
    static struct log log;
    char path[4096];
    char *error = NULL;
    snprintf(path, sizeof path, "%s/rocksdb", job->dir);
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    log.db = rocksdb_open(options, path, &error);
    check(error, "rocksdb_open");
    log.options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(log.options, 1);
    append_run(job, APPEND_THREADS, append, &log);
    rocksdb_close(log.db);
    rocksdb_writeoptions_destroy(log.options);
    rocksdb_options_destroy(options);
}

const struct bench_system bench_system_rocksdb = {"rocksdb", "RocksDB", writer, bench_read_nothing};
