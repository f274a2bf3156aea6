/* A reader: follows a writer and stores its records in a SQLite database.
 *
 * One transaction stores the records of a batch and the token of the position after it. Whatever kills this process,
 * the database contains complete entries only, and it records the next entry and the history that it belongs to. A new
 * process passes the token to the library and continues from there, so every entry is stored exactly once. */
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "report.h"
#include "store.h"

static const char usage[] =
    "Usage: reader --writer ADDRESS --database FILE [OPTION]...\n"
    "Follows a writer and stores its records in a SQLite database.\n"
    "\n"
    "  --writer ADDRESS            where the writer listens: host:port or unix:/path\n"
    "  --database FILE             made if missing; a restart goes on where the file ends\n"
    "  --reader-id NAME            the name the writer knows this reader by (default: the file's name)\n"
    "  --batch ENTRIES             entries per transaction, at most (default 256)\n"
    "  --log-dir DIR               keep what arrives in a log there before it is stored: it is acknowledged as durable\n"
    "                              from there, and a restart stores what is left in it without asking the writer\n"
    "  --synchronous full|normal   full: a commit is on the disk, and entries are acknowledged as durable\n"
    "                              normal: faster; a power failure can take back the last commits (default full)\n"
    "  --status-interval-ms MS     prints a line of JSON this often (default 1000; 0: never)\n"
    "  --verbose                   the library's log too, on stderr\n"
    "  -h, --help                  this text\n"
    "\n"
    "Stop it with SIGINT or SIGTERM. Exit status: 0 stopped, 1 failed, 2 bad arguments.\n"
    "Look at the data:   sqlite3 FILE 'SELECT * FROM samples ORDER BY sequence DESC LIMIT 10'\n"
    "Check it:           sqlite3 FILE 'SELECT * FROM ledger'   (the writer's --ledger says the same)\n";

struct options {
    const char *writer;
    const char *database;
    const char *reader_id;
    const char *wal_dir; /* NULL: none */
    size_t batch;
    bool synchronous;
    bool verbose;
    uint64_t status_interval_ms;
};

struct reader {
    struct store store; /* used only by the library's callback thread while the receiver runs */
    replication_receiver *receiver;
    const struct options *options;
    pthread_mutex_t lock; /* guards the fields below: the callback thread writes them, the main thread reads them */
    struct position position;
    uint64_t entries; /* stored by this process */
    uint64_t records;
    uint64_t latency_us; /* from the writer's clock to the commit, for the last entry */
    bool failed;
};

static void stop_failed(struct reader *reader)
{
    pthread_mutex_lock(&reader->lock);
    reader->failed = true;
    pthread_mutex_unlock(&reader->lock);
    stop_request();
}

/* The ingest handler: called on the library's callback thread with entries in order, never concurrently. */
static int32_t store_entries(void *user_data, const replication_entry *entries, size_t count, size_t *applied)
{
    struct reader *reader = user_data;
    uint64_t records = 0;
    bool stored = store_append(&reader->store, reader->receiver, entries, count, applied, &records);
    if (!stored)
        say("%s: %s", reader->options->database, reader->store.error);
    if (!stored && reader->store.shared)
        stop_failed(reader);
    if (*applied > 0) {
        uint64_t now = wall_clock_us();
        pthread_mutex_lock(&reader->lock);
        reader->position = reader->store.position;
        reader->entries += *applied;
        reader->records += records;
        reader->latency_us = now > reader->position.timestamp_us ? now - reader->position.timestamp_us : 0;
        pthread_mutex_unlock(&reader->lock);
    }
    return stored ? 0 : 1; /* if it failed, the library keeps the entries and retries */
}

/* Reports an event. Some events mean that this database cannot continue with this writer and that an operator must
 * act. */
static void on_event(void *user_data, const replication_event *event)
{
    struct reader *reader = user_data;
    const char *database = reader->options->database;
    print_event(NULL, event);
    switch (event->kind) {
    case REPLICATION_EVENT_KIND_DIVERGED:
        say("%s holds another stream than the one this writer has now, or other entries; they are not mixed. "
            "Follow this writer with a new database.",
            database);
        break;
    case REPLICATION_EVENT_KIND_REGRESSED:
        say("%s is ahead of its writer, which has lost entries; nothing is overwritten. "
            "Restore the writer, or begin a new database.",
            database);
        break;
    case REPLICATION_EVENT_KIND_GAP:
        say("the writer no longer has the entry that %s needs next. Begin a new database.", database);
        break;
    case REPLICATION_EVENT_KIND_WAL_FAILED:
        say("the log in %s cannot be used any more.", reader->options->wal_dir);
        break;
    case REPLICATION_EVENT_KIND_STOPPED:
        say("%s did not take entry %" PRIu64 ", in several attempts.", database, event->sequence);
        break;
    default:
        if (event->status != REPLICATION_STATUS_REPLACED)
            return;
        say("another process follows the writer as '%s'. Give each reader its own --reader-id.",
            reader->options->reader_id);
    }
    stop_failed(reader);
}

/* Sets the position to continue from: the token that was stored with the entries, or their sequence if they came from a v1
 * writer. */
static bool resume(replication_receiver_config *config, const struct position *position)
{
    if (position->token_len > 0)
        return succeeded(receiver_config_set_token(config, position->token, position->token_len),
                         "the database's token");
    return succeeded(receiver_config_set_last_sequence(config, position->sequence), "the database's position");
}

/* Sets the options of this reader. Each setter checks its value and reports what is wrong with it. */
static bool configure(replication_receiver_config *config, struct reader *reader)
{
    const struct options *options = reader->options;
    return succeeded(receiver_config_set_reader_id(config, options->reader_id), "--reader-id") &&
           succeeded(receiver_config_set_writer_addr(config, options->writer), "--writer") &&
           succeeded(receiver_config_set_ingest_batch_handler(config, options->batch, store_entries, reader, NULL),
                     "--batch") &&
           resume(config, &reader->store.position) &&
           succeeded(receiver_config_set_wal_dir(config, options->wal_dir), "--log-dir") &&
           /* The library acknowledges entries as durable when the handler returns, so this must be true. */
           succeeded(receiver_config_set_handler_durable(config, options->synchronous), "--synchronous") &&
           /* A busy database may succeed on a retry; a record of another format will not. */
           succeeded(receiver_config_set_apply_policy(config, REPLICATION_APPLY_POLICY_STOP, 5), "apply policy") &&
           succeeded(receiver_config_set_reconnect_interval_ms(config, 1000), "reconnect interval") &&
           succeeded(receiver_config_set_event_handler(config, on_event, reader, NULL), "event handler") &&
           (!options->verbose ||
            succeeded(receiver_config_set_log_handler(config, REPLICATION_LOG_LEVEL_DEBUG, print_log, NULL, NULL),
                      "log handler"));
}

static bool start(struct reader *reader)
{
    replication_receiver_config *config = receiver_config_new();
    if (config == NULL) {
        say("%s", replication_last_error_message());
        return false;
    }
    bool made = configure(config, reader) && succeeded(receiver_new(config, &reader->receiver), "make the receiver") &&
                succeeded(receiver_start(reader->receiver), "start the receiver");
    receiver_config_free(config); /* the receiver has its own copy */
    return made;
}

/* Prints a line of JSON: what is stored, and the library's own statistics. */
static void print_status(struct reader *reader, const char *event, uint64_t *last_entries, uint64_t *last_time_us)
{
    char *statistics = NULL;
    if (receiver_stats_json(reader->receiver, &statistics) != REPLICATION_STATUS_OK)
        statistics = NULL;
    pthread_mutex_lock(&reader->lock);
    struct position position = reader->position;
    uint64_t entries = reader->entries;
    uint64_t records = reader->records;
    uint64_t latency_us = reader->latency_us;
    pthread_mutex_unlock(&reader->lock);
    uint64_t now = steady_clock_us();
    double seconds = (double)(now - *last_time_us) / 1e6;
    double rate = seconds > 0 ? (double)(entries - *last_entries) / seconds : 0;
    *last_entries = entries;
    *last_time_us = now;
    printf("{\"event\":\"%s\",\"connected\":%s,\"sequence\":%" PRIu64 ",\"timestamp_us\":%" PRIu64
           ",\"entries\":%" PRIu64 ",\"records\":%" PRIu64 ",\"entries_per_second\":%.1f,\"latency_ms\":%.1f"
           ",\"receiver\":%s}\n",
           event, receiver_is_connected(reader->receiver) ? "true" : "false", position.sequence, position.timestamp_us,
           entries, records, rate, (double)latency_us / 1000, statistics != NULL ? statistics : "null");
    replication_string_free(statistics);
    if (fflush(stdout) != 0)
        stop_request(); /* nobody reads the output any more */
}

static bool follow(struct reader *reader)
{
    uint64_t interval_ms = reader->options->status_interval_ms;
    uint64_t last_entries = 0;
    uint64_t last_time_us = steady_clock_us();
    while (!stop_wait((interval_ms != 0 ? interval_ms : 1000) * 1000))
        if (interval_ms != 0)
            print_status(reader, "status", &last_entries, &last_time_us);
    /* Afterwards no handler runs; entries that are received but not stored are delivered again. */
    bool stopped = succeeded(receiver_stop(reader->receiver), "stop the receiver");
    print_status(reader, "stopped", &last_entries, &last_time_us);
    return stopped;
}

static int run(const struct options *options)
{
    struct reader reader = {.options = options, .lock = PTHREAD_MUTEX_INITIALIZER};
    bool done = store_open(&reader.store, options->database, options->synchronous);
    if (!done)
        say("%s: %s", options->database, reader.store.error);
    reader.position = reader.store.position;
    if (done && reader.position.sequence > 0)
        say("%s ends with entry %" PRIu64 "; going on after it", options->database, reader.position.sequence);
    done = done && start(&reader) && follow(&reader);
    receiver_free(reader.receiver); /* on return no callback runs, so the database can be closed */
    store_close(&reader.store);
    return done && !reader.failed ? EXIT_SUCCESS : EXIT_FAILURE;
}

static struct options parse_options(int argc, char **argv)
{
    enum { WRITER = 256, DATABASE, READER_ID, LOG_DIR, BATCH, SYNCHRONOUS, STATUS_INTERVAL, VERBOSE };
    static const struct option names[] = {
        {"writer", required_argument, NULL, WRITER},
        {"database", required_argument, NULL, DATABASE},
        {"reader-id", required_argument, NULL, READER_ID},
        {"log-dir", required_argument, NULL, LOG_DIR},
        {"batch", required_argument, NULL, BATCH},
        {"synchronous", required_argument, NULL, SYNCHRONOUS},
        {"status-interval-ms", required_argument, NULL, STATUS_INTERVAL},
        {"verbose", no_argument, NULL, VERBOSE},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct options options = {.batch = 256, .synchronous = true, .status_interval_ms = 1000};
    for (int option; (option = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        switch (option) {
        case WRITER:
            options.writer = optarg;
            break;
        case DATABASE:
            options.database = optarg;
            break;
        case READER_ID:
            options.reader_id = optarg;
            break;
        case LOG_DIR:
            options.wal_dir = optarg;
            break;
        case BATCH:
            options.batch = (size_t)parse_number("--batch", optarg, 1, 65536);
            break;
        case SYNCHRONOUS:
            if (strcmp(optarg, "full") != 0 && strcmp(optarg, "normal") != 0)
                usage_error("--synchronous takes full or normal, not '%s'", optarg);
            options.synchronous = strcmp(optarg, "full") == 0;
            break;
        case STATUS_INTERVAL:
            options.status_interval_ms = parse_number("--status-interval-ms", optarg, 0, 3600000);
            break;
        case VERBOSE:
            options.verbose = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        default:
            usage_hint();
        }
    }
    if (optind < argc)
        usage_error("unexpected argument '%s'", argv[optind]);
    if (options.writer == NULL || options.database == NULL)
        usage_error("--writer and --database are required");
    if (options.reader_id == NULL) {
        const char *slash = strrchr(options.database, '/');
        options.reader_id = slash != NULL ? slash + 1 : options.database;
    }
    return options;
}

int main(int argc, char **argv)
{
    common_init("reader");
    struct options options = parse_options(argc, argv);
    if (!stop_init())
        return EXIT_FAILURE;
    return run(&options);
}
