/* Clocks that are set while the library runs. This program has clocks of its own: its clock_gettime() takes the place of
 * the C library's, for libreplication too, and shifts what the kernel says. Days pass in no time, as when a machine is
 * suspended, and the wall clock is set as NTP or an administrator would. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "host.h"
#include "json.h"

enum { SEGMENT_BYTES = 65536, MINUTE = 60, HOUR = 3600, DAY = 86400, YEAR = 365 * DAY };

static _Atomic int64_t wall_ahead_s, boot_ahead_s;

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_REALTIME)
        time->tv_sec += atomic_load(&wall_ahead_s);
    if (result == 0 && clock == CLOCK_BOOTTIME)
        time->tv_sec += atomic_load(&boot_ahead_s);
    return result;
}

/* Time passes, on both clocks. */
static void pass(int64_t seconds)
{
    atomic_fetch_add(&boot_ahead_s, seconds);
    atomic_fetch_add(&wall_ahead_s, seconds);
}

/* Somebody sets the wall clock. */
static void set_wall(int64_t seconds)
{
    atomic_fetch_add(&wall_ahead_s, seconds);
}

static replication_sender *open_log(uint64_t retain_ms, uint16_t *port)
{
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_wal_dir(config, temp_path("log")));
    CHECK_OK(sender_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_ALWAYS, 0, 0));
    CHECK_OK(sender_config_set_wal_segment_bytes(config, SEGMENT_BYTES));
    CHECK_OK(sender_config_set_buffer_size(config, 100));
    if (retain_ms > 0)
        CHECK_OK(sender_config_set_wal_retain_ms(config, retain_ms));
    replication_sender *sender = start_sender(config);
    *port = listen_tcp(sender);
    return sender;
}

/* Fills a few segments, and returns the last sequence. */
static uint64_t fill(replication_sender *sender, int segments)
{
    static const uint8_t payload[1024];
    uint64_t sequence = 0, before = sender_stat(sender, "wal_segments");
    for (int entries = 0; entries < segments * SEGMENT_BYTES / (int)sizeof payload; entries++)
        CHECK_OK(sender_replicate(sender, 1, payload, sizeof payload, &sequence));
    CHECK(sender_stat(sender, "wal_segments") > before || sender_stat(sender, "oldest_sequence") > 1);
    return sequence;
}

/* What the slot of a reader says at `key`, in `out`; false when it has no slot. */
static bool slot(replication_sender *sender, const char *reader_id, const char *key, char *out, size_t size)
{
    char *json;
    bool found = false;
    CHECK_OK(sender_slots_json(sender, &json));
    struct json_object *slots = json_read(json);
    for (size_t i = 0; i < json_object_array_length(slots) && !found; i++) {
        struct json_object *each = json_object_array_get_idx(slots, i), *value = json_object_object_get(each, key);
        found = strcmp(json_object_get_string(json_object_object_get(each, "reader_id")), reader_id) == 0;
        if (found)
            snprintf(out, size, "%s", json_object_get_string(value));
    }
    json_object_put(slots);
    replication_string_free(json);
    return found;
}

static bool has_slot(replication_sender *sender, const char *reader_id)
{
    char state[32] = "";
    return slot(sender, reader_id, "state", state, sizeof state) && strcmp(state, "held") == 0;
}

/* The day of a wall clock, as the slots' times begin. */
static void day_now(char *out, size_t size)
{
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    strftime(out, size, "%Y-%m-%d", &parts);
}

/* Whether the sender has looked after its slots since the clocks were moved to another day: the slot of this reader,
 * which is connected, is noted anew. */
static bool looked(replication_sender *sender, const char *reader_id)
{
    char updated[40] = "", day[20];
    day_now(day, sizeof day);
    return slot(sender, reader_id, "updated", updated, sizeof updated) && strncmp(updated, day, strlen(day)) == 0;
}

/* Whether the slot of a reader is noted at another time than before, by a wall clock that was set. */
static bool is_noted_anew(replication_sender *sender, const char *reader_id, const char *before)
{
    char updated[40] = "";
    return slot(sender, reader_id, "updated", updated, sizeof updated) && strcmp(updated, before) != 0;
}

/* Sets the wall clock, and waits until the sender has seen it. */
static void set_wall_seen(replication_sender *sender, const char *reader_id, int64_t seconds)
{
    char before[40] = "";
    CHECK(slot(sender, reader_id, "updated", before, sizeof before));
    set_wall(seconds);
    WAIT_UNTIL(is_noted_anew(sender, reader_id, before));
}

/* A reader comes, gets everything, and goes. */
static void visit(replication_sender *sender, uint16_t port, const char *reader_id, uint64_t sequence)
{
    struct inbox *inbox = inbox_new();
    inbox->drop_payloads = true;
    replication_receiver *receiver = follow(port, reader_id, inbox);
    wait_for(receiver, sequence);
    WAIT_UNTIL(sender_stat(sender, "readers.0.applied_sequence") == sequence);
    receiver_free(receiver);
    WAIT_UNTIL(sender_reader_count(sender) == 0);
    inbox_free(inbox);
}

TEST(p2_the_slot_of_an_absent_reader_outlives_a_wall_clock_that_is_set)
{
    uint16_t port;
    replication_sender *sender = open_log(0, &port);
    visit(sender, port, "absent", fill(sender, 1));
    fill(sender, 4);
    /* Longer than the grace after opening. */
    pass(11 * MINUTE);
    /* A wrong month that is set right, the past, a boot in 1970, and a clock without a battery that is set right. */
    static const int64_t sets[] = {30 * DAY, -30 * DAY, -YEAR, YEAR, -50LL * YEAR, 50LL * YEAR, 100LL * YEAR};
    for (size_t i = 0; i < COUNT(sets); i++) {
        set_wall_seen(sender, "absent", sets[i]);
        CHECK(has_slot(sender, "absent"));
        CHECK_U64(sender_stat(sender, "oldest_sequence"), 1);
    }
    /* A week that passes is a week. */
    pass(6 * DAY);
    set_wall_seen(sender, "absent", 30 * DAY);
    CHECK(has_slot(sender, "absent"));
    pass(DAY);
    WAIT_UNTIL(!has_slot(sender, "absent"));
    sender_free(sender);
}

TEST(p2_a_slot_of_an_earlier_process_outlives_a_wall_clock_that_is_set)
{
    uint16_t port;
    replication_sender *sender = open_log(0, &port);
    uint64_t sequence = fill(sender, 1);
    visit(sender, port, "absent", sequence);
    sequence = fill(sender, 4);
    sender_free(sender);

    /* The machine starts without a clock, in 1970. */
    pass(HOUR);
    set_wall(-56LL * YEAR);
    sender = open_log(0, &port);
    CHECK(has_slot(sender, "absent"));
    struct inbox *inbox = inbox_new();
    inbox->drop_payloads = true;
    replication_receiver *present = follow(port, "present", inbox);
    wait_for(present, sequence);
    pass(2 * DAY);
    WAIT_UNTIL(looked(sender, "present"));
    static const int64_t sets[] = {56LL * YEAR, YEAR, -2LL * YEAR, YEAR};
    for (size_t i = 0; i < COUNT(sets); i++) {
        set_wall(sets[i]);
        WAIT_UNTIL(looked(sender, "present"));
        CHECK(has_slot(sender, "absent"));
        CHECK_U64(sender_stat(sender, "wal_segments") >= 5, true);
    }
    /* The slot was noted two days ago, by a clock that is right again: in another five it goes. */
    pass(4 * DAY);
    WAIT_UNTIL(looked(sender, "present"));
    CHECK(has_slot(sender, "absent"));
    pass(DAY + 2 * HOUR);
    WAIT_UNTIL(!has_slot(sender, "absent"));
    receiver_free(present);
    inbox_free(inbox);
    sender_free(sender);
}

TEST(p2_retention_by_age_goes_by_the_boot_clock)
{
    uint16_t port;
    replication_sender *sender = open_log(HOUR * UINT64_C(1000), &port);
    fill(sender, 4);
    static const int64_t sets[] = {YEAR, -2LL * YEAR, 57LL * YEAR, -56LL * YEAR};
    for (size_t i = 0; i < COUNT(sets); i++) {
        set_wall(sets[i]);
        /* Another segment makes the sender look at the age of all. */
        fill(sender, 2);
        CHECK_U64(sender_stat(sender, "oldest_sequence"), 1);
    }
    pass(2 * HOUR);
    fill(sender, 2);
    WAIT_UNTIL(sender_stat(sender, "oldest_sequence") > 1);
    sender_free(sender);
}

TEST(p2_segments_of_an_earlier_process_outlive_a_wall_clock_that_is_set)
{
    uint16_t port;
    replication_sender *sender = open_log(DAY * UINT64_C(1000), &port);
    fill(sender, 4);
    sender_free(sender);
    pass(HOUR);
    sender = open_log(DAY * UINT64_C(1000), &port);
    pass(HOUR);
    fill(sender, 2);
    static const int64_t sets[] = {YEAR, -YEAR, -56LL * YEAR, 56LL * YEAR};
    for (size_t i = 0; i < COUNT(sets); i++) {
        set_wall(sets[i]);
        fill(sender, 2);
        CHECK_U64(sender_stat(sender, "oldest_sequence"), 1);
    }
    pass(22 * HOUR + 10 * MINUTE);
    fill(sender, 2);
    WAIT_UNTIL(sender_stat(sender, "oldest_sequence") > 1);
    sender_free(sender);
}

/* A number in the statistics of a receiver. */
static double stat_of(replication_receiver *receiver, const char *key)
{
    char *json;
    CHECK_OK(receiver_stats_json(receiver, &json));
    struct json_object *stats = json_read(json), *number;
    CHECK(json_find(stats, key, &number) && number != NULL);
    double value = json_object_get_double(number);
    json_object_put(stats);
    replication_string_free(json);
    return value;
}

static uint64_t wall_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

TEST(durations_are_those_of_the_boot_clock)
{
    uint16_t port;
    replication_sender *sender = open_log(0, &port);
    struct inbox *inbox = inbox_new();
    replication_receiver *receiver = follow(port, "r", inbox);
    uint64_t sequence;
    CHECK_OK(sender_replicate(sender, wall_us(), (const uint8_t *)"one", 3, &sequence));
    wait_for(receiver, sequence);
    WAIT_UNTIL(sender_stat(sender, "readers.0.applied_sequence") == sequence);
    /* It lags from now on. */
    CHECK_OK(receiver_pause(receiver));
    CHECK_OK(sender_replicate(sender, wall_us(), (const uint8_t *)"two", 3, &sequence));
    WAIT_UNTIL(receiver_stat(receiver, "lag") == 1);
    /* It is seen to lag before the clocks move. */
    WAIT_UNTIL(sender_stat(sender, "readers.0.lag_ms") >= 300);

    int64_t passed = 0;
    static const int64_t sets[] = {-2LL * DAY, 5LL * DAY, -YEAR, 50LL * YEAR};
    for (size_t i = 0; i < COUNT(sets); i++) {
        set_wall(sets[i]);
        pass(100);
        passed += 100;
        double slack = PATIENCE_MS / 1000.0;
        double connected = stat_of(receiver, "connection_duration_sec");
        if (connected < (double)passed || connected > (double)passed + slack)
            FAIL("connected for %.1f s, it should be about %lld", connected, (long long)passed);
        double lags[] = {stat_of(receiver, "lag_ms") / 1000.0,
                         (double)sender_stat(sender, "readers.0.lag_ms") / 1000.0};
        for (size_t side = 0; side < COUNT(lags); side++)
            if (lags[side] < (double)passed - 1 || lags[side] > (double)passed + slack)
                FAIL("side %zu: a lag of %.1f s, it should be about %lld", side, lags[side], (long long)passed);
    }
    CHECK_OK(receiver_resume(receiver));
    wait_for(receiver, sequence);
    WAIT_UNTIL(receiver_stat(receiver, "lag_ms") == 0 && sender_stat(sender, "readers.0.lag_ms") == 0);
    receiver_free(receiver);
    inbox_free(inbox);
    sender_free(sender);
}

TEST_MAIN(CASE(p2_the_slot_of_an_absent_reader_outlives_a_wall_clock_that_is_set),
          CASE(p2_a_slot_of_an_earlier_process_outlives_a_wall_clock_that_is_set),
          CASE(p2_retention_by_age_goes_by_the_boot_clock),
          CASE(p2_segments_of_an_earlier_process_outlive_a_wall_clock_that_is_set),
          CASE(durations_are_those_of_the_boot_clock))
