/* Raw TCP: what the machine can carry when nobody frames, checks or counts entries. One connection and one thread a
 * reader, blocking sockets, 256 KiB a write.
 *
 * Variants of throughput: "checked" (each entry is copied into a buffer and has its CRC-32C computed there, and again
 * where it arrives: no more than that, and who keeps entries and checks them cannot do less), "log-checked" (the files of
 * libreplication's log, and the CRCs where they arrive), "written" (each block is written to a file before it is sent, and
 * nothing is synced). Variant of the round trip: "fdatasync" (the reader has the entry on disk before it answers). */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "clock.h"
#include "control.h"
#include "crc.h"
#include "disk.h"
#include "files.h"
#include "histogram.h"
#include "net.h"
#include "replication_side.h"

enum { BLOCK = 256 << 10 };

struct stream {
    int fd;
    int file;        /* the one of `dir` that is written */
    size_t checked;  /* bytes of an entry that is copied and checked; 0: none is */
    size_t buffer;   /* bytes that the writer goes round in, whole blocks */
    const char *log; /* the directory of a log that is sent instead, or NULL */
    const char *dir; /* where each block is written first, or NULL */
    uint64_t deadline_ns;
    uint64_t sum; /* of what was computed, so that it is */
    struct bench_counter counter;
};

/* libreplication's default buffer, if the job asks for no other. */
static size_t buffer_of(const struct bench_job *job)
{
    uint64_t entries = job->buffer_entries > 0 ? job->buffer_entries : 10000;
    uint64_t bytes = job->buffer_bytes > 0 ? job->buffer_bytes : 64 << 20;
    uint64_t buffer = entries < bytes / job->size ? entries * job->size : bytes;
    return buffer > BLOCK ? buffer / BLOCK * BLOCK : BLOCK;
}

static void start(pthread_t *thread, void *(*run)(void *), void *argument)
{
    int error = pthread_create(thread, NULL, run, argument);
    if (error != 0) {
        bench_fail("pthread_create: %s", strerror(error));
    }
}

static void send_segment(const char *path, void *argument)
{
    struct stream *stream = argument;
    int file = replication_open_segment(path);
    ssize_t count = 0;
    while (file >= 0 && (count = sendfile(stream->fd, file, NULL, BLOCK)) > 0) {
        stream->counter.bytes += (uint64_t)count;
    }
    if (count < 0) {
        bench_fail("sendfile: %s", strerror(errno));
    }
    if (file >= 0) {
        close(file);
    }
}

/* A file of the size of libreplication's segments; what it keeps of them by default stays. */
static int next_file(const char *dir, unsigned number)
{
    enum { KEPT = 16 };
    char path[4096];
    if (number >= KEPT) {
        snprintf(path, sizeof path, "%s/%u", dir, number - KEPT);
        if (unlink(path) != 0) {
            bench_fail("%s: %s", path, strerror(errno));
        }
    }
    snprintf(path, sizeof path, "%s/%u", dir, number);
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) {
        bench_fail("%s: %s", path, strerror(errno));
    }
    return file;
}

/* Writes a block after those before it. */
static void keep(struct stream *stream, const uint8_t *block)
{
    enum { FILE_BYTES = 64 << 20 };
    if (stream->counter.bytes % FILE_BYTES == 0) {
        if (stream->counter.bytes > 0) {
            close(stream->file);
        }
        stream->file = next_file(stream->dir, (unsigned)(stream->counter.bytes / FILE_BYTES));
    }
    if (write(stream->file, block, BLOCK) != BLOCK) {
        bench_fail("cannot write to a file in %s: %s", stream->dir, strerror(errno));
    }
}

static void write_entries(struct stream *stream)
{
    uint8_t *buffer = bench_alloc(stream->buffer);
    uint8_t *entry = bench_alloc(BLOCK);
    size_t at = 0;
    do {
        for (size_t i = 0; stream->checked > 0 && i + stream->checked <= BLOCK; i += stream->checked) {
            memcpy(buffer + at + i, entry, stream->checked);
            stream->sum ^= crc32c_thirds(buffer + at + i, stream->checked);
        }
        if (stream->dir != NULL) {
            keep(stream, buffer + at);
        }
        net_write_all(stream->fd, buffer + at, BLOCK);
        stream->counter.bytes += BLOCK;
        at = at + BLOCK < stream->buffer ? at + BLOCK : 0;
    } while (clock_now_ns() < stream->deadline_ns);
    free(entry);
    free(buffer);
}

static void *write_stream(void *argument)
{
    struct stream *stream = argument;
    if (stream->log != NULL) {
        files_each(stream->log, send_segment, stream);
    } else {
        write_entries(stream);
    }
    if (shutdown(stream->fd, SHUT_WR) != 0) {
        bench_fail("shutdown: %s", strerror(errno));
    }
    return NULL;
}

/* A piece ends anywhere: what is left of an entry there is checked by itself. */
static void check_entries(struct stream *stream, const uint8_t *bytes, size_t count)
{
    while (stream->checked > 0 && count > 0) {
        size_t length = count < stream->checked ? count : stream->checked;
        stream->sum ^= crc32c_thirds(bytes, length);
        bytes += length;
        count -= length;
    }
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
        check_entries(stream, block, (size_t)count);
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

static struct stream *new_streams(const struct bench_job *job)
{
    bool log = strcmp(job->variant, "log-checked") == 0;
    bool checked = strcmp(job->variant, "checked") == 0 || log;
    struct stream *streams = bench_alloc(job->readers * sizeof *streams);
    for (unsigned i = 0; i < job->readers; i++) {
        streams[i].checked = checked ? job->size : 0;
        streams[i].buffer = checked ? buffer_of(job) : BLOCK;
        streams[i].log = log ? job->dir : NULL;
        streams[i].dir = strcmp(job->variant, "written") == 0 ? job->dir : NULL;
    }
    return streams;
}

static void writer(const struct bench_job *job)
{
    uint16_t port;
    if (strcmp(job->variant, "log-checked") == 0) {
        replication_fill_log(job);
    }
    int listener = net_listen(&port);
    control_say("port %u", (unsigned)port);
    struct stream *streams = new_streams(job);
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
    struct stream *streams = new_streams(job);
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
