#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <nng/nng.h>
#include <replication.h>
#include <sqlite3.h>
#include <zmq.h>

#include "clock.h"
#include "files.h"

static void read_processor(char *out, size_t size)
{
    char line[256];
    snprintf(out, size, "unknown processor");
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (file == NULL) {
        return;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        const char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && value != NULL) {
            snprintf(out, size, "%s", value + 2);
            out[strcspn(out, "\n")] = '\0';
            break;
        }
    }
    fclose(file);
}

static void print_json_string(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            putchar('\\');
        }
        if ((unsigned char)*text >= 0x20) {
            putchar(*text);
        }
    }
    putchar('"');
}

void report_machine(const struct run_options *options, bool json)
{
    char processor[128];
    char zmq[32];
    struct utsname system;
    int major, minor, patch;
    double load = 0;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    read_processor(processor, sizeof processor);
    zmq_version(&major, &minor, &patch);
    snprintf(zmq, sizeof zmq, "%d.%d.%d", major, minor, patch);
    if (uname(&system) != 0) {
        memset(&system, 0, sizeof system);
    }
    if (getloadavg(&load, 1) != 1) {
        load = 0;
    }
    if (json) {
        printf("{\"type\":\"machine\",\"cores\":%ld,\"load\":%.2f,\"processor\":", cores, load);
        print_json_string(processor);
        printf(",\"kernel\":");
        print_json_string(system.release);
        printf(
            ",\"transport\":\"loopback TCP, two processes\",\"crc\":true,\"acks\":true,\"rounds\":%u,\"seconds\":%.3f,"
            "\"buffer_entries\":%llu,\"buffer_bytes\":%llu,\"clock\":\"" CLOCK_TICKS_NAME
            "\",\"libreplication\":\"%s\","
            "\"zmq\":\"%s\",\"nng\":\"%s\",\"sqlite\":\"%s\",\"rocksdb\":\"" ROCKSDB_VERSION "\",\"dir\":",
            options->rounds, options->seconds, (unsigned long long)options->buffer_entries,
            (unsigned long long)options->buffer_bytes, replication_version(), zmq, nng_version(), sqlite3_libversion());
        print_json_string(files_dir());
        printf("}\n");
        fflush(stdout);
        return;
    }
    printf("%ld cores, %s, Linux %s, load %.2f%s\n", cores, processor, system.release, load,
           load > 0.5 ? ": not idle, so expect noise" : "");
    printf("libreplication %s, CRC on, acks on; ZeroMQ %s, nng %s, SQLite %s, RocksDB " ROCKSDB_VERSION "\n",
           replication_version(), zmq, nng_version(), sqlite3_libversion());
    printf("files in %s\n", files_dir());
    printf("loopback TCP, one process a side; %u alternating rounds of %.3g s: median (min .. max)\n", options->rounds,
           options->seconds);
    if (options->buffer_entries > 0 || options->buffer_bytes > 0) {
        printf("window: %llu entries, %llu bytes (0 = default)\n", (unsigned long long)options->buffer_entries,
               (unsigned long long)options->buffer_bytes);
    }
    fflush(stdout);
}

static void format_value(char *out, size_t size, enum metric_unit unit, double value)
{
    if (unit == METRIC_UNIT_ENTRIES) {
        if (value < 1e3) {
            snprintf(out, size, "%.0f", value);
        } else if (value < 1e5) {
            snprintf(out, size, "%.1f k", value / 1e3);
        } else {
            snprintf(out, size, "%.3f M", value / 1e6);
        }
    } else if (unit == METRIC_UNIT_RATE) {
        snprintf(out, size, "%.0f MB", value / 1e6);
    } else if (unit == METRIC_UNIT_COUNT) {
        snprintf(out, size, "%.0f", value);
    } else if (unit == METRIC_UNIT_BYTES) {
        snprintf(out, size, "%.1f MiB", value / (1 << 20));
    } else if (value < 1e4) {
        snprintf(out, size, "%.0f ns", value);
    } else if (value < 1e6) {
        snprintf(out, size, "%.1f us", value / 1e3);
    } else {
        snprintf(out, size, "%.2f ms", value / 1e6);
    }
}

static void print_cell(const struct samples *samples, enum metric metric)
{
    char median[32], min[32], max[32], cell[128];
    struct summary summary = samples_summary(samples, metric);
    enum metric_unit unit = bench_metrics[metric].unit;
    format_value(median, sizeof median, unit, summary.median);
    format_value(min, sizeof min, unit, summary.min);
    format_value(max, sizeof max, unit, summary.max);
    snprintf(cell, sizeof cell, "%s (%s .. %s)", median, min, max);
    printf("  %-31s", cell);
}

static void print_table(const struct bench_case *which, const struct samples *samples)
{
    const enum metric *metrics = bench_kind_metrics(which->kind);
    printf("\n%s: %s\n  %-34s", which->name, which->title, "");
    for (const enum metric *metric = metrics; *metric != METRIC_COUNT; metric++) {
        printf("  %-31s", bench_metrics[*metric].title);
    }
    putchar('\n');
    for (unsigned i = 0; which->contenders[i].system != NULL; i++) {
        if (!samples[i].took_part) {
            continue;
        }
        printf("  %-34s", which->contenders[i].title);
        if (samples[i].failures > 0) {
            printf("  broke");
        } else {
            for (const enum metric *metric = metrics; *metric != METRIC_COUNT; metric++) {
                print_cell(&samples[i], *metric);
            }
        }
        putchar('\n');
    }
}

static void print_measurements(const struct bench_case *which, const struct samples *samples)
{
    for (unsigned i = 0; which->contenders[i].system != NULL; i++) {
        const struct contender *contender = &which->contenders[i];
        if (!samples[i].took_part) {
            continue;
        }
        if (samples[i].failures > 0) {
            printf("{\"type\":\"broken\",\"case\":\"%s\",\"system\":\"%s\",\"variant\":\"%s\"}\n", which->name,
                   contender->system->name, contender->variant);
            continue;
        }
        for (const enum metric *metric = bench_kind_metrics(which->kind); *metric != METRIC_COUNT; metric++) {
            struct summary summary = samples_summary(&samples[i], *metric);
            printf("{\"type\":\"measurement\",\"case\":\"%s\",\"system\":\"%s\",\"variant\":\"%s\",\"metric\":\"%s\","
                   "\"median\":%.1f,\"min\":%.1f,\"max\":%.1f,\"rounds\":[",
                   which->name, contender->system->name, contender->variant, bench_metrics[*metric].name,
                   summary.median, summary.min, summary.max);
            for (unsigned round = 0; round < samples[i].count; round++) {
                printf("%s%.1f", round > 0 ? "," : "", samples[i].values[*metric][round]);
            }
            printf("]}\n");
        }
    }
}

/* The best median among the variants of a system, or that of one variant; false when none was measured. */
static bool find_best(const struct bench_case *which, const struct samples *samples, const struct bench_system *system,
                      const char *variant, enum metric metric, double *out)
{
    bool found = false;
    for (unsigned i = 0; which->contenders[i].system != NULL; i++) {
        if (which->contenders[i].system != system ||
            (variant != NULL && strcmp(which->contenders[i].variant, variant) != 0) || samples[i].failures > 0 ||
            samples[i].count == 0) {
            continue;
        }
        double median = samples_summary(&samples[i], metric).median;
        if (!found || (metric_more_is_better(metric) ? median > *out : median < *out)) {
            *out = median;
        }
        found = true;
    }
    return found;
}

static bool find_reference(const struct bench_case *which, const struct samples *samples, const struct target *target,
                           double *out)
{
    double plus = 0;
    if (!find_best(which, samples, target->reference, target->variant, target->metric, out) ||
        (target->plus != NULL && !find_best(which, samples, target->plus, NULL, target->metric, &plus))) {
        return false;
    }
    *out += plus;
    return true;
}

/* True when the target was measured and missed. */
static bool report_target(const struct bench_case *which, const struct samples *samples, const struct target *target,
                          bool json)
{
    double reference = 1.0;
    bool measured = samples[0].count > 0 && samples[0].failures == 0 &&
                    (target->reference == NULL || find_reference(which, samples, target, &reference));
    double reached = measured ? samples_summary(&samples[0], target->metric).median / reference : 0.0;
    bool met = measured && (target->at_least ? reached >= target->value : reached <= target->value);
    if (json) {
        printf("{\"type\":\"target\",\"case\":\"%s\",\"target\":", which->name);
        print_json_string(target->title);
        printf(",\"required\":%.6g,\"measured\":", target->value);
        if (measured) {
            printf("%.6g,\"met\":%s}\n", reached, met ? "true" : "false");
        } else {
            printf("null,\"met\":null}\n");
        }
        return measured && !met;
    }
    char value[32] = "";
    if (measured && target->reference != NULL) {
        snprintf(value, sizeof value, "%.2f x", reached);
    } else if (measured) {
        format_value(value, sizeof value, bench_metrics[target->metric].unit, reached);
    }
    printf("  %-34s  %-12s  %s\n", target->title, value, !measured ? "not measured" : met ? "met" : "MISSED");
    return measured && !met;
}

unsigned report_case(const struct bench_case *which, const struct samples *samples, bool json)
{
    unsigned missed = 0;
    if (json) {
        print_measurements(which, samples);
    } else {
        print_table(which, samples);
    }
    for (unsigned i = 0; i < CASE_MAX_TARGETS && which->targets[i].title != NULL; i++) {
        missed += report_target(which, samples, &which->targets[i], json);
    }
    fflush(stdout);
    return missed;
}
