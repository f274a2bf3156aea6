/* P1 to P5 with many threads, slow readers and full buffers. */
#include <stdio.h>
#include <stdlib.h>

#include "host.h"
#include "peer.h"

enum { WRITERS = 4 };

/* A thread that replicates its own numbered entries. */
struct writer {
    replication_sender *sender;
    uint32_t number;
    uint32_t count;
    bool batches;
};

static void *write_entries(void *argument)
{
    enum { BATCH = 5 };
    struct writer *writer = argument;
    uint64_t last = 0;
    for (uint32_t i = 0; i < writer->count; i += writer->batches ? BATCH : 1) {
        uint32_t marks[BATCH][2];
        replication_slice payloads[BATCH];
        for (uint32_t b = 0; b < BATCH; b++) {
            marks[b][0] = writer->number;
            marks[b][1] = i + b;
            payloads[b] = (replication_slice){(const uint8_t *)marks[b], sizeof marks[b]};
        }
        uint64_t sequence = 0;
        if (writer->batches)
            CHECK_OK(sender_replicate_batch(writer->sender, i, payloads, BATCH, &sequence));
        else
            CHECK_OK(sender_replicate(writer->sender, i, payloads[0].data, payloads[0].len, &sequence));
        CHECK(sequence > last);
        last = sequence;
    }
    return NULL;
}

/* Each writer's entries are there, in the order in which it wrote them. */
static void check_marks(struct inbox *inbox, uint32_t count)
{
    uint32_t next[WRITERS] = {0};
    CHECK_U64(inbox_count(inbox), (uint64_t)WRITERS * count);
    for (size_t i = 0; i < (size_t)WRITERS * count; i++) {
        struct inbox_entry entry = inbox_at(inbox, i);
        uint32_t mark[2];
        CHECK_U64(entry.sequence, i + 1);
        CHECK_U64(entry.payload_len, sizeof mark);
        memcpy(mark, entry.payload, sizeof mark);
        CHECK(mark[0] < WRITERS);
        CHECK_U64(mark[1], next[mark[0]]);
        next[mark[0]]++;
    }
}

/* Go failure 4: concurrent calls enqueued out of order. */
TEST(p1_go4_concurrent_entries_reach_every_reader_in_one_order)
{
    enum { READERS = 4 };
    uint32_t count = (uint32_t)scaled(10000) / 5 * 5;
    struct inbox *inboxes[READERS];
    replication_receiver *receivers[READERS];
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_buffer_size(config, 200000));
    replication_sender *sender = start_sender(config);
    uint16_t port = listen_tcp(sender);
    for (size_t i = 0; i < READERS; i++) {
        char id[16];
        snprintf(id, sizeof id, "reader %zu", i);
        inboxes[i] = inbox_new();
        replication_receiver_config *each = receiver_config_for(id, tcp_address(port), inboxes[i]);
        CHECK_OK(receiver_config_set_protocol(each, i % 2 == 0 ? REPLICATION_PROTOCOL_V1 : REPLICATION_PROTOCOL_V2));
        if (i >= 2)
            CHECK_OK(receiver_config_set_ingest_batch_handler(each, 64, inbox_ingest_batch, inboxes[i], NULL));
        receivers[i] = start_receiver(each);
    }
    struct writer writers[WRITERS];
    unsigned long threads[WRITERS];
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.sender = sender, .number = i, .count = count, .batches = i % 2 == 1};
        threads[i] = thread_start(write_entries, &writers[i]);
    }
    for (size_t i = 0; i < WRITERS; i++)
        thread_join(threads[i]);
    CHECK_U64(sender_current_sequence(sender), (uint64_t)WRITERS * count);
    for (size_t i = 0; i < READERS; i++) {
        wait_for(receivers[i], (uint64_t)WRITERS * count);
        check_marks(inboxes[i], count);
        receiver_free(receivers[i]);
        inbox_free(inboxes[i]);
    }
    sender_free(sender);
}

/* A sender with a small buffer, and a v1 reader attached to it that takes no byte. */
struct stalled {
    struct events *events;
    replication_sender *sender;
    uint16_t port;
    struct peer peer;
    uint8_t payload[1024];
};

enum { BUFFER = 4000 };

static struct stalled stall(uint32_t policy, uint64_t wait_ms)
{
    struct stalled s = {.events = events_new()};
    int ends[2];
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_buffer_size(config, BUFFER));
    CHECK_OK(sender_config_set_full_policy(config, policy, wait_ms));
    CHECK_OK(sender_config_set_write_timeout_ms(config, 600 * 1000)); /* it is not time that ends it here */
    CHECK_OK(sender_config_set_stop_timeout_ms(config, 100));
    sender_config_listen_to(config, s.events);
    s.sender = start_sender(config);
    s.port = listen_tcp(s.sender);
    socket_pair(ends);
    CHECK_OK(sender_accept_reader(s.sender, ends[0], "stalled", 0));
    peer_open(&s.peer, ends[1]);
    CHECK(peer_expect_sync_ack(&s.peer, SYNC_ACK).can_resume);
    memset(s.payload, 'x', sizeof s.payload);
    return s;
}

static int32_t replicate_block(struct stalled *s)
{
    return sender_replicate(s->sender, 1, s->payload, sizeof s->payload, NULL);
}

static void unstall(struct stalled *s)
{
    sender_free(s->sender);
    peer_close(&s->peer);
    events_free(s->events);
}

/* Go failure 5: one stuck reader stopped all others. */
TEST(p4_go5_a_stalled_reader_is_cut_off_and_the_others_go_on)
{
    struct stalled s = stall(REPLICATION_FULL_POLICY_CUT_OFF_SLOWEST, 0);
    struct inbox *inbox = inbox_new();
    struct events *events = events_new();
    replication_receiver_config *config = receiver_config_for("quick", tcp_address(s.port), inbox);
    receiver_config_listen_to(config, events);
    replication_receiver *quick = start_receiver(config);
    WAIT_UNTIL(receiver_is_connected(quick));
    for (uint64_t sequence = 1; events_count(s.events, REPLICATION_EVENT_KIND_CUT_OFF) == 0; sequence++) {
        CHECK_OK(replicate_block(&s));
        if (sequence % (BUFFER / 2) == 0)
            wait_for(quick, sequence);
        if (sequence > 1000000)
            FAIL("the stalled reader is never cut off");
    }
    struct seen_event cut = events_wait(s.events, REPLICATION_EVENT_KIND_CUT_OFF);
    CHECK_U64(cut.status, REPLICATION_STATUS_SEQUENCE_GAP);
    CHECK_TEXT(cut.reader_id, "stalled");
    CHECK(cut.sequence > 0);
    WAIT_UNTIL(sender_reader_count(s.sender) == 1);
    wait_for(quick, sender_current_sequence(s.sender));
    CHECK_U64(inbox_count(inbox), sender_current_sequence(s.sender));
    CHECK_U64(events_count(events, REPLICATION_EVENT_KIND_DISCONNECTED), 0);
    CHECK(sender_stat(s.sender, "buffer_used") <= BUFFER);
    receiver_free(quick);
    unstall(&s);
    inbox_free(inbox);
    events_free(events);
}

TEST(p2_a_reader_that_was_cut_off_is_told_what_it_lacks)
{
    struct events *events = events_new(), *sender_events = events_new();
    struct inbox *inbox = inbox_new();
    replication_sender_config *sender_config = sender_config_new();
    CHECK_OK(sender_config_set_buffer_size(sender_config, BUFFER));
    sender_config_listen_to(sender_config, sender_events);
    replication_sender *sender = start_sender(sender_config);
    replication_receiver_config *config = receiver_config_for("slow", tcp_address(listen_tcp(sender)), inbox);
    CHECK_OK(receiver_config_set_buffer_bytes(config, 65536));
    receiver_config_listen_to(config, events);
    replication_receiver *receiver = start_receiver(config);
    static uint8_t payload[4096];
    CHECK_OK(sender_replicate(sender, 1, payload, 1, NULL));
    wait_for(receiver, 1);
    CHECK_OK(receiver_pause(receiver));
    for (int i = 0; events_count(sender_events, REPLICATION_EVENT_KIND_CUT_OFF) == 0; i++) {
        CHECK_OK(sender_replicate(sender, 1, payload, sizeof payload, NULL));
        if (i > 1000000)
            FAIL("the paused reader is never cut off");
    }
    CHECK_OK(receiver_resume(receiver));
    struct seen_event gap = events_wait(events, REPLICATION_EVENT_KIND_GAP);
    CHECK_U64(gap.status, REPLICATION_STATUS_SEQUENCE_GAP);
    /* The first missing entry is the one after all that it got, and nothing after the gap is applied. */
    WAIT_UNTIL(receiver_last_sequence(receiver) == gap.sequence - 1);
    CHECK_U64(inbox_count(inbox), gap.sequence - 1);
    CHECK(gap.sequence < sender_current_sequence(sender));
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
    events_free(events);
    events_free(sender_events);
}

/* Go failure 1: entries were dropped although their sequence was used up. */
TEST(p2_go1_a_refused_entry_uses_no_sequence)
{
    struct stalled s = stall(REPLICATION_FULL_POLICY_REFUSE, 0);
    uint64_t accepted = 0;
    for (;;) {
        int32_t status = replicate_block(&s);
        if (status == REPLICATION_STATUS_BUFFER_FULL)
            break;
        CHECK_OK(status);
        CHECK(++accepted < 1000000);
    }
    CHECK_U64(sender_current_sequence(s.sender), accepted);
    const replication_slice batch[] = {{s.payload, 1}, {s.payload, 1}};
    uint64_t first = 77;
    if (sender_replicate_batch(s.sender, 1, batch, 2, &first) == REPLICATION_STATUS_OK)
        accepted += 2;
    else
        CHECK_U64(first, 77);
    CHECK_U64(sender_current_sequence(s.sender), accepted);
    struct seen_event refused = events_wait(s.events, REPLICATION_EVENT_KIND_ENTRY_REFUSED);
    CHECK_U64(refused.status, REPLICATION_STATUS_BUFFER_FULL);
    /* It has used up the buffer, which its host heard once, too. */
    CHECK_TEXT(events_wait(s.events, REPLICATION_EVENT_KIND_LAGGING).reader_id, "stalled");
    CHECK_U64(events_count(s.events, REPLICATION_EVENT_KIND_LAGGING), 1);
    /* The reader wakes up: all that was accepted is there, and there is room again. */
    for (uint64_t sequence = 1; sequence <= accepted; sequence++) {
        struct message message;
        CHECK(peer_read(&s.peer, &message));
        uint64_t got = 0, timestamp_us = 0;
        uint8_t payload[2048];
        size_t len = 0;
        CHECK_OK(replication_parse_entry(message.payload, message.payload_len, &got, &timestamp_us, payload,
                                         sizeof payload, &len));
        CHECK_U64(got, sequence);
    }
    WAIT_UNTIL(replicate_block(&s) == REPLICATION_STATUS_OK);
    CHECK_U64(sender_current_sequence(s.sender), accepted + 1);
    CHECK_U64(events_count(s.events, REPLICATION_EVENT_KIND_CUT_OFF), 0);
    unstall(&s);
}

TEST(p3_the_wait_policy_waits_its_time_and_then_refuses)
{
    enum { WAIT_MS = 150 };
    struct stalled s = stall(REPLICATION_FULL_POLICY_WAIT, WAIT_MS);
    int64_t took = 0;
    int32_t status = REPLICATION_STATUS_OK;
    for (int i = 0; status == REPLICATION_STATUS_OK; i++) {
        int64_t started = now_ms();
        status = replicate_block(&s);
        took = now_ms() - started;
        CHECK(i < 1000000);
    }
    CHECK_STATUS(status, REPLICATION_STATUS_BUFFER_FULL);
    CHECK(took >= WAIT_MS - 1);
    unstall(&s);
}

static void *drain(void *argument)
{
    peer_drain(argument);
    return NULL;
}

TEST(p3_the_wait_policy_goes_on_when_there_is_room)
{
    struct stalled s = stall(REPLICATION_FULL_POLICY_WAIT, PATIENCE_MS);
    unsigned long drainer = thread_start(drain, &s.peer);
    for (size_t i = 0; i < scaled(20000); i++)
        CHECK_OK(replicate_block(&s));
    WAIT_UNTIL(sender_stat(s.sender, "readers.0.sent_sequence") == sender_current_sequence(s.sender));
    CHECK_OK(sender_stop(s.sender));
    thread_join(drainer);
    unstall(&s);
}

static void *replicate_until_refused(void *argument)
{
    int32_t status;
    do {
        status = replicate_block(argument);
    } while (status == REPLICATION_STATUS_OK);
    CHECK_STATUS(status, REPLICATION_STATUS_CLOSED);
    return NULL;
}

TEST(p9_stop_ends_a_replicate_that_waits)
{
    struct stalled s = stall(REPLICATION_FULL_POLICY_WAIT, 3600 * 1000);
    unsigned long writers[WRITERS];
    for (size_t i = 0; i < WRITERS; i++)
        writers[i] = thread_start(replicate_until_refused, &s);
    WAIT_UNTIL(sender_current_sequence(s.sender) >= BUFFER / 2);
    CHECK_STATUS(sender_stop(s.sender), REPLICATION_STATUS_TIMEOUT); /* the stalled reader has not caught up */
    for (size_t i = 0; i < WRITERS; i++)
        thread_join(writers[i]);
    unstall(&s);
}

TEST(p5_the_buffer_is_bounded_in_bytes)
{
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_buffer_bytes(config, 1 << 20));
    CHECK_OK(sender_config_set_buffer_size(config, 1000000));
    replication_sender *sender = start_sender(config);
    static const uint8_t payload[10000];
    for (size_t i = 0; i < 1000; i++)
        CHECK_OK(sender_replicate(sender, 1, payload, sizeof payload, NULL));
    CHECK(sender_stat(sender, "buffer_used") <= (1 << 20) / sizeof payload);
    CHECK(sender_stat(sender, "buffer_used") >= 10);
    sender_free(sender);
}

TEST(p5_a_reader_that_takes_no_byte_loses_its_connection)
{
    struct events *events = events_new();
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_write_timeout_ms(config, 200));
    CHECK_OK(sender_config_set_stop_timeout_ms(config, 0));
    sender_config_listen_to(config, events);
    replication_sender *sender = start_sender(config);
    static uint8_t payload[1 << 20];
    int ends[2];
    struct peer peer;
    socket_pair(ends);
    CHECK_OK(sender_accept_reader(sender, ends[0], "stuck", 0));
    peer_open(&peer, ends[1]);
    for (int i = 0; i < 8; i++)
        CHECK_OK(sender_replicate(sender, 1, payload, sizeof payload, NULL));
    struct seen_event ended = events_wait(events, REPLICATION_EVENT_KIND_DISCONNECTED);
    CHECK_U64(ended.status, REPLICATION_STATUS_PEER_TIMEOUT);
    CHECK_TEXT(ended.reader_id, "stuck");
    CHECK_U64(sender_reader_count(sender), 0);
    peer_close(&peer);
    sender_free(sender);
    events_free(events);
}

TEST_MAIN(CASE(p1_go4_concurrent_entries_reach_every_reader_in_one_order),
          CASE(p4_go5_a_stalled_reader_is_cut_off_and_the_others_go_on),
          CASE(p2_a_reader_that_was_cut_off_is_told_what_it_lacks), CASE(p2_go1_a_refused_entry_uses_no_sequence),
          CASE(p3_the_wait_policy_waits_its_time_and_then_refuses), CASE(p3_the_wait_policy_goes_on_when_there_is_room),
          CASE(p9_stop_ends_a_replicate_that_waits), CASE(p5_the_buffer_is_bounded_in_bytes),
          CASE(p5_a_reader_that_takes_no_byte_loses_its_connection))
