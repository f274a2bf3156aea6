#include "json.h"

#include <stdlib.h>
#include <string.h>

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

static const char *skip_space(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

static const char *skip_string(const char *at)
{
    if (*at++ != '"')
        return NULL;
    while (*at != '"') {
        if ((unsigned char)*at < 0x20)
            return NULL; /* the end of the text too */
        if (*at++ != '\\')
            continue;
        if (*at == 'u') {
            if (strspn(at + 1, "0123456789abcdefABCDEF") < 4)
                return NULL;
            at += 5;
        } else if (*at != '\0' && strchr("\"\\/bfnrt", *at) != NULL) {
            at++;
        } else {
            return NULL;
        }
    }
    return at + 1;
}

static const char *skip_digits(const char *at)
{
    size_t digits = strspn(at, "0123456789");
    return digits == 0 ? NULL : at + digits;
}

static const char *skip_number(const char *at)
{
    if (*at == '-')
        at++;
    if (*at == '0' && at[1] >= '0' && at[1] <= '9')
        return NULL;
    at = skip_digits(at);
    if (at != NULL && *at == '.')
        at = skip_digits(at + 1);
    if (at != NULL && (*at == 'e' || *at == 'E')) {
        at++;
        if (*at == '+' || *at == '-')
            at++;
        at = skip_digits(at);
    }
    return at;
}

static const char *skip_value(const char *at, int depth);

static const char *skip_members(const char *at, int depth, char end, bool keys)
{
    at = skip_space(at);
    if (*at == end)
        return at + 1;
    for (;;) {
        if (keys) {
            at = skip_string(skip_space(at));
            if (at == NULL)
                return NULL;
            at = skip_space(at);
            if (*at++ != ':')
                return NULL;
        }
        at = skip_value(at, depth + 1);
        if (at == NULL)
            return NULL;
        at = skip_space(at);
        if (*at == end)
            return at + 1;
        if (*at++ != ',')
            return NULL;
    }
}

static const char *skip_value(const char *at, int depth)
{
    static const char *const words[] = {"true", "false", "null"};
    if (depth > MAX_DEPTH)
        return NULL;
    at = skip_space(at);
    if (*at == '{')
        return skip_members(at + 1, depth, '}', true);
    if (*at == '[')
        return skip_members(at + 1, depth, ']', false);
    if (*at == '"')
        return skip_string(at);
    for (size_t i = 0; i < COUNT(words); i++)
        if (strncmp(at, words[i], strlen(words[i])) == 0)
            return at + strlen(words[i]);
    return skip_number(at);
}

bool json_valid(const char *text)
{
    const char *end = skip_value(text, 0);
    return end != NULL && *skip_space(end) == '\0' && utf8_valid(text);
}

bool json_is_object(const char *text)
{
    return *skip_space(text) == '{' && json_valid(text);
}

/* The member of the object or array at `at` that the first `length` bytes of `step` name. */
static const char *member(const char *at, const char *step, size_t length)
{
    bool keys = *at == '{';
    if (!keys && *at != '[')
        return NULL;
    size_t wanted = keys ? 0 : (size_t)strtoul(step, NULL, 10);
    at = skip_space(at + 1);
    for (size_t index = 0; *at != '}' && *at != ']'; index++) {
        bool found = !keys && index == wanted;
        if (keys) {
            const char *end = skip_string(at);
            found = (size_t)(end - at) == length + 2 && strncmp(at + 1, step, length) == 0;
            at = skip_space(skip_space(end) + 1);
        }
        if (found)
            return at;
        at = skip_space(skip_value(at, 0));
        if (*at == ',')
            at = skip_space(at + 1);
    }
    return NULL;
}

const char *json_at(const char *text, const char *path)
{
    if (!json_valid(text))
        FAIL("not JSON: %.1500s", text);
    const char *at = skip_space(text);
    while (at != NULL && *path != '\0') {
        size_t length = strcspn(path, ".");
        at = member(at, path, length);
        path += length + (path[length] == '.');
    }
    return at;
}

uint64_t json_u64(const char *text, const char *path)
{
    const char *at = json_at(text, path);
    if (at == NULL || *at < '0' || *at > '9')
        FAIL("no number at \"%s\" of %.1500s", path, text);
    return strtoull(at, NULL, 10);
}

bool json_is_string(const char *text, const char *path, const char *expected)
{
    const char *at = json_at(text, path);
    size_t length = strlen(expected);
    return at != NULL && *at == '"' && strncmp(at + 1, expected, length) == 0 && at[length + 1] == '"';
}

bool json_is_true(const char *text, const char *path)
{
    const char *at = json_at(text, path);
    return at != NULL && strncmp(at, "true", 4) == 0;
}
