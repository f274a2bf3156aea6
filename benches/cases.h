/* What is measured: the cases, who takes part in each, and what libreplication must reach. */
#ifndef BENCH_CASES_H
#define BENCH_CASES_H

#include "bench.h"

enum metric {
    METRIC_ENTRIES, /* a second, over all readers */
    METRIC_BYTES,   /* payload bytes a second, over all readers */
    METRIC_P50,
    METRIC_P99,
    METRIC_P999,
    METRIC_MAX,
    METRIC_CLOCK, /* what the clock itself adds to every span; it is in the other numbers */
    METRIC_RSS_BASE,
    METRIC_RSS_IDLE,
    METRIC_RSS_STREAMING,
    METRIC_RSS_PEAK,
    METRIC_OPEN, /* the whole of sender_new */
    METRIC_TAIL, /* the same for a log that is the last segment alone */
    METRIC_REST, /* the difference */
    METRIC_SEGMENTS,
    METRIC_COUNT
};

enum metric_unit { METRIC_UNIT_ENTRIES, METRIC_UNIT_RATE, METRIC_UNIT_NS, METRIC_UNIT_BYTES, METRIC_UNIT_COUNT };

struct metric_info {
    const char *name; /* in JSON */
    const char *title;
    enum metric_unit unit;
};

#define CASE_MAX_CONTENDERS 8
#define CASE_MAX_TARGETS 2

struct contender {
    const struct bench_system *system;
    const char *variant;
    const char *title;
    bool alone; /* takes part without a reader */
};

/* About the case's first contender. */
struct target {
    enum metric metric;
    bool at_least;                        /* else at most */
    double value;                         /* a factor of the reference, or absolute without one */
    const struct bench_system *reference; /* its best variant counts */
    const char *variant;                  /* only this variant of the reference counts */
    const struct bench_system *plus;      /* this one's best is added to the reference's */
    const char *title;
};

struct bench_case {
    const char *name;
    const char *title;
    enum bench_kind kind;
    size_t size;
    unsigned readers;
    uint64_t wal_bytes;                      /* of a log that is there already, unless the options say otherwise */
    const struct contender *contenders;      /* up to the first without a system; CASE_MAX_CONTENDERS at most */
    struct target targets[CASE_MAX_TARGETS]; /* up to the first without a title */
};

extern const struct bench_case bench_cases[];
extern const unsigned bench_case_count;
extern const struct metric_info bench_metrics[METRIC_COUNT];

/* Those that a kind of measurement yields, up to METRIC_COUNT. */
const enum metric *bench_kind_metrics(enum bench_kind kind);
/* Whether the next round finds the files of this one. */
bool bench_kind_keeps_files(enum bench_kind kind);
/* For choosing the better variant. */
bool metric_more_is_better(enum metric metric);

#endif
