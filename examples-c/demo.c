/* The demo: runs one writer and two readers as processes, makes some of them fail, and proves that nothing was lost.
 *
 * It observes the programs from outside: their output, their exit status and their databases. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "proof.h"
#include "table.h"

static const char usage[] =
    "Usage: demo [--keep]\n"
    "Runs a writer and two readers, kills one reader, pauses the other, kills the writer, and proves with SQL that both\n"
    "have stored what the writer wrote. Takes about 20 seconds, 30 at most.\n"
    "\n"
    "  --keep                      leave the databases and logs where they are, and say where\n"
    "  -h, --help                  this text\n"
    "\n"
    "Exit status: 0 proved, 1 not proved, 2 bad arguments.\n";

enum { LIMIT_S = 28, SETTLE_S = 12 };

struct demo {
    char directory[256]; /* holds all files; removed at the end */
    char programs[256];
    char address[128];
    char ledger[512];
    struct member members[MEMBERS]; /* the writer first */
    struct process *processes[MEMBERS];
    struct table table;
    sqlite3 *json; /* an empty database, used to parse JSON */
    sqlite3_stmt *parse;
};

/* ---- output of the processes ---- */

/* The number of entries per second over the last half second or slightly more. */
static void measure_rate(struct member *member)
{
    const uint64_t now = steady_clock_us();
    if (member->measured_us == 0 || member->entries < member->measured_entries) {
        member->measured_us = now;
        member->measured_entries = member->entries;
    } else if (now - member->measured_us >= 500000) {
        member->rate = (double)(member->entries - member->measured_entries) * 1e6 / (double)(now - member->measured_us);
        member->measured_us = now;
        member->measured_entries = member->entries;
    }
}

static void take_line(void *user_data, struct process *process, const char *line)
{
    struct demo *demo = user_data;
    struct member *member = NULL;
    for (int i = 0; i < MEMBERS; i++)
        if (&demo->members[i].process == process)
            member = &demo->members[i];
    sqlite3_stmt *parse = demo->parse;
    sqlite3_bind_text(parse, 1, line, -1, SQLITE_STATIC);
    if (member != NULL && sqlite3_step(parse) == SQLITE_ROW) {
        const char *address = (const char *)sqlite3_column_text(parse, 0);
        if (address != NULL) {
            snprintf(demo->address, sizeof demo->address, "%s", address);
        } else {
            member->entries = (uint64_t)sqlite3_column_int64(parse, 3);
            member->sequence = (uint64_t)sqlite3_column_int64(parse, 1);
            member->timestamp_us = (uint64_t)sqlite3_column_int64(parse, 2);
            member->latency_ms = sqlite3_column_double(parse, 4);
            member->lag = sqlite3_column_int64(parse, 5);
            measure_rate(member);
        }
    }
    sqlite3_reset(parse);
}

/* ---- waiting ---- */

typedef bool (*condition_fn)(const struct demo *demo, const struct member *member, uint64_t target);

static bool listens(const struct demo *demo, const struct member *member, uint64_t target)
{
    (void)member;
    (void)target;
    return demo->address[0] != '\0';
}

static bool reached(const struct demo *demo, const struct member *member, uint64_t target)
{
    (void)demo;
    return member->sequence >= target;
}

static bool ended(const struct demo *demo, const struct member *member, uint64_t target)
{
    (void)demo;
    (void)target;
    return member->process.state == PROCESS_ENDED;
}

/* Returns whether every process that should run is running; reports one that is not. */
static bool all_live(const struct demo *demo)
{
    for (int i = 0; i < MEMBERS; i++) {
        const struct member *member = &demo->members[i];
        if (member->process.state != PROCESS_ENDED || member->may_end)
            continue;
        char end[128];
        process_describe_end(&member->process, end, sizeof end);
        say("%s %s", member->process.name, end);
        return false;
    }
    return true;
}

/* Waits for a condition of one member; reports a timeout. `what` completes the sentence "did not ...". */
static bool wait_for(struct demo *demo, struct member *member, condition_fn holds, uint64_t target, const char *what)
{
    const uint64_t until_us = steady_clock_us() + (uint64_t)SETTLE_S * 1000000;
    for (;;) {
        process_poll(demo->processes, MEMBERS, 20, take_line, demo);
        table_show(&demo->table);
        if (holds(demo, member, target))
            return true;
        if (stop_wait(0)) {
            say("interrupted");
            return false;
        }
        if (!all_live(demo))
            return false;
        if (steady_clock_us() > until_us || table_seconds(&demo->table) > LIMIT_S) {
            say("%s did not %s in time; it is at entry %" PRIu64 " of %" PRIu64, member->process.name, what,
                member->sequence, demo->members[0].sequence);
            return false;
        }
    }
}

/* ---- steps of the demo ---- */

static void begin_life(struct member *member)
{
    member->entries = 0;
    member->measured_us = 0;
    member->rate = 0;
    member->may_end = false;
}

static bool start_writer(struct demo *demo)
{
    char path[512];
    struct member *writer = &demo->members[0];
    char address[sizeof demo->address];
    snprintf(path, sizeof path, "%s/writer", demo->programs);
    /* A restarted writer listens at the address that its readers connect to. */
    snprintf(address, sizeof address, "%s", demo->address[0] != '\0' ? demo->address : "127.0.0.1:0");
    demo->address[0] = '\0';
    char *const arguments[] = {"writer",   "--listen",   address,         "--log-dir", writer->wal_dir,
                               "--ledger", demo->ledger, "--interval-us", "5000",      "--stats-interval-ms",
                               "20",       NULL};
    begin_life(writer);
    return process_start(&writer->process, path, arguments) && wait_for(demo, writer, listens, 0, "listen");
}

static bool start_reader(struct demo *demo, struct member *reader)
{
    char path[512];
    snprintf(path, sizeof path, "%s/reader", demo->programs);
    char *const arguments[] = {"reader",
                               "--writer",
                               demo->address,
                               "--database",
                               reader->database,
                               "--reader-id",
                               (char *)reader->process.name,
                               "--log-dir",
                               reader->wal_dir,
                               "--status-interval-ms",
                               "20",
                               NULL};
    begin_life(reader);
    return process_start(&reader->process, path, arguments);
}

/* Stops a process and waits for its last output. */
static bool end_process(struct demo *demo, struct member *member)
{
    member->may_end = true;
    if (!process_signal(&member->process, SIGTERM) || !wait_for(demo, member, ended, 0, "end"))
        return false;
    if (WIFEXITED(member->process.wait_status) && WEXITSTATUS(member->process.wait_status) == EXIT_SUCCESS)
        return true;
    char end[128];
    process_describe_end(&member->process, end, sizeof end);
    say("%s %s when it was stopped", member->process.name, end);
    return false;
}

/* What happened during the steps, for the last line. */
struct story {
    int64_t killed_at;   /* the last entry in the database of the killed reader */
    int64_t resumed;     /* how many entries its second process stored */
    uint64_t paused_for; /* how many entries the writer wrote while the other reader was paused */
    uint64_t writer_at;  /* the last entry that the killed writer had reported */
};

static bool tell(struct demo *demo, struct story *story)
{
    struct member *writer = &demo->members[0];
    struct member *first = &demo->members[1];
    struct member *second = &demo->members[2];

    table_begin_phase(&demo->table, "a writer and two readers start");
    if (!start_writer(demo) || !start_reader(demo, first) || !start_reader(demo, second) ||
        !wait_for(demo, first, reached, 400, "reach entry 400") ||
        !wait_for(demo, second, reached, 400, "reach entry 400"))
        return false;

    table_begin_phase(&demo->table, "%s is killed (SIGKILL); the writer and %s do not care", first->process.name,
                      second->process.name);
    first->may_end = true;
    if (!process_signal(&first->process, SIGKILL) || !wait_for(demo, first, ended, 0, "die") ||
        !position_of(first->database, &story->killed_at))
        return false;
    first->sequence = (uint64_t)story->killed_at; /* it had no time to report it */
    if (!wait_for(demo, writer, reached, writer->sequence + 400, "write on"))
        return false;

    table_begin_phase(&demo->table, "%s is started again and resumes after entry %" PRId64, first->process.name,
                      story->killed_at);
    if (!start_reader(demo, first) || !wait_for(demo, first, reached, writer->sequence + 300, "catch up"))
        return false;

    table_begin_phase(&demo->table, "%s is paused (SIGSTOP)", second->process.name);
    uint64_t paused_at = writer->sequence;
    if (!process_signal(&second->process, SIGSTOP) || !wait_for(demo, writer, reached, paused_at + 400, "write on"))
        return false;

    table_begin_phase(&demo->table, "the writer is killed (SIGKILL), %s still paused", second->process.name);
    writer->may_end = true;
    if (!process_signal(&writer->process, SIGKILL) || !wait_for(demo, writer, ended, 0, "die"))
        return false;
    story->writer_at = writer->sequence;

    table_begin_phase(&demo->table, "the writer is started again and goes on after its log, %s follows it",
                      first->process.name);
    if (!start_writer(demo) || !wait_for(demo, writer, reached, story->writer_at + 300, "go on") ||
        !wait_for(demo, first, reached, writer->sequence + 100, "follow the writer again"))
        return false;

    table_begin_phase(&demo->table, "%s goes on (SIGCONT): what it missed comes from the first writer's disk",
                      second->process.name);
    story->paused_for = writer->sequence - paused_at;
    if (!process_signal(&second->process, SIGCONT) ||
        !wait_for(demo, second, reached, writer->sequence + 300, "catch up"))
        return false;

    table_begin_phase(&demo->table, "the writer stops and sends what is left");
    if (!end_process(demo, writer))
        return false;
    for (int i = 1; i < MEMBERS; i++)
        if (!wait_for(demo, &demo->members[i], reached, writer->sequence, "get level with the writer"))
            return false;
    for (int i = 1; i < MEMBERS; i++)
        if (!end_process(demo, &demo->members[i]))
            return false;
    story->resumed = (int64_t)first->entries;
    return true;
}

/* ---- setup and cleanup ---- */

static bool set_up(struct demo *demo)
{
    const char *parent = getenv("TMPDIR");
    if (parent == NULL || parent[0] == '\0')
        parent = "/tmp";
    /* Leave room for the names of the files in it. */
    int length = snprintf(demo->directory, sizeof demo->directory, "%s/replication-demo-XXXXXX", parent);
    if (length >= (int)sizeof demo->directory || mkdtemp(demo->directory) == NULL) {
        say("%s: %s", demo->directory,
            length >= (int)sizeof demo->directory ? "the name is too long" : strerror(errno));
        demo->directory[0] = '\0';
        return false;
    }
    static const char *const names[MEMBERS] = {"writer", "reader-a", "reader-b"};
    for (int i = 0; i < MEMBERS; i++) {
        struct member *member = &demo->members[i];
        member->process.name = names[i];
        demo->processes[i] = &member->process;
        snprintf(member->wal_dir, sizeof member->wal_dir, "%s/%s.log-dir", demo->directory, names[i]);
        snprintf(member->database, sizeof member->database, "%s/%s.db", demo->directory, names[i]);
        snprintf(member->process.log_path, sizeof member->process.log_path, "%s/%s.log", demo->directory, names[i]);
    }
    snprintf(demo->ledger, sizeof demo->ledger, "%s/ledger.json", demo->directory);

    /* The programs are in the directory of this one. */
    ssize_t path_length = readlink("/proc/self/exe", demo->programs, sizeof demo->programs - 1);
    char *slash = path_length > 0 ? strrchr(demo->programs, '/') : NULL;
    if (slash == NULL || path_length == sizeof demo->programs - 1) {
        say("cannot tell where the programs are");
        return false;
    }
    *slash = '\0';

    if (sqlite3_open(":memory:", &demo->json) == SQLITE_OK &&
        sqlite3_prepare_v2(
            demo->json,
            "SELECT json_extract(line, '$.address'),"
            "       coalesce(json_extract(line, '$.sequence'), json_extract(line, '$.last_sequence')),"
            "       coalesce(json_extract(line, '$.timestamp_us'), json_extract(line, '$.last_timestamp_us')),"
            "       json_extract(line, '$.entries'), json_extract(line, '$.latency_ms'),"
            "       coalesce(json_extract(line, '$.receiver.lag'), -1)"
            " FROM (SELECT ?1 AS line)",
            -1, &demo->parse, NULL) == SQLITE_OK)
        return true;
    say("SQLite: %s", sqlite3_errmsg(demo->json));
    return false;
}

/* Shows the last lines of each process's stderr. */
static void show_logs(const struct demo *demo)
{
    for (int i = 0; i < MEMBERS; i++) {
        FILE *log = fopen(demo->members[i].process.log_path, "r");
        if (log == NULL)
            continue;
        char text[1501];
        if (fseek(log, -(long)(sizeof text - 1), SEEK_END) != 0)
            rewind(log);
        text[fread(text, 1, sizeof text - 1, log)] = '\0';
        fclose(log);
        if (text[0] != '\0')
            fprintf(stderr, "---- end of %s's stderr ----\n%s", demo->members[i].process.name, text);
    }
}

/* Removes the demo's directory and the log directories in it. */
static void remove_directory(int parent, const char *path)
{
    int descriptor = openat(parent, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = descriptor < 0 ? NULL : fdopendir(descriptor);
    if (directory == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            unlinkat(descriptor, entry->d_name, 0) != 0)
            remove_directory(descriptor, entry->d_name);
    closedir(directory);
    if (unlinkat(parent, path, AT_REMOVEDIR) != 0)
        say("%s: %s", path, strerror(errno));
}

static bool run(struct demo *demo, bool keep)
{
    struct story story = {0};
    struct account account = {0};
    bool proved = tell(demo, &story);
    if (proved) {
        table_begin_phase(&demo->table,
                          "everything has stopped; SQL compares the databases with the writer's own count");
        proved = prove(demo->ledger, demo->members[1].database, demo->members[2].database, &account);
    }
    if (proved && story.killed_at + story.resumed != account.entries) {
        say("%s had %" PRId64 " entries and stored %" PRId64 " after its restart: not the %" PRId64 " there are",
            demo->members[1].process.name, story.killed_at, story.resumed, account.entries);
        proved = false;
    }
    for (int i = 0; i < MEMBERS; i++)
        process_clean_up(&demo->members[i].process);
    if (!proved)
        show_logs(demo);
    if (keep)
        printf("kept: %s\n", demo->directory);
    if (proved)
        printf("demo passed in %.1f s: both databases hold the writer's %" PRId64 " entries = %" PRId64 " rows, 0 rows"
               " differ, each is there once, checksum %" PRId64
               " in all three, although the writer was killed at entry %" PRIu64 " and %s at entry %" PRId64
               "; that one stored the other %" PRId64 " after its restart, %s caught up after a pause of %" PRIu64
               " entries\n",
               table_seconds(&demo->table), account.entries, account.records, account.checksum, story.writer_at,
               demo->members[1].process.name, story.killed_at, story.resumed, demo->members[2].process.name,
               story.paused_for);
    else
        printf("demo FAILED after %.1f s: nothing is proved; the reason is above\n", table_seconds(&demo->table));
    return proved;
}

int main(int argc, char **argv)
{
    static struct demo demo; /* large: it holds the processes' lines */
    static const struct option names[] = {
        {"keep", no_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    bool keep = false;
    common_init("demo");
    for (int option; (option = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        switch (option) {
        case 'k':
            keep = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        default:
            usage_hint();
        }
    }
    if (optind < argc)
        usage_error("unexpected argument '%s'", argv[optind]);
    if (!stop_init())
        return EXIT_FAILURE;
    demo.table =
        (struct table){.members = demo.members, .begin_us = steady_clock_us(), .terminal = isatty(STDOUT_FILENO) == 1};
    bool proved = set_up(&demo) && run(&demo, keep);
    sqlite3_finalize(demo.parse);
    sqlite3_close(demo.json);
    if (demo.directory[0] != '\0' && !keep)
        remove_directory(AT_FDCWD, demo.directory);
    return proved ? EXIT_SUCCESS : EXIT_FAILURE;
}
