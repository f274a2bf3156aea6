/* Runs the cases: one measurement = one writer process and one reader process. */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include "cases.h"
#include "ping.h"

#define RUN_MAX_ROUNDS 99

struct run_options {
    unsigned rounds;
    double seconds;
    uint64_t buffer_entries;
    uint64_t buffer_bytes;
    uint64_t wal_bytes;    /* 0: what the case says */
    unsigned system_count; /* 0: all */
    const struct bench_system *systems[8];
};

/* What a contender has reached in the rounds that it finished. */
struct samples {
    bool took_part;
    unsigned failures;
    unsigned count;
    double values[METRIC_COUNT][RUN_MAX_ROUNDS];
    enum ping_class classes[RUN_MAX_ROUNDS];
    double pings_ns[RUN_MAX_ROUNDS]; /* the higher one of those before and after */
};

struct summary {
    unsigned count;
    double median;
    double min;
    double max;
};

/* All rounds of a case, the contenders in turn in each round. A contender that breaks is left out from then on.
 * False when none of the chosen systems takes part. */
bool run_case(const struct bench_case *which, const struct run_options *options, struct samples *samples);
/* Of the rounds in one class alone: near and far ones are not compared. */
struct summary samples_summary(const struct samples *samples, enum ping_class in, enum metric metric);

#endif
