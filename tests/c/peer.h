/* The other end of a connection, spoken by the test itself: plain sockets and v1 messages. */
#ifndef REPLICATION_TESTS_PEER_H
#define REPLICATION_TESTS_PEER_H

#include "harness.h"

enum { ENTRY = 0x10, ACK = 0x11, SYNC = 0x12, SYNC_ACK = 0x13, ERROR_MESSAGE = 0x1F };

void socket_pair(int ends[2]);
int dial_tcp(uint16_t port);
int dial_unix(const char *path);
int listen_local(uint16_t *out_port); /* a listening TCP socket of the test's own */
int accept_one(int listener);

struct peer {
    int fd;
    uint8_t *bytes;
    size_t len, capacity, used; /* `used` bytes at the front are of the message read last */
};
struct message {
    uint8_t type;
    const uint8_t *payload; /* good until the next read */
    size_t payload_len;
};
void peer_open(struct peer *peer, int fd); /* takes fd */
void peer_close(struct peer *peer);
/* The next message; false when the other end has closed between two messages. */
bool peer_read(struct peer *peer, struct message *message);
/* Reads and drops everything until the other end closes. */
void peer_drain(struct peer *peer);
void peer_send(struct peer *peer, const void *bytes, size_t len);

void peer_send_sync(struct peer *peer, const char *reader_id, uint64_t last_known_sequence, bool coordinator);
void peer_send_sync_ack(struct peer *peer, uint64_t current_sequence, bool can_resume, const char *error);
void peer_send_entry(struct peer *peer, uint64_t sequence, const char *payload);
void peer_send_ack(struct peer *peer, uint64_t sequence, const char *reader_id);
void peer_send_error(struct peer *peer, const char *code, const char *text);

struct sync_ack {
    uint64_t current_sequence;
    bool can_resume;
    char error[256];
};
struct sync_ack peer_expect_sync_ack(struct peer *peer, uint8_t type);
/* A v1 reader on a socketpair, up to the answer to its Sync. */
struct sync_ack peer_attach(replication_sender *sender, struct peer *peer, const char *reader_id, uint64_t known);
/* The other end closes: reads until it does, and closes this one. */
void peer_expect_closed(struct peer *peer);
/* The reader id is written to `reader_id` (at least 256 bytes); returns the last known sequence. */
uint64_t peer_expect_sync(struct peer *peer, uint8_t type, char *reader_id);
void peer_expect_entry(struct peer *peer, uint64_t sequence, const char *payload);
/* Reads until an ack of at least this sequence comes. */
void peer_expect_ack(struct peer *peer, uint64_t sequence, const char *reader_id);
/* Reads on, over entries, until an Error message with this code comes. */
void peer_expect_error(struct peer *peer, const char *code);

#endif
