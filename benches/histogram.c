#include "histogram.h"

#include <stdlib.h>

#include "control.h"
#include "die.h"

struct histogram *histogram_new(void)
{
    return bench_alloc(sizeof(struct histogram));
}

void histogram_free(struct histogram *histogram)
{
    free(histogram);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        into->buckets[i] += from->buckets[i];
    }
    into->count += from->count;
    if (from->max > into->max) {
        into->max = from->max;
    }
}

static uint64_t bucket_top(unsigned bucket)
{
    if (bucket < HISTOGRAM_SUB) {
        return bucket;
    }
    unsigned shift = bucket / HISTOGRAM_SUB - 1;
    uint64_t low = (uint64_t)(HISTOGRAM_SUB + bucket % HISTOGRAM_SUB) << shift;
    return low + ((UINT64_C(1) << shift) - 1);
}

uint64_t histogram_percentile(const struct histogram *histogram, double percentile)
{
    double rank = (double)histogram->count * percentile / 100.0;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= rank) {
            uint64_t top = bucket_top(i);
            return top < histogram->max ? top : histogram->max;
        }
    }
    return histogram->max;
}

void histogram_report(const struct histogram *histogram, double ns_per_tick, uint64_t overhead_ticks)
{
    control_say("result count=%llu p50_ns=%.1f p99_ns=%.1f p999_ns=%.1f max_ns=%.1f clock_ns=%.1f",
                (unsigned long long)histogram->count, (double)histogram_percentile(histogram, 50.0) * ns_per_tick,
                (double)histogram_percentile(histogram, 99.0) * ns_per_tick,
                (double)histogram_percentile(histogram, 99.9) * ns_per_tick, (double)histogram->max * ns_per_tick,
                (double)overhead_ticks * ns_per_tick);
}
