#include "append.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "control.h"
#include "histogram.h"

struct appender {
    pthread_t thread;
    const struct bench_job *job;
    unsigned number;
    append_fn append;
    void *context;
    uint64_t deadline_ns;
    struct histogram *histogram;
};

static void *run(void *argument)
{
    struct appender *appender = argument;
    uint8_t *payload = bench_alloc(appender->job->size);
    uint64_t end_ns = clock_now_ns();
    while (end_ns < appender->deadline_ns) {
        uint64_t begin_ns = end_ns;
        appender->append(appender->context, appender->number, payload, appender->job->size);
        end_ns = clock_now_ns();
        histogram_add(appender->histogram, end_ns - begin_ns);
    }
    free(payload);
    return NULL;
}

void append_run(const struct bench_job *job, unsigned threads, append_fn append, void *context)
{
    struct appender appenders[APPEND_THREADS] = {0};
    struct histogram *all = histogram_new();
    for (unsigned i = 0; i < threads; i++) {
        appenders[i].histogram = histogram_new();
    }
    control_say("port 0");
    control_say("ready");
    control_expect("go");
    uint64_t begin_ns = clock_now_ns();
    for (unsigned i = 0; i < threads; i++) {
        struct appender *appender = &appenders[i];
        appender->job = job;
        appender->number = i;
        appender->append = append;
        appender->context = context;
        appender->deadline_ns = begin_ns + (uint64_t)(job->seconds * 1e9);
        int error = pthread_create(&appender->thread, NULL, run, appender);
        if (error != 0) {
            bench_fail("pthread_create: %s", strerror(error));
        }
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(appenders[i].thread, NULL);
    }
    double seconds = (double)(clock_now_ns() - begin_ns) / 1e9;
    for (unsigned i = 0; i < threads; i++) {
        histogram_merge(all, appenders[i].histogram);
        histogram_free(appenders[i].histogram);
    }
    control_say("result entries_per_s=%.1f p50_ns=%.1f p99_ns=%.1f p999_ns=%.1f max_ns=%.1f",
                (double)all->count / seconds, (double)histogram_percentile(all, 50.0),
                (double)histogram_percentile(all, 99.0), (double)histogram_percentile(all, 99.9), (double)all->max);
    histogram_free(all);
    control_expect("quit");
}
