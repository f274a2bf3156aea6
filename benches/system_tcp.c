/* Raw TCP: what the machine can carry when nobody frames, checks or counts entries. One connection and one thread a
 * reader, blocking sockets, 256 KiB a write.
 *
 * Variant of the round trip: "fdatasync" (the reader has the entry on disk before it answers). */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "clock.h"
#include "control.h"
#include "disk.h"
#include "histogram.h"
#include "net.h"

enum { BLOCK = 256 << 10 };

struct stream {
    int fd;
    uint64_t deadline_ns;
    struct bench_counter counter;
};

static void start(pthread_t *thread, void *(*run)(void *), void *argument)
{
    int error = pthread_create(thread, NULL, run, argument);
    if (error != 0) {
        bench_fail("pthread_create: %s", strerror(error));
    }
}

static void *write_stream(void *argument)
{
    struct stream *stream = argument;
    uint8_t *block = bench_alloc(BLOCK);
    do {
        net_write_all(stream->fd, block, BLOCK);
        stream->counter.bytes += BLOCK;
    } while (clock_now_ns() < stream->deadline_ns);
    if (shutdown(stream->fd, SHUT_WR) != 0) {
        bench_fail("shutdown: %s", strerror(errno));
    }
    free(block);
    return NULL;
}

static void *read_stream(void *argument)
{
    struct stream *stream = argument;
    uint8_t *block = bench_alloc(BLOCK);
    for (;;) {
        ssize_t count = recv(stream->fd, block, BLOCK, 0);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            bench_fail("recv: %s", strerror(errno));
        }
        if (count == 0) {
            break;
        }
        stream->counter.bytes += (uint64_t)count;
    }
    stream->counter.end_ns = clock_now_ns();
    free(block);
    return NULL;
}

/* Runs one stream in this thread and the others in theirs. */
static void run_streams(struct stream *streams, unsigned count, void *(*run)(void *))
{
    pthread_t *threads = bench_alloc(count * sizeof *threads);
    for (unsigned i = 1; i < count; i++) {
        start(&threads[i], run, &streams[i]);
    }
    run(&streams[0]);
    for (unsigned i = 1; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    free(threads);
}

static void write_throughput(const struct bench_job *job, struct stream *streams)
{
    control_expect("go");
    uint64_t begin_ns = clock_now_ns();
    for (unsigned i = 0; i < job->readers; i++) {
        streams[i].deadline_ns = begin_ns + (uint64_t)(job->seconds * 1e9);
    }
    run_streams(streams, job->readers, write_stream);
    uint64_t bytes = 0;
    for (unsigned i = 0; i < job->readers; i++) {
        bytes += streams[i].counter.bytes;
    }
    control_say("result entries=%llu bytes=%llu begin_ns=%llu", (unsigned long long)(bytes / job->size),
                (unsigned long long)bytes, (unsigned long long)begin_ns);
}

static void read_throughput(const struct bench_job *job, struct stream *streams)
{
    run_streams(streams, job->readers, read_stream);
    struct bench_counter *counters = bench_alloc(job->readers * sizeof *counters);
    for (unsigned i = 0; i < job->readers; i++) {
        counters[i] = streams[i].counter;
        counters[i].entries = counters[i].bytes / job->size;
    }
    bench_report_counters(counters, job->readers);
    free(counters);
}

static void ping(const struct bench_job *job, int fd)
{
    uint8_t *block = bench_alloc(job->size);
    struct histogram *histogram = histogram_new();
    double ns_per_tick = clock_calibrate();
    uint64_t overhead = clock_overhead_ticks();
    control_expect("go");
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)(job->seconds * 1e9);
    while (clock_now_ns() < deadline_ns) {
        uint64_t begin = clock_ticks_begin();
        net_write_all(fd, block, job->size);
        net_read_all(fd, block, job->size);
        histogram_add(histogram, clock_ticks_end() - begin);
    }
    if (shutdown(fd, SHUT_WR) != 0) {
        bench_fail("shutdown: %s", strerror(errno));
    }
    histogram_report(histogram, ns_per_tick, overhead);
    histogram_free(histogram);
    free(block);
}

static void echo(const struct bench_job *job, int fd)
{
    uint8_t *block = bench_alloc(job->size);
    int file = strcmp(job->variant, "fdatasync") == 0 ? disk_create(job->dir) : -1;
    uint64_t entries = 0;
    for (;;) {
        ssize_t count = recv(fd, block, job->size, MSG_WAITALL);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count == 0) {
            break;
        }
        if (count != (ssize_t)job->size) {
            bench_fail("recv: %s", count < 0 ? strerror(errno) : "the stream ended inside an entry");
        }
        if (file >= 0) {
            disk_append(file, block, job->size);
        }
        net_write_all(fd, block, job->size);
        entries++;
    }
    control_say("result count=%llu", (unsigned long long)entries);
    if (file >= 0) {
        close(file);
    }
    free(block);
}

static void writer(const struct bench_job *job)
{
    uint16_t port;
    int listener = net_listen(&port);
    control_say("port %u", (unsigned)port);
    struct stream *streams = bench_alloc(job->readers * sizeof *streams);
    for (unsigned i = 0; i < job->readers; i++) {
        streams[i].fd = net_accept(listener);
    }
    control_say("ready");
    if (job->kind == BENCH_KIND_ROUND_TRIP) {
        net_set_nodelay(streams[0].fd);
        ping(job, streams[0].fd);
    } else {
        write_throughput(job, streams);
    }
    control_expect("quit");
    free(streams);
}

static void reader(const struct bench_job *job)
{
    struct stream *streams = bench_alloc(job->readers * sizeof *streams);
    for (unsigned i = 0; i < job->readers; i++) {
        streams[i].fd = net_connect(job->port);
    }
    control_say("ready");
    if (job->kind == BENCH_KIND_ROUND_TRIP) {
        net_set_nodelay(streams[0].fd);
        echo(job, streams[0].fd);
    } else {
        if (job->kind == BENCH_KIND_CATCH_UP) {
            control_expect("go");
        }
        read_throughput(job, streams);
    }
    control_expect("quit");
    free(streams);
}

const struct bench_system bench_system_tcp = {"tcp", "raw TCP", writer, reader};
