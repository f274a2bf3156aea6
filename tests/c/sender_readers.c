/* The part of a sender that takes readers: descriptors, handshakes, and who may come, stay and come back.
 * The readers are this test itself, in v1. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host.h"
#include "peer.h"

TEST(descriptors_are_taken_with_ok_only)
{
    replication_sender *sender = start_sender(NULL);
    int ends[2], pipe_ends[2], lonely = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int datagram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uint16_t port = 0;
    int listener = listen_local(&port);
    CHECK(pipe2(pipe_ends, O_CLOEXEC) == 0);
    socket_pair(ends);
    const int wrong[] = {pipe_ends[0], lonely, datagram, file, listener};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        CHECK(wrong[i] >= 0);
        CHECK_STATUS(sender_accept_connection(sender, wrong[i]), REPLICATION_STATUS_BAD_DESCRIPTOR);
        CHECK(descriptor_is_open(wrong[i]));
        CHECK_STATUS(sender_accept_reader(sender, wrong[i], "reader", 0), REPLICATION_STATUS_BAD_DESCRIPTOR);
        CHECK(descriptor_is_open(wrong[i]));
        close(wrong[i]);
    }
    close(pipe_ends[1]);
    CHECK_ERROR(sender_accept_connection(sender, -1), REPLICATION_STATUS_BAD_DESCRIPTOR, "-1");
    CHECK_ERROR(sender_accept_connection(sender, file), REPLICATION_STATUS_BAD_DESCRIPTOR, "fd");
    CHECK_ERROR(sender_accept_reader(sender, 100000, "reader", 0), REPLICATION_STATUS_BAD_DESCRIPTOR, "100000");
    CHECK_INVALID(sender_accept_reader(sender, ends[1], NULL, 0));
    CHECK_INVALID(sender_accept_reader(sender, ends[1], "", 0));
    CHECK_INVALID(sender_accept_reader(sender, ends[1], "bad\xff", 0));
    char id[300];
    memset(id, 'x', sizeof id);
    id[256] = '\0';
    CHECK_INVALID(sender_accept_reader(sender, ends[1], id, 0));
    CHECK(descriptor_is_open(ends[1]));
    CHECK_OK(sender_accept_reader(sender, ends[1], "reader", 0));
    CHECK(!descriptor_is_open(ends[1]));
    sender_free(sender);
    close(ends[0]);
}

/* Where there is no other descriptor to be had, it is not this one that is wrong. */
TEST(a_good_descriptor_is_not_blamed_when_there_are_no_more)
{
    replication_sender *sender = start_sender(NULL);
    int ends[2];
    socket_pair(ends);
    struct rlimit before;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    const int next = dup(ends[0]);
    CHECK(next >= 0 && close(next) == 0);
    const struct rlimit none_left = {(rlim_t)next, before.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &none_left) == 0);
    CHECK_ERROR(sender_accept_connection(sender, ends[1]), REPLICATION_STATUS_IO, "Too many open files");
    CHECK_ERROR(sender_accept_reader(sender, ends[1], "reader", 0), REPLICATION_STATUS_IO, "Too many open files");
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(descriptor_is_open(ends[1]));
    CHECK_OK(sender_accept_reader(sender, ends[1], "reader", 0));
    sender_free(sender);
    close(ends[0]);
}

/* The host has read the Sync; the sender answers it and streams. */
TEST(accept_reader_answers_a_sync_that_the_host_read)
{
    replication_sender *sender = start_sender(NULL);
    int ends[2];
    replicate_text(sender, "one");
    replicate_text(sender, "two");
    socket_pair(ends);
    struct peer peer;
    peer_open(&peer, ends[0]);
    CHECK_OK(sender_accept_reader(sender, ends[1], "reader", 1));
    struct sync_ack answer = peer_expect_sync_ack(&peer, SYNC_ACK);
    CHECK_TEXT(answer.error, "");
    CHECK(answer.can_resume);
    CHECK_U64(answer.current_sequence, 2);
    peer_expect_entry(&peer, 2, "two");
    replicate_text(sender, "three");
    peer_expect_entry(&peer, 3, "three");
    peer_send_ack(&peer, 3, "reader");
    CHECK_OK(sender_wait_acked(sender, 3, REPLICATION_ACK_LEVEL_RECEIVED, 1, PATIENCE_MS, NULL));
    CHECK_U64(sender_stat(sender, "readers.0.last_ack_seq"), 3);
    peer_close(&peer);
    WAIT_UNTIL(sender_reader_count(sender) == 0);
    sender_free(sender);
}

TEST(both_v1_handshakes_are_answered_in_kind)
{
    replication_sender *sender = start_sender(NULL);
    replicate_text(sender, "one");
    for (int coordinator = 0; coordinator <= 1; coordinator++) {
        int ends[2];
        struct peer peer;
        socket_pair(ends);
        peer_open(&peer, ends[0]);
        CHECK_OK(sender_accept_connection(sender, ends[1]));
        CHECK(!descriptor_is_open(ends[1]));
        peer_send_sync(&peer, "reader", 0, coordinator == 1);
        struct sync_ack answer = peer_expect_sync_ack(&peer, coordinator == 1 ? 0x11 : SYNC_ACK);
        CHECK(answer.can_resume && answer.current_sequence == 1);
        peer_expect_entry(&peer, 1, "one");
        peer_close(&peer);
    }
    sender_free(sender);
}

/* Go failure 2: can_resume is the truth, and then the entries come. */
TEST(go2_can_resume_is_true_only_when_every_entry_follows)
{
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_buffer_size(config, 10));
    replication_sender *sender = start_sender(config);
    replicate_many(sender, 100);
    struct peer peer;
    struct sync_ack answer = peer_attach(sender, &peer, "near", 95);
    CHECK(answer.can_resume);
    peer_expect_entry(&peer, 96, "entry 95");
    peer_expect_entry(&peer, 97, "entry 96");
    peer_close(&peer);
    answer = peer_attach(sender, &peer, "at the end", 100);
    CHECK(answer.can_resume);
    replicate_text(sender, "next");
    peer_expect_entry(&peer, 101, "next");
    peer_close(&peer);
    answer = peer_attach(sender, &peer, "far", 3);
    CHECK(!answer.can_resume);
    peer_expect_closed(&peer);
    answer = peer_attach(sender, &peer, "new", 0);
    CHECK(!answer.can_resume);
    peer_expect_closed(&peer);
    answer = peer_attach(sender, &peer, "from the future", 5000);
    CHECK(!answer.can_resume);
    peer_expect_closed(&peer);
    sender_free(sender);
}

/* Go failure 6: the old connection's end does not take the new one away. */
TEST(go6_a_reader_that_reconnects_keeps_its_new_connection)
{
    struct events *events = events_new();
    replication_sender_config *config = sender_config_new();
    sender_config_listen_to(config, events);
    replication_sender *sender = start_sender(config);
    struct peer peers[2];
    peer_attach(sender, &peers[0], "reader", 0);
    replicate_text(sender, "one");
    peer_expect_entry(&peers[0], 1, "one");
    for (uint64_t round = 1; round <= 20; round++) {
        struct peer *old = &peers[(round + 1) % 2], *new = &peers[round % 2];
        CHECK(peer_attach(sender, new, "reader", round).can_resume);
        peer_expect_closed(old);
        WAIT_UNTIL(events_with(events, REPLICATION_EVENT_KIND_DISCONNECTED, REPLICATION_STATUS_REPLACED) == round);
        CHECK_U64(sender_reader_count(sender), 1);
        replicate_text(sender, "next");
        peer_expect_entry(new, round + 1, "next");
    }
    peer_close(&peers[0]);
    sender_free(sender);
    events_free(events);
}

TEST(a_removed_reader_is_told_and_may_come_back)
{
    struct events *events = events_new();
    replication_sender_config *config = sender_config_new();
    sender_config_listen_to(config, events);
    replication_sender *sender = start_sender(config);
    struct peer peer, other;
    peer_attach(sender, &peer, "reader", 0);
    peer_attach(sender, &other, "other", 0);
    CHECK_U64(sender_reader_count(sender), 2);
    CHECK_ERROR(sender_remove_reader(sender, "nobody"), REPLICATION_STATUS_NOT_FOUND, "nobody");
    CHECK_INVALID(sender_remove_reader(sender, NULL));
    CHECK_INVALID(sender_remove_reader(sender, ""));
    CHECK_INVALID(sender_remove_reader(sender, "\xff"));
    CHECK_OK(sender_remove_reader(sender, "reader"));
    peer_expect_closed(&peer);
    WAIT_UNTIL(sender_reader_count(sender) == 1);
    WAIT_UNTIL(events_with(events, REPLICATION_EVENT_KIND_DISCONNECTED, REPLICATION_STATUS_REMOVED) == 1);
    CHECK_TEXT(events_wait(events, REPLICATION_EVENT_KIND_DISCONNECTED).reader_id, "reader");
    CHECK_STATUS(sender_remove_reader(sender, "reader"), REPLICATION_STATUS_NOT_FOUND);
    CHECK(peer_attach(sender, &peer, "reader", 0).can_resume);
    replicate_text(sender, "one");
    peer_expect_entry(&peer, 1, "one");
    peer_expect_entry(&other, 1, "one");
    peer_close(&peer);
    peer_close(&other);
    sender_free(sender);
    events_free(events);
}

/* Go failure 11: a reader that asks a node that is not the writer is told so. */
TEST(go11_a_node_that_is_not_the_writer_says_so)
{
    struct events *events = events_new();
    replication_sender_config *config = sender_config_new();
    sender_config_listen_to(config, events);
    replication_sender *sender = start_sender(config);
    struct peer peer;
    int ends[2];
    CHECK_OK(sender_set_writable(sender, false));
    struct sync_ack answer = peer_attach(sender, &peer, "reader", 0);
    CHECK_CONTAINS(answer.error, "not the writer");
    CHECK(!answer.can_resume);
    peer_expect_closed(&peer);
    struct seen_event refused = events_wait(events, REPLICATION_EVENT_KIND_REFUSED);
    CHECK_U64(refused.status, REPLICATION_STATUS_NOT_WRITER);
    CHECK_TEXT(refused.reader_id, "reader");
    socket_pair(ends);
    CHECK_OK(sender_accept_reader(sender, ends[1], "reader", 0));
    peer_open(&peer, ends[0]);
    CHECK_CONTAINS(peer_expect_sync_ack(&peer, SYNC_ACK).error, "not the writer");
    peer_expect_closed(&peer);
    CHECK_STATUS(sender_replicate(sender, 1, (const uint8_t *)"x", 1, NULL), REPLICATION_STATUS_NOT_WRITER);
    CHECK_OK(sender_set_writable(sender, true));
    socket_pair(ends);
    CHECK_OK(sender_accept_reader(sender, ends[1], "reader", 0));
    peer_open(&peer, ends[0]);
    CHECK_TEXT(peer_expect_sync_ack(&peer, SYNC_ACK).error, "");
    peer_close(&peer);
    sender_free(sender);
    events_free(events);
}

TEST(p5_readers_over_the_limit_are_refused)
{
    struct events *events = events_new();
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_max_readers(config, 2));
    sender_config_listen_to(config, events);
    replication_sender *sender = start_sender(config);
    struct peer first, second, third;
    CHECK_TEXT(peer_attach(sender, &first, "first", 0).error, "");
    CHECK_TEXT(peer_attach(sender, &second, "second", 0).error, "");
    CHECK(strlen(peer_attach(sender, &third, "third", 0).error) > 0);
    peer_expect_closed(&third);
    CHECK_TEXT(events_wait(events, REPLICATION_EVENT_KIND_REFUSED).reader_id, "third");
    CHECK_U64(sender_reader_count(sender), 2);
    /* The place of one that left, and of one that comes back, is free. */
    CHECK_TEXT(peer_attach(sender, &third, "second", 0).error, "");
    peer_expect_closed(&second);
    peer_close(&first);
    WAIT_UNTIL(sender_reader_count(sender) == 1);
    CHECK_TEXT(peer_attach(sender, &first, "fourth", 0).error, "");
    peer_close(&first);
    peer_close(&third);
    sender_free(sender);
    events_free(events);
}

#define RAW(bytes)                                                                                                     \
    {                                                                                                                  \
        bytes, sizeof bytes - 1                                                                                        \
    }

TEST(p8_bytes_that_are_no_handshake_close_the_connection_only)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        RAW("\0\0\0\0"),                                       /* length 0 */
        RAW("\xff\xff\xff\xff\x12"),                           /* over the limit */
        RAW("\0\x10\0\x02\x12"),                               /* over what a handshake may have */
        RAW("\0\0\0\x03\x12{}"),                               /* no reader id */
        RAW("\0\0\0\x11\x12{\"reader_id\":\"\"}"),             /* an empty one */
        RAW("\0\0\0\x1c\x12{\"reader_id\":\"nul\\u0000id\"}"), /* one with a NUL */
        RAW("\0\0\0\x05\x12nope"),                             /* no JSON */
        RAW("\0\0\0\x03\x1f{}"),                               /* another message */
        RAW("GET / HTTP/1.1\r\nHost: writer\r\n\r\n"),
    };
    struct events *events = events_new();
    replication_sender_config *config = sender_config_new();
    sender_config_listen_to(config, events);
    replication_sender *sender = start_sender(config);
    struct peer good;
    peer_attach(sender, &good, "good", 0);
    for (size_t i = 0; i < COUNT(bad); i++) {
        int ends[2];
        struct peer peer;
        socket_pair(ends);
        CHECK_OK(sender_accept_connection(sender, ends[1]));
        peer_open(&peer, ends[0]);
        peer_send(&peer, bad[i].bytes, bad[i].len);
        peer_expect_closed(&peer);
    }
    WAIT_UNTIL(events_count(events, REPLICATION_EVENT_KIND_PROTOCOL_ERROR) +
                   events_count(events, REPLICATION_EVENT_KIND_REFUSED) >=
               COUNT(bad));
    replicate_text(sender, "still here");
    peer_expect_entry(&good, 1, "still here");
    CHECK_U64(sender_reader_count(sender), 1);
    peer_close(&good);
    sender_free(sender);
    events_free(events);
}

TEST(p5_a_handshake_has_a_time_limit)
{
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_handshake_timeout_ms(config, 200));
    replication_sender *sender = start_sender(config);
    int ends[2];
    struct peer silent, slow;
    socket_pair(ends);
    CHECK_OK(sender_accept_connection(sender, ends[1]));
    peer_open(&silent, ends[0]);
    socket_pair(ends);
    CHECK_OK(sender_accept_connection(sender, ends[1]));
    peer_open(&slow, ends[0]);
    peer_send(&slow, "\0\0\0\x40\x12{\"reader_id\":", 17); /* begun and never ended */
    peer_expect_closed(&silent);
    peer_expect_closed(&slow);
    sender_free(sender);
}

TEST_MAIN(CASE(descriptors_are_taken_with_ok_only), CASE(a_good_descriptor_is_not_blamed_when_there_are_no_more),
          CASE(accept_reader_answers_a_sync_that_the_host_read), CASE(both_v1_handshakes_are_answered_in_kind),
          CASE(go2_can_resume_is_true_only_when_every_entry_follows),
          CASE(go6_a_reader_that_reconnects_keeps_its_new_connection), CASE(a_removed_reader_is_told_and_may_come_back),
          CASE(go11_a_node_that_is_not_the_writer_says_so), CASE(p5_readers_over_the_limit_are_refused),
          CASE(p8_bytes_that_are_no_handshake_close_the_connection_only), CASE(p5_a_handshake_has_a_time_limit))
