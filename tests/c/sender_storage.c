/* A log on disk and what can be asked of it. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"
#include "json.h"

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

/* A configuration with a log in `dir`, in small files. */
static replication_sender_config *config_for(const char *dir)
{
    replication_sender_config *config = sender_config_new();
    CHECK(config != NULL);
    CHECK_OK(sender_config_set_wal_dir(config, dir));
    CHECK_OK(sender_config_set_wal_segment_bytes(config, SEGMENT_BYTES));
    CHECK_OK(sender_config_set_buffer_size(config, 100));
    return config;
}

static replication_sender *open_log(const char *dir)
{
    return start_sender(config_for(dir));
}

/* sender_new() fails with this status and text, and gives nothing. */
#define CHECK_NOT_MADE(config, status, culprit)                                                                        \
    do {                                                                                                               \
        replication_sender_config *config_ = (config);                                                                 \
        replication_sender *made_ = NULL;                                                                              \
        CHECK_ERROR(sender_new(config_, &made_), status, culprit);                                                     \
        CHECK(made_ == NULL);                                                                                          \
        sender_config_free(config_);                                                                                   \
    } while (0)

static bool exists(const char *dir, const char *name)
{
    char path[256];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return stat(path, &status) == 0;
}

static const char first_segment[] = "00000000000000000001.seg";

static void replicate_bytes(replication_sender *sender, size_t bytes)
{
    static const uint8_t payload[1024];
    for (size_t done = 0; done < bytes; done += sizeof payload)
        CHECK_OK(sender_replicate(sender, 1, payload, sizeof payload, NULL));
}

TEST(every_option_can_be_set)
{
    const char *dir = new_dir();
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_wal_dir(config, NULL));
    CHECK_OK(sender_config_set_wal_dir(config, dir));
    CHECK_OK(sender_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_ALWAYS, 0, 0));
    CHECK_OK(sender_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_OS, 0, 0));
    CHECK_OK(sender_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_GROUP, 1, 1));
    CHECK_OK(sender_config_set_wal_segment_bytes(config, 65536));
    CHECK_OK(sender_config_set_wal_retain_bytes(config, 0));
    CHECK_OK(sender_config_set_wal_retain_bytes(config, UINT64_MAX));
    CHECK_OK(sender_config_set_wal_retain_ms(config, UINT64_MAX));
    CHECK_OK(sender_config_set_slot_max_bytes(config, 0));
    CHECK_OK(sender_config_set_slot_max_bytes(config, UINT64_MAX));
    CHECK_OK(sender_config_set_slot_expiry_ms(config, UINT64_MAX));
    CHECK_OK(sender_config_set_wal_timeout_ms(config, UINT64_MAX));
    replication_sender *sender = start_sender(config);
    CHECK_U64(replicate_text(sender, "one"), 1);
    CHECK_OK(sender_wait_durable(sender, 1, PATIENCE_MS));
    CHECK(exists(dir, first_segment) && exists(dir, "lock"));
    const struct place token = place_of_sender(sender);
    CHECK(memcmp(token.bytes, "RPT\001", 4) == 0 && token.len == 48);
    sender_free(sender);
}

TEST(every_setter_refuses_a_null_config)
{
    const struct place token = place_at(1, 1);
    const int32_t given[] = {
        sender_config_set_wal_dir(NULL, "/tmp"),
        sender_config_set_wal_sync(NULL, REPLICATION_SYNC_POLICY_ALWAYS, 0, 0),
        sender_config_set_wal_segment_bytes(NULL, 65536),
        sender_config_set_wal_retain_bytes(NULL, 1),
        sender_config_set_wal_retain_ms(NULL, 1),
        sender_config_set_slot_max_bytes(NULL, 1),
        sender_config_set_slot_expiry_ms(NULL, 1),
        sender_config_set_wal_timeout_ms(NULL, 1),
        sender_config_set_token(NULL, PLACE(token), 0),
    };
    for (size_t i = 0; i < COUNT(given); i++)
        if (given[i] != REPLICATION_STATUS_INVALID_ARGUMENT)
            FAIL("setter %zu gave %s", i, replication_status_name(given[i]));
    CHECK_CONTAINS(replication_last_error_message(), "config is NULL");
}

TEST(every_function_refuses_null)
{
    struct place token = {0};
    char *json = NULL;
    CHECK_ERROR(sender_token(NULL, PLACE_ROOM(token)), REPLICATION_STATUS_INVALID_ARGUMENT, "sender is NULL");
    CHECK_INVALID(sender_wait_durable(NULL, 1, 0));
    CHECK_INVALID(sender_slots_json(NULL, &json));
    CHECK_INVALID(sender_drop_slot(NULL, "reader"));
    CHECK(json == NULL);
    replication_sender *sender = open_log(new_dir());
    CHECK_ERROR(sender_token(sender, NULL, 96, &token.len), REPLICATION_STATUS_INVALID_ARGUMENT, "token is NULL");
    CHECK_ERROR(sender_token(sender, token.bytes, 47, &token.len), REPLICATION_STATUS_BUFFER_TOO_SMALL, "48 bytes");
    CHECK_U64(token.len, 48);
    CHECK_ERROR(sender_slots_json(sender, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "out_json");
    CHECK_ERROR(sender_drop_slot(sender, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "reader_id");
    CHECK_INVALID(sender_drop_slot(sender, ""));
    sender_free(sender);
}

TEST(every_setter_refuses_values_out_of_range)
{
    replication_sender_config *config = sender_config_new();
    CHECK_ERROR(sender_config_set_wal_dir(config, ""), REPLICATION_STATUS_INVALID_ARGUMENT, "empty");
    CHECK_ERROR(sender_config_set_wal_dir(config, "/tmp/\xff"), REPLICATION_STATUS_INVALID_ARGUMENT, "UTF-8");
    CHECK_ERROR(sender_config_set_wal_sync(config, 3, 1, 1), REPLICATION_STATUS_INVALID_ARGUMENT, "3");
    CHECK_ERROR(sender_config_set_wal_sync(config, UINT32_MAX, 1, 1), REPLICATION_STATUS_INVALID_ARGUMENT,
                "4294967295");
    CHECK_ERROR(sender_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_GROUP, 0, 1),
                REPLICATION_STATUS_INVALID_ARGUMENT, "interval_ms");
    CHECK_ERROR(sender_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_GROUP, 1, 0),
                REPLICATION_STATUS_INVALID_ARGUMENT, "bytes");
    CHECK_ERROR(sender_config_set_wal_segment_bytes(config, 65535), REPLICATION_STATUS_INVALID_ARGUMENT, "65535");
    CHECK_ERROR(sender_config_set_wal_segment_bytes(config, 1073741825), REPLICATION_STATUS_INVALID_ARGUMENT,
                "65536 to 1073741824");
    CHECK_ERROR(sender_config_set_wal_retain_ms(config, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "age_ms");
    CHECK_ERROR(sender_config_set_slot_expiry_ms(config, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "expiry_ms");
    CHECK_ERROR(sender_config_set_wal_timeout_ms(config, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "timeout_ms");
    sender_config_free(config);
}

TEST(a_token_that_is_damaged_or_does_not_fit_is_refused)
{
    replication_sender_config *config = sender_config_new();
    const struct place beginning = place_at(5, 0);
    CHECK_OK(sender_config_set_token(config, PLACE(beginning), 0));
    replication_sender *sender = start_sender(config);
    replicate_many(sender, 3);
    struct place token = place_of_sender(sender);
    sender_free(sender);
    config = sender_config_new();
    CHECK_ERROR(sender_config_set_token(config, NULL, token.len, 0), REPLICATION_STATUS_INVALID_ARGUMENT,
                "token is NULL");
    CHECK_ERROR(sender_config_set_token(config, PLACE(token), 4), REPLICATION_STATUS_INVALID_ARGUMENT, "4");
    for (size_t i = 0; i < token.len; i++) {
        token.bytes[i] ^= 0x10;
        CHECK_ERROR(sender_config_set_token(config, PLACE(token), 0), REPLICATION_STATUS_INVALID_ARGUMENT, "token");
        token.bytes[i] ^= 0x10;
        CHECK_ERROR(sender_config_set_token(config, token.bytes, i, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "token");
    }
    /* None of that left a trace; the whole token is taken, with or without a log on disk. */
    CHECK_OK(sender_config_set_token(config, PLACE(token), 6));
    CHECK_OK(sender_config_set_wal_dir(config, new_dir()));
    sender = start_sender(config);
    CHECK_U64(place_epoch(place_of_sender(sender)), 6);
    CHECK_STATUS(acked_by(sender, token, REPLICATION_ACK_LEVEL_RECEIVED, 1, NULL), REPLICATION_STATUS_TIMEOUT);
    CHECK_U64(replicate_text(sender, "the next"), 4);
    sender_free(sender);
}

TEST(without_a_directory_there_is_nothing_to_ask)
{
    char *json = NULL;
    uint64_t value = 0;
    replication_sender *sender = start_sender(NULL);
    replicate_text(sender, "one");
    CHECK_ERROR(sender_wait_durable(sender, 1, 0), REPLICATION_STATUS_INVALID_STATE, "wal_dir");
    CHECK_ERROR(sender_slots_json(sender, &json), REPLICATION_STATUS_INVALID_STATE, "wal_dir");
    CHECK_ERROR(sender_drop_slot(sender, "reader"), REPLICATION_STATUS_INVALID_STATE, "wal_dir");
    CHECK(json == NULL);
    CHECK_ERROR(sender_set_option(sender, "wal_retain_bytes", 1 << 20), REPLICATION_STATUS_INVALID_STATE, "wal_dir");
    CHECK_ERROR(sender_option(sender, "wal_retain_bytes", &value), REPLICATION_STATUS_INVALID_STATE, "wal_dir");
    CHECK_U64(place_sequence(place_of_sender(sender)), 1); /* a log in memory has places too */
    sender_free(sender);
}

/* Go failures 2 and 3: a writer that restarts goes on where it was, and its readers get all they lack. */
TEST(p7_p10_a_restarted_writer_goes_on)
{
    const char *dir = new_dir();
    replication_sender *sender = open_log(dir);
    replicate_many(sender, 1000);
    const struct place token = place_of_sender(sender);
    sender_free(sender);

    struct inbox *inbox = inbox_new();
    sender = open_log(dir);
    CHECK_U64(sender_current_sequence(sender), 1000);
    CHECK(place_is(place_of_sender(sender), token));
    CHECK_STATUS(acked_by(sender, token, REPLICATION_ACK_LEVEL_RECEIVED, 1, NULL), REPLICATION_STATUS_TIMEOUT);
    CHECK_U64(replicate_text(sender, "after the restart"), 1001);
    replication_receiver *receiver = follow(listen_tcp(sender), "new", inbox);
    wait_for(receiver, 1001);
    CHECK_TEXT((const char *)inbox_at(inbox, 0).payload, "entry 0");
    CHECK_TEXT((const char *)inbox_at(inbox, 1000).payload, "after the restart");
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

/* A writer that says after each entry that it is durable, until it is killed. */
static _Noreturn void be_writer(const char *report, const char *dir)
{
    replication_sender_config *config = config_for(dir);
    CHECK_OK(sender_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_ALWAYS, 0, 0));
    replication_sender *sender = start_sender(config);
    for (;;) {
        uint64_t sequence = replicate_text(sender, "durable");
        CHECK(write(atoi(report), &sequence, sizeof sequence) == sizeof sequence);
    }
}

static pid_t start_writer(int report, const char *dir)
{
    char number[16];
    snprintf(number, sizeof number, "%d", report);
    return harness_start_role("--writer", number, dir);
}

TEST(p10_what_a_killed_writer_called_durable_is_there)
{
    const char *dir = new_dir();
    uint64_t durable = 0;
    for (size_t round = 0; round < scaled(5); round++) {
        int report[2];
        CHECK(pipe(report) == 0);
        pid_t writer = start_writer(report[1], dir);
        close(report[1]);
        for (int i = 0; i < 20; i++)
            CHECK(read(report[0], &durable, sizeof durable) == sizeof durable);
        CHECK(kill(writer, SIGKILL) == 0);
        CHECK(harness_wait_child(writer) == -SIGKILL);
        while (read(report[0], &durable, sizeof durable) == sizeof durable)
            continue;
        close(report[0]);
        replication_sender *sender = make_sender(config_for(dir));
        CHECK(sender_current_sequence(sender) >= durable);
        CHECK(sender_current_sequence(sender) <= durable + 1); /* the one that it did not come to report */
        sender_free(sender);
    }
}

TEST(each_policy_makes_durable_what_is_waited_for)
{
    for (uint32_t policy = REPLICATION_SYNC_POLICY_ALWAYS; policy <= REPLICATION_SYNC_POLICY_OS; policy++) {
        replication_sender_config *config = config_for(new_dir());
        CHECK_OK(sender_config_set_wal_sync(config, policy, 3600 * 1000, UINT64_MAX));
        replication_sender *sender = start_sender(config);
        uint64_t last = replicate_text(sender, "one");
        if (policy != REPLICATION_SYNC_POLICY_ALWAYS) /* nothing has had it synced, and a look does not wait */
            CHECK_STATUS(sender_wait_durable(sender, last, 0), REPLICATION_STATUS_TIMEOUT);
        CHECK_OK(sender_wait_durable(sender, last, PATIENCE_MS));
        CHECK_OK(sender_wait_durable(sender, last, 0));
        CHECK_ERROR(sender_wait_durable(sender, last + 1, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "2");
        sender_free(sender);
    }
}

TEST(p2_a_slow_reader_goes_on_from_disk)
{
    enum { ENTRIES = 5000 };
    struct inbox *inbox = inbox_new();
    replication_sender *sender = open_log(new_dir());
    replication_receiver *receiver = follow(listen_tcp(sender), "slow", inbox);
    WAIT_UNTIL(receiver_is_connected(receiver));
    inbox_hold(inbox, true);
    replicate_many(sender, ENTRIES); /* fifty times what memory holds */
    inbox_hold(inbox, false);
    wait_for(receiver, ENTRIES);
    CHECK_U64(inbox_count(inbox), ENTRIES);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

static bool slot_is(replication_sender *sender, const char *key, const char *value)
{
    char *json = NULL;
    CHECK_OK(sender_slots_json(sender, &json));
    CHECK(json_valid(json) && json[0] == '[');
    bool is = value == NULL ? json_has(json, "0") && json_is_true(json, key) : json_is_string(json, key, value);
    replication_string_free(json);
    return is;
}

TEST(p5_a_slot_holds_the_log_for_its_reader_over_restarts)
{
    const char *dir = new_dir();
    struct inbox *inbox = inbox_new();
    char *json = NULL;
    replication_sender_config *config = config_for(dir);
    CHECK_OK(sender_config_set_wal_retain_bytes(config, SEGMENT_BYTES));
    replication_sender *sender = start_sender(config);
    CHECK_OK(sender_slots_json(sender, &json));
    CHECK_TEXT(json, "[]");
    replication_string_free(json);
    replicate_text(sender, "one");
    replication_receiver *receiver = follow(listen_tcp(sender), "away", inbox);
    wait_for(receiver, 1);
    CHECK(slot_is(sender, "0.connected", NULL));
    CHECK(slot_is(sender, "0.reader_id", "away") && slot_is(sender, "0.state", "held"));
    receiver_free(receiver);
    WAIT_UNTIL(!slot_is(sender, "0.connected", NULL));
    replicate_bytes(sender, 6 * SEGMENT_BYTES);
    sender_free(sender);

    config = config_for(dir);
    CHECK_OK(sender_config_set_wal_retain_bytes(config, SEGMENT_BYTES));
    sender = start_sender(config);
    CHECK(slot_is(sender, "0.reader_id", "away") && slot_is(sender, "0.state", "held"));
    CHECK(exists(dir, first_segment)); /* retention alone would have removed it */
    replication_receiver_config *again = receiver_config_for("away", tcp_address(listen_tcp(sender)), inbox);
    CHECK_OK(receiver_config_set_last_sequence(again, 1));
    atomic_store(&inbox->released, 0);
    inbox->thread = 0;
    receiver = start_receiver(again);
    wait_for(receiver, sender_current_sequence(sender));
    receiver_free(receiver);

    /* Given up, it holds nothing any more. */
    CHECK_OK(sender_drop_slot(sender, "away"));
    CHECK_ERROR(sender_drop_slot(sender, "away"), REPLICATION_STATUS_NOT_FOUND, "away");
    replicate_bytes(sender, 2 * SEGMENT_BYTES);
    WAIT_UNTIL(!exists(dir, first_segment));
    sender_free(sender);
    inbox_free(inbox);
}

/* Also by a sender that has stopped, and by one that never ran: whoever opens the log next does not find it. */
TEST(a_slot_is_given_up_for_good_in_every_state)
{
    const char *dir = new_dir(), *const readers[] = {"first", "second"};
    char *json = NULL;
    replication_sender *sender = start_sender(config_for(dir));
    replicate_text(sender, "one");
    const uint16_t port = listen_tcp(sender);
    for (size_t i = 0; i < COUNT(readers); i++) {
        struct inbox *inbox = inbox_new();
        replication_receiver *receiver = follow(port, readers[i], inbox);
        wait_for(receiver, 1);
        receiver_free(receiver);
        inbox_free(inbox);
    }
    CHECK_OK(sender_stop(sender));
    CHECK_OK(sender_drop_slot(sender, "first"));
    sender_free(sender);

    sender = make_sender(config_for(dir));
    CHECK_OK(sender_slots_json(sender, &json));
    CHECK(strstr(json, "first") == NULL);
    CHECK_CONTAINS(json, "second");
    replication_string_free(json);
    CHECK_OK(sender_drop_slot(sender, "second"));
    sender_free(sender);

    sender = make_sender(config_for(dir));
    CHECK_OK(sender_slots_json(sender, &json));
    CHECK_TEXT(json, "[]");
    replication_string_free(json);
    sender_free(sender);
}

/* A sender whose log keeps one small file, with its events. */
static replication_sender *forgetful(struct events *events, uint64_t slot_max_bytes, uint64_t slot_expiry_ms)
{
    replication_sender_config *config = config_for(new_dir());
    CHECK_OK(sender_config_set_wal_retain_bytes(config, SEGMENT_BYTES));
    CHECK_OK(sender_config_set_slot_max_bytes(config, slot_max_bytes));
    CHECK_OK(sender_config_set_slot_expiry_ms(config, slot_expiry_ms));
    sender_config_listen_to(config, events);
    return start_sender(config);
}

TEST(p2_a_reader_whose_entries_are_gone_is_told_wal_rotated)
{
    struct events *sender_events = events_new(), *events = events_new();
    struct inbox *inbox = inbox_new();
    replication_sender *sender = forgetful(sender_events, UINT64_MAX, 3600 * 1000);
    replicate_bytes(sender, 4 * SEGMENT_BYTES);
    struct seen_event trimmed = events_wait(sender_events, REPLICATION_EVENT_KIND_WAL_TRIMMED);
    CHECK_U64(trimmed.status, REPLICATION_STATUS_OK);
    CHECK(json_u64(trimmed.detail, "segments") >= 1);
    replication_receiver_config *config = receiver_config_for("late", tcp_address(listen_tcp(sender)), inbox);
    receiver_config_listen_to(config, events);
    replication_receiver *receiver = start_receiver(config);
    struct seen_event gap = events_wait(events, REPLICATION_EVENT_KIND_GAP);
    CHECK_U64(gap.status, REPLICATION_STATUS_WAL_ROTATED);
    CHECK_U64(gap.sequence, 1);
    CHECK_U64(events_wait(sender_events, REPLICATION_EVENT_KIND_REFUSED).status, REPLICATION_STATUS_WAL_ROTATED);
    CHECK_U64(inbox_count(inbox), 0);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
    events_free(events);
    events_free(sender_events);
}

TEST(p5_a_slot_is_lost_at_its_cap_and_expires_when_nobody_uses_it)
{
    for (int expire = 0; expire < 2; expire++) {
        struct events *events = events_new();
        struct inbox *inbox = inbox_new();
        replication_sender *sender = forgetful(events, 2 * SEGMENT_BYTES, expire ? 1 : 3600 * 1000);
        replicate_text(sender, "one");
        replication_receiver *receiver = follow(listen_tcp(sender), "gone", inbox);
        wait_for(receiver, 1);
        receiver_free(receiver);
        if (expire) {
            struct seen_event expired = events_wait(events, REPLICATION_EVENT_KIND_SLOT_EXPIRED);
            CHECK_U64(expired.status, REPLICATION_STATUS_OK);
            CHECK_TEXT(expired.reader_id, "gone");
            CHECK_ERROR(sender_drop_slot(sender, "gone"), REPLICATION_STATUS_NOT_FOUND, "gone");
        } else {
            replicate_bytes(sender, 4 * SEGMENT_BYTES);
            struct seen_event lost = events_wait(events, REPLICATION_EVENT_KIND_SLOT_LOST);
            CHECK_U64(lost.status, REPLICATION_STATUS_WAL_ROTATED);
            CHECK_TEXT(lost.reader_id, "gone");
            CHECK(json_u64(lost.detail, "held_bytes") > json_u64(lost.detail, "max_bytes"));
            CHECK_U64(json_u64(lost.detail, "max_bytes"), 2 * SEGMENT_BYTES);
            CHECK(slot_is(sender, "0.state", "lost"));
            CHECK_OK(sender_drop_slot(sender, "gone"));
        }
        sender_free(sender);
        inbox_free(inbox);
        events_free(events);
    }
}

TEST(a_log_is_open_once)
{
    const char *dir = new_dir();
    char pid[32];
    snprintf(pid, sizeof pid, "process %d", (int)getpid());
    replication_sender *sender = make_sender(config_for(dir)); /* from sender_new() on, not only while it runs */
    CHECK_NOT_MADE(config_for(dir), REPLICATION_STATUS_LOCKED, pid);
    CHECK_NOT_MADE(config_for(dir), REPLICATION_STATUS_LOCKED, dir);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_NOT_MADE(config_for(dir), REPLICATION_STATUS_LOCKED, pid);
        raise(SIGKILL);
    }
    CHECK(harness_wait_child(child) == -SIGKILL);
    CHECK_OK(sender_start(sender));
    replicate_text(sender, "one");
    CHECK_OK(sender_stop(sender));
    CHECK_NOT_MADE(config_for(dir), REPLICATION_STATUS_LOCKED, dir); /* until sender_free() */
    sender_free(sender);
    sender = make_sender(config_for(dir));
    CHECK_U64(sender_current_sequence(sender), 1);
    sender_free(sender);
}

/* Changes one byte of a file, or takes bytes off its end, or adds some. */
static void spoil(const char *dir, const char *name, off_t at, off_t cut, const char *tail)
{
    char path[256];
    uint8_t byte = 0;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0);
    if (at >= 0) {
        CHECK(pread(fd, &byte, 1, at) == 1);
        byte ^= 0x40;
        CHECK(pwrite(fd, &byte, 1, at) == 1);
    }
    off_t end = lseek(fd, 0, SEEK_END);
    if (cut > 0)
        CHECK(ftruncate(fd, end - cut) == 0);
    if (tail != NULL)
        CHECK(write(fd, tail, strlen(tail)) == (ssize_t)strlen(tail));
    close(fd);
}

static const char *written_log(void)
{
    const char *dir = new_dir();
    replication_sender *sender = open_log(dir);
    replicate_many(sender, 100);
    sender_free(sender);
    return dir;
}

TEST(p8_a_damaged_log_is_refused_and_named)
{
    /* The head, an entry that was durable, and the end of the file. */
    const char *dir = written_log();
    spoil(dir, first_segment, 20, 0, NULL);
    CHECK_NOT_MADE(config_for(dir), REPLICATION_STATUS_DAMAGED, dir);
    CHECK_CONTAINS(replication_last_error_message(), first_segment);
    spoil(dir, first_segment, 20, 0, NULL); /* as it was */
    replication_sender *sender = make_sender(config_for(dir));
    CHECK_U64(sender_current_sequence(sender), 100);
    sender_free(sender);

    dir = written_log();
    spoil(dir, first_segment, 16384 + 40, 0, NULL);
    CHECK_NOT_MADE(config_for(dir), REPLICATION_STATUS_DAMAGED, first_segment);
    dir = written_log();
    spoil(dir, first_segment, -1, 1, NULL);
    CHECK_NOT_MADE(config_for(dir), REPLICATION_STATUS_DAMAGED, first_segment);
}

TEST(p10_a_torn_end_is_cut_off_and_reported)
{
    const char *dir = written_log();
    struct events *events = events_new();
    spoil(dir, first_segment, -1, 0, "half an entry");
    replication_sender_config *config = config_for(dir);
    sender_config_listen_to(config, events);
    replication_sender *sender = start_sender(config);
    struct seen_event recovered = events_wait(events, REPLICATION_EVENT_KIND_WAL_RECOVERED);
    CHECK_U64(recovered.status, REPLICATION_STATUS_OK);
    CHECK_U64(recovered.sequence, 100);
    CHECK_U64(json_u64(recovered.detail, "bytes"), strlen("half an entry"));
    CHECK_CONTAINS(recovered.detail, first_segment);
    CHECK_U64(replicate_text(sender, "the next"), 101);
    sender_free(sender);
    events_free(events);
}

/* The place of the entry after this one, whose hash nobody knows yet. */
static struct place place_after(struct place place)
{
    char *text = NULL, after[128];
    CHECK_OK(replication_token_print(PLACE(place), &text));
    snprintf(after, sizeof after, "%.32s:%llu:%llu:0000000000000000", text, (unsigned long long)place_epoch(place),
             (unsigned long long)place_sequence(place) + 1);
    replication_string_free(text);
    return place_of_text(after);
}

TEST(what_the_host_says_must_fit_the_log)
{
    const char *dir = written_log();
    replication_sender *sender = make_sender(config_for(dir));
    const struct place end = place_of_sender(sender), other = place_at(1, 100);
    const uint64_t epoch = place_epoch(end);
    sender_free(sender);

    replication_sender_config *config = config_for(dir);
    CHECK_OK(sender_config_set_last_sequence(config, 99));
    CHECK_NOT_MADE(config, REPLICATION_STATUS_INVALID_ARGUMENT, "100");
    config = config_for(dir);
    CHECK_OK(sender_config_set_token(config, PLACE(other), 0));
    CHECK_NOT_MADE(config, REPLICATION_STATUS_DIVERGED, dir);
    const struct place ahead = place_after(end);
    config = config_for(dir);
    CHECK_OK(sender_config_set_token(config, PLACE(ahead), 0));
    CHECK_NOT_MADE(config, REPLICATION_STATUS_REGRESSED, "101");
    config = config_for(dir);
    CHECK_OK(sender_config_set_token(config, PLACE(end), epoch + 2));
    sender = make_sender(config); /* a new epoch begins, and is remembered */
    sender_free(sender);
    config = config_for(dir);
    CHECK_OK(sender_config_set_token(config, PLACE(end), epoch + 1));
    CHECK_NOT_MADE(config, REPLICATION_STATUS_DIVERGED, "epoch");
    sender = make_sender(config_for(dir));
    CHECK_U64(place_epoch(place_of_sender(sender)), epoch + 2);
    CHECK_U64(sender_current_sequence(sender), 100);
    sender_free(sender);
}

TEST(a_directory_that_cannot_be_used_is_named)
{
    char path[256];
    const char *dir = new_dir(), *file = new_dir();
    snprintf(path, sizeof path, "%s/missing/log", dir);
    CHECK_NOT_MADE(config_for(path), REPLICATION_STATUS_IO, "missing/log");
    int fd = open(file, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0);
    close(fd);
    CHECK_NOT_MADE(config_for(file), REPLICATION_STATUS_IO, file);
    CHECK_NOT_MADE(config_for("/proc/no-log-here"), REPLICATION_STATUS_IO, "/proc/no-log-here");
    /* Not this user's. Root may do everything, so a child becomes somebody else. */
    const char *closed = new_dir();
    CHECK(mkdir(closed, 0) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(geteuid() != 0 || setuid(65534) == 0);
        CHECK_NOT_MADE(config_for(closed), REPLICATION_STATUS_IO, closed);
        raise(SIGKILL);
    }
    CHECK(harness_wait_child(child) == -SIGKILL);
    CHECK(chmod(closed, 0700) == 0);
}

TEST(after_stop_the_log_can_be_asked_but_not_waited_for)
{
    char *json = NULL;
    replication_sender *sender = make_sender(config_for(new_dir()));
    CHECK_STATUS(sender_wait_durable(sender, 0, 0), REPLICATION_STATUS_INVALID_STATE); /* not started */
    CHECK_OK(sender_start(sender));
    replicate_text(sender, "one");
    const struct place token = place_of_sender(sender);
    CHECK_OK(sender_stop(sender));
    CHECK_STATUS(sender_wait_durable(sender, 1, 0), REPLICATION_STATUS_CLOSED);
    CHECK(place_is(place_of_sender(sender), token));
    CHECK_OK(sender_slots_json(sender, &json));
    CHECK_TEXT(json, "[]");
    replication_string_free(json);
    CHECK_STATUS(sender_drop_slot(sender, "nobody"), REPLICATION_STATUS_NOT_FOUND);
    sender_free(sender);
}

static replication_sender *own_sender;
static atomic_int asked;

static void ask_in_callback(void *user_data, const replication_event *event)
{
    char *json = NULL;
    (void)user_data;
    if (event->kind != REPLICATION_EVENT_KIND_CONNECTED)
        return;
    CHECK_ERROR(sender_wait_durable(own_sender, 1, 1000), REPLICATION_STATUS_WRONG_THREAD, "sender_wait_durable");
    CHECK_U64(place_sequence(place_of_sender(own_sender)), sender_current_sequence(own_sender));
    CHECK_OK(sender_slots_json(own_sender, &json));
    CHECK_CONTAINS(json, "\"reader\"");
    replication_string_free(json);
    CHECK_OK(sender_drop_slot(own_sender, "reader"));
    atomic_store(&asked, 1);
}

TEST(a_callback_may_ask_but_not_wait)
{
    struct inbox *inbox = inbox_new();
    replication_sender_config *config = config_for(new_dir());
    CHECK_OK(sender_config_set_event_handler(config, ask_in_callback, NULL, NULL));
    own_sender = start_sender(config);
    replicate_text(own_sender, "one");
    replication_receiver *receiver = follow(listen_tcp(own_sender), "reader", inbox);
    WAIT_UNTIL(atomic_load(&asked) == 1);
    receiver_free(receiver);
    sender_free(own_sender);
    inbox_free(inbox);
}

TEST(statistics_tell_of_the_disk)
{
    const char *dir = new_dir();
    struct inbox *inbox = inbox_new();
    replication_sender *sender = open_log(dir);
    replicate_bytes(sender, 3 * SEGMENT_BYTES);
    uint64_t last = sender_current_sequence(sender);
    CHECK_OK(sender_wait_durable(sender, last, PATIENCE_MS));
    replication_receiver *receiver = follow(listen_tcp(sender), "reader", inbox);
    wait_for(receiver, last);
    char *json = NULL;
    CHECK_OK(sender_stats_json(sender, &json));
    CHECK(json_is_string(json, "wal_dir", dir) && json_is(json, "wal_error", "null"));
    CHECK(json_u64(json, "wal_segments") >= 3);
    CHECK(json_u64(json, "wal_bytes") > 3 * SEGMENT_BYTES);
    CHECK_U64(json_u64(json, "wal_written_sequence"), last);
    CHECK_U64(json_u64(json, "wal_durable_sequence"), last);
    CHECK_U64(json_u64(json, "oldest_sequence"), 1);
    CHECK(json_is_string(json, "readers.0.slot_state", "held"));
    CHECK(json_u64(json, "readers.0.slot_sequence") <= last);
    (void)json_u64(json, "readers.0.slot_held_bytes");
    replication_string_free(json);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        CASE(every_option_can_be_set),
        CASE(every_setter_refuses_a_null_config),
        CASE(every_function_refuses_null),
        CASE(every_setter_refuses_values_out_of_range),
        CASE(a_token_that_is_damaged_or_does_not_fit_is_refused),
        CASE(without_a_directory_there_is_nothing_to_ask),
        CASE(p7_p10_a_restarted_writer_goes_on),
        CASE(p10_what_a_killed_writer_called_durable_is_there),
        CASE(each_policy_makes_durable_what_is_waited_for),
        CASE(p2_a_slow_reader_goes_on_from_disk),
        CASE(p5_a_slot_holds_the_log_for_its_reader_over_restarts),
        CASE(a_slot_is_given_up_for_good_in_every_state),
        CASE(p2_a_reader_whose_entries_are_gone_is_told_wal_rotated),
        CASE(p5_a_slot_is_lost_at_its_cap_and_expires_when_nobody_uses_it),
        CASE(a_log_is_open_once),
        CASE(p8_a_damaged_log_is_refused_and_named),
        CASE(p10_a_torn_end_is_cut_off_and_reported),
        CASE(what_the_host_says_must_fit_the_log),
        CASE(a_directory_that_cannot_be_used_is_named),
        CASE(after_stop_the_log_can_be_asked_but_not_waited_for),
        CASE(a_callback_may_ask_but_not_wait),
        CASE(statistics_tell_of_the_disk),
    };
    if (argc == 4 && strcmp(argv[1], "--writer") == 0)
        be_writer(argv[2], argv[3]);
    return harness_main(argc, argv, cases, COUNT(cases));
}
