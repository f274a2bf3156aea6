/* A reader's host, with the library's own sender at the other end. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host.h"
#include "json.h"
#include "peer.h"

/* A sender that continues the stream of place_at() after `last_sequence`. */
static replication_sender *start_sender_at(uint64_t epoch, uint64_t last_sequence)
{
    replication_sender_config *config = sender_config_new();
    const struct place place = place_at(epoch, last_sequence);
    CHECK_OK(sender_config_set_token(config, PLACE(place), 0));
    CHECK_OK(sender_config_set_stop_timeout_ms(config, 500));
    return start_sender(config);
}

/* The entries that replicate_many() made, from the first. */
static void check_texts(struct inbox *inbox, size_t count)
{
    CHECK_U64(inbox_count(inbox), count);
    for (size_t i = 0; i < count; i++) {
        struct inbox_entry entry = inbox_at(inbox, i);
        char text[32];
        snprintf(text, sizeof text, "entry %zu", i);
        CHECK_TEXT((const char *)entry.payload, text);
        CHECK_U64(entry.timestamp_us, 1700000000000000);
    }
}

/* Streams 1000 entries, half of them written before the reader came. */
static void stream_to(replication_sender *sender, replication_receiver_config *config, struct inbox *inbox)
{
    enum { HALF = 500 };
    char text[32];
    replicate_many(sender, HALF);
    replication_receiver *receiver = start_receiver(config);
    for (size_t i = HALF; i < 2 * HALF; i++) {
        snprintf(text, sizeof text, "entry %zu", i);
        replicate_text(sender, text);
    }
    wait_for(receiver, 2 * HALF);
    CHECK(receiver_is_connected(receiver));
    receiver_free(receiver);
    check_texts(inbox, 2 * HALF);
    CHECK(atomic_load(&inbox->released) == 1);
}

TEST(p1_a_stream_over_tcp)
{
    struct inbox *inbox = inbox_new();
    replication_sender *sender = start_sender(NULL);
    stream_to(sender, receiver_config_for("reader", tcp_address(listen_tcp(sender)), inbox), inbox);
    sender_free(sender);
    inbox_free(inbox);
}

TEST(p1_a_stream_over_a_unix_socket)
{
    struct inbox *inbox = inbox_new();
    replication_sender *sender = start_sender(NULL);
    char address[200];
    snprintf(address, sizeof address, "unix:%s", temp_path("writer.sock"));
    CHECK_OK(sender_listen(sender, address, NULL));
    stream_to(sender, receiver_config_for("reader", address, inbox), inbox);
    sender_free(sender);
    inbox_free(inbox);
}

TEST(p1_a_stream_from_the_one_of_a_list_that_is_the_writer)
{
    struct inbox *inbox = inbox_new();
    char list[300], abstract[64];
    snprintf(abstract, sizeof abstract, "unix:@replication-list-%ld", (long)getpid());
    replication_sender *standby = start_sender(NULL), *sender = start_sender(NULL);
    CHECK_OK(sender_set_writable(standby, false));
    CHECK_OK(sender_listen(sender, abstract, NULL));
    snprintf(list, sizeof list, "unix:%s, %s, %s", temp_path("nobody.sock"), tcp_address(listen_tcp(standby)),
             abstract);
    stream_to(sender, receiver_config_for("reader", list, inbox), inbox);
    sender_free(sender);
    sender_free(standby);
    inbox_free(inbox);
}

TEST(p1_a_stream_in_each_protocol)
{
    for (uint32_t protocol = REPLICATION_PROTOCOL_AUTO; protocol <= REPLICATION_PROTOCOL_V2; protocol++) {
        for (int coordinator = 0; coordinator <= 1; coordinator++) {
            struct inbox *inbox = inbox_new();
            replication_sender *sender = start_sender(NULL);
            replication_receiver_config *config = receiver_config_for("reader", tcp_address(listen_tcp(sender)), inbox);
            CHECK_OK(receiver_config_set_protocol(config, protocol));
            CHECK_OK(receiver_config_set_coordinator_handshake(config, coordinator == 1));
            stream_to(sender, config, inbox);
            sender_free(sender);
            inbox_free(inbox);
        }
    }
}

/* A host that dials itself: its first attempt fails, then it hands over one end of a socketpair. */
struct dialler {
    replication_sender *sender;
    atomic_int calls;
    atomic_int released;
};

static int dial(void *user_data, const char *writer_addr)
{
    struct dialler *dialler = user_data;
    CHECK_TEXT(writer_addr, "writer.of.the.host:7");
    int call = atomic_fetch_add(&dialler->calls, 1);
    if (call == 0)
        return -1;
    int ends[2];
    socket_pair(ends);
    CHECK_OK(sender_accept_connection(dialler->sender, ends[0]));
    return ends[1];
}

static void dialler_release(void *user_data)
{
    struct dialler *dialler = user_data;
    atomic_fetch_add(&dialler->released, 1);
}

TEST(p1_a_stream_over_the_hosts_own_connection)
{
    struct inbox *inbox = inbox_new();
    struct dialler dialler = {.sender = start_sender(NULL)};
    replication_receiver_config *config = receiver_config_for("reader", "writer.of.the.host:7", inbox);
    CHECK_OK(receiver_config_set_connect_handler(config, dial, &dialler, dialler_release));
    stream_to(dialler.sender, config, inbox);
    CHECK(atomic_load(&dialler.calls) == 2);
    CHECK(atomic_load(&dialler.released) == 1);
    sender_free(dialler.sender);
    inbox_free(inbox);
}

TEST(payloads_of_every_size_arrive_as_they_were)
{
    static const size_t sizes[] = {0, 1, 2, 255, 65535, 65536, 262143, 262144, 262145, 1 << 20, 3 << 20, 0, 7};
    struct inbox *inboxes[2] = {inbox_new(), inbox_new()};
    replication_receiver *receivers[2];
    replication_sender *sender = start_sender(NULL);
    uint16_t port = listen_tcp(sender);
    uint8_t *payload = must_alloc(3 << 20);
    for (size_t i = 0; i < 3 << 20; i++)
        payload[i] = (uint8_t)(i * 2654435761u >> 13);
    for (uint32_t i = 0; i < 2; i++) {
        replication_receiver_config *config = receiver_config_for(i == 0 ? "v1" : "v2", tcp_address(port), inboxes[i]);
        CHECK_OK(receiver_config_set_protocol(config, i == 0 ? REPLICATION_PROTOCOL_V1 : REPLICATION_PROTOCOL_V2));
        CHECK_OK(receiver_config_set_buffer_bytes(config, 65536)); /* larger entries are taken one by one */
        receivers[i] = start_receiver(config);
    }
    for (size_t i = 0; i < COUNT(sizes); i++)
        CHECK_OK(sender_replicate(sender, i, payload + i, sizes[i] > i ? sizes[i] - i : sizes[i], NULL));
    for (size_t r = 0; r < 2; r++) {
        wait_for(receivers[r], COUNT(sizes));
        for (size_t i = 0; i < COUNT(sizes); i++) {
            struct inbox_entry entry = inbox_at(inboxes[r], i);
            CHECK_U64(entry.payload_len, sizes[i] > i ? sizes[i] - i : sizes[i]);
            CHECK_U64(entry.timestamp_us, i);
            CHECK(memcmp(entry.payload, payload + i, entry.payload_len) == 0);
        }
        receiver_free(receivers[r]);
        inbox_free(inboxes[r]);
    }
    free(payload);
    sender_free(sender);
}

TEST(a_reader_resumes_where_it_was)
{
    struct inbox *inbox = inbox_new();
    replication_sender *sender = start_sender(NULL);
    uint16_t port = listen_tcp(sender);
    replicate_many(sender, 100);
    replication_receiver *receiver = follow(port, "reader", inbox);
    wait_for(receiver, 100);
    const struct place place = place_of_receiver(receiver);
    receiver_free(receiver);
    replicate_many(sender, 100);
    replication_receiver_config *config = receiver_config_for("reader", tcp_address(port), inbox);
    CHECK_OK(receiver_config_set_token(config, PLACE(place)));
    inbox->thread = 0; /* another receiver, another thread */
    receiver = start_receiver(config);
    CHECK(receiver_last_sequence(receiver) >= 100);
    wait_for(receiver, 200); /* the inbox would see a repeated or a missing entry */
    CHECK_U64(inbox_count(inbox), 200);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

static void *replicate_later(void *sender)
{
    for (int i = 0; i < 10; i++)
        replicate_text(sender, "later");
    return NULL;
}

TEST(wait_sequence_reads_your_writes)
{
    struct inbox *inbox = inbox_new();
    replication_sender *sender = start_sender(NULL);
    replication_receiver *receiver = make_receiver(receiver_config_for("r", tcp_address(listen_tcp(sender)), inbox));
    CHECK_STATUS(receiver_wait_sequence(receiver, 1, 0), REPLICATION_STATUS_INVALID_STATE);
    CHECK_OK(receiver_start(receiver));
    CHECK_OK(receiver_wait_sequence(receiver, 0, 0));
    CHECK_ERROR(receiver_wait_sequence(receiver, 5, 0), REPLICATION_STATUS_TIMEOUT, "5");
    CHECK_STATUS(receiver_wait_sequence(receiver, 5, 20), REPLICATION_STATUS_TIMEOUT);
    unsigned long writer = thread_start(replicate_later, sender);
    CHECK_OK(receiver_wait_sequence(receiver, 10, PATIENCE_MS));
    CHECK_U64(inbox_count(inbox), 10);
    CHECK_OK(receiver_wait_sequence(receiver, 3, 0));
    thread_join(writer);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

static void *wait_for_ever(void *receiver)
{
    CHECK_STATUS(receiver_wait_sequence(receiver, UINT64_MAX, UINT64_MAX), REPLICATION_STATUS_CLOSED);
    return NULL;
}

TEST(p9_stop_ends_every_wait)
{
    struct inbox *inbox = inbox_new();
    replication_sender *sender = start_sender(NULL);
    replication_receiver *receiver = follow(listen_tcp(sender), "reader", inbox);
    unsigned long waiters[4];
    for (size_t i = 0; i < COUNT(waiters); i++)
        waiters[i] = thread_start(wait_for_ever, receiver);
    WAIT_UNTIL(receiver_is_connected(receiver));
    CHECK_OK(receiver_stop(receiver));
    for (size_t i = 0; i < COUNT(waiters); i++)
        thread_join(waiters[i]);
    CHECK(!receiver_is_connected(receiver));
    CHECK_STATUS(receiver_wait_sequence(receiver, 1, 0), REPLICATION_STATUS_CLOSED);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

TEST(no_handler_runs_while_it_is_paused)
{
    struct inbox *inbox = inbox_new();
    replication_sender *sender = start_sender(NULL);
    replication_receiver *receiver = follow(listen_tcp(sender), "reader", inbox);
    uint64_t last = 0;
    for (size_t round = 0; round < scaled(40); round++) {
        replicate_many(sender, 50);
        CHECK_OK(receiver_pause(receiver));
        size_t count = inbox_count(inbox);
        CHECK(atomic_load(&inbox->inside) == 0);
        last = replicate_text(sender, "while paused");
        CHECK_STATUS(receiver_wait_sequence(receiver, last, 5), REPLICATION_STATUS_TIMEOUT);
        CHECK_U64(inbox_count(inbox), count);
        CHECK_OK(receiver_pause(receiver));
        CHECK_OK(receiver_resume(receiver));
        CHECK_OK(receiver_resume(receiver));
        wait_for(receiver, last);
    }
    CHECK_U64(inbox_count(inbox), last);
    CHECK_OK(receiver_pause(receiver));
    receiver_free(receiver); /* ends all the same */
    sender_free(sender);
    inbox_free(inbox);
}

TEST(p7_the_writers_lineage_is_adopted)
{
    struct inbox *inbox = inbox_new();
    replication_sender *sender = start_sender_at(7, 0);
    struct place place = {0};
    replication_receiver *receiver = make_receiver(receiver_config_for("r", tcp_address(listen_tcp(sender)), inbox));
    CHECK_STATUS(receiver_token(receiver, PLACE_ROOM(place)), REPLICATION_STATUS_NOT_FOUND);
    CHECK_OK(receiver_start(receiver));
    replicate_text(sender, "one");
    wait_for(receiver, 1);
    place = place_of_receiver(receiver);
    CHECK(place_is(place, place_of_sender(sender)));
    CHECK_U64(place_epoch(place), 7);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

/* A writer that comes back on the same port, as the caller says; then `kind` is reported. */
struct restart {
    struct inbox *inbox;
    struct events *events;
    replication_sender *sender;
    replication_receiver *receiver;
    char address[32];
};

static struct restart restart_begin(void)
{
    struct restart restart = {.inbox = inbox_new(), .events = events_new(), .sender = start_sender_at(3, 0)};
    snprintf(restart.address, sizeof restart.address, "%s", tcp_address(listen_tcp(restart.sender)));
    replication_receiver_config *config = receiver_config_for("reader", restart.address, restart.inbox);
    receiver_config_listen_to(config, restart.events);
    restart.receiver = start_receiver(config);
    replicate_many(restart.sender, 5);
    wait_for(restart.receiver, 5);
    sender_free(restart.sender);
    events_wait(restart.events, REPLICATION_EVENT_KIND_DISCONNECTED);
    WAIT_UNTIL(!receiver_is_connected(restart.receiver));
    return restart;
}

static void restart_with(struct restart *restart, replication_sender *sender)
{
    restart->sender = sender;
    CHECK_OK(sender_listen(sender, restart->address, NULL));
}

static void restart_end(struct restart *restart)
{
    receiver_free(restart->receiver);
    sender_free(restart->sender);
    events_free(restart->events);
    inbox_free(restart->inbox);
}

TEST(p7_a_restarted_writer_is_followed)
{
    struct restart restart = restart_begin();
    restart_with(&restart, start_sender_at(3, 5));
    CHECK_U64(replicate_text(restart.sender, "six"), 6);
    wait_for(restart.receiver, 6);
    CHECK(events_count(restart.events, REPLICATION_EVENT_KIND_CONNECTED) == 2);
    restart_end(&restart);
}

TEST(a_read_waits_for_the_entry_of_a_token)
{
    struct inbox *inbox = inbox_new();
    replication_sender *sender = start_sender_at(3, 0), *foreign = start_sender(NULL);
    uint16_t port = listen_tcp(sender);
    replication_receiver *receiver = make_receiver(receiver_config_for("reader", tcp_address(port), inbox));
    const struct place one = replicate_place(sender, "one"), other = replicate_place(foreign, "another stream's");
    CHECK_STATUS(receiver_wait_token(receiver, PLACE(one), 0), REPLICATION_STATUS_INVALID_STATE);
    CHECK_OK(receiver_start(receiver));
    CHECK_OK(receiver_wait_token(receiver, PLACE(one), PATIENCE_MS));
    CHECK_U64(receiver_last_sequence(receiver), 1);
    CHECK_STATUS(receiver_wait_token(receiver, PLACE(place_at(3, 2)), 1), REPLICATION_STATUS_TIMEOUT);
    CHECK_ERROR(receiver_wait_token(receiver, PLACE(other), UINT64_MAX), REPLICATION_STATUS_LOST, "stream");
    CHECK_ERROR(receiver_wait_token(receiver, PLACE(place_at(2, 1)), 0), REPLICATION_STATUS_LINEAGE_CHANGED, "epoch 3");
    CHECK_ERROR(receiver_wait_token(receiver, one.bytes, 5, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "5 of them");
    CHECK_OK(receiver_stop(receiver));
    CHECK_STATUS(receiver_wait_token(receiver, PLACE(place_at(3, 2)), UINT64_MAX), REPLICATION_STATUS_CLOSED);
    receiver_free(receiver);
    sender_free(foreign);
    sender_free(sender);
    inbox_free(inbox);
}

TEST(p7_a_promoted_writer_is_followed)
{
    struct restart restart = restart_begin();
    restart_with(&restart, start_sender_at(4, 5));
    replicate_text(restart.sender, "six");
    WAIT_UNTIL(receiver_last_sequence(restart.receiver) == 6); /* a wait for it would end with LINEAGE_CHANGED */
    CHECK_U64(place_epoch(place_of_receiver(restart.receiver)), 4);
    restart_end(&restart);
}

/* Go failure 3: a writer that counts from 1 again is not followed, neither below nor above the reader's position. */
TEST(p7_go3_a_writer_that_fell_back_is_refused)
{
    struct restart restart = restart_begin();
    restart_with(&restart, start_sender_at(3, 0));
    struct seen_event regressed = events_wait(restart.events, REPLICATION_EVENT_KIND_REGRESSED);
    CHECK_U64(regressed.status, REPLICATION_STATUS_REGRESSED);
    CHECK_U64(receiver_last_sequence(restart.receiver), 5);
    CHECK_U64(inbox_count(restart.inbox), 5);
    restart_end(&restart);
}

TEST(p7_go3_a_foreign_writer_is_refused)
{
    struct restart restart = restart_begin();
    replication_sender *foreign = start_sender(NULL);
    replicate_many(foreign, 10);
    restart_with(&restart, foreign);
    struct seen_event diverged = events_wait(restart.events, REPLICATION_EVENT_KIND_DIVERGED);
    CHECK_U64(diverged.status, REPLICATION_STATUS_DIVERGED);
    CHECK_U64(receiver_last_sequence(restart.receiver), 5);
    CHECK_U64(inbox_count(restart.inbox), 5);
    restart_end(&restart);
}

TEST(p7_a_writer_of_an_older_epoch_is_refused)
{
    struct restart restart = restart_begin();
    restart_with(&restart, start_sender_at(2, 50));
    CHECK_U64(events_wait(restart.events, REPLICATION_EVENT_KIND_DIVERGED).status, REPLICATION_STATUS_DIVERGED);
    CHECK_U64(inbox_count(restart.inbox), 5);
    restart_end(&restart);
}

/* The host's explicit choice: what the writer no longer has is passed, reported and counted. */
TEST(p2_the_continue_policy_goes_on_after_what_is_gone)
{
    struct inbox *inbox = inbox_new();
    struct events *events = events_new();
    replication_sender_config *sender_config = sender_config_new();
    CHECK_OK(sender_config_set_buffer_size(sender_config, 100));
    replication_sender *sender = start_sender(sender_config);
    replicate_many(sender, 5000);
    replication_receiver_config *config = receiver_config_for("late", tcp_address(listen_tcp(sender)), inbox);
    CHECK_OK(receiver_config_set_gap_policy(config, REPLICATION_GAP_POLICY_CONTINUE));
    receiver_config_listen_to(config, events);
    inbox->gaps_allowed = true;
    replication_receiver *receiver = start_receiver(config);
    wait_for(receiver, 5000);
    CHECK_U64(events_wait(events, REPLICATION_EVENT_KIND_GAP_PASSED).sequence, 1);
    CHECK_U64(receiver_stat(receiver, "total_entries_missing"), 5000 - inbox_count(inbox));
    CHECK_U64(inbox_at(inbox, 0).sequence, 5001 - inbox_count(inbox));
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
    events_free(events);
}

TEST(statistics_have_the_documented_keys)
{
    static const char *const keys[] = {
        "running",
        "connected",
        "writer_addr",
        "reader_id",
        "last_sequence",
        "total_entries_received",
        "total_bytes_received",
        "total_entries_applied",
        "total_errors",
        "last_receive_time",
        "connected_since",
        "connection_duration_sec",
    };
    struct inbox *inbox = inbox_new();
    replication_sender *sender = start_sender(NULL);
    replication_receiver *receiver = follow(listen_tcp(sender), "reader", inbox);
    replicate_many(sender, 10);
    wait_for(receiver, 10);
    char *json = NULL;
    CHECK_OK(receiver_stats_json(receiver, &json));
    CHECK(json_is_object(json));
    for (size_t i = 0; i < COUNT(keys); i++)
        if (!json_has(json, keys[i]))
            FAIL("%s lacks %s", json, keys[i]);
    CHECK(json_is_true(json, "running") && json_is_true(json, "connected"));
    CHECK(json_is_string(json, "reader_id", "reader"));
    CHECK_U64(json_u64(json, "last_sequence"), 10);
    CHECK_U64(json_u64(json, "total_entries_received"), 10);
    CHECK_U64(json_u64(json, "total_entries_applied"), 10);
    CHECK(json_u64(json, "total_bytes_received") > 0);
    CHECK_U64(json_u64(json, "total_errors"), 0);
    replication_string_free(json);
    CHECK_INVALID(receiver_stats_json(receiver, NULL));
    CHECK_OK(receiver_stop(receiver));
    CHECK_OK(receiver_stats_json(receiver, &json));
    CHECK(!json_is_true(json, "running") && !json_is_true(json, "connected"));
    CHECK_U64(json_u64(json, "last_sequence"), 10);
    replication_string_free(json);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

TEST(a_writer_that_is_not_there_yet_is_waited_for)
{
    struct inbox *inbox = inbox_new();
    uint16_t port = 0;
    close(listen_local(&port)); /* nobody listens there now */
    replication_receiver *receiver = follow(port, "reader", inbox);
    CHECK(!receiver_is_connected(receiver));
    replication_sender *sender = start_sender(NULL);
    CHECK_OK(sender_listen(sender, tcp_address(port), NULL));
    replicate_text(sender, "one");
    wait_for(receiver, 1);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

TEST_MAIN(CASE(p1_a_stream_over_tcp), CASE(p1_a_stream_over_a_unix_socket),
          CASE(p1_a_stream_from_the_one_of_a_list_that_is_the_writer), CASE(p1_a_stream_in_each_protocol),
          CASE(p1_a_stream_over_the_hosts_own_connection), CASE(payloads_of_every_size_arrive_as_they_were),
          CASE(a_reader_resumes_where_it_was), CASE(wait_sequence_reads_your_writes), CASE(p9_stop_ends_every_wait),
          CASE(no_handler_runs_while_it_is_paused), CASE(p7_the_writers_lineage_is_adopted),
          CASE(p7_a_restarted_writer_is_followed), CASE(a_read_waits_for_the_entry_of_a_token),
          CASE(p7_a_promoted_writer_is_followed), CASE(p7_go3_a_writer_that_fell_back_is_refused),
          CASE(p7_go3_a_foreign_writer_is_refused), CASE(p7_a_writer_of_an_older_epoch_is_refused),
          CASE(p2_the_continue_policy_goes_on_after_what_is_gone), CASE(statistics_have_the_documented_keys),
          CASE(a_writer_that_is_not_there_yet_is_waited_for))
