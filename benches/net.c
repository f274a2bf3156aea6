#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

enum { FRAME_HEADER = 5, FRAME_SYNC = 0x12, FRAME_SYNC_ACK = 0x13 };

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* Not paced, where a system's congestion control does that: libreplication's are not either within a host. Without this
 * algorithm, the system's is measured. */
static int stream_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        bench_fail("socket: %s", strerror(errno));
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno"));
    return fd;
}

int net_listen(uint16_t *out_port)
{
    int fd = stream_socket();
    struct sockaddr_in address = loopback(0);
    socklen_t len = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, SOMAXCONN) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        bench_fail("listen: %s", strerror(errno));
    }
    *out_port = ntohs(address.sin_port);
    return fd;
}

int net_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        bench_fail("accept: %s", strerror(errno));
    }
    return fd;
}

int net_connect(uint16_t port)
{
    int fd = stream_socket();
    struct sockaddr_in address = loopback(port);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        bench_fail("connect to port %u: %s", (unsigned)port, strerror(errno));
    }
    return fd;
}

void net_set_nodelay(int fd)
{
    int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        bench_fail("TCP_NODELAY: %s", strerror(errno));
    }
}

void net_write_all(int fd, const void *data, size_t len)
{
    const char *next = data;
    while (len > 0) {
        ssize_t written = send(fd, next, len, MSG_NOSIGNAL);
        if (written < 0) {
            if (errno == EINTR) {
                continue;
            }
            bench_fail("send: %s", strerror(errno));
        }
        next += written;
        len -= (size_t)written;
    }
}

void net_read_all(int fd, void *data, size_t len)
{
    char *next = data;
    while (len > 0) {
        ssize_t count = recv(fd, next, len, 0);
        if (count < 0) {
            if (errno == EINTR) {
                continue;
            }
            bench_fail("recv: %s", strerror(errno));
        }
        if (count == 0) {
            bench_fail("the peer closed the connection");
        }
        next += count;
        len -= (size_t)count;
    }
}

void net_raise_descriptor_limit(unsigned needed)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        bench_fail("getrlimit: %s", strerror(errno));
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        bench_fail("setrlimit: %s", strerror(errno));
    }
    if (limit.rlim_cur < needed) {
        bench_fail("%u open files are needed, the hard limit is %llu (see ulimit -Hn)", needed,
                   (unsigned long long)limit.rlim_cur);
    }
}

void net_sync(int fd, const char *reader_id, int v2)
{
    uint8_t frame[4096];
    char *json = (char *)frame + FRAME_HEADER;
    int len = snprintf(json, sizeof frame - FRAME_HEADER, "{\"reader_id\":\"%s\",\"last_known_seq\":0%s}", reader_id,
                       v2 ? ",\"v2\":{\"version\":1,\"epoch\":0,\"heartbeat_ms\":1000}" : "");
    if (len < 0 || (size_t)len >= sizeof frame - FRAME_HEADER) {
        bench_fail("reader id too long: %s", reader_id);
    }
    uint32_t length = htonl((uint32_t)len + 1);
    memcpy(frame, &length, sizeof length);
    frame[4] = FRAME_SYNC;
    net_write_all(fd, frame, FRAME_HEADER + (size_t)len);

    net_read_all(fd, frame, FRAME_HEADER);
    memcpy(&length, frame, sizeof length);
    length = ntohl(length);
    uint8_t type = frame[4];
    if (length < 1 || length > sizeof frame) {
        bench_fail("handshake: a frame of %u bytes", (unsigned)length);
    }
    net_read_all(fd, frame, length - 1);
    frame[length - 1] = '\0';
    if (type != FRAME_SYNC_ACK || strstr((char *)frame, "\"error\":\"") != NULL) {
        bench_fail("handshake: frame 0x%02x: %s", (unsigned)type, (char *)frame);
    }
    if (v2 && strstr((char *)frame, "\"v2\"") == NULL) {
        bench_fail("handshake: the writer did not choose v2: %s", (char *)frame);
    }
}
