/* Handles and the processes that are forked from theirs. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "host.h"
#include "peer.h"

struct setting {
    struct inbox *inbox;
    replication_sender *sender;
    uint16_t port;
    replication_receiver *receiver;
    replication_sender_config *sender_config;
    replication_receiver_config *receiver_config;
    replication_quorum *quorum;
};

static struct setting set_up(void)
{
    struct setting s = {.inbox = inbox_new(), .sender = start_sender(NULL)};
    s.port = listen_tcp(s.sender);
    s.receiver = follow(s.port, "reader", s.inbox);
    replicate_text(s.sender, "one");
    wait_for(s.receiver, 1);
    s.sender_config = sender_config_new();
    s.receiver_config = receiver_config_new();
    s.quorum = replication_quorum_new();
    CHECK_OK(replication_quorum_add(s.quorum, NULL, 1));
    return s;
}

static void tear_down(struct setting *s)
{
    sender_config_free(s->sender_config);
    receiver_config_free(s->receiver_config);
    replication_quorum_free(s->quorum);
    receiver_free(s->receiver);
    sender_free(s->sender);
    CHECK(atomic_load(&s->inbox->released) == 1);
    inbox_free(s->inbox);
}

/* Runs `body` in a child, which must come to its end, and soon. It ends itself by a signal: what it has from its parent
 * is not given back, and no tool is to complain of that at an exit. */
static void in_child(void (*body)(struct setting *), struct setting *s)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(60);
        body(s);
        raise(SIGKILL);
    }
    int code = harness_wait_child(pid);
    if (code != -SIGKILL)
        FAIL("the child ended with %d", code);
}

static void acked(void *user_data, int32_t status, size_t readers)
{
    (void)user_data, (void)status, (void)readers;
    FAIL("called in the child");
}

#define CHECK_FORKED(call) CHECK_STATUS(call, REPLICATION_STATUS_FORKED)

static void use_the_parents_handles(struct setting *s)
{
    const replication_slice slice = {(const uint8_t *)"x", 1};
    struct place place = {.len = 77};
    const struct place one = place_at(1, 1);
    uint64_t number = 77;
    char *json = NULL;
    replication_sender *sender = NULL;
    replication_receiver *receiver = NULL;
    CHECK_FORKED(sender_start(s->sender));
    CHECK_FORKED(sender_listen(s->sender, "127.0.0.1:0", NULL));
    CHECK_FORKED(sender_accept_reader(s->sender, 0, "reader", 0));
    CHECK_FORKED(sender_accept_connection(s->sender, 0));
    CHECK_FORKED(sender_replicate(s->sender, 1, (const uint8_t *)"x", 1, &number));
    CHECK_FORKED(sender_replicate_batch(s->sender, 1, &slice, 1, &number));
    CHECK_FORKED(sender_remove_reader(s->sender, "reader"));
    CHECK_FORKED(sender_replicate_token(s->sender, 1, (const uint8_t *)"x", 1, PLACE_ROOM(place)));
    CHECK_FORKED(sender_set_option(s->sender, "heartbeat_interval_ms", 77));
    CHECK_FORKED(sender_option(s->sender, "heartbeat_interval_ms", &number));
    CHECK_FORKED(sender_set_writable(s->sender, false));
    CHECK_FORKED(sender_wait_acked(s->sender, 1, 1, 1, 1000, NULL));
    CHECK_FORKED(sender_wait_token(s->sender, PLACE(one), 1, s->quorum, 1000, NULL));
    CHECK_FORKED(sender_acked(s->sender, PLACE(one), 1, s->quorum, NULL));
    CHECK_FORKED(sender_on_acked(s->sender, PLACE(one), 1, s->quorum, 1000, acked, NULL, NULL));
    CHECK_FORKED(replication_quorum_add(s->quorum, NULL, 1));
    CHECK_FORKED(sender_stats_json(s->sender, &json));
    CHECK_FORKED(sender_token(s->sender, PLACE_ROOM(place)));
    CHECK_FORKED(sender_wait_durable(s->sender, 1, 1000));
    CHECK_FORKED(sender_slots_json(s->sender, &json));
    CHECK_FORKED(sender_drop_slot(s->sender, "reader"));
    CHECK_FORKED(sender_add_secret(s->sender, NULL));
    CHECK_FORKED(sender_remove_secret(s->sender, "readers"));
    CHECK_FORKED(sender_stop(s->sender));
    CHECK_U64(sender_reader_count(s->sender), 0);
    CHECK_U64(sender_current_sequence(s->sender), 0);
    CHECK_FORKED(receiver_start(s->receiver));
    CHECK_FORKED(receiver_wait_sequence(s->receiver, 1, 1000));
    CHECK_FORKED(receiver_wait_token(s->receiver, PLACE(one), 1000));
    CHECK_FORKED(receiver_set_option(s->receiver, "ack_interval_ms", 7));
    CHECK_FORKED(receiver_option(s->receiver, "ack_interval_ms", &number));
    CHECK_FORKED(receiver_pause(s->receiver));
    CHECK_FORKED(receiver_resume(s->receiver));
    CHECK_FORKED(receiver_stats_json(s->receiver, &json));
    CHECK_FORKED(receiver_token(s->receiver, PLACE_ROOM(place)));
    CHECK_FORKED(receiver_batch_token(s->receiver, 0, PLACE_ROOM(place)));
    CHECK_FORKED(receiver_set_secret(s->receiver, NULL));
    CHECK_FORKED(receiver_stop(s->receiver));
    CHECK(!receiver_is_connected(s->receiver));
    CHECK_U64(receiver_last_sequence(s->receiver), 0);
    CHECK_FORKED(sender_config_set_buffer_size(s->sender_config, 1));
    CHECK_FORKED(sender_config_set_wal_dir(s->sender_config, "/tmp"));
    CHECK_FORKED(sender_config_set_token(s->sender_config, PLACE(one), 0));
    CHECK_FORKED(sender_new(s->sender_config, &sender));
    CHECK_FORKED(receiver_config_set_reader_id(s->receiver_config, "reader"));
    CHECK_FORKED(receiver_config_set_wal_dir(s->receiver_config, "/tmp"));
    CHECK_FORKED(receiver_config_set_token(s->receiver_config, PLACE(one)));
    CHECK_FORKED(receiver_new(s->receiver_config, &receiver));
    CHECK_CONTAINS(replication_last_error_message(), "fork");
    CHECK(number == 77 && place.len == 77 && json == NULL && sender == NULL && receiver == NULL);
    CHECK(descriptor_is_open(0));
}

TEST(p9_a_child_may_not_use_the_parents_handles)
{
    struct setting s = set_up();
    in_child(use_the_parents_handles, &s);
    /* The parent's go on as if nothing had been. */
    wait_for(s.receiver, replicate_text(s.sender, "two"));
    CHECK_U64(sender_reader_count(s.sender), 1);
    tear_down(&s);
}

static void free_the_parents_handles(struct setting *s)
{
    receiver_free(s->receiver);
    sender_free(s->sender);
    sender_config_free(s->sender_config);
    receiver_config_free(s->receiver_config);
    replication_quorum_free(s->quorum);
    CHECK(atomic_load(&s->inbox->released) == 0); /* that is the parent's to do */
}

TEST(p9_free_in_a_child_does_nothing_and_returns)
{
    struct setting s = set_up();
    in_child(free_the_parents_handles, &s);
    wait_for(s.receiver, replicate_text(s.sender, "two"));
    tear_down(&s);
}

static void live_in_the_child(struct setting *s)
{
    struct inbox *inbox = inbox_new();
    replication_sender *sender = start_sender(NULL);
    replication_receiver *own = follow(listen_tcp(sender), "own", inbox);
    replicate_many(sender, 10);
    wait_for(own, 10);
    receiver_free(own);
    sender_free(sender);
    CHECK(atomic_load(&inbox->released) == 1);
    inbox_free(inbox);
    /* A reader of the parent's sender, in another process now. */
    inbox = inbox_new();
    replication_receiver *receiver = follow(s->port, "child", inbox);
    wait_for(receiver, 1);
    receiver_free(receiver);
    inbox_free(inbox);
}

TEST(a_child_may_make_handles_of_its_own)
{
    struct setting s = set_up();
    in_child(live_in_the_child, &s);
    WAIT_UNTIL(sender_reader_count(s.sender) == 1);
    tear_down(&s);
}

static void use_codec(struct setting *s)
{
    uint8_t frame[128];
    size_t len = 0;
    (void)s;
    CHECK_OK(replication_write_ack(1, "reader", frame, sizeof frame, &len));
    CHECK_TEXT(replication_status_name(0), "OK");
}

TEST(what_needs_no_handle_works_in_a_child)
{
    struct setting s = set_up();
    in_child(use_codec, &s);
    tear_down(&s);
}

/* While the parent's threads are busy, so that locks are held at the moment of the fork. */
static atomic_bool over;

static void *keep_busy(void *sender)
{
    while (!atomic_load(&over))
        replicate_text(sender, "busy");
    return NULL;
}

TEST(p9_forks_while_data_flows)
{
    struct setting s = set_up();
    s.inbox->drop_payloads = true;
    s.inbox->gaps_allowed = true;
    unsigned long busy = thread_start(keep_busy, s.sender);
    for (size_t round = 0; round < scaled(20); round++)
        in_child(round % 2 == 0 ? use_the_parents_handles : free_the_parents_handles, &s);
    atomic_store(&over, true);
    thread_join(busy);
    CHECK(receiver_is_connected(s.receiver) || receiver_last_sequence(s.receiver) > 0);
    tear_down(&s);
}

TEST_MAIN(CASE(p9_a_child_may_not_use_the_parents_handles), CASE(p9_free_in_a_child_does_nothing_and_returns),
          CASE(a_child_may_make_handles_of_its_own), CASE(what_needs_no_handle_works_in_a_child),
          CASE(p9_forks_while_data_flows))
