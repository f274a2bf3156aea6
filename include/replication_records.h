/**
 * Records: the msgpack payload, decoded: a part of replication.h, which includes it.
 */
#ifndef REPLICATION_RECORDS_H
#define REPLICATION_RECORDS_H

/* Generated from src/ffi. Change the text there, then run `make header`. */

#include "replication.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A value within records, valid as long as they are. */
typedef struct replication_value replication_value;

/* Records: the msgpack payload, decoded -------------------------------------------------------- */

/** The type of a value. The numbers are part of the ABI. */
REPLICATION_ENUM(replication_value_type, int32_t) {
    REPLICATION_VALUE_TYPE_NIL = 0, /**< Nil. */
    REPLICATION_VALUE_TYPE_BOOL = 1, /**< A boolean. */
    REPLICATION_VALUE_TYPE_I64 = 2, /**< An integer that fits an int64_t, however encoded. */
    REPLICATION_VALUE_TYPE_U64 = 3, /**< An integer above INT64_MAX. */
    REPLICATION_VALUE_TYPE_F64 = 4, /**< A float of either size. */
    REPLICATION_VALUE_TYPE_STRING = 5, /**< UTF-8 text. */
    REPLICATION_VALUE_TYPE_BYTES = 6, /**< Bytes, or a string that is not UTF-8. */
    REPLICATION_VALUE_TYPE_ARRAY = 7, /**< An array. */
    REPLICATION_VALUE_TYPE_MAP = 8, /**< A map. */
    REPLICATION_VALUE_TYPE_EXT = 9, /**< An application-defined type and its bytes. */
};

/**
 * Decodes a payload: a msgpack array of maps, whose keys are neither arrays nor maps. Limits: 128
 * levels of nesting, 16777216 values (keys, arrays and maps included) and 256 MiB of memory besides
 * a copy of the payload. The deepest nesting needs up to 96 KiB of the calling thread's stack, also
 * in replication_records_json() and replication_records_free().
 * - `payload`, `payload_len`: copied.
 * - `out`: the records, to be freed with replication_records_free().
 *
 * Returns `OK`; `DECODE_FAILED` with the byte offset for any other payload or one over a limit;
 * `OUT_OF_MEMORY`; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_records_parse(
    const uint8_t *payload, size_t payload_len, replication_records **out);

/**
 * As replication_records_parse(), with another memory limit.
 * - `max_bytes`: the most bytes for the values, besides the copy of the payload. UINT64_MAX: no
 *   limit.
 *
 * Returns what replication_records_parse() returns.
 */
replication_status replication_records_parse_within(
    const uint8_t *payload, size_t payload_len, uint64_t max_bytes, replication_records **out);

/** Frees records that were parsed, never those of a record handler. */
void replication_records_free(replication_records *records);

/** Returns the number of records; 0 for NULL. */
size_t replication_records_count(const replication_records *records);

/**
 * Finds the value of a key in a record.
 * - `row`: the index of the record, from 0.
 * - `key`: a string key of its map; if it occurs more than once, the last one counts.
 * - `out`: the value, valid as long as the records.
 *
 * Returns `OK`; `NOT_FOUND` with the row and the key; `INVALID_ARGUMENT` for NULL or a key that is
 * not UTF-8.
 */
replication_status replication_records_get(
    const replication_records *records, size_t row, const char *key, const replication_value **out);

/**
 * Finds a record.
 * - `row`: its index, from 0.
 * - `out`: a map, valid as long as the records.
 *
 * Returns `OK`; `NOT_FOUND` with the row; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_records_row(
    const replication_records *records, size_t row, const replication_value **out);

/**
 * Converts the records to a JSON array: integers exactly, bytes as base64 strings, extensions as
 * {"ext":type,"data":base64}, and floats that are not finite as null.
 * - `out_json`: the text with a NUL at its end, valid as long as the records.
 * - `out_len`: its length in bytes without the NUL.
 *
 * Returns `OK`; `OUT_OF_MEMORY`; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_records_json(
    const replication_records *records, const char **out_json, size_t *out_len);

/** Returns the replication_value_type of a value; -1 for NULL. */
int32_t replication_value_type_of(const replication_value *value);

/** Reads a boolean. Returns `OK`; `WRONG_TYPE` for any other value; `INVALID_ARGUMENT` for NULL. */
replication_status replication_value_bool(const replication_value *value, bool *out);

/**
 * Reads an integer of at most INT64_MAX. Returns `OK`; `WRONG_TYPE` for any other value;
 * `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_value_i64(const replication_value *value, int64_t *out);

/**
 * Reads an integer of at least 0. Returns `OK`; `WRONG_TYPE` for any other value;
 * `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_value_u64(const replication_value *value, uint64_t *out);

/**
 * Reads a float, or an integer as the nearest float. Returns `OK`; `WRONG_TYPE` for any other
 * value; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_value_f64(const replication_value *value, double *out);

/**
 * Reads a string: UTF-8, NOT terminated by a NUL, valid as long as the records. Returns `OK`;
 * `WRONG_TYPE` for any other value; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_value_string(
    const replication_value *value, const char **out, size_t *out_len);

/**
 * Reads bytes, or those of a string or an extension, valid as long as the records. Returns `OK`;
 * `WRONG_TYPE` for any other value; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_value_bytes(
    const replication_value *value, const uint8_t **out, size_t *out_len);

/**
 * Reads the type of an extension, whose data replication_value_bytes() reads. Returns `OK`;
 * `WRONG_TYPE` for any other value; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_value_ext_type(const replication_value *value, int8_t *out);

/**
 * Returns the number of elements of an array or of entries of a map; 0 for any other value and for
 * NULL.
 */
size_t replication_value_count(const replication_value *value);

/**
 * Finds an element of an array, or the value of a map entry.
 * - `index`: from 0, in the order of the payload.
 * - `out`: valid as long as the records.
 *
 * Returns `OK`; `NOT_FOUND` with the index; `WRONG_TYPE` for a value that is no array or map;
 * `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_value_at(
    const replication_value *value, size_t index, const replication_value **out);

/**
 * Finds the key of a map entry.
 * - `index`, `out`: as for replication_value_at().
 *
 * Returns `OK`; `NOT_FOUND` with the index; `WRONG_TYPE` for a value that is no map;
 * `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_value_key_at(
    const replication_value *value, size_t index, const replication_value **out);

/**
 * Finds the value of a string key in a map; if the key occurs more than once, the last one counts.
 * - `out`: valid as long as the records.
 *
 * Returns `OK`; `NOT_FOUND` with the key; `WRONG_TYPE` for a value that is no map;
 * `INVALID_ARGUMENT` for NULL or a key that is not UTF-8.
 */
replication_status replication_value_get(
    const replication_value *value, const char *key, const replication_value **out);

#ifdef __cplusplus
}
#endif

#endif
