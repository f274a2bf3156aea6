/* Header section "waiting for readers": quorums, waits, ordered callbacks, and what is asked later. */
#include <stdio.h>
#include <stdlib.h>

#include "host.h"
#include "peer.h"

enum { RECEIVED = REPLICATION_ACK_LEVEL_RECEIVED, DURABLE, APPLIED };

/* What one ordered callback was called with. */
struct heard {
    atomic_int calls, released;
    atomic_int status;
    atomic_ullong ticket;
    atomic_size_t readers;
    unsigned long thread;
    void (*inside)(replication_sender *sender); /* what the callback does, if anything */
    replication_sender *sender;
};

static void hear(void *user_data, uint64_t ticket, int32_t status, size_t readers)
{
    struct heard *heard = user_data;
    CHECK(ticket != 0);
    CHECK(atomic_load(&heard->released) == 0);
    heard->thread = (unsigned long)pthread_self();
    atomic_store(&heard->ticket, ticket);
    atomic_store(&heard->status, status);
    atomic_store(&heard->readers, readers);
    if (heard->inside != NULL)
        heard->inside(heard->sender);
    CHECK(atomic_fetch_add(&heard->calls, 1) == 0);
}

static void heard_release(void *user_data)
{
    struct heard *heard = user_data;
    CHECK(atomic_fetch_add(&heard->released, 1) == 0);
}

/* Waits for the one call and checks it. */
static void heard_is(struct heard *heard, int32_t status, size_t readers)
{
    WAIT_UNTIL(atomic_load(&heard->released) == 1);
    CHECK_U64(atomic_load(&heard->calls), 1);
    CHECK_STATUS(atomic_load(&heard->status), status);
    CHECK_U64(atomic_load(&heard->readers), readers);
}

static int32_t order(replication_sender *sender, uint64_t sequence, size_t readers, uint64_t timeout_ms,
                     struct heard *heard, uint64_t *out_ticket)
{
    return sender_on_acked(sender, sequence, RECEIVED, readers, timeout_ms, hear, heard, heard_release, out_ticket);
}

static replication_sender *grouped_sender(void)
{
    static const char *const east[] = {"east-*"};
    static const char *const west[] = {"west-1", "west-2"};
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_add_group(config, "east", east, COUNT(east)));
    CHECK_OK(sender_config_add_group(config, "west", west, COUNT(west)));
    return start_sender(config);
}

static replication_quorum *quorum_of(const char *group, size_t readers)
{
    replication_quorum *quorum = replication_quorum_new();
    CHECK(quorum != NULL);
    CHECK_OK(replication_quorum_add(quorum, group, readers));
    return quorum;
}

TEST(a_quorum_is_reached_in_every_group)
{
    replication_sender *sender = grouped_sender();
    replication_quorum *quorum = quorum_of("east", 1), *any = quorum_of(NULL, 3);
    CHECK_OK(replication_quorum_add(quorum, "west", 1));
    struct peer east[2], west;
    struct heard heard = {0}, later = {0};
    size_t readers = 77;
    uint64_t ticket = 0;
    peer_attach(sender, &east[0], "east-1", 0);
    peer_attach(sender, &east[1], "east-2", 0);
    peer_attach(sender, &west, "west-2", 0);
    replicate_text(sender, "one");
    CHECK_OK(sender_on_acked_quorum(sender, 1, RECEIVED, quorum, UINT64_MAX, hear, &heard, heard_release, &ticket));
    CHECK_STATUS(sender_ticket_status(sender, ticket, &readers), REPLICATION_STATUS_TIMEOUT);
    CHECK_U64(readers, 0);
    peer_send_ack(&east[0], 1, "east-1");
    peer_send_ack(&east[1], 1, "east-2");
    CHECK_OK(sender_wait_acked(sender, 1, RECEIVED, 2, PATIENCE_MS, NULL));
    CHECK_ERROR(sender_wait_acked_quorum(sender, 1, RECEIVED, quorum, 1, &readers), REPLICATION_STATUS_TIMEOUT,
                "0 of 1 readers in group \"west\"");
    CHECK_U64(readers, 2);
    CHECK_ERROR(sender_acked_quorum(sender, 1, RECEIVED, any, &readers), REPLICATION_STATUS_TIMEOUT, "2 of 3");
    CHECK_U64(atomic_load(&heard.calls), 0);
    peer_send_ack(&west, 1, "west-2");
    CHECK_OK(sender_wait_acked_quorum(sender, 1, RECEIVED, quorum, PATIENCE_MS, &readers));
    CHECK_U64(readers, 3);
    CHECK_OK(sender_acked_quorum(sender, 1, RECEIVED, any, &readers));
    heard_is(&heard, REPLICATION_STATUS_OK, 3);
    CHECK_U64(atomic_load(&heard.ticket), ticket);
    CHECK_OK(sender_ticket_status(sender, ticket, &readers));
    CHECK_U64(readers, 3);
    /* Waits that began with a quorum do not need it any more. */
    replicate_text(sender, "two");
    CHECK_OK(sender_on_acked_quorum(sender, 2, RECEIVED, quorum, UINT64_MAX, hear, &later, heard_release, NULL));
    replication_quorum_free(quorum);
    replication_quorum_free(any);
    replication_quorum_free(NULL);
    peer_send_ack(&east[0], 2, "east-1");
    peer_send_ack(&west, 2, "west-2");
    heard_is(&later, REPLICATION_STATUS_OK, 2);
    peer_close(&east[0]);
    peer_close(&east[1]);
    peer_close(&west);
    sender_free(sender);
}

TEST(what_can_never_be_reached_is_refused_and_not_waited_for)
{
    replication_sender *sender = grouped_sender();
    replication_quorum *quorum = replication_quorum_new();
    struct heard heard = {0};
    size_t readers = 77;
    replicate_text(sender, "one");
    CHECK_ERROR(sender_wait_acked_quorum(sender, 1, RECEIVED, quorum, UINT64_MAX, &readers),
                REPLICATION_STATUS_INVALID_ARGUMENT, "empty");
    CHECK_ERROR(replication_quorum_add(quorum, "east", 0), REPLICATION_STATUS_INVALID_ARGUMENT, "readers is 0");
    CHECK_ERROR(replication_quorum_add(quorum, "\xff", 1), REPLICATION_STATUS_INVALID_ARGUMENT, "group");
    CHECK_OK(replication_quorum_add(quorum, "north", 1));
    CHECK_ERROR(sender_wait_acked_quorum(sender, 1, RECEIVED, quorum, UINT64_MAX, &readers),
                REPLICATION_STATUS_INVALID_ARGUMENT, "no group \"north\"");
    CHECK_ERROR(sender_acked_quorum(sender, 1, RECEIVED, quorum, &readers), REPLICATION_STATUS_INVALID_ARGUMENT,
                "north");
    CHECK_ERROR(sender_on_acked_quorum(sender, 1, RECEIVED, quorum, UINT64_MAX, hear, &heard, heard_release, NULL),
                REPLICATION_STATUS_INVALID_ARGUMENT, "north");
    CHECK_U64(atomic_load(&heard.released), 1);
    replication_quorum_free(quorum);
    quorum = quorum_of("west", 3);
    CHECK_ERROR(sender_wait_acked_quorum(sender, 1, RECEIVED, quorum, UINT64_MAX, &readers),
                REPLICATION_STATUS_INVALID_ARGUMENT, "at most 2");
    replication_quorum_free(quorum);
    CHECK_ERROR(sender_wait_acked(sender, 1, RECEIVED, 1000000, UINT64_MAX, &readers),
                REPLICATION_STATUS_INVALID_ARGUMENT, "1000000");
    CHECK_ERROR(sender_acked(sender, 1, RECEIVED, SIZE_MAX, &readers), REPLICATION_STATUS_INVALID_ARGUMENT, "never");
    quorum = replication_quorum_new();
    for (size_t i = 0; i < 64; i++)
        CHECK_OK(replication_quorum_add(quorum, i % 2 == 0 ? "east" : NULL, 1));
    CHECK_ERROR(replication_quorum_add(quorum, "east", 1), REPLICATION_STATUS_INVALID_ARGUMENT, "64");
    CHECK_STATUS(sender_acked_quorum(sender, 1, RECEIVED, quorum, NULL), REPLICATION_STATUS_TIMEOUT);
    replication_quorum_free(quorum);
    CHECK_U64(readers, 77);
    CHECK_U64(atomic_load(&heard.calls), 0);
    sender_free(sender);
}

TEST(groups_are_checked_when_they_are_added)
{
    static const char *const good[] = {"a", "b*"};
    static const char *const hole[] = {"a", NULL};
    static const char *const empty[] = {""};
    static const char *const bytes[] = {"a\xff"};
    replication_sender_config *config = sender_config_new();
    CHECK_ERROR(sender_config_add_group(NULL, "g", good, 2), REPLICATION_STATUS_INVALID_ARGUMENT, "config");
    CHECK_ERROR(sender_config_add_group(config, NULL, good, 2), REPLICATION_STATUS_INVALID_ARGUMENT, "name");
    CHECK_ERROR(sender_config_add_group(config, "", good, 2), REPLICATION_STATUS_INVALID_ARGUMENT, "name");
    CHECK_ERROR(sender_config_add_group(config, "g", NULL, 2), REPLICATION_STATUS_INVALID_ARGUMENT, "reader_ids");
    CHECK_ERROR(sender_config_add_group(config, "g", good, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "count");
    CHECK_ERROR(sender_config_add_group(config, "g", hole, 2), REPLICATION_STATUS_INVALID_ARGUMENT, "reader_ids[1]");
    CHECK_ERROR(sender_config_add_group(config, "g", empty, 1), REPLICATION_STATUS_INVALID_ARGUMENT, "reader_ids[0]");
    CHECK_ERROR(sender_config_add_group(config, "g", bytes, 1), REPLICATION_STATUS_INVALID_ARGUMENT, "reader_ids[0]");
    CHECK_OK(sender_config_add_group(config, "g", good, 2));
    CHECK_ERROR(sender_config_add_group(config, "g", good, 2), REPLICATION_STATUS_INVALID_ARGUMENT, "\"g\" already");
    CHECK_ERROR(sender_config_set_max_pending_acks(config, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "0");
    sender_config_free(config);
}

TEST(a_call_comes_once_with_ok_or_with_what_there_is_in_time)
{
    replication_sender *sender = start_sender(NULL);
    struct peer peer;
    struct heard reached = {0}, late = {0}, already = {0}, looked = {0};
    uint64_t ticket = 0, late_ticket = 0;
    size_t readers = 77;
    peer_attach(sender, &peer, "reader", 0);
    replicate_text(sender, "one");
    CHECK_OK(order(sender, 1, 1, UINT64_MAX, &reached, &ticket));
    CHECK_OK(order(sender, 1, 2, 50, &late, &late_ticket));
    CHECK(ticket != 0 && late_ticket != 0 && ticket != late_ticket);
    CHECK_OK(order(sender, 1, 1, 0, &looked, NULL));
    heard_is(&looked, REPLICATION_STATUS_TIMEOUT, 0);
    heard_is(&late, REPLICATION_STATUS_TIMEOUT, 0);
    CHECK_STATUS(sender_ticket_status(sender, late_ticket, &readers), REPLICATION_STATUS_TIMEOUT);
    CHECK_U64(readers, 0);
    CHECK_U64(atomic_load(&reached.calls), 0);
    peer_send_ack(&peer, 1, "reader");
    heard_is(&reached, REPLICATION_STATUS_OK, 1);
    CHECK(reached.thread == late.thread && reached.thread != (unsigned long)pthread_self());
    CHECK_OK(order(sender, 1, 1, UINT64_MAX, &already, NULL));
    heard_is(&already, REPLICATION_STATUS_OK, 1);
    /* What became of the one that was late. */
    CHECK_ERROR(sender_ticket_status(sender, late_ticket, &readers), REPLICATION_STATUS_TIMEOUT, "only 1");
    CHECK_U64(readers, 1);
    CHECK_STATUS(sender_acked(sender, 1, RECEIVED, 2, &readers), REPLICATION_STATUS_TIMEOUT);
    struct peer second;
    /* To say that it has the entry is no proof that it does. */
    peer_attach(sender, &second, "second", 1);
    CHECK_STATUS(sender_acked(sender, 1, RECEIVED, 2, &readers), REPLICATION_STATUS_TIMEOUT);
    peer_close(&second);
    peer_attach(sender, &second, "second", 0);
    peer_send_ack(&second, 1, "second");
    CHECK_OK(sender_wait_acked(sender, 1, RECEIVED, 2, PATIENCE_MS, NULL));
    CHECK_OK(sender_ticket_status(sender, late_ticket, &readers));
    CHECK_U64(readers, 2);
    CHECK_OK(sender_acked(sender, 1, RECEIVED, 2, &readers));
    CHECK_U64(readers, 2);
    CHECK_OK(sender_ticket_status(sender, ticket, NULL));
    CHECK_ERROR(sender_ticket_status(sender, 1000, NULL), REPLICATION_STATUS_NOT_FOUND, "1000");
    CHECK_STATUS(sender_ticket_status(sender, 0, NULL), REPLICATION_STATUS_NOT_FOUND);
    CHECK_STATUS(sender_ticket_status(sender, UINT64_MAX, NULL), REPLICATION_STATUS_NOT_FOUND);
    peer_close(&peer);
    peer_close(&second);
    sender_free(sender);
}

TEST(p5_outstanding_calls_are_bounded)
{
    enum { BOUND = 3 };
    struct heard heard[BOUND] = {{0}}, over = {0};
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_max_pending_acks(config, BOUND));
    replication_sender *sender = start_sender(config);
    replicate_text(sender, "one");
    for (size_t i = 0; i < BOUND; i++)
        CHECK_OK(order(sender, 1, 1, UINT64_MAX, &heard[i], NULL));
    CHECK_ERROR(order(sender, 1, 1, UINT64_MAX, &over, NULL), REPLICATION_STATUS_BUFFER_FULL, "3 calls");
    CHECK_U64(atomic_load(&over.released), 1);
    struct peer peer;
    peer_attach(sender, &peer, "reader", 0);
    peer_send_ack(&peer, 1, "reader");
    for (size_t i = 0; i < BOUND; i++)
        heard_is(&heard[i], REPLICATION_STATUS_OK, 1);
    struct heard again = {0};
    CHECK_OK(order(sender, 1, 1, UINT64_MAX, &again, NULL));
    heard_is(&again, REPLICATION_STATUS_OK, 1);
    CHECK_U64(atomic_load(&over.calls), 0);
    peer_close(&peer);
    sender_free(sender);
}

static void *wait_for_ever(void *sender)
{
    size_t readers = 77;
    CHECK_STATUS(sender_wait_acked(sender, 1, RECEIVED, 1, UINT64_MAX, &readers), REPLICATION_STATUS_CLOSED);
    CHECK_U64(readers, 77);
    return NULL;
}

TEST(stop_ends_every_wait_with_closed)
{
    replication_sender *sender = start_sender(NULL);
    struct heard heard = {0}, after = {0};
    uint64_t ticket = 0;
    size_t readers = 77;
    replicate_text(sender, "one");
    CHECK_OK(order(sender, 1, 1, UINT64_MAX, &heard, &ticket));
    unsigned long waiting[3];
    for (size_t i = 0; i < COUNT(waiting); i++)
        waiting[i] = thread_start(wait_for_ever, sender);
    CHECK_OK(sender_stop(sender));
    CHECK_U64(atomic_load(&heard.released), 1); /* before the stop returned */
    heard_is(&heard, REPLICATION_STATUS_CLOSED, 0);
    for (size_t i = 0; i < COUNT(waiting); i++)
        thread_join(waiting[i]);
    CHECK_STATUS(order(sender, 1, 1, UINT64_MAX, &after, NULL), REPLICATION_STATUS_CLOSED);
    CHECK(atomic_load(&after.calls) == 0 && atomic_load(&after.released) == 1);
    CHECK_STATUS(sender_ticket_status(sender, ticket, &readers), REPLICATION_STATUS_CLOSED);
    CHECK_U64(readers, 0);
    CHECK_ERROR(sender_acked(sender, 1, RECEIVED, 1, &readers), REPLICATION_STATUS_CLOSED, "0 of 1");
    CHECK_OK(sender_acked(sender, 1, RECEIVED, 0, &readers));
    sender_free(sender);
    heard_is(&heard, REPLICATION_STATUS_CLOSED, 0);
}

TEST(p9_free_ends_every_call_once)
{
    enum { CALLS = 100 };
    static struct heard heard[CALLS];
    replication_sender *sender = start_sender(NULL);
    replicate_text(sender, "one");
    for (size_t i = 0; i < CALLS; i++)
        CHECK_OK(order(sender, 1, 1 + i % 3, i % 2 == 0 ? UINT64_MAX : PATIENCE_MS, &heard[i], NULL));
    sender_free(sender);
    for (size_t i = 0; i < CALLS; i++) {
        CHECK_U64(atomic_load(&heard[i].released), 1); /* before the free returned */
        heard_is(&heard[i], REPLICATION_STATUS_CLOSED, 0);
    }
}

static void free_inside(replication_sender *sender)
{
    sender_free(sender);
}

TEST(p9_a_sender_freed_in_an_ordered_call_calls_no_other)
{
    enum { CALLS = 10 };
    static struct heard heard[CALLS];
    size_t threads = running_threads();
    replication_sender *sender = start_sender(NULL);
    struct heard first = {.inside = free_inside, .sender = sender};
    replicate_text(sender, "one");
    for (size_t i = 0; i < CALLS; i++)
        CHECK_OK(order(sender, 1, 1, UINT64_MAX, &heard[i], NULL));
    CHECK_OK(order(sender, 1, 0, UINT64_MAX, &first, NULL));
    heard_is(&first, REPLICATION_STATUS_OK, 0);
    for (size_t i = 0; i < CALLS; i++) {
        WAIT_UNTIL(atomic_load(&heard[i].released) == 1);
        CHECK_U64(atomic_load(&heard[i].calls), 0);
    }
    WAIT_UNTIL(running_threads() == threads);
}

static struct heard inner;

static void ask_inside(replication_sender *sender)
{
    uint64_t ticket = 0;
    size_t readers = 77;
    CHECK_ERROR(sender_wait_acked(sender, 1, RECEIVED, 1, 0, NULL), REPLICATION_STATUS_WRONG_THREAD,
                "sender_wait_acked");
    replication_quorum *quorum = quorum_of(NULL, 1);
    CHECK_ERROR(sender_wait_acked_quorum(sender, 1, RECEIVED, quorum, 0, NULL), REPLICATION_STATUS_WRONG_THREAD,
                "sender_wait_acked_quorum");
    CHECK_STATUS(sender_acked_quorum(sender, 1, RECEIVED, quorum, &readers), REPLICATION_STATUS_TIMEOUT);
    CHECK_STATUS(sender_acked(sender, 1, RECEIVED, 1, &readers), REPLICATION_STATUS_TIMEOUT);
    CHECK_OK(sender_on_acked_quorum(sender, 1, RECEIVED, quorum, 1, hear, &inner, heard_release, &ticket));
    CHECK_STATUS(sender_ticket_status(sender, ticket, &readers), REPLICATION_STATUS_TIMEOUT);
    replication_quorum_free(quorum);
}

TEST(a_call_may_ask_and_order_but_not_wait)
{
    replication_sender *sender = start_sender(NULL);
    struct heard outer = {.inside = ask_inside, .sender = sender};
    replicate_text(sender, "one");
    CHECK_OK(order(sender, 1, 0, 0, &outer, NULL));
    heard_is(&outer, REPLICATION_STATUS_OK, 0);
    heard_is(&inner, REPLICATION_STATUS_TIMEOUT, 0);
    CHECK(inner.thread == outer.thread);
    sender_free(sender);
}

TEST(misuse_is_refused_and_the_user_data_released)
{
    replication_sender *sender = make_sender(NULL);
    replication_quorum *quorum = quorum_of(NULL, 1);
    struct heard heard[10] = {{0}}, unreleased = {0};
    uint64_t ticket = 77;
    size_t readers = 77;
    int32_t any = REPLICATION_STATUS_INVALID_ARGUMENT;
    CHECK_STATUS(sender_acked(NULL, 0, RECEIVED, 1, &readers), any);
    CHECK_STATUS(sender_acked_quorum(NULL, 0, RECEIVED, quorum, &readers), any);
    CHECK_ERROR(sender_acked_quorum(sender, 0, RECEIVED, NULL, &readers), any, "quorum is NULL");
    CHECK_STATUS(sender_wait_acked_quorum(NULL, 0, RECEIVED, quorum, 0, &readers), any);
    CHECK_ERROR(sender_wait_acked_quorum(sender, 0, RECEIVED, NULL, 0, &readers), any, "quorum is NULL");
    CHECK_STATUS(sender_ticket_status(NULL, 1, &readers), any);
    CHECK_ERROR(replication_quorum_add(NULL, NULL, 1), any, "quorum is NULL");
    /* Before the start. */
    CHECK_STATUS(order(sender, 0, 1, 0, &heard[0], &ticket), REPLICATION_STATUS_INVALID_STATE);
    CHECK_STATUS(sender_wait_acked_quorum(sender, 0, RECEIVED, quorum, 0, NULL), REPLICATION_STATUS_INVALID_STATE);
    CHECK_OK(sender_start(sender));
    replicate_text(sender, "one");
    CHECK_STATUS(order(NULL, 1, 1, 0, &heard[1], &ticket), any);
    CHECK_ERROR(order(sender, 2, 1, 0, &heard[2], &ticket), any, "sequence 2");
    CHECK_ERROR(sender_on_acked(sender, 1, 0, 1, 0, hear, &heard[3], heard_release, &ticket), any, "level 0");
    CHECK_ERROR(sender_on_acked(sender, 1, 4, 1, 0, hear, &heard[4], heard_release, &ticket), any, "level 4");
    CHECK_ERROR(sender_on_acked(sender, 1, 1, 1, 0, NULL, &heard[5], heard_release, &ticket), any, "callback");
    CHECK_ERROR(sender_on_acked_quorum(sender, 1, 1, NULL, 0, hear, &heard[6], heard_release, &ticket), any, "quorum");
    CHECK_STATUS(sender_on_acked_quorum(NULL, 1, 1, quorum, 0, hear, &heard[7], heard_release, &ticket), any);
    CHECK_ERROR(order(sender, UINT64_MAX, 1, 0, &heard[8], &ticket), any, "replicated");
    CHECK_ERROR(order(sender, 1, SIZE_MAX, 0, &heard[9], &ticket), any, "never");
    for (size_t i = 0; i < COUNT(heard); i++)
        CHECK(atomic_load(&heard[i].calls) == 0 && atomic_load(&heard[i].released) == 1);
    CHECK_ERROR(sender_acked(sender, 1, 0, 1, &readers), any, "level 0");
    CHECK_ERROR(sender_acked(sender, 2, RECEIVED, 1, &readers), any, "sequence 2");
    CHECK(ticket == 77 && readers == 77);
    /* Neither data nor results are needed. */
    CHECK_OK(sender_on_acked(sender, 1, RECEIVED, 1, 0, hear, &unreleased, NULL, NULL));
    replication_quorum_free(quorum);
    CHECK_OK(sender_stop(sender));
    CHECK_U64(atomic_load(&unreleased.calls), 1);
    sender_free(sender);
}

/* With an ack interval of ten seconds, real receivers answer at once all the same, at every level. */
TEST(acks_come_at_once_when_somebody_waits)
{
    struct inbox *inbox = inbox_new();
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_peer_timeout_ms(config, 600000));
    CHECK_OK(sender_config_set_heartbeat_interval_ms(config, 300000));
    replication_sender *sender = start_sender(config);
    replication_receiver_config *reader = receiver_config_for("reader", tcp_address(listen_tcp(sender)), inbox);
    CHECK_OK(receiver_config_set_ack_interval_ms(reader, 10000));
    CHECK_OK(receiver_config_set_peer_timeout_ms(reader, 600000));
    CHECK_OK(receiver_config_set_heartbeat_interval_ms(reader, 300000));
    CHECK_OK(receiver_config_set_handler_durable(reader, true));
    replication_receiver *receiver = start_receiver(reader);
    WAIT_UNTIL(sender_reader_count(sender) == 1);
    int64_t started = now_ms();
    size_t rounds = scaled(100);
    for (size_t i = 0; i < rounds; i++) {
        struct heard heard = {0};
        uint64_t sequence = replicate_text(sender, "entry");
        CHECK_OK(sender_on_acked(sender, sequence, DURABLE, 1, PATIENCE_MS, hear, &heard, heard_release, NULL));
        CHECK_OK(sender_wait_acked(sender, sequence, APPLIED, 1, PATIENCE_MS, NULL));
        heard_is(&heard, REPLICATION_STATUS_OK, 1);
    }
    if (now_ms() - started > 5000 + (int64_t)rounds * 20)
        FAIL("%zu entries took %lld ms", rounds, (long long)(now_ms() - started));
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

/* Many threads that order, wait and ask while entries flow, and a stop in between: nothing is lost or called twice. */
struct worker {
    replication_sender *sender;
    struct heard *heard;
    size_t count;
    atomic_size_t ordered;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    for (size_t i = 0; i < worker->count; i++) {
        uint64_t sequence = 0;
        if (sender_replicate(worker->sender, 1, (const uint8_t *)"x", 1, &sequence) != REPLICATION_STATUS_OK)
            break;
        if (order(worker->sender, sequence, 1, UINT64_MAX, &worker->heard[i], NULL) != REPLICATION_STATUS_OK)
            break;
        atomic_store(&worker->ordered, i + 1);
        if (i % 16 == 0)
            (void)sender_wait_acked(worker->sender, sequence, RECEIVED, 1, 5, NULL);
    }
    return NULL;
}

TEST(p9_calls_are_made_once_through_flow_and_stop)
{
    enum { WORKERS = 3 };
    size_t count = scaled(3000);
    struct inbox *inbox = inbox_new();
    inbox->drop_payloads = true;
    replication_sender *sender = start_sender(NULL);
    replication_receiver *receiver = follow(listen_tcp(sender), "reader", inbox);
    struct worker workers[WORKERS];
    unsigned long threads[WORKERS];
    for (size_t i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.sender = sender, .heard = calloc(count, sizeof(struct heard)), .count = count};
        CHECK(workers[i].heard != NULL);
        threads[i] = thread_start(work, &workers[i]);
    }
    WAIT_UNTIL(atomic_load(&workers[0].ordered) > count / 2);
    (void)sender_stop(sender);
    for (size_t i = 0; i < WORKERS; i++)
        thread_join(threads[i]);
    for (size_t i = 0; i < WORKERS; i++) {
        for (size_t j = 0; j < atomic_load(&workers[i].ordered); j++) {
            struct heard *heard = &workers[i].heard[j];
            CHECK(atomic_load(&heard->calls) == 1 && atomic_load(&heard->released) == 1);
            int status = atomic_load(&heard->status);
            CHECK(status == REPLICATION_STATUS_OK || status == REPLICATION_STATUS_CLOSED);
        }
        free(workers[i].heard);
    }
    sender_free(sender);
    receiver_free(receiver);
    inbox_free(inbox);
}

TEST_MAIN(CASE(a_quorum_is_reached_in_every_group), CASE(what_can_never_be_reached_is_refused_and_not_waited_for),
          CASE(groups_are_checked_when_they_are_added), CASE(a_call_comes_once_with_ok_or_with_what_there_is_in_time),
          CASE(p5_outstanding_calls_are_bounded), CASE(stop_ends_every_wait_with_closed),
          CASE(p9_free_ends_every_call_once), CASE(p9_a_sender_freed_in_an_ordered_call_calls_no_other),
          CASE(a_call_may_ask_and_order_but_not_wait), CASE(misuse_is_refused_and_the_user_data_released),
          CASE(acks_come_at_once_when_somebody_waits), CASE(p9_calls_are_made_once_through_flow_and_stop))
