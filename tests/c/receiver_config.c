/* The options of a receiver. */
#include "host.h"

static replication_receiver_config *config;

static void set_up(void)
{
    config = receiver_config_new();
    CHECK(config != NULL);
}

static void tear_down(void)
{
    receiver_config_free(config);
}

/* A config from which a receiver can be made, without a handler. */
static void set_up_named(void)
{
    set_up();
    CHECK_OK(receiver_config_set_reader_id(config, "reader"));
    CHECK_OK(receiver_config_set_writer_addr(config, "127.0.0.1:1"));
}

TEST(every_option_can_be_set)
{
    struct token ingest = {0}, wal = {0}, connect = {0}, event = {0}, log = {0};
    const struct place place = place_at(7, 41);
    set_up_named();
    CHECK_OK(receiver_config_set_writer_addr(config, "[::1]:1"));
    CHECK_OK(receiver_config_set_writer_addr(config, "unix:/tmp/nobody-listens-here"));
    CHECK_OK(receiver_config_set_ingest_handler(config, token_ingest, &ingest, token_release));
    CHECK_OK(receiver_config_set_local_wal(config, token_ingest, &wal, token_release));
    CHECK_OK(receiver_config_set_connect_handler(config, token_connect, &connect, token_release));
    CHECK_OK(receiver_config_set_event_handler(config, token_event, &event, token_release));
    CHECK_OK(receiver_config_set_log_handler(config, REPLICATION_LOG_LEVEL_WARN, token_log, &log, token_release));
    CHECK_OK(receiver_config_set_last_sequence(config, 41));
    CHECK_OK(receiver_config_set_token(config, PLACE(place)));
    for (uint32_t protocol = REPLICATION_PROTOCOL_AUTO; protocol <= REPLICATION_PROTOCOL_V2; protocol++)
        CHECK_OK(receiver_config_set_protocol(config, protocol));
    CHECK_OK(receiver_config_set_coordinator_handshake(config, true));
    CHECK_OK(receiver_config_set_coordinator_handshake(config, false));
    CHECK_OK(receiver_config_set_insecure_permissions_allowed(config, true));
    CHECK_OK(receiver_config_set_insecure_permissions_allowed(config, false));
    CHECK_OK(receiver_config_set_gap_policy(config, REPLICATION_GAP_POLICY_CONTINUE));
    CHECK_OK(receiver_config_set_gap_policy(config, REPLICATION_GAP_POLICY_REFUSE));
    CHECK_OK(receiver_config_set_apply_policy(config, REPLICATION_APPLY_POLICY_STOP, 3));
    CHECK_OK(receiver_config_set_apply_policy(config, REPLICATION_APPLY_POLICY_SKIP, 0));
    CHECK_OK(receiver_config_set_apply_policy(config, REPLICATION_APPLY_POLICY_RETRY, 0));
    CHECK_OK(receiver_config_set_handler_durable(config, true));
    CHECK_OK(receiver_config_set_reconnect_interval_ms(config, 100));
    CHECK_OK(receiver_config_set_ack_interval_ms(config, 10));
    CHECK_OK(receiver_config_set_connect_timeout_ms(config, 100));
    CHECK_OK(receiver_config_set_heartbeat_interval_ms(config, 50));
    CHECK_OK(receiver_config_set_peer_timeout_ms(config, 100));
    CHECK_OK(receiver_config_set_buffer_bytes(config, 1 << 20));
    CHECK_OK(receiver_config_set_max_epoch_jump(config, UINT64_MAX));
    CHECK_OK(receiver_config_set_max_epoch_jump(config, 1));
    CHECK_OK(receiver_config_set_max_entry_bytes(config, 1));
    CHECK_OK(receiver_config_set_max_entry_bytes(config, UINT64_MAX));
    CHECK_OK(receiver_config_set_records_max_bytes(config, 1));
    replication_receiver *receiver = start_receiver(config);
    CHECK_U64(receiver_last_sequence(receiver), 41);
    CHECK(place_is(place_of_receiver(receiver), place));
    WAIT_UNTIL(atomic_load(&connect.calls) > 1); /* it dials through the host, again and again */
    receiver_free(receiver);
    CHECK(atomic_load(&ingest.released) == 1 && atomic_load(&wal.released) == 1);
    CHECK(atomic_load(&connect.released) == 1 && atomic_load(&event.released) == 1 && atomic_load(&log.released) == 1);
    CHECK(atomic_load(&ingest.calls) == 0 && atomic_load(&wal.calls) == 0);
}

TEST(every_setter_refuses_a_null_config)
{
    struct token token = {0};
    const struct place place = place_at(1, 1);
    const int32_t given[] = {
        receiver_config_set_reader_id(NULL, "reader"),
        receiver_config_set_writer_addr(NULL, "127.0.0.1:1"),
        receiver_config_set_last_sequence(NULL, 1),
        receiver_config_set_token(NULL, PLACE(place)),
        receiver_config_set_protocol(NULL, 0),
        receiver_config_set_coordinator_handshake(NULL, true),
        receiver_config_set_insecure_permissions_allowed(NULL, true),
        receiver_config_set_gap_policy(NULL, 0),
        receiver_config_set_apply_policy(NULL, 0, 0),
        receiver_config_set_handler_durable(NULL, true),
        receiver_config_set_reconnect_interval_ms(NULL, 1),
        receiver_config_set_ack_interval_ms(NULL, 1),
        receiver_config_set_connect_timeout_ms(NULL, 1),
        receiver_config_set_heartbeat_interval_ms(NULL, 1),
        receiver_config_set_peer_timeout_ms(NULL, 1),
        receiver_config_set_buffer_bytes(NULL, 1),
        receiver_config_set_max_epoch_jump(NULL, 1),
        receiver_config_set_max_entry_bytes(NULL, 1),
        receiver_config_set_records_max_bytes(NULL, 1),
        receiver_config_set_ingest_handler(NULL, token_ingest, &token, token_release),
        receiver_config_set_ingest_batch_handler(NULL, 0, token_ingest_batch, &token, token_release),
        receiver_config_set_record_handler(NULL, token_records, &token, token_release),
        receiver_config_set_local_wal(NULL, token_ingest, &token, token_release),
        receiver_config_set_connect_handler(NULL, token_connect, &token, token_release),
        receiver_config_set_event_handler(NULL, token_event, &token, token_release),
        receiver_config_set_log_handler(NULL, REPLICATION_LOG_LEVEL_INFO, token_log, &token, token_release),
    };
    for (size_t i = 0; i < COUNT(given); i++)
        if (given[i] != REPLICATION_STATUS_INVALID_ARGUMENT)
            FAIL("setter %zu gave %s", i, replication_status_name(given[i]));
    CHECK_CONTAINS(replication_last_error_message(), "config is NULL");
    CHECK(atomic_load(&token.released) == 7); /* a registration that fails has ended */
    receiver_config_free(NULL);
}

TEST(every_setter_refuses_values_out_of_range)
{
    set_up();
    CHECK_ERROR(receiver_config_set_token(config, NULL, 48), REPLICATION_STATUS_INVALID_ARGUMENT, "token is NULL");
    CHECK_ERROR(receiver_config_set_protocol(config, 3), REPLICATION_STATUS_INVALID_ARGUMENT, "3");
    CHECK_ERROR(receiver_config_set_gap_policy(config, 2), REPLICATION_STATUS_INVALID_ARGUMENT, "2");
    CHECK_ERROR(receiver_config_set_apply_policy(config, 3, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "3");
    CHECK_ERROR(receiver_config_set_apply_policy(config, UINT32_MAX, 0), REPLICATION_STATUS_INVALID_ARGUMENT,
                "4294967295");
    CHECK_ERROR(receiver_config_set_reconnect_interval_ms(config, 0), REPLICATION_STATUS_INVALID_ARGUMENT,
                "interval_ms");
    CHECK_INVALID(receiver_config_set_ack_interval_ms(config, 0));
    CHECK_INVALID(receiver_config_set_connect_timeout_ms(config, 0));
    CHECK_INVALID(receiver_config_set_heartbeat_interval_ms(config, 0));
    CHECK_INVALID(receiver_config_set_peer_timeout_ms(config, 0));
    CHECK_INVALID(receiver_config_set_buffer_bytes(config, 0));
    CHECK_ERROR(receiver_config_set_max_epoch_jump(config, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "jump is 0");
    CHECK_ERROR(receiver_config_set_max_entry_bytes(config, 0), REPLICATION_STATUS_INVALID_ARGUMENT, "max_bytes");
    CHECK_INVALID(receiver_config_set_records_max_bytes(config, 0));
    tear_down();
}

TEST(options_that_contradict_each_other_are_refused)
{
    struct token ingest = {0};
    replication_receiver *receiver = NULL;
    set_up_named();
    CHECK_OK(receiver_config_set_ingest_handler(config, token_ingest, &ingest, token_release));
    CHECK_OK(receiver_config_set_heartbeat_interval_ms(config, 500));
    CHECK_OK(receiver_config_set_peer_timeout_ms(config, 500));
    CHECK_ERROR(receiver_new(config, &receiver), REPLICATION_STATUS_INVALID_ARGUMENT, "peer_timeout_ms");
    CHECK(receiver == NULL);
    tear_down();
    CHECK(atomic_load(&ingest.released) == 1);
}

TEST(reader_ids_have_1_to_255_bytes_of_utf8)
{
    char id[300];
    set_up();
    CHECK_ERROR(receiver_config_set_reader_id(config, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "reader_id");
    CHECK_ERROR(receiver_config_set_reader_id(config, ""), REPLICATION_STATUS_INVALID_ARGUMENT, "reader_id");
    CHECK_ERROR(receiver_config_set_reader_id(config, "bad\xff"), REPLICATION_STATUS_INVALID_ARGUMENT, "UTF-8");
    CHECK_ERROR(receiver_config_set_reader_id(config, "\xed\xa0\x80"), REPLICATION_STATUS_INVALID_ARGUMENT, "UTF-8");
    memset(id, 'x', sizeof id);
    id[REPLICATION_MAX_READER_ID_BYTES + 1] = '\0';
    CHECK_ERROR(receiver_config_set_reader_id(config, id), REPLICATION_STATUS_INVALID_ARGUMENT, "256");
    id[REPLICATION_MAX_READER_ID_BYTES] = '\0';
    CHECK_OK(receiver_config_set_reader_id(config, id));
    static const char *const with_controls[] = {"a\n",
                                                "\x1b[2J",
                                                "\x7f",
                                                "\xc2\x9b"
                                                "31m",
                                                "\xe2\x80\xae"
                                                "gnp",
                                                "\xe2\x80\xa8"};
    for (size_t i = 0; i < COUNT(with_controls); i++)
        CHECK_ERROR(receiver_config_set_reader_id(config, with_controls[i]), REPLICATION_STATUS_INVALID_ARGUMENT,
                    "control character");
    CHECK_OK(receiver_config_set_reader_id(config, "\xe6\xbc\xa2\xf0\x9f\x98\x80 <&>"));
    tear_down();
}

/* An address that cannot be right is refused at the latest when the receiver is made. */
static void check_bad_address(const char *address)
{
    struct token ingest = {0};
    replication_receiver *receiver = NULL;
    set_up_named();
    CHECK_OK(receiver_config_set_ingest_handler(config, token_ingest, &ingest, token_release));
    int32_t status = receiver_config_set_writer_addr(config, address);
    if (status == REPLICATION_STATUS_OK)
        status = receiver_new(config, &receiver);
    if (status != REPLICATION_STATUS_BAD_ADDRESS)
        FAIL("the address \"%s\" gave %s", address, replication_status_name(status));
    CHECK_CONTAINS(replication_last_error_message(), address);
    CHECK(receiver == NULL);
    tear_down();
    CHECK(atomic_load(&ingest.released) == 1);
}

TEST(writer_addresses_are_checked)
{
    static const char *const bad[] = {"nowhere",     "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999",
                                      "127.0.0.1:x", ":5000",     "[::1",       "unix:"};
    for (size_t i = 0; i < COUNT(bad); i++)
        check_bad_address(bad[i]);
    set_up();
    CHECK_ERROR(receiver_config_set_writer_addr(config, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "writer_addr");
    CHECK_ERROR(receiver_config_set_writer_addr(config, "\xff:1"), REPLICATION_STATUS_INVALID_ARGUMENT, "writer_addr");
    tear_down();
}

TEST(a_receiver_needs_an_id_an_address_and_a_handler)
{
    struct token ingest = {0};
    replication_receiver *receiver = NULL;
    set_up();
    CHECK_OK(receiver_config_set_writer_addr(config, "127.0.0.1:1"));
    CHECK_OK(receiver_config_set_ingest_handler(config, token_ingest, &ingest, token_release));
    CHECK_ERROR(receiver_new(config, &receiver), REPLICATION_STATUS_INVALID_ARGUMENT, "reader_id");
    tear_down();
    CHECK(atomic_load(&ingest.released) == 1);
    set_up();
    CHECK_OK(receiver_config_set_reader_id(config, "reader"));
    CHECK_OK(receiver_config_set_ingest_handler(config, token_ingest, &ingest, token_release));
    CHECK_ERROR(receiver_new(config, &receiver), REPLICATION_STATUS_INVALID_ARGUMENT, "writer_addr");
    /* A failed attempt leaves the handler with the config, which can be completed. */
    CHECK(atomic_load(&ingest.released) == 1);
    CHECK_OK(receiver_config_set_writer_addr(config, "127.0.0.1:1"));
    CHECK_OK(receiver_new(config, &receiver));
    tear_down();
    CHECK(atomic_load(&ingest.released) == 1);
    receiver_free(receiver);
    CHECK(atomic_load(&ingest.released) == 2);
    receiver = NULL;
    set_up_named();
    CHECK_ERROR(receiver_new(config, &receiver), REPLICATION_STATUS_INVALID_ARGUMENT, "handler");
    CHECK(receiver == NULL);
    tear_down();
}

TEST(a_config_that_was_never_used_releases_its_handlers)
{
    struct token ingest = {0}, wal = {0}, connect = {0}, event = {0}, log = {0};
    set_up();
    CHECK_OK(receiver_config_set_ingest_handler(config, token_ingest, &ingest, token_release));
    CHECK_OK(receiver_config_set_local_wal(config, token_ingest, &wal, token_release));
    CHECK_OK(receiver_config_set_connect_handler(config, token_connect, &connect, token_release));
    CHECK_OK(receiver_config_set_event_handler(config, token_event, &event, token_release));
    CHECK_OK(receiver_config_set_log_handler(config, 3, token_log, &log, token_release));
    CHECK(atomic_load(&ingest.released) == 0);
    tear_down();
    CHECK(atomic_load(&ingest.released) == 1 && atomic_load(&wal.released) == 1);
    CHECK(atomic_load(&connect.released) == 1 && atomic_load(&event.released) == 1 && atomic_load(&log.released) == 1);
}

TEST(a_later_handler_replaces_the_earlier_of_any_kind)
{
    struct token ingest = {0}, batch = {0}, records = {0}, again = {0};
    set_up();
    CHECK_OK(receiver_config_set_ingest_handler(config, token_ingest, &ingest, token_release));
    CHECK_OK(receiver_config_set_ingest_batch_handler(config, 0, token_ingest_batch, &batch, token_release));
    CHECK(atomic_load(&ingest.released) == 1);
    CHECK_OK(receiver_config_set_record_handler(config, token_records, &records, token_release));
    CHECK(atomic_load(&batch.released) == 1);
    CHECK_OK(receiver_config_set_ingest_handler(config, token_ingest, &again, token_release));
    CHECK(atomic_load(&records.released) == 1);
    tear_down();
    CHECK(atomic_load(&ingest.released) == 1 && atomic_load(&batch.released) == 1);
    CHECK(atomic_load(&records.released) == 1 && atomic_load(&again.released) == 1);
}

TEST(the_entry_handlers_cannot_be_null)
{
    struct token token = {0};
    set_up();
    CHECK_ERROR(receiver_config_set_ingest_handler(config, NULL, &token, token_release),
                REPLICATION_STATUS_INVALID_ARGUMENT, "handler");
    CHECK_INVALID(receiver_config_set_ingest_batch_handler(config, 0, NULL, &token, token_release));
    CHECK_INVALID(receiver_config_set_record_handler(config, NULL, &token, token_release));
    CHECK(atomic_load(&token.released) == 3);
    tear_down();
    CHECK(atomic_load(&token.released) == 3);
}

TEST(the_other_handlers_can_be_taken_away)
{
    struct token set = {0}, unused = {0};
    set_up();
    CHECK_OK(receiver_config_set_local_wal(config, token_ingest, &set, token_release));
    CHECK_OK(receiver_config_set_connect_handler(config, token_connect, &set, token_release));
    CHECK_OK(receiver_config_set_event_handler(config, token_event, &set, token_release));
    CHECK_OK(receiver_config_set_log_handler(config, 1, token_log, &set, token_release));
    CHECK_OK(receiver_config_set_local_wal(config, NULL, &unused, token_release));
    CHECK_OK(receiver_config_set_connect_handler(config, NULL, &unused, token_release));
    CHECK_OK(receiver_config_set_event_handler(config, NULL, &unused, token_release));
    CHECK_OK(receiver_config_set_log_handler(config, 1, NULL, &unused, token_release));
    CHECK(atomic_load(&set.released) == 4 && atomic_load(&unused.released) == 4);
    tear_down();
    CHECK(atomic_load(&set.released) == 4 && atomic_load(&unused.released) == 4);
}

TEST(a_bad_log_level_ends_the_registration)
{
    struct token log = {0};
    set_up();
    CHECK_INVALID(receiver_config_set_log_handler(config, 0, token_log, &log, token_release));
    CHECK_INVALID(receiver_config_set_log_handler(config, 5, token_log, &log, token_release));
    CHECK(atomic_load(&log.released) == 2);
    tear_down();
    CHECK(atomic_load(&log.released) == 2);
}

TEST(handlers_belong_to_the_first_receiver)
{
    struct token ingest = {0};
    replication_receiver *first = NULL, *second = NULL;
    set_up_named();
    CHECK_OK(receiver_config_set_ingest_handler(config, token_ingest, &ingest, token_release));
    CHECK_OK(receiver_new(config, &first));
    CHECK_ERROR(receiver_new(config, &second), REPLICATION_STATUS_INVALID_STATE, "handler");
    CHECK(second == NULL);
    /* Another handler makes the config whole again. */
    struct token other = {0};
    CHECK_OK(receiver_config_set_ingest_handler(config, token_ingest, &other, token_release));
    CHECK(atomic_load(&ingest.released) == 0);
    CHECK_OK(receiver_new(config, &second));
    tear_down();
    CHECK(atomic_load(&ingest.released) == 0 && atomic_load(&other.released) == 0);
    receiver_free(first);
    CHECK(atomic_load(&ingest.released) == 1 && atomic_load(&other.released) == 0);
    receiver_free(second);
    CHECK(atomic_load(&ingest.released) == 1 && atomic_load(&other.released) == 1);
}

TEST(options_change_while_the_receiver_lives)
{
    struct inbox *inbox = inbox_new();
    uint64_t value = 77;
    replication_receiver *receiver = make_receiver(receiver_config_for("reader", "127.0.0.1:1", inbox));
    CHECK_OK(receiver_set_option(receiver, "ack_interval_ms", 5));
    CHECK_OK(receiver_start(receiver));
    CHECK_OK(receiver_option(receiver, "ack_interval_ms", &value));
    CHECK_U64(value, 5);
    CHECK_ERROR(receiver_set_option(receiver, "ack_interval_ms", 0), REPLICATION_STATUS_INVALID_ARGUMENT,
                "ack_interval_ms");
    CHECK_ERROR(receiver_set_option(receiver, "wal_retain_bytes", 1), REPLICATION_STATUS_INVALID_STATE, "wal_dir");
    CHECK_ERROR(receiver_set_option(receiver, "reader_id", 1), REPLICATION_STATUS_NOT_FOUND, "reader_id");
    CHECK_ERROR(receiver_set_option(receiver, NULL, 1), REPLICATION_STATUS_INVALID_ARGUMENT, "name");
    CHECK_ERROR(receiver_option(receiver, "ack_interval_ms", NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "out_value");
    CHECK_OK(receiver_option(receiver, "ack_interval_ms", &value));
    CHECK_U64(value, 5);
    CHECK_OK(receiver_stop(receiver));
    CHECK_STATUS(receiver_set_option(receiver, "ack_interval_ms", 6), REPLICATION_STATUS_CLOSED);
    receiver_free(receiver);
    inbox_free(inbox);
}

TEST_MAIN(CASE(every_option_can_be_set), CASE(every_setter_refuses_a_null_config),
          CASE(every_setter_refuses_values_out_of_range), CASE(options_that_contradict_each_other_are_refused),
          CASE(reader_ids_have_1_to_255_bytes_of_utf8), CASE(writer_addresses_are_checked),
          CASE(a_receiver_needs_an_id_an_address_and_a_handler),
          CASE(a_config_that_was_never_used_releases_its_handlers),
          CASE(a_later_handler_replaces_the_earlier_of_any_kind), CASE(the_entry_handlers_cannot_be_null),
          CASE(the_other_handlers_can_be_taken_away), CASE(a_bad_log_level_ends_the_registration),
          CASE(handlers_belong_to_the_first_receiver), CASE(options_change_while_the_receiver_lives))
