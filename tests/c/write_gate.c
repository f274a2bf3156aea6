/* The write gate: entries only while enough readers are near enough. */
#include <stdio.h>

#include "host.h"
#include "json.h"
#include "peer.h"

enum { RECEIVED = REPLICATION_ACK_LEVEL_RECEIVED, NEVER_MS = 0, NOT_ANY = 0 };

struct gated {
    struct events *events;
    replication_sender *sender;
};

static struct gated gated_sender(size_t readers, uint64_t entries, uint64_t ms, uint32_t policy, uint64_t max_wait_ms)
{
    struct gated gated = {.events = events_new()};
    replication_sender_config *config = sender_config_new();
    CHECK_OK(set_write_gate(config, readers, entries, ms, RECEIVED, policy, max_wait_ms));
    sender_config_listen_to(config, gated.events);
    gated.sender = start_sender(config);
    return gated;
}

static void end(struct gated *gated)
{
    sender_free(gated->sender);
    events_free(gated->events);
}

static int32_t try(struct gated *gated, uint64_t *sequence)
{
    return sender_replicate(gated->sender, 1, (const uint8_t *)"x", 1, sequence);
}

static bool is_open(struct gated *gated)
{
    char *json = NULL;
    CHECK_OK(sender_stats_json(gated->sender, &json));
    bool open = json_is_true(json, "write_gate_open");
    replication_string_free(json);
    return open;
}

TEST(bad_gates_are_refused)
{
    replication_sender *sender = NULL;
    replication_sender_config *config = sender_config_new();
    replication_write_gate *gate = replication_write_gate_new();
    CHECK_ERROR(sender_config_set_write_gate(NULL, gate), REPLICATION_STATUS_INVALID_ARGUMENT, "config");
    CHECK_ERROR(replication_write_gate_set_min_readers(NULL, 1), REPLICATION_STATUS_INVALID_ARGUMENT, "gate is NULL");
    CHECK_ERROR(replication_write_gate_set_min_readers(gate, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "readers is 0");
    CHECK_ERROR(replication_write_gate_set_max_lag_entries(NULL, 1), REPLICATION_STATUS_INVALID_ARGUMENT, "gate");
    CHECK_ERROR(replication_write_gate_set_max_lag_ms(NULL, 1), REPLICATION_STATUS_INVALID_ARGUMENT, "gate");
    CHECK_ERROR(replication_write_gate_set_level(NULL, RECEIVED), REPLICATION_STATUS_INVALID_ARGUMENT, "gate");
    CHECK_ERROR(replication_write_gate_set_policy(NULL, 0, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "gate");
    replication_write_gate_free(gate);
    replication_write_gate_free(NULL);
    CHECK_ERROR(set_write_gate(config, 1, 1, 1, 0, 0, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "level 0");
    CHECK_ERROR(set_write_gate(config, 1, 1, 1, 4, 0, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "level 4");
    CHECK_ERROR(set_write_gate(config, 1, 1, 1, RECEIVED, 2, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "policy 2");
    CHECK_OK(sender_config_set_max_readers(config, 4));
    CHECK_OK(set_write_gate(config, 5, 1, 1, RECEIVED, 0, 0));
    CHECK_ERROR(sender_new(config, &sender), REPLICATION_STATUS_INVALID_ARGUMENT, "max_readers");
    /* No readers: no gate. */
    CHECK_OK(set_write_gate(config, 0, 1, 1, RECEIVED, 0, 0));
    sender = start_sender(config);
    CHECK_U64(replicate_text(sender, "one"), 1);
    CHECK_U64(sender_stat(sender, "total_entries_gated"), 0);
    sender_free(sender);
}

TEST(entries_are_refused_until_enough_readers_are_near)
{
    struct gated gated = gated_sender(2, 3, NEVER_MS, REPLICATION_GATE_POLICY_REFUSE, 0);
    const replication_slice slices[] = {{(const uint8_t *)"x", 1}, {(const uint8_t *)"y", 1}};
    struct peer first, second;
    uint64_t sequence = 77;
    CHECK_ERROR(try(&gated, &sequence), REPLICATION_STATUS_GATED, "0 of 2 readers are within 3 entries, received");
    peer_attach(gated.sender, &first, "first", 0);
    CHECK_ERROR(sender_replicate_batch(gated.sender, 1, slices, 2, &sequence), REPLICATION_STATUS_GATED, "1 of 2");
    CHECK_U64(sequence, 77);
    CHECK_U64(sender_current_sequence(gated.sender), 0);
    CHECK_U64(sender_stat(gated.sender, "total_entries_gated"), 3);
    struct seen_event closed = events_wait(gated.events, REPLICATION_EVENT_KIND_GATE_CLOSED);
    CHECK_U64(closed.status, REPLICATION_STATUS_GATED);
    CHECK_U64(json_u64(closed.detail, "min_readers"), 2);
    CHECK_U64(json_u64(closed.detail, "max_lag_entries"), 3);
    peer_attach(gated.sender, &second, "second", 0);
    CHECK_U64(events_wait(gated.events, REPLICATION_EVENT_KIND_GATE_OPENED).status, REPLICATION_STATUS_OK);
    CHECK(is_open(&gated));
    for (uint64_t expected = 1; expected <= 4; expected++) {
        CHECK_OK(try(&gated, &sequence));
        CHECK_U64(sequence, expected); /* what was refused used no sequence */
    }
    CHECK_STATUS(try(&gated, NULL), REPLICATION_STATUS_GATED);
    CHECK(!is_open(&gated));
    peer_expect_entry(&first, 1, "x");
    peer_send_ack(&first, 1, "first");
    CHECK_OK(sender_wait_acked(gated.sender, 1, RECEIVED, 1, PATIENCE_MS, NULL));
    CHECK_ERROR(try(&gated, NULL), REPLICATION_STATUS_GATED, "1 of 2");
    peer_expect_entry(&second, 1, "x");
    peer_send_ack(&second, 1, "second");
    WAIT_UNTIL(is_open(&gated));
    CHECK_OK(try(&gated, &sequence));
    CHECK_U64(sequence, 5);
    /* A reader that leaves does not count. */
    peer_send_ack(&first, 4, "first");
    peer_send_ack(&second, 4, "second");
    CHECK_OK(sender_wait_acked(gated.sender, 4, RECEIVED, 2, PATIENCE_MS, NULL));
    CHECK(is_open(&gated));
    peer_close(&second);
    WAIT_UNTIL(!is_open(&gated));
    CHECK_ERROR(try(&gated, NULL), REPLICATION_STATUS_GATED, "1 of 2");
    WAIT_UNTIL(events_count(gated.events, REPLICATION_EVENT_KIND_GATE_CLOSED) >= 2);
    CHECK(sender_stat(gated.sender, "total_write_gate_closed") >= 2);
    peer_close(&first);
    end(&gated);
}

TEST(a_gate_without_a_lag_wants_readers_only)
{
    struct gated gated = gated_sender(1, NOT_ANY, NEVER_MS, REPLICATION_GATE_POLICY_REFUSE, 0);
    struct peer peer;
    CHECK_ERROR(try(&gated, NULL), REPLICATION_STATUS_GATED, "0 of 1 readers are within reach");
    peer_attach(gated.sender, &peer, "reader", 0);
    WAIT_UNTIL(try(&gated, NULL) == REPLICATION_STATUS_OK);
    replicate_many(gated.sender, 1000);
    peer_close(&peer);
    end(&gated);
}

TEST(entries_that_are_unacknowledged_for_too_long_shut_the_gate)
{
    struct gated gated = gated_sender(1, NOT_ANY, 100, REPLICATION_GATE_POLICY_REFUSE, 0);
    struct peer peer;
    uint64_t sequence = 0;
    peer_attach(gated.sender, &peer, "reader", 0);
    WAIT_UNTIL(is_open(&gated));
    CHECK_OK(try(&gated, &sequence));
    WAIT_UNTIL(!is_open(&gated)); /* time alone */
    CHECK_ERROR(try(&gated, NULL), REPLICATION_STATUS_GATED, "100 ms");
    peer_expect_entry(&peer, sequence, "x");
    peer_send_ack(&peer, sequence, "reader");
    WAIT_UNTIL(is_open(&gated));
    events_wait(gated.events, REPLICATION_EVENT_KIND_GATE_OPENED);
    peer_close(&peer);
    end(&gated);
}

static void *replicate_one(void *gated)
{
    uint64_t sequence = 0;
    CHECK_OK(try(gated, &sequence));
    CHECK_U64(sequence, 1);
    return NULL;
}

static void *replicate_until_closed(void *gated)
{
    CHECK_STATUS(try(gated, NULL), REPLICATION_STATUS_CLOSED);
    return NULL;
}

TEST(the_slow_policy_waits_for_the_gate)
{
    struct gated gated = gated_sender(1, 1, NEVER_MS, REPLICATION_GATE_POLICY_SLOW, UINT64_MAX);
    struct peer peer;
    unsigned long waiting = thread_start(replicate_one, &gated);
    events_wait(gated.events, REPLICATION_EVENT_KIND_GATE_CLOSED);
    peer_attach(gated.sender, &peer, "reader", 0);
    thread_join(waiting);
    CHECK_U64(sender_stat(gated.sender, "total_entries_gated"), 0);
    peer_close(&peer);
    WAIT_UNTIL(sender_reader_count(gated.sender) == 0);
    /* Stopping ends it, and so does another reason. */
    waiting = thread_start(replicate_until_closed, &gated);
    CHECK_OK(sender_stop(gated.sender));
    thread_join(waiting);
    end(&gated);
}

TEST(the_slow_policy_gives_up)
{
    struct gated gated = gated_sender(1, 1, NEVER_MS, REPLICATION_GATE_POLICY_SLOW, 50);
    int64_t started = now_ms();
    CHECK_ERROR(try(&gated, NULL), REPLICATION_STATUS_GATED, "0 of 1");
    CHECK(now_ms() - started >= 50);
    CHECK_U64(sender_stat(gated.sender, "total_entries_gated"), 1);
    end(&gated);
}

TEST_MAIN(CASE(bad_gates_are_refused), CASE(entries_are_refused_until_enough_readers_are_near),
          CASE(a_gate_without_a_lag_wants_readers_only),
          CASE(entries_that_are_unacknowledged_for_too_long_shut_the_gate), CASE(the_slow_policy_waits_for_the_gate),
          CASE(the_slow_policy_gives_up))
