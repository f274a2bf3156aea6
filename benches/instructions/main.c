/* A sender and a receiver in one process, for callgrind: some entries are replicated into the buffer, and then one reader
 * gets them all. So each side always has much to do at once, and how threads take turns changes little. At the end it
 * prints its threads in the order in which they were made. */
#include <dirent.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#include <replication.h>

enum { PAYLOAD_BYTES = 256, HEADER_BYTES = 64 };

#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        int32_t status_ = (call);                                                                                      \
        if (status_ != REPLICATION_STATUS_OK) {                                                                        \
            fprintf(stderr, "%s: %s: %s\n", #call, replication_status_name(status_),                                   \
                    replication_last_error_message());                                                                 \
            exit(2);                                                                                                   \
        }                                                                                                              \
    } while (0)

static uint64_t last;
static sem_t over;

static int32_t apply(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                     size_t payload_len)
{
    (void)user_data, (void)timestamp_us, (void)payload, (void)payload_len;
    if (sequence == last) {
        sem_post(&over);
    }
    return 0;
}

/* The kernel lists them in the order in which they were made, which their ids do not tell: these begin anew some time. */
static void print_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;) {
        char path[300], name[32] = "?";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        FILE *file = task->d_name[0] != '.' ? fopen(path, "re") : NULL;
        if (file != NULL) {
            if (fscanf(file, "%31s", name) != 1) {
                name[0] = '?';
            }
            fclose(file);
            printf("%s\n", name);
        }
    }
    if (tasks != NULL) {
        closedir(tasks);
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
    if (sem_init(&over, 0, 0) != 0) {
        perror("sem_init");
        return 2;
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
    /* Waiting in the library would count, and differ from run to run. */
    while (sem_wait(&over) != 0) {
    }
    print_threads();
    receiver_free(receiver);
    sender_free(sender);
    receiver_config_free(from);
    sender_config_free(to);
    return 0;
}
