/* A sender and a receiver in one process, for callgrind: some entries are replicated into the window, and then one reader
 * gets them all. So each side always has much to do at once, and how threads take turns changes little. At the end it
 * prints its threads in the order in which they were made. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include <replication.h>

enum { PAYLOAD_BYTES = 256, HEADER_BYTES = 64, TIMEOUT_MS = 60000, MAX_THREADS = 32 };

#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        int32_t status_ = (call);                                                                                      \
        if (status_ != REPLICATION_STATUS_OK) {                                                                        \
            fprintf(stderr, "%s: %s: %s\n", #call, replication_status_name(status_),                                   \
                    replication_last_error_message());                                                                 \
            exit(2);                                                                                                   \
        }                                                                                                              \
    } while (0)

static uint64_t applied_bytes;

static int32_t apply(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                     size_t payload_len)
{
    (void)user_data, (void)sequence, (void)timestamp_us, (void)payload;
    applied_bytes += payload_len;
    return 0;
}

static int ascending(const void *left, const void *right)
{
    int a = *(const int *)left, b = *(const int *)right;
    return (a > b) - (a < b);
}

static void print_threads(void)
{
    int ids[MAX_THREADS], count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;) {
        if (task->d_name[0] != '.' && count < MAX_THREADS) {
            ids[count++] = atoi(task->d_name);
        }
    }
    if (tasks != NULL) {
        closedir(tasks);
    }
    qsort(ids, (size_t)count, sizeof *ids, ascending);
    for (int i = 0; i < count; i++) {
        char path[64], name[32] = "?";
        snprintf(path, sizeof path, "/proc/self/task/%d/comm", ids[i]);
        FILE *file = fopen(path, "re");
        if (file != NULL) {
            if (fscanf(file, "%31s", name) != 1) {
                name[0] = '?';
            }
            fclose(file);
        }
        printf("%s\n", name);
    }
}

int main(int argc, char **argv)
{
    static const uint8_t payload[PAYLOAD_BYTES];
    uint64_t entries = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
    if (entries == 0) {
        fprintf(stderr, "usage: bench-instructions ENTRIES\n");
        return 64;
    }
    replication_sender *sender;
    replication_sender_config *to = sender_config_new();
    uint16_t port;
    MUST(sender_config_set_buffer_size(to, 2 * entries));
    MUST(sender_config_set_buffer_bytes(to, 2 * entries * (PAYLOAD_BYTES + HEADER_BYTES) + (64u << 20)));
    MUST(sender_config_set_io_threads(to, 1));
    MUST(sender_new(to, &sender));
    MUST(sender_start(sender));
    MUST(sender_listen(sender, "127.0.0.1:0", &port));
    uint64_t last = 0;
    for (uint64_t i = 0; i < entries; i++) {
        MUST(sender_replicate(sender, 1, payload, sizeof payload, &last));
    }

    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    replication_receiver *receiver;
    replication_receiver_config *from = receiver_config_new();
    MUST(receiver_config_set_reader_id(from, "counted"));
    MUST(receiver_config_set_writer_addr(from, address));
    MUST(receiver_config_set_ingest_handler(from, apply, NULL, NULL));
    MUST(receiver_new(from, &receiver));
    MUST(receiver_start(receiver));
    MUST(receiver_wait_sequence(receiver, last, TIMEOUT_MS));
    MUST(sender_wait_acked(sender, last, REPLICATION_ACK_LEVEL_APPLIED, 1, TIMEOUT_MS, NULL));
    print_threads();
    fprintf(stderr, "%llu bytes applied\n", (unsigned long long)applied_bytes);
    receiver_free(receiver);
    sender_free(sender);
    receiver_config_free(from);
    sender_config_free(to);
    return 0;
}
