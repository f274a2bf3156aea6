#include "replication_side.h"

#include <time.h>

#include "clock.h"
#include "control.h"

void replication_check(replication_status status, const char *what)
{
    if (status != REPLICATION_STATUS_OK) {
        bench_fail("%s: %s: %s", what, replication_status_name((int32_t)status), replication_last_error_message());
    }
}

replication_sender_config *replication_config_new(const struct bench_job *job)
{
    replication_sender_config *config = sender_config_new();
    if (config == NULL) {
        bench_fail("sender_config_new: %s", replication_last_error_message());
    }
    if (job->buffer_entries > 0) {
        replication_check(sender_config_set_buffer_size(config, (size_t)job->buffer_entries), "buffer_size");
    }
    if (job->buffer_bytes > 0) {
        replication_check(sender_config_set_buffer_bytes(config, job->buffer_bytes), "buffer_bytes");
    }
    return config;
}

replication_sender *replication_serve(replication_sender_config *config)
{
    replication_sender *sender;
    uint16_t port;
    replication_check(sender_new(config, &sender), "sender_new");
    sender_config_free(config);
    replication_check(sender_start(sender), "sender_start");
    replication_check(sender_listen(sender, "127.0.0.1:0", &port), "sender_listen");
    control_say("port %u", (unsigned)port);
    return sender;
}

void replication_send(replication_sender *sender, const void *payload, size_t len, uint64_t *out_sequence)
{
    replication_status status = sender_replicate(sender, 0, payload, len, out_sequence);
    if (__builtin_expect(status != REPLICATION_STATUS_OK, 0)) {
        replication_check(status, "sender_replicate");
    }
}

void replication_wait_readers(const replication_sender *sender, size_t readers)
{
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)ATTACH_TIMEOUT_MS * 1000000;
    while (sender_reader_count(sender) < readers) {
        if (clock_now_ns() > deadline_ns) {
            bench_fail("%zu of %zu readers attached", sender_reader_count(sender), readers);
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}
