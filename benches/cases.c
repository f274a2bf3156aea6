#include "cases.h"

#define KIB (1u << 10)
#define MIB (1u << 20)

/* Each list ends with one that has no system. */
static const struct contender one_reader[] = {
    {&bench_system_replication, "single", "libreplication", false},
    {&bench_system_replication, "batch", "libreplication, batch handler", false},
    {&bench_system_tcp, "", "raw TCP, 256 KiB writes", false},
    {&bench_system_zmq, "hwm-default", "ZeroMQ PUSH/PULL, HWM 1000", false},
    {&bench_system_zmq, "hwm-64MiB", "ZeroMQ PUSH/PULL, HWM 64 MiB", false},
    {&bench_system_nng, "", "nng push/pull", false},
    {0},
};

static const struct contender many_readers[] = {
    {&bench_system_replication, "single", "libreplication", false},
    {&bench_system_replication, "batch", "libreplication, batch handler", false},
    {&bench_system_tcp, "", "raw TCP, 256 KiB writes", false},
    {&bench_system_zmq, "hwm-default", "ZeroMQ PUB/SUB, HWM 1000", false},
    {&bench_system_zmq, "hwm-64MiB", "ZeroMQ PUB/SUB, HWM 64 MiB", false},
    {&bench_system_nng, "", "nng push/pull", false},
    {0},
};

static const struct contender json_reader[] = {
    {&bench_system_replication, "v1", "libreplication, v1", false},
    {&bench_system_replication, "v1-batch", "libreplication, v1, batch handler", false},
    {&bench_system_zmq, "hwm-default", "ZeroMQ PUSH/PULL, HWM 1000", false},
    {&bench_system_zmq, "hwm-64MiB", "ZeroMQ PUSH/PULL, HWM 64 MiB", false},
    {0},
};

static const struct contender replicate_calls[] = {
    {&bench_system_replication, "stalled", "beside a stalled reader", false},
    {&bench_system_replication, "cut-off", "default window, reader cut off", false},
    {&bench_system_replication, "no-reader", "default window, no reader", true},
    {0},
};

static const struct contender round_trips[] = {
    {&bench_system_replication, "single", "libreplication", false},
    {&bench_system_tcp, "", "raw TCP ping-pong", false},
    {&bench_system_zmq, "req-rep", "ZeroMQ REQ/REP", false},
    {&bench_system_zmq, "push-pull", "ZeroMQ PUSH/PULL, both ways", false},
    {&bench_system_nng, "", "nng req/rep", false},
    {0},
};

static const struct contender very_many_readers[] = {
    {&bench_system_replication, "", "libreplication", false},
    {0},
};

#define MEMORY_LIMIT (64.0 * MIB + 1000.0 * 64.0 * KIB)

const struct bench_case bench_cases[] = {
    {
        .name = "256b-1",
        .title = "256 B, 1 reader",
        .kind = BENCH_KIND_THROUGHPUT,
        .size = 256,
        .readers = 1,
        .contenders = one_reader,
        .targets = {{METRIC_ENTRIES, true, 3.0, &bench_system_zmq, "entries/s >= 3 x ZeroMQ"},
                    {METRIC_BYTES, true, 0.7, &bench_system_tcp, "bytes/s >= 0.7 x raw TCP"}},
    },
    {
        .name = "1k-1",
        .title = "1 KiB, 1 reader",
        .kind = BENCH_KIND_THROUGHPUT,
        .size = KIB,
        .readers = 1,
        .contenders = one_reader,
        .targets = {{METRIC_BYTES, true, 0.85, &bench_system_tcp, "bytes/s >= 0.85 x raw TCP"}},
    },
    {
        .name = "64k-1",
        .title = "64 KiB, 1 reader",
        .kind = BENCH_KIND_THROUGHPUT,
        .size = 64 * KIB,
        .readers = 1,
        .contenders = one_reader,
        .targets = {{METRIC_BYTES, true, 0.9, &bench_system_tcp, "bytes/s >= 0.9 x raw TCP"}},
    },
    {
        .name = "256b-8",
        .title = "256 B, 8 readers, delivered (sum over the readers)",
        .kind = BENCH_KIND_THROUGHPUT,
        .size = 256,
        .readers = 8,
        .contenders = many_readers,
        .targets = {{METRIC_ENTRIES, true, 5.0, &bench_system_zmq, "entries/s >= 5 x ZeroMQ PUB/SUB"}},
    },
    {
        .name = "v1-256b-1",
        .title = "v1 JSON, 256 B, 1 reader",
        .kind = BENCH_KIND_THROUGHPUT,
        .size = 256,
        .readers = 1,
        .contenders = json_reader,
        .targets = {{METRIC_ENTRIES, true, 0.5, &bench_system_zmq, "entries/s >= 0.5 x ZeroMQ"}},
    },
    {
        .name = "replicate",
        .title = "one sender_replicate call, 256 B",
        .kind = BENCH_KIND_REPLICATE,
        .size = 256,
        .readers = 1,
        .contenders = replicate_calls,
        .targets = {{METRIC_P50, false, 150.0, NULL, "p50 <= 150 ns"},
                    {METRIC_P999, false, 10000.0, NULL, "p99.9 <= 10 us"}},
    },
    {
        .name = "round-trip",
        .title = "one entry in flight, 256 B: replicate until it is acknowledged as received",
        .kind = BENCH_KIND_ROUND_TRIP,
        .size = 256,
        .readers = 1,
        .contenders = round_trips,
        .targets = {{METRIC_P50, false, 1.6, &bench_system_tcp, "p50 <= 1.6 x raw TCP"},
                    {METRIC_P99, false, 1.0, &bench_system_zmq, "p99 <= ZeroMQ"}},
    },
    {
        .name = "readers-1000",
        .title = "1000 readers, 64 MiB buffer: resident memory of the writer",
        .kind = BENCH_KIND_MEMORY,
        .size = KIB,
        .readers = 1000,
        .contenders = very_many_readers,
        .targets = {{METRIC_RSS_IDLE, false, MEMORY_LIMIT, NULL, "idle <= 64 MiB + 64 KiB a reader"},
                    {METRIC_RSS_PEAK, false, MEMORY_LIMIT, NULL, "peak <= 64 MiB + 64 KiB a reader"}},
    },
};

const unsigned bench_case_count = sizeof bench_cases / sizeof bench_cases[0];

const struct metric_info bench_metrics[METRIC_COUNT] = {
    [METRIC_ENTRIES] = {"entries_per_s", "entries/s", METRIC_UNIT_ENTRIES},
    [METRIC_BYTES] = {"bytes_per_s", "payload bytes/s", METRIC_UNIT_RATE},
    [METRIC_P50] = {"p50_ns", "p50", METRIC_UNIT_NS},
    [METRIC_P99] = {"p99_ns", "p99", METRIC_UNIT_NS},
    [METRIC_P999] = {"p999_ns", "p99.9", METRIC_UNIT_NS},
    [METRIC_MAX] = {"max_ns", "max", METRIC_UNIT_NS},
    [METRIC_CLOCK] = {"clock_ns", "clock alone", METRIC_UNIT_NS},
    [METRIC_RSS_BASE] = {"base_bytes", "before start", METRIC_UNIT_BYTES},
    [METRIC_RSS_IDLE] = {"idle_bytes", "idle", METRIC_UNIT_BYTES},
    [METRIC_RSS_STREAMING] = {"streaming_bytes", "streaming", METRIC_UNIT_BYTES},
    [METRIC_RSS_PEAK] = {"peak_bytes", "peak", METRIC_UNIT_BYTES},
};

const enum metric *bench_kind_metrics(enum bench_kind kind)
{
    static const enum metric metrics[BENCH_KIND_COUNT][6] = {
        [BENCH_KIND_THROUGHPUT] = {METRIC_ENTRIES, METRIC_BYTES, METRIC_COUNT},
        [BENCH_KIND_ROUND_TRIP] = {METRIC_P50, METRIC_P99, METRIC_P999, METRIC_COUNT},
        [BENCH_KIND_REPLICATE] = {METRIC_P50, METRIC_P99, METRIC_P999, METRIC_MAX, METRIC_CLOCK, METRIC_COUNT},
        [BENCH_KIND_MEMORY] = {METRIC_RSS_BASE, METRIC_RSS_IDLE, METRIC_RSS_STREAMING, METRIC_RSS_PEAK, METRIC_COUNT},
    };
    return metrics[kind];
}

bool metric_more_is_better(enum metric metric)
{
    return metric == METRIC_ENTRIES || metric == METRIC_BYTES;
}
