#include "side.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "replication.h"

static void check(replication_status status)
{
    if (status != REPLICATION_STATUS_OK) {
        fprintf(stderr, "C: %s: %s\n", replication_status_name(status), replication_last_error_message());
        exit(2);
    }
}

static uint64_t microseconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct count {
    uint64_t entries;
    uint64_t bytes;
};

static int32_t ingest(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                      size_t payload_len)
{
    struct count *count = user_data;
    (void)sequence, (void)timestamp_us, (void)payload;
    count->entries++;
    count->bytes += payload_len;
    return 0;
}

static int32_t ingest_batch(void *user_data, const replication_entry *entries, size_t entry_count, size_t *applied)
{
    struct count *count = user_data;
    (void)applied;
    for (size_t i = 0; i < entry_count; i++) {
        count->entries++;
        count->bytes += entries[i].payload_len;
    }
    return 0;
}

uint64_t run_c(const struct job *job)
{
    static const uint8_t payload[ENTRY_BYTES];
    struct count count = {0, 0};

    replication_sender_config *sending = sender_config_new();
    replication_sender *sender;
    uint16_t port;
    char address[32];
    check(sender_config_set_full_policy(sending, REPLICATION_FULL_POLICY_WAIT, PATIENCE_MS));
    check(sender_new(sending, &sender));
    check(sender_start(sender));
    check(sender_listen(sender, "127.0.0.1:0", &port));

    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    replication_receiver_config *reading = receiver_config_new();
    replication_receiver *receiver;
    check(receiver_config_set_reader_id(reading, "reader"));
    check(receiver_config_set_writer_addr(reading, address));
    if (job->batch)
        check(receiver_config_set_ingest_batch_handler(reading, BATCH_ENTRIES, ingest_batch, &count, NULL));
    else
        check(receiver_config_set_ingest_handler(reading, ingest, &count, NULL));
    check(receiver_new(reading, &receiver));
    check(receiver_start(receiver));

    uint64_t sequence;
    check(sender_replicate(sender, 0, payload, sizeof payload, &sequence)); /* until it is there, all is warm */
    check(receiver_wait_sequence(receiver, sequence, PATIENCE_MS));

    const uint64_t begin = now_ns();
    if (job->stamped) {
        for (uint64_t i = 0; i < job->entries; i++)
            check(sender_replicate(sender, microseconds_now(), payload, sizeof payload, &sequence));
    } else {
        for (uint64_t i = 0; i < job->entries; i++)
            check(sender_replicate(sender, 0, payload, sizeof payload, &sequence));
    }
    check(receiver_wait_sequence(receiver, sequence, PATIENCE_MS));
    const uint64_t took = now_ns() - begin;

    receiver_free(receiver);
    receiver_config_free(reading);
    sender_free(sender);
    sender_config_free(sending);
    if (count.entries != job->entries + 1 || count.bytes != count.entries * ENTRY_BYTES) {
        fprintf(stderr, "C: counted %llu entries\n", (unsigned long long)count.entries);
        exit(2);
    }
    return took;
}
