/* A writer: samples this machine's counters and replicates each sample to every connected reader.
 *
 * A sample is one entry: a msgpack array of maps, with one map per counter. The writer also keeps its own count of the
 * entries that it passed to the library, and a checksum of them, so that anyone can verify what arrived elsewhere.
 *
 * With a log on disk it may be killed at any time and restarted: the stream, the sequence and the count continue. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checksum.h"
#include "common.h"
#include "counters.h"
#include "report.h"

static const char usage[] =
    "Usage: writer [OPTION]...\n"
    "Samples this machine's counters (/proc) and replicates them to every reader that connects.\n"
    "\n"
    "  --listen ADDRESS            host:port, [v6]:port or unix:/path; may be given several times\n"
    "                              (default 127.0.0.1:9471; port 0 takes a free one and prints it)\n"
    "  --interval-us US            time between two samples (default 50000)\n"
    "  --burst N                   samples taken at each interval (default 1)\n"
    "  --buffer-entries N          entries kept in memory for slow readers (default 10000)\n"
    "  --buffer-bytes N            bytes kept in memory for slow readers (default 67108864)\n"
    "  --policy POLICY             what happens when a reader still needs the oldest entry of a full buffer:\n"
    "                              cut-off (the reader is disconnected; default), refuse (the new sample is\n"
    "                              lost, and counted), wait:MS (wait so long for the reader, then refuse)\n"
    "  --log-dir DIR               keep the log on disk there: a writer that is started again goes on where this one was,\n"
    "                              whatever ended it, and readers lose nothing (default: in memory only)\n"
    "  --duration SECONDS          stop by itself (default: never)\n"
    "  --stats-interval-ms MS      prints a line of JSON this often (default 1000; 0: never)\n"
    "  --ledger FILE               writes the writer's own count and checksum there when it stops; with --log-dir,\n"
    "                              FILE.journal keeps them for a writer that goes on\n"
    "  --verbose                   the library's log too, on stderr\n"
    "  -h, --help                  this text\n"
    "\n"
    "Stop it with SIGINT or SIGTERM: what readers still need is sent first.\n"
    "Exit status: 0 stopped, 1 failed, 2 bad arguments.\n";

enum { MAX_ADDRESSES = 16 };

struct options {
    const char *addresses[MAX_ADDRESSES];
    size_t address_count;
    uint64_t interval_us;
    uint64_t burst;
    size_t buffer_entries;
    uint64_t buffer_bytes;
    replication_full_policy policy;
    uint64_t wait_ms;
    const char *wal_dir; /* NULL: in memory */
    uint64_t duration_s;
    uint64_t stats_interval_ms;
    const char *ledger;
    bool verbose;
};

/* The writer's own accounts. Only the sequences of entries come from the library. */
struct ledger {
    uint64_t entries;
    uint64_t records;
    int64_t checksum;
    uint64_t first_sequence;
    uint64_t last_sequence;
    uint64_t last_timestamp_us;
    uint64_t refused; /* samples that the library refused and no reader receives */
};

struct writer {
    const struct options *options;
    replication_sender *sender;
    struct counters counters;
    msgpack_sbuffer payload;
    struct ledger ledger;
    int journal; /* the ledger on disk, or -1 */
};

/* msgpack's functions return 0, or -1 if the buffer cannot grow. */
static int pack_text(msgpack_packer *packer, const char *text)
{
    size_t length = strlen(text);
    int failed = msgpack_pack_str(packer, length);
    return failed != 0 ? failed : msgpack_pack_str_body(packer, text, length);
}

/* [{"source": "cpu", "name": "cpu0", "metric": "user", "value": 3704}, ...] */
static bool pack_sample(const struct counters *counters, msgpack_sbuffer *payload)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, payload, msgpack_sbuffer_write);
    msgpack_sbuffer_clear(payload);
    int failed = msgpack_pack_array(&packer, counters->count);
    for (size_t i = 0; i < counters->count; i++) {
        const struct counter *counter = &counters->items[i];
        failed |= msgpack_pack_map(&packer, 4);
        failed |= pack_text(&packer, "source");
        failed |= pack_text(&packer, counter->source);
        failed |= pack_text(&packer, "name");
        failed |= pack_text(&packer, counter->name);
        failed |= pack_text(&packer, "metric");
        failed |= pack_text(&packer, counter->metric);
        failed |= pack_text(&packer, "value");
        failed |= msgpack_pack_uint64(&packer, counter->value);
    }
    return failed == 0;
}

static void enter(struct ledger *ledger, const struct counters *counters, uint64_t sequence, uint64_t timestamp_us)
{
    for (size_t i = 0; i < counters->count; i++) {
        const struct counter *counter = &counters->items[i];
        ledger->checksum += checksum_record(counter->source, counter->name, counter->metric, (int64_t)sequence,
                                            (int64_t)i, (int64_t)timestamp_us, (int64_t)counter->value);
    }
    if (ledger->entries++ == 0)
        ledger->first_sequence = sequence;
    ledger->records += counters->count;
    ledger->last_sequence = sequence;
    ledger->last_timestamp_us = timestamp_us;
}

/* The journal has two slots: one for the ledger after an even sequence and one for the ledger after an odd sequence.
 * The slot for an entry is written before the entry is replicated. So whenever the process ends, the log ends with the
 * entry of one of the two slots, and the ledger does not depend on the library's counts. (This does not cover a power
 * failure, for which the journal would also have to be synced.) */
static bool write_journal(const struct writer *writer, const struct ledger *ledger)
{
    off_t slot = (off_t)(ledger->last_sequence % 2 * sizeof *ledger);
    if (writer->journal < 0 || pwrite(writer->journal, ledger, sizeof *ledger, slot) == (ssize_t)sizeof *ledger)
        return true;
    say("%s.journal: %s", writer->options->ledger, strerror(errno));
    return false;
}

/* Opens the journal, and reads from it the ledger after the last entry of the log. */
static bool open_journal(struct writer *writer)
{
    const char *ledger = writer->options->ledger;
    if (writer->options->wal_dir == NULL || ledger == NULL)
        return true;
    char path[4096];
    if (snprintf(path, sizeof path, "%s.journal", ledger) >= (int)sizeof path) {
        say("%s: the name is too long", ledger);
        return false;
    }
    writer->journal = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (writer->journal < 0) {
        say("%s: %s", path, strerror(errno));
        return false;
    }
    uint64_t last = sender_current_sequence(writer->sender);
    if (last == 0)
        return true;
    struct ledger found = {0};
    ssize_t got = pread(writer->journal, &found, sizeof found, (off_t)(last % 2 * sizeof found));
    if (got == (ssize_t)sizeof found && found.last_sequence == last) {
        writer->ledger = found;
        return true;
    }
    say("%s knows nothing of entry %" PRIu64 ", with which %s ends", path, last, writer->options->wal_dir);
    return false;
}

/* Returns whether an entry that was appended, but whose sync was not confirmed, is in the log after all. */
static bool is_stored(struct writer *writer, replication_status status, uint64_t sequence)
{
    say("entry %" PRIu64 " is taken, but not yet on disk (%s); waiting for it", sequence,
        replication_status_name(status));
    return succeeded(sender_wait_durable(writer->sender, sequence, 60000), "wait for the disk");
}

/* Takes one sample and replicates it. Returns false if the writer cannot continue. */
static bool replicate_sample(struct writer *writer)
{
    uint64_t timestamp_us = wall_clock_us();
    if (!counters_sample(&writer->counters))
        return false;
    if (!pack_sample(&writer->counters, &writer->payload)) {
        say("out of memory for a sample of %zu counters", writer->counters.count);
        return false;
    }
    /* Nothing else replicates here, so the next sequence is known. */
    struct ledger ledger = writer->ledger;
    enter(&ledger, &writer->counters, sender_current_sequence(writer->sender) + 1, timestamp_us);
    if (!write_journal(writer, &ledger))
        return false;
    uint64_t sequence = 0;
    replication_status status = sender_replicate(writer->sender, timestamp_us, (const uint8_t *)writer->payload.data,
                                                 writer->payload.size, &sequence);
    if (sequence == 0 && (status == REPLICATION_STATUS_BUFFER_FULL || status == REPLICATION_STATUS_DISK_FULL)) {
        writer->ledger.refused++; /* refused; the library reports it as an event */
        return true;
    }
    bool taken = status != REPLICATION_STATUS_OK && sequence != 0 ? is_stored(writer, status, sequence)
                                                                  : succeeded(status, "replicate a sample");
    if (!taken)
        return false;
    if (sequence != ledger.last_sequence) {
        say("entry %" PRIu64 " has the sequence %" PRIu64, ledger.last_sequence, sequence);
        return false;
    }
    writer->ledger = ledger;
    return true;
}

static bool configure(replication_sender_config *config, const struct options *options)
{
    return succeeded(sender_config_set_buffer_size(config, options->buffer_entries), "--buffer-entries") &&
           succeeded(sender_config_set_buffer_bytes(config, options->buffer_bytes), "--buffer-bytes") &&
           succeeded(sender_config_set_full_policy(config, options->policy, options->wait_ms), "--policy") &&
           succeeded(sender_config_set_wal_dir(config, options->wal_dir), "--log-dir") &&
           /* An entry counts as replicated only when it is on disk. */
           succeeded(sender_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_ALWAYS, 0, 0), "log sync") &&
           succeeded(sender_config_set_event_handler(config, print_event, NULL, NULL), "event handler") &&
           (!options->verbose ||
            succeeded(sender_config_set_log_handler(config, REPLICATION_LOG_LEVEL_DEBUG, print_log, NULL, NULL),
                      "log handler"));
}

static bool listen_at(replication_sender *sender, const char *address)
{
    uint16_t port = 0;
    if (!succeeded(sender_listen(sender, address, &port), address))
        return false;
    const char *colon = strrchr(address, ':');
    if (strncmp(address, "unix:", 5) == 0 || colon == NULL)
        printf("{\"event\":\"listening\",\"address\":\"%s\"}\n", address);
    else
        printf("{\"event\":\"listening\",\"address\":\"%.*s:%u\"}\n", (int)(colon - address), address, (unsigned)port);
    fflush(stdout);
    return true;
}

static bool start(struct writer *writer)
{
    replication_sender_config *config = sender_config_new();
    if (config == NULL) {
        say("%s", replication_last_error_message());
        return false;
    }
    bool started = configure(config, writer->options) &&
                   succeeded(sender_new(config, &writer->sender), "make the sender") && open_journal(writer) &&
                   succeeded(sender_start(writer->sender), "start the sender");
    sender_config_free(config); /* the sender has its own copy */
    for (size_t i = 0; started && i < writer->options->address_count; i++)
        started = listen_at(writer->sender, writer->options->addresses[i]);
    return started;
}

static void print_ledger(FILE *file, const struct ledger *ledger)
{
    fprintf(file,
            "\"entries\":%" PRIu64 ",\"records\":%" PRIu64 ",\"checksum\":%" PRId64 ",\"first_sequence\":%" PRIu64
            ",\"last_sequence\":%" PRIu64 ",\"last_timestamp_us\":%" PRIu64 ",\"refused\":%" PRIu64,
            ledger->entries, ledger->records, ledger->checksum, ledger->first_sequence, ledger->last_sequence,
            ledger->last_timestamp_us, ledger->refused);
}

/* Prints a line of JSON: the writer's own accounts, and the library's statistics. */
static void print_stats(const struct writer *writer, const char *event)
{
    char *statistics = NULL;
    if (sender_stats_json(writer->sender, &statistics) != REPLICATION_STATUS_OK)
        statistics = NULL;
    printf("{\"event\":\"%s\",", event);
    print_ledger(stdout, &writer->ledger);
    printf(",\"sender\":%s}\n", statistics != NULL ? statistics : "null");
    replication_string_free(statistics);
    if (fflush(stdout) != 0)
        stop_request(); /* nobody reads the output any more */
}

static bool sample_until_stopped(struct writer *writer)
{
    const struct options *options = writer->options;
    const uint64_t begin = steady_clock_us();
    const uint64_t end = options->duration_s == 0 ? UINT64_MAX : begin + options->duration_s * 1000000;
    const uint64_t stats_interval_us = options->stats_interval_ms * 1000;
    uint64_t next_sample = begin;
    uint64_t next_stats = stats_interval_us == 0 ? UINT64_MAX : begin + stats_interval_us;
    for (uint64_t now = begin; now < end; now = steady_clock_us()) {
        if (now >= next_sample) {
            for (uint64_t i = 0; i < options->burst; i++)
                if (!replicate_sample(writer))
                    return false;
            /* A late sample does not delay later ones; samples missed while the process was paused are skipped. */
            next_sample += options->interval_us;
            if (next_sample + 1000000 < now)
                next_sample = now;
        }
        if (now >= next_stats) {
            print_stats(writer, "stats");
            next_stats = now + stats_interval_us;
        }
        uint64_t next = next_sample < next_stats ? next_sample : next_stats;
        if (next > end)
            next = end;
        now = steady_clock_us();
        if (stop_wait(next > now ? next - now : 0))
            break;
    }
    return true;
}

/* Writes the file completely or not at all: it appears under its name once all of it is written. */
static bool write_ledger(const char *path, const struct ledger *ledger)
{
    char temporary[4096];
    if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary) {
        say("%s: the name is too long", path);
        return false;
    }
    FILE *file = fopen(temporary, "w");
    bool written = file != NULL;
    if (written) {
        fputc('{', file);
        print_ledger(file, ledger);
        fputs("}\n", file);
        written = !ferror(file);
        written = fclose(file) == 0 && written;
    }
    if (!written || rename(temporary, path) != 0) {
        say("%s: %s", path, strerror(errno));
        return false;
    }
    return true;
}

static int run(const struct options *options)
{
    struct writer writer = {.options = options, .journal = -1};
    msgpack_sbuffer_init(&writer.payload);
    bool started = counters_open(&writer.counters) && start(&writer);
    if (started && sender_current_sequence(writer.sender) > 0)
        print_stats(&writer, "continued");
    bool done = started && sample_until_stopped(&writer);
    if (started) {
        /* Refuses new entries, sends readers the entries that they lack, then closes. */
        done = succeeded(sender_stop(writer.sender), "stop the sender") && done;
        print_stats(&writer, "stopped");
        if (options->ledger != NULL)
            done = write_ledger(options->ledger, &writer.ledger) && done;
    }
    sender_free(writer.sender);
    if (writer.journal >= 0)
        close(writer.journal);
    counters_close(&writer.counters);
    msgpack_sbuffer_destroy(&writer.payload);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void parse_policy(struct options *options, const char *text)
{
    if (strcmp(text, "cut-off") == 0) {
        options->policy = REPLICATION_FULL_POLICY_CUT_OFF_SLOWEST;
    } else if (strcmp(text, "refuse") == 0) {
        options->policy = REPLICATION_FULL_POLICY_REFUSE;
    } else if (strncmp(text, "wait:", 5) == 0) {
        options->policy = REPLICATION_FULL_POLICY_WAIT;
        options->wait_ms = parse_number("--policy wait:MS", text + 5, 0, 3600000);
    } else {
        usage_error("--policy takes cut-off, refuse or wait:MS, not '%s'", text);
    }
}

static struct options parse_options(int argc, char **argv)
{
    enum {
        LISTEN = 256,
        INTERVAL,
        BURST,
        BUFFER_ENTRIES,
        BUFFER_BYTES,
        POLICY,
        LOG_DIR,
        DURATION,
        STATS_INTERVAL,
        LEDGER,
        VERBOSE
    };
    static const struct option names[] = {
        {"listen", required_argument, NULL, LISTEN},
        {"interval-us", required_argument, NULL, INTERVAL},
        {"burst", required_argument, NULL, BURST},
        {"buffer-entries", required_argument, NULL, BUFFER_ENTRIES},
        {"buffer-bytes", required_argument, NULL, BUFFER_BYTES},
        {"policy", required_argument, NULL, POLICY},
        {"log-dir", required_argument, NULL, LOG_DIR},
        {"duration", required_argument, NULL, DURATION},
        {"stats-interval-ms", required_argument, NULL, STATS_INTERVAL},
        {"ledger", required_argument, NULL, LEDGER},
        {"verbose", no_argument, NULL, VERBOSE},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct options options = {.interval_us = 50000,
                              .burst = 1,
                              .buffer_entries = 10000,
                              .buffer_bytes = 64 << 20,
                              .policy = REPLICATION_FULL_POLICY_CUT_OFF_SLOWEST,
                              .stats_interval_ms = 1000};
    for (int option; (option = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        switch (option) {
        case LISTEN:
            if (options.address_count == MAX_ADDRESSES)
                usage_error("--listen may be given %d times at most", MAX_ADDRESSES);
            options.addresses[options.address_count++] = optarg;
            break;
        case INTERVAL:
            options.interval_us = parse_number("--interval-us", optarg, 1, 3600000000);
            break;
        case BURST:
            options.burst = parse_number("--burst", optarg, 1, 1000000);
            break;
        case BUFFER_ENTRIES:
            options.buffer_entries = (size_t)parse_number("--buffer-entries", optarg, 1, SIZE_MAX);
            break;
        case BUFFER_BYTES:
            options.buffer_bytes = parse_number("--buffer-bytes", optarg, 65536, UINT64_MAX);
            break;
        case POLICY:
            parse_policy(&options, optarg);
            break;
        case LOG_DIR:
            options.wal_dir = optarg;
            break;
        case DURATION:
            options.duration_s = parse_number("--duration", optarg, 1, 1000000000);
            break;
        case STATS_INTERVAL:
            options.stats_interval_ms = parse_number("--stats-interval-ms", optarg, 0, 3600000);
            break;
        case LEDGER:
            options.ledger = optarg;
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
    if (options.address_count == 0)
        options.addresses[options.address_count++] = "127.0.0.1:9471";
    return options;
}

int main(int argc, char **argv)
{
    common_init("writer");
    struct options options = parse_options(argc, argv);
    if (!stop_init())
        return EXIT_FAILURE;
    return run(&options);
}
