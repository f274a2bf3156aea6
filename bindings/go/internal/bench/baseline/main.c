/* What C does: a sender and a receiver in one process over the loopback, a handler that counts. Prints nanoseconds for
 * each entry. The Go side of this is main.go. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "replication.h"

static uint64_t counted;

static int32_t count(void *user, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload, size_t payload_len)
{
    (void)user, (void)sequence, (void)timestamp_us, (void)payload, (void)payload_len;
    counted++;
    return 0;
}

static void check(replication_status status)
{
    if (status != REPLICATION_STATUS_OK) {
        fprintf(stderr, "%s: %s\n", replication_status_name(status), replication_last_error_message());
        exit(1);
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s entries bytes\n", argv[0]);
        return 2;
    }
    uint64_t entries = strtoull(argv[1], NULL, 10), sequence = 0;
    size_t bytes = strtoull(argv[2], NULL, 10);
    uint8_t *payload = calloc(1, bytes + 1);
    replication_sender *sender;
    replication_receiver *receiver;
    uint16_t port;
    char address[32];

    replication_sender_config *options = sender_config_new();
    check(sender_config_set_full_policy(options, REPLICATION_FULL_POLICY_WAIT, 10000));
    check(sender_config_set_buffer_size(options, 1000000));
    check(sender_new(options, &sender));
    sender_config_free(options);
    check(sender_start(sender));
    check(sender_listen(sender, "127.0.0.1:0", &port));
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    replication_receiver_config *config = receiver_config_new();
    check(receiver_config_set_reader_id(config, "counter"));
    check(receiver_config_set_writer_addr(config, address));
    check(receiver_config_set_ingest_handler(config, count, NULL, NULL));
    check(receiver_new(config, &receiver));
    receiver_config_free(config);
    check(receiver_start(receiver));
    check(sender_replicate(sender, 0, payload, bytes, &sequence)); /* connected before the clock runs */
    check(receiver_wait_sequence(receiver, sequence, 10000));

    double begin = now();
    for (uint64_t i = 0; i < entries; i++)
        check(sender_replicate(sender, i, payload, bytes, &sequence));
    check(receiver_wait_sequence(receiver, sequence, 60000));
    double took = now() - begin;
    if (counted != entries + 1) {
        fprintf(stderr, "%" PRIu64 " entries were counted instead of %" PRIu64 "\n", counted, entries + 1);
        return 1;
    }
    printf("%.2f\n", took / (double)entries);
    receiver_free(receiver);
    sender_free(sender);
    free(payload);
}
