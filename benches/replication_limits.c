/* libreplication at its limits: the time of one sender_replicate call beside a reader that reads nothing, and the
 * memory of a writer with very many readers. The readers here are raw sockets that do the handshake and nothing more.
 *
 * Variants of the call: "stalled" (the reader stays attached: the buffer holds all that is measured), "cut-off" (the
 * default buffer: the reader is cut off on the way and the buffer goes round), "no-reader". */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "clock.h"
#include "control.h"
#include "histogram.h"
#include "net.h"
#include "replication_side.h"

enum {
    STALL_WARM_UP_BYTES = 16 << 20, /* more than the sockets between the two processes hold */
    STALL_CALLS = 400000,
    STALL_TIMEOUT_MS = 10000,
    MEMORY_BUFFER_BYTES = 64 << 20,
    MEMORY_TIMEOUT_MS = 120000,
};

static uint64_t bytes_sent(const replication_sender *sender)
{
    static const char key[] = "\"total_bytes_sent\":";
    char *json;
    replication_check(sender_stats_json(sender, &json), "sender_stats_json");
    const char *value = strstr(json, key);
    if (value == NULL) {
        bench_fail("no total_bytes_sent in %s", json);
    }
    uint64_t bytes = strtoull(value + sizeof key - 1, NULL, 10);
    replication_string_free(json);
    return bytes;
}

/* Fills the sockets: stalled is a reader to which nothing more has gone for 100 ms although there is more. */
static void stall(replication_sender *sender, const uint8_t *payload, size_t size)
{
    for (size_t sent = 0; sent < STALL_WARM_UP_BYTES; sent += size) {
        replication_send(sender, payload, size, NULL);
    }
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)STALL_TIMEOUT_MS * 1000000;
    uint64_t before;
    uint64_t now = bytes_sent(sender);
    do {
        if (clock_now_ns() > deadline_ns) {
            bench_fail("the reader does not stall: %llu bytes sent", (unsigned long long)now);
        }
        before = now;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        now = bytes_sent(sender);
    } while (now != before || now == 0);
    if (now >= STALL_WARM_UP_BYTES) {
        bench_fail("the sockets took all of the %llu bytes", (unsigned long long)now);
    }
}

void replication_write_stalled(const struct bench_job *job)
{
    bool attached = strcmp(job->variant, "stalled") == 0;
    replication_sender_config *config = replication_config_new(job);
    if (attached) {
        replication_check(sender_config_set_buffer_size(config, STALL_CALLS + STALL_WARM_UP_BYTES / job->size),
                          "buffer_size");
        replication_check(
            sender_config_set_buffer_bytes(config, (STALL_CALLS * (job->size + 64) + 2 * STALL_WARM_UP_BYTES)),
            "buffer_bytes");
    }
    replication_sender *sender = replication_serve(config);
    uint8_t *payload = bench_alloc(job->size);
    struct histogram *histogram = histogram_new();
    double ns_per_tick = clock_calibrate();
    uint64_t overhead = clock_overhead_ticks();
    if (job->readers > 0) {
        replication_wait_readers(sender, job->readers);
    }
    if (attached) {
        stall(sender, payload, job->size);
    }
    control_say("ready");
    control_expect("go");
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)(job->seconds * 1e9);
    while (attached ? histogram->count < STALL_CALLS : clock_now_ns() < deadline_ns) {
        for (unsigned i = 0; i < 64; i++) {
            uint64_t begin = clock_ticks_begin();
            replication_status status = sender_replicate(sender, 0, payload, job->size, NULL);
            histogram_add(histogram, clock_ticks_end() - begin);
            replication_check(status, "sender_replicate");
        }
    }
    if (attached && sender_reader_count(sender) != job->readers) {
        bench_fail("the stalled reader was cut off while the calls were measured");
    }
    histogram_report(histogram, ns_per_tick, overhead);
    control_expect("quit");
    /* The reader never takes the rest: the time that stop grants it may pass. */
    replication_status status = sender_stop(sender);
    if (status != REPLICATION_STATUS_TIMEOUT) {
        replication_check(status, "sender_stop");
    }
    sender_free(sender);
    histogram_free(histogram);
    free(payload);
}

void replication_read_stalled(const struct bench_job *job)
{
    int fd = -1;
    if (job->readers > 0) {
        fd = net_connect(job->port);
        net_sync(fd, "stalled", 0);
    }
    control_say("ready");
    control_say("result");
    control_expect("quit");
    if (fd >= 0) {
        close(fd);
    }
}

/* One of the kB values of /proc/self/status. */
static uint64_t memory_bytes(const char *key)
{
    char line[256];
    unsigned long long kilobytes;
    size_t len = strlen(key);
    FILE *status = fopen("/proc/self/status", "re");
    if (status == NULL) {
        bench_fail("/proc/self/status: %s", strerror(errno));
    }
    while (fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, key, len) == 0 && sscanf(line + len, ": %llu kB", &kilobytes) == 1) {
            fclose(status);
            return kilobytes * 1024;
        }
    }
    bench_fail("no %s in /proc/self/status", key);
}

void replication_write_memory(const struct bench_job *job)
{
    net_raise_descriptor_limit(job->readers + 64);
    uint64_t buffer = job->buffer_bytes > 0 ? job->buffer_bytes : MEMORY_BUFFER_BYTES;
    replication_sender_config *config = replication_config_new(job);
    if (job->buffer_entries == 0) {
        /* The bound in bytes is the one to reach. */
        replication_check(sender_config_set_buffer_size(config, 1 << 20), "buffer_size");
    }
    replication_check(sender_config_set_buffer_bytes(config, buffer), "buffer_bytes");
    replication_check(sender_config_set_full_policy(config, REPLICATION_FULL_POLICY_WAIT, MEMORY_TIMEOUT_MS),
                      "full_policy");
    replication_check(sender_config_set_max_readers(config, job->readers), "max_readers");
    /* The readers never speak. */
    replication_check(sender_config_set_peer_timeout_ms(config, 3600000), "peer_timeout");
    replication_check(sender_config_set_write_timeout_ms(config, MEMORY_TIMEOUT_MS), "write_timeout");
    replication_check(sender_config_set_stop_timeout_ms(config, 100), "stop_timeout");
    uint64_t base = memory_bytes("VmRSS");
    replication_sender *sender = replication_serve(config);
    replication_wait_readers(sender, job->readers);
    control_say("ready");

    control_expect("go");
    nanosleep(&(struct timespec){.tv_sec = (time_t)job->seconds,
                                 .tv_nsec = (long)((job->seconds - (double)(time_t)job->seconds) * 1e9)},
              NULL);
    uint64_t idle = memory_bytes("VmRSS");

    uint8_t *payload = bench_alloc(job->size);
    uint64_t written = 0;
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)(job->seconds * 1e9);
    /* The buffer is full before so many payload bytes are in: from then on each entry waits for the slowest reader. */
    while (written < buffer || clock_now_ns() < deadline_ns) {
        replication_send(sender, payload, job->size, NULL);
        written += job->size;
    }
    uint64_t streaming = memory_bytes("VmRSS");
    uint64_t peak = memory_bytes("VmHWM");
    if (sender_reader_count(sender) != job->readers) {
        bench_fail("%zu of %u readers are left", sender_reader_count(sender), job->readers);
    }
    control_say("result base_bytes=%llu idle_bytes=%llu streaming_bytes=%llu peak_bytes=%llu written_bytes=%llu",
                (unsigned long long)base, (unsigned long long)idle, (unsigned long long)streaming,
                (unsigned long long)peak, (unsigned long long)written);
    control_expect("quit");
    replication_status status = sender_stop(sender);
    if (status != REPLICATION_STATUS_TIMEOUT) {
        replication_check(status, "sender_stop");
    }
    sender_free(sender);
    free(payload);
}

/* Reads what comes, on all sockets, until the driver has something to say. */
static void drain_until_told(int epoll, uint64_t *received, unsigned readers)
{
    static uint8_t block[256 << 10];
    struct epoll_event events[64];
    struct pollfd sources[2] = {{.fd = epoll, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    for (;;) {
        if (poll(sources, 2, -1) < 0 && errno != EINTR) {
            bench_fail("poll: %s", strerror(errno));
        }
        if (sources[1].revents != 0) {
            return;
        }
        int count = epoll_wait(epoll, events, 64, 0);
        for (int i = 0; i < count; i++) {
            unsigned number = (unsigned)(events[i].data.u64 & UINT32_MAX);
            ssize_t len = recv((int)(events[i].data.u64 >> 32), block, sizeof block, MSG_DONTWAIT);
            if (len < 0 && (errno == EAGAIN || errno == EINTR)) {
                continue;
            }
            if (len <= 0 || number >= readers) {
                bench_fail("reader %u: %s", number, len == 0 ? "closed by the writer" : strerror(errno));
            }
            received[number] += (uint64_t)len;
        }
    }
}

void replication_read_memory(const struct bench_job *job)
{
    net_raise_descriptor_limit(job->readers + 64);
    uint64_t *received = bench_alloc(job->readers * sizeof *received);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) {
        bench_fail("epoll_create1: %s", strerror(errno));
    }
    for (unsigned i = 0; i < job->readers; i++) {
        char id[32];
        snprintf(id, sizeof id, "reader-%u", i);
        int fd = net_connect(job->port);
        net_sync(fd, id, 1);
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)fd << 32 | i};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
            bench_fail("epoll_ctl: %s", strerror(errno));
        }
    }
    control_say("ready");
    control_say("result");
    drain_until_told(epoll, received, job->readers);
    for (unsigned i = 0; i < job->readers; i++) {
        if (received[i] == 0) {
            bench_fail("reader %u got no byte", i);
        }
    }
    control_expect("quit");
    free(received);
}
