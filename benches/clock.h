/* Time: the monotonic clock, which all processes of a machine share, and a cheap tick counter for short spans. */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* clock_ticks_begin and clock_ticks_end bracket the measured code: nothing of it moves out, nothing else moves in. */
#if defined(__x86_64__)
#include <x86intrin.h>
#define CLOCK_TICKS_NAME "rdtscp"
static inline uint64_t clock_ticks_begin(void)
{
    _mm_lfence();
    uint64_t ticks = __rdtsc();
    _mm_lfence();
    return ticks;
}
static inline uint64_t clock_ticks_end(void)
{
    unsigned processor;
    uint64_t ticks = __rdtscp(&processor);
    _mm_lfence();
    return ticks;
}
#else
#define CLOCK_TICKS_NAME "clock_gettime"
static inline uint64_t clock_ticks_begin(void)
{
    return clock_now_ns();
}
static inline uint64_t clock_ticks_end(void)
{
    return clock_now_ns();
}
#endif

/* Nanoseconds in a tick, measured against the monotonic clock over about 50 ms. */
double clock_calibrate(void);
/* What an empty pair of begin and end measures (median): the clock's own part of every measured span. */
uint64_t clock_overhead_ticks(void);

#endif
