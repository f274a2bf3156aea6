/* One side of the comparison: the same program, once in C over replication.h and once in C++ over replication.hpp. */
#ifndef REPLICATION_CPP_BENCH_SIDE_H
#define REPLICATION_CPP_BENCH_SIDE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { ENTRY_BYTES = 256, BATCH_ENTRIES = 1024, PATIENCE_MS = 30000 };

struct job {
    uint64_t entries;
    bool stamped; /* each entry gets the present time; otherwise all get the same one */
    bool batch;   /* the batch handler; otherwise one call for each entry */
};

/* A sender and a receiver in this process, over loopback TCP: the nanoseconds from the first entry until the handler has
 * counted the last. What goes wrong ends the process. */
uint64_t run_c(const struct job *job);
uint64_t run_cpp(const struct job *job);

/* The monotonic clock. */
uint64_t now_ns(void);

#ifdef __cplusplus
}
#endif

#endif
