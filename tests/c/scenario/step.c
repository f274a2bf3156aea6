#include "step.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "options.h"

static struct object *objects; /* of the scenario that runs, the newest first */

void step_fail(const char *file, int line, const struct step *step, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    harness_fail(file, line, "%s\n    in step %zu: %s", text, step->number, json_object_to_json_string(step->node));
}

bool given(const struct step *step, const char *key)
{
    return json_object_object_get_ex(step->node, key, NULL);
}

struct json_object *needed(const struct step *step, const char *key)
{
    struct json_object *value;
    if (!json_object_object_get_ex(step->node, key, &value))
        STEP_FAIL(step, "%s lacks \"%s\"", step->verb->name, key);
    return value;
}

const char *text(const struct step *step, const char *key)
{
    struct json_object *value = needed(step, key);
    if (!json_object_is_type(value, json_type_string))
        STEP_FAIL(step, "\"%s\" is no string", key);
    return json_object_get_string(value);
}

uint64_t number(const struct step *step, const char *key)
{
    uint64_t value = 0;
    if (!json_is_u64(needed(step, key), &value))
        STEP_FAIL(step, "\"%s\" is no number", key);
    return value;
}

uint64_t number_or(const struct step *step, const char *key, uint64_t fallback)
{
    return given(step, key) ? number(step, key) : fallback;
}

bool truth(const struct step *step, const char *key)
{
    return given(step, key) && json_object_get_boolean(needed(step, key));
}

int32_t listed(const struct step *step, const char *table, const char *name)
{
    uint64_t value = 0;
    if (!json_is_u64(json_object_object_get(json_object_object_get(data, table), name), &value))
        STEP_FAIL(step, "%s does not list %s", table, name);
    return (int32_t)value;
}

uint32_t level(const struct step *step)
{
    int64_t value = constant("ACK_LEVEL", text(step, "level"));
    if (value < 0)
        STEP_FAIL(step, "there is no level %s", text(step, "level"));
    return (uint32_t)value;
}

uint8_t *bytes_of(const struct step *step, const char *hex, size_t *out_len)
{
    size_t len = strlen(hex) / 2;
    uint8_t *bytes = must_alloc(len);
    for (size_t i = 0; i < len; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'}, *end = NULL;
        bytes[i] = (uint8_t)strtoul(digits, &end, 16);
        if (*end != '\0')
            STEP_FAIL(step, "not hexadecimal: %s", hex);
    }
    *out_len = len;
    return bytes;
}

void same_bytes(const struct step *step, const uint8_t *got, size_t got_len, const char *hex)
{
    size_t len = 0;
    uint8_t *expected = bytes_of(step, hex, &len);
    if (got_len != len || memcmp(got, expected, len) != 0)
        STEP_FAIL(step, "%zu bytes, not the %zu of %.200s", got_len, len, hex);
    free(expected);
}

uint8_t payload_byte(uint64_t sequence, size_t index)
{
    return (uint8_t)(31 * sequence + index);
}

void same_json(const struct step *step, const char *json, struct json_object *expected)
{
    struct json_object *got = json_read(json);
    if (!json_object_equal(got, expected))
        STEP_FAIL(step, "not the records expected: %.900s", json);
    json_object_put(got);
}

struct object *find(const char *name)
{
    struct object *object = objects;
    while (object != NULL && strcmp(object->name, name) != 0)
        object = object->next;
    return object;
}

struct object *find_kind(const struct step *step, const char *name, enum object_kind kind)
{
    struct object *object = find(name);
    if (object == NULL || object->kind != kind)
        STEP_FAIL(step, "there is no \"%s\" that fits", name);
    return object;
}

struct object *object_new(const struct step *step, const char *name, enum object_kind kind)
{
    struct object *earlier = find(name);
    if (earlier != NULL && !earlier->freed)
        STEP_FAIL(step, "\"%s\" is there already", name);
    struct object *object = must_alloc(sizeof *object);
    memset(object, 0, sizeof *object);
    object->name = name;
    object->kind = kind;
    object->next = objects;
    atomic_store(&object->status, NOT_YET);
    if (kind == SENDER || kind == RECEIVER) {
        object->inbox = inbox_new();
        object->inbox->gaps_allowed = true;
        object->events = events_new();
        CHECK(pthread_mutex_init(&object->lock, NULL) == 0);
    }
    objects = object;
    return object;
}

void object_end(struct object *object)
{
    if (object->inbox != NULL)
        inbox_hold(object->inbox, false);
    receiver_free(object->receiver);
    sender_free(object->sender);
    if (object->kind == PEER && !object->freed)
        peer_close(&object->peer);
    object->receiver = NULL;
    object->sender = NULL;
    object->freed = true;
}

void objects_end(void)
{
    static const enum object_kind order[] = {PEER, RECEIVER, SENDER};
    for (size_t i = 0; i < COUNT(order); i++)
        for (struct object *object = objects; object != NULL; object = object->next)
            if (object->kind == order[i])
                object_end(object);
    while (objects != NULL) {
        struct object *object = objects;
        objects = object->next;
        if (object->kind == CALL && !object->freed)
            FAIL("nothing joins the background call \"%s\"", object->name);
        if (object->inbox != NULL) {
            inbox_free(object->inbox);
            events_free(object->events);
            for (size_t i = 0; i < object->log_count; i++)
                free(object->logs[i].fields_json);
            free(object->logs);
            pthread_mutex_destroy(&object->lock);
        }
        free(object);
    }
}

struct place token_named(const char *name)
{
    struct object *object = find(name);
    if (object == NULL || object->kind != TOKEN)
        FAIL("no token \"%s\" was kept", name);
    return object->token;
}

int32_t object_is_freed(struct step *step)
{
    object_end(step->on);
    return REPLICATION_STATUS_OK;
}
