/* What a receiver does with its host's handlers: one by one, in batches, when they fail, before them the local log. */
#include <stdio.h>
#include <stdlib.h>

#include "host.h"
#include "json.h"

/* One sender and one receiver whose handler the test makes fail. */
struct setting {
    struct inbox *inbox;
    struct events *events;
    replication_sender *sender;
    replication_receiver_config *config;
    replication_receiver *receiver;
};

static struct setting set_up(void)
{
    struct setting s = {.inbox = inbox_new(), .events = events_new(), .sender = start_sender(NULL)};
    s.config = receiver_config_for("reader", tcp_address(listen_tcp(s.sender)), s.inbox);
    receiver_config_listen_to(s.config, s.events);
    return s;
}

static void go(struct setting *s)
{
    s->receiver = start_receiver(s->config);
}

static void tear_down(struct setting *s)
{
    receiver_free(s->receiver);
    sender_free(s->sender);
    CHECK(atomic_load(&s->inbox->released) >= 1);
    CHECK(atomic_load(&s->events->released) == 1);
    inbox_free(s->inbox);
    events_free(s->events);
}

static void in_batches(struct setting *s, size_t max_entries)
{
    CHECK_OK(receiver_config_set_ingest_batch_handler(s->config, max_entries, inbox_ingest_batch, s->inbox, NULL));
}

TEST(p1_a_batch_handler_gets_every_entry_once)
{
    struct setting s = set_up();
    in_batches(&s, 0);
    replicate_many(s.sender, 5000);
    go(&s);
    wait_for(s.receiver, 5000);
    CHECK_U64(inbox_count(s.inbox), 5000);
    CHECK(atomic_load(&s.inbox->calls) < 5000); /* what was there came together */
    tear_down(&s);
}

struct widest {
    atomic_size_t entries;
    atomic_size_t sum;
};

static int32_t measure_batch(void *user_data, const replication_entry *entries, size_t count, size_t *applied)
{
    struct widest *widest = user_data;
    CHECK(entries != NULL && applied != NULL && *applied == 0);
    if (count > atomic_load(&widest->entries))
        atomic_store(&widest->entries, count);
    atomic_fetch_add(&widest->sum, count);
    return 0;
}

TEST(a_batch_is_not_larger_than_asked_for)
{
    struct setting s = set_up();
    struct widest widest = {0};
    CHECK_OK(receiver_config_set_ingest_batch_handler(s.config, 7, measure_batch, &widest, NULL));
    replicate_many(s.sender, 1000);
    go(&s);
    wait_for(s.receiver, 1000);
    CHECK_U64(atomic_load(&widest.entries), 7);
    CHECK_U64(atomic_load(&widest.sum), 1000);
    tear_down(&s);
}

TEST(p6_a_batch_that_fails_half_way_goes_on_after_what_was_applied)
{
    struct setting s = set_up();
    in_batches(&s, 100);
    atomic_store(&s.inbox->refusals, 5);
    replicate_many(s.sender, 1000);
    go(&s);
    wait_for(s.receiver, 1000); /* the inbox would see a repeated or a missing entry */
    CHECK_U64(inbox_count(s.inbox), 1000);
    CHECK(atomic_load(&s.inbox->refused) == 5);
    CHECK(events_count(s.events, REPLICATION_EVENT_KIND_APPLY_FAILED) >= 1);
    tear_down(&s);
}

static int32_t claim_too_much(void *user_data, const replication_entry *entries, size_t count, size_t *applied)
{
    struct widest *widest = user_data;
    (void)entries;
    atomic_fetch_add(&widest->sum, count);
    *applied = SIZE_MAX;
    return 1;
}

TEST(p6_a_batch_handler_cannot_claim_more_than_it_got)
{
    struct setting s = set_up();
    struct widest widest = {0};
    CHECK_OK(receiver_config_set_ingest_batch_handler(s.config, 10, claim_too_much, &widest, NULL));
    replicate_many(s.sender, 20);
    go(&s);
    wait_for(s.receiver, 20);
    CHECK_U64(receiver_last_sequence(s.receiver), 20);
    CHECK_U64(atomic_load(&widest.sum), 20);
    tear_down(&s);
}

/* Go failure 9: an entry whose apply failed was skipped, and the next one acknowledged. */
TEST(p6_go9_a_failing_entry_is_tried_again_and_nothing_passes_it)
{
    struct setting s = set_up();
    atomic_store(&s.inbox->refusals, 6);
    go(&s);
    replicate_many(s.sender, 20);
    events_wait(s.events, REPLICATION_EVENT_KIND_APPLY_FAILED);
    wait_for(s.receiver, 20);
    CHECK_U64(inbox_count(s.inbox), 20);
    CHECK(atomic_load(&s.inbox->refused) == 6);
    struct seen_event failed = events_wait(s.events, REPLICATION_EVENT_KIND_APPLY_FAILED);
    CHECK_U64(failed.sequence, 1);
    CHECK_U64(failed.status, REPLICATION_STATUS_APPLY_FAILED);
    CHECK_CONTAINS(failed.message, "7"); /* what the handler returned */
    CHECK(receiver_stat(s.receiver, "total_errors") >= 6);
    CHECK_U64(receiver_stat(s.receiver, "total_entries_applied"), 20);
    tear_down(&s);
}

TEST(p6_go9_what_is_not_applied_is_not_acknowledged_as_applied)
{
    struct setting s = set_up();
    size_t readers = 77;
    go(&s);
    replicate_many(s.sender, 10);
    wait_for(s.receiver, 10);
    CHECK_OK(sender_wait_acked(s.sender, 10, REPLICATION_ACK_LEVEL_APPLIED, 1, PATIENCE_MS, NULL));
    atomic_store(&s.inbox->refusals, 1000000);
    replicate_many(s.sender, 10);
    CHECK_OK(sender_wait_acked(s.sender, 20, REPLICATION_ACK_LEVEL_RECEIVED, 1, PATIENCE_MS, &readers));
    CHECK_U64(readers, 1);
    events_wait(s.events, REPLICATION_EVENT_KIND_APPLY_FAILED);
    CHECK_STATUS(sender_wait_acked(s.sender, 11, REPLICATION_ACK_LEVEL_APPLIED, 1, 200, &readers),
                 REPLICATION_STATUS_TIMEOUT);
    CHECK_U64(readers, 0);
    CHECK_U64(receiver_last_sequence(s.receiver), 10);
    tear_down(&s);
}

TEST(the_stop_policy_stops_at_the_entry)
{
    struct setting s = set_up();
    CHECK_OK(receiver_config_set_apply_policy(s.config, REPLICATION_APPLY_POLICY_STOP, 2));
    go(&s);
    replicate_many(s.sender, 4);
    wait_for(s.receiver, 4);
    atomic_store(&s.inbox->refusals, 1000000);
    replicate_many(s.sender, 4);
    struct seen_event stopped = events_wait(s.events, REPLICATION_EVENT_KIND_STOPPED);
    CHECK_U64(stopped.sequence, 5);
    CHECK_U64(stopped.status, REPLICATION_STATUS_APPLY_FAILED);
    CHECK(atomic_load(&s.inbox->refused) == 3); /* once, and two times more */
    CHECK_ERROR(receiver_wait_sequence(s.receiver, 5, PATIENCE_MS), REPLICATION_STATUS_APPLY_FAILED, "5");
    CHECK_OK(receiver_wait_sequence(s.receiver, 4, 0));
    CHECK_U64(receiver_last_sequence(s.receiver), 4);
    replicate_many(s.sender, 4);
    CHECK_STATUS(receiver_wait_sequence(s.receiver, 12, PATIENCE_MS), REPLICATION_STATUS_APPLY_FAILED);
    CHECK(atomic_load(&s.inbox->refused) == 3);
    CHECK_U64(inbox_count(s.inbox), 4);
    tear_down(&s);
}

TEST(a_waiter_hears_that_applying_has_stopped)
{
    struct setting s = set_up();
    CHECK_OK(receiver_config_set_apply_policy(s.config, REPLICATION_APPLY_POLICY_STOP, 0));
    atomic_store(&s.inbox->refusals, 1);
    inbox_hold(s.inbox, true);
    go(&s);
    replicate_text(s.sender, "one");
    WAIT_UNTIL(atomic_load(&s.inbox->waiting) == 1);
    CHECK_STATUS(receiver_wait_sequence(s.receiver, 1, 10), REPLICATION_STATUS_TIMEOUT);
    inbox_hold(s.inbox, false);
    CHECK_STATUS(receiver_wait_sequence(s.receiver, 1, PATIENCE_MS), REPLICATION_STATUS_APPLY_FAILED);
    tear_down(&s);
}

TEST(p2_the_skip_policy_reports_and_counts_what_it_skips)
{
    struct setting s = set_up();
    s.inbox->gaps_allowed = true;
    CHECK_OK(receiver_config_set_apply_policy(s.config, REPLICATION_APPLY_POLICY_SKIP, 1));
    go(&s);
    replicate_many(s.sender, 3);
    wait_for(s.receiver, 3);
    atomic_store(&s.inbox->refusals, 2);
    replicate_many(s.sender, 3);
    wait_for(s.receiver, 6);
    struct seen_event skipped = events_wait(s.events, REPLICATION_EVENT_KIND_ENTRY_SKIPPED);
    CHECK_U64(skipped.sequence, 4);
    CHECK_U64(events_count(s.events, REPLICATION_EVENT_KIND_ENTRY_SKIPPED), 1);
    CHECK_U64(inbox_count(s.inbox), 5);
    CHECK_U64(inbox_at(s.inbox, 3).sequence, 5);
    CHECK_U64(receiver_stat(s.receiver, "total_entries_applied"), 5);
    CHECK_U64(receiver_stat(s.receiver, "total_entries_skipped"), 1);
    tear_down(&s);
}

/* The host's own log: gets each entry before the handler does. */
struct wal {
    struct inbox *handler;
    atomic_int refusals;
    uint64_t last;
};

static int32_t append(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                      size_t payload_len)
{
    struct wal *wal = user_data;
    (void)timestamp_us, (void)payload, (void)payload_len;
    CHECK_U64(inbox_count(wal->handler), sequence - 1);
    if (atomic_load(&wal->refusals) > 0) {
        atomic_fetch_sub(&wal->refusals, 1);
        return -1;
    }
    wal->last = sequence;
    return 0;
}

TEST(the_local_log_comes_before_the_handler)
{
    struct setting s = set_up();
    struct wal wal = {.handler = s.inbox};
    CHECK_OK(receiver_config_set_local_wal(s.config, append, &wal, NULL));
    atomic_store(&wal.refusals, 3);
    go(&s);
    replicate_many(s.sender, 100);
    wait_for(s.receiver, 100);
    CHECK_U64(wal.last, 100);
    CHECK_U64(inbox_count(s.inbox), 100);
    CHECK_U64(events_wait(s.events, REPLICATION_EVENT_KIND_APPLY_FAILED).sequence, 1);
    tear_down(&s);
}

TEST(an_entry_that_the_local_log_refuses_does_not_reach_the_handler)
{
    struct setting s = set_up();
    struct wal wal = {.handler = s.inbox};
    CHECK_OK(receiver_config_set_local_wal(s.config, append, &wal, NULL));
    CHECK_OK(receiver_config_set_apply_policy(s.config, REPLICATION_APPLY_POLICY_STOP, 0));
    atomic_store(&wal.refusals, 1);
    go(&s);
    replicate_text(s.sender, "one");
    CHECK_STATUS(receiver_wait_sequence(s.receiver, 1, PATIENCE_MS), REPLICATION_STATUS_APPLY_FAILED);
    CHECK(atomic_load(&s.inbox->calls) == 0);
    tear_down(&s);
}

/* A local log that refuses one entry for good. */
struct picky {
    uint64_t refused;
    uint64_t last;
};

static int32_t append_most(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                           size_t payload_len)
{
    struct picky *picky = user_data;
    (void)timestamp_us, (void)payload, (void)payload_len;
    if (sequence == picky->refused) {
        return -1;
    }
    CHECK(sequence > picky->last); /* each once */
    picky->last = sequence;
    return 0;
}

TEST(p1_a_batch_loses_nothing_but_what_the_local_log_refused)
{
    struct setting s = set_up();
    struct picky picky = {.refused = 3};
    s.inbox->gaps_allowed = true;
    in_batches(&s, 0);
    CHECK_OK(receiver_config_set_local_wal(s.config, append_most, &picky, NULL));
    CHECK_OK(receiver_config_set_apply_policy(s.config, REPLICATION_APPLY_POLICY_SKIP, 0));
    replicate_many(s.sender, 5); /* there together, in one batch */
    go(&s);
    wait_for(s.receiver, 5);
    CHECK_U64(events_wait(s.events, REPLICATION_EVENT_KIND_APPLY_FAILED).sequence, 3);
    CHECK_U64(events_wait(s.events, REPLICATION_EVENT_KIND_ENTRY_SKIPPED).sequence, 3);
    CHECK_U64(events_count(s.events, REPLICATION_EVENT_KIND_ENTRY_SKIPPED), 1);
    CHECK_U64(inbox_count(s.inbox), 4);
    CHECK_U64(picky.last, 5);
    tear_down(&s);
}

TEST(p6_each_level_is_acknowledged_after_the_fact)
{
    struct setting s = set_up();
    size_t readers = 77;
    CHECK_OK(receiver_config_set_handler_durable(s.config, true));
    inbox_hold(s.inbox, true);
    go(&s);
    replicate_text(s.sender, "one");
    WAIT_UNTIL(atomic_load(&s.inbox->waiting) == 1); /* the handler has it and has not returned */
    CHECK_OK(sender_wait_acked(s.sender, 1, REPLICATION_ACK_LEVEL_RECEIVED, 1, PATIENCE_MS, NULL));
    CHECK_STATUS(sender_wait_acked(s.sender, 1, REPLICATION_ACK_LEVEL_APPLIED, 1, 100, &readers),
                 REPLICATION_STATUS_TIMEOUT);
    CHECK_U64(readers, 0);
    CHECK_STATUS(sender_wait_acked(s.sender, 1, REPLICATION_ACK_LEVEL_DURABLE, 1, 0, &readers),
                 REPLICATION_STATUS_TIMEOUT);
    CHECK_U64(readers, 0);
    inbox_hold(s.inbox, false);
    CHECK_OK(sender_wait_acked(s.sender, 1, REPLICATION_ACK_LEVEL_APPLIED, 1, PATIENCE_MS, NULL));
    CHECK_OK(sender_wait_acked(s.sender, 1, REPLICATION_ACK_LEVEL_DURABLE, 1, PATIENCE_MS, &readers));
    CHECK_U64(readers, 1);
    tear_down(&s);
}

TEST(p6_only_entries_declared_durable_are_durable)
{
    struct setting s = set_up();
    size_t readers = 77;
    go(&s);
    replicate_text(s.sender, "one");
    CHECK_OK(sender_wait_acked(s.sender, 1, REPLICATION_ACK_LEVEL_APPLIED, 1, PATIENCE_MS, NULL));
    CHECK_STATUS(sender_wait_acked(s.sender, 1, REPLICATION_ACK_LEVEL_DURABLE, 1, 200, &readers),
                 REPLICATION_STATUS_TIMEOUT);
    CHECK_U64(readers, 0);
    tear_down(&s);
}

/* Somebody who waits is answered at once, not at the next interval. */
TEST(an_awaited_ack_does_not_wait_for_the_interval)
{
    struct setting s = set_up();
    CHECK_OK(receiver_config_set_ack_interval_ms(s.config, 3600 * 1000));
    go(&s);
    for (size_t i = 0; i < scaled(50); i++) {
        uint64_t sequence = replicate_text(s.sender, "now");
        CHECK_OK(sender_wait_acked(s.sender, sequence, REPLICATION_ACK_LEVEL_APPLIED, 1, PATIENCE_MS, NULL));
    }
    tear_down(&s);
}

TEST_MAIN(CASE(p1_a_batch_handler_gets_every_entry_once), CASE(a_batch_is_not_larger_than_asked_for),
          CASE(p6_a_batch_that_fails_half_way_goes_on_after_what_was_applied),
          CASE(p6_a_batch_handler_cannot_claim_more_than_it_got),
          CASE(p6_go9_a_failing_entry_is_tried_again_and_nothing_passes_it),
          CASE(p6_go9_what_is_not_applied_is_not_acknowledged_as_applied), CASE(the_stop_policy_stops_at_the_entry),
          CASE(a_waiter_hears_that_applying_has_stopped), CASE(p2_the_skip_policy_reports_and_counts_what_it_skips),
          CASE(the_local_log_comes_before_the_handler),
          CASE(an_entry_that_the_local_log_refuses_does_not_reach_the_handler),
          CASE(p1_a_batch_loses_nothing_but_what_the_local_log_refused),
          CASE(p6_each_level_is_acknowledged_after_the_fact), CASE(p6_only_entries_declared_durable_are_durable),
          CASE(an_awaited_ack_does_not_wait_for_the_interval))
