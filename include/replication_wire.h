/**
 * Messages of protocol v1, over the caller's buffers: a part of replication.h, which includes it.
 */
#ifndef REPLICATION_WIRE_H
#define REPLICATION_WIRE_H

/* Generated from src/ffi. Change the text there, then run `make header`. */

#include "replication.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Messages of protocol v1, over the caller's buffers ------------------------------------------- */

/**
 * Bytes of a message before its payload: a big-endian u32 length, which counts the type and the
 * payload, and the type.
 */
#define REPLICATION_HEADER_SIZE 5
/** The largest length that a message may name: its type and its payload, 100 MiB. */
#define REPLICATION_MAX_MESSAGE_SIZE 104857600

/**
 * Reads the message at the start of a buffer, without copying it.
 *
 * - `buffer`, `buffer_len`: what has arrived so far.
 * - `out_type`: the type: 0x10 Entry, 0x11 Ack, 0x12 Sync, 0x13 SyncAck, 0x1F Error, or any other.
 * - `out_payload`, `out_payload_len`: the JSON, within `buffer`, for the replication_parse_
 *   functions.
 * - `out_consumed`: bytes of the whole message; the next one begins after them.
 *
 * Returns `OK`; `TRUNCATED` while the message is not whole, with a text that begins "read length",
 * "read type" or "read payload"; `MESSAGE_TOO_SMALL` for a length of 0 and `MESSAGE_TOO_LARGE` for
 * one over `REPLICATION_MAX_MESSAGE_SIZE`, both as soon as the length is there; `INVALID_ARGUMENT`
 * for NULL.
 */
replication_status replication_read_message(
    const uint8_t *buffer, size_t buffer_len, uint8_t *out_type, const uint8_t **out_payload,
    size_t *out_payload_len, size_t *out_consumed);

/**
 * Writes a message of any type.
 *
 * - `type`: the type byte.
 * - `payload`, `payload_len`: what follows it, copied.
 * - `buffer`, `buffer_cap`: where the message goes; NULL and 0 to ask for its size.
 * - `out_len`: bytes of the message, also with `BUFFER_TOO_SMALL`.
 *
 * Returns `OK`; `BUFFER_TOO_SMALL`, and then the buffer is untouched; `MESSAGE_TOO_LARGE` when the
 * payload and its type are over `REPLICATION_MAX_MESSAGE_SIZE`; `INVALID_ARGUMENT` for NULL.
 * Allocates nothing.
 */
replication_status replication_write_message(
    uint8_t type, const uint8_t *payload, size_t payload_len, uint8_t *buffer, size_t buffer_cap,
    size_t *out_len);

/**
 * Writes an Entry message.
 *
 * - `sequence`, `timestamp_us`: its place in the stream; microseconds since the Unix epoch.
 * - `payload`, `payload_len`: its bytes; NULL with 0 writes null, any other pointer with 0 an empty
 *   text.
 * - `buffer`, `buffer_cap`, `out_len`: as for replication_write_message().
 *
 * Returns `OK`; `BUFFER_TOO_SMALL`; `MESSAGE_TOO_LARGE`; `INVALID_ARGUMENT` for NULL. Allocates
 * nothing.
 */
replication_status replication_write_entry(
    uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload, size_t payload_len,
    uint8_t *buffer, size_t buffer_cap, size_t *out_len);

/**
 * Writes an Ack message.
 *
 * - `last_sequence`: the last entry that was taken.
 * - `reader_id`: who acknowledges; a writer takes up to `REPLICATION_MAX_READER_ID_BYTES` bytes.
 * - `buffer`, `buffer_cap`, `out_len`: as for replication_write_message().
 *
 * Returns `OK`; `BUFFER_TOO_SMALL`; `MESSAGE_TOO_LARGE`; `INVALID_ARGUMENT` for NULL or text that
 * is not UTF-8. Allocates nothing.
 */
replication_status replication_write_ack(
    uint64_t last_sequence, const char *reader_id, uint8_t *buffer, size_t buffer_cap,
    size_t *out_len);

/**
 * Writes a Sync message, as a reader that speaks v1 only.
 *
 * - `reader_id`: who asks; a writer takes up to `REPLICATION_MAX_READER_ID_BYTES` bytes.
 * - `last_known_sequence`: the last entry it has; 0 for none.
 * - `coordinator`: use the type of a cluster coordinator, 0x10 instead of 0x12.
 * - `buffer`, `buffer_cap`, `out_len`: as for replication_write_message().
 *
 * Returns `OK`; `BUFFER_TOO_SMALL`; `MESSAGE_TOO_LARGE`; `INVALID_ARGUMENT` for NULL or text that
 * is not UTF-8.
 */
replication_status replication_write_sync(
    const char *reader_id, uint64_t last_known_sequence, bool coordinator, uint8_t *buffer,
    size_t buffer_cap, size_t *out_len);

/**
 * Writes a SyncAck message, as a writer that speaks v1 only.
 *
 * - `current_sequence`: the last entry of the log.
 * - `can_resume`: whether the reader gets every entry after its position.
 * - `error`: why it is refused; NULL or "" when it is not.
 * - `coordinator`: use the type of a cluster coordinator, 0x11 instead of 0x13.
 * - `buffer`, `buffer_cap`, `out_len`: as for replication_write_message().
 *
 * Returns `OK`; `BUFFER_TOO_SMALL`; `MESSAGE_TOO_LARGE`; `INVALID_ARGUMENT` for NULL or text that
 * is not UTF-8.
 */
replication_status replication_write_sync_ack(
    uint64_t current_sequence, bool can_resume, const char *error, bool coordinator,
    uint8_t *buffer, size_t buffer_cap, size_t *out_len);

/**
 * Writes an Error message.
 *
 * - `code`: one of the protocol's codes, as replication_status_name() gives them, such as
 *   "SEQUENCE_GAP".
 * - `message`: for people.
 * - `buffer`, `buffer_cap`, `out_len`: as for replication_write_message().
 *
 * Returns `OK`; `BUFFER_TOO_SMALL`; `MESSAGE_TOO_LARGE`; `INVALID_ARGUMENT` for NULL or text that
 * is not UTF-8. Allocates nothing.
 */
replication_status replication_write_error(
    const char *code, const char *message, uint8_t *buffer, size_t buffer_cap, size_t *out_len);

/**
 * Reads the JSON of an Entry message.
 *
 * - `json`, `json_len`: what follows the type in the message.
 * - `out_sequence`, `out_timestamp_us`: its place in the stream; microseconds since the Unix epoch.
 * - `payload`, `payload_cap`: where the decoded payload goes; NULL and 0 to ask for its length.
 *   After a failure what is in it is unspecified.
 * - `out_payload_len`: bytes of the payload, also with `BUFFER_TOO_SMALL`.
 *
 * Returns `OK`; `INVALID_MSG` for anything that is not this message, with the member and the byte
 * offset; `BUFFER_TOO_SMALL`; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_parse_entry(
    const uint8_t *json, size_t json_len, uint64_t *out_sequence, uint64_t *out_timestamp_us,
    uint8_t *payload, size_t payload_cap, size_t *out_payload_len);

/**
 * Reads the JSON of an Ack message.
 *
 * - `json`, `json_len`: what follows the type in the message.
 * - `out_last_sequence`: the last entry that was taken.
 * - `reader_id`, `reader_id_cap`, `out_reader_id_len`: who acknowledges. A NUL ends it, for which
 *   there must be room too, but which is not counted. The length is also written with
 *   `BUFFER_TOO_SMALL`.
 *
 * Returns `OK`; `INVALID_MSG` for anything that is not this message, with the member and the byte
 * offset; `BUFFER_TOO_SMALL`; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_parse_ack(
    const uint8_t *json, size_t json_len, uint64_t *out_last_sequence, char *reader_id,
    size_t reader_id_cap, size_t *out_reader_id_len);

/**
 * Reads the JSON of a Sync message.
 *
 * - `json`, `json_len`: what follows the type in the message.
 * - `out_last_known_sequence`: the last entry that the reader has; 0 for none.
 * - `reader_id`, `reader_id_cap`, `out_reader_id_len`: who asks. A NUL ends it, for which there
 *   must be room too, but which is not counted. The length is also written with `BUFFER_TOO_SMALL`.
 *
 * Returns `OK`; `INVALID_MSG` for anything that is not this message, with the member and the byte
 * offset; `BUFFER_TOO_SMALL`; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_parse_sync(
    const uint8_t *json, size_t json_len, uint64_t *out_last_known_sequence, char *reader_id,
    size_t reader_id_cap, size_t *out_reader_id_len);

/**
 * Reads the JSON of a SyncAck message.
 *
 * - `json`, `json_len`: what follows the type in the message.
 * - `out_current_sequence`: the last entry of the writer's log.
 * - `out_can_resume`: whether the reader gets every entry after its position.
 * - `error`, `error_cap`, `out_error_len`: why the reader is refused; "" when it is not. A NUL ends
 *   it, for which there must be room too, but which is not counted. The length is also written with
 *   `BUFFER_TOO_SMALL`.
 *
 * Returns `OK`; `INVALID_MSG` for anything that is not this message, with the member and the byte
 * offset; `BUFFER_TOO_SMALL`; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_parse_sync_ack(
    const uint8_t *json, size_t json_len, uint64_t *out_current_sequence, bool *out_can_resume,
    char *error, size_t error_cap, size_t *out_error_len);

/**
 * Reads the JSON of an Error message.
 *
 * - `json`, `json_len`: what follows the type in the message.
 * - `code`, `code_cap`, `out_code_len`: the code, a status name. A NUL ends it, for which there
 *   must be room too, but which is not counted. The length is also written with `BUFFER_TOO_SMALL`.
 * - `message`, `message_cap`, `out_message_len`: the text for people, in the same way.
 *
 * Returns `OK`; `INVALID_MSG` for anything that is not this message, with the member and the byte
 * offset; `BUFFER_TOO_SMALL`; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_parse_error(
    const uint8_t *json, size_t json_len, char *code, size_t code_cap, size_t *out_code_len,
    char *message, size_t message_cap, size_t *out_message_len);

#ifdef __cplusplus
}
#endif

#endif
