#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "control.h"

static const struct bench_system *const systems[] = {
    &bench_system_replication, &bench_system_tcp,    &bench_system_zmq,     &bench_system_nng,
    &bench_system_disk,        &bench_system_sqlite, &bench_system_rocksdb,
};

static const char *const kind_names[BENCH_KIND_COUNT] = {
    [BENCH_KIND_THROUGHPUT] = "throughput", [BENCH_KIND_ROUND_TRIP] = "round-trip",
    [BENCH_KIND_REPLICATE] = "replicate",   [BENCH_KIND_MEMORY] = "memory",
    [BENCH_KIND_APPEND] = "append",         [BENCH_KIND_CATCH_UP] = "catch-up",
    [BENCH_KIND_REOPEN] = "reopen",         [BENCH_KIND_TRIM] = "trim",
};

const struct bench_system *bench_system_find(const char *name)
{
    for (size_t i = 0; i < sizeof systems / sizeof systems[0]; i++) {
        if (strcmp(systems[i]->name, name) == 0) {
            return systems[i];
        }
    }
    return NULL;
}

const char *bench_kind_name(enum bench_kind kind)
{
    return kind_names[kind];
}

bool bench_kind_find(const char *name, enum bench_kind *out)
{
    for (int i = 0; i < BENCH_KIND_COUNT; i++) {
        if (strcmp(kind_names[i], name) == 0) {
            *out = (enum bench_kind)i;
            return true;
        }
    }
    return false;
}

void bench_read_nothing(const struct bench_job *job)
{
    (void)job;
    control_say("ready");
    control_say("result");
    control_expect("quit");
}

bool bench_count(struct bench_counter *counter, const void *data, size_t len)
{
    if (len == BENCH_END_SIZE) {
        uint64_t expected;
        memcpy(&expected, data, sizeof expected);
        counter->end_ns = clock_now_ns();
        if (counter->entries != expected) {
            bench_fail("counted %llu entries of %llu", (unsigned long long)counter->entries,
                       (unsigned long long)expected);
        }
        return true;
    }
    if (len != BENCH_HELLO_SIZE) {
        counter->entries++;
        counter->bytes += len;
    }
    return false;
}

void bench_report_counters(const struct bench_counter *counters, unsigned count)
{
    struct bench_counter total = {0};
    for (unsigned i = 0; i < count; i++) {
        total.entries += counters[i].entries;
        total.bytes += counters[i].bytes;
        if (counters[i].end_ns > total.end_ns) {
            total.end_ns = counters[i].end_ns;
        }
    }
    control_say("result entries=%llu bytes=%llu end_ns=%llu", (unsigned long long)total.entries,
                (unsigned long long)total.bytes, (unsigned long long)total.end_ns);
}
