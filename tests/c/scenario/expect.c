/* The verbs that expect something. */
#include <stdio.h>

#include "step.h"

/* Waits until the handler has taken so many entries, and not one more. */
static void expect_count(struct step *step, size_t count)
{
    struct inbox *inbox = step->on->inbox;
    STEP_UNTIL(step, inbox_count(inbox) >= count, "%zu entries came, not %zu", inbox_count(inbox), count);
    if (inbox_count(inbox) > count)
        STEP_FAIL(step, "%zu entries came, not %zu", inbox_count(inbox), count);
    for (size_t i = 0; i < count; i++)
        if (inbox_at(inbox, i).timestamp_us != TIMESTAMP_US)
            STEP_FAIL(step, "the timestamp of entry %zu is another", i + 1);
}

static void expect_entry(struct step *step, size_t index, uint64_t sequence, size_t len)
{
    struct inbox_entry entry = inbox_at(step->on->inbox, index);
    if (entry.sequence != sequence || entry.payload_len != len)
        STEP_FAIL(step, "entry %llu of %zu bytes came, not %llu of %zu", (unsigned long long)entry.sequence,
                  entry.payload_len, (unsigned long long)sequence, len);
    for (size_t i = 0; i < len; i++)
        if (entry.payload[i] != payload_byte(sequence, i))
            STEP_FAIL(step, "byte %zu of entry %llu is another", i, (unsigned long long)sequence);
}

struct range {
    uint64_t first, last, bytes;
};

static struct range range_of(const struct step *step, struct json_object *node)
{
    struct range range = {.bytes = DEFAULT_BYTES};
    if (!json_is_u64(json_object_array_get_idx(node, 0), &range.first) ||
        !json_is_u64(json_object_array_get_idx(node, 1), &range.last) ||
        (json_object_array_length(node) > 2 && !json_is_u64(json_object_array_get_idx(node, 2), &range.bytes)))
        STEP_FAIL(step, "a range is first, last and perhaps bytes");
    return range;
}

static int32_t expect_entries(struct step *step)
{
    size_t count = 0, index = 0;
    struct json_object *ranges = needed(step, "entries");
    for (size_t i = 0; i < json_object_array_length(ranges); i++) {
        struct range range = range_of(step, json_object_array_get_idx(ranges, i));
        count += range.last - range.first + 1;
    }
    expect_count(step, count);
    for (size_t i = 0; i < json_object_array_length(ranges); i++) {
        struct range range = range_of(step, json_object_array_get_idx(ranges, i));
        for (uint64_t sequence = range.first; sequence <= range.last; sequence++)
            expect_entry(step, index++, sequence, range.bytes);
    }
    return REPLICATION_STATUS_OK;
}

static int32_t expect_payloads(struct step *step)
{
    struct json_object *payloads = needed(step, "payloads");
    expect_count(step, json_object_array_length(payloads));
    for (size_t i = 0; i < json_object_array_length(payloads); i++) {
        struct inbox_entry entry = inbox_at(step->on->inbox, i);
        same_bytes(step, entry.payload, entry.payload_len,
                   json_object_get_string(json_object_array_get_idx(payloads, i)));
    }
    return REPLICATION_STATUS_OK;
}

static int32_t expect_records(struct step *step)
{
    struct json_object *records = needed(step, "records");
    expect_count(step, json_object_array_length(records));
    for (size_t i = 0; i < json_object_array_length(records); i++)
        same_json(step, (const char *)inbox_at(step->on->inbox, i).payload, json_object_array_get_idx(records, i));
    return REPLICATION_STATUS_OK;
}

static uint64_t asked(struct step *step)
{
    const char *what = text(step, "what");
    const struct object *on = step->on;
    if (on->sender != NULL && strcmp(what, "current_sequence") == 0)
        return sender_current_sequence(on->sender);
    if (on->sender != NULL && strcmp(what, "reader_count") == 0)
        return sender_reader_count(on->sender);
    if (on->receiver != NULL && strcmp(what, "last_sequence") == 0)
        return receiver_last_sequence(on->receiver);
    if (on->receiver != NULL && strcmp(what, "is_connected") == 0)
        return receiver_is_connected(on->receiver);
    STEP_FAIL(step, "\"%s\" has no %s", on->name, what);
}

static int32_t expect_get(struct step *step)
{
    bool is_truth = json_object_is_type(needed(step, "equals"), json_type_boolean);
    uint64_t wanted = is_truth ? truth(step, "equals") : number(step, "equals");
    STEP_UNTIL(step, asked(step) == wanted, "%s stays %llu", text(step, "what"), (unsigned long long)asked(step));
    return REPLICATION_STATUS_OK;
}

static int32_t expect_option(struct step *step)
{
    const char *name = text(step, "name");
    uint64_t value = 0;
    CHECK_OK(step->on->sender != NULL ? sender_option(step->on->sender, name, &value)
                                      : receiver_option(step->on->receiver, name, &value));
    if (value != number(step, "equals"))
        STEP_FAIL(step, "%s is %llu", name, (unsigned long long)value);
    return REPLICATION_STATUS_OK;
}

/* The statistics, to be put. */
static struct json_object *statistics(struct step *step)
{
    char *json = NULL;
    CHECK_OK(step->on->sender != NULL ? sender_stats_json(step->on->sender, &json)
                                      : receiver_stats_json(step->on->receiver, &json));
    struct json_object *stats = json_read(json);
    replication_string_free(json);
    return stats;
}

/* Whether the statistics are as the step says; writes what is there instead. */
static bool stat_is(struct step *step, char *seen, size_t seen_bytes)
{
    struct json_object *stats = statistics(step), *value = NULL;
    uint64_t got = 0;
    bool found = json_find(stats, text(step, "path"), &value), so;
    if (given(step, "equals"))
        so = found && json_object_equal(value, needed(step, "equals"));
    else
        so = json_is_u64(value, &got) && got >= number(step, "at_least");
    snprintf(seen, seen_bytes, "%s", found ? json_object_to_json_string(value) : "not there");
    json_object_put(stats);
    return so;
}

static int32_t expect_stat(struct step *step)
{
    char seen[256];
    STEP_UNTIL(step, stat_is(step, seen, sizeof seen), "%s stays %s", text(step, "path"), seen);
    return REPLICATION_STATUS_OK;
}

static int32_t expect_keys(struct step *step)
{
    struct json_object *stats = statistics(step), *object = stats, *keys = needed(step, "keys");
    if (given(step, "path") && !json_find(stats, text(step, "path"), &object))
        STEP_FAIL(step, "the statistics lack \"%s\"", text(step, "path"));
    for (size_t i = 0; i < json_object_array_length(keys); i++) {
        const char *key = json_object_get_string(json_object_array_get_idx(keys, i));
        if (!json_object_object_get_ex(object, key, NULL))
            STEP_FAIL(step, "the statistics lack \"%s\"", key);
    }
    json_object_put(stats);
    return REPLICATION_STATUS_OK;
}

static size_t events_like(struct step *step)
{
    struct events *events = step->on->events;
    int32_t kind = listed(step, "event_kinds", text(step, "kind"));
    int32_t status = given(step, "status") ? listed(step, "statuses", text(step, "status")) : NOT_YET;
    size_t found = 0;
    CHECK(pthread_mutex_lock(&events->lock) == 0);
    for (size_t i = 0; i < events->count; i++)
        found += events->seen[i].kind == kind && (status == NOT_YET || events->seen[i].status == status) &&
                 events->seen[i].sequence == number_or(step, "sequence", events->seen[i].sequence);
    CHECK(pthread_mutex_unlock(&events->lock) == 0);
    return found;
}

static int32_t expect_event(struct step *step)
{
    uint64_t wanted = number_or(step, "at_least", 1);
    STEP_UNTIL(step, events_like(step) >= wanted, "%zu such events came", events_like(step));
    return REPLICATION_STATUS_OK;
}

static bool was_logged(struct step *step)
{
    struct object *object = step->on;
    int32_t wanted = listed(step, "log_levels", text(step, "level"));
    bool found = false;
    CHECK(pthread_mutex_lock(&object->lock) == 0);
    for (size_t i = 0; i < object->log_count && !found; i++)
        found = object->logs[i].level == wanted &&
                json_is_string(object->logs[i].fields_json, "event", text(step, "event"));
    CHECK(pthread_mutex_unlock(&object->lock) == 0);
    return found;
}

static int32_t expect_log(struct step *step)
{
    STEP_UNTIL(step, was_logged(step), "no such record came");
    return REPLICATION_STATUS_OK;
}

/* Of an order, or of a stop inside a callback. */
static int32_t expect_status(struct step *step)
{
    int32_t wanted = listed(step, "statuses", text(step, "status"));
    STEP_UNTIL(step, atomic_load(&step->on->status) != NOT_YET, "there is no status yet");
    if (atomic_load(&step->on->status) != wanted)
        STEP_FAIL(step, "the status is %s", replication_status_name(atomic_load(&step->on->status)));
    return REPLICATION_STATUS_OK;
}

const struct verb expect_verbs[] = {
    {"expect.entries", false, " entries ", expect_entries},
    {"expect.payloads", false, " payloads ", expect_payloads},
    {"expect.records", false, " records ", expect_records},
    {"expect.get", false, " what equals ", expect_get},
    {"expect.option", false, " name equals ", expect_option},
    {"expect.stat", false, " path equals at_least ", expect_stat},
    {"expect.keys", false, " path keys ", expect_keys},
    {"expect.event", false, " kind status sequence at_least ", expect_event},
    {"expect.log", false, " level event ", expect_log},
    {"expect.acked", false, " status ", expect_status},
    {"expect.stopped_inside", false, " status ", expect_status},
    {NULL, false, NULL, NULL},
};
