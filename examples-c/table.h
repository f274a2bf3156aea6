/* What the demo knows about its processes, and the table that shows it. */
#ifndef EXAMPLES_TABLE_H
#define EXAMPLES_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "process.h"

enum { READERS = 2, MEMBERS = 1 + READERS };

/* A process and its last report. */
struct member {
    struct process process;
    char database[512];
    char wal_dir[512];     /* its log on disk */
    bool may_end;          /* it was asked to stop, so its end is not a failure */
    uint64_t sequence;     /* its last entry */
    uint64_t timestamp_us; /* when the writer made that entry */
    uint64_t entries;      /* by this process since its start */
    double latency_ms;     /* of that entry, from the writer's clock to the reader's commit */
    int64_t lag;           /* entries that the writer reported and the reader has not stored; -1 if unknown */
    double rate;           /* entries per second, between the last two measurements */
    uint64_t measured_us;
    uint64_t measured_entries;
};

struct table {
    const struct member *members; /* MEMBERS of them, the writer first */
    uint64_t begin_us;
    uint64_t drawn_us;
    bool terminal; /* redraw in place; otherwise print plain lines */
    bool stands;   /* the cursor is below a table that may be overwritten */
    char phase[160];
};

double table_seconds(const struct table *table);

/* Redraws the table if it is due. */
void table_show(struct table *table);

/* Announces the next step of the demo. */
void table_begin_phase(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
