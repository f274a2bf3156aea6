/* How handles begin and end: in order, out of order, twice, and by many threads at once. Random lives are in lives.c. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "host.h"
#include "json.h"
#include "peer.h"

static const uint8_t *text(const char *payload)
{
    return (const uint8_t *)payload;
}

TEST(a_sender_before_its_start)
{
    replication_sender *sender = make_sender(NULL);
    uint64_t sequence = 77;
    const replication_slice slice = {text("x"), 1};
    uint16_t port = 77;
    int ends[2];
    char *json = NULL;
    socket_pair(ends);
    CHECK_STATUS(sender_listen(sender, "127.0.0.1:0", &port), REPLICATION_STATUS_INVALID_STATE);
    CHECK_STATUS(sender_replicate(sender, 1, text("x"), 1, &sequence), REPLICATION_STATUS_INVALID_STATE);
    CHECK_STATUS(sender_replicate_batch(sender, 1, &slice, 1, &sequence), REPLICATION_STATUS_INVALID_STATE);
    CHECK_STATUS(sender_accept_reader(sender, ends[0], "reader", 0), REPLICATION_STATUS_INVALID_STATE);
    CHECK_STATUS(sender_accept_connection(sender, ends[0]), REPLICATION_STATUS_INVALID_STATE);
    CHECK(descriptor_is_open(ends[0]));
    CHECK_STATUS(sender_remove_reader(sender, "reader"), REPLICATION_STATUS_INVALID_STATE);
    CHECK_STATUS(sender_wait_acked(sender, 1, REPLICATION_ACK_LEVEL_APPLIED, 1, 0, NULL),
                 REPLICATION_STATUS_INVALID_STATE);
    CHECK(sequence == 77 && port == 77);
    CHECK_OK(sender_set_writable(sender, false));
    CHECK_OK(sender_set_writable(sender, true));
    CHECK_U64(place_sequence(place_of_sender(sender)), 0);
    CHECK_OK(sender_stats_json(sender, &json));
    CHECK(!json_is_true(json, "running"));
    replication_string_free(json);
    CHECK_U64(sender_reader_count(sender), 0);
    CHECK_U64(sender_current_sequence(sender), 0);
    sender_free(sender);
    close(ends[0]);
    close(ends[1]);
}

TEST(a_sender_started_and_stopped_twice)
{
    replication_sender *sender = make_sender(NULL);
    CHECK_OK(sender_start(sender));
    CHECK_STATUS(sender_start(sender), REPLICATION_STATUS_INVALID_STATE);
    CHECK_U64(replicate_text(sender, "still running"), 1);
    CHECK_OK(sender_stop(sender));
    CHECK_OK(sender_stop(sender));
    CHECK_STATUS(sender_start(sender), REPLICATION_STATUS_CLOSED);
    sender_free(sender);
}

TEST(p9_a_sender_after_its_stop)
{
    replication_sender *sender = start_sender(NULL);
    uint64_t sequence = 77;
    const replication_slice slice = {text("x"), 1};
    uint16_t port = 77;
    int ends[2];
    socket_pair(ends);
    replicate_text(sender, "one");
    CHECK_OK(sender_stop(sender));
    CHECK_STATUS(sender_listen(sender, "127.0.0.1:0", &port), REPLICATION_STATUS_CLOSED);
    CHECK_STATUS(sender_replicate(sender, 1, text("x"), 1, &sequence), REPLICATION_STATUS_CLOSED);
    CHECK_STATUS(sender_replicate_batch(sender, 1, &slice, 1, &sequence), REPLICATION_STATUS_CLOSED);
    CHECK_STATUS(sender_accept_reader(sender, ends[0], "reader", 0), REPLICATION_STATUS_CLOSED);
    CHECK_STATUS(sender_accept_connection(sender, ends[0]), REPLICATION_STATUS_CLOSED);
    CHECK(descriptor_is_open(ends[0]));
    CHECK_STATUS(sender_remove_reader(sender, "reader"), REPLICATION_STATUS_CLOSED);
    CHECK_STATUS(sender_set_writable(sender, false), REPLICATION_STATUS_CLOSED);
    CHECK_STATUS(sender_wait_acked(sender, 1, REPLICATION_ACK_LEVEL_APPLIED, 1, 0, NULL), REPLICATION_STATUS_CLOSED);
    CHECK(sequence == 77 && port == 77);
    CHECK_U64(sender_current_sequence(sender), 1);
    CHECK_U64(sender_reader_count(sender), 0);
    CHECK_U64(place_sequence(place_of_sender(sender)), 1);
    sender_free(sender);
    close(ends[0]);
    close(ends[1]);
}

TEST(a_sender_stopped_before_its_start)
{
    replication_sender *sender = make_sender(NULL);
    CHECK_OK(sender_stop(sender));
    CHECK_STATUS(sender_start(sender), REPLICATION_STATUS_CLOSED);
    CHECK_STATUS(sender_replicate(sender, 1, text("x"), 1, NULL), REPLICATION_STATUS_CLOSED);
    sender_free(sender);
}

TEST(a_receiver_before_its_start)
{
    struct inbox *inbox = inbox_new();
    replication_receiver *receiver = make_receiver(receiver_config_for("reader", "127.0.0.1:1", inbox));
    char *json = NULL;
    CHECK_STATUS(receiver_wait_sequence(receiver, 1, 0), REPLICATION_STATUS_INVALID_STATE);
    CHECK_STATUS(receiver_pause(receiver), REPLICATION_STATUS_INVALID_STATE);
    CHECK_STATUS(receiver_resume(receiver), REPLICATION_STATUS_INVALID_STATE);
    CHECK(!receiver_is_connected(receiver));
    CHECK_U64(receiver_last_sequence(receiver), 0);
    CHECK_OK(receiver_stats_json(receiver, &json));
    CHECK(!json_is_true(json, "running"));
    replication_string_free(json);
    receiver_free(receiver);
    CHECK(atomic_load(&inbox->released) == 1);
    inbox_free(inbox);
}

TEST(a_receiver_started_and_stopped_twice)
{
    struct inbox *inbox = inbox_new();
    replication_receiver *receiver = make_receiver(receiver_config_for("reader", "127.0.0.1:1", inbox));
    CHECK_OK(receiver_start(receiver));
    CHECK_STATUS(receiver_start(receiver), REPLICATION_STATUS_INVALID_STATE);
    CHECK_OK(receiver_stop(receiver));
    CHECK_OK(receiver_stop(receiver));
    CHECK_STATUS(receiver_start(receiver), REPLICATION_STATUS_CLOSED);
    CHECK_STATUS(receiver_wait_sequence(receiver, 1, 0), REPLICATION_STATUS_CLOSED);
    CHECK_STATUS(receiver_pause(receiver), REPLICATION_STATUS_CLOSED);
    CHECK_STATUS(receiver_resume(receiver), REPLICATION_STATUS_CLOSED);
    receiver_free(receiver);
    CHECK(atomic_load(&inbox->released) == 1);
    inbox_free(inbox);
}

TEST(a_receiver_stopped_before_its_start)
{
    struct inbox *inbox = inbox_new();
    replication_receiver *receiver = make_receiver(receiver_config_for("reader", "127.0.0.1:1", inbox));
    CHECK_OK(receiver_stop(receiver));
    CHECK_STATUS(receiver_start(receiver), REPLICATION_STATUS_CLOSED);
    receiver_free(receiver);
    inbox_free(inbox);
}

/* A receiver whose writer accepts the connection and says nothing stops at once all the same. */
TEST(p9_a_receiver_stops_inside_a_handshake)
{
    struct inbox *inbox = inbox_new();
    uint16_t port = 0;
    int listener = listen_local(&port);
    replication_receiver_config *config = receiver_config_for("reader", tcp_address(port), inbox);
    CHECK_OK(receiver_config_set_connect_timeout_ms(config, 3600 * 1000));
    replication_receiver *receiver = start_receiver(config);
    int fd = accept_one(listener);
    CHECK_OK(receiver_stop(receiver));
    receiver_free(receiver);
    close(fd);
    close(listener);
    inbox_free(inbox);
}

TEST(p9_threads_and_descriptors_are_given_back)
{
    size_t threads = running_threads(), descriptors = open_descriptors();
    for (int round = 0; round < 5; round++) {
        struct inbox *inboxes[4];
        replication_receiver *receivers[4];
        replication_sender *sender = start_sender(NULL);
        uint16_t port = listen_tcp(sender);
        for (size_t i = 0; i < COUNT(receivers); i++) {
            char id[16];
            snprintf(id, sizeof id, "reader %zu", i);
            inboxes[i] = inbox_new();
            receivers[i] = follow(port, id, inboxes[i]);
        }
        replicate_many(sender, 100);
        for (size_t i = 0; i < COUNT(receivers); i++)
            wait_for(receivers[i], 100);
        CHECK(running_threads() > threads && open_descriptors() > descriptors);
        if (round % 2 == 0)
            sender_free(sender);
        for (size_t i = 0; i < COUNT(receivers); i++) {
            receiver_free(receivers[i]);
            inbox_free(inboxes[i]);
        }
        if (round % 2 == 1)
            sender_free(sender);
        CHECK_U64(running_threads(), threads);
        CHECK_U64(open_descriptors(), descriptors);
    }
}

struct both {
    replication_sender *sender;
    replication_receiver *receiver;
};

static void *stop_both(void *argument)
{
    struct both *both = argument;
    CHECK_OK(receiver_stop(both->receiver));
    int32_t status = sender_stop(both->sender);
    CHECK(status == REPLICATION_STATUS_OK || status == REPLICATION_STATUS_TIMEOUT);
    return NULL;
}

TEST(p9_many_threads_may_stop_at_once)
{
    for (size_t round = 0; round < scaled(20); round++) {
        struct inbox *inbox = inbox_new();
        struct both both = {.sender = start_sender(NULL)};
        both.receiver = follow(listen_tcp(both.sender), "reader", inbox);
        unsigned long stoppers[4];
        replicate_many(both.sender, 200);
        for (size_t i = 0; i < COUNT(stoppers); i++)
            stoppers[i] = thread_start(stop_both, &both);
        for (size_t i = 0; i < COUNT(stoppers); i++)
            thread_join(stoppers[i]);
        receiver_free(both.receiver);
        sender_free(both.sender);
        CHECK(atomic_load(&inbox->released) == 1);
        inbox_free(inbox);
    }
}

TEST_MAIN(CASE(a_sender_before_its_start), CASE(a_sender_started_and_stopped_twice), CASE(p9_a_sender_after_its_stop),
          CASE(a_sender_stopped_before_its_start), CASE(a_receiver_before_its_start),
          CASE(a_receiver_started_and_stopped_twice), CASE(a_receiver_stopped_before_its_start),
          CASE(p9_a_receiver_stops_inside_a_handshake), CASE(p9_threads_and_descriptors_are_given_back),
          CASE(p9_many_threads_may_stop_at_once))
