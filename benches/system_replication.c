/* libreplication, through its C ABI on both ends: throughput and round trip, one sender_replicate call an entry, from
 * one thread. CRC and acks are always on. The writer waits when the buffer is full (REPLICATION_FULL_POLICY_WAIT), as
 * the other systems block, so that no reader is cut off.
 *
 * Variants: "single" (one handler call an entry), "batch" (the batch handler), "v1" and "v1-batch" (the same over the
 * JSON protocol), "log-os" (the writer has a log on disk, which nobody syncs), "durable" (the reader has one and syncs each
 * time; the round trip ends when the entry is durable there). */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "clock.h"
#include "control.h"
#include "histogram.h"
#include "replication_side.h"

enum { FULL_WAIT_MS = 30000, ACK_TIMEOUT_MS = 5000 };

/* Everyone is attached when everyone has acknowledged the greeting. */
static void greet(replication_sender *sender, unsigned readers)
{
    uint64_t sequence;
    uint8_t hello = 0;
    replication_send(sender, &hello, BENCH_HELLO_SIZE, &sequence);
    replication_check(
        sender_wait_acked(sender, sequence, REPLICATION_ACK_LEVEL_RECEIVED, readers, ATTACH_TIMEOUT_MS, NULL),
        "waiting for the readers");
    control_say("ready");
}

static void write_throughput(const struct bench_job *job, replication_sender *sender)
{
    uint8_t *payload = bench_alloc(job->size);
    control_expect("go");
    uint64_t entries = 0;
    uint64_t begin_ns = clock_now_ns();
    uint64_t deadline_ns = begin_ns + (uint64_t)(job->seconds * 1e9);
    uint64_t burst = bench_entries_per_clock(job->size);
    do {
        for (uint64_t i = 0; i < burst; i++) {
            replication_send(sender, payload, job->size, NULL);
        }
        entries += burst;
    } while (clock_now_ns() < deadline_ns);
    replication_send(sender, &entries, BENCH_END_SIZE, NULL);
    entries *= job->readers;
    control_say("result entries=%llu bytes=%llu begin_ns=%llu", (unsigned long long)entries,
                (unsigned long long)(entries * job->size), (unsigned long long)begin_ns);
    free(payload);
}

static bool is_durable(const struct bench_job *job)
{
    return strcmp(job->variant, "durable") == 0;
}

static void ping(const struct bench_job *job, replication_sender *sender)
{
    uint8_t *payload = bench_alloc(job->size);
    struct histogram *histogram = histogram_new();
    double ns_per_tick = clock_calibrate();
    uint64_t overhead = clock_overhead_ticks();
    uint32_t level = is_durable(job) ? REPLICATION_ACK_LEVEL_DURABLE : REPLICATION_ACK_LEVEL_RECEIVED;
    control_expect("go");
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)(job->seconds * 1e9);
    while (clock_now_ns() < deadline_ns) {
        uint64_t sequence;
        uint64_t begin = clock_ticks_begin();
        replication_send(sender, payload, job->size, &sequence);
        replication_status status = sender_wait_acked(sender, sequence, level, 1, ACK_TIMEOUT_MS, NULL);
        histogram_add(histogram, clock_ticks_end() - begin);
        replication_check(status, "sender_wait_acked");
    }
    replication_send(sender, &histogram->count, BENCH_END_SIZE, NULL);
    histogram_report(histogram, ns_per_tick, overhead);
    histogram_free(histogram);
    free(payload);
}

static void writer(const struct bench_job *job)
{
    if (job->kind == BENCH_KIND_REPLICATE) {
        replication_write_stalled(job);
        return;
    }
    if (job->kind == BENCH_KIND_MEMORY) {
        replication_write_memory(job);
        return;
    }
    if (job->kind == BENCH_KIND_APPEND) {
        replication_write_append(job);
        return;
    }
    if (job->kind == BENCH_KIND_TRIM) {
        replication_write_trim(job);
        return;
    }
    if (job->kind == BENCH_KIND_CATCH_UP) {
        replication_write_catch_up(job);
        return;
    }
    if (job->kind == BENCH_KIND_REOPEN) {
        replication_write_reopen(job);
        return;
    }
    replication_sender_config *config = replication_config_new(job);
    if (strcmp(job->variant, "log-os") == 0) {
        replication_config_log(config, job->dir, REPLICATION_SYNC_POLICY_OS);
    }
    replication_check(sender_config_set_full_policy(config, REPLICATION_FULL_POLICY_WAIT, FULL_WAIT_MS), "full_policy");
    replication_sender *sender = replication_serve(config);
    greet(sender, job->readers);
    if (job->kind == BENCH_KIND_ROUND_TRIP) {
        ping(job, sender);
    } else {
        write_throughput(job, sender);
    }
    control_expect("quit");
    replication_check(sender_stop(sender), "sender_stop");
    sender_free(sender);
}

/* One receiver. Its handler counts in the library's callback thread; the main thread waits for both moments. */
struct reader {
    struct bench_counter counter;
    uint64_t last_sequence;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool greeted;
    bool ended;
    replication_receiver *receiver;
};

static void announce(struct reader *reader, bool *what)
{
    pthread_mutex_lock(&reader->mutex);
    *what = true;
    pthread_cond_signal(&reader->changed);
    pthread_mutex_unlock(&reader->mutex);
}

static void await(struct reader *reader, const bool *what)
{
    pthread_mutex_lock(&reader->mutex);
    while (!*what) {
        pthread_cond_wait(&reader->changed, &reader->mutex);
    }
    pthread_mutex_unlock(&reader->mutex);
}

static int32_t ingest(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                      size_t payload_len)
{
    struct reader *reader = user_data;
    (void)timestamp_us;
    if (sequence != reader->last_sequence + 1) {
        bench_fail("entry %llu after entry %llu", (unsigned long long)sequence,
                   (unsigned long long)reader->last_sequence);
    }
    reader->last_sequence = sequence;
    if (bench_count(&reader->counter, payload, payload_len)) {
        announce(reader, &reader->ended);
    } else if (payload_len == BENCH_HELLO_SIZE) {
        announce(reader, &reader->greeted);
    }
    return 0;
}

static int32_t ingest_batch(void *user_data, const replication_entry *entries, size_t count, size_t *applied)
{
    (void)applied;
    for (size_t i = 0; i < count; i++) {
        ingest(user_data, entries[i].sequence, entries[i].timestamp_us, entries[i].payload, entries[i].payload_len);
    }
    return 0;
}

static void reader_start(const struct bench_job *job, struct reader *reader, unsigned number)
{
    char address[32];
    char id[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)job->port);
    snprintf(id, sizeof id, "reader-%u", number);
    if (pthread_mutex_init(&reader->mutex, NULL) != 0 || pthread_cond_init(&reader->changed, NULL) != 0) {
        bench_fail("cannot make a mutex");
    }
    replication_receiver_config *config = receiver_config_new();
    if (config == NULL) {
        bench_fail("receiver_config_new: %s", replication_last_error_message());
    }
    replication_check(receiver_config_set_reader_id(config, id), "reader_id");
    replication_check(receiver_config_set_writer_addr(config, address), "writer_addr");
    if (strncmp(job->variant, "v1", 2) == 0) {
        replication_check(receiver_config_set_protocol(config, REPLICATION_PROTOCOL_V1), "protocol");
    } else {
        replication_check(receiver_config_set_protocol(config, REPLICATION_PROTOCOL_V2), "protocol");
    }
    if (strstr(job->variant, "batch") != NULL) {
        replication_check(receiver_config_set_ingest_batch_handler(config, 0, ingest_batch, reader, NULL),
                          "ingest_batch_handler");
    } else {
        replication_check(receiver_config_set_ingest_handler(config, ingest, reader, NULL), "ingest_handler");
    }
    if (is_durable(job)) {
        replication_check(receiver_config_set_wal_dir(config, job->dir), "wal_dir");
        replication_check(receiver_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_ALWAYS, 0, 0), "wal_sync");
    }
    replication_check(receiver_new(config, &reader->receiver), "receiver_new");
    receiver_config_free(config);
    replication_check(receiver_start(reader->receiver), "receiver_start");
}

static void reader_end(struct reader *reader)
{
    replication_check(receiver_stop(reader->receiver), "receiver_stop");
    receiver_free(reader->receiver);
    pthread_mutex_destroy(&reader->mutex);
    pthread_cond_destroy(&reader->changed);
}

/* One reader that has nothing, from its first step until it has the log's last entry. */
static void catch_up(const struct bench_job *job)
{
    struct reader *reader = bench_alloc(sizeof *reader);
    control_say("ready");
    control_expect("go");
    uint64_t begin_ns = clock_now_ns();
    reader_start(job, reader, 0);
    await(reader, &reader->ended);
    control_say("result entries=%llu bytes=%llu begin_ns=%llu end_ns=%llu", (unsigned long long)reader->counter.entries,
                (unsigned long long)reader->counter.bytes, (unsigned long long)begin_ns,
                (unsigned long long)reader->counter.end_ns);
    control_expect("quit");
    reader_end(reader);
    free(reader);
}

static void reader(const struct bench_job *job)
{
    if (job->kind == BENCH_KIND_REPLICATE) {
        replication_read_stalled(job);
        return;
    }
    if (job->kind == BENCH_KIND_MEMORY) {
        replication_read_memory(job);
        return;
    }
    if (job->kind == BENCH_KIND_APPEND || job->kind == BENCH_KIND_REOPEN || job->kind == BENCH_KIND_TRIM) {
        bench_read_nothing(job);
        return;
    }
    if (job->kind == BENCH_KIND_CATCH_UP) {
        catch_up(job);
        return;
    }
    struct reader *readers = bench_alloc(job->readers * sizeof *readers);
    struct bench_counter *counters = bench_alloc(job->readers * sizeof *counters);
    for (unsigned i = 0; i < job->readers; i++) {
        reader_start(job, &readers[i], i);
    }
    for (unsigned i = 0; i < job->readers; i++) {
        await(&readers[i], &readers[i].greeted);
    }
    control_say("ready");
    for (unsigned i = 0; i < job->readers; i++) {
        await(&readers[i], &readers[i].ended);
        counters[i] = readers[i].counter;
    }
    if (job->kind == BENCH_KIND_ROUND_TRIP) {
        control_say("result count=%llu", (unsigned long long)counters[0].entries);
    } else {
        bench_report_counters(counters, job->readers);
    }
    control_expect("quit");
    for (unsigned i = 0; i < job->readers; i++) {
        reader_end(&readers[i]);
    }
    free(counters);
    free(readers);
}

const struct bench_system bench_system_replication = {"replication", "libreplication", writer, reader};
