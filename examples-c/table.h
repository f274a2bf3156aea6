/* What the demo knows of its processes, and the table it shows them in. */
#ifndef EXAMPLES_TABLE_H
#define EXAMPLES_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "process.h"

enum { READERS = 2, MEMBERS = 1 + READERS };

/* A process, and what it said last of itself. */
struct member {
    struct process process;
    char database[512];
    char wal_dir[512];     /* its log on disk */
    bool may_end;          /* asked to end, so that its end is no failure */
    uint64_t sequence;     /* its last entry */
    uint64_t timestamp_us; /* when the writer made that entry */
    uint64_t entries;      /* by this process, since it was started */
    double latency_ms;     /* from the writer's clock to the reader's commit, of that entry */
    int64_t lag;           /* entries that the writer has told of and the reader has not stored; -1 unknown */
    double rate;           /* entries per second, between the last two measurements */
    uint64_t measured_us;
    uint64_t measured_entries;
};

struct table {
    const struct member *members; /* MEMBERS of them, the writer first */
    uint64_t begin_us;
    uint64_t drawn_us;
    bool terminal; /* drawn in place; else plain lines */
    bool stands;   /* the cursor is below a table that may be drawn over */
    char phase[160];
};

double table_seconds(const struct table *table);

/* Draws it again, if it is time to. */
void table_show(struct table *table);

/* Begins a new part of the story. */
void table_begin_phase(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
