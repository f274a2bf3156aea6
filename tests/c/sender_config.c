/* The options of a sender. */
#include "host.h"

static replication_sender_config *config;

static void set_up(void)
{
    config = sender_config_new();
    CHECK(config != NULL);
}

static void tear_down(void)
{
    sender_config_free(config);
}

TEST(every_option_can_be_set)
{
    struct token event = {0}, log = {0};
    const struct place place = place_at(6, 41);
    set_up();
    CHECK_OK(sender_config_set_buffer_size(config, 1));
    CHECK_OK(sender_config_set_buffer_size(config, 1000000));
    CHECK_OK(sender_config_set_buffer_bytes(config, 65536));
    CHECK_OK(sender_config_set_buffer_bytes(config, 1 << 30));
    CHECK_OK(sender_config_set_full_policy(config, REPLICATION_FULL_POLICY_CUT_OFF_SLOWEST, 0));
    CHECK_OK(sender_config_set_full_policy(config, REPLICATION_FULL_POLICY_REFUSE, 0));
    CHECK_OK(sender_config_set_full_policy(config, REPLICATION_FULL_POLICY_WAIT, 100));
    CHECK_OK(sender_config_set_write_timeout_ms(config, 100));
    CHECK_OK(sender_config_set_handshake_timeout_ms(config, 100));
    CHECK_OK(sender_config_set_heartbeat_interval_ms(config, 100));
    CHECK_OK(sender_config_set_min_heartbeat_ms(config, 60000));
    CHECK_OK(sender_config_set_min_heartbeat_ms(config, 10));
    CHECK_OK(sender_config_set_peer_timeout_ms(config, 1000));
    CHECK_OK(sender_config_set_stop_timeout_ms(config, 0));
    CHECK_OK(sender_config_set_stop_timeout_ms(config, 100));
    CHECK_OK(sender_config_set_max_readers(config, 1));
    CHECK_OK(sender_config_set_max_handshakes(config, 65536));
    CHECK_OK(sender_config_set_max_handshakes_per_address(config, 1));
    CHECK_OK(sender_config_set_max_handshakes_per_network(config, 2));
    CHECK_OK(sender_config_set_max_connection_rate_per_address(config, 0));
    CHECK_OK(sender_config_set_io_threads(config, 0));
    CHECK_OK(sender_config_set_io_threads(config, 2));
    CHECK_OK(sender_config_set_unix_socket_mode(config, 0));
    CHECK_OK(sender_config_set_unix_socket_mode(config, 0777));
    CHECK_OK(sender_config_set_token(config, PLACE(place), 7));
    CHECK_OK(sender_config_set_last_sequence(config, 41));
    CHECK_OK(sender_config_set_insecure_permissions_allowed(config, true));
    CHECK_OK(sender_config_set_insecure_permissions_allowed(config, false));
    CHECK_OK(sender_config_set_max_pending_acks(config, 1));
    CHECK_OK(sender_config_add_group(config, "group", (const char *const[]){"a", "b-*"}, 2));
    CHECK_OK(set_write_gate(config, 1, 10, 100, REPLICATION_ACK_LEVEL_DURABLE, REPLICATION_GATE_POLICY_SLOW, 100));
    CHECK_OK(set_write_gate(config, 0, 0, 0, REPLICATION_ACK_LEVEL_DURABLE, REPLICATION_GATE_POLICY_REFUSE, 0));
    CHECK_OK(sender_config_set_event_handler(config, token_event, &event, token_release));
    CHECK_OK(sender_config_set_log_handler(config, REPLICATION_LOG_LEVEL_DEBUG, token_log, &log, token_release));
    replication_sender *sender = start_sender(config);
    CHECK_U64(sender_current_sequence(sender), 41);
    CHECK_U64(replicate_text(sender, "the first"), 42);
    CHECK_U64(place_epoch(place_of_sender(sender)), 7);
    sender_free(sender);
    CHECK(atomic_load(&event.released) == 1 && atomic_load(&log.released) == 1);
}

TEST(every_setter_refuses_a_null_config)
{
    struct token event = {0}, log = {0};
    const struct place place = place_at(1, 1);
    const int32_t given[] = {
        sender_config_set_buffer_size(NULL, 1),
        sender_config_set_buffer_bytes(NULL, 65536),
        sender_config_set_full_policy(NULL, 0, 0),
        sender_config_set_write_timeout_ms(NULL, 1),
        sender_config_set_handshake_timeout_ms(NULL, 1),
        sender_config_set_heartbeat_interval_ms(NULL, 1),
        sender_config_set_min_heartbeat_ms(NULL, 10),
        sender_config_set_peer_timeout_ms(NULL, 1),
        sender_config_set_stop_timeout_ms(NULL, 1),
        sender_config_set_max_readers(NULL, 1),
        sender_config_set_max_handshakes(NULL, 1),
        sender_config_set_max_handshakes_per_address(NULL, 1),
        sender_config_set_max_handshakes_per_network(NULL, 1),
        sender_config_set_max_connection_rate_per_address(NULL, 1),
        sender_config_set_io_threads(NULL, 1),
        sender_config_set_unix_socket_mode(NULL, 0600),
        sender_config_set_token(NULL, PLACE(place), 1),
        sender_config_set_last_sequence(NULL, 1),
        sender_config_set_insecure_permissions_allowed(NULL, true),
        sender_config_set_max_pending_acks(NULL, 1),
        sender_config_add_group(NULL, "group", (const char *const[]){"a"}, 1),
        sender_config_set_write_gate(NULL, NULL),
        sender_config_set_event_handler(NULL, token_event, &event, token_release),
        sender_config_set_log_handler(NULL, REPLICATION_LOG_LEVEL_INFO, token_log, &log, token_release),
    };
    for (size_t i = 0; i < COUNT(given); i++)
        if (given[i] != REPLICATION_STATUS_INVALID_ARGUMENT)
            FAIL("setter %zu gave %s", i, replication_status_name(given[i]));
    CHECK_CONTAINS(replication_last_error_message(), "config is NULL");
    /* A registration that fails has ended. */
    CHECK(atomic_load(&event.released) == 1 && atomic_load(&log.released) == 1);
    sender_config_free(NULL);
}

TEST(every_setter_refuses_values_out_of_range)
{
    set_up();
    CHECK_ERROR(sender_config_set_buffer_size(config, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "0");
    CHECK_ERROR(sender_config_set_buffer_bytes(config, 65535), REPLICATION_STATUS_INVALID_ARGUMENT, "65535");
    CHECK_ERROR(sender_config_set_full_policy(config, 3, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "3");
    CHECK_ERROR(sender_config_set_full_policy(config, UINT32_MAX, 0), REPLICATION_STATUS_INVALID_ARGUMENT,
                "4294967295");
    CHECK_ERROR(sender_config_set_write_timeout_ms(config, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "timeout_ms");
    CHECK_INVALID(sender_config_set_handshake_timeout_ms(config, 0));
    CHECK_INVALID(sender_config_set_heartbeat_interval_ms(config, 0));
    CHECK_ERROR(sender_config_set_min_heartbeat_ms(config, 9), REPLICATION_STATUS_INVALID_ARGUMENT, "10 to 60000");
    CHECK_INVALID(sender_config_set_min_heartbeat_ms(config, 60001));
    CHECK_INVALID(sender_config_set_min_heartbeat_ms(config, 0));
    CHECK_INVALID(sender_config_set_peer_timeout_ms(config, 0));
    CHECK_INVALID(sender_config_set_max_readers(config, 0));
    CHECK_ERROR(sender_config_set_max_handshakes(config, 65537), REPLICATION_STATUS_INVALID_ARGUMENT, "1 to 65536");
    CHECK_INVALID(sender_config_set_max_handshakes(config, 0));
    CHECK_INVALID(sender_config_set_max_handshakes_per_address(config, 0));
    CHECK_INVALID(sender_config_set_max_handshakes_per_network(config, 0));
    CHECK_ERROR(sender_config_set_io_threads(config, 100000), REPLICATION_STATUS_INVALID_ARGUMENT, "100000");
    CHECK_ERROR(sender_config_set_unix_socket_mode(config, 01777), REPLICATION_STATUS_INVALID_ARGUMENT, "1777");
    CHECK_ERROR(sender_config_set_token(config, NULL, 48, 1), REPLICATION_STATUS_INVALID_ARGUMENT, "token is NULL");
    tear_down();
}

TEST(options_that_contradict_each_other_are_refused)
{
    replication_sender *sender = NULL;
    set_up();
    CHECK_OK(sender_config_set_heartbeat_interval_ms(config, 500));
    CHECK_OK(sender_config_set_peer_timeout_ms(config, 500));
    CHECK_ERROR(sender_new(config, &sender), REPLICATION_STATUS_INVALID_ARGUMENT, "peer_timeout_ms");
    CHECK(sender == NULL);
    tear_down();
}

TEST(a_bad_log_level_ends_the_registration)
{
    struct token log = {0};
    set_up();
    CHECK_ERROR(sender_config_set_log_handler(config, 0, token_log, &log, token_release),
                REPLICATION_STATUS_INVALID_ARGUMENT, "0");
    CHECK(atomic_load(&log.released) == 1);
    CHECK_INVALID(sender_config_set_log_handler(config, 5, token_log, &log, token_release));
    CHECK_INVALID(sender_config_set_log_handler(config, -1, token_log, &log, token_release));
    CHECK(atomic_load(&log.released) == 3);
    tear_down();
    CHECK(atomic_load(&log.released) == 3);
}

TEST(a_config_that_was_never_used_releases_its_handlers)
{
    struct token event = {0}, log = {0};
    set_up();
    CHECK_OK(sender_config_set_event_handler(config, token_event, &event, token_release));
    CHECK_OK(sender_config_set_log_handler(config, REPLICATION_LOG_LEVEL_ERROR, token_log, &log, token_release));
    CHECK(atomic_load(&event.released) == 0 && atomic_load(&log.released) == 0);
    tear_down();
    CHECK(atomic_load(&event.released) == 1 && atomic_load(&log.released) == 1);
    CHECK(atomic_load(&event.calls) == 0 && atomic_load(&log.calls) == 0);
}

TEST(a_replaced_handler_is_released_at_once)
{
    struct token first = {0}, second = {0};
    set_up();
    CHECK_OK(sender_config_set_event_handler(config, token_event, &first, token_release));
    CHECK_OK(sender_config_set_event_handler(config, token_event, &second, token_release));
    CHECK(atomic_load(&first.released) == 1 && atomic_load(&second.released) == 0);
    CHECK_OK(sender_config_set_log_handler(config, 1, token_log, &first, token_release));
    CHECK_OK(sender_config_set_log_handler(config, 4, token_log, &second, token_release));
    CHECK(atomic_load(&first.released) == 2 && atomic_load(&second.released) == 0);
    tear_down();
    CHECK(atomic_load(&first.released) == 2 && atomic_load(&second.released) == 2);
}

TEST(a_null_handler_removes_the_handler)
{
    struct token event = {0}, log = {0}, unused = {0};
    set_up();
    CHECK_OK(sender_config_set_event_handler(config, token_event, &event, token_release));
    CHECK_OK(sender_config_set_event_handler(config, NULL, &unused, token_release));
    CHECK_OK(sender_config_set_log_handler(config, 1, token_log, &log, token_release));
    CHECK_OK(sender_config_set_log_handler(config, 1, NULL, NULL, NULL));
    CHECK(atomic_load(&event.released) == 1 && atomic_load(&log.released) == 1 && atomic_load(&unused.released) == 1);
    replication_sender *sender = start_sender(config);
    sender_free(sender);
    CHECK(atomic_load(&event.calls) == 0 && atomic_load(&log.calls) == 0);
}

TEST(a_handler_needs_no_user_data)
{
    set_up();
    CHECK_OK(sender_config_set_event_handler(config, token_event, NULL, NULL));
    tear_down();
}

TEST(handlers_belong_to_the_first_sender)
{
    struct token event = {0};
    replication_sender *first = NULL, *second = NULL;
    set_up();
    CHECK_OK(sender_config_set_event_handler(config, token_event, &event, token_release));
    CHECK_OK(sender_new(config, &first));
    CHECK_ERROR(sender_new(config, &second), REPLICATION_STATUS_INVALID_STATE, "event handler");
    CHECK(second == NULL);
    sender_free(first);
    CHECK(atomic_load(&event.released) == 1);
    CHECK_STATUS(sender_new(config, &second), REPLICATION_STATUS_INVALID_STATE);
    tear_down();
    CHECK(atomic_load(&event.released) == 1);
}

TEST(a_config_without_handlers_makes_many_senders)
{
    replication_sender *senders[3] = {NULL};
    set_up();
    CHECK_OK(sender_config_set_last_sequence(config, 10));
    for (size_t i = 0; i < COUNT(senders); i++)
        CHECK_OK(sender_new(config, &senders[i]));
    CHECK_OK(sender_config_set_last_sequence(config, 20)); /* a sender has a copy */
    tear_down();
    for (size_t i = 0; i < COUNT(senders); i++) {
        CHECK_U64(sender_current_sequence(senders[i]), 10);
        sender_free(senders[i]);
    }
}

TEST(a_new_sender_begins_a_lineage_of_its_own)
{
    replication_sender *first = make_sender(NULL), *second = make_sender(NULL);
    CHECK_U64(place_epoch(place_of_sender(first)), 1);
    CHECK(!place_is(place_of_sender(first), place_of_sender(second)));
    sender_free(first);
    sender_free(second);
}

TEST(options_change_while_the_sender_lives)
{
    replication_sender *sender = make_sender(NULL);
    uint64_t value = 77;
    CHECK_OK(sender_set_option(sender, "max_readers", 5));
    CHECK_OK(sender_start(sender));
    CHECK_OK(sender_option(sender, "max_readers", &value));
    CHECK_U64(value, 5);
    CHECK_OK(sender_set_option(sender, "max_pending_acks", 1));
    const struct place one = replicate_place(sender, "one");
    struct token first = {0}, second = {0};
    CHECK_OK(
        on_acked_by(sender, one, REPLICATION_ACK_LEVEL_APPLIED, 1, UINT64_MAX, token_acked, &first, token_release));
    CHECK_STATUS(
        on_acked_by(sender, one, REPLICATION_ACK_LEVEL_APPLIED, 1, UINT64_MAX, token_acked, &second, token_release),
        REPLICATION_STATUS_BUFFER_FULL);
    CHECK_OK(sender_set_option(sender, "max_pending_acks", 2));
    CHECK_OK(
        on_acked_by(sender, one, REPLICATION_ACK_LEVEL_APPLIED, 1, UINT64_MAX, token_acked, &second, token_release));
    /* Nothing that is refused changes anything. */
    CHECK_ERROR(sender_set_option(sender, "max_pending_acks", 0), REPLICATION_STATUS_INVALID_ARGUMENT,
                "max_pending_acks");
    CHECK_ERROR(sender_set_option(sender, "no\nsuch", 1), REPLICATION_STATUS_NOT_FOUND, "no\\nsuch");
    CHECK_STATUS(sender_set_option(sender, "buffer_size", 1), REPLICATION_STATUS_NOT_FOUND);
    value = 77;
    CHECK_STATUS(sender_option(sender, "buffer_size", &value), REPLICATION_STATUS_NOT_FOUND);
    CHECK_U64(value, 77);
    CHECK_OK(sender_option(sender, "max_pending_acks", &value));
    CHECK_U64(value, 2);
    CHECK_OK(sender_stop(sender));
    CHECK_STATUS(sender_set_option(sender, "max_readers", 6), REPLICATION_STATUS_CLOSED);
    sender_free(sender);
    CHECK(atomic_load(&first.calls) == 1 && atomic_load(&second.calls) == 1);
    CHECK(atomic_load(&first.released) == 1 && atomic_load(&second.released) == 2);
}

TEST_MAIN(CASE(every_option_can_be_set), CASE(every_setter_refuses_a_null_config),
          CASE(every_setter_refuses_values_out_of_range), CASE(options_that_contradict_each_other_are_refused),
          CASE(a_bad_log_level_ends_the_registration), CASE(a_config_that_was_never_used_releases_its_handlers),
          CASE(a_replaced_handler_is_released_at_once), CASE(a_null_handler_removes_the_handler),
          CASE(a_handler_needs_no_user_data), CASE(handlers_belong_to_the_first_sender),
          CASE(a_config_without_handlers_makes_many_senders), CASE(a_new_sender_begins_a_lineage_of_its_own),
          CASE(options_change_while_the_sender_lives))
