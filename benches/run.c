#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "process.h"

/* A writer may fill a log on disk before it names its port. */
enum { PREPARE_TIMEOUT_S = 600, ATTACH_TIMEOUT_S = 60, DRAIN_TIMEOUT_S = 180 };

/* Of a log and its copy of the last segment, so much may lie in the directory. */
static const double FREE_SHARE = 0.5;

static bool takes_part(const struct run_options *options, const struct bench_system *system)
{
    for (unsigned i = 0; i < options->system_count; i++) {
        if (options->systems[i] == system) {
            return true;
        }
    }
    return options->system_count == 0;
}

/* Both sides' numbers become metrics; false when they do not agree. */
static bool evaluate(enum bench_kind kind, const struct result *writer, const struct result *reader,
                     double values[METRIC_COUNT])
{
    if (kind == BENCH_KIND_THROUGHPUT || kind == BENCH_KIND_CATCH_UP) {
        double entries = result_get(writer, "entries", -1);
        double bytes = result_get(writer, "bytes", -1);
        /* Who begins knows when it began. */
        double begin_ns = result_get(writer, "begin_ns", result_get(reader, "begin_ns", 0));
        double seconds = (result_get(reader, "end_ns", 0) - begin_ns) / 1e9;
        if (entries <= 0 || seconds <= 0 || entries != result_get(reader, "entries", -2) ||
            bytes != result_get(reader, "bytes", -2)) {
            fprintf(stderr, "bench: the writer sent %.0f entries and %.0f bytes, the readers counted %.0f and %.0f\n",
                    entries, bytes, result_get(reader, "entries", -1), result_get(reader, "bytes", -1));
            return false;
        }
        values[METRIC_ENTRIES] = entries / seconds;
        values[METRIC_BYTES] = bytes / seconds;
        return true;
    }
    if (kind == BENCH_KIND_ROUND_TRIP && reader->count > 0 &&
        result_get(writer, "count", -1) != result_get(reader, "count", -2)) {
        fprintf(stderr, "bench: %.0f round trips, the reader counted %.0f\n", result_get(writer, "count", -1),
                result_get(reader, "count", -1));
        return false;
    }
    for (const enum metric *metric = bench_kind_metrics(kind); *metric != METRIC_COUNT; metric++) {
        values[*metric] = result_get(writer, bench_metrics[*metric].name, -1);
        if (values[*metric] < 0) {
            fprintf(stderr, "bench: the writer did not tell %s\n", bench_metrics[*metric].name);
            return false;
        }
    }
    return true;
}

static bool converse(struct bench_job *job, struct child *writer, struct child *reader, double values[METRIC_COUNT])
{
    char line[64];
    struct result written, counted;
    unsigned port;
    job->role = BENCH_ROLE_WRITER;
    if (!child_start(writer, job) || !child_expect(writer, NULL, "port", PREPARE_TIMEOUT_S, line, sizeof line)) {
        return false;
    }
    if (sscanf(line, "port %u", &port) != 1 || port > UINT16_MAX) {
        fprintf(stderr, "bench: the writer said \"%s\"\n", line);
        return false;
    }
    job->role = BENCH_ROLE_READER;
    job->port = (uint16_t)port;
    /* The reader stays until it is told to end, so all that was sent is counted before a connection goes. */
    return child_start(reader, job) && child_expect(reader, writer, "ready", ATTACH_TIMEOUT_S, line, sizeof line) &&
           child_expect(writer, reader, "ready", ATTACH_TIMEOUT_S, line, sizeof line) && child_say(writer, "go") &&
           (job->kind != BENCH_KIND_CATCH_UP || child_say(reader, "go")) &&
           child_expect_result(writer, reader, job->seconds + DRAIN_TIMEOUT_S, &written) &&
           child_expect_result(reader, writer, DRAIN_TIMEOUT_S, &counted) &&
           evaluate(job->kind, &written, &counted, values) && child_say(reader, "quit") && child_finish(reader) &&
           child_say(writer, "quit") && child_finish(writer);
}

/* The size of the case's log: what is asked for, or what fits the disk. */
static uint64_t wal_bytes(const struct bench_case *which, const struct run_options *options)
{
    uint64_t wanted = which->wal_bytes > 0 && options->wal_bytes > 0 ? options->wal_bytes : which->wal_bytes;
    uint64_t most = (uint64_t)((double)files_free_bytes() * FREE_SHARE);
    if (wanted > most) {
        fprintf(stderr, "bench: %s: %s has room for a log of %llu MiB only\n", which->name, files_dir(),
                (unsigned long long)(most >> 20));
        return most;
    }
    return wanted;
}

static bool measure(const struct bench_case *which, const struct contender *contender,
                    const struct run_options *options, uint64_t bytes, double values[METRIC_COUNT])
{
    char dir[4096];
    bool keeps = bench_kind_keeps_files(which->kind);
    /* All contenders of a case that keeps its files use the same ones. */
    if (!files_make(which->name, keeps, dir, sizeof dir)) {
        return false;
    }
    struct bench_job job = {
        .kind = which->kind,
        .system = contender->system,
        .variant = contender->variant,
        .size = which->size,
        .readers = contender->alone ? 0 : which->readers,
        .seconds = options->seconds,
        .buffer_entries = options->buffer_entries,
        .buffer_bytes = options->buffer_bytes,
        .dir = dir,
        .wal_bytes = bytes,
    };
    struct child writer = {0}, reader = {0};
    bool whole = converse(&job, &writer, &reader, values);
    child_kill(&reader);
    child_kill(&writer);
    if (!keeps) {
        files_remove(dir);
    }
    return whole;
}

bool run_case(const struct bench_case *which, const struct run_options *options, struct samples *samples)
{
    bool progress = isatty(STDERR_FILENO) == 1;
    bool any = false;
    uint64_t bytes = wal_bytes(which, options);
    memset(samples, 0, CASE_MAX_CONTENDERS * sizeof *samples);
    for (unsigned round = 0; round < options->rounds && !files_interrupted(); round++) {
        for (unsigned i = 0; which->contenders[i].system != NULL; i++) {
            const struct contender *contender = &which->contenders[i];
            if (!takes_part(options, contender->system) || samples[i].failures > 0 || files_interrupted()) {
                continue;
            }
            samples[i].took_part = any = true;
            if (progress) {
                fprintf(stderr, "\r\033[K%s, round %u of %u: %s", which->name, round + 1, options->rounds,
                        contender->title);
            }
            double values[METRIC_COUNT] = {0};
            double before_ns = ping_measure();
            if (!measure(which, contender, options, bytes, values)) {
                fprintf(stderr, "bench: %s: %s broke: left out\n", which->name, contender->title);
                samples[i].failures++;
                continue;
            }
            double after_ns = ping_measure();
            samples[i].classes[samples[i].count] = ping_classify(before_ns, after_ns);
            samples[i].pings_ns[samples[i].count] = before_ns > after_ns ? before_ns : after_ns;
            for (unsigned metric = 0; metric < METRIC_COUNT; metric++) {
                samples[i].values[metric][samples[i].count] = values[metric];
            }
            samples[i].count++;
        }
    }
    if (progress) {
        fprintf(stderr, "\r\033[K");
    }
    files_clear();
    return any;
}

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

struct summary samples_summary(const struct samples *samples, enum ping_class in, enum metric metric)
{
    double sorted[RUN_MAX_ROUNDS];
    unsigned count = 0;
    for (unsigned round = 0; round < samples->count; round++) {
        if (samples->classes[round] == in) {
            sorted[count++] = samples->values[metric][round];
        }
    }
    if (count == 0) {
        return (struct summary){0};
    }
    qsort(sorted, count, sizeof *sorted, ascending);
    return (struct summary){
        .count = count,
        .median = count % 2 == 1 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2,
        .min = sorted[0],
        .max = sorted[count - 1],
    };
}
