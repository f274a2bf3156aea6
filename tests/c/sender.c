/* What the writer's host calls, with readers that this test speaks for itself in v1. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"
#include "json.h"
#include "peer.h"

TEST(sequences_count_from_1)
{
    replication_sender *sender = start_sender(NULL);
    uint64_t sequence = 0;
    CHECK_U64(sender_current_sequence(sender), 0);
    for (uint64_t expected = 1; expected <= 100; expected++) {
        CHECK_OK(sender_replicate(sender, expected, (const uint8_t *)"x", 1, &sequence));
        CHECK_U64(sequence, expected);
        CHECK_U64(sender_current_sequence(sender), expected);
    }
    CHECK_OK(sender_replicate(sender, 0, (const uint8_t *)"x", 1, NULL));
    CHECK_U64(sender_current_sequence(sender), 101);
    sender_free(sender);
}

TEST(p2_the_last_sequence_of_all_is_not_passed)
{
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_last_sequence(config, UINT64_MAX - 2));
    replication_sender *sender = start_sender(config);
    uint64_t sequence = 0, last = UINT64_MAX - 2;
    int32_t status = REPLICATION_STATUS_OK;
    for (int i = 0; i < 4 && status == REPLICATION_STATUS_OK; i++) {
        status = sender_replicate(sender, 1, NULL, 0, &sequence);
        if (status == REPLICATION_STATUS_OK)
            CHECK_U64(sequence, ++last); /* never 0 again */
    }
    CHECK(status != REPLICATION_STATUS_OK);
    CHECK_U64(sender_current_sequence(sender), last);
    sender_free(sender);
}

TEST(an_empty_payload_is_an_entry)
{
    replication_sender *sender = start_sender(NULL);
    uint64_t sequence = 0;
    CHECK_OK(sender_replicate(sender, 1, NULL, 0, &sequence));
    CHECK_U64(sequence, 1);
    CHECK_OK(sender_replicate(sender, 1, (const uint8_t *)"x", 0, &sequence));
    CHECK_U64(sequence, 2);
    struct peer peer;
    CHECK(peer_attach(sender, &peer, "reader", 0).can_resume);
    peer_expect_entry(&peer, 1, "");
    peer_expect_entry(&peer, 2, "");
    peer_close(&peer);
    sender_free(sender);
}

TEST(bad_payloads_use_no_sequence)
{
    replication_sender *sender = start_sender(NULL);
    uint64_t sequence = 77;
    const uint8_t *one = (const uint8_t *)"x";
    CHECK_ERROR(sender_replicate(sender, 1, NULL, 5, &sequence), REPLICATION_STATUS_INVALID_ARGUMENT, "payload");
    /* There is no such buffer: the length is checked before the pointer is read. */
    CHECK_ERROR(sender_replicate(sender, 1, one, (size_t)REPLICATION_MAX_MESSAGE_SIZE + 1, &sequence),
                REPLICATION_STATUS_MESSAGE_TOO_LARGE, "too large");
    CHECK_STATUS(sender_replicate(sender, 1, one, SIZE_MAX, &sequence), REPLICATION_STATUS_MESSAGE_TOO_LARGE);
    CHECK_STATUS(sender_replicate(sender, 1, one, SIZE_MAX / 2, &sequence), REPLICATION_STATUS_MESSAGE_TOO_LARGE);
    CHECK_U64(sequence, 77);
    CHECK_U64(sender_current_sequence(sender), 0);
    CHECK_U64(replicate_text(sender, "good"), 1);
    sender_free(sender);
}

TEST(a_batch_takes_consecutive_sequences)
{
    replication_sender *sender = start_sender(NULL);
    const replication_slice payloads[] = {
        {(const uint8_t *)"one", 3}, {NULL, 0}, {(const uint8_t *)"three", 5}, {(const uint8_t *)"4", 1}};
    uint64_t first = 0;
    replicate_text(sender, "before");
    CHECK_OK(sender_replicate_batch(sender, 9, payloads, COUNT(payloads), &first));
    CHECK_U64(first, 2);
    CHECK_U64(sender_current_sequence(sender), 5);
    CHECK_OK(sender_replicate_batch(sender, 9, payloads, 1, NULL));
    struct peer peer;
    peer_attach(sender, &peer, "reader", 1);
    peer_expect_entry(&peer, 2, "one");
    peer_expect_entry(&peer, 3, "");
    peer_expect_entry(&peer, 4, "three");
    peer_expect_entry(&peer, 5, "4");
    peer_expect_entry(&peer, 6, "one");
    peer_close(&peer);
    sender_free(sender);
}

TEST(a_bad_batch_takes_nothing)
{
    replication_sender *sender = start_sender(NULL);
    const replication_slice hole[] = {{(const uint8_t *)"one", 3}, {NULL, 4}};
    const replication_slice large[] = {{(const uint8_t *)"one", 3},
                                       {(const uint8_t *)"x", (size_t)REPLICATION_MAX_MESSAGE_SIZE + 1}};
    uint64_t first = 77;
    CHECK_ERROR(sender_replicate_batch(sender, 9, hole, 2, &first), REPLICATION_STATUS_INVALID_ARGUMENT, "1");
    CHECK_STATUS(sender_replicate_batch(sender, 9, large, 2, &first), REPLICATION_STATUS_MESSAGE_TOO_LARGE);
    CHECK_ERROR(sender_replicate_batch(sender, 9, NULL, 2, &first), REPLICATION_STATUS_INVALID_ARGUMENT, "payloads");
    CHECK_ERROR(sender_replicate_batch(sender, 9, hole, 0, &first), REPLICATION_STATUS_INVALID_ARGUMENT, "count");
    CHECK_U64(first, 77);
    CHECK_U64(sender_current_sequence(sender), 0);
    sender_free(sender);
}

TEST(many_addresses_can_be_listened_on)
{
    replication_sender *sender = start_sender(NULL);
    uint16_t first = 0, second = 0, none = 77;
    char address[200], path[160];
    CHECK_OK(sender_listen(sender, "127.0.0.1:0", &first));
    CHECK_OK(sender_listen(sender, "localhost:0", &second));
    CHECK(first != 0 && second != 0 && first != second);
    snprintf(path, sizeof path, "%s", temp_path("writer.sock"));
    snprintf(address, sizeof address, "unix:%s", path);
    CHECK_OK(sender_listen(sender, address, &none));
    CHECK_U64(none, 0);
    CHECK_OK(sender_listen(sender, "127.0.0.1:0", NULL));
    struct peer peers[2];
    peer_open(&peers[0], dial_tcp(first));
    peer_open(&peers[1], dial_unix(path));
    for (size_t i = 0; i < COUNT(peers); i++) {
        peer_send_sync(&peers[i], i == 0 ? "tcp" : "unix", 0, false);
        CHECK_TEXT(peer_expect_sync_ack(&peers[i], SYNC_ACK).error, "");
    }
    CHECK_U64(sender_reader_count(sender), 2);
    sender_free(sender);
    CHECK(access(path, F_OK) != 0); /* the socket's file goes with the sender */
    for (size_t i = 0; i < COUNT(peers); i++)
        peer_expect_closed(&peers[i]);
}

TEST(a_unix_socket_has_the_mode_that_was_set)
{
    static const unsigned modes[] = {0600, 0660, 0666, 0755};
    char address[200], path[160];
    snprintf(path, sizeof path, "%s", temp_path("mode.sock"));
    snprintf(address, sizeof address, "unix:%s", path);
    for (size_t i = 0; i < COUNT(modes); i++) {
        replication_sender_config *config = sender_config_new();
        if (i > 0) /* the first is the default */
            CHECK_OK(sender_config_set_unix_socket_mode(config, modes[i]));
        replication_sender *sender = start_sender(config);
        CHECK_OK(sender_listen(sender, address, NULL));
        struct stat made;
        CHECK(lstat(path, &made) == 0 && S_ISSOCK(made.st_mode));
        CHECK_U64(made.st_mode & 07777, modes[i]);
        sender_free(sender);
        CHECK(lstat(path, &made) != 0);
    }
}

TEST(one_sender_alone_listens_at_a_unix_socket)
{
    char address[200], abstract[64];
    snprintf(address, sizeof address, "unix:%s", temp_path("one.sock"));
    snprintf(abstract, sizeof abstract, "unix:@replication-test-%ld", (long)getpid());
    replication_sender *first = start_sender(NULL), *second = start_sender(NULL);
    const char *const both[] = {address, abstract};
    for (size_t i = 0; i < COUNT(both); i++) {
        CHECK_OK(sender_listen(first, both[i], NULL));
        CHECK_ERROR(sender_listen(second, both[i], NULL), REPLICATION_STATUS_ADDRESS_IN_USE, both[i]);
    }
    sender_free(first);
    for (size_t i = 0; i < COUNT(both); i++)
        CHECK_OK(sender_listen(second, both[i], NULL));
    sender_free(second);
}

TEST(addresses_that_cannot_be_listened_on_are_named)
{
    static const char *const bad[] = {"nowhere", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",  "127.0.0.1:-1",
                                      ":5000",   "[::1",      "unix:",      "host.invalid:5000"};
    replication_sender *sender = start_sender(NULL);
    uint16_t port = 77;
    for (size_t i = 0; i < COUNT(bad); i++)
        CHECK_ERROR(sender_listen(sender, bad[i], &port), REPLICATION_STATUS_BAD_ADDRESS, bad[i]);
    CHECK_ERROR(sender_listen(sender, NULL, &port), REPLICATION_STATUS_INVALID_ARGUMENT, "address");
    CHECK_ERROR(sender_listen(sender, "\xff\xfe:1", &port), REPLICATION_STATUS_INVALID_ARGUMENT, "address");
    char long_path[300] = "unix:/tmp/";
    memset(long_path + 10, 'x', 200);
    CHECK_ERROR(sender_listen(sender, long_path, &port), REPLICATION_STATUS_BAD_ADDRESS, "xxxx");
    CHECK_ERROR(sender_listen(sender, "unix:/no/such/directory/socket", &port), REPLICATION_STATUS_IO,
                "/no/such/directory/socket");
    CHECK_CONTAINS(replication_last_error_message(), "os error 2");
    CHECK_ERROR(sender_listen(sender, "unix:/proc/replication.sock", &port), REPLICATION_STATUS_IO, "/proc");
    CHECK_U64(port, 77);
    sender_free(sender);
}

TEST(an_address_in_use_is_named)
{
    replication_sender *sender = start_sender(NULL);
    uint16_t taken = 0, port = 77;
    char address[200];
    int listener = listen_local(&taken);
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)taken);
    CHECK_ERROR(sender_listen(sender, address, &port), REPLICATION_STATUS_ADDRESS_IN_USE, address);
    close(listener);
    snprintf(address, sizeof address, "unix:%s", temp_path("taken.sock"));
    CHECK_OK(sender_listen(sender, address, &port));
    CHECK_U64(port, 0);
    CHECK_ERROR(sender_listen(sender, address, &port), REPLICATION_STATUS_ADDRESS_IN_USE, address);
    sender_free(sender);
}

TEST(wait_acked_counts_readers)
{
    enum { RECEIVED = REPLICATION_ACK_LEVEL_RECEIVED };
    replication_sender *sender = start_sender(NULL);
    struct peer first, second;
    size_t readers = 77;
    peer_attach(sender, &first, "first", 0);
    peer_attach(sender, &second, "second", 0);
    replicate_text(sender, "one");
    replicate_text(sender, "two");
    CHECK_STATUS(sender_wait_acked(sender, 1, RECEIVED, 1, 0, &readers), REPLICATION_STATUS_TIMEOUT);
    CHECK_U64(readers, 0);
    peer_send_ack(&first, 1, "first");
    CHECK_OK(sender_wait_acked(sender, 1, RECEIVED, 1, PATIENCE_MS, &readers));
    CHECK_U64(readers, 1);
    CHECK_OK(sender_wait_acked(sender, 1, RECEIVED, 1, PATIENCE_MS, NULL));
    CHECK_STATUS(sender_wait_acked(sender, 2, RECEIVED, 1, 1, &readers), REPLICATION_STATUS_TIMEOUT);
    CHECK_U64(readers, 0);
    CHECK_ERROR(sender_wait_acked(sender, 1, RECEIVED, 2, 1, &readers), REPLICATION_STATUS_TIMEOUT, "1 of 2");
    CHECK_U64(readers, 1);
    peer_send_ack(&second, 2, "second");
    peer_send_ack(&first, 2, "first");
    CHECK_OK(sender_wait_acked(sender, 2, RECEIVED, 2, PATIENCE_MS, &readers));
    CHECK_U64(readers, 2);
    CHECK_OK(sender_wait_acked(sender, 2, RECEIVED, 0, 0, NULL));
    CHECK_ERROR(sender_wait_acked(sender, 2, 0, 1, 0, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "0");
    CHECK_ERROR(sender_wait_acked(sender, 2, 4, 1, 0, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "4");
    peer_close(&first);
    peer_close(&second);
    sender_free(sender);
}

/* Go failure 9, at the writer: an old reader acknowledges also what it failed to apply. */
TEST(p6_go9_an_ack_of_v1_tells_of_receipt_only)
{
    replication_sender *sender = start_sender(NULL);
    struct peer peer;
    size_t readers = 77;
    peer_attach(sender, &peer, "reader", 0);
    replicate_text(sender, "one");
    peer_send_ack(&peer, 1, "reader");
    CHECK_OK(sender_wait_acked(sender, 1, REPLICATION_ACK_LEVEL_RECEIVED, 1, PATIENCE_MS, NULL));
    for (uint32_t level = REPLICATION_ACK_LEVEL_DURABLE; level <= REPLICATION_ACK_LEVEL_APPLIED; level++) {
        CHECK_STATUS(sender_wait_acked(sender, 1, level, 1, 0, &readers), REPLICATION_STATUS_TIMEOUT);
        CHECK_U64(readers, 0);
    }
    peer_close(&peer);
    sender_free(sender);
}

/* P6: an ack of what was never sent is a lie, and is not believed. */
TEST(p6_an_ack_beyond_what_was_sent_is_not_believed)
{
    replication_sender *sender = start_sender(NULL);
    struct peer peer;
    peer_attach(sender, &peer, "liar", 0);
    replicate_text(sender, "one");
    peer_expect_entry(&peer, 1, "one");
    peer_send_ack(&peer, 1000000, "liar");
    peer_expect_closed(&peer);
    WAIT_UNTIL(sender_reader_count(sender) == 0);
    replicate_text(sender, "two");
    CHECK_STATUS(sender_wait_acked(sender, 2, REPLICATION_ACK_LEVEL_APPLIED, 1, 0, NULL), REPLICATION_STATUS_TIMEOUT);
    sender_free(sender);
}

TEST(statistics_have_the_documented_keys)
{
    static const char *const keys[] = {
        "running",
        "current_sequence",
        "buffer_size",
        "buffer_used",
        "reader_count",
        "readers",
        "total_entries_received",
        "total_entries_dropped",
        "total_entries_sent",
        "total_bytes_sent",
        "readers.0.reader_id",
        "readers.0.last_ack_seq",
        "readers.0.entries_sent",
        "readers.0.bytes_sent",
        "readers.0.last_send_time",
        "readers.0.errors",
        "readers.0.lag",
    };
    replication_sender *sender = start_sender(NULL);
    struct peer peer;
    peer_attach(sender, &peer, "reader \"<1>\"", 0);
    replicate_text(sender, "one");
    replicate_text(sender, "two");
    peer_expect_entry(&peer, 1, "one");
    peer_expect_entry(&peer, 2, "two");
    peer_send_ack(&peer, 1, "reader \"<1>\"");
    CHECK_OK(sender_wait_acked(sender, 1, REPLICATION_ACK_LEVEL_RECEIVED, 1, PATIENCE_MS, NULL));
    char *json = NULL;
    CHECK_OK(sender_stats_json(sender, &json));
    CHECK(json_is_object(json));
    for (size_t i = 0; i < COUNT(keys); i++)
        if (!json_has(json, keys[i]))
            FAIL("%s lacks %s", json, keys[i]);
    CHECK(json_is_true(json, "running"));
    CHECK_U64(json_u64(json, "current_sequence"), 2);
    CHECK_U64(json_u64(json, "buffer_size"), 10000);
    CHECK_U64(json_u64(json, "reader_count"), 1);
    CHECK_U64(json_u64(json, "total_entries_received"), 2);
    CHECK_U64(json_u64(json, "total_entries_dropped"), 0);
    CHECK_U64(json_u64(json, "total_entries_sent"), 2);
    CHECK(json_u64(json, "total_bytes_sent") > 0);
    CHECK_U64(json_u64(json, "readers.0.last_ack_seq"), 1);
    CHECK_U64(json_u64(json, "readers.0.entries_sent"), 2);
    CHECK_U64(json_u64(json, "readers.0.lag"), 1);
    /* RFC 3339: 2006-01-02T15:04:05 and a zone. */
    struct json_object *stats = json_read(json), *sent;
    CHECK(json_find(stats, "readers.0.last_send_time", &sent) && json_object_is_type(sent, json_type_string));
    const char *sent_at = json_object_get_string(sent);
    CHECK(sent_at[4] == '-' && sent_at[7] == '-' && sent_at[10] == 'T' && sent_at[13] == ':');
    json_object_put(stats);
    replication_string_free(json);
    CHECK_INVALID(sender_stats_json(sender, NULL));
    peer_close(&peer);
    CHECK_OK(sender_stop(sender));
    CHECK_OK(sender_stats_json(sender, &json));
    CHECK(!json_is_true(json, "running"));
    replication_string_free(json);
    sender_free(sender);
}

static void *stop_sender(void *sender)
{
    CHECK_OK(sender_stop(sender));
    return NULL;
}

TEST(stop_lets_readers_catch_up)
{
    enum { ENTRIES = 2000 };
    replication_sender *sender = start_sender(NULL);
    struct peer peer;
    peer_attach(sender, &peer, "reader", 0);
    replicate_many(sender, ENTRIES);
    unsigned long stopper = thread_start(stop_sender, sender);
    for (uint64_t sequence = 1; sequence <= ENTRIES; sequence++) {
        char text[32];
        snprintf(text, sizeof text, "entry %llu", (unsigned long long)sequence - 1);
        peer_expect_entry(&peer, sequence, text);
        if (sequence % 100 == 0)
            peer_send_ack(&peer, sequence, "reader");
    }
    peer_drain(&peer);
    thread_join(stopper);
    peer_close(&peer);
    sender_free(sender);
}

TEST(p5_stop_does_not_wait_for_a_reader_that_takes_nothing)
{
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_stop_timeout_ms(config, 100));
    replication_sender *sender = start_sender(config);
    uint8_t *payload = must_alloc(64 * 1024);
    struct peer peer;
    memset(payload, 'x', 64 * 1024);
    peer_attach(sender, &peer, "stuck", 0);
    for (int i = 0; i < 200; i++)
        CHECK_OK(sender_replicate(sender, 1, payload, 64 * 1024, NULL));
    int64_t started = now_ms();
    CHECK_STATUS(sender_stop(sender), REPLICATION_STATUS_TIMEOUT);
    CHECK(now_ms() - started < PATIENCE_MS);
    sender_free(sender);
    peer_close(&peer);
    free(payload);
}

TEST_MAIN(CASE(sequences_count_from_1), CASE(p2_the_last_sequence_of_all_is_not_passed),
          CASE(an_empty_payload_is_an_entry), CASE(bad_payloads_use_no_sequence),
          CASE(a_batch_takes_consecutive_sequences), CASE(a_bad_batch_takes_nothing),
          CASE(many_addresses_can_be_listened_on), CASE(a_unix_socket_has_the_mode_that_was_set),
          CASE(one_sender_alone_listens_at_a_unix_socket), CASE(addresses_that_cannot_be_listened_on_are_named),
          CASE(an_address_in_use_is_named), CASE(wait_acked_counts_readers),
          CASE(p6_go9_an_ack_of_v1_tells_of_receipt_only), CASE(p6_an_ack_beyond_what_was_sent_is_not_believed),
          CASE(statistics_have_the_documented_keys), CASE(stop_lets_readers_catch_up),
          CASE(p5_stop_does_not_wait_for_a_reader_that_takes_nothing))
