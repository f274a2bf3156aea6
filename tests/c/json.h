/* JSON as json-c reads it, which keeps whole numbers exact up to 2^64 - 1. JSON's null is NULL in it. */
#ifndef REPLICATION_TESTS_JSON_H
#define REPLICATION_TESTS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>

bool utf8_valid(const char *text);
/* One JSON value in valid UTF-8, and nothing after it. json-c takes a little more, such as NaN and control characters; the
 * tests in Rust read with serde_json, which does not. */
bool json_valid(const char *text);
bool json_is_object(const char *text);

/* The value of a text, to be given to json_object_put(). The test fails when the text is not JSON. */
struct json_object *json_read(const char *text);
/* Finds the value at a path such as "readers.0.lag"; false when there is none. */
bool json_find(struct json_object *value, const char *path, struct json_object **out);
/* Whether the value is a whole number that is not negative. */
bool json_is_u64(struct json_object *value, uint64_t *out);

/* The same of a text. */
bool json_has(const char *text, const char *path);
/* The value at the path as a number; the test fails when there is none. */
uint64_t json_u64(const char *text, const char *path);
/* Whether the value at the path is what this JSON says; this string; true. */
bool json_is(const char *text, const char *path, const char *expected);
bool json_is_string(const char *text, const char *path, const char *expected);
bool json_is_true(const char *text, const char *path);

#endif
