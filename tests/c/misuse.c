/* NULL where it is not allowed, in every function that takes a handle, and calls that make no sense together. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "host.h"
#include "peer.h"

TEST(every_sender_function_refuses_a_null_handle)
{
    const struct place one = place_at(1, 1);
    struct place place = {.len = 77};
    uint64_t number = 77;
    uint16_t port = 77;
    char *json = NULL;
    const replication_slice slice = {(const uint8_t *)"x", 1};
    const int32_t given[] = {
        sender_start(NULL),
        sender_listen(NULL, "127.0.0.1:0", &port),
        sender_accept_reader(NULL, 0, "reader", 0),
        sender_accept_connection(NULL, 0),
        sender_replicate(NULL, 1, (const uint8_t *)"x", 1, &number),
        sender_replicate_batch(NULL, 1, &slice, 1, &number),
        sender_remove_reader(NULL, "reader"),
        sender_replicate_token(NULL, 1, (const uint8_t *)"x", 1, PLACE_ROOM(place)),
        sender_token(NULL, PLACE_ROOM(place)),
        sender_set_option(NULL, "heartbeat_interval_ms", 77),
        sender_option(NULL, "heartbeat_interval_ms", &number),
        sender_set_writable(NULL, true),
        sender_wait_acked(NULL, 1, 1, 1, 0, NULL),
        wait_token_by(NULL, one, 1, 1, 0, NULL),
        acked_by(NULL, one, 1, 1, NULL),
        sender_stats_json(NULL, &json),
        sender_add_secret(NULL, NULL),
        sender_remove_secret(NULL, "readers"),
        sender_stop(NULL),
    };
    for (size_t i = 0; i < COUNT(given); i++)
        if (given[i] != REPLICATION_STATUS_INVALID_ARGUMENT)
            FAIL("function %zu gave %s", i, replication_status_name(given[i]));
    CHECK_CONTAINS(replication_last_error_message(), "sender is NULL");
    CHECK(number == 77 && port == 77 && place.len == 77 && json == NULL);
    CHECK(descriptor_is_open(0));
    CHECK_U64(sender_reader_count(NULL), 0);
    CHECK_U64(sender_current_sequence(NULL), 0);
    sender_free(NULL);
    CHECK_ERROR(sender_new(NULL, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "out");
    replication_sender_config *config = sender_config_new();
    CHECK_ERROR(sender_new(config, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "out");
    sender_config_free(config);
}

TEST(every_receiver_function_refuses_a_null_handle)
{
    const struct place one = place_at(1, 1);
    struct place place = {.len = 77};
    uint64_t number = 77;
    char *json = NULL;
    const int32_t given[] = {
        receiver_start(NULL),
        receiver_token(NULL, PLACE_ROOM(place)),
        receiver_batch_token(NULL, 0, PLACE_ROOM(place)),
        receiver_wait_sequence(NULL, 1, 0),
        receiver_wait_token(NULL, PLACE(one), 0),
        receiver_set_option(NULL, "ack_interval_ms", 7),
        receiver_option(NULL, "ack_interval_ms", &number),
        receiver_pause(NULL),
        receiver_resume(NULL),
        receiver_stats_json(NULL, &json),
        receiver_stop(NULL),
    };
    for (size_t i = 0; i < COUNT(given); i++)
        if (given[i] != REPLICATION_STATUS_INVALID_ARGUMENT)
            FAIL("function %zu gave %s", i, replication_status_name(given[i]));
    CHECK_CONTAINS(replication_last_error_message(), "receiver is NULL");
    CHECK(number == 77 && place.len == 77 && json == NULL);
    CHECK(!receiver_is_connected(NULL));
    CHECK_U64(receiver_last_sequence(NULL), 0);
    receiver_free(NULL);
    replication_receiver *receiver = NULL;
    struct inbox *inbox = inbox_new();
    CHECK_ERROR(receiver_new(NULL, &receiver), REPLICATION_STATUS_INVALID_ARGUMENT, "config");
    replication_receiver_config *config = receiver_config_for("reader", "127.0.0.1:1", inbox);
    CHECK_ERROR(receiver_new(config, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "out");
    receiver_config_free(config);
    CHECK(atomic_load(&inbox->released) == 1);
    inbox_free(inbox);
}

TEST(other_out_pointers_may_not_be_null)
{
    replication_sender *sender = start_sender(NULL);
    struct place place = {0};
    const uint8_t *x = (const uint8_t *)"x";
    CHECK_ERROR(sender_token(sender, NULL, sizeof place.bytes, &place.len), REPLICATION_STATUS_INVALID_ARGUMENT,
                "token is NULL");
    CHECK_ERROR(sender_token(sender, place.bytes, sizeof place.bytes, NULL), REPLICATION_STATUS_INVALID_ARGUMENT,
                "out_len");
    CHECK_ERROR(sender_replicate_token(sender, 1, x, 1, NULL, sizeof place.bytes, &place.len),
                REPLICATION_STATUS_INVALID_ARGUMENT, "token is NULL");
    CHECK_ERROR(sender_replicate_token(sender, 1, x, 1, place.bytes, sizeof place.bytes, NULL),
                REPLICATION_STATUS_INVALID_ARGUMENT, "out_len");
    CHECK_U64(sender_current_sequence(sender), 0);
    CHECK_ERROR(sender_option(sender, "heartbeat_interval_ms", NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "out_value");
    CHECK_ERROR(sender_option(sender, NULL, &(uint64_t){0}), REPLICATION_STATUS_INVALID_ARGUMENT, "name");
    CHECK_ERROR(sender_set_option(sender, NULL, 1), REPLICATION_STATUS_INVALID_ARGUMENT, "name");
    CHECK_ERROR(sender_stats_json(sender, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "out_json");
    sender_free(sender);
}

/* What is wrong is refused with a text each time, and nothing of it keeps the handle from working. */
TEST(a_handle_survives_any_number_of_wrong_calls)
{
    replication_sender *sender = start_sender(NULL);
    for (size_t i = 0; i < scaled(1000); i++) {
        CHECK_INVALID(sender_replicate(sender, 1, NULL, 1, NULL));
        CHECK_INVALID(sender_listen(sender, NULL, NULL));
        CHECK_STATUS(sender_listen(sender, "nowhere", NULL), REPLICATION_STATUS_BAD_ADDRESS);
        CHECK_STATUS(sender_accept_connection(sender, -5), REPLICATION_STATUS_BAD_DESCRIPTOR);
        CHECK_INVALID(sender_accept_reader(sender, 0, NULL, 0));
        CHECK_STATUS(sender_start(sender), REPLICATION_STATUS_INVALID_STATE);
        CHECK_INVALID(sender_wait_acked(sender, 1, 99, 1, 0, NULL));
        CHECK(replication_last_error_message()[0] != '\0');
    }
    CHECK_U64(replicate_text(sender, "works"), 1);
    sender_free(sender);
}

/* The other end of a descriptor is gone before the library gets it. */
TEST(a_descriptor_whose_peer_is_gone)
{
    struct events *events = events_new();
    replication_sender_config *config = sender_config_new();
    sender_config_listen_to(config, events);
    replication_sender *sender = start_sender(config);
    replicate_many(sender, 10);
    for (int i = 0; i < 20; i++) {
        int ends[2];
        socket_pair(ends);
        close(ends[1]);
        int32_t status =
            i % 2 == 0 ? sender_accept_connection(sender, ends[0]) : sender_accept_reader(sender, ends[0], "gone", 0);
        if (status != REPLICATION_STATUS_OK) {
            CHECK_STATUS(status, REPLICATION_STATUS_BAD_DESCRIPTOR);
            CHECK(descriptor_is_open(ends[0]));
            close(ends[0]);
        }
    }
    WAIT_UNTIL(sender_reader_count(sender) == 0);
    sender_free(sender);
    events_free(events);
}

/* A receiver that follows its own process's sender under an id that another one has: the last comes first. */
TEST(two_receivers_with_one_id_take_turns_and_stay_in_order)
{
    struct inbox *inboxes[2] = {inbox_new(), inbox_new()};
    replication_sender *sender = start_sender(NULL);
    uint16_t port = listen_tcp(sender);
    replication_receiver *receivers[2] = {follow(port, "same", inboxes[0]), follow(port, "same", inboxes[1])};
    replicate_many(sender, 50);
    for (size_t i = 0; i < 2; i++)
        wait_for(receivers[i], 50); /* each gets its turn, with its own position */
    for (size_t i = 0; i < 2; i++) {
        receiver_free(receivers[i]);
        CHECK_U64(inbox_count(inboxes[i]), 50);
        inbox_free(inboxes[i]);
    }
    sender_free(sender);
}

TEST_MAIN(CASE(every_sender_function_refuses_a_null_handle), CASE(every_receiver_function_refuses_a_null_handle),
          CASE(other_out_pointers_may_not_be_null), CASE(a_handle_survives_any_number_of_wrong_calls),
          CASE(a_descriptor_whose_peer_is_gone), CASE(two_receivers_with_one_id_take_turns_and_stay_in_order))
