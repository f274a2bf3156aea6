#include "json.h"

#include <stdio.h>
#include <string.h>

#include <json-c/json_pointer.h>

#include "harness.h"

enum { MAX_DEPTH = 64 };

/* The bytes of the UTF-8 sequence that begins at `at`; 0 when it is none. */
static size_t utf8_length(const unsigned char *at)
{
    unsigned char lead = at[0];
    if (lead < 0x80)
        return 1;
    size_t length = lead >= 0xF0 && lead <= 0xF4  ? 4
                    : lead >= 0xE0 && lead < 0xF0 ? 3
                    : lead >= 0xC2 && lead < 0xE0 ? 2
                                                  : 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    if ((lead == 0xE0 && at[1] < 0xA0) || (lead == 0xED && at[1] > 0x9F) || (lead == 0xF0 && at[1] < 0x90) ||
        (lead == 0xF4 && at[1] > 0x8F))
        return 0;
    return length;
}

bool utf8_valid(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at != '\0') {
        size_t length = utf8_length(at);
        if (length == 0)
            return false;
        at += length;
    }
    return true;
}

static bool parse(const char *text, struct json_object **out)
{
    struct json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH);
    CHECK(tokener != NULL);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    /* With the NUL: without it, a number might go on. */
    *out = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
    bool valid = json_tokener_get_error(tokener) == json_tokener_success && utf8_valid(text);
    json_tokener_free(tokener);
    if (!valid) {
        json_object_put(*out);
        *out = NULL;
    }
    return valid;
}

bool json_valid(const char *text)
{
    struct json_object *value;
    bool valid = parse(text, &value);
    json_object_put(value);
    return valid;
}

bool json_is_object(const char *text)
{
    struct json_object *value;
    bool is = parse(text, &value) && json_object_is_type(value, json_type_object);
    json_object_put(value);
    return is;
}

struct json_object *json_read(const char *text)
{
    struct json_object *value;
    if (!parse(text, &value))
        FAIL("not JSON: %.1500s", text);
    return value;
}

bool json_find(struct json_object *value, const char *path, struct json_object **out)
{
    char pointer[128];
    int length = snprintf(pointer, sizeof pointer, "%s%s", *path == '\0' ? "" : "/", path);
    CHECK(length >= 0 && (size_t)length < sizeof pointer);
    for (char *dot = pointer; (dot = strchr(dot, '.')) != NULL;)
        *dot = '/';
    return json_pointer_get(value, pointer, out) == 0;
}

bool json_is_u64(struct json_object *value, uint64_t *out)
{
    if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
        return false;
    *out = json_object_get_uint64(value);
    return true;
}

bool json_has(const char *text, const char *path)
{
    struct json_object *value = json_read(text), *found;
    bool has = json_find(value, path, &found);
    json_object_put(value);
    return has;
}

uint64_t json_u64(const char *text, const char *path)
{
    struct json_object *value = json_read(text), *found;
    uint64_t number = 0;
    if (!json_find(value, path, &found) || !json_is_u64(found, &number))
        FAIL("no number at \"%s\" of %.1500s", path, text);
    json_object_put(value);
    return number;
}

/* Whether the value at the path is `expected`, which is put. */
static bool is(const char *text, const char *path, struct json_object *expected)
{
    struct json_object *value = json_read(text), *found;
    bool same = json_find(value, path, &found) && json_object_equal(found, expected);
    json_object_put(value);
    json_object_put(expected);
    return same;
}

bool json_is(const char *text, const char *path, const char *expected)
{
    return is(text, path, json_read(expected));
}

bool json_is_string(const char *text, const char *path, const char *expected)
{
    return is(text, path, json_object_new_string(expected));
}

bool json_is_true(const char *text, const char *path)
{
    return is(text, path, json_object_new_boolean(true));
}
