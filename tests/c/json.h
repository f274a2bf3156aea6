/* Enough of JSON to check what the library writes: is it valid, and what stands at a path. */
#ifndef REPLICATION_TESTS_JSON_H
#define REPLICATION_TESTS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool utf8_valid(const char *text);
bool json_valid(const char *text); /* one JSON value, valid UTF-8, nothing after it */
bool json_is_object(const char *text);

/* The value at a path such as "readers.0.lag": points into the text at its first byte, or NULL. */
const char *json_at(const char *text, const char *path);

/* The value at the path as a number; the test fails when there is none. */
uint64_t json_u64(const char *text, const char *path);
/* Whether the value at the path is this string (without escapes). */
bool json_is_string(const char *text, const char *path, const char *expected);
bool json_is_true(const char *text, const char *path);

#endif
