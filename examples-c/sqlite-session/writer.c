/* A writer: runs transactions from stdin in a SQLite database and replicates the changes of each.
 *
 * A transaction commits its changeset to an outbox, from which it is passed to the library. If the process ends in between,
 * the next process finds the missing changesets in the outbox. README.md explains why nothing is lost or duplicated. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "input.h"
#include "outbox.h"
#include "report.h"

static const char usage[] =
    "Usage: session-writer --database FILE [OPTION]...\n"
    "Runs each line of stdin as a transaction and replicates what it changed to every reader that connects.\n"
    "\n"
    "  --database FILE     the SQLite database; made when it is not there\n"
    "  --schema FILE       a script with the tables of a new database; readers need the same\n"
    "  --listen ADDRESS    host:port, [v6]:port or unix:/path (default 127.0.0.1:9472; port 0 takes a free one)\n"
    "  --log-dir DIR       the log of the stream, on the same disk (default: FILE-log)\n"
    "  -h, --help          this text\n"
    "\n"
    "A line holds one or more INSERT, UPDATE, DELETE and SELECT statements. It is answered on stdout, in order:\n"
    "'committed SEQUENCE', 'unchanged', or 'refused: TEXT' when it was rolled back. When stdin ends, readers are served\n"
    "until SIGINT or SIGTERM.\n"
    "Exit status: 0 stopped, 1 failed, 2 bad arguments.\n";

/* The pause before the log is tried again after it had no room. */
enum { RETRY_MS = 100 };

struct options {
    const char *database;
    const char *schema;
    const char *listen;
    const char *wal_dir;
};

struct writer {
    const struct options *options;
    replication_sender *sender;
    struct outbox outbox;
    uint64_t logged; /* the last sequence that the log has on disk */
};

/* Passes committed transactions that the log lacks to the library, in order. Returns false if the writer cannot continue. */
static bool drain(struct writer *writer)
{
    while (writer->logged < writer->outbox.last) {
        struct outbox_entry entry;
        if (!outbox_next(&writer->outbox, writer->logged, &entry)) {
            say("%s: %s", writer->options->database, writer->outbox.database.error);
            return false;
        }
        uint64_t sequence = 0;
        replication_status status =
            sender_replicate(writer->sender, entry.timestamp_us, entry.changeset, entry.changeset_bytes, &sequence);
        outbox_done(&writer->outbox);
        if (sequence == 0 && (status == REPLICATION_STATUS_BUFFER_FULL || status == REPLICATION_STATUS_DISK_FULL))
            return true; /* it stays in the outbox */
        if (!succeeded(status, "replicate a transaction"))
            return false; /* the next process asks the log how far it came */
        if (sequence != entry.sequence) {
            say("transaction %" PRIu64 " has the sequence %" PRIu64, entry.sequence, sequence);
            return false;
        }
        writer->logged = sequence;
    }
    return true;
}

static bool configure(replication_sender_config *config, const struct options *options)
{
    return succeeded(sender_config_set_wal_dir(config, options->wal_dir), "--log-dir") &&
           /* When an entry counts as logged, its row may leave the outbox: so it must be on the disk. */
           succeeded(sender_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_ALWAYS, 0, 0), "log sync") &&
           succeeded(sender_config_set_event_handler(config, print_event, NULL, NULL), "event handler");
}

/* Opens the log and compares it with the database, before anybody can connect. */
static bool open_log(struct writer *writer)
{
    replication_sender_config *config = sender_config_new();
    if (config == NULL) {
        say("%s", replication_last_error_message());
        return false;
    }
    bool opened =
        configure(config, writer->options) && succeeded(sender_new(config, &writer->sender), "make the sender");
    sender_config_free(config); /* the sender has its own copy */
    if (!opened)
        return false;
    writer->logged = sender_current_sequence(writer->sender);
    if (!outbox_fits(&writer->outbox, writer->sender, writer->logged)) {
        say("%s: %s", writer->options->wal_dir, writer->outbox.database.error);
        return false;
    }
    if (writer->logged < writer->outbox.last)
        say("replicating entries %" PRIu64 " to %" PRIu64 ", which were committed before", writer->logged + 1,
            writer->outbox.last);
    return true;
}

static bool start(struct writer *writer)
{
    const char *address = writer->options->listen;
    uint16_t port = 0;
    if (!open_log(writer) || !succeeded(sender_start(writer->sender), "start the sender") || !drain(writer) ||
        !succeeded(sender_listen(writer->sender, address, &port), address))
        return false;
    const char *colon = strrchr(address, ':');
    if (strncmp(address, "unix:", 5) == 0 || colon == NULL)
        printf("listening at %s\n", address);
    else
        printf("listening at %.*s:%u\n", (int)(colon - address), address, (unsigned)port);
    return fflush(stdout) == 0;
}

/* Runs a transaction, replicates it and answers. False when the writer cannot go on. */
static bool execute(struct writer *writer, const char *sql)
{
    enum outbox_result result = outbox_execute(&writer->outbox, sql, wall_clock_us(), writer->logged);
    if (result == OUTBOX_COMMITTED) {
        if (!drain(writer))
            return false;
        printf("committed %" PRIu64 "\n", writer->outbox.last);
    } else if (result == OUTBOX_UNCHANGED) {
        puts("unchanged");
    } else if (result == OUTBOX_REFUSED) {
        printf("refused: %s\n", writer->outbox.database.error);
    } else {
        say("%s: %s", writer->options->database, writer->outbox.database.error);
        return false;
    }
    return fflush(stdout) == 0;
}

static bool serve(struct writer *writer, struct input *input)
{
    for (;;) {
        const char *sql = NULL;
        bool waiting = writer->logged < writer->outbox.last;
        switch (input_wait(input, waiting ? RETRY_MS : -1, &sql)) {
        case INPUT_LINE:
            if (!execute(writer, sql))
                return false;
            break;
        case INPUT_TIMEOUT:
            if (!drain(writer))
                return false;
            break;
        case INPUT_STOP:
            return succeeded(sender_stop(writer->sender), "stop the sender");
        case INPUT_FAILED:
            return false;
        }
    }
}

static int run(const struct options *options)
{
    struct writer writer = {.options = options};
    struct input input;
    bool done = input_open(&input);
    if (done && !outbox_open(&writer.outbox, options->database, options->schema)) {
        say("%s: %s", options->database, writer.outbox.database.error);
        done = false;
    }
    done = done && start(&writer) && serve(&writer, &input);
    sender_free(writer.sender);
    outbox_close(&writer.outbox);
    input_close(&input);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    enum { DATABASE = 256, SCHEMA, LISTEN, LOG_DIR };
    static const struct option names[] = {
        {"database", required_argument, NULL, DATABASE},
        {"schema", required_argument, NULL, SCHEMA},
        {"listen", required_argument, NULL, LISTEN},
        {"log-dir", required_argument, NULL, LOG_DIR},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    common_init("session-writer");
    struct options options = {.listen = "127.0.0.1:9472"};
    for (int option; (option = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        switch (option) {
        case DATABASE:
            options.database = optarg;
            break;
        case SCHEMA:
            options.schema = optarg;
            break;
        case LISTEN:
            options.listen = optarg;
            break;
        case LOG_DIR:
            options.wal_dir = optarg;
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
    if (options.database == NULL)
        usage_error("--database is required");
    char wal_dir[4096];
    if (options.wal_dir == NULL) {
        if (snprintf(wal_dir, sizeof wal_dir, "%s-log", options.database) >= (int)sizeof wal_dir)
            usage_error("the name of the database is too long");
        options.wal_dir = wal_dir;
    }
    return run(&options);
}
