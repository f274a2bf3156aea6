/* The C end of the benchmark: a writer or a reader that does nothing but count.
 *
 *     peer write ENTRIES BYTES        prints the port, and writes when a reader is there
 *     peer read ADDRESS ENTRIES       prints the nanoseconds between the first call of the handler and the last entry
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "replication.h"

static void check(replication_status status)
{
    if (status) {
        fprintf(stderr, "peer: %s\n", replication_last_error_message());
        exit(1);
    }
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static int run_writer(uint64_t entries, size_t bytes)
{
    replication_sender_config *config = sender_config_new();
    replication_sender *sender;
    uint16_t port;
    check(sender_config_set_full_policy(config, REPLICATION_FULL_POLICY_WAIT, 60000));
    check(sender_config_set_buffer_size(config, 1000000));
    check(sender_new(config, &sender));
    sender_config_free(config);
    check(sender_start(sender));
    check(sender_listen(sender, "127.0.0.1:0", &port));
    printf("%d\n", port);
    fflush(stdout);
    uint8_t *payload = calloc(1, bytes + 1);
    if (!payload)
        return 1;
    while (sender_reader_count(sender) == 0)
        nap();
    for (uint64_t n = 0; n < entries; n++)
        check(sender_replicate(sender, 0, payload, bytes, NULL));
    check(sender_wait_acked(sender, entries, REPLICATION_ACK_LEVEL_APPLIED, 1, 60000, NULL));
    sender_free(sender);
    free(payload);
    return 0;
}

struct count {
    uint64_t entries, wanted, begin_ns, end_ns;
};

static int32_t count(void *user_data, const replication_entry *entries, size_t size, size_t *applied)
{
    struct count *count = user_data;
    (void)entries, (void)applied;
    if (count->entries == 0)
        count->begin_ns = now_ns();
    count->entries += size;
    if (count->entries == count->wanted)
        count->end_ns = now_ns();
    return 0;
}

static int run_reader(const char *address, uint64_t entries)
{
    struct count counted = {.wanted = entries};
    replication_receiver_config *config = receiver_config_new();
    replication_receiver *receiver;
    check(receiver_config_set_reader_id(config, "reader"));
    check(receiver_config_set_writer_addr(config, address));
    check(receiver_config_set_ingest_batch_handler(config, 0, count, &counted, NULL));
    check(receiver_new(config, &receiver));
    receiver_config_free(config);
    check(receiver_start(receiver));
    check(receiver_wait_sequence(receiver, entries, 120000));
    receiver_free(receiver);
    printf("%" PRIu64 "\n", counted.end_ns - counted.begin_ns);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "write") == 0)
        return run_writer(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    if (argc == 4 && strcmp(argv[1], "read") == 0)
        return run_reader(argv[2], strtoull(argv[3], NULL, 10));
    fprintf(stderr, "usage: peer write ENTRIES BYTES | peer read ADDRESS ENTRIES\n");
    return 2;
}
