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
 * Decodes a payload: msgpack, an array of maps, whose keys are neither arrays nor maps. It nests
 * 128 levels deep at most, and has at most 16777216 values, each key, array and map counted, which
 * take at most 256 MiB of memory beside a copy of the payload. replication_records_parse_within()
 * has another limit. The deepest nesting needs up to 96 KiB of the calling thread's stack, here, in
 * replication_records_json() and in replication_records_free().
 *
 * - `payload`, `payload_len`: not needed any more after the call.
 * - `out`: the records, to be freed with replication_records_free().
 *
 * Returns `OK`; `DECODE_FAILED` for a payload that is something else, or too much, with the byte
 * offset; `OUT_OF_MEMORY`; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_records_parse(
    const uint8_t *payload, size_t payload_len, replication_records **out);

/**
 * As replication_records_parse(), with a limit of the caller's for the memory that the values take.
 *
 * - `payload`, `payload_len`: not needed any more after the call.
 * - `max_bytes`: beside the copy of the payload. UINT64_MAX: no limit.
 * - `out`: the records, to be freed with replication_records_free().
 *
 * Returns `OK`; `DECODE_FAILED` for a payload that is something else, or too much, with the byte
 * offset; `OUT_OF_MEMORY`; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_records_parse_within(
    const uint8_t *payload, size_t payload_len, uint64_t max_bytes, replication_records **out);

/**
 * Frees records that replication_records_parse() made, never those of a record handler. NULL is
 * ignored.
 */
void replication_records_free(replication_records *records);

/** Returns how many records there are; 0 for NULL. */
size_t replication_records_count(const replication_records *records);

/**
 * Finds a value by its row and key.
 *
 * - `row`: from 0.
 * - `key`: a string key of the row's map; of several equal ones the last counts.
 * - `out`: the value, valid as long as the records.
 *
 * Returns `OK`; `NOT_FOUND` with the row and the key; `INVALID_ARGUMENT` for NULL or a key that is
 * not UTF-8.
 */
replication_status replication_records_get(
    const replication_records *records, size_t row, const char *key, const replication_value **out);

/**
 * Finds a whole record.
 *
 * - `row`: from 0.
 * - `out`: a map, valid as long as the records.
 *
 * Returns `OK`; `NOT_FOUND` with the row; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_records_row(
    const replication_records *records, size_t row, const replication_value **out);

/**
 * Gives the records as a JSON array: integers exact, bytes as base64 strings, extensions as
 * {"ext":type,"data":base64}, floats that are not finite as null.
 *
 * - `out_json`: the text, ended by a NUL, valid as long as the records.
 * - `out_len`: its bytes without the NUL.
 *
 * Returns `OK`; `OUT_OF_MEMORY`; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_records_json(
    const replication_records *records, const char **out_json, size_t *out_len);

/** Returns what a value is, a replication_value_type; -1 for NULL. */
int32_t replication_value_type_of(const replication_value *value);

/**
 * Reads a boolean.
 *
 * Returns `OK`; `WRONG_TYPE` for anything else; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_value_bool(const replication_value *value, bool *out);

/**
 * Reads an integer that fits.
 *
 * Returns `OK`; `WRONG_TYPE` for anything else, and for an integer above INT64_MAX;
 * `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_value_i64(const replication_value *value, int64_t *out);

/**
 * Reads an integer that fits.
 *
 * Returns `OK`; `WRONG_TYPE` for anything else, and for an integer below 0; `INVALID_ARGUMENT` for
 * NULL.
 */
replication_status replication_value_u64(const replication_value *value, uint64_t *out);

/**
 * Reads a float, or the float nearest to an integer.
 *
 * Returns `OK`; `WRONG_TYPE` for anything else; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_value_f64(const replication_value *value, double *out);

/**
 * Reads a string: UTF-8, NOT ended by a NUL, valid as long as the records.
 *
 * Returns `OK`; `WRONG_TYPE` for anything else; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_value_string(
    const replication_value *value, const char **out, size_t *out_len);

/**
 * Reads bytes, those of a string or those of an extension, valid as long as the records.
 *
 * Returns `OK`; `WRONG_TYPE` for anything else; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_value_bytes(
    const replication_value *value, const uint8_t **out, size_t *out_len);

/**
 * Reads the type of an extension; replication_value_bytes() has its data.
 *
 * Returns `OK`; `WRONG_TYPE` for anything else; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_value_ext_type(const replication_value *value, int8_t *out);

/** Returns how many elements an array or entries a map has; 0 for anything else and for NULL. */
size_t replication_value_count(const replication_value *value);

/**
 * Finds the element of an array, or the value of a map entry.
 *
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
 *
 * - `index`: from 0, in the order of the payload.
 * - `out`: valid as long as the records.
 *
 * Returns `OK`; `NOT_FOUND` with the index; `WRONG_TYPE` for a value that is no map;
 * `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_value_key_at(
    const replication_value *value, size_t index, const replication_value **out);

/**
 * Finds the value of a map under a string key; of several equal keys the last counts.
 *
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
