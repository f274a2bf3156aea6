/* The disk by itself: what one thread gets that writes 256 bytes after the end of a file and calls fdatasync. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "append.h"
#include "bench.h"
#include "clock.h"
#include "control.h"
#include "disk.h"
#include "histogram.h"

int disk_create(const char *dir)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/raw", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        bench_fail("%s: %s", path, strerror(errno));
    }
    return fd;
}

void disk_append(int fd, const void *data, size_t size)
{
    ssize_t written = write(fd, data, size);
    if (written != (ssize_t)size || fdatasync(fd) != 0) {
        bench_fail("cannot write to the file: %s", strerror(errno));
    }
}

static void append(void *context, unsigned thread, const void *payload, size_t size)
{
    (void)thread;
    disk_append(*(int *)context, payload, size);
}

/* As in a round trip: the time of each one. */
static void time_each(const struct bench_job *job, int fd)
{
    uint8_t *payload = bench_alloc(job->size);
    struct histogram *histogram = histogram_new();
    double ns_per_tick = clock_calibrate();
    uint64_t overhead = clock_overhead_ticks();
    control_say("port 0");
    control_say("ready");
    control_expect("go");
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)(job->seconds * 1e9);
    while (clock_now_ns() < deadline_ns) {
        uint64_t begin = clock_ticks_begin();
        disk_append(fd, payload, job->size);
        histogram_add(histogram, clock_ticks_end() - begin);
    }
    histogram_report(histogram, ns_per_tick, overhead);
    histogram_free(histogram);
    free(payload);
    control_expect("quit");
}

static void writer(const struct bench_job *job)
{
    int fd = disk_create(job->dir);
    if (job->kind == BENCH_KIND_APPEND) {
        append_run(job, 1, append, &fd);
    } else {
        time_each(job, fd);
    }
    close(fd);
}

const struct bench_system bench_system_disk = {"disk", "the disk", writer, bench_read_nothing};
