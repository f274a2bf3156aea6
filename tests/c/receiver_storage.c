/* Tokens that the host stores with its data, and the receiver's own log on disk. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"
#include "json.h"
#include "peer.h"

enum { SEGMENT_BYTES = 65536 };

/* A directory of the test's own that is not there yet. Good until the process ends. */
static const char *new_dir(void)
{
    static char dirs[8][160];
    static size_t used;
    char name[16];
    CHECK(used < COUNT(dirs));
    snprintf(name, sizeof name, "log-%zu", used);
    snprintf(dirs[used], sizeof dirs[used], "%s", temp_path(name));
    return dirs[used++];
}

/* A receiver for `inbox` with a log in `dir`, in small files. */
static replication_receiver_config *config_for(const char *dir, const char *address, struct inbox *inbox)
{
    replication_receiver_config *config = receiver_config_for("reader", address, inbox);
    CHECK_OK(receiver_config_set_wal_dir(config, dir));
    CHECK_OK(receiver_config_set_wal_segment_bytes(config, SEGMENT_BYTES));
    return config;
}

static struct inbox *inbox_after(uint64_t sequence)
{
    struct inbox *inbox = inbox_new();
    inbox->last_sequence = sequence;
    return inbox;
}

#define CHECK_NOT_MADE(config, status, culprit)                                                                        \
    do {                                                                                                               \
        replication_receiver_config *config_ = (config);                                                               \
        replication_receiver *made_ = NULL;                                                                            \
        CHECK_ERROR(receiver_new(config_, &made_), status, culprit);                                                   \
        CHECK(made_ == NULL);                                                                                          \
        receiver_config_free(config_);                                                                                 \
    } while (0)

TEST(every_option_can_be_set)
{
    replication_sender *sender = start_sender(NULL);
    replicate_many(sender, 3);
    const struct place token = place_of_sender(sender);
    struct inbox *inbox = inbox_after(3);
    replication_receiver_config *config = receiver_config_for("reader", tcp_address(listen_tcp(sender)), inbox);
    CHECK_OK(receiver_config_set_wal_dir(config, NULL));
    CHECK_OK(receiver_config_set_wal_dir(config, new_dir()));
    CHECK_OK(receiver_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_ALWAYS, 0, 0));
    CHECK_OK(receiver_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_OS, 0, 0));
    CHECK_OK(receiver_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_GROUP, 1, 1));
    CHECK_OK(receiver_config_set_wal_segment_bytes(config, 65536));
    CHECK_OK(receiver_config_set_wal_retain_bytes(config, 0));
    CHECK_OK(receiver_config_set_wal_retain_bytes(config, UINT64_MAX));
    CHECK_OK(receiver_config_set_wal_retain_ms(config, UINT64_MAX));
    CHECK_OK(receiver_config_set_token(config, PLACE(token)));
    replication_receiver *receiver = start_receiver(config);
    wait_for(receiver, replicate_text(sender, "four"));
    CHECK_U64(inbox_count(inbox), 1);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

TEST(every_function_refuses_null)
{
    const struct place token = place_at(1, 1);
    struct place out = {0};
    const int32_t given[] = {
        receiver_config_set_wal_dir(NULL, "/tmp"),
        receiver_config_set_wal_sync(NULL, REPLICATION_SYNC_POLICY_ALWAYS, 0, 0),
        receiver_config_set_wal_segment_bytes(NULL, 65536),
        receiver_config_set_wal_retain_bytes(NULL, 1),
        receiver_config_set_wal_retain_ms(NULL, 1),
        receiver_config_set_token(NULL, PLACE(token)),
    };
    for (size_t i = 0; i < COUNT(given); i++)
        if (given[i] != REPLICATION_STATUS_INVALID_ARGUMENT)
            FAIL("setter %zu gave %s", i, replication_status_name(given[i]));
    CHECK_CONTAINS(replication_last_error_message(), "config is NULL");
    CHECK_ERROR(receiver_token(NULL, PLACE_ROOM(out)), REPLICATION_STATUS_INVALID_ARGUMENT, "receiver is NULL");
    struct inbox *inbox = inbox_new();
    replication_receiver *receiver = make_receiver(receiver_config_for("reader", "127.0.0.1:1", inbox));
    CHECK_ERROR(receiver_token(receiver, NULL, 96, &out.len), REPLICATION_STATUS_INVALID_ARGUMENT, "token is NULL");
    CHECK_ERROR(receiver_token(receiver, out.bytes, 96, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "out_len");
    CHECK_ERROR(receiver_batch_token(receiver, 0, PLACE_ROOM(out)), REPLICATION_STATUS_INVALID_STATE, "batch handler");
    CHECK_ERROR(receiver_wait_token(receiver, NULL, 48, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "token is NULL");
    receiver_free(receiver);
    inbox_free(inbox);
}

TEST(every_setter_refuses_values_out_of_range)
{
    replication_receiver_config *config = receiver_config_new();
    CHECK_ERROR(receiver_config_set_wal_dir(config, ""), REPLICATION_STATUS_INVALID_ARGUMENT, "empty");
    CHECK_ERROR(receiver_config_set_wal_dir(config, "/tmp/\xff"), REPLICATION_STATUS_INVALID_ARGUMENT, "UTF-8");
    CHECK_ERROR(receiver_config_set_wal_sync(config, 3, 1, 1), REPLICATION_STATUS_INVALID_ARGUMENT, "3");
    CHECK_ERROR(receiver_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_GROUP, 0, 1),
                REPLICATION_STATUS_INVALID_ARGUMENT, "interval_ms");
    CHECK_ERROR(receiver_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_GROUP, 1, 0),
                REPLICATION_STATUS_INVALID_ARGUMENT, "bytes");
    CHECK_ERROR(receiver_config_set_wal_segment_bytes(config, 65535), REPLICATION_STATUS_INVALID_ARGUMENT, "65535");
    CHECK_ERROR(receiver_config_set_wal_segment_bytes(config, 1073741825), REPLICATION_STATUS_INVALID_ARGUMENT,
                "65536 to 1073741824");
    CHECK_ERROR(receiver_config_set_wal_retain_ms(config, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "age_ms");
    CHECK_ERROR(receiver_config_set_token(config, NULL, 48), REPLICATION_STATUS_INVALID_ARGUMENT, "token is NULL");
    receiver_config_free(config);
}

TEST(options_that_contradict_each_other_are_refused)
{
    struct inbox *inbox = inbox_new();
    replication_receiver_config *config = config_for(new_dir(), "127.0.0.1:1", inbox);
    CHECK_OK(receiver_config_set_protocol(config, REPLICATION_PROTOCOL_V1));
    CHECK_NOT_MADE(config, REPLICATION_STATUS_INVALID_ARGUMENT, "v1");
    config = config_for(new_dir(), "127.0.0.1:1", inbox);
    CHECK_OK(receiver_config_set_gap_policy(config, REPLICATION_GAP_POLICY_CONTINUE));
    CHECK_NOT_MADE(config, REPLICATION_STATUS_INVALID_ARGUMENT, "gap policy");
    inbox_free(inbox);
}

TEST(a_damaged_token_is_refused)
{
    replication_sender *sender = start_sender(NULL);
    struct place token = place_of_sender(sender);
    sender_free(sender);
    replication_receiver_config *config = receiver_config_new();
    for (size_t i = 0; i < token.len; i++) {
        token.bytes[i] ^= 0x10;
        CHECK_ERROR(receiver_config_set_token(config, PLACE(token)), REPLICATION_STATUS_INVALID_ARGUMENT, "token");
        token.bytes[i] ^= 0x10;
        CHECK_ERROR(receiver_config_set_token(config, token.bytes, i), REPLICATION_STATUS_INVALID_ARGUMENT, "token");
    }
    CHECK_OK(receiver_config_set_token(config, PLACE(token)));
    receiver_config_free(config);
}

TEST(there_is_no_token_without_a_stream)
{
    struct place token = {0};
    struct inbox *inbox = inbox_new();
    replication_receiver *receiver = make_receiver(receiver_config_for("reader", "127.0.0.1:1", inbox));
    CHECK_STATUS(receiver_token(receiver, PLACE_ROOM(token)), REPLICATION_STATUS_NOT_FOUND);
    receiver_free(receiver);
    inbox_free(inbox);
    /* v1 names no stream. */
    inbox = inbox_new();
    replication_sender *sender = start_sender(NULL);
    replication_receiver_config *config = receiver_config_for("reader", tcp_address(listen_tcp(sender)), inbox);
    CHECK_OK(receiver_config_set_protocol(config, REPLICATION_PROTOCOL_V1));
    receiver = start_receiver(config);
    wait_for(receiver, replicate_text(sender, "one"));
    CHECK_STATUS(receiver_token(receiver, PLACE_ROOM(token)), REPLICATION_STATUS_NOT_FOUND);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

/* ---- the token in a handler ---- */

enum { ENTRIES = 300 };

/* A handler's memory: the token that it was given with each entry that was the last of a call. */
struct places {
    replication_receiver *receiver;
    struct place tokens[ENTRIES + 1];
    size_t calls;
    size_t largest;
    int refuse; /* so many calls */
};

static int32_t note_place(struct places *places, uint64_t last, size_t count)
{
    places->tokens[last] = place_of_receiver(places->receiver);
    CHECK_U64(place_sequence(places->tokens[last]), last);
    places->calls++;
    if (count > places->largest)
        places->largest = count;
    if (places->refuse == 0)
        return 0;
    places->refuse--;
    return 1;
}

static int32_t note_entry(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload, size_t len)
{
    (void)timestamp_us, (void)payload, (void)len;
    return note_place(user_data, sequence, 1);
}

static int32_t note_batch(void *user_data, const replication_entry *entries, size_t count, size_t *applied)
{
    struct places *places = user_data;
    if (note_place(places, entries[count - 1].sequence, count) == 0)
        return 0;
    *applied = count / 2; /* the rest comes again, and with it the place after it */
    return 1;
}

static int32_t note_record(void *user_data, uint64_t sequence, uint64_t timestamp_us, const replication_records *rows)
{
    (void)timestamp_us;
    CHECK_U64(replication_records_count(rows), 1);
    return note_place(user_data, sequence, 1);
}

enum handler { SINGLE, BATCH, RECORD };

static void follow_places(uint16_t port, enum handler handler, struct places *places)
{
    struct inbox *unused = inbox_new();
    replication_receiver_config *config = receiver_config_for("places", tcp_address(port), unused);
    if (handler == SINGLE)
        CHECK_OK(receiver_config_set_ingest_handler(config, note_entry, places, NULL));
    else if (handler == BATCH)
        CHECK_OK(receiver_config_set_ingest_batch_handler(config, 64, note_batch, places, NULL));
    else
        CHECK_OK(receiver_config_set_record_handler(config, note_record, places, NULL));
    places->receiver = make_receiver(config);
    CHECK_OK(receiver_start(places->receiver));
    wait_for(places->receiver, ENTRIES);
    /* After what was applied last. */
    CHECK(place_is(place_of_receiver(places->receiver), places->tokens[ENTRIES]));
    CHECK_OK(receiver_stop(places->receiver));
    CHECK(place_is(place_of_receiver(places->receiver), places->tokens[ENTRIES]));
    receiver_free(places->receiver);
    inbox_free(unused);
}

TEST(p7_in_every_handler_the_token_is_the_place_after_what_is_applied)
{
    static const uint8_t payload[] = "\x91\x81\xa1k\x01"; /* [{"k": 1}] */
    static struct places places[3];
    replication_sender *sender = start_sender(NULL);
    for (size_t i = 0; i < ENTRIES; i++)
        CHECK_OK(sender_replicate(sender, i, payload, sizeof payload - 1, NULL));
    uint16_t port = listen_tcp(sender);
    for (enum handler handler = SINGLE; handler <= RECORD; handler++) {
        places[handler].refuse = 2;
        follow_places(port, handler, &places[handler]);
    }
    /* Whoever asks, and however many entries a call has: a place has one token. */
    for (size_t i = 1; i <= ENTRIES; i++) {
        CHECK(place_is(places[SINGLE].tokens[i], places[RECORD].tokens[i]));
        CHECK(places[BATCH].tokens[i].len == 0 || place_is(places[SINGLE].tokens[i], places[BATCH].tokens[i]));
    }
    CHECK(places[BATCH].largest > 1);
    CHECK(place_is(place_of_sender(sender), places[SINGLE].tokens[ENTRIES]));
    sender_free(sender);
}

/* A database that commits half of a batch with the token of that half, and then fails. */
struct halves {
    replication_receiver *receiver;
    struct place committed;
    uint64_t last;
    bool failing; /* after the half of one batch */
    atomic_bool failed;
};

static int32_t commit_half(void *user_data, const replication_entry *entries, size_t count, size_t *applied)
{
    struct halves *halves = user_data;
    struct place room = {0};
    size_t take = halves->failing ? (count + 1) / 2 : count;
    CHECK_U64(entries[0].sequence, halves->last + 1);
    CHECK_OK(receiver_batch_token(halves->receiver, 0, PLACE_ROOM(room)));
    CHECK_U64(place_sequence(room), halves->last);
    CHECK_OK(receiver_batch_token(halves->receiver, count, PLACE_ROOM(room)));
    CHECK(place_is(room, place_of_receiver(halves->receiver)));
    CHECK_ERROR(receiver_batch_token(halves->receiver, count + 1, PLACE_ROOM(room)),
                REPLICATION_STATUS_INVALID_ARGUMENT, "the call has");
    CHECK_STATUS(receiver_batch_token(halves->receiver, 1, room.bytes, 47, &room.len),
                 REPLICATION_STATUS_BUFFER_TOO_SMALL);
    CHECK_OK(receiver_batch_token(halves->receiver, take, PLACE_ROOM(halves->committed)));
    halves->last += take;
    CHECK_U64(place_sequence(halves->committed), halves->last);
    *applied = take;
    if (take == count)
        return 0;
    atomic_store(&halves->failed, true);
    return 1;
}

static replication_receiver *follow_by_halves(uint16_t port, struct halves *halves)
{
    struct inbox *unused = inbox_new();
    replication_receiver_config *config = receiver_config_for("halves", tcp_address(port), unused);
    CHECK_OK(receiver_config_set_ingest_batch_handler(config, 64, commit_half, halves, NULL));
    CHECK_OK(receiver_config_set_apply_policy(config, REPLICATION_APPLY_POLICY_STOP, 0));
    if (halves->committed.len > 0)
        CHECK_OK(receiver_config_set_token(config, PLACE(halves->committed)));
    halves->receiver = make_receiver(config);
    inbox_free(unused);
    CHECK_OK(receiver_start(halves->receiver));
    return halves->receiver;
}

TEST(p10_a_part_of_a_batch_is_committed_with_its_token)
{
    struct halves halves = {.failing = true};
    replication_sender *sender = start_sender(NULL);
    replicate_many(sender, ENTRIES);
    uint16_t port = listen_tcp(sender);
    replication_receiver *receiver = follow_by_halves(port, &halves);
    struct place room = {0};
    WAIT_UNTIL(atomic_load(&halves.failed));
    CHECK_ERROR(receiver_batch_token(receiver, 0, PLACE_ROOM(room)), REPLICATION_STATUS_INVALID_STATE, "batch handler");
    receiver_free(receiver);
    CHECK(halves.last < ENTRIES);
    /* The rest, from the token, exactly once: the handler checks each batch's first sequence. */
    halves.failing = false;
    receiver = follow_by_halves(port, &halves);
    wait_for(receiver, ENTRIES);
    receiver_free(receiver);
    CHECK_U64(halves.last, ENTRIES);
    CHECK(place_is(halves.committed, place_of_sender(sender)));
    sender_free(sender);
}

/* ---- exactly once ---- */

/* A database in a file: what was applied, and the token, which change together by a rename. */
struct database {
    struct place token;
    uint64_t count, sum, last;
};

static bool database_load(const char *path, struct database *database)
{
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return false;
    CHECK(read(fd, database, sizeof *database) == sizeof *database);
    close(fd);
    return true;
}

static struct database database;
static const char *database_path;
static replication_receiver *database_receiver;

static int32_t commit(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload, size_t len)
{
    char temporary[300];
    (void)user_data, (void)timestamp_us, (void)payload, (void)len;
    struct database next = database;
    next.token = place_of_receiver(database_receiver);
    next.count++;
    next.sum += sequence;
    next.last = sequence;
    snprintf(temporary, sizeof temporary, "%s.new", database_path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, &next, sizeof next) == sizeof next && close(fd) == 0);
    CHECK(rename(temporary, database_path) == 0);
    database = next;
    return 0;
}

/* A reader that goes on from what is in its database, until it is killed. */
static _Noreturn void be_reader(const char *port, const char *path)
{
    struct inbox *unused = inbox_new();
    database_path = path;
    replication_receiver_config *config = receiver_config_for("reader", tcp_address((uint16_t)atoi(port)), unused);
    CHECK_OK(receiver_config_set_ingest_handler(config, commit, NULL, NULL));
    if (database_load(path, &database))
        CHECK_OK(receiver_config_set_token(config, PLACE(database.token)));
    database_receiver = make_receiver(config);
    CHECK_OK(receiver_start(database_receiver));
    for (;;)
        pause();
}

static pid_t start_reader(uint16_t port, const char *path)
{
    char number[16];
    snprintf(number, sizeof number, "%u", (unsigned)port);
    return harness_start_role("--reader", number, path);
}

static bool database_has(const char *path, uint64_t last)
{
    struct database now = {0};
    return database_load(path, &now) && now.last >= last;
}

TEST(p10_a_killed_reader_goes_on_from_its_token_exactly_once)
{
    enum { ROUNDS = 4, STEP = 100 };
    char path[200];
    snprintf(path, sizeof path, "%s", temp_path("database"));
    replication_sender_config *sender_config = sender_config_new();
    CHECK_OK(sender_config_set_wal_dir(sender_config, new_dir()));
    CHECK_OK(sender_config_set_buffer_size(sender_config, 50));
    replication_sender *sender = start_sender(sender_config);
    uint16_t port = listen_tcp(sender);
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        pid_t reader = start_reader(port, path);
        replicate_many(sender, STEP);
        WAIT_UNTIL(
            database_has(path, round * STEP - STEP / 2)); /* somewhere in the middle, but at the end at the end */
        WAIT_UNTIL(round < ROUNDS || database_has(path, (uint64_t)ROUNDS * STEP));
        CHECK(kill(reader, SIGKILL) == 0);
        CHECK(harness_wait_child(reader) == -SIGKILL);
    }
    struct database last = {0};
    CHECK(database_load(path, &last));
    CHECK_U64(last.count, ROUNDS * STEP);
    CHECK_U64(last.sum, (uint64_t)ROUNDS * STEP * (ROUNDS * STEP + 1) / 2);
    CHECK(place_is(place_of_sender(sender), last.token));
    sender_free(sender);
}

TEST(p7_a_token_of_another_history_is_refused)
{
    const struct place beginning = place_at(1, 0);
    struct inbox *inbox = inbox_after(5);
    struct events *events = events_new(), *sender_events = events_new();
    replication_sender *senders[2];
    for (size_t i = 0; i < 2; i++) {
        replication_sender_config *config = sender_config_new();
        CHECK_OK(sender_config_set_token(config, PLACE(beginning), 0));
        if (i == 1)
            sender_config_listen_to(config, sender_events);
        senders[i] = start_sender(config);
        for (int entry = 0; entry < 5; entry++)
            replicate_text(senders[i], entry == 2 && i == 1 ? "another" : "the same");
    }
    const struct place token = place_of_sender(senders[0]);
    replication_receiver_config *config = receiver_config_for("reader", tcp_address(listen_tcp(senders[1])), inbox);
    CHECK_OK(receiver_config_set_token(config, PLACE(token)));
    receiver_config_listen_to(config, events);
    replication_receiver *receiver = start_receiver(config);
    CHECK_U64(events_wait(events, REPLICATION_EVENT_KIND_DIVERGED).status, REPLICATION_STATUS_DIVERGED);
    CHECK_U64(events_wait(sender_events, REPLICATION_EVENT_KIND_REFUSED).status, REPLICATION_STATUS_DIVERGED);
    CHECK_U64(inbox_count(inbox), 0);
    receiver_free(receiver);
    sender_free(senders[0]);
    sender_free(senders[1]);
    inbox_free(inbox);
    events_free(events);
    events_free(sender_events);
}

/* ---- the receiver's own log ---- */

TEST(p6_p10_a_local_log_makes_durable_and_applies_later)
{
    const char *dir = new_dir();
    struct inbox *inbox = inbox_new();
    replication_sender *sender = start_sender(NULL);
    replication_receiver *receiver = start_receiver(config_for(dir, tcp_address(listen_tcp(sender)), inbox));
    wait_for(receiver, replicate_text(sender, "one"));
    atomic_store(&inbox->refusals, 1000000);
    replicate_many(sender, 9);
    CHECK_OK(sender_wait_acked(sender, 10, REPLICATION_ACK_LEVEL_DURABLE, 1, PATIENCE_MS, NULL));
    CHECK_U64(receiver_last_sequence(receiver), 1);
    char *json = NULL;
    CHECK_OK(receiver_stats_json(receiver, &json));
    CHECK(json_is_string(json, "wal_dir", dir));
    CHECK_U64(json_u64(json, "wal_written_sequence"), 10);
    CHECK_U64(json_u64(json, "wal_durable_sequence"), 10);
    CHECK_U64(json_u64(json, "wal_oldest_sequence"), 1);
    CHECK_U64(json_u64(json, "wal_segments"), 1);
    CHECK(json_u64(json, "wal_bytes") > 10 * 32);
    replication_string_free(json);
    receiver_free(receiver);
    sender_free(sender); /* there is no writer any more */
    inbox_free(inbox);

    inbox = inbox_after(1);
    receiver = start_receiver(config_for(dir, "127.0.0.1:1", inbox));
    wait_for(receiver, 10);
    CHECK_U64(inbox_count(inbox), 9);
    const struct place token = place_of_receiver(receiver); /* the log knows the stream */
    CHECK_U64(place_sequence(token), 10);
    receiver_free(receiver);
    inbox_free(inbox);

    /* A host that keeps a token of its own is believed before the log's note. */
    inbox = inbox_after(10);
    replication_receiver_config *config = config_for(dir, "127.0.0.1:1", inbox);
    CHECK_OK(receiver_config_set_token(config, PLACE(token)));
    receiver = start_receiver(config);
    CHECK_STATUS(receiver_wait_sequence(receiver, 11, 100), REPLICATION_STATUS_TIMEOUT);
    CHECK_U64(receiver_last_sequence(receiver), 10);
    CHECK_U64(inbox_count(inbox), 0);
    receiver_free(receiver);
    inbox_free(inbox);
}

static bool first_file_is_there(const char *dir)
{
    char path[256];
    struct stat status;
    snprintf(path, sizeof path, "%s/00000000000000000001.seg", dir);
    return stat(path, &status) == 0;
}

TEST(p5_a_local_log_keeps_what_it_is_told_to)
{
    static const uint8_t payload[1024];
    const char *dir = new_dir();
    struct inbox *inbox = inbox_new();
    replication_sender *sender = start_sender(NULL);
    replication_receiver_config *config = config_for(dir, tcp_address(listen_tcp(sender)), inbox);
    CHECK_OK(receiver_config_set_wal_retain_bytes(config, SEGMENT_BYTES));
    replication_receiver *receiver = start_receiver(config);
    for (size_t i = 0; i < 5 * SEGMENT_BYTES / sizeof payload; i++)
        CHECK_OK(sender_replicate(sender, 1, payload, sizeof payload, NULL));
    wait_for(receiver, sender_current_sequence(sender));
    /* Retention is looked after with each new file, and every few seconds, when something is applied. */
    int64_t since = now_ms();
    while (first_file_is_there(dir)) {
        wait_for(receiver, replicate_text(sender, "more"));
        harness_poll(__FILE__, __LINE__, "the first file to go", since);
    }
    WAIT_UNTIL(receiver_stat(receiver, "wal_oldest_sequence") > 1);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

TEST(p7_a_receivers_directory_becomes_a_writers)
{
    const char *dir = new_dir();
    struct inbox *inbox = inbox_new(), *other = inbox_new();
    struct events *events = events_new();
    replication_sender_config *first = sender_config_new();
    const struct place beginning = place_at(7, 0);
    CHECK_OK(sender_config_set_token(first, PLACE(beginning), 0));
    replication_sender *old = start_sender(first);
    uint16_t port = listen_tcp(old);
    replication_receiver *promoted = start_receiver(config_for(dir, tcp_address(port), inbox));
    replication_receiver *reader = follow(port, "other", other);
    replicate_many(old, 20);
    wait_for(promoted, 20);
    wait_for(reader, 20);
    const struct place token = place_of_receiver(promoted);
    struct place theirs = place_of_receiver(reader);
    CHECK(place_is(token, theirs));
    receiver_free(promoted);
    receiver_free(reader);
    inbox_free(other);

    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_wal_dir(config, dir));
    CHECK_OK(sender_config_set_token(config, PLACE(token), place_epoch(token) + 1));
    replication_sender *sender = start_sender(config);
    CHECK_U64(sender_current_sequence(sender), 20);
    CHECK_U64(replicate_text(sender, "of the new writer"), 21);
    /* The other reader follows from its token, and one that has nothing gets the old writer's entries too. */
    other = inbox_after(20);
    uint16_t new_port = listen_tcp(sender);
    replication_receiver_config *following = receiver_config_for("other", tcp_address(new_port), other);
    CHECK_OK(receiver_config_set_token(following, PLACE(theirs)));
    reader = start_receiver(following);
    wait_for(reader, 21);
    theirs = place_of_receiver(reader);
    CHECK_U64(place_epoch(theirs), 8);
    struct inbox *everything = inbox_new();
    replication_receiver *fresh = follow(new_port, "fresh", everything);
    wait_for(fresh, 21);
    CHECK_U64(inbox_count(everything), 21);
    /* Nobody who has seen the new epoch goes back to the old writer. */
    replicate_many(old, 10);
    struct inbox *back = inbox_after(21);
    replication_receiver_config *going_back = receiver_config_for("back", tcp_address(port), back);
    CHECK_OK(receiver_config_set_token(going_back, PLACE(theirs)));
    receiver_config_listen_to(going_back, events);
    replication_receiver *lost = start_receiver(going_back);
    CHECK_U64(events_wait(events, REPLICATION_EVENT_KIND_DIVERGED).status, REPLICATION_STATUS_DIVERGED);
    CHECK_U64(inbox_count(back), 0);
    receiver_free(lost);
    receiver_free(fresh);
    receiver_free(reader);
    sender_free(sender);
    sender_free(old);
    inbox_free(back);
    inbox_free(everything);
    inbox_free(other);
    inbox_free(inbox);
    events_free(events);
}

/* A writer that was made anew in its place ends the waits for what the old one had. */
static void *wait_in_vain(void *receiver)
{
    CHECK_STATUS(receiver_wait_sequence(receiver, 1000, 60 * 1000), REPLICATION_STATUS_LINEAGE_CHANGED);
    return NULL;
}

TEST(a_wait_ends_when_the_writer_changes)
{
    struct inbox *inbox = inbox_new();
    replication_sender *sender = start_sender(NULL);
    uint16_t port = listen_tcp(sender);
    replication_receiver *receiver = follow(port, "reader", inbox);
    wait_for(receiver, replicate_text(sender, "one"));
    const struct place token = place_of_sender(sender);
    unsigned long waiting = thread_start(wait_in_vain, receiver);
    sender_free(sender);
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_token(config, PLACE(token), place_epoch(token) + 1));
    sender = start_sender(config);
    CHECK_OK(sender_listen(sender, tcp_address(port), NULL));
    thread_join(waiting);
    wait_for(receiver, replicate_text(sender, "two"));
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

TEST(a_log_is_open_once)
{
    const char *dir = new_dir();
    struct inbox *inbox = inbox_new();
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_wal_dir(config, dir));
    replication_sender *sender = start_sender(config);
    CHECK_NOT_MADE(config_for(dir, "127.0.0.1:1", inbox), REPLICATION_STATUS_LOCKED, dir);
    sender_free(sender);
    replication_receiver *receiver = make_receiver(config_for(dir, "127.0.0.1:1", inbox));
    config = sender_config_new();
    CHECK_OK(sender_config_set_wal_dir(config, dir));
    CHECK_ERROR(sender_new(config, &sender), REPLICATION_STATUS_LOCKED, dir);
    sender_config_free(config);
    receiver_free(receiver);
    inbox_free(inbox);
}

static void spoil(const char *dir, const char *name, off_t at)
{
    char path[256];
    uint8_t byte = 0;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0);
    CHECK(pread(fd, &byte, 1, at) == 1);
    byte ^= 0x40;
    CHECK(pwrite(fd, &byte, 1, at) == 1);
    close(fd);
}

TEST(p8_a_damaged_log_is_refused_and_named)
{
    const char *dir = new_dir();
    struct inbox *inbox = inbox_new();
    replication_sender *sender = start_sender(NULL);
    replication_receiver *receiver = start_receiver(config_for(dir, tcp_address(listen_tcp(sender)), inbox));
    replicate_many(sender, 10);
    wait_for(receiver, 10);
    receiver_free(receiver);
    sender_free(sender);
    spoil(dir, "00000000000000000001.seg", 16384 + 40);
    CHECK_NOT_MADE(config_for(dir, "127.0.0.1:1", inbox), REPLICATION_STATUS_DAMAGED, "00000000000000000001.seg");
    spoil(dir, "00000000000000000001.seg", 16384 + 40);
    spoil(dir, "applied", 2);
    CHECK_NOT_MADE(config_for(dir, "127.0.0.1:1", inbox), REPLICATION_STATUS_DAMAGED, "applied");
    inbox_free(inbox);
}

TEST(a_token_must_fit_the_log)
{
    const char *dir = new_dir();
    struct inbox *inbox = inbox_new();
    replication_sender *sender = start_sender(NULL);
    replication_receiver *receiver = start_receiver(config_for(dir, tcp_address(listen_tcp(sender)), inbox));
    replicate_many(sender, 10);
    wait_for(receiver, 10);
    receiver_free(receiver);
    sender_free(sender);
    sender = start_sender(NULL); /* another stream */
    replicate_many(sender, 10);
    const struct place token = place_of_sender(sender);
    sender_free(sender);
    replication_receiver_config *config = config_for(dir, "127.0.0.1:1", inbox);
    CHECK_OK(receiver_config_set_token(config, PLACE(token)));
    CHECK_NOT_MADE(config, REPLICATION_STATUS_DIVERGED, dir);
    inbox_free(inbox);
}

TEST(a_directory_that_cannot_be_used_is_named)
{
    char path[256];
    const char *dir = new_dir(), *file = new_dir();
    struct inbox *inbox = inbox_new();
    snprintf(path, sizeof path, "%s/missing/log", dir);
    CHECK_NOT_MADE(config_for(path, "127.0.0.1:1", inbox), REPLICATION_STATUS_IO, "missing/log");
    int fd = open(file, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0);
    close(fd);
    CHECK_NOT_MADE(config_for(file, "127.0.0.1:1", inbox), REPLICATION_STATUS_IO, file);
    CHECK_NOT_MADE(config_for("/proc/no-log-here", "127.0.0.1:1", inbox), REPLICATION_STATUS_IO, "/proc/no-log-here");
    inbox_free(inbox);
}

/* A v1 writer has no stream that a log could be of. */
TEST(a_local_log_does_not_follow_a_v1_writer)
{
    uint16_t port = 0;
    char id[256];
    struct inbox *inbox = inbox_new();
    struct events *events = events_new();
    int listener = listen_local(&port);
    replication_receiver_config *config = config_for(new_dir(), tcp_address(port), inbox);
    receiver_config_listen_to(config, events);
    replication_receiver *receiver = start_receiver(config);
    struct peer peer;
    peer_open(&peer, accept_one(listener));
    CHECK_U64(peer_expect_sync(&peer, SYNC, id), 0);
    peer_send_sync_ack(&peer, 3, true, NULL);
    CHECK_CONTAINS(events_wait(events, REPLICATION_EVENT_KIND_PROTOCOL_ERROR).message, "v1");
    CHECK_U64(inbox_count(inbox), 0);
    receiver_free(receiver);
    peer_close(&peer);
    close(listener);
    inbox_free(inbox);
    events_free(events);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        CASE(every_option_can_be_set),
        CASE(every_function_refuses_null),
        CASE(every_setter_refuses_values_out_of_range),
        CASE(options_that_contradict_each_other_are_refused),
        CASE(a_damaged_token_is_refused),
        CASE(there_is_no_token_without_a_stream),
        CASE(p7_in_every_handler_the_token_is_the_place_after_what_is_applied),
        CASE(p10_a_part_of_a_batch_is_committed_with_its_token),
        CASE(p10_a_killed_reader_goes_on_from_its_token_exactly_once),
        CASE(p7_a_token_of_another_history_is_refused),
        CASE(p6_p10_a_local_log_makes_durable_and_applies_later),
        CASE(p5_a_local_log_keeps_what_it_is_told_to),
        CASE(p7_a_receivers_directory_becomes_a_writers),
        CASE(a_wait_ends_when_the_writer_changes),
        CASE(a_log_is_open_once),
        CASE(p8_a_damaged_log_is_refused_and_named),
        CASE(a_token_must_fit_the_log),
        CASE(a_directory_that_cannot_be_used_is_named),
        CASE(a_local_log_does_not_follow_a_v1_writer),
    };
    if (argc == 4 && strcmp(argv[1], "--reader") == 0)
        be_reader(argv[2], argv[3]);
    return harness_main(argc, argv, cases, COUNT(cases));
}
