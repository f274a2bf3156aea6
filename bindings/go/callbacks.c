#include "callbacks.h"

#include "_cgo_export.h"

/* The compiler compares these functions with the header's callbacks and with Go's functions here, and nowhere else. */
#pragma GCC diagnostic error "-Wincompatible-pointer-types"
#pragma GCC diagnostic error "-Wconversion"

static __thread uintptr_t current;

/* The beginning and the end of every callback. */
static uintptr_t enter(void *user_data)
{
    return current = (uintptr_t)user_data;
}

static void leave(void)
{
    current = 0;
}

uintptr_t lr_current_handle(void)
{
    return current;
}

static int32_t ingest(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                      size_t payload_len)
{
    int32_t code = lrIngest(enter(user_data), sequence, timestamp_us, (uint8_t *)payload, payload_len);
    leave();
    return code;
}

static int32_t ingest_batch(void *user_data, const replication_entry *entries, size_t count, size_t *applied)
{
    int32_t code = lrIngestBatch(enter(user_data), (replication_entry *)entries, count, applied);
    leave();
    return code;
}

static int32_t record(void *user_data, uint64_t sequence, uint64_t timestamp_us, const replication_records *records)
{
    int32_t code = lrRecord(enter(user_data), sequence, timestamp_us, (replication_records *)records);
    leave();
    return code;
}

static int32_t local_wal(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                         size_t payload_len)
{
    (void)timestamp_us;
    int32_t code = lrLocalWAL(enter(user_data), sequence, (uint8_t *)payload, payload_len);
    leave();
    return code;
}

static int connect_writer(void *user_data, const char *writer_addr)
{
    int fd = lrConnect(enter(user_data), (char *)writer_addr);
    leave();
    return fd;
}

static void event(void *user_data, const replication_event *event)
{
    lrEvent(enter(user_data), (replication_event *)event);
    leave();
}

static void authorize(void *user_data, const replication_access_request *request)
{
    lrAuthorize(enter(user_data), (replication_access_request *)request);
    leave();
}

static void log_record(void *user_data, int32_t level, const char *message, const char *fields_json)
{
    lrLog(enter(user_data), level, (char *)message, (char *)fields_json);
    leave();
}

static void acked(void *user_data, int32_t status, size_t readers)
{
    lrAcked(enter(user_data), status, readers);
    leave();
}

static void release(void *user_data)
{
    lrRelease((uintptr_t)user_data);
}

int32_t lr_set_sender_event_handler(struct replication_sender_config *config, uintptr_t handle)
{
    return lr_sender_config_set_event_handler(config, event, (void *)handle, release);
}

int32_t lr_set_authorize_handler(struct replication_sender_config *config, uintptr_t handle)
{
    return lr_sender_config_set_authorize_handler(config, authorize, (void *)handle, release);
}

int32_t lr_set_sender_log_handler(struct replication_sender_config *config, int32_t max_level, uintptr_t handle)
{
    return lr_sender_config_set_log_handler(config, max_level, log_record, (void *)handle, release);
}

int32_t lr_set_receiver_event_handler(struct replication_receiver_config *config, uintptr_t handle)
{
    return lr_receiver_config_set_event_handler(config, event, (void *)handle, release);
}

int32_t lr_set_receiver_log_handler(struct replication_receiver_config *config, int32_t max_level, uintptr_t handle)
{
    return lr_receiver_config_set_log_handler(config, max_level, log_record, (void *)handle, release);
}

int32_t lr_set_ingest_handler(struct replication_receiver_config *config, uintptr_t handle)
{
    return lr_receiver_config_set_ingest_handler(config, ingest, (void *)handle, release);
}

int32_t lr_set_ingest_batch_handler(struct replication_receiver_config *config, size_t max_entries, uintptr_t handle)
{
    return lr_receiver_config_set_ingest_batch_handler(config, max_entries, ingest_batch, (void *)handle, release);
}

int32_t lr_set_record_handler(struct replication_receiver_config *config, uintptr_t handle)
{
    return lr_receiver_config_set_record_handler(config, record, (void *)handle, release);
}

int32_t lr_set_local_wal(struct replication_receiver_config *config, uintptr_t handle)
{
    return lr_receiver_config_set_local_wal(config, local_wal, (void *)handle, release);
}

int32_t lr_set_connect_handler(struct replication_receiver_config *config, uintptr_t handle)
{
    return lr_receiver_config_set_connect_handler(config, connect_writer, (void *)handle, release);
}

int32_t lr_on_acked(struct replication_sender *sender, const uint8_t *token, size_t token_len, uint32_t level,
                    const struct replication_quorum *quorum, uint64_t timeout_ms, uintptr_t handle)
{
    return lr_sender_on_acked(sender, token, token_len, level, quorum, timeout_ms, acked, (void *)handle, release);
}
