#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { SMALL_MESSAGE = 1024 };

void socket_pair(int ends[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        FAIL("socketpair: %s", strerror(errno));
}

static int tcp_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        FAIL("socket: %s", strerror(errno));
    return fd;
}

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

int dial_tcp(uint16_t port)
{
    int fd = tcp_socket();
    struct sockaddr_in address = loopback(port);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        FAIL("connect to port %u: %s", (unsigned)port, strerror(errno));
    return fd;
}

int dial_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    CHECK(strlen(path) < sizeof address.sun_path);
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        FAIL("connect to %s: %s", path, strerror(errno));
    return fd;
}

int listen_local(uint16_t *out_port)
{
    int fd = tcp_socket();
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 16) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        FAIL("listen: %s", strerror(errno));
    *out_port = ntohs(address.sin_port);
    return fd;
}

/* Waits until the descriptor can be read. */
static void wait_readable(int fd, const char *what)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    int ready;
    do {
        ready = poll(&wanted, 1, PATIENCE_MS);
    } while (ready < 0 && errno == EINTR);
    if (ready != 1)
        FAIL("%s: nothing came within %d ms", what, PATIENCE_MS);
}

int accept_one(int listener)
{
    wait_readable(listener, "accept");
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        FAIL("accept: %s", strerror(errno));
    return fd;
}

void peer_open(struct peer *peer, int fd)
{
    *peer = (struct peer){.fd = fd};
}

void peer_close(struct peer *peer)
{
    close(peer->fd);
    free(peer->bytes);
    *peer = (struct peer){.fd = -1};
}

/* Reads what is there; false at the end of the stream (or when the other end reset it). */
static bool receive_more(struct peer *peer)
{
    enum { ROOM = 64 * 1024 };
    if (peer->capacity - peer->len < ROOM) {
        peer->capacity = peer->capacity * 2 + ROOM;
        peer->bytes = realloc(peer->bytes, peer->capacity);
        CHECK(peer->bytes != NULL);
    }
    wait_readable(peer->fd, "peer");
    ssize_t got = recv(peer->fd, peer->bytes + peer->len, peer->capacity - peer->len, 0);
    if (got < 0 && errno != ECONNRESET)
        FAIL("recv: %s", strerror(errno));
    peer->len += got > 0 ? (size_t)got : 0;
    return got > 0;
}

bool peer_read(struct peer *peer, struct message *message)
{
    if (peer->used > 0)
        memmove(peer->bytes, peer->bytes + peer->used, peer->len - peer->used);
    peer->len -= peer->used;
    peer->used = 0;
    for (;;) {
        int32_t status = replication_read_message(peer->bytes, peer->len, &message->type, &message->payload,
                                                  &message->payload_len, &peer->used);
        if (status == REPLICATION_STATUS_OK)
            return true;
        CHECK_STATUS(status, REPLICATION_STATUS_TRUNCATED);
        if (receive_more(peer))
            continue;
        if (peer->len != 0)
            FAIL("the stream ended inside a message, %zu bytes in", peer->len);
        return false;
    }
}

void peer_drain(struct peer *peer)
{
    while (receive_more(peer))
        peer->len = 0;
    peer->len = peer->used = 0;
}

void peer_send(struct peer *peer, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    while (len > 0) {
        ssize_t sent = send(peer->fd, at, len, MSG_NOSIGNAL);
        if (sent < 0)
            FAIL("send: %s", strerror(errno));
        at += sent;
        len -= (size_t)sent;
    }
}

void peer_send_sync(struct peer *peer, const char *reader_id, uint64_t last_known_sequence, bool coordinator)
{
    uint8_t frame[SMALL_MESSAGE];
    size_t len = 0;
    CHECK_OK(replication_write_sync(reader_id, last_known_sequence, coordinator, frame, sizeof frame, &len));
    peer_send(peer, frame, len);
}

void peer_send_sync_ack(struct peer *peer, uint64_t current_sequence, bool can_resume, const char *error)
{
    uint8_t frame[SMALL_MESSAGE];
    size_t len = 0;
    CHECK_OK(replication_write_sync_ack(current_sequence, can_resume, error, false, frame, sizeof frame, &len));
    peer_send(peer, frame, len);
}

void peer_send_entry(struct peer *peer, uint64_t sequence, const char *payload)
{
    uint8_t frame[SMALL_MESSAGE];
    size_t len = 0;
    CHECK_OK(
        replication_write_entry(sequence, 5, (const uint8_t *)payload, strlen(payload), frame, sizeof frame, &len));
    peer_send(peer, frame, len);
}

void peer_send_ack(struct peer *peer, uint64_t sequence, const char *reader_id)
{
    uint8_t frame[SMALL_MESSAGE];
    size_t len = 0;
    CHECK_OK(replication_write_ack(sequence, reader_id, frame, sizeof frame, &len));
    peer_send(peer, frame, len);
}

void peer_send_error(struct peer *peer, const char *code, const char *text)
{
    uint8_t frame[SMALL_MESSAGE];
    size_t len = 0;
    CHECK_OK(replication_write_error(code, text, frame, sizeof frame, &len));
    peer_send(peer, frame, len);
}

/* The next message, which must be of this type. */
static struct message expect(struct peer *peer, uint8_t type)
{
    struct message message;
    if (!peer_read(peer, &message))
        FAIL("the connection closed instead of a message 0x%02x", type);
    if (message.type != type)
        FAIL("message 0x%02x instead of 0x%02x: %.*s", message.type, type, (int)message.payload_len,
             (const char *)message.payload);
    return message;
}

struct sync_ack peer_expect_sync_ack(struct peer *peer, uint8_t type)
{
    struct message message = expect(peer, type);
    struct sync_ack answer = {0};
    size_t error_len = 0;
    CHECK_OK(replication_parse_sync_ack(message.payload, message.payload_len, &answer.current_sequence,
                                        &answer.can_resume, answer.error, sizeof answer.error, &error_len));
    CHECK_U64(strlen(answer.error), error_len);
    return answer;
}

struct sync_ack peer_attach(replication_sender *sender, struct peer *peer, const char *reader_id, uint64_t known)
{
    int ends[2];
    socket_pair(ends);
    peer_open(peer, ends[0]);
    CHECK_OK(sender_accept_connection(sender, ends[1]));
    peer_send_sync(peer, reader_id, known, false);
    return peer_expect_sync_ack(peer, SYNC_ACK);
}

void peer_expect_closed(struct peer *peer)
{
    peer_drain(peer);
    peer_close(peer);
}

uint64_t peer_expect_sync(struct peer *peer, uint8_t type, char *reader_id)
{
    struct message message = expect(peer, type);
    uint64_t last_known = 0;
    size_t id_len = 0;
    CHECK_OK(replication_parse_sync(message.payload, message.payload_len, &last_known, reader_id,
                                    REPLICATION_MAX_READER_ID_BYTES + 1, &id_len));
    return last_known;
}

void peer_expect_entry(struct peer *peer, uint64_t sequence, const char *payload)
{
    struct message message = expect(peer, ENTRY);
    uint64_t got_sequence = 0, timestamp_us = 0;
    uint8_t got[SMALL_MESSAGE];
    size_t got_len = 0;
    CHECK_OK(replication_parse_entry(message.payload, message.payload_len, &got_sequence, &timestamp_us, got,
                                     sizeof got, &got_len));
    CHECK_U64(got_sequence, sequence);
    CHECK_U64(got_len, strlen(payload));
    CHECK(memcmp(got, payload, got_len) == 0);
}

void peer_expect_ack(struct peer *peer, uint64_t sequence, const char *reader_id)
{
    uint64_t acked = 0;
    do {
        struct message message = expect(peer, ACK);
        char id[REPLICATION_MAX_READER_ID_BYTES + 1];
        size_t id_len = 0;
        CHECK_OK(replication_parse_ack(message.payload, message.payload_len, &acked, id, sizeof id, &id_len));
        CHECK_TEXT(id, reader_id);
    } while (acked < sequence);
}

void peer_expect_error(struct peer *peer, const char *code)
{
    struct message message;
    do {
        if (!peer_read(peer, &message))
            FAIL("the connection closed without an Error message %s", code);
    } while (message.type == ENTRY);
    CHECK_U64(message.type, ERROR_MESSAGE);
    char got_code[64], text[512];
    size_t code_len = 0, text_len = 0;
    CHECK_OK(replication_parse_error(message.payload, message.payload_len, got_code, sizeof got_code, &code_len, text,
                                     sizeof text, &text_len));
    CHECK_TEXT(got_code, code);
    CHECK(text_len > 0);
}
