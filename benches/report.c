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
        printf("buffer: %llu entries, %llu bytes (0 = default)\n", (unsigned long long)options->buffer_entries,
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

static void print_cell(const struct summary *summary, enum metric metric)
{
    char median[32], min[32], max[32], cell[128];
    enum metric_unit unit = bench_metrics[metric].unit;
    format_value(median, sizeof median, unit, summary->median);
    format_value(min, sizeof min, unit, summary->min);
    format_value(max, sizeof max, unit, summary->max);
    snprintf(cell, sizeof cell, "%s (%s .. %s)", median, min, max);
    printf("  %-31s", cell);
}

/* The ping of each round: the lowest and the highest beside its measurements. */
static void print_pings(const struct bench_case *which, const struct samples *samples)
{
    printf("  cross-core ping in ns, round by round:");
    for (unsigned round = 0; round < RUN_MAX_ROUNDS; round++) {
        double min = 0, max = 0;
        bool any = false;
        for (unsigned i = 0; which->contenders[i].system != NULL; i++) {
            if (round < samples[i].count) {
                double ping = samples[i].pings_ns[round];
                min = !any || ping < min ? ping : min;
                max = !any || ping > max ? ping : max;
                any = true;
            }
        }
        if (!any) {
            break;
        }
        printf(max - min < 1 ? " %.0f" : " %.0f..%.0f", min, max);
    }
    printf("; near is up to %d\n", PING_NEAR_MAX_NS);
}

static void print_table(const struct bench_case *which, const struct samples *samples)
{
    const enum metric *metrics = bench_kind_metrics(which->kind);
    printf("\n%s: %s\n  %-34s  %-8s", which->name, which->title, "", "rounds");
    for (const enum metric *metric = metrics; *metric != METRIC_COUNT; metric++) {
        printf("  %-31s", bench_metrics[*metric].title);
    }
    putchar('\n');
    for (unsigned in = 0; in < PING_CLASSES; in++) {
        for (unsigned i = 0; which->contenders[i].system != NULL; i++) {
            unsigned count = samples_summary(&samples[i], in, metrics[0]).count;
            if (count == 0 || samples[i].failures > 0) {
                continue;
            }
            printf("  %-34s  %-5s %2u", which->contenders[i].title, ping_class_names[in], count);
            for (const enum metric *metric = metrics; *metric != METRIC_COUNT; metric++) {
                struct summary summary = samples_summary(&samples[i], in, *metric);
                print_cell(&summary, *metric);
            }
            putchar('\n');
        }
    }
    for (unsigned i = 0; which->contenders[i].system != NULL; i++) {
        if (samples[i].failures > 0) {
            printf("  %-34s  broke\n", which->contenders[i].title);
        }
    }
    print_pings(which, samples);
}

static void print_measurement(const struct bench_case *which, unsigned contender, const struct samples *samples,
                              enum ping_class in, enum metric metric)
{
    struct summary summary = samples_summary(samples, in, metric);
    if (summary.count == 0) {
        return;
    }
    printf("{\"type\":\"measurement\",\"case\":\"%s\",\"system\":\"%s\",\"variant\":\"%s\",\"metric\":\"%s\","
           "\"better\":\"%s\",\"ping\":\"%s\",\"median\":%.1f,\"min\":%.1f,\"max\":%.1f,\"rounds\":[",
           which->name, which->contenders[contender].system->name, which->contenders[contender].variant,
           bench_metrics[metric].name, metric_more_is_better(metric) ? "more" : "less", ping_class_names[in],
           summary.median, summary.min, summary.max);
    const char *comma = "";
    for (unsigned round = 0; round < samples->count; round++) {
        if (samples->classes[round] == in) {
            printf("%s%.1f", comma, samples->values[metric][round]);
            comma = ",";
        }
    }
    comma = "],\"pings_ns\":[";
    for (unsigned round = 0; round < samples->count; round++) {
        if (samples->classes[round] == in) {
            printf("%s%.1f", comma, samples->pings_ns[round]);
            comma = ",";
        }
    }
    printf("]}\n");
}

static void print_measurements(const struct bench_case *which, const struct samples *samples)
{
    for (unsigned i = 0; which->contenders[i].system != NULL; i++) {
        const struct contender *contender = &which->contenders[i];
        if (samples[i].failures > 0) {
            printf("{\"type\":\"broken\",\"case\":\"%s\",\"system\":\"%s\",\"variant\":\"%s\"}\n", which->name,
                   contender->system->name, contender->variant);
            continue;
        }
        for (const enum metric *metric = bench_kind_metrics(which->kind); *metric != METRIC_COUNT; metric++) {
            for (unsigned in = 0; in < PING_CLASSES; in++) {
                print_measurement(which, i, &samples[i], in, *metric);
            }
        }
    }
}

/* The best median among the variants of a system, or that of one variant; false when none was measured. */
static bool find_best(const struct bench_case *which, const struct samples *samples, enum ping_class in,
                      const struct bench_system *system, const char *variant, enum metric metric, double *out)
{
    bool found = false;
    for (unsigned i = 0; which->contenders[i].system != NULL; i++) {
        struct summary summary = samples_summary(&samples[i], in, metric);
        if (which->contenders[i].system != system ||
            (variant != NULL && strcmp(which->contenders[i].variant, variant) != 0) || samples[i].failures > 0 ||
            summary.count == 0) {
            continue;
        }
        if (!found || (metric_more_is_better(metric) ? summary.median > *out : summary.median < *out)) {
            *out = summary.median;
        }
        found = true;
    }
    return found;
}

static bool find_reference(const struct bench_case *which, const struct samples *samples, enum ping_class in,
                           const struct target *target, double *out)
{
    double plus = 0;
    if (!find_best(which, samples, in, target->reference, target->variant, target->metric, out) ||
        (target->plus != NULL && !find_best(which, samples, in, target->plus, NULL, target->metric, &plus))) {
        return false;
    }
    *out += plus;
    return true;
}

/* A target in one class of rounds. */
struct judgement {
    bool measured;
    bool met;
    double reached;
};

static struct judgement judge(const struct bench_case *which, const struct samples *samples, enum ping_class in,
                              const struct target *target)
{
    double reference = 1.0;
    struct summary summary = samples_summary(&samples[0], in, target->metric);
    /* What flipped on the way is no measure. */
    if (in == PING_MIXED || summary.count == 0 || samples[0].failures > 0 ||
        (target->reference != NULL && !find_reference(which, samples, in, target, &reference))) {
        return (struct judgement){0};
    }
    double reached = summary.median / reference;
    bool met = target->at_least ? reached >= target->value : reached <= target->value;
    return (struct judgement){.measured = true, .met = met, .reached = reached};
}

static void print_judgement(const struct bench_case *which, const struct target *target, const char *class,
                            const struct judgement *judgement, bool json)
{
    if (json) {
        printf("{\"type\":\"target\",\"case\":\"%s\",\"target\":", which->name);
        print_json_string(target->title);
        printf(",\"required\":%.6g,", target->value);
        if (judgement->measured) {
            printf("\"ping\":\"%s\",\"measured\":%.6g,\"met\":%s}\n", class, judgement->reached,
                   judgement->met ? "true" : "false");
        } else {
            printf("\"ping\":null,\"measured\":null,\"met\":null}\n");
        }
        return;
    }
    char value[32] = "";
    if (judgement->measured && target->reference != NULL) {
        snprintf(value, sizeof value, "%.2f x", judgement->reached);
    } else if (judgement->measured) {
        format_value(value, sizeof value, bench_metrics[target->metric].unit, judgement->reached);
    }
    printf("  %-34s  %-8s  %-12s  %s\n", target->title, class, value,
           !judgement->measured ? "not measured"
           : judgement->met     ? "met"
                                : "MISSED");
}

/* True when the target was measured and missed in some class. */
static bool report_target(const struct bench_case *which, const struct samples *samples, const struct target *target,
                          bool json)
{
    bool measured = false, missed = false;
    for (unsigned in = 0; in < PING_CLASSES; in++) {
        struct judgement judgement = judge(which, samples, in, target);
        if (judgement.measured) {
            print_judgement(which, target, ping_class_names[in], &judgement, json);
            measured = true;
            missed = missed || !judgement.met;
        }
    }
    if (!measured) {
        print_judgement(which, target, "", &(struct judgement){0}, json);
    }
    return missed;
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
