/* A reader: applies the writer's changesets to its own SQLite database.
 *
 * The transaction that applies a changeset also stores the token of the position after it. However the process ends, the
 * database contains both or neither, and the next process continues from there. */
#include <getopt.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "replica.h"
#include "report.h"

static const char usage[] =
    "Usage: session-reader --database FILE --writer ADDRESS [OPTION]...\n"
    "Follows a session-writer: after each of its transactions the database holds what the writer's does.\n"
    "\n"
    "  --database FILE     the SQLite database; made when it is not there\n"
    "  --schema FILE       a script with the tables of a new database, the writer's\n"
    "  --writer ADDRESS    host:port, [v6]:port or unix:/path\n"
    "  --reader-id ID      the name by which the writer knows this reader (default: the name of FILE)\n"
    "  -h, --help          this text\n"
    "\n"
    "Stop it with SIGINT or SIGTERM. It ends by itself when a changeset cannot be applied, and says why.\n"
    "Exit status: 0 stopped, 1 failed, 2 bad arguments.\n";

/* Retries help if the database is busy or the disk is full; they do not resolve a conflict. */
enum { APPLY_RETRIES = 3 };

struct options {
    const char *database;
    const char *schema;
    const char *writer;
    const char *reader_id;
};

struct reader {
    const struct options *options;
    replication_receiver *receiver;
    struct replica replica; /* used only by the receiver's callback thread while it runs */
    atomic_bool failed;
};

static int32_t apply(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                     size_t payload_len)
{
    (void)timestamp_us;
    struct reader *reader = user_data;
    uint8_t token[REPLICATION_TOKEN_MAX_BYTES];
    size_t token_len = 0;
    if (!succeeded(receiver_token(reader->receiver, token, sizeof token, &token_len), "the token of an entry"))
        return 1;
    if (replica_apply(&reader->replica, sequence, payload, payload_len, token, token_len))
        return 0;
    say("%s: entry %" PRIu64 ": %s", reader->options->database, sequence, reader->replica.database.error);
    return 1; /* the entry is delivered again */
}

/* Ends the program on failures that do not resolve themselves. */
static void on_event(void *user_data, const replication_event *event)
{
    struct reader *reader = user_data;
    print_event(NULL, event);
    if (event->kind == REPLICATION_EVENT_KIND_STOPPED || event->kind == REPLICATION_EVENT_KIND_DIVERGED ||
        event->kind == REPLICATION_EVENT_KIND_GAP) {
        atomic_store(&reader->failed, true);
        stop_request();
    }
}

static bool configure(replication_receiver_config *config, struct reader *reader)
{
    const struct options *options = reader->options;
    return succeeded(receiver_config_set_reader_id(config, options->reader_id), "--reader-id") &&
           succeeded(receiver_config_set_writer_addr(config, options->writer), "--writer") &&
           succeeded(receiver_config_set_ingest_handler(config, apply, reader, NULL), "handler") &&
           /* Only v2 writers provide tokens. */
           succeeded(receiver_config_set_protocol(config, REPLICATION_PROTOCOL_V2), "protocol") &&
           (reader->replica.token_len == 0 ||
            succeeded(receiver_config_set_token(config, reader->replica.token, reader->replica.token_len),
                      "the database's token")) &&
           /* A commit is on disk when it returns, so applied entries are durable. */
           succeeded(receiver_config_set_handler_durable(config, true), "handler is durable") &&
           succeeded(receiver_config_set_apply_policy(config, REPLICATION_APPLY_POLICY_STOP, APPLY_RETRIES),
                     "apply policy") &&
           succeeded(receiver_config_set_reconnect_interval_ms(config, 500), "reconnect interval") &&
           succeeded(receiver_config_set_event_handler(config, on_event, reader, NULL), "event handler");
}

static bool start(struct reader *reader)
{
    replication_receiver_config *config = receiver_config_new();
    if (config == NULL) {
        say("%s", replication_last_error_message());
        return false;
    }
    bool started = configure(config, reader) &&
                   succeeded(receiver_new(config, &reader->receiver), "make the receiver") &&
                   succeeded(receiver_start(reader->receiver), "start the receiver");
    receiver_config_free(config); /* the receiver has its own copy */
    return started;
}

static int run(const struct options *options)
{
    struct reader reader = {.options = options};
    bool done = replica_open(&reader.replica, options->database, options->schema);
    if (!done)
        say("%s: %s", options->database, reader.replica.database.error);
    done = done && start(&reader);
    while (done && !stop_wait(3600000000))
        continue;
    done = done && succeeded(receiver_stop(reader.receiver), "stop the receiver");
    receiver_free(reader.receiver); /* on return no callback runs, so the database can be closed */
    replica_close(&reader.replica);
    return done && !atomic_load(&reader.failed) ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    enum { DATABASE = 256, SCHEMA, WRITER, READER_ID };
    static const struct option names[] = {
        {"database", required_argument, NULL, DATABASE},
        {"schema", required_argument, NULL, SCHEMA},
        {"writer", required_argument, NULL, WRITER},
        {"reader-id", required_argument, NULL, READER_ID},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    common_init("session-reader");
    struct options options = {0};
    for (int option; (option = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        switch (option) {
        case DATABASE:
            options.database = optarg;
            break;
        case SCHEMA:
            options.schema = optarg;
            break;
        case WRITER:
            options.writer = optarg;
            break;
        case READER_ID:
            options.reader_id = optarg;
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
    if (options.database == NULL || options.writer == NULL)
        usage_error("--database and --writer are required");
    if (options.reader_id == NULL) {
        const char *slash = strrchr(options.database, '/');
        options.reader_id = slash != NULL ? slash + 1 : options.database;
    }
    if (!replica_init() || !stop_init())
        return EXIT_FAILURE;
    return run(&options);
}
