/* This machine's counters, as the kernel tells them in /proc. */
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
    char *text; /* what was read last */
    size_t text_capacity;
};

/* Opens the files. Those that this system does not have are left out with a line on stderr; false when all are missing. */
bool counters_open(struct counters *counters);

/* Takes a new sample into items[0 .. count]; false, with a line on stderr, when reading fails. */
bool counters_sample(struct counters *counters);

void counters_close(struct counters *counters);

#endif
