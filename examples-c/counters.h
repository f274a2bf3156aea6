/* This machine's counters, as the kernel reports them in /proc. */
#ifndef EXAMPLES_COUNTERS_H
#define EXAMPLES_COUNTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { COUNTER_NAME_BYTES = 40, COUNTER_FILES = 4 };

struct counter {
    const char *source;              /* "cpu", "memory", "network" or "disk" */
    char name[COUNTER_NAME_BYTES];   /* which one: "cpu0", "eth0", "sda"; printable ASCII */
    char metric[COUNTER_NAME_BYTES]; /* what of it: "user", "receive_bytes"; printable ASCII */
    uint64_t value;
};

struct counters {
    struct counter *items;
    size_t count;
    size_t capacity;
    int descriptors[COUNTER_FILES];
    char *text; /* the text that was read last */
    size_t text_capacity;
};

/* Opens the files. Files that this system lacks are reported on stderr and skipped. Returns false if all are missing. */
bool counters_open(struct counters *counters);

/* Reads a new sample into items[0..count]. Returns false, after a line on stderr, if reading fails. */
bool counters_sample(struct counters *counters);

void counters_close(struct counters *counters);

#endif
