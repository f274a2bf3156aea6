/* A tap: prints the stream of any v1 or v2 writer as JSON lines.
 *
 * It stores nothing, so it begins with the first entry that the writer still has and continues past gaps. It reports
 * both on stderr. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "report.h"

static const char usage[] =
    "Usage: tap --writer ADDRESS [OPTION]...\n"
    "Prints a writer's entries, one line of JSON each:\n"
    "  {\"sequence\":7,\"timestamp_us\":1700000000000000,\"records\":[...]}     msgpack records\n"
    "  {\"sequence\":7,\"timestamp_us\":1700000000000000,\"payload_base64\":\"...\"}   any other payload\n"
    "\n"
    "  --writer ADDRESS            where the writer listens: host:port or unix:/path\n"
    "  --from SEQUENCE             the first entry wanted (default: the oldest that the writer still has)\n"
    "  --count N                   end after N entries (default: never)\n"
    "  --protocol auto|v1|v2       what to speak (default auto: v2, or v1 if the writer knows no other)\n"
    "  --coordinator               shake hands as at a coordinator's port (message types 0x10 and 0x11)\n"
    "  --reader-id NAME            the name the writer sees (default tap-PID)\n"
    "  --verbose                   the library's log too, on stderr\n"
    "  -h, --help                  this text\n"
    "\n"
    "Stop it with SIGINT or SIGTERM. Exit status: 0 stopped or N entries printed, 1 failed, 2 bad arguments.\n";

struct options {
    const char *writer;
    uint64_t from;
    uint64_t count;
    replication_protocol protocol;
    bool coordinator;
    char reader_id[REPLICATION_MAX_READER_ID_BYTES + 1];
    bool verbose;
};

struct tap {
    const struct options *options;
    uint64_t printed;   /* used only by callbacks, which all run on one thread */
    atomic_bool failed; /* set by the callback thread, read by the main thread at the end */
};

static void print_base64(const uint8_t *bytes, size_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3) {
        size_t rest = length - i;
        uint32_t group = (uint32_t)bytes[i] << 16 | (rest > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                         (rest > 2 ? (uint32_t)bytes[i + 2] : 0);
        putchar(digits[group >> 18]);
        putchar(digits[group >> 12 & 63]);
        putchar(rest > 1 ? digits[group >> 6 & 63] : '=');
        putchar(rest > 2 ? digits[group & 63] : '=');
    }
}

static void print_entry(const replication_entry *entry)
{
    printf("{\"sequence\":%" PRIu64 ",\"timestamp_us\":%" PRIu64 ",", entry->sequence, entry->timestamp_us);
    replication_records *records = NULL;
    const char *json = NULL;
    size_t length = 0;
    /* By convention a payload contains records, but the stream accepts any bytes. */
    if (replication_records_parse(entry->payload, entry->payload_len, &records) == REPLICATION_STATUS_OK &&
        replication_records_json(records, &json, &length) == REPLICATION_STATUS_OK) {
        fputs("\"records\":", stdout);
        fwrite(json, 1, length, stdout);
        fputs("}\n", stdout);
    } else {
        fputs("\"payload_base64\":\"", stdout);
        print_base64(entry->payload, entry->payload_len);
        fputs("\"}\n", stdout);
    }
    replication_records_free(records);
}

/* The ingest handler: called on the library's callback thread with entries in order. Entries that it applies are
 * acknowledged, so it applies only those that it has printed. */
static int32_t print_entries(void *user_data, const replication_entry *entries, size_t count, size_t *applied)
{
    struct tap *tap = user_data;
    size_t wanted = count;
    if (tap->options->count != 0 && tap->options->count - tap->printed < count)
        wanted = (size_t)(tap->options->count - tap->printed);
    for (size_t i = 0; i < wanted; i++)
        print_entry(&entries[i]);
    if (fflush(stdout) != 0 || ferror(stdout)) { /* ferror: an earlier write failed, but not this one */
        if (errno != EPIPE) {                    /* EPIPE: the reader of the pipe, such as `head`, has ended */
            say("standard output: %s", strerror(errno));
            atomic_store(&tap->failed, true);
        }
        stop_request();
        return 1;
    }
    tap->printed += wanted;
    *applied = wanted;
    if (tap->options->count != 0 && tap->printed == tap->options->count)
        stop_request();
    return wanted == count ? 0 : 1;
}

static void on_event(void *user_data, const replication_event *event)
{
    struct tap *tap = user_data;
    switch (event->kind) {
    case REPLICATION_EVENT_KIND_APPLY_FAILED: /* caused by print_entries after enough entries */
        return;
    case REPLICATION_EVENT_KIND_REGRESSED:
    case REPLICATION_EVENT_KIND_DIVERGED:
        print_event(NULL, event);
        if (tap->printed == 0)
            say("the writer has not come to entry %" PRIu64 " yet", tap->options->from);
        else
            say("the writer's log is not the one that was followed so far");
        atomic_store(&tap->failed, true);
        stop_request();
        return;
    default:
        print_event(NULL, event);
    }
}

static bool configure(replication_receiver_config *config, struct tap *tap)
{
    const struct options *options = tap->options;
    return succeeded(receiver_config_set_reader_id(config, options->reader_id), "--reader-id") &&
           succeeded(receiver_config_set_writer_addr(config, options->writer), "--writer") &&
           succeeded(receiver_config_set_ingest_batch_handler(config, 64, print_entries, tap, NULL), "handler") &&
           succeeded(receiver_config_set_last_sequence(config, options->from - 1), "--from") &&
           succeeded(receiver_config_set_gap_policy(config, REPLICATION_GAP_POLICY_CONTINUE), "gap policy") &&
           succeeded(receiver_config_set_protocol(config, options->protocol), "--protocol") &&
           succeeded(receiver_config_set_coordinator_handshake(config, options->coordinator), "--coordinator") &&
           succeeded(receiver_config_set_reconnect_interval_ms(config, 1000), "reconnect interval") &&
           succeeded(receiver_config_set_event_handler(config, on_event, tap, NULL), "event handler") &&
           (!options->verbose ||
            succeeded(receiver_config_set_log_handler(config, REPLICATION_LOG_LEVEL_DEBUG, print_log, NULL, NULL),
                      "log handler"));
}

static int run(const struct options *options)
{
    struct tap tap = {.options = options};
    replication_receiver *receiver = NULL;
    replication_receiver_config *config = receiver_config_new();
    if (config == NULL) {
        say("%s", replication_last_error_message());
        return EXIT_FAILURE;
    }
    bool done = configure(config, &tap) && succeeded(receiver_new(config, &receiver), "make the receiver") &&
                succeeded(receiver_start(receiver), "start the receiver");
    receiver_config_free(config);
    while (done && !stop_wait(60 * 1000000))
        continue;            /* the callback thread does the work */
    receiver_free(receiver); /* stops it first; afterwards no callback runs */
    return done && !atomic_load(&tap.failed) ? EXIT_SUCCESS : EXIT_FAILURE;
}

static replication_protocol parse_protocol(const char *text)
{
    if (strcmp(text, "auto") == 0)
        return REPLICATION_PROTOCOL_AUTO;
    if (strcmp(text, "v1") == 0)
        return REPLICATION_PROTOCOL_V1;
    if (strcmp(text, "v2") == 0)
        return REPLICATION_PROTOCOL_V2;
    usage_error("--protocol takes auto, v1 or v2, not '%s'", text);
}

static struct options parse_options(int argc, char **argv)
{
    enum { WRITER = 256, FROM, COUNT, PROTOCOL, COORDINATOR, READER_ID, VERBOSE };
    static const struct option names[] = {
        {"writer", required_argument, NULL, WRITER},
        {"from", required_argument, NULL, FROM},
        {"count", required_argument, NULL, COUNT},
        {"protocol", required_argument, NULL, PROTOCOL},
        {"coordinator", no_argument, NULL, COORDINATOR},
        {"reader-id", required_argument, NULL, READER_ID},
        {"verbose", no_argument, NULL, VERBOSE},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct options options = {.from = 1, .protocol = REPLICATION_PROTOCOL_AUTO};
    snprintf(options.reader_id, sizeof options.reader_id, "tap-%ld", (long)getpid());
    for (int option; (option = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        switch (option) {
        case WRITER:
            options.writer = optarg;
            break;
        case FROM:
            options.from = parse_number("--from", optarg, 1, UINT64_MAX);
            break;
        case COUNT:
            options.count = parse_number("--count", optarg, 1, UINT64_MAX);
            break;
        case PROTOCOL:
            options.protocol = parse_protocol(optarg);
            break;
        case COORDINATOR:
            options.coordinator = true;
            break;
        case READER_ID:
            if (strlen(optarg) == 0 || strlen(optarg) >= sizeof options.reader_id)
                usage_error("--reader-id takes 1 to %d bytes", REPLICATION_MAX_READER_ID_BYTES);
            strcpy(options.reader_id, optarg);
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
    if (options.writer == NULL)
        usage_error("--writer is required");
    return options;
}

int main(int argc, char **argv)
{
    common_init("tap");
    struct options options = parse_options(argc, argv);
    if (!stop_init())
        return EXIT_FAILURE;
    return run(&options);
}
