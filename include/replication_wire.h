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
 * The bytes before a message's payload: a big-endian u32 length, of type and payload, and the type.
 */
#define REPLICATION_HEADER_SIZE 5
/** The largest length of type and payload: 100 MiB. */
#define REPLICATION_MAX_MESSAGE_SIZE 104857600

/**
 * Finds the message at the start of a buffer, without copying it.
 * - `buffer`, `buffer_len`: the bytes received so far.
 * - `out_type`: 0x10 Entry, 0x11 Ack, 0x12 Sync, 0x13 SyncAck, 0x1F Error, or any other type.
 * - `out_payload`, `out_payload_len`: the JSON, within `buffer`, for the replication_parse_
 *   functions.
 * - `out_consumed`: the size of the whole message; the next one begins after it.
 *
 * Returns `OK`; `TRUNCATED` while the message is incomplete, with a text that begins "read length",
 * "read type" or "read payload"; `MESSAGE_TOO_SMALL` for a length of 0 and `MESSAGE_TOO_LARGE` for
 * one over `REPLICATION_MAX_MESSAGE_SIZE`, both once the length has arrived; `INVALID_ARGUMENT` for
 * NULL.
 */
replication_status replication_read_message(
    const uint8_t *buffer, size_t buffer_len, uint8_t *out_type, const uint8_t **out_payload,
    size_t *out_payload_len, size_t *out_consumed);

/**
 * Writes a message of any type. Allocates nothing.
 * - `type`: the type byte.
 * - `payload`, `payload_len`: the bytes after it.
 * - `buffer`, `buffer_cap`: room for the message; NULL and 0 to query its size.
 * - `out_len`: the size of the message, also with `BUFFER_TOO_SMALL`.
 *
 * Returns `OK`; `BUFFER_TOO_SMALL`, with the buffer unchanged; `MESSAGE_TOO_LARGE` if payload and
 * type exceed `REPLICATION_MAX_MESSAGE_SIZE`; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_write_message(
    uint8_t type, const uint8_t *payload, size_t payload_len, uint8_t *buffer, size_t buffer_cap,
    size_t *out_len);

/**
 * Writes an Entry message. Allocates nothing.
 * - `sequence`, `timestamp_us`: the entry's sequence, and microseconds since the Unix epoch.
 * - `payload`, `payload_len`: its payload; NULL with 0 writes null, any other pointer with 0 an
 *   empty string.
 * - `buffer`, `buffer_cap`, `out_len`: as for replication_write_message().
 *
 * Returns `OK`; `BUFFER_TOO_SMALL`; `MESSAGE_TOO_LARGE`; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_write_entry(
    uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload, size_t payload_len,
    uint8_t *buffer, size_t buffer_cap, size_t *out_len);

/**
 * Writes an Ack message. Allocates nothing.
 * - `last_sequence`: the last accepted entry.
 * - `reader_id`: the reader's id; a writer accepts up to `REPLICATION_MAX_READER_ID_BYTES` bytes.
 * - `buffer`, `buffer_cap`, `out_len`: as for replication_write_message().
 *
 * Returns `OK`; `BUFFER_TOO_SMALL`; `MESSAGE_TOO_LARGE`; `INVALID_ARGUMENT` for NULL or text that
 * is not UTF-8.
 */
replication_status replication_write_ack(
    uint64_t last_sequence, const char *reader_id, uint8_t *buffer, size_t buffer_cap,
    size_t *out_len);

/**
 * Writes a Sync message, as a reader that speaks v1 only.
 * - `reader_id`: as for replication_write_ack().
 * - `last_known_sequence`: the reader's last entry; 0 for none.
 * - `coordinator`: use the message type of a cluster coordinator, 0x10 instead of 0x12.
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
 * - `current_sequence`: the last entry of the log.
 * - `can_resume`: whether the reader will get every entry after its position.
 * - `error`: the reason for a refusal; NULL or "" otherwise.
 * - `coordinator`: use the message type of a cluster coordinator, 0x11 instead of 0x13.
 * - `buffer`, `buffer_cap`, `out_len`: as for replication_write_message().
 *
 * Returns `OK`; `BUFFER_TOO_SMALL`; `MESSAGE_TOO_LARGE`; `INVALID_ARGUMENT` for NULL or text that
 * is not UTF-8.
 */
replication_status replication_write_sync_ack(
    uint64_t current_sequence, bool can_resume, const char *error, bool coordinator,
    uint8_t *buffer, size_t buffer_cap, size_t *out_len);

/**
 * Writes an Error message. Allocates nothing.
 * - `code`: the name of a status, as replication_status_name() returns it, such as "SEQUENCE_GAP".
 * - `message`: a text for people.
 * - `buffer`, `buffer_cap`, `out_len`: as for replication_write_message().
 *
 * Returns `OK`; `BUFFER_TOO_SMALL`; `MESSAGE_TOO_LARGE`; `INVALID_ARGUMENT` for NULL or text that
 * is not UTF-8.
 */
replication_status replication_write_error(
    const char *code, const char *message, uint8_t *buffer, size_t buffer_cap, size_t *out_len);

/**
 * Parses the JSON of an Entry message.
 * - `json`, `json_len`: the bytes after the message type.
 * - `out_sequence`, `out_timestamp_us`: as for replication_write_entry().
 * - `payload`, `payload_cap`: room for the decoded payload, undefined after a failure; NULL and 0
 *   to query its length.
 * - `out_payload_len`: the length of the payload, also with `BUFFER_TOO_SMALL`.
 *
 * Returns `OK`; `INVALID_MSG` with the member and the byte offset for anything but this message;
 * `BUFFER_TOO_SMALL`; `INVALID_ARGUMENT` for NULL.
 */
replication_status replication_parse_entry(
    const uint8_t *json, size_t json_len, uint64_t *out_sequence, uint64_t *out_timestamp_us,
    uint8_t *payload, size_t payload_cap, size_t *out_payload_len);

/**
 * Parses the JSON of an Ack message.
 * - `json`, `json_len`: the bytes after the message type.
 * - `out_last_sequence`: the last accepted entry.
 * - `reader_id`, `reader_id_cap`, `out_reader_id_len`: room for the reader's id and a NUL, and the
 *   id's length without the NUL, also with `BUFFER_TOO_SMALL`.
 *
 * Returns what replication_parse_entry() returns.
 */
replication_status replication_parse_ack(
    const uint8_t *json, size_t json_len, uint64_t *out_last_sequence, char *reader_id,
    size_t reader_id_cap, size_t *out_reader_id_len);

/**
 * Parses the JSON of a Sync message.
 * - `json`, `json_len`: the bytes after the message type.
 * - `out_last_known_sequence`: the reader's last entry; 0 for none.
 * - `reader_id`, `reader_id_cap`, `out_reader_id_len`: as for replication_parse_ack().
 *
 * Returns what replication_parse_entry() returns.
 */
replication_status replication_parse_sync(
    const uint8_t *json, size_t json_len, uint64_t *out_last_known_sequence, char *reader_id,
    size_t reader_id_cap, size_t *out_reader_id_len);

/**
 * Parses the JSON of a SyncAck message.
 * - `json`, `json_len`: the bytes after the message type.
 * - `out_current_sequence`: the last entry of the writer's log.
 * - `out_can_resume`: whether the reader will get every entry after its position.
 * - `error`, `error_cap`, `out_error_len`: the reason for a refusal, "" otherwise; as the reader id
 *   of replication_parse_ack().
 *
 * Returns what replication_parse_entry() returns.
 */
replication_status replication_parse_sync_ack(
    const uint8_t *json, size_t json_len, uint64_t *out_current_sequence, bool *out_can_resume,
    char *error, size_t error_cap, size_t *out_error_len);

/**
 * Parses the JSON of an Error message.
 * - `json`, `json_len`: the bytes after the message type.
 * - `code`, `code_cap`, `out_code_len`: the name of a status; as the reader id of
 *   replication_parse_ack().
 * - `message`, `message_cap`, `out_message_len`: a text for people, in the same way.
 *
 * Returns what replication_parse_entry() returns.
 */
replication_status replication_parse_error(
    const uint8_t *json, size_t json_len, char *code, size_t code_cap, size_t *out_code_len,
    char *message, size_t message_cap, size_t *out_message_len);

#ifdef __cplusplus
}
#endif

#endif
