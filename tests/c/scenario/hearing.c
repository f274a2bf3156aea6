#include "hearing.h"

#include <stdlib.h>

enum { APPLY_FAILURE = 7 };

static void stop_inside(struct object *object)
{
    if (atomic_exchange(&object->stop_inside, false))
        atomic_store(&object->status,
                     object->sender != NULL ? sender_stop(object->sender) : receiver_stop(object->receiver));
}

static bool fails(struct object *object, uint64_t sequence)
{
    if (sequence != object->fail_sequence || atomic_load(&object->fail_times) == 0)
        return false;
    atomic_fetch_sub(&object->fail_times, 1);
    return true;
}

int32_t take_entry(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                   size_t payload_len)
{
    struct object *object = user_data;
    stop_inside(object);
    return fails(object, sequence) ? APPLY_FAILURE
                                   : inbox_ingest(object->inbox, sequence, timestamp_us, payload, payload_len);
}

int32_t take_batch(void *user_data, const replication_entry *entries, size_t count, size_t *applied)
{
    struct object *object = user_data;
    stop_inside(object);
    CHECK(count <= BATCH_ENTRIES);
    for (size_t i = 0; i < count; i++)
        if (fails(object, entries[i].sequence))
            return APPLY_FAILURE;
    return inbox_ingest_batch(object->inbox, entries, count, applied);
}

/* What is remembered of records is their JSON. */
int32_t take_records(void *user_data, uint64_t sequence, uint64_t timestamp_us, const replication_records *records)
{
    const char *json = NULL;
    size_t len = 0;
    CHECK_OK(replication_records_json(records, &json, &len));
    return take_entry(user_data, sequence, timestamp_us, (const uint8_t *)json, len);
}

void hear_event(void *user_data, const replication_event *event)
{
    struct object *object = user_data;
    events_event(object->events, event);
    if (object->kind == SENDER)
        stop_inside(object);
}

void hear_log(void *user_data, int32_t level, const char *message, const char *fields_json)
{
    struct object *object = user_data;
    events_log(object->events, level, message, fields_json);
    char *copy = strdup(fields_json);
    CHECK(copy != NULL);
    CHECK(pthread_mutex_lock(&object->lock) == 0);
    if (object->log_count == object->log_capacity) {
        object->log_capacity = 2 * object->log_capacity + 16;
        object->logs = realloc(object->logs, object->log_capacity * sizeof *object->logs);
        CHECK(object->logs != NULL);
    }
    object->logs[object->log_count++] = (struct log_record){level, copy};
    CHECK(pthread_mutex_unlock(&object->lock) == 0);
}

void hear_acked(void *user_data, int32_t status, size_t readers)
{
    struct object *order = user_data;
    (void)readers;
    CHECK(atomic_exchange(&order->status, status) == NOT_YET);
}
