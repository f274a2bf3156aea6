/* Counts of values in buckets whose width is at most 1/64 of the value: constant memory, a few instructions a value. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_SUB (1u << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUB)

struct histogram {
    uint64_t count;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

struct histogram *histogram_new(void);
void histogram_free(struct histogram *histogram);
/* Adds all values of another one. */
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The highest value of the bucket in which the percentile falls, so that a limit is never met by rounding. */
uint64_t histogram_percentile(const struct histogram *histogram, double percentile);
/* Tells the driver count, p50, p99, p99.9 and the maximum, all in nanoseconds, as the fields of a result line. */
void histogram_report(const struct histogram *histogram, double ns_per_tick, uint64_t overhead_ticks);

static inline unsigned histogram_bucket(uint64_t value)
{
    if (value < HISTOGRAM_SUB) {
        return (unsigned)value;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return (shift + 1) * HISTOGRAM_SUB + (unsigned)((value >> shift) - HISTOGRAM_SUB);
}

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->buckets[histogram_bucket(value)]++;
    histogram->count++;
    if (value > histogram->max) {
        histogram->max = value;
    }
}

#endif
