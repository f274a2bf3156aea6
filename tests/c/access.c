/* Access through the C interface: rules, files with rules, and rights that the host's calls give. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"
#include "peer.h"

static const uint32_t READER =
    REPLICATION_RIGHT_READ | REPLICATION_RIGHT_ACK | REPLICATION_RIGHT_SLOT | REPLICATION_RIGHT_HOLD;

/* Writes a file of this test; its path is good until the next call of temp_path(). */
static const char *rules_file(const char *text, mode_t mode)
{
    const char *path = temp_path("access.conf");
    FILE *out = fopen(path, "w");
    CHECK(out != NULL);
    CHECK(fchmod(fileno(out), mode) == 0);
    CHECK(fputs(text, out) >= 0);
    CHECK(fclose(out) == 0);
    return path;
}

/* Connects as a v1 reader over TCP and returns whether the writer lets it follow. */
static bool may_follow(uint16_t port, const char *reader_id)
{
    struct peer peer;
    peer_open(&peer, dial_tcp(port));
    peer_send_sync(&peer, reader_id, 0, false);
    struct sync_ack ack = peer_expect_sync_ack(&peer, SYNC_ACK);
    if (!ack.can_resume)
        CHECK_CONTAINS(ack.error, "NOT_AUTHORIZED: ");
    peer_close(&peer);
    return ack.can_resume;
}

TEST(rules_are_checked_when_they_are_set)
{
    replication_sender_config *config = sender_config_new();
    CHECK_ERROR(sender_config_set_access_rules(NULL, ""), REPLICATION_STATUS_INVALID_ARGUMENT, "config is NULL");
    CHECK_ERROR(sender_config_set_access_rules(config, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "rules");
    CHECK_ERROR(sender_config_set_access_rules(config, "\xff"), REPLICATION_STATUS_INVALID_ARGUMENT, "rules");
    CHECK_ERROR(sender_config_set_access_rules(config, "* * * * read\n* * * r write"),
                REPLICATION_STATUS_INVALID_ARGUMENT, "access rules, line 2, column 9: unknown right \"write\"");
    CHECK_OK(sender_config_set_access_rules(config, "* * * r read"));
    CHECK_OK(sender_config_set_trusted_network(config, true));
    replication_sender *sender = NULL;
    CHECK_ERROR(sender_new(config, &sender), REPLICATION_STATUS_INVALID_ARGUMENT, "trusted_network");
    CHECK_OK(sender_config_set_trusted_network(config, false));
    sender = start_sender(config);
    uint16_t port = listen_tcp(sender);
    CHECK(may_follow(port, "r"));
    CHECK(!may_follow(port, "s"));
    CHECK_ERROR(sender_set_access_rules(sender, "* * * s read\n*"), REPLICATION_STATUS_INVALID_ARGUMENT,
                "line 2, column 1");
    CHECK(!may_follow(port, "s"));
    CHECK_OK(sender_set_access_rules(sender, "* * * s read"));
    CHECK(!may_follow(port, "r"));
    CHECK(may_follow(port, "s"));
    CHECK_STATUS(sender_reload_access_file(sender), REPLICATION_STATUS_INVALID_STATE);
    CHECK_INVALID(sender_set_access_rules(sender, NULL));
    CHECK_OK(sender_stop(sender));
    CHECK_STATUS(sender_set_access_rules(sender, ""), REPLICATION_STATUS_CLOSED);
    sender_free(sender);
}

TEST(a_file_of_rules_is_read_again_on_request)
{
    char path[256];
    snprintf(path, sizeof path, "%s", rules_file("* * * r read\n", 0600));
    replication_sender_config *config = sender_config_new();
    CHECK_ERROR(sender_config_set_access_file(config, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "file");
    CHECK_ERROR(sender_config_set_access_file(config, ""), REPLICATION_STATUS_INVALID_ARGUMENT, "file");
    CHECK_ERROR(sender_config_set_access_file(config, "/nowhere/access.conf"), REPLICATION_STATUS_IO,
                "/nowhere/access.conf");
    CHECK(chmod(path, 0666) == 0);
    CHECK_ERROR(sender_config_set_access_file(config, path), REPLICATION_STATUS_INVALID_ARGUMENT, "chmod go-w");
    CHECK(chmod(path, 0600) == 0);
    CHECK_OK(sender_config_set_access_file(config, path));
    struct events *events = events_new();
    sender_config_listen_to(config, events);
    replication_sender *sender = start_sender(config);
    uint16_t port = listen_tcp(sender);
    struct peer peer;
    peer_open(&peer, dial_tcp(port));
    peer_send_sync(&peer, "r", 0, false);
    CHECK(peer_expect_sync_ack(&peer, SYNC_ACK).can_resume);
    rules_file("* * * s read\n", 0600);
    CHECK(!may_follow(port, "s"));
    CHECK_OK(sender_reload_access_file(sender));
    peer_expect_error(&peer, "NOT_AUTHORIZED");
    peer_close(&peer);
    CHECK(may_follow(port, "s"));
    WAIT_UNTIL(events_with(events, REPLICATION_EVENT_KIND_REFUSED, REPLICATION_STATUS_NOT_AUTHORIZED) > 0);
    CHECK(unlink(path) == 0);
    CHECK_STATUS(sender_reload_access_file(sender), REPLICATION_STATUS_IO);
    CHECK(may_follow(port, "s"));
    CHECK_INVALID(sender_reload_access_file(NULL));
    sender_free(sender);
    events_free(events);
}

/* The host knows better than the rules what a connection may do that it hands over. */
TEST(a_call_gives_rights)
{
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_access_rules(config, "* * * * deny"));
    replication_sender *sender = start_sender(config);
    replicate_text(sender, "one");
    int ends[2];
    socket_pair(ends);
    const uint32_t wrong[] = {REPLICATION_RIGHT_ACK, REPLICATION_RIGHT_SLOT, 64, UINT32_MAX};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        CHECK_INVALID(sender_accept_connection_with_rights(sender, ends[1], wrong[i]));
        CHECK_INVALID(sender_accept_reader_with_rights(sender, ends[1], "r", 0, wrong[i]));
        CHECK(descriptor_is_open(ends[1]));
    }
    CHECK_STATUS(sender_accept_connection_with_rights(sender, -1, READER), REPLICATION_STATUS_BAD_DESCRIPTOR);
    CHECK_INVALID(sender_accept_reader_with_rights(sender, ends[1], NULL, 0, READER));
    CHECK_OK(sender_accept_connection_with_rights(sender, ends[1], REPLICATION_RIGHT_READ));
    CHECK(!descriptor_is_open(ends[1]));
    struct peer reads;
    peer_open(&reads, ends[0]);
    peer_send_sync(&reads, "reads", 0, false);
    CHECK(peer_expect_sync_ack(&reads, SYNC_ACK).can_resume);
    peer_expect_entry(&reads, 1, "one");
    peer_send_ack(&reads, 1, "reads");

    socket_pair(ends);
    CHECK_OK(sender_accept_reader_with_rights(sender, ends[1], "acks", 0, READER));
    struct peer acks;
    peer_open(&acks, ends[0]);
    CHECK(peer_expect_sync_ack(&acks, SYNC_ACK).can_resume);
    peer_expect_entry(&acks, 1, "one");
    peer_send_ack(&acks, 1, "acks");
    size_t readers = 0;
    CHECK_OK(sender_wait_acked(sender, 1, REPLICATION_ACK_LEVEL_RECEIVED, 1, 10000, &readers));
    CHECK_STATUS(sender_wait_acked(sender, 1, REPLICATION_ACK_LEVEL_RECEIVED, 2, 50, &readers),
                 REPLICATION_STATUS_TIMEOUT);

    socket_pair(ends);
    CHECK_OK(sender_accept_connection(sender, ends[1]));
    struct peer ruled;
    peer_open(&ruled, ends[0]);
    peer_send_sync(&ruled, "ruled", 0, false);
    CHECK(!peer_expect_sync_ack(&ruled, SYNC_ACK).can_resume);
    peer_close(&ruled);
    peer_close(&reads);
    peer_close(&acks);
    sender_free(sender);
}

TEST(a_writer_is_who_it_is_expected_to_be)
{
    replication_sender *sender = start_sender(NULL);
    struct inbox *inbox = inbox_new();
    struct events *events = events_new();
    replication_receiver_config *config = receiver_config_for("reader", tcp_address(listen_tcp(sender)), inbox);
    CHECK_ERROR(receiver_config_set_writer_identity(NULL, "uid:0"), REPLICATION_STATUS_INVALID_ARGUMENT, "config");
    CHECK_ERROR(receiver_config_set_writer_identity(config, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "identity");
    CHECK_ERROR(receiver_config_set_writer_identity(config, "uid:0 uid:root"), REPLICATION_STATUS_INVALID_ARGUMENT,
                "writer_identity, column 7");
    CHECK_OK(receiver_config_set_writer_identity(config, "certificate uid:0"));
    receiver_config_listen_to(config, events);
    replication_receiver *receiver = start_receiver(config);
    WAIT_UNTIL(events_with(events, REPLICATION_EVENT_KIND_REFUSED, REPLICATION_STATUS_NOT_AUTHORIZED) > 0);
    CHECK(!receiver_is_connected(receiver));
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
    events_free(events);
}

/* What a host remembers that is asked about connections. */
struct asked {
    replication_sender *sender;
    _Atomic uint64_t ticket;
    _Atomic bool freed;
};

static void authorize(void *user_data, const replication_access_request *request)
{
    struct asked *asked = user_data;
    CHECK_U64(request->struct_size, sizeof *request);
    CHECK_TEXT(request->identity, "none");
    CHECK_CONTAINS(request->address, "127.0.0.1:");
    CHECK(request->stream_id == NULL && !request->tls && !request->handed);
    CHECK_U64(request->sequence, 0);
    CHECK((request->rights & READER) == READER);
    if (strcmp(request->reader_id, "now") == 0)
        CHECK_OK(sender_authorize(asked->sender, request->ticket, READER, NULL));
    else if (strcmp(request->reader_id, "never") == 0)
        CHECK_OK(sender_authorize(asked->sender, request->ticket, 0, "it is not in the list"));
    else
        asked->ticket = request->ticket;
}

static void asked_free(void *user_data)
{
    ((struct asked *)user_data)->freed = true;
}

TEST(a_host_decides_at_once_or_later)
{
    struct asked asked = {NULL, 0, false};
    struct events *events = events_new();
    replication_sender_config *config = sender_config_new();
    CHECK_INVALID(sender_config_set_authorize_handler(NULL, authorize, NULL, NULL));
    CHECK_OK(sender_config_set_authorize_handler(config, authorize, &asked, asked_free));
    sender_config_listen_to(config, events);
    replication_sender *sender = asked.sender = start_sender(config);
    uint16_t port = listen_tcp(sender);
    CHECK(may_follow(port, "now"));
    CHECK(!may_follow(port, "never"));
    CHECK_CONTAINS(events_wait(events, REPLICATION_EVENT_KIND_REFUSED).message, "it is not in the list");
    struct peer peer;
    peer_open(&peer, dial_tcp(port));
    peer_send_sync(&peer, "later", 0, false);
    WAIT_UNTIL(asked.ticket != 0);
    CHECK_U64(sender_stat(sender, "pending_authorizations"), 1);
    CHECK_INVALID(sender_authorize(sender, asked.ticket, REPLICATION_RIGHT_ACK, NULL));
    CHECK_INVALID(sender_authorize(sender, asked.ticket, 0, "\xff"));
    CHECK_OK(sender_authorize(sender, asked.ticket, REPLICATION_RIGHT_READ, NULL));
    CHECK(peer_expect_sync_ack(&peer, SYNC_ACK).can_resume);
    peer_close(&peer);
    CHECK_STATUS(sender_authorize(sender, asked.ticket, READER, NULL), REPLICATION_STATUS_NOT_FOUND);
    CHECK_OK(sender_stop(sender));
    CHECK_STATUS(sender_authorize(sender, 1, READER, NULL), REPLICATION_STATUS_CLOSED);
    sender_free(sender);
    CHECK(asked.freed);
    events_free(events);
    sender = start_sender(NULL);
    CHECK_STATUS(sender_authorize(sender, 1, READER, NULL), REPLICATION_STATUS_INVALID_STATE);
    sender_free(sender);
}

TEST_MAIN(CASE(a_host_decides_at_once_or_later), CASE(a_writer_is_who_it_is_expected_to_be),
          CASE(rules_are_checked_when_they_are_set), CASE(a_file_of_rules_is_read_again_on_request),
          CASE(a_call_gives_rights))
