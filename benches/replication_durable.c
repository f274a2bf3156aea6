/* libreplication with its log on disk: appends under each sync policy, a log that is large and there already, and how
 * long it takes to open one.
 *
 * Variants of appends: "always", "group", "os". Of opening: "cold" (the page cache holds nothing of the log), "warm". */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "append.h"
#include "bench.h"
#include "clock.h"
#include "control.h"
#include "files.h"
#include "replication_side.h"

enum { FILL_TIMEOUT_MS = 60000, BLOCK = 1 << 20 };

void replication_config_log(replication_sender_config *config, const char *dir, uint32_t policy)
{
    replication_check(sender_config_set_wal_dir(config, dir), "wal_dir");
    /* GROUP's interval and bytes are the defaults. */
    replication_check(sender_config_set_wal_sync(config, policy, 5, 1048576), "wal_sync");
}

static uint32_t policy_of(const char *variant)
{
    if (strcmp(variant, "always") == 0) {
        return REPLICATION_SYNC_POLICY_ALWAYS;
    }
    return strcmp(variant, "group") == 0 ? REPLICATION_SYNC_POLICY_GROUP : REPLICATION_SYNC_POLICY_OS;
}

static void append(void *context, unsigned thread, const void *payload, size_t size)
{
    (void)thread;
    replication_send(context, payload, size, NULL);
}

void replication_write_append(const struct bench_job *job)
{
    replication_sender_config *config = replication_config_new(job);
    replication_sender *sender;
    replication_config_log(config, job->dir, policy_of(job->variant));
    /* As the others do, it waits for the disk however long that takes. */
    replication_check(sender_config_set_wal_timeout_ms(config, FILL_TIMEOUT_MS), "log_timeout");
    replication_check(sender_new(config, &sender), "sender_new");
    sender_config_free(config);
    replication_check(sender_start(sender), "sender_start");
    append_run(job, APPEND_THREADS, append, sender);
    replication_check(sender_stop(sender), "sender_stop");
    sender_free(sender);
}

/* A configuration for a log of which nothing is ever given up. */
static replication_sender_config *keep_all(const struct bench_job *job, const char *dir)
{
    replication_sender_config *config = replication_config_new(job);
    replication_config_log(config, dir, REPLICATION_SYNC_POLICY_OS);
    replication_check(sender_config_set_wal_retain_bytes(config, UINT64_MAX), "retain_bytes");
    replication_check(sender_config_set_slot_max_bytes(config, UINT64_MAX), "slot_max_bytes");
    replication_check(sender_config_set_wal_timeout_ms(config, FILL_TIMEOUT_MS), "log_timeout");
    return config;
}

static bool is_segment(const char *path)
{
    size_t len = strlen(path);
    return len > 4 && strcmp(path + len - 4, ".seg") == 0;
}

static void count_one(const char *path, void *argument)
{
    *(unsigned *)argument += is_segment(path);
}

static unsigned count_segments(const char *dir)
{
    unsigned count = 0;
    files_each(dir, count_one, &count);
    return count;
}

/* Writes the job's log: entries for so many bytes of payload, then the end of the stream. Only the first round of a
 * case finds none. Returns how many entries there are. */
static uint64_t fill(const struct bench_job *job)
{
    uint64_t entries = job->wal_bytes / job->size;
    if (count_segments(job->dir) > 0) {
        return entries;
    }
    replication_sender_config *config = keep_all(job, job->dir);
    replication_sender *sender;
    uint64_t last;
    replication_check(sender_config_set_stop_timeout_ms(config, FILL_TIMEOUT_MS), "stop_timeout");
    replication_check(sender_new(config, &sender), "sender_new");
    sender_config_free(config);
    replication_check(sender_start(sender), "sender_start");
    uint8_t *payload = bench_alloc(job->size);
    for (uint64_t i = 0; i < entries; i++) {
        replication_send(sender, payload, job->size, NULL);
    }
    replication_send(sender, &entries, BENCH_END_SIZE, &last);
    replication_check(sender_wait_durable(sender, last, FILL_TIMEOUT_MS), "sender_wait_durable");
    replication_check(sender_stop(sender), "sender_stop");
    sender_free(sender);
    free(payload);
    return entries;
}

/* Appends under ALWAYS to a log of many small segments, which retention removes meanwhile ("trim") or not ("keep"). */
void replication_write_trim(const struct bench_job *job)
{
    enum { SEGMENT = 64 << 10, ENTRY = 4096 };
    static const uint8_t entry[ENTRY];
    replication_sender_config *config = keep_all(job, job->dir);
    replication_sender *sender;
    uint64_t last = 0;
    replication_check(sender_config_set_wal_segment_bytes(config, SEGMENT), "segment_bytes");
    replication_check(sender_config_set_stop_timeout_ms(config, FILL_TIMEOUT_MS), "stop_timeout");
    replication_check(sender_new(config, &sender), "sender_new");
    replication_check(sender_start(sender), "sender_start");
    for (uint64_t bytes = 0; bytes < job->wal_bytes; bytes += sizeof entry) {
        replication_send(sender, entry, sizeof entry, &last);
    }
    replication_check(sender_wait_durable(sender, last, FILL_TIMEOUT_MS), "sender_wait_durable");
    replication_check(sender_stop(sender), "sender_stop");
    sender_free(sender);
    replication_config_log(config, job->dir, REPLICATION_SYNC_POLICY_ALWAYS);
    if (strcmp(job->variant, "trim") == 0) {
        replication_check(sender_config_set_wal_retain_bytes(config, SEGMENT), "retain_bytes");
    }
    replication_check(sender_new(config, &sender), "sender_new");
    sender_config_free(config);
    replication_check(sender_start(sender), "sender_start");
    append_run(job, 1, append, sender);
    fprintf(stderr, "%s: %u segments are left of about %llu\n", job->variant, count_segments(job->dir),
            (unsigned long long)(job->wal_bytes / SEGMENT));
    replication_check(sender_stop(sender), "sender_stop");
    sender_free(sender);
}

static int open_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        bench_fail("%s: %s", path, strerror(errno));
    }
    return fd;
}

int replication_open_segment(const char *path)
{
    return is_segment(path) ? open_file(path) : -1;
}

static void warm_one(const char *path, void *argument)
{
    static uint8_t block[BLOCK];
    int fd = open_file(path);
    while (read(fd, block, sizeof block) > 0) {
    }
    close(fd);
    (void)argument;
}

static void cool_one(const char *path, void *argument)
{
    int fd = open_file(path);
    if (fdatasync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0) {
        bench_fail("cannot drop %s from the page cache", path);
    }
    close(fd);
    (void)argument;
}

uint64_t replication_fill_log(const struct bench_job *job)
{
    uint64_t entries = fill(job);
    files_each(job->dir, warm_one, NULL);
    return entries;
}

void replication_write_catch_up(const struct bench_job *job)
{
    uint64_t entries = replication_fill_log(job);
    replication_sender *sender = replication_serve(keep_all(job, job->dir));
    control_say("ready");
    control_expect("go");
    control_say("result entries=%llu bytes=%llu", (unsigned long long)entries,
                (unsigned long long)(entries * job->size));
    control_expect("quit");
    replication_check(sender_stop(sender), "sender_stop");
    sender_free(sender);
}

static void copy_file(const char *from, const char *to)
{
    static uint8_t block[BLOCK];
    ssize_t count;
    int in = open_file(from);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    while ((count = read(in, block, sizeof block)) > 0) {
        if (write(out, block, (size_t)count) != count) {
            bench_fail("%s: %s", to, strerror(errno));
        }
    }
    close(in);
    close(out);
}

static void keep_last(const char *path, void *argument)
{
    if (is_segment(path)) {
        snprintf(argument, 4096, "%s", path);
    }
}

/* A log that is the last segment alone: opening it takes what the tail takes. */
static void make_tail(const struct bench_job *job, const char *tail)
{
    char last[4096] = "";
    char to[8300];
    files_each(job->dir, keep_last, last);
    if (mkdir(tail, 0700) != 0 && errno != EEXIST) {
        bench_fail("%s: %s", tail, strerror(errno));
    }
    snprintf(to, sizeof to, "%s/%s", tail, strrchr(last, '/') + 1);
    copy_file(last, to);
}

static uint64_t time_open(const struct bench_job *job, const char *dir)
{
    replication_sender_config *config = keep_all(job, dir);
    replication_sender *sender;
    files_each(dir, strcmp(job->variant, "cold") == 0 ? cool_one : warm_one, NULL);
    uint64_t begin_ns = clock_now_ns();
    replication_check(sender_new(config, &sender), "sender_new");
    uint64_t took_ns = clock_now_ns() - begin_ns;
    sender_config_free(config);
    sender_free(sender);
    return took_ns;
}

void replication_write_reopen(const struct bench_job *job)
{
    char tail[4096];
    snprintf(tail, sizeof tail, "%s/tail", job->dir);
    fill(job);
    make_tail(job, tail);
    control_say("port 0");
    control_say("ready");
    control_expect("go");
    uint64_t tail_ns = time_open(job, tail);
    uint64_t open_ns = time_open(job, job->dir);
    uint64_t rest_ns = open_ns > tail_ns ? open_ns - tail_ns : 0;
    control_say("result open_ns=%llu tail_ns=%llu rest_ns=%llu segments=%u", (unsigned long long)open_ns,
                (unsigned long long)tail_ns, (unsigned long long)rest_ns, count_segments(job->dir));
    control_expect("quit");
}
