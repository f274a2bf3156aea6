/* The driver, and the entry of its children. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "files.h"
#include "report.h"
#include "run.h"

enum { EXIT_MISSED = 1, EXIT_BROKEN = 2, EXIT_USAGE = 64 };

struct options {
    bool json;
    bool check;
    bool list;
    unsigned case_count; /* 0: all */
    const char *cases[32];
    const char *dir;
    struct run_options run;
    bool child;
    struct bench_job job;
};

static void print_usage(FILE *out)
{
    fprintf(
        out,
        "usage: bench [options]\n"
        "Measures libreplication beside raw TCP, ZeroMQ, nng, SQLite and RocksDB, one process a side.\n"
        "\n"
        "  --case NAME          only this case; may be given more than once (see --list)\n"
        "  --system NAME        only this system: replication, tcp, zmq, nng, disk, sqlite, rocksdb; more than once\n"
        "  --rounds N           rounds, in which the systems take turns (default 5)\n"
        "  --seconds S          seconds a measurement (default 2)\n"
        "  --buffer-entries N   libreplication's buffer in entries (default: the library's)\n"
        "  --buffer-bytes N     libreplication's buffer in bytes (default: the library's)\n"
        "  --dir DIR            where files are written, in a directory of the run (default: build)\n"
        "  --log-bytes N        size of the logs of catch-up and reopen (default: the case's)\n"
        "  --json               one JSON object a line instead of the table\n"
        "  --check              exit with 1 when a target is missed\n"
        "  --list               names the cases\n"
        "  -h, --help           this text\n"
        "\n"
        "Exit status: 0 measured, 1 a target was missed (with --check), 2 something broke, 64 wrong usage.\n");
}

static noreturn void fail_usage(const char *what, const char *value)
{
    fprintf(stderr, "bench: %s: %s (see bench --help)\n", what, value);
    exit(EXIT_USAGE);
}

static uint64_t parse_number(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' || value < min || value > max) {
        fail_usage(name, text);
    }
    return value;
}

static double parse_seconds(const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0.01 && value <= 3600.0)) {
        fail_usage("--seconds", text);
    }
    return value;
}

static const struct bench_system *parse_system(const char *text)
{
    const struct bench_system *system = bench_system_find(text);
    if (system == NULL) {
        fail_usage("--system", text);
    }
    return system;
}

static void check_case(const char *text)
{
    for (unsigned i = 0; i < bench_case_count; i++) {
        if (strcmp(bench_cases[i].name, text) == 0) {
            return;
        }
    }
    fail_usage("--case", text);
}

static void parse_options(int argc, char **argv, struct options *options)
{
    enum {
        CASE = 256,
        SYSTEM,
        ROUNDS,
        SECONDS,
        ENTRIES,
        BYTES,
        DIR,
        LOG_BYTES,
        JSON,
        CHECK,
        LIST,
        ROLE,
        KIND,
        VARIANT,
        SIZE,
        READERS,
        PORT
    };
    static const struct option known[] = {
        {"case", required_argument, NULL, CASE},
        {"system", required_argument, NULL, SYSTEM},
        {"rounds", required_argument, NULL, ROUNDS},
        {"seconds", required_argument, NULL, SECONDS},
        {"buffer-entries", required_argument, NULL, ENTRIES},
        {"buffer-bytes", required_argument, NULL, BYTES},
        {"dir", required_argument, NULL, DIR},
        {"log-bytes", required_argument, NULL, LOG_BYTES},
        {"json", no_argument, NULL, JSON},
        {"check", no_argument, NULL, CHECK},
        {"list", no_argument, NULL, LIST},
        {"help", no_argument, NULL, 'h'},
        /* What the driver tells a child. */
        {"role", required_argument, NULL, ROLE},
        {"kind", required_argument, NULL, KIND},
        {"variant", required_argument, NULL, VARIANT},
        {"size", required_argument, NULL, SIZE},
        {"readers", required_argument, NULL, READERS},
        {"port", required_argument, NULL, PORT},
        {0},
    };
    const unsigned max_cases = sizeof options->cases / sizeof options->cases[0];
    const unsigned max_systems = sizeof options->run.systems / sizeof options->run.systems[0];
    *options = (struct options){.run = {.rounds = 5, .seconds = 2.0}, .job = {.variant = "", .dir = ""}};
    int option;
    while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (option) {
        case CASE:
            check_case(optarg);
            if (options->case_count == max_cases) {
                fail_usage("too many --case", optarg);
            }
            options->cases[options->case_count++] = optarg;
            break;
        case SYSTEM:
            options->job.system = parse_system(optarg);
            if (options->run.system_count == max_systems) {
                fail_usage("too many --system", optarg);
            }
            options->run.systems[options->run.system_count++] = options->job.system;
            break;
        case ROUNDS:
            options->run.rounds = (unsigned)parse_number("--rounds", optarg, 1, RUN_MAX_ROUNDS);
            break;
        case SECONDS:
            options->run.seconds = options->job.seconds = parse_seconds(optarg);
            break;
        case ENTRIES:
            options->run.buffer_entries = options->job.buffer_entries =
                parse_number("--buffer-entries", optarg, 0, SIZE_MAX);
            break;
        case BYTES:
            options->run.buffer_bytes = options->job.buffer_bytes =
                parse_number("--buffer-bytes", optarg, 0, UINT64_MAX);
            break;
        case DIR:
            options->dir = options->job.dir = optarg;
            break;
        case LOG_BYTES:
            options->run.wal_bytes = options->job.wal_bytes = parse_number("--log-bytes", optarg, 0, UINT64_C(1) << 50);
            break;
        case JSON:
            options->json = true;
            break;
        case CHECK:
            options->check = true;
            break;
        case LIST:
            options->list = true;
            break;
        case 'h':
            print_usage(stdout);
            exit(EXIT_SUCCESS);
        case ROLE:
            options->child = true;
            options->job.role = strcmp(optarg, "writer") == 0 ? BENCH_ROLE_WRITER : BENCH_ROLE_READER;
            break;
        case KIND:
            if (!bench_kind_find(optarg, &options->job.kind)) {
                fail_usage("--kind", optarg);
            }
            break;
        case VARIANT:
            options->job.variant = optarg;
            break;
        case SIZE:
            options->job.size = (size_t)parse_number("--size", optarg, BENCH_MIN_SIZE, 64u << 20);
            break;
        case READERS:
            options->job.readers = (unsigned)parse_number("--readers", optarg, 0, 100000);
            break;
        case PORT:
            options->job.port = (uint16_t)parse_number("--port", optarg, 0, UINT16_MAX);
            break;
        default:
            print_usage(stderr);
            exit(EXIT_USAGE);
        }
    }
    if (optind < argc) {
        fail_usage("unexpected argument", argv[optind]);
    }
}

static int run_child(const struct bench_job *job)
{
    static char name[64];
    bool writes = job->role == BENCH_ROLE_WRITER;
    if (job->system == NULL || job->size == 0 || job->seconds <= 0 || (!writes && job->readers > 0 && job->port == 0)) {
        fail_usage("--role", "is for the driver's own children");
    }
    snprintf(name, sizeof name, "bench: %s %s", job->system->title, writes ? "writer" : "reader");
    bench_set_program(name);
    (writes ? job->system->writer : job->system->reader)(job);
    return EXIT_SUCCESS;
}

static bool chosen(const struct options *options, const struct bench_case *which)
{
    for (unsigned i = 0; i < options->case_count; i++) {
        if (strcmp(options->cases[i], which->name) == 0) {
            return true;
        }
    }
    return options->case_count == 0;
}

int main(int argc, char **argv)
{
    static struct options options;
    static struct samples samples[CASE_MAX_CONTENDERS];
    unsigned missed = 0, broken = 0;
    parse_options(argc, argv, &options);
    if (options.child) {
        return run_child(&options.job);
    }
    if (options.list) {
        for (unsigned i = 0; i < bench_case_count; i++) {
            printf("%-14s %s\n", bench_cases[i].name, bench_cases[i].title);
        }
        return EXIT_SUCCESS;
    }
    /* A child that died shows in the write's error. */
    signal(SIGPIPE, SIG_IGN);
    files_begin(options.dir);
    report_machine(&options.run, options.json);
    for (unsigned i = 0; i < bench_case_count && !files_interrupted(); i++) {
        if (!chosen(&options, &bench_cases[i])) {
            continue;
        }
        if (!run_case(&bench_cases[i], &options.run, samples)) {
            continue;
        }
        missed += report_case(&bench_cases[i], samples, options.json);
        for (unsigned j = 0; j < CASE_MAX_CONTENDERS; j++) {
            broken += samples[j].failures;
        }
    }
    if (broken > 0 || files_interrupted()) {
        return EXIT_BROKEN;
    }
    return options.check && missed > 0 ? EXIT_MISSED : EXIT_SUCCESS;
}
