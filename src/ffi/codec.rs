//! # Messages of protocol v1, over the caller's buffers
//!
//! In `replication_wire.h`.
//!
//! The messages of the v1 protocol over the caller's buffers.

use std::ffi::c_char;

use super::args::{bytes, required, room, text};
use super::guard::{guard_free, is_null};
use crate::error::{Error, Result, Status};
use crate::protocol::handshake::{Sync, SyncAck};
use crate::protocol::{FixedBuffer, frame, message};
pub use crate::protocol::{HEADER_SIZE, MAX_MESSAGE_SIZE};

#[cold]
fn too_small(what: &str, needed: usize, there: usize) -> Error {
    Error::new(Status::BufferTooSmall, format!("{what} needs {needed} bytes, there is room for {there}"))
}

/// Has `encode` write one frame to the caller's buffer.
///
/// # Safety
/// `buffer` is NULL or has room for `cap` bytes; `out_len` is NULL or has room.
unsafe fn write_frame(
    buffer: *mut u8,
    cap: usize,
    out_len: *mut usize,
    encode: impl FnOnce(&mut FixedBuffer<'_>) -> Result<()>,
) -> Result<()> {
    let out_len = required(out_len, "out_len")?;
    // SAFETY: the caller's promise.
    let mut frame = FixedBuffer::new(unsafe { room(buffer, cap, "buffer") }?);
    encode(&mut frame)?;
    let fits = frame.frames().is_some();
    let needed = frame.needed();
    // SAFETY: not NULL, and the caller promises the room.
    unsafe { out_len.write(needed) };
    if fits { Ok(()) } else { Err(too_small("the message", needed, cap)) }
}

/// Where a text goes: as many bytes as it has, and a NUL.
struct TextOut {
    name: &'static str,
    data: *mut c_char,
    cap: usize,
    out_len: *mut usize,
}

impl TextOut {
    fn new(name: &'static str, data: *mut c_char, cap: usize, out_len: *mut usize) -> Result<Self> {
        if cap > 0 && data.is_null() {
            return Err(is_null(name));
        }
        required(out_len, "the length of a text")?;
        Ok(Self { name, data, cap, out_len })
    }

    /// Tells the length of `text` and whether it fits.
    ///
    /// # Safety
    /// `out_len` has room.
    unsafe fn measure(&self, text: &str) -> Result<()> {
        // SAFETY: not NULL, and the caller promises the room.
        unsafe { self.out_len.write(text.len()) };
        if text.len() < self.cap { Ok(()) } else { Err(too_small(self.name, text.len() + 1, self.cap)) }
    }

    /// Writes a `text` that fits.
    ///
    /// # Safety
    /// `data` has room for `cap` bytes, more than `text` has.
    unsafe fn fill(&self, text: &str) {
        // SAFETY: the caller promises the room, and a Rust text does not lie in memory of the caller's.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), self.data.cast::<u8>(), text.len()) };
        // SAFETY: there is room for one byte more than the text.
        unsafe { self.data.add(text.len()).write(0) };
    }
}

/// Finds the message at the start of a buffer, without copying it.
///
/// - `buffer`, `buffer_len`: the bytes received so far.
/// - `out_type`: 0x10 Entry, 0x11 Ack, 0x12 Sync, 0x13 SyncAck, 0x1F Error, or any other type.
/// - `out_payload`, `out_payload_len`: the JSON, within `buffer`, for the replication_parse_ functions.
/// - `out_consumed`: the size of the whole message; the next one begins after it.
///
/// Returns `OK`; `TRUNCATED` while the message is incomplete, with a text that begins "read length", "read type" or
/// "read payload"; `MESSAGE_TOO_SMALL` for a length of 0 and `MESSAGE_TOO_LARGE` for one over
/// `REPLICATION_MAX_MESSAGE_SIZE`, both once the length has arrived; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `buffer` points to `buffer_len` bytes; each out pointer is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_read_message(
    buffer: *const u8,
    buffer_len: usize,
    out_type: *mut u8,
    out_payload: *mut *const u8,
    out_payload_len: *mut usize,
    out_consumed: *mut usize,
) -> Status {
    guard_free(|| {
        let out_type = required(out_type, "out_type")?;
        let out_payload = required(out_payload, "out_payload")?;
        let out_payload_len = required(out_payload_len, "out_payload_len")?;
        let out_consumed = required(out_consumed, "out_consumed")?;
        // SAFETY: the caller's promise.
        let buffer = unsafe { bytes(buffer, buffer_len, "buffer") }?;
        let frame = frame::decode(buffer, MAX_MESSAGE_SIZE)?;
        // SAFETY: none is NULL, and the caller promises the room.
        unsafe {
            out_type.write(frame.kind);
            out_payload.write(frame.payload.as_ptr());
            out_payload_len.write(frame.payload.len());
            out_consumed.write(frame.encoded_len);
        }
        Ok(())
    })
}

/// Writes a message of any type. Allocates nothing.
///
/// - `type`: the type byte.
/// - `payload`, `payload_len`: the bytes after it.
/// - `buffer`, `buffer_cap`: room for the message; NULL and 0 to query its size.
/// - `out_len`: the size of the message, also with `BUFFER_TOO_SMALL`.
///
/// Returns `OK`; `BUFFER_TOO_SMALL`, with the buffer unchanged; `MESSAGE_TOO_LARGE` if payload and type exceed
/// `REPLICATION_MAX_MESSAGE_SIZE`; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `payload` points to `payload_len` bytes; `buffer` is NULL or has room for `buffer_cap`, elsewhere; `out_len` is NULL
/// or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_write_message(
    r#type: u8,
    payload: *const u8,
    payload_len: usize,
    buffer: *mut u8,
    buffer_cap: usize,
    out_len: *mut usize,
) -> Status {
    guard_free(|| {
        let out_len = required(out_len, "out_len")?;
        if payload.is_null() && payload_len > 0 {
            return Err(is_null("payload"));
        }
        // The payload is not looked at before its length is known to be right and to fit.
        let header = frame::encode_header(r#type, payload_len)?;
        let needed = HEADER_SIZE + payload_len;
        // SAFETY: the caller's promise.
        let buffer = unsafe { room(buffer, buffer_cap, "buffer") }?;
        // SAFETY: not NULL, and the caller promises the room.
        unsafe { out_len.write(needed) };
        let Some(buffer) = buffer.get_mut(..needed) else {
            return Err(too_small("the message", needed, buffer_cap));
        };
        buffer[..HEADER_SIZE].copy_from_slice(&header);
        // SAFETY: the caller's promise.
        buffer[HEADER_SIZE..].copy_from_slice(unsafe { bytes(payload, payload_len, "payload") }?);
        Ok(())
    })
}

/// Writes an Entry message. Allocates nothing.
///
/// - `sequence`, `timestamp_us`: the entry's sequence, and microseconds since the Unix epoch.
/// - `payload`, `payload_len`: its payload; NULL with 0 writes null, any other pointer with 0 an empty string.
/// - `buffer`, `buffer_cap`, `out_len`: as for replication_write_message().
///
/// Returns `OK`; `BUFFER_TOO_SMALL`; `MESSAGE_TOO_LARGE`; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `payload` points to `payload_len` bytes; `buffer` is NULL or has room for `buffer_cap`, elsewhere; `out_len` is NULL
/// or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_write_entry(
    sequence: u64,
    timestamp_us: u64,
    payload: *const u8,
    payload_len: usize,
    buffer: *mut u8,
    buffer_cap: usize,
    out_len: *mut usize,
) -> Status {
    guard_free(|| {
        // What no message can carry is not looked at.
        frame::encode_header(frame::TYPE_ENTRY, payload_len)?;
        // SAFETY: the caller's promise.
        let bytes = unsafe { bytes(payload, payload_len, "payload") }?;
        let payload = (!payload.is_null()).then_some(bytes);
        // SAFETY: the caller's promise.
        unsafe {
            write_frame(buffer, buffer_cap, out_len, |frame| {
                Ok(message::encode_entry(frame, sequence, timestamp_us, payload)?)
            })
        }
    })
}

/// Writes an Ack message. Allocates nothing.
///
/// - `last_sequence`: the last accepted entry.
/// - `reader_id`: the reader's id; a writer accepts up to `REPLICATION_MAX_READER_ID_BYTES` bytes.
/// - `buffer`, `buffer_cap`, `out_len`: as for replication_write_message().
///
/// Returns `OK`; `BUFFER_TOO_SMALL`; `MESSAGE_TOO_LARGE`; `INVALID_ARGUMENT` for NULL or text that is not UTF-8.
///
/// # Safety
/// `reader_id` is NULL or ends with a NUL; `buffer` is NULL or has room for `buffer_cap`; `out_len` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_write_ack(
    last_sequence: u64,
    reader_id: *const c_char,
    buffer: *mut u8,
    buffer_cap: usize,
    out_len: *mut usize,
) -> Status {
    guard_free(|| {
        // SAFETY: the caller's promise.
        let reader_id = unsafe { text(reader_id, "reader_id") }?;
        // SAFETY: the caller's promise.
        unsafe {
            write_frame(buffer, buffer_cap, out_len, |frame| Ok(message::encode_ack(frame, last_sequence, reader_id)?))
        }
    })
}

/// Writes a Sync message, as a reader that speaks v1 only.
///
/// - `reader_id`: as for replication_write_ack().
/// - `last_known_sequence`: the reader's last entry; 0 for none.
/// - `coordinator`: use the message type of a cluster coordinator, 0x10 instead of 0x12.
/// - `buffer`, `buffer_cap`, `out_len`: as for replication_write_message().
///
/// Returns `OK`; `BUFFER_TOO_SMALL`; `MESSAGE_TOO_LARGE`; `INVALID_ARGUMENT` for NULL or text that is not UTF-8.
///
/// # Safety
/// `reader_id` is NULL or ends with a NUL; `buffer` is NULL or has room for `buffer_cap`; `out_len` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_write_sync(
    reader_id: *const c_char,
    last_known_sequence: u64,
    coordinator: bool,
    buffer: *mut u8,
    buffer_cap: usize,
    out_len: *mut usize,
) -> Status {
    guard_free(|| {
        // SAFETY: the caller's promise.
        let reader_id = unsafe { text(reader_id, "reader_id") }?.to_owned();
        let sync = Sync { reader_id, last_known_sequence, offer: None };
        // SAFETY: the caller's promise.
        unsafe {
            write_frame(buffer, buffer_cap, out_len, |frame| Ok(message::encode_sync(frame, &sync, coordinator)?))
        }
    })
}

/// Writes a SyncAck message, as a writer that speaks v1 only.
///
/// - `current_sequence`: the last entry of the log.
/// - `can_resume`: whether the reader will get every entry after its position.
/// - `error`: the reason for a refusal; NULL or "" otherwise.
/// - `coordinator`: use the message type of a cluster coordinator, 0x11 instead of 0x13.
/// - `buffer`, `buffer_cap`, `out_len`: as for replication_write_message().
///
/// Returns `OK`; `BUFFER_TOO_SMALL`; `MESSAGE_TOO_LARGE`; `INVALID_ARGUMENT` for NULL or text that is not UTF-8.
///
/// # Safety
/// `error` is NULL or ends with a NUL; `buffer` is NULL or has room for `buffer_cap`; `out_len` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_write_sync_ack(
    current_sequence: u64,
    can_resume: bool,
    error: *const c_char,
    coordinator: bool,
    buffer: *mut u8,
    buffer_cap: usize,
    out_len: *mut usize,
) -> Status {
    guard_free(|| {
        // SAFETY: the caller's promise.
        let error = if error.is_null() { "" } else { unsafe { text(error, "error") }? };
        let ack = SyncAck { current_sequence, can_resume, error: error.to_owned(), answer: None };
        // SAFETY: the caller's promise.
        unsafe {
            write_frame(buffer, buffer_cap, out_len, |frame| Ok(message::encode_sync_ack(frame, &ack, coordinator)?))
        }
    })
}

/// Writes an Error message. Allocates nothing.
///
/// - `code`: the name of a status, as replication_status_name() returns it, such as "SEQUENCE_GAP".
/// - `message`: a text for people.
/// - `buffer`, `buffer_cap`, `out_len`: as for replication_write_message().
///
/// Returns `OK`; `BUFFER_TOO_SMALL`; `MESSAGE_TOO_LARGE`; `INVALID_ARGUMENT` for NULL or text that is not UTF-8.
///
/// # Safety
/// `code` and `message` are NULL or end with a NUL; `buffer` is NULL or has room for `buffer_cap`; `out_len` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_write_error(
    code: *const c_char,
    message: *const c_char,
    buffer: *mut u8,
    buffer_cap: usize,
    out_len: *mut usize,
) -> Status {
    guard_free(|| {
        // SAFETY: the caller's promise.
        let (code, message) = unsafe { (text(code, "code")?, text(message, "message")?) };
        // SAFETY: the caller's promise.
        unsafe { write_frame(buffer, buffer_cap, out_len, |frame| Ok(message::encode_error(frame, code, message)?)) }
    })
}

/// Parses the JSON of an Entry message.
///
/// - `json`, `json_len`: the bytes after the message type.
/// - `out_sequence`, `out_timestamp_us`: as for replication_write_entry().
/// - `payload`, `payload_cap`: room for the decoded payload, undefined after a failure; NULL and 0 to query its length.
/// - `out_payload_len`: the length of the payload, also with `BUFFER_TOO_SMALL`.
///
/// Returns `OK`; `INVALID_MSG` with the member and the byte offset for anything but this message; `BUFFER_TOO_SMALL`;
/// `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `json` points to `json_len` bytes; `payload` is NULL or has room for `payload_cap`, elsewhere; each out pointer is NULL
/// or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_parse_entry(
    json: *const u8,
    json_len: usize,
    out_sequence: *mut u64,
    out_timestamp_us: *mut u64,
    payload: *mut u8,
    payload_cap: usize,
    out_payload_len: *mut usize,
) -> Status {
    guard_free(|| {
        let out_sequence = required(out_sequence, "out_sequence")?;
        let out_timestamp_us = required(out_timestamp_us, "out_timestamp_us")?;
        let out_payload_len = required(out_payload_len, "out_payload_len")?;
        // SAFETY: the caller's promise.
        let (json, payload) = unsafe { (bytes(json, json_len, "json")?, room(payload, payload_cap, "payload")?) };
        let (fields, payload_len) = message::decode_entry_to_slice(json, payload)?;
        // SAFETY: not NULL, and the caller promises the room.
        unsafe { out_payload_len.write(payload_len) };
        if payload_len > payload_cap {
            return Err(too_small("payload", payload_len, payload_cap));
        }
        // SAFETY: neither is NULL, and the caller promises the room.
        unsafe {
            out_sequence.write(fields.sequence);
            out_timestamp_us.write(fields.timestamp_us);
        }
        Ok(())
    })
}

/// Parses the JSON of an Ack message.
///
/// - `json`, `json_len`: the bytes after the message type.
/// - `out_last_sequence`: the last accepted entry.
/// - `reader_id`, `reader_id_cap`, `out_reader_id_len`: room for the reader's id and a NUL, and the id's length without
///   the NUL, also with `BUFFER_TOO_SMALL`.
///
/// Returns what replication_parse_entry() returns.
///
/// # Safety
/// `json` points to `json_len` bytes; `reader_id` is NULL or has room for `reader_id_cap`; each out pointer is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_parse_ack(
    json: *const u8,
    json_len: usize,
    out_last_sequence: *mut u64,
    reader_id: *mut c_char,
    reader_id_cap: usize,
    out_reader_id_len: *mut usize,
) -> Status {
    guard_free(|| {
        let out_last_sequence = required(out_last_sequence, "out_last_sequence")?;
        let reader_id = TextOut::new("reader_id", reader_id, reader_id_cap, out_reader_id_len)?;
        // SAFETY: the caller's promise.
        let message = message::decode_ack(unsafe { bytes(json, json_len, "json") }?)?;
        // SAFETY: nothing is NULL, the caller promises the room, and the text is measured before it is written.
        unsafe {
            reader_id.measure(&message.reader_id)?;
            reader_id.fill(&message.reader_id);
            out_last_sequence.write(message.last_sequence);
        }
        Ok(())
    })
}

/// Parses the JSON of a Sync message.
///
/// - `json`, `json_len`: the bytes after the message type.
/// - `out_last_known_sequence`: the reader's last entry; 0 for none.
/// - `reader_id`, `reader_id_cap`, `out_reader_id_len`: as for replication_parse_ack().
///
/// Returns what replication_parse_entry() returns.
///
/// # Safety
/// `json` points to `json_len` bytes; `reader_id` is NULL or has room for `reader_id_cap`; each out pointer is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_parse_sync(
    json: *const u8,
    json_len: usize,
    out_last_known_sequence: *mut u64,
    reader_id: *mut c_char,
    reader_id_cap: usize,
    out_reader_id_len: *mut usize,
) -> Status {
    guard_free(|| {
        let out_last_known_sequence = required(out_last_known_sequence, "out_last_known_sequence")?;
        let reader_id = TextOut::new("reader_id", reader_id, reader_id_cap, out_reader_id_len)?;
        // SAFETY: the caller's promise.
        let message = message::decode_sync(unsafe { bytes(json, json_len, "json") }?)?;
        // SAFETY: nothing is NULL, the caller promises the room, and the text is measured before it is written.
        unsafe {
            reader_id.measure(&message.reader_id)?;
            reader_id.fill(&message.reader_id);
            out_last_known_sequence.write(message.last_known_sequence);
        }
        Ok(())
    })
}

/// Parses the JSON of a SyncAck message.
///
/// - `json`, `json_len`: the bytes after the message type.
/// - `out_current_sequence`: the last entry of the writer's log.
/// - `out_can_resume`: whether the reader will get every entry after its position.
/// - `error`, `error_cap`, `out_error_len`: the reason for a refusal, "" otherwise; as the reader id of
///   replication_parse_ack().
///
/// Returns what replication_parse_entry() returns.
///
/// # Safety
/// `json` points to `json_len` bytes; `error` is NULL or has room for `error_cap`; each out pointer is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_parse_sync_ack(
    json: *const u8,
    json_len: usize,
    out_current_sequence: *mut u64,
    out_can_resume: *mut bool,
    error: *mut c_char,
    error_cap: usize,
    out_error_len: *mut usize,
) -> Status {
    guard_free(|| {
        let out_current_sequence = required(out_current_sequence, "out_current_sequence")?;
        let out_can_resume = required(out_can_resume, "out_can_resume")?;
        let error = TextOut::new("error", error, error_cap, out_error_len)?;
        // SAFETY: the caller's promise.
        let message = message::decode_sync_ack(unsafe { bytes(json, json_len, "json") }?)?;
        // SAFETY: nothing is NULL, the caller promises the room, and the text is measured before it is written.
        unsafe {
            error.measure(&message.error)?;
            error.fill(&message.error);
            out_current_sequence.write(message.current_sequence);
            out_can_resume.write(message.can_resume);
        }
        Ok(())
    })
}

/// Parses the JSON of an Error message.
///
/// - `json`, `json_len`: the bytes after the message type.
/// - `code`, `code_cap`, `out_code_len`: the name of a status; as the reader id of replication_parse_ack().
/// - `message`, `message_cap`, `out_message_len`: a text for people, in the same way.
///
/// Returns what replication_parse_entry() returns.
///
/// # Safety
/// `json` points to `json_len` bytes; `code` and `message` are NULL or have room for `code_cap` and `message_cap`; each out
/// pointer is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_parse_error(
    json: *const u8,
    json_len: usize,
    code: *mut c_char,
    code_cap: usize,
    out_code_len: *mut usize,
    message: *mut c_char,
    message_cap: usize,
    out_message_len: *mut usize,
) -> Status {
    guard_free(|| {
        let code = TextOut::new("code", code, code_cap, out_code_len)?;
        let message = TextOut::new("message", message, message_cap, out_message_len)?;
        // SAFETY: the caller's promise.
        let error = message::decode_error(unsafe { bytes(json, json_len, "json") }?)?;
        // SAFETY: nothing is NULL, the caller promises the room, and the texts are measured before they are written.
        unsafe {
            // Both lengths are told even when the first text does not fit.
            let (code_fits, message_fits) = (code.measure(&error.code), message.measure(&error.message));
            code_fits.and(message_fits)?;
            code.fill(&error.code);
            message.fill(&error.message);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests;
