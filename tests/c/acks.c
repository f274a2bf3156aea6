/* Waiting for readers: quorums, waits, callbacks, and what is asked later. */
#include <stdio.h>
#include <stdlib.h>

#include "host.h"
#include "peer.h"

enum { RECEIVED = REPLICATION_ACK_LEVEL_RECEIVED, DURABLE, APPLIED };

/* What one ordered callback was called with. */
struct heard {
    atomic_int calls, released;
    atomic_int status;
    atomic_size_t readers;
    unsigned long thread;
    void (*inside)(replication_sender *sender); /* what the callback does, if anything */
    replication_sender *sender;
};

static void hear(void *user_data, int32_t status, size_t readers)
{
    struct heard *heard = user_data;
    CHECK(atomic_load(&heard->released) == 0);
    heard->thread = (unsigned long)pthread_self();
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

static int32_t order(replication_sender *sender, struct place entry, size_t readers, uint64_t timeout_ms,
                     struct heard *heard)
{
    return on_acked_by(sender, entry, RECEIVED, readers, timeout_ms, hear, heard, heard_release);
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
    peer_attach(sender, &east[0], "east-1", 0);
    peer_attach(sender, &east[1], "east-2", 0);
    peer_attach(sender, &west, "west-2", 0);
    const struct place one = replicate_place(sender, "one");
    CHECK_OK(sender_on_acked(sender, PLACE(one), RECEIVED, quorum, UINT64_MAX, hear, &heard, heard_release));
    CHECK_STATUS(sender_acked(sender, PLACE(one), RECEIVED, quorum, &readers), REPLICATION_STATUS_TIMEOUT);
    CHECK_U64(readers, 0);
    peer_send_ack(&east[0], 1, "east-1");
    peer_send_ack(&east[1], 1, "east-2");
    CHECK_OK(sender_wait_acked(sender, 1, RECEIVED, 2, PATIENCE_MS, NULL));
    CHECK_ERROR(sender_wait_token(sender, PLACE(one), RECEIVED, quorum, 1, &readers), REPLICATION_STATUS_TIMEOUT,
                "0 of 1 readers in group \"west\"");
    CHECK_U64(readers, 2);
    CHECK_ERROR(sender_acked(sender, PLACE(one), RECEIVED, any, &readers), REPLICATION_STATUS_TIMEOUT, "2 of 3");
    CHECK_U64(atomic_load(&heard.calls), 0);
    peer_send_ack(&west, 1, "west-2");
    CHECK_OK(sender_wait_token(sender, PLACE(one), RECEIVED, quorum, PATIENCE_MS, &readers));
    CHECK_U64(readers, 3);
    CHECK_OK(sender_acked(sender, PLACE(one), RECEIVED, any, &readers));
    heard_is(&heard, REPLICATION_STATUS_OK, 3);
    CHECK_U64(readers, 3);
    /* Waits that began with a quorum do not need it any more. */
    const struct place two = replicate_place(sender, "two");
    CHECK_OK(sender_on_acked(sender, PLACE(two), RECEIVED, quorum, UINT64_MAX, hear, &later, heard_release));
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
    const struct place one = replicate_place(sender, "one");
    CHECK_ERROR(sender_wait_token(sender, PLACE(one), RECEIVED, quorum, UINT64_MAX, &readers),
                REPLICATION_STATUS_INVALID_ARGUMENT, "empty");
    CHECK_ERROR(replication_quorum_add(quorum, "east", 0), REPLICATION_STATUS_INVALID_ARGUMENT, "readers is 0");
    CHECK_ERROR(replication_quorum_add(quorum, "\xff", 1), REPLICATION_STATUS_INVALID_ARGUMENT, "group");
    CHECK_OK(replication_quorum_add(quorum, "north", 1));
    CHECK_ERROR(sender_wait_token(sender, PLACE(one), RECEIVED, quorum, UINT64_MAX, &readers),
                REPLICATION_STATUS_INVALID_ARGUMENT, "no group \"north\"");
    CHECK_ERROR(sender_acked(sender, PLACE(one), RECEIVED, quorum, &readers), REPLICATION_STATUS_INVALID_ARGUMENT,
                "north");
    CHECK_ERROR(sender_on_acked(sender, PLACE(one), RECEIVED, quorum, UINT64_MAX, hear, &heard, heard_release),
                REPLICATION_STATUS_INVALID_ARGUMENT, "north");
    CHECK_U64(atomic_load(&heard.released), 1);
    replication_quorum_free(quorum);
    quorum = quorum_of("west", 3);
    CHECK_ERROR(sender_wait_token(sender, PLACE(one), RECEIVED, quorum, UINT64_MAX, &readers),
                REPLICATION_STATUS_INVALID_ARGUMENT, "at most 2");
    replication_quorum_free(quorum);
    CHECK_ERROR(sender_wait_acked(sender, 1, RECEIVED, 1000000, UINT64_MAX, &readers),
                REPLICATION_STATUS_INVALID_ARGUMENT, "1000000");
    CHECK_ERROR(acked_by(sender, one, RECEIVED, SIZE_MAX, &readers), REPLICATION_STATUS_INVALID_ARGUMENT, "never");
    quorum = replication_quorum_new();
    for (size_t i = 0; i < 64; i++)
        CHECK_OK(replication_quorum_add(quorum, i % 2 == 0 ? "east" : NULL, 1));
    CHECK_ERROR(replication_quorum_add(quorum, "east", 1), REPLICATION_STATUS_INVALID_ARGUMENT, "64");
    CHECK_STATUS(sender_acked(sender, PLACE(one), RECEIVED, quorum, NULL), REPLICATION_STATUS_TIMEOUT);
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
    size_t readers = 77;
    peer_attach(sender, &peer, "reader", 0);
    const struct place one = replicate_place(sender, "one");
    CHECK_OK(order(sender, one, 1, UINT64_MAX, &reached));
    CHECK_OK(order(sender, one, 2, 50, &late));
    CHECK_OK(order(sender, one, 1, 0, &looked));
    heard_is(&looked, REPLICATION_STATUS_TIMEOUT, 0);
    heard_is(&late, REPLICATION_STATUS_TIMEOUT, 0);
    CHECK_STATUS(acked_by(sender, one, RECEIVED, 2, &readers), REPLICATION_STATUS_TIMEOUT);
    CHECK_U64(readers, 0);
    CHECK_U64(atomic_load(&reached.calls), 0);
    peer_send_ack(&peer, 1, "reader");
    heard_is(&reached, REPLICATION_STATUS_OK, 1);
    CHECK(reached.thread == late.thread && reached.thread != (unsigned long)pthread_self());
    CHECK_OK(order(sender, one, 1, UINT64_MAX, &already));
    heard_is(&already, REPLICATION_STATUS_OK, 1);
    /* What became of the one that was late. */
    CHECK_ERROR(acked_by(sender, one, RECEIVED, 2, &readers), REPLICATION_STATUS_TIMEOUT, "1 of 2");
    CHECK_U64(readers, 1);
    struct peer second;
    /* To say that it has the entry is no proof that it does. */
    peer_attach(sender, &second, "second", 1);
    CHECK_STATUS(acked_by(sender, one, RECEIVED, 2, &readers), REPLICATION_STATUS_TIMEOUT);
    peer_close(&second);
    peer_attach(sender, &second, "second", 0);
    peer_send_ack(&second, 1, "second");
    CHECK_OK(sender_wait_acked(sender, 1, RECEIVED, 2, PATIENCE_MS, NULL));
    CHECK_OK(acked_by(sender, one, RECEIVED, 2, &readers));
    CHECK_U64(readers, 2);
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
    const struct place one = replicate_place(sender, "one");
    for (size_t i = 0; i < BOUND; i++)
        CHECK_OK(order(sender, one, 1, UINT64_MAX, &heard[i]));
    CHECK_ERROR(order(sender, one, 1, UINT64_MAX, &over), REPLICATION_STATUS_BUFFER_FULL, "3 calls");
    CHECK_U64(atomic_load(&over.released), 1);
    struct peer peer;
    peer_attach(sender, &peer, "reader", 0);
    peer_send_ack(&peer, 1, "reader");
    for (size_t i = 0; i < BOUND; i++)
        heard_is(&heard[i], REPLICATION_STATUS_OK, 1);
    struct heard again = {0};
    CHECK_OK(order(sender, one, 1, UINT64_MAX, &again));
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
    size_t readers = 77;
    const struct place one = replicate_place(sender, "one");
    CHECK_OK(order(sender, one, 1, UINT64_MAX, &heard));
    unsigned long waiting[3];
    for (size_t i = 0; i < COUNT(waiting); i++)
        waiting[i] = thread_start(wait_for_ever, sender);
    CHECK_OK(sender_stop(sender));
    CHECK_U64(atomic_load(&heard.released), 1); /* before the stop returned */
    heard_is(&heard, REPLICATION_STATUS_CLOSED, 0);
    for (size_t i = 0; i < COUNT(waiting); i++)
        thread_join(waiting[i]);
    CHECK_STATUS(order(sender, one, 1, UINT64_MAX, &after), REPLICATION_STATUS_CLOSED);
    CHECK(atomic_load(&after.calls) == 0 && atomic_load(&after.released) == 1);
    CHECK_ERROR(acked_by(sender, one, RECEIVED, 1, &readers), REPLICATION_STATUS_CLOSED, "0 of 1");
    CHECK_U64(readers, 0);
    CHECK_STATUS(wait_token_by(sender, one, RECEIVED, 1, 0, NULL), REPLICATION_STATUS_CLOSED);
    sender_free(sender);
    heard_is(&heard, REPLICATION_STATUS_CLOSED, 0);
}

TEST(p9_free_ends_every_call_once)
{
    enum { CALLS = 100 };
    static struct heard heard[CALLS];
    replication_sender *sender = start_sender(NULL);
    const struct place one = replicate_place(sender, "one");
    for (size_t i = 0; i < CALLS; i++)
        CHECK_OK(order(sender, one, 1 + i % 3, i % 2 == 0 ? UINT64_MAX : PATIENCE_MS, &heard[i]));
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
    const struct place one = replicate_place(sender, "one");
    for (size_t i = 0; i < CALLS; i++)
        CHECK_OK(order(sender, one, 1, UINT64_MAX, &heard[i]));
    CHECK_OK(order(sender, one, 1, 0, &first));
    heard_is(&first, REPLICATION_STATUS_TIMEOUT, 0);
    for (size_t i = 0; i < CALLS; i++) {
        WAIT_UNTIL(atomic_load(&heard[i].released) == 1);
        CHECK_U64(atomic_load(&heard[i].calls), 0);
    }
    WAIT_UNTIL(running_threads() == threads);
}

static struct heard inner;

static void ask_inside(replication_sender *sender)
{
    const struct place one = place_of_sender(sender);
    replication_quorum *quorum = quorum_of(NULL, 1);
    size_t readers = 77;
    CHECK_ERROR(sender_wait_acked(sender, 1, RECEIVED, 1, 0, NULL), REPLICATION_STATUS_WRONG_THREAD,
                "sender_wait_acked");
    CHECK_ERROR(sender_wait_token(sender, PLACE(one), RECEIVED, quorum, 0, NULL), REPLICATION_STATUS_WRONG_THREAD,
                "sender_wait_token");
    CHECK_STATUS(sender_acked(sender, PLACE(one), RECEIVED, quorum, &readers), REPLICATION_STATUS_TIMEOUT);
    CHECK_OK(sender_on_acked(sender, PLACE(one), RECEIVED, quorum, 1, hear, &inner, heard_release));
    replication_quorum_free(quorum);
}

TEST(a_call_may_ask_and_order_but_not_wait)
{
    replication_sender *sender = start_sender(NULL);
    struct heard outer = {.inside = ask_inside, .sender = sender};
    const struct place one = replicate_place(sender, "one");
    CHECK_OK(order(sender, one, 1, 0, &outer));
    heard_is(&outer, REPLICATION_STATUS_TIMEOUT, 0);
    heard_is(&inner, REPLICATION_STATUS_TIMEOUT, 0);
    CHECK(inner.thread == outer.thread);
    sender_free(sender);
}

TEST(misuse_is_refused_and_the_user_data_released)
{
    replication_sender *sender = make_sender(NULL);
    replication_quorum *quorum = quorum_of(NULL, 1);
    const struct place early = place_of_sender(sender);
    const struct place foreign = place_at(1, 0);
    struct heard heard[12] = {{0}}, unreleased = {0};
    size_t readers = 77;
    int32_t any = REPLICATION_STATUS_INVALID_ARGUMENT;
    CHECK(replication_quorum_any(0) == NULL);
    CHECK_ERROR(replication_quorum_add(NULL, NULL, 1), any, "quorum is NULL");
    /* Before the start. */
    CHECK_STATUS(order(sender, early, 1, 0, &heard[0]), REPLICATION_STATUS_INVALID_STATE);
    CHECK_STATUS(wait_token_by(sender, early, RECEIVED, 1, 0, NULL), REPLICATION_STATUS_INVALID_STATE);
    CHECK_OK(sender_start(sender));
    const struct place one = replicate_place(sender, "one");
    struct place damaged = one;
    damaged.bytes[30] ^= 1;
    CHECK_STATUS(sender_acked(NULL, PLACE(one), RECEIVED, quorum, &readers), any);
    CHECK_ERROR(sender_acked(sender, PLACE(one), RECEIVED, NULL, &readers), any, "quorum is NULL");
    CHECK_ERROR(sender_acked(sender, PLACE(one), 0, quorum, &readers), any, "level 0");
    CHECK_ERROR(sender_acked(sender, NULL, one.len, RECEIVED, quorum, &readers), any, "token is NULL");
    CHECK_ERROR(sender_acked(sender, one.bytes, 47, RECEIVED, quorum, &readers), any, "47 of them");
    CHECK_ERROR(sender_acked(sender, PLACE(damaged), RECEIVED, quorum, &readers), any, "CRC-32C");
    CHECK_STATUS(sender_wait_token(NULL, PLACE(one), RECEIVED, quorum, 0, &readers), any);
    CHECK_ERROR(sender_wait_token(sender, PLACE(one), RECEIVED, NULL, 0, &readers), any, "quorum is NULL");
    CHECK_ERROR(sender_wait_token(sender, PLACE(one), 4, quorum, 0, &readers), any, "level 4");
    CHECK_ERROR(sender_wait_token(sender, one.bytes, 0, RECEIVED, quorum, 0, &readers), any, "0 of them");
    CHECK_STATUS(order(NULL, one, 1, 0, &heard[1]), any);
    CHECK_ERROR(on_acked_by(sender, one, 0, 1, 0, hear, &heard[2], heard_release), any, "level 0");
    CHECK_ERROR(on_acked_by(sender, one, 4, 1, 0, hear, &heard[3], heard_release), any, "level 4");
    CHECK_ERROR(on_acked_by(sender, one, RECEIVED, 1, 0, NULL, &heard[4], heard_release), any, "callback");
    CHECK_ERROR(order(sender, damaged, 1, 0, &heard[5]), any, "CRC-32C");
    CHECK_ERROR(order(sender, one, SIZE_MAX, 0, &heard[6]), any, "never");
    CHECK_ERROR(sender_on_acked(sender, PLACE(one), RECEIVED, NULL, 0, hear, &heard[7], heard_release), any, "quorum");
    CHECK_ERROR(sender_on_acked(sender, NULL, 48, RECEIVED, quorum, 0, hear, &heard[8], heard_release), any, "token");
    CHECK_ERROR(sender_on_acked(sender, one.bytes, 97, RECEIVED, quorum, 0, hear, &heard[9], heard_release), any,
                "97 of them");
    CHECK_STATUS(sender_on_acked(NULL, PLACE(one), RECEIVED, quorum, 0, hear, &heard[10], heard_release), any);
    CHECK_STATUS(order(sender, foreign, 1, 0, &heard[11]), REPLICATION_STATUS_LOST);
    for (size_t i = 0; i < COUNT(heard); i++)
        CHECK(atomic_load(&heard[i].calls) == 0 && atomic_load(&heard[i].released) == 1);
    CHECK_ERROR(sender_wait_acked(sender, 2, RECEIVED, 1, 0, &readers), any, "sequence 2");
    CHECK(readers == 77);
    /* Nothing needs to be released. */
    CHECK_OK(sender_on_acked(sender, PLACE(one), RECEIVED, quorum, 0, hear, &unreleased, NULL));
    replication_quorum_free(quorum);
    CHECK_OK(sender_stop(sender));
    CHECK_U64(atomic_load(&unreleased.calls), 1);
    sender_free(sender);
}

/* A node that took over: what its history has can be asked for by the old writer's tokens, and nothing else. */
TEST(an_entry_of_another_history_is_lost_also_after_a_promotion)
{
    replication_sender *old = start_sender(NULL);
    replicate_place(old, "one");
    const struct place two = replicate_place(old, "two"), three = replicate_place(old, "lost in the promotion");
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_token(config, PLACE(two), 2));
    replication_sender *promoted = start_sender(config);
    struct peer peer;
    struct heard heard = {0};
    size_t readers = 77;
    const struct place third = replicate_place(promoted, "another third");
    CHECK_U64(place_sequence(third), 3);
    peer_attach(promoted, &peer, "reader", 2);
    peer_send_ack(&peer, 3, "reader");
    CHECK_OK(wait_token_by(promoted, third, RECEIVED, 1, PATIENCE_MS, NULL));
    CHECK_OK(sender_wait_acked(promoted, 3, RECEIVED, 1, 0, NULL));
    CHECK_OK(acked_by(promoted, two, RECEIVED, 1, &readers));
    CHECK_U64(readers, 1);
    readers = 77;
    CHECK_ERROR(acked_by(promoted, three, RECEIVED, 1, &readers), REPLICATION_STATUS_LOST, "entry 3 of epoch 1");
    CHECK_STATUS(wait_token_by(promoted, three, RECEIVED, 1, UINT64_MAX, &readers), REPLICATION_STATUS_LOST);
    CHECK_STATUS(order(promoted, three, 1, UINT64_MAX, &heard), REPLICATION_STATUS_LOST);
    CHECK(atomic_load(&heard.calls) == 0 && atomic_load(&heard.released) == 1);
    CHECK_STATUS(acked_by(old, third, RECEIVED, 1, &readers), REPLICATION_STATUS_LOST);
    /* A number says nothing of the writer before. */
    CHECK_ERROR(sender_wait_acked(promoted, 2, RECEIVED, 1, 0, &readers), REPLICATION_STATUS_LOST, "2");
    CHECK_U64(readers, 77);
    peer_close(&peer);
    sender_free(promoted);
    sender_free(old);
}

TEST(an_inherited_entry_that_the_log_does_not_have_is_neither_here_nor_lost)
{
    replication_sender_config *config = sender_config_new();
    const struct place inherited = place_of_text("30313233343536373839616263646566:5:9:00000000000000ab");
    const struct place older = place_of_text("30313233343536373839616263646566:4:7:00000000000000cd");
    CHECK_OK(sender_config_set_token(config, PLACE(inherited), 6));
    replication_sender *sender = start_sender(config);
    CHECK_ERROR(acked_by(sender, older, RECEIVED, 1, NULL), REPLICATION_STATUS_WAL_ROTATED, "entry 7");
    CHECK_STATUS(acked_by(sender, inherited, RECEIVED, 1, NULL), REPLICATION_STATUS_TIMEOUT);
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
        const struct place entry = replicate_place(sender, "entry");
        CHECK_OK(on_acked_by(sender, entry, DURABLE, 1, PATIENCE_MS, hear, &heard, heard_release));
        CHECK_OK(sender_wait_acked(sender, place_sequence(entry), APPLIED, 1, PATIENCE_MS, NULL));
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
        struct place entry = {0};
        if (sender_replicate_token(worker->sender, 1, (const uint8_t *)"x", 1, PLACE_ROOM(entry)) !=
            REPLICATION_STATUS_OK)
            break;
        if (order(worker->sender, entry, 1, UINT64_MAX, &worker->heard[i]) != REPLICATION_STATUS_OK)
            break;
        atomic_store(&worker->ordered, i + 1);
        if (i % 16 == 0)
            (void)wait_token_by(worker->sender, entry, RECEIVED, 1, 5, NULL);
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
          CASE(an_entry_of_another_history_is_lost_also_after_a_promotion),
          CASE(an_inherited_entry_that_the_log_does_not_have_is_neither_here_nor_lost),
          CASE(acks_come_at_once_when_somebody_waits), CASE(p9_calls_are_made_once_through_flow_and_stop))
