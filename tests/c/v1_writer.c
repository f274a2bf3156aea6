/* A receiver against a writer that this test speaks for itself: the v1 wire as a Go peer uses it, and what a broken or
 * hostile writer might send. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host.h"
#include "peer.h"

/* A receiver, and the writer's side of its first connection after the handshake. */
struct setting {
    struct inbox *inbox;
    struct events *events;
    int listener;
    uint16_t port;
    replication_receiver_config *config;
    replication_receiver *receiver;
    struct peer peer;
};

static struct setting set_up(void)
{
    struct setting s = {.inbox = inbox_new(), .events = events_new()};
    s.listener = listen_local(&s.port);
    s.config = receiver_config_for("reader", tcp_address(s.port), s.inbox);
    receiver_config_listen_to(s.config, s.events);
    return s;
}

/* Takes the next connection and reads its Sync; returns the last known sequence in it. */
static uint64_t accept_sync(struct setting *s)
{
    char reader_id[REPLICATION_MAX_READER_ID_BYTES + 1];
    peer_open(&s->peer, accept_one(s->listener));
    uint64_t known = peer_expect_sync(&s->peer, SYNC, reader_id);
    CHECK_TEXT(reader_id, "reader");
    return known;
}

/* Starts the receiver and answers it: the log ends at `current`. */
static void go(struct setting *s, uint64_t current)
{
    s->receiver = start_receiver(s->config);
    accept_sync(s);
    peer_send_sync_ack(&s->peer, current, true, NULL);
}

static void tear_down(struct setting *s)
{
    receiver_free(s->receiver);
    peer_close(&s->peer);
    close(s->listener);
    inbox_free(s->inbox);
    events_free(s->events);
}

TEST(a_v1_writer_is_followed_and_acknowledged)
{
    struct setting s = set_up();
    struct place place = {0};
    go(&s, 0);
    peer_send_entry(&s.peer, 1, "one");
    peer_send_entry(&s.peer, 2, "two <&>");
    wait_for(s.receiver, 2);
    CHECK_TEXT((const char *)inbox_at(s.inbox, 1).payload, "two <&>");
    CHECK_U64(inbox_at(s.inbox, 1).timestamp_us, 5);
    peer_expect_ack(&s.peer, 2, "reader");
    CHECK(receiver_is_connected(s.receiver));
    CHECK_STATUS(receiver_token(s.receiver, PLACE_ROOM(place)), REPLICATION_STATUS_NOT_FOUND);
    /* An entry that is applied, of a stream that nobody has named. */
    CHECK_STATUS(receiver_wait_token(s.receiver, PLACE(place_at(1, 2)), 0), REPLICATION_STATUS_NOT_FOUND);
    tear_down(&s);
}

TEST(a_v1_entry_as_go_writes_it)
{
    static const char *const payloads[] = {
        "{\"seq\":1,\"ts\":18446744073709551615,\"payload\":null}",
        "{\"seq\":2,\"ts\":0,\"payload\":\"\"}",
        "{\"ts\":3,\"extra\":{\"a\":[1]},\"payload\":\"/w==\",\"seq\":3}",
    };
    struct setting s = set_up();
    go(&s, 3);
    for (size_t i = 0; i < COUNT(payloads); i++) {
        uint8_t frame[256];
        size_t len = 0;
        CHECK_OK(replication_write_message(ENTRY, (const uint8_t *)payloads[i], strlen(payloads[i]), frame,
                                           sizeof frame, &len));
        for (size_t at = 0; at < len; at++)
            peer_send(&s.peer, frame + at, 1); /* byte by byte: Go failure 7 */
    }
    wait_for(s.receiver, 3);
    CHECK_U64(inbox_at(s.inbox, 0).timestamp_us, UINT64_MAX);
    CHECK_U64(inbox_at(s.inbox, 0).payload_len, 0);
    CHECK_U64(inbox_at(s.inbox, 1).payload_len, 0);
    CHECK(inbox_at(s.inbox, 2).payload_len == 1 && inbox_at(s.inbox, 2).payload[0] == 0xFF);
    tear_down(&s);
}

TEST(a_second_sync_ack_is_no_reason_to_leave)
{
    struct setting s = set_up();
    CHECK_OK(receiver_config_set_coordinator_handshake(s.config, true));
    char reader_id[REPLICATION_MAX_READER_ID_BYTES + 1];
    uint8_t frame[256];
    size_t len = 0;
    s.receiver = start_receiver(s.config);
    peer_open(&s.peer, accept_one(s.listener));
    CHECK_U64(peer_expect_sync(&s.peer, 0x10, reader_id), 0);
    CHECK_OK(replication_write_sync_ack(1, true, NULL, true, frame, sizeof frame, &len));
    peer_send(&s.peer, frame, len);
    peer_send_sync_ack(&s.peer, 1, true, NULL); /* what the deployed Go system does */
    peer_send_entry(&s.peer, 1, "one");
    wait_for(s.receiver, 1);
    peer_expect_ack(&s.peer, 1, "reader");
    CHECK_U64(events_count(s.events, REPLICATION_EVENT_KIND_DISCONNECTED), 0);
    tear_down(&s);
}

TEST(a_reader_reconnects_with_its_position)
{
    struct setting s = set_up();
    go(&s, 3);
    for (uint64_t sequence = 1; sequence <= 3; sequence++)
        peer_send_entry(&s.peer, sequence, "entry");
    wait_for(s.receiver, 3);
    for (uint64_t round = 0; round < 3; round++) {
        peer_close(&s.peer);
        CHECK_U64(accept_sync(&s), 3 + round);
        peer_send_sync_ack(&s.peer, 3 + round, true, NULL);
        peer_send_entry(&s.peer, 4 + round, "next");
        wait_for(s.receiver, 4 + round);
    }
    CHECK(events_count(s.events, REPLICATION_EVENT_KIND_DISCONNECTED) == 3);
    tear_down(&s);
}

TEST(p2_a_gap_is_reported_and_not_passed)
{
    struct setting s = set_up();
    go(&s, 9);
    peer_send_entry(&s.peer, 1, "one");
    peer_send_entry(&s.peer, 2, "two");
    peer_send_entry(&s.peer, 5, "five");
    struct seen_event gap = events_wait(s.events, REPLICATION_EVENT_KIND_GAP);
    CHECK_U64(gap.sequence, 3);
    CHECK_U64(gap.status, REPLICATION_STATUS_SEQUENCE_GAP);
    peer_drain(&s.peer);
    peer_close(&s.peer);
    CHECK_U64(receiver_last_sequence(s.receiver), 2);
    CHECK_U64(accept_sync(&s), 2); /* it asks again for what is missing */
    peer_send_sync_ack(&s.peer, 5, true, NULL);
    for (uint64_t sequence = 3; sequence <= 5; sequence++)
        peer_send_entry(&s.peer, sequence, "again");
    wait_for(s.receiver, 5);
    CHECK_U64(inbox_count(s.inbox), 5);
    tear_down(&s);
}

TEST(p2_the_continue_policy_passes_a_gap_and_says_so)
{
    struct setting s = set_up();
    s.inbox->gaps_allowed = true;
    CHECK_OK(receiver_config_set_gap_policy(s.config, REPLICATION_GAP_POLICY_CONTINUE));
    go(&s, 9);
    peer_send_entry(&s.peer, 1, "one");
    peer_send_entry(&s.peer, 5, "five");
    wait_for(s.receiver, 5);
    struct seen_event passed = events_wait(s.events, REPLICATION_EVENT_KIND_GAP_PASSED);
    CHECK_U64(passed.sequence, 2);
    CHECK_U64(inbox_count(s.inbox), 2);
    tear_down(&s);
}

TEST(p1_an_entry_that_comes_twice_is_applied_once)
{
    struct setting s = set_up();
    go(&s, 3);
    peer_send_entry(&s.peer, 1, "one");
    peer_send_entry(&s.peer, 1, "one");
    /* Whether it takes that as a repetition or as an error, the handler gets each entry once. */
    WAIT_UNTIL(inbox_count(s.inbox) == 1);
    if (events_count(s.events, REPLICATION_EVENT_KIND_DISCONNECTED) == 0)
        peer_send_entry(&s.peer, 2, "two");
    WAIT_UNTIL(receiver_last_sequence(s.receiver) == 2 ||
               events_count(s.events, REPLICATION_EVENT_KIND_PROTOCOL_ERROR) > 0);
    CHECK_U64(inbox_count(s.inbox), receiver_last_sequence(s.receiver));
    tear_down(&s);
}

/* The writer resets the connection right after entries: what was received is applied, or asked for again. */
TEST(p1_no_entry_is_lost_between_a_reset_and_the_next_connection)
{
    struct setting s = set_up();
    uint64_t last = 0;
    CHECK_OK(receiver_config_set_ack_interval_ms(s.config, 1));
    s.receiver = start_receiver(s.config);
    for (size_t round = 0; round < scaled(100); round++) {
        const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        uint64_t known = accept_sync(&s);
        peer_send_sync_ack(&s.peer, known + 10, true, NULL);
        for (uint64_t next = known + 1; next <= known + 5; next++)
            peer_send_entry(&s.peer, next, "before");
        wait_for(s.receiver, known + 5);
        for (uint64_t next = known + 6; next <= known + 10; next++)
            peer_send_entry(&s.peer, next, "right before the reset");
        CHECK(setsockopt(s.peer.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
        peer_close(&s.peer);
        last = known;
    }
    /* The inbox has seen no gap on the way here, and what the reader says that it has, it has applied. */
    uint64_t known = accept_sync(&s);
    CHECK(known > last);
    wait_for(s.receiver, known);
    CHECK_U64(inbox_count(s.inbox), known);
    tear_down(&s);
}

TEST(go3_a_v1_writer_that_fell_back_is_refused)
{
    struct setting s = set_up();
    CHECK_OK(receiver_config_set_last_sequence(s.config, 100));
    s.inbox->last_sequence = 100;
    s.receiver = start_receiver(s.config);
    CHECK_U64(accept_sync(&s), 100);
    peer_send_sync_ack(&s.peer, 4, true, NULL);
    struct seen_event regressed = events_wait(s.events, REPLICATION_EVENT_KIND_REGRESSED);
    CHECK_U64(regressed.status, REPLICATION_STATUS_REGRESSED);
    peer_drain(&s.peer);
    CHECK_U64(inbox_count(s.inbox), 0);
    CHECK_U64(receiver_last_sequence(s.receiver), 100);
    tear_down(&s);
}

TEST(go11_a_refusal_is_reported)
{
    struct setting s = set_up();
    s.receiver = start_receiver(s.config);
    accept_sync(&s);
    peer_send_sync_ack(&s.peer, 0, false, "this node is not the writer");
    struct seen_event refused = events_wait(s.events, REPLICATION_EVENT_KIND_REFUSED);
    CHECK_CONTAINS(refused.message, "this node is not the writer");
    CHECK(!receiver_is_connected(s.receiver));
    peer_drain(&s.peer);
    peer_close(&s.peer);
    accept_sync(&s); /* and asked again later */
    peer_send_sync_ack(&s.peer, 0, true, NULL);
    WAIT_UNTIL(receiver_is_connected(s.receiver));
    tear_down(&s);
}

TEST(each_error_code_of_the_writer_arrives_as_its_status)
{
    static const int32_t codes[] = {REPLICATION_STATUS_SEQUENCE_GAP, REPLICATION_STATUS_WAL_ROTATED,
                                    REPLICATION_STATUS_INVALID_MSG,  REPLICATION_STATUS_NOT_WRITER,
                                    REPLICATION_STATUS_BUFFER_FULL,  REPLICATION_STATUS_WRITE_FAILED,
                                    REPLICATION_STATUS_APPLY_FAILED};
    for (size_t i = 0; i < COUNT(codes); i++) {
        struct setting s = set_up();
        go(&s, 1);
        peer_send_entry(&s.peer, 1, "one");
        wait_for(s.receiver, 1);
        peer_send_error(&s.peer, replication_status_name(codes[i]), "as the writer says");
        struct seen_event ended = events_wait(s.events, REPLICATION_EVENT_KIND_DISCONNECTED);
        CHECK_U64(ended.status, codes[i]);
        tear_down(&s);
    }
}

#define RAW(bytes)                                                                                                     \
    {                                                                                                                  \
        bytes, sizeof bytes - 1                                                                                        \
    }

TEST(p8_a_broken_writer_is_left_and_tried_again)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        RAW("\0\0\0\0"),                                                /* length 0 */
        RAW("\xff\xff\xff\xff\x10"),                                    /* over the limit */
        RAW("\0\0\0\x05\x10nope"),                                      /* no JSON */
        RAW("\0\0\0\x22\x10{\"seq\":1,\"ts\":1,\"payload\":\"A*==\"}"), /* bad base64 */
        RAW("\0\0\0\x1f\x10{\"seq\":-1,\"ts\":1,\"payload\":\"\"}"),    /* bad number */
        RAW("\0\0\0\x40\x10{\"seq\":1"),                                /* cut by the end */
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct setting s = set_up();
        go(&s, 1);
        peer_send(&s.peer, bad[i].bytes, bad[i].len);
        if (i + 1 < COUNT(bad))
            peer_drain(&s.peer);
        peer_close(&s.peer);
        CHECK_U64(accept_sync(&s), 0);
        CHECK(events_count(s.events, REPLICATION_EVENT_KIND_DISCONNECTED) +
                  events_count(s.events, REPLICATION_EVENT_KIND_PROTOCOL_ERROR) >=
              1);
        peer_send_sync_ack(&s.peer, 1, true, NULL);
        peer_send_entry(&s.peer, 1, "good at last");
        wait_for(s.receiver, 1);
        CHECK(receiver_stat(s.receiver, "total_errors") >= 1);
        tear_down(&s);
    }
}

/* A good entry with one changed byte after its length: whatever comes of it, the reader asks again. */
TEST(p8_changed_bytes_from_a_writer_never_break_a_reader)
{
    static const uint8_t payload[100] = {0};
    uint64_t seed = random_seed(), state = seed;
    struct setting s = set_up();
    s.inbox->gaps_allowed = true;
    s.receiver = start_receiver(s.config);
    fprintf(stderr, "  TEST_SEED=%llu\n", (unsigned long long)seed);
    for (size_t round = 0; round < scaled(40); round++) {
        uint8_t frame[512];
        size_t len = 0;
        uint64_t known = accept_sync(&s);
        peer_send_sync_ack(&s.peer, known + 1, true, NULL);
        CHECK_OK(replication_write_entry(known + 1, 1, payload, sizeof payload, frame, sizeof frame, &len));
        frame[4 + random_below(&state, len - 4)] ^= (uint8_t)(1 + random_below(&state, 255));
        peer_send(&s.peer, frame, len);
        peer_close(&s.peer);
    }
    accept_sync(&s);
    tear_down(&s);
}

TEST_MAIN(CASE(a_v1_writer_is_followed_and_acknowledged), CASE(a_v1_entry_as_go_writes_it),
          CASE(a_second_sync_ack_is_no_reason_to_leave), CASE(a_reader_reconnects_with_its_position),
          CASE(p2_a_gap_is_reported_and_not_passed), CASE(p2_the_continue_policy_passes_a_gap_and_says_so),
          CASE(p1_an_entry_that_comes_twice_is_applied_once),
          CASE(p1_no_entry_is_lost_between_a_reset_and_the_next_connection),
          CASE(go3_a_v1_writer_that_fell_back_is_refused), CASE(go11_a_refusal_is_reported),
          CASE(each_error_code_of_the_writer_arrives_as_its_status), CASE(p8_a_broken_writer_is_left_and_tried_again),
          CASE(p8_changed_bytes_from_a_writer_never_break_a_reader))
