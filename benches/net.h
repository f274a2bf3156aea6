/* Blocking TCP sockets on the loopback interface, and the raw side of the replication handshake. */
#ifndef BENCH_NET_H
#define BENCH_NET_H

#include <stddef.h>
#include <stdint.h>

/* All of them end the process on failure. */
int net_listen(uint16_t *out_port);
int net_accept(int listener);
int net_connect(uint16_t port);
void net_set_nodelay(int fd);
void net_write_all(int fd, const void *data, size_t len);
void net_read_all(int fd, void *data, size_t len);
/* Lets the process open as many descriptors as the system permits; fails when that is fewer than `needed`. */
void net_raise_descriptor_limit(unsigned needed);

/* Sends Sync (frame 0x12) and reads exactly the SyncAck (0x13), so that what follows stays in the socket.
 * `v2` offers the binary stream. Ends the process when the writer refuses. */
void net_sync(int fd, const char *reader_id, int v2);

#endif
