#include "cases.h"
#include "crc.h"

#define KIB (1u << 10)
#define MIB (1u << 20)
#define GIB (UINT64_C(1) << 30)

/* Each list ends with one that has no system. */
static const struct contender one_reader[] = {
    {&bench_system_replication, "single", "libreplication", false},
    {&bench_system_replication, "batch", "libreplication, batch handler", false},
    {&bench_system_tcp, "", "raw TCP, 256 KiB writes", false},
#if HAVE_CRC32C
    {&bench_system_tcp, "checked", "raw TCP, one copy and two CRCs", false},
#endif
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
    {&bench_system_replication, "cut-off", "default buffer, reader cut off", false},
    {&bench_system_replication, "no-reader", "default buffer, no reader", true},
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

static const struct contender appends[] = {
    {&bench_system_replication, "always", "libreplication, ALWAYS", true},
    {&bench_system_replication, "group", "libreplication, GROUP 5 ms/1 MiB", true},
    {&bench_system_replication, "os", "libreplication, OS (no fsync)", true},
    {&bench_system_sqlite, "mutex", "SQLite WAL, FULL, 1 connection", true},
    {&bench_system_sqlite, "connections", "SQLite WAL, FULL, 8 connections", true},
    {&bench_system_rocksdb, "", "RocksDB WAL, sync=true", true},
    {&bench_system_disk, "", "1 thread: write + fdatasync", true},
    {0},
};

static const struct contender catch_ups[] = {
    {&bench_system_replication, "single", "libreplication, log on disk", false},
    {&bench_system_replication, "batch", "libreplication, batch handler", false},
    {&bench_system_tcp, "", "raw TCP, 256 KiB writes", false},
#if HAVE_CRC32C
    {&bench_system_tcp, "log-checked", "raw TCP, the log's files, CRCs", false},
#endif
    {0},
};

static const struct contender live_logs[] = {
    {&bench_system_replication, "log-os", "libreplication, log on disk, OS", false},
    {&bench_system_replication, "single", "libreplication, in memory", false},
    {&bench_system_tcp, "", "raw TCP, 256 KiB writes", false},
    {&bench_system_tcp, "written", "raw TCP, each written to a file", false},
    {0},
};

static const struct contender reopens[] = {
    {&bench_system_replication, "cold", "libreplication, not in page cache", true},
    {&bench_system_replication, "warm", "libreplication, in page cache", true},
    {0},
};

static const struct contender trims[] = {
    {&bench_system_replication, "trim", "libreplication, segments go", true},
    {&bench_system_replication, "keep", "libreplication, segments stay", true},
    {0},
};

static const struct contender durable_round_trips[] = {
    {&bench_system_replication, "durable", "libreplication, reader ALWAYS", false},
    {&bench_system_tcp, "", "raw TCP ping-pong", false},
    {&bench_system_disk, "", "1 thread: write + fdatasync", true},
    {&bench_system_tcp, "fdatasync", "raw TCP, echo after fdatasync", false},
    {0},
};

#define AT_LEAST(metric_, value_, reference_, title_)                                                                  \
    {                                                                                                                  \
        .metric = metric_, .at_least = true, .value = value_, .reference = reference_, .title = title_                 \
    }
#define AT_MOST(metric_, value_, reference_, title_)                                                                   \
    {                                                                                                                  \
        .metric = metric_, .value = value_, .reference = reference_, .title = title_                                   \
    }

#define MEMORY_LIMIT (64.0 * MIB + 1000.0 * 64.0 * KIB)

const struct bench_case bench_cases[] = {
    {
        .name = "256b-1",
        .title = "256 B, 1 reader",
        .kind = BENCH_KIND_THROUGHPUT,
        .size = 256,
        .readers = 1,
        .contenders = one_reader,
        .targets = {AT_LEAST(METRIC_ENTRIES, 3.0, &bench_system_zmq, "entries/s >= 3 x ZeroMQ"),
                    AT_LEAST(METRIC_BYTES, 0.7, &bench_system_tcp, "bytes/s >= 0.7 x raw TCP")},
    },
    {
        .name = "1k-1",
        .title = "1 KiB, 1 reader",
        .kind = BENCH_KIND_THROUGHPUT,
        .size = KIB,
        .readers = 1,
        .contenders = one_reader,
        .targets = {AT_LEAST(METRIC_BYTES, 0.85, &bench_system_tcp, "bytes/s >= 0.85 x raw TCP")},
    },
    {
        .name = "64k-1",
        .title = "64 KiB, 1 reader",
        .kind = BENCH_KIND_THROUGHPUT,
        .size = 64 * KIB,
        .readers = 1,
        .contenders = one_reader,
        .targets = {AT_LEAST(METRIC_BYTES, 0.9, &bench_system_tcp, "bytes/s >= 0.9 x raw TCP")},
    },
    {
        .name = "256b-8",
        .title = "256 B, 8 readers, delivered (sum over the readers)",
        .kind = BENCH_KIND_THROUGHPUT,
        .size = 256,
        .readers = 8,
        .contenders = many_readers,
        .targets = {AT_LEAST(METRIC_ENTRIES, 5.0, &bench_system_zmq, "entries/s >= 5 x ZeroMQ PUB/SUB")},
    },
    {
        .name = "v1-256b-1",
        .title = "v1 JSON, 256 B, 1 reader",
        .kind = BENCH_KIND_THROUGHPUT,
        .size = 256,
        .readers = 1,
        .contenders = json_reader,
        .targets = {AT_LEAST(METRIC_ENTRIES, 0.5, &bench_system_zmq, "entries/s >= 0.5 x ZeroMQ")},
    },
    {
        .name = "replicate",
        .title = "one sender_replicate call, 256 B",
        .kind = BENCH_KIND_REPLICATE,
        .size = 256,
        .readers = 1,
        .contenders = replicate_calls,
        .targets = {AT_MOST(METRIC_P50, 150.0, NULL, "p50 <= 150 ns"),
                    AT_MOST(METRIC_P999, 10000.0, NULL, "p99.9 <= 10 us")},
    },
    {
        .name = "round-trip",
        .title = "one entry in flight, 256 B: replicate until it is acknowledged as received",
        .kind = BENCH_KIND_ROUND_TRIP,
        .size = 256,
        .readers = 1,
        .contenders = round_trips,
        .targets = {AT_MOST(METRIC_P50, 1.6, &bench_system_tcp, "p50 <= 1.6 x raw TCP"),
                    AT_MOST(METRIC_P99, 1.0, &bench_system_zmq, "p99 <= ZeroMQ")},
    },
    {
        .name = "readers-1000",
        .title = "1000 readers, 64 MiB buffer: resident memory of the writer",
        .kind = BENCH_KIND_MEMORY,
        .size = KIB,
        .readers = 1000,
        .contenders = very_many_readers,
        .targets = {AT_MOST(METRIC_RSS_IDLE, MEMORY_LIMIT, NULL, "idle <= 64 MiB + 64 KiB a reader"),
                    AT_MOST(METRIC_RSS_PEAK, MEMORY_LIMIT, NULL, "peak <= 64 MiB + 64 KiB a reader")},
    },
    {
        .name = "append-8",
        .title = "durable append, 256 B, 8 threads, no reader (sync policy beside each name)",
        .kind = BENCH_KIND_APPEND,
        .size = 256,
        .contenders = appends,
        .targets = {AT_LEAST(METRIC_ENTRIES, 5.0, &bench_system_sqlite, "entries/s >= 5 x SQLite"),
                    AT_LEAST(METRIC_ENTRIES, 1.5, &bench_system_rocksdb, "entries/s >= 1.5 x RocksDB")},
    },
    {
        .name = "catch-up-256b",
        .title = "256 B, a reader that begins at 0 and a log on disk",
        .kind = BENCH_KIND_CATCH_UP,
        .size = 256,
        .readers = 1,
        .wal_bytes = GIB,
        .contenders = catch_ups,
        .targets = {AT_LEAST(METRIC_BYTES, 0.9, &bench_system_tcp, "bytes/s >= 0.9 x raw TCP")},
    },
    {
        .name = "catch-up-4k",
        .title = "4 KiB, a reader that begins at 0 and a log on disk",
        .kind = BENCH_KIND_CATCH_UP,
        .size = 4 * KIB,
        .readers = 1,
        .wal_bytes = GIB,
        .contenders = catch_ups,
        .targets = {AT_LEAST(METRIC_BYTES, 0.9, &bench_system_tcp, "bytes/s >= 0.9 x raw TCP")},
    },
    {
        .name = "live-os",
        .title = "256 B, 1 reader, with and without a log on disk",
        .kind = BENCH_KIND_THROUGHPUT,
        .size = 256,
        .readers = 1,
        .contenders = live_logs,
        .targets = {{.metric = METRIC_ENTRIES,
                     .at_least = true,
                     .value = 0.8,
                     .reference = &bench_system_replication,
                     .variant = "single",
                     .title = "entries/s >= 0.8 x in memory"}},
    },
    {
        .name = "reopen",
        .title = "opening a log on disk, 256 B: sender_new",
        .kind = BENCH_KIND_REOPEN,
        .size = 256,
        .wal_bytes = 2 * GIB,
        .contenders = reopens,
        .targets = {AT_MOST(METRIC_REST, 1e9, NULL, "all but the last segment <= 1 s")},
    },
    {
        .name = "trim",
        .title = "durable append, 256 B, 1 thread, while retention removes segments of 64 KiB",
        .kind = BENCH_KIND_TRIM,
        .size = 256,
        .wal_bytes = 256 * MIB,
        .contenders = trims,
        .targets = {{.metric = METRIC_P999,
                     .value = 2.0,
                     .reference = &bench_system_replication,
                     .variant = "keep",
                     .title = "p99.9 <= 2 x without"}},
    },
    {
        .name = "wait-durable",
        .title = "one entry in flight, 256 B: replicate until it is durable at the reader",
        .kind = BENCH_KIND_ROUND_TRIP,
        .size = 256,
        .readers = 1,
        .contenders = durable_round_trips,
        .targets = {{.metric = METRIC_P50,
                     .value = 1.3,
                     .reference = &bench_system_tcp,
                     .variant = "",
                     .plus = &bench_system_disk,
                     .title = "p50 <= 1.3 x (TCP + fdatasync)"}},
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
    [METRIC_OPEN] = {"open_ns", "sender_new", METRIC_UNIT_NS},
    [METRIC_TAIL] = {"tail_ns", "last segment alone", METRIC_UNIT_NS},
    [METRIC_REST] = {"rest_ns", "the rest", METRIC_UNIT_NS},
    [METRIC_SEGMENTS] = {"segments", "segments", METRIC_UNIT_COUNT},
};

const enum metric *bench_kind_metrics(enum bench_kind kind)
{
    static const enum metric metrics[BENCH_KIND_COUNT][6] = {
        [BENCH_KIND_THROUGHPUT] = {METRIC_ENTRIES, METRIC_BYTES, METRIC_COUNT},
        [BENCH_KIND_ROUND_TRIP] = {METRIC_P50, METRIC_P99, METRIC_P999, METRIC_COUNT},
        [BENCH_KIND_REPLICATE] = {METRIC_P50, METRIC_P99, METRIC_P999, METRIC_MAX, METRIC_CLOCK, METRIC_COUNT},
        [BENCH_KIND_MEMORY] = {METRIC_RSS_BASE, METRIC_RSS_IDLE, METRIC_RSS_STREAMING, METRIC_RSS_PEAK, METRIC_COUNT},
        [BENCH_KIND_APPEND] = {METRIC_ENTRIES, METRIC_P50, METRIC_P99, METRIC_MAX, METRIC_COUNT},
        [BENCH_KIND_CATCH_UP] = {METRIC_ENTRIES, METRIC_BYTES, METRIC_COUNT},
        [BENCH_KIND_TRIM] = {METRIC_P50, METRIC_P99, METRIC_P999, METRIC_MAX, METRIC_COUNT},
        [BENCH_KIND_REOPEN] = {METRIC_OPEN, METRIC_TAIL, METRIC_REST, METRIC_SEGMENTS, METRIC_COUNT},
    };
    return metrics[kind];
}

bool bench_kind_keeps_files(enum bench_kind kind)
{
    return kind == BENCH_KIND_CATCH_UP || kind == BENCH_KIND_REOPEN;
}

bool metric_more_is_better(enum metric metric)
{
    return metric == METRIC_ENTRIES || metric == METRIC_BYTES;
}
