#include "clock.h"

#include "histogram.h"

double clock_calibrate(void)
{
    uint64_t begin_ns = clock_now_ns();
    uint64_t begin = clock_ticks_begin();
    uint64_t end_ns = begin_ns;
    while (end_ns - begin_ns < 50000000) {
        end_ns = clock_now_ns();
    }
    uint64_t ticks = clock_ticks_end() - begin;
    return (double)(end_ns - begin_ns) / (double)ticks;
}

uint64_t clock_overhead_ticks(void)
{
    struct histogram *histogram = histogram_new();
    for (int i = 0; i < 100000; i++) {
        uint64_t begin = clock_ticks_begin();
        histogram_add(histogram, clock_ticks_end() - begin);
    }
    uint64_t median = histogram_percentile(histogram, 50.0);
    histogram_free(histogram);
    return median;
}
