//! # Records: the msgpack payload, decoded
//!
//! In `replication_records.h`.
//!
//! The msgpack payload, decoded.

use std::ffi::c_char;
use std::sync::OnceLock;

use super::args::{bytes, required, text};
use super::guard::{boxed, guard_free, is_null};
use crate::error::{Error, Result, Status};
pub use crate::records::ValueType;
use crate::records::{DEFAULT_MAX_BYTES, Records, Value, ValueError};

/// The records of a payload: an array of maps. They do not change, so threads may share them. Created by
/// replication_records_parse(), or passed to a record handler for the call.
pub struct RecordsHandle<'a> {
    records: Records<'a>,
    /// The JSON, with a NUL at its end. No `CString`, which would end the process where there is no memory: it gives back
    /// what its text leaves free, by allocating anew.
    json: OnceLock<Vec<u8>>,
    /// What records that nobody lends a payload to borrow from. Dropped after them, and never changed.
    _payload: Vec<u8>,
}

/// A value within records, valid as long as they are.
pub struct ValueHandle {
    _opaque: [u8; 0],
}

impl<'a> RecordsHandle<'a> {
    /// Decodes a payload; the records borrow from it.
    pub(crate) fn parse(payload: &'a [u8], max_bytes: u64) -> Result<Self> {
        Ok(Self { records: Records::parse(payload, max_bytes)?, json: OnceLock::new(), _payload: Vec::new() })
    }

    fn json(&self) -> Result<&[u8]> {
        if let Some(json) = self.json.get() {
            return Ok(json);
        }
        let no_memory = |_| Error::out_of_memory(format_args!("the records as JSON"));
        let mut json = self.records.to_json().map_err(no_memory)?.into_bytes();
        json.try_reserve_exact(1).map_err(no_memory)?;
        json.push(0);
        Ok(self.json.get_or_init(|| json))
    }
}

impl RecordsHandle<'static> {
    /// Decodes a copy of the payload.
    fn parse_copy(payload: &[u8], max_bytes: u64) -> Result<Self> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(payload.len())
            .map_err(|_| Error::out_of_memory(format_args!("a copy of the payload's {} bytes", payload.len())))?;
        copy.extend_from_slice(payload);
        // SAFETY: the bytes lie on the heap, where they stay while the vector is moved; it is not changed any more, and
        // dropped after the records. What is lent to C from them ends with the handle, as the header says.
        let lent: &'static [u8] = unsafe { std::slice::from_raw_parts(copy.as_ptr(), copy.len()) };
        Ok(Self { records: Records::parse(lent, max_bytes)?, json: OnceLock::new(), _payload: copy })
    }
}

/// The address of a value for C.
fn handle_of(value: &Value<'_>) -> *const ValueHandle {
    std::ptr::from_ref(value).cast()
}

/// # Safety
/// `value` is NULL or came from [`handle_of`], and its records are alive for `'a`.
unsafe fn value_of<'a>(value: *const ValueHandle) -> Result<&'a Value<'a>> {
    // SAFETY: the caller's promise. C cannot tell a value's lifetime from that of its records.
    unsafe { value.cast::<Value<'a>>().as_ref() }.ok_or_else(|| is_null("value"))
}

/// # Safety
/// `records` is NULL or points to records that are alive for `'a`.
unsafe fn records_of<'a>(records: *const RecordsHandle<'a>) -> Result<&'a RecordsHandle<'a>> {
    // SAFETY: the caller's promise.
    unsafe { records.as_ref() }.ok_or_else(|| is_null("records"))
}

/// Asks a value something and writes the answer out.
///
/// # Safety
/// As for [`value_of`]; `out` is NULL or has room.
unsafe fn answer<'a, T, E: Into<Error>>(
    value: *const ValueHandle,
    out: *mut T,
    ask: impl FnOnce(&'a Value<'a>) -> std::result::Result<T, E>,
) -> Status {
    guard_free(|| {
        // SAFETY: the caller's promise.
        let value = unsafe { value_of(value) }?;
        let out = required(out, "out")?;
        let found = ask(value).map_err(Into::into)?;
        // SAFETY: not NULL, and the caller promises the room.
        unsafe { out.write(found) };
        Ok(())
    })
}

/// Like [`answer`] for bytes.
///
/// # Safety
/// As for [`answer`].
unsafe fn answer_bytes<'a, T>(
    value: *const ValueHandle,
    out: *mut *const T,
    out_len: *mut usize,
    ask: impl FnOnce(&'a Value<'a>) -> std::result::Result<&'a [u8], ValueError>,
) -> Status {
    guard_free(|| {
        // SAFETY: the caller's promise.
        let value = unsafe { value_of(value) }?;
        let (out, out_len) = (required(out, "out")?, required(out_len, "out_len")?);
        let found = ask(value)?;
        // SAFETY: neither is NULL, and the caller promises the room.
        unsafe {
            out.write(found.as_ptr().cast());
            out_len.write(found.len());
        }
        Ok(())
    })
}

/// Decodes a payload: a msgpack array of maps, whose keys are neither arrays nor maps. Limits: 128 levels of nesting,
/// 16777216 values (keys, arrays and maps included) and 256 MiB of memory besides a copy of the payload. The deepest
/// nesting needs up to 96 KiB of the calling thread's stack, also in replication_records_json() and
/// replication_records_free().
///
/// - `payload`, `payload_len`: copied.
/// - `out`: the records, to be freed with replication_records_free().
///
/// Returns `OK`; `DECODE_FAILED` with the byte offset for any other payload or one over a limit; `OUT_OF_MEMORY`;
/// `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `payload` points to `payload_len` bytes; `out` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_records_parse(
    payload: *const u8,
    payload_len: usize,
    out: *mut *mut RecordsHandle<'static>,
) -> Status {
    guard_free(|| {
        let out = required(out, "out")?;
        // SAFETY: the caller's promise.
        let payload = unsafe { bytes(payload, payload_len, "payload") }?;
        let records = boxed(RecordsHandle::parse_copy(payload, DEFAULT_MAX_BYTES)?)?;
        // SAFETY: not NULL, and the caller promises the room.
        unsafe { out.write(Box::into_raw(records)) };
        Ok(())
    })
}

/// As replication_records_parse(), with another memory limit.
///
/// - `max_bytes`: the most bytes for the values, besides the copy of the payload. UINT64_MAX: no limit.
///
/// Returns what replication_records_parse() returns.
///
/// # Safety
/// As for replication_records_parse().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_records_parse_within(
    payload: *const u8,
    payload_len: usize,
    max_bytes: u64,
    out: *mut *mut RecordsHandle<'static>,
) -> Status {
    guard_free(|| {
        let out = required(out, "out")?;
        // SAFETY: the caller's promise.
        let payload = unsafe { bytes(payload, payload_len, "payload") }?;
        let records = boxed(RecordsHandle::parse_copy(payload, max_bytes)?)?;
        // SAFETY: not NULL, and the caller promises the room.
        unsafe { out.write(Box::into_raw(records)) };
        Ok(())
    })
}

/// Frees records that were parsed, never those of a record handler.
///
/// # Safety
/// `records` is NULL or came from replication_records_parse(), and neither it nor anything reached through it is used
/// again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_records_free(records: *mut RecordsHandle<'static>) {
    if !records.is_null() {
        // SAFETY: it came from a box, and the caller promises not to use it again.
        drop(unsafe { Box::from_raw(records) });
    }
}

/// Returns the number of records; 0 for NULL.
///
/// # Safety
/// `records` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_records_count(records: *const RecordsHandle<'_>) -> usize {
    // SAFETY: the caller's promise.
    unsafe { records.as_ref() }.map_or(0, |records| records.records.len())
}

/// Finds the value of a key in a record.
///
/// - `row`: the index of the record, from 0.
/// - `key`: a string key of its map; if it occurs more than once, the last one counts.
/// - `out`: the value, valid as long as the records.
///
/// Returns `OK`; `NOT_FOUND` with the row and the key; `INVALID_ARGUMENT` for NULL or a key that is not UTF-8.
///
/// # Safety
/// `records` is NULL or alive; `key` is NULL or ends with a NUL; `out` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_records_get(
    records: *const RecordsHandle<'_>,
    row: usize,
    key: *const c_char,
    out: *mut *const ValueHandle,
) -> Status {
    guard_free(|| {
        // SAFETY: the caller's promise.
        let (records, key) = unsafe { (records_of(records)?, text(key, "key")?) };
        let out = required(out, "out")?;
        let value = records.records.get(row, key)?;
        // SAFETY: not NULL, and the caller promises the room.
        unsafe { out.write(handle_of(value)) };
        Ok(())
    })
}

/// Finds a record.
///
/// - `row`: its index, from 0.
/// - `out`: a map, valid as long as the records.
///
/// Returns `OK`; `NOT_FOUND` with the row; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `records` is NULL or alive; `out` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_records_row(
    records: *const RecordsHandle<'_>,
    row: usize,
    out: *mut *const ValueHandle,
) -> Status {
    guard_free(|| {
        // SAFETY: the caller's promise.
        let records = unsafe { records_of(records) }?;
        let out = required(out, "out")?;
        let value = records.records.row(row)?;
        // SAFETY: not NULL, and the caller promises the room.
        unsafe { out.write(handle_of(value)) };
        Ok(())
    })
}

/// Converts the records to a JSON array: integers exactly, bytes as base64 strings, extensions as
/// {"ext":type,"data":base64}, and floats that are not finite as null.
///
/// - `out_json`: the text with a NUL at its end, valid as long as the records.
/// - `out_len`: its length in bytes without the NUL.
///
/// Returns `OK`; `OUT_OF_MEMORY`; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `records` is NULL or alive; the out pointers are NULL or have room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_records_json(
    records: *const RecordsHandle<'_>,
    out_json: *mut *const c_char,
    out_len: *mut usize,
) -> Status {
    guard_free(|| {
        // SAFETY: the caller's promise.
        let records = unsafe { records_of(records) }?;
        let (out_json, out_len) = (required(out_json, "out_json")?, required(out_len, "out_len")?);
        let json = records.json()?;
        // SAFETY: neither is NULL, and the caller promises the room.
        unsafe {
            out_json.write(json.as_ptr().cast());
            out_len.write(json.len() - 1);
        }
        Ok(())
    })
}

/// Returns the replication_value_type of a value; -1 for NULL.
///
/// # Safety
/// `value` is NULL or its records are alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_value_type_of(value: *const ValueHandle) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { value.cast::<Value<'_>>().as_ref() }.map_or(-1, |value| value.value_type() as i32)
}

/// Reads a boolean. Returns `OK`; `WRONG_TYPE` for any other value; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `value` is NULL or its records are alive; `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_value_bool(value: *const ValueHandle, out: *mut bool) -> Status {
    // SAFETY: the caller's promise.
    unsafe { answer(value, out, Value::as_bool) }
}

/// Reads an integer of at most INT64_MAX. Returns `OK`; `WRONG_TYPE` for any other value; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `value` is NULL or its records are alive; `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_value_i64(value: *const ValueHandle, out: *mut i64) -> Status {
    // SAFETY: the caller's promise.
    unsafe { answer(value, out, Value::as_i64) }
}

/// Reads an integer of at least 0. Returns `OK`; `WRONG_TYPE` for any other value; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `value` is NULL or its records are alive; `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_value_u64(value: *const ValueHandle, out: *mut u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe { answer(value, out, Value::as_u64) }
}

/// Reads a float, or an integer as the nearest float. Returns `OK`; `WRONG_TYPE` for any other value;
/// `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `value` is NULL or its records are alive; `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_value_f64(value: *const ValueHandle, out: *mut f64) -> Status {
    // SAFETY: the caller's promise.
    unsafe { answer(value, out, Value::as_f64) }
}

/// Reads a string: UTF-8, NOT terminated by a NUL, valid as long as the records. Returns `OK`; `WRONG_TYPE` for any
/// other value; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `value` is NULL or its records are alive; the out pointers are NULL or have room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_value_string(
    value: *const ValueHandle,
    out: *mut *const c_char,
    out_len: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { answer_bytes(value, out, out_len, |value| value.as_str().map(str::as_bytes)) }
}

/// Reads bytes, or those of a string or an extension, valid as long as the records. Returns `OK`; `WRONG_TYPE` for any
/// other value; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `value` is NULL or its records are alive; the out pointers are NULL or have room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_value_bytes(
    value: *const ValueHandle,
    out: *mut *const u8,
    out_len: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { answer_bytes(value, out, out_len, Value::as_bytes) }
}

/// Reads the type of an extension, whose data replication_value_bytes() reads. Returns `OK`; `WRONG_TYPE` for any other
/// value; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `value` is NULL or its records are alive; `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_value_ext_type(value: *const ValueHandle, out: *mut i8) -> Status {
    // SAFETY: the caller's promise.
    unsafe { answer(value, out, Value::ext_type) }
}

/// Returns the number of elements of an array or of entries of a map; 0 for any other value and for NULL.
///
/// # Safety
/// `value` is NULL or its records are alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_value_count(value: *const ValueHandle) -> usize {
    // SAFETY: the caller's promise.
    unsafe { value.cast::<Value<'_>>().as_ref() }.map_or(0, Value::count)
}

/// Finds an element of an array, or the value of a map entry.
///
/// - `index`: from 0, in the order of the payload.
/// - `out`: valid as long as the records.
///
/// Returns `OK`; `NOT_FOUND` with the index; `WRONG_TYPE` for a value that is no array or map; `INVALID_ARGUMENT` for
/// NULL.
///
/// # Safety
/// `value` is NULL or its records are alive; `out` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_value_at(
    value: *const ValueHandle,
    index: usize,
    out: *mut *const ValueHandle,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { answer(value, out, |value| value.at(index).map(handle_of)) }
}

/// Finds the key of a map entry.
///
/// - `index`, `out`: as for replication_value_at().
///
/// Returns `OK`; `NOT_FOUND` with the index; `WRONG_TYPE` for a value that is no map; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `value` is NULL or its records are alive; `out` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_value_key_at(
    value: *const ValueHandle,
    index: usize,
    out: *mut *const ValueHandle,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { answer(value, out, |value| value.key_at(index).map(handle_of)) }
}

/// Finds the value of a string key in a map; if the key occurs more than once, the last one counts.
///
/// - `out`: valid as long as the records.
///
/// Returns `OK`; `NOT_FOUND` with the key; `WRONG_TYPE` for a value that is no map; `INVALID_ARGUMENT` for NULL or a
/// key that is not UTF-8.
///
/// # Safety
/// `value` is NULL or its records are alive; `key` is NULL or ends with a NUL; `out` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_value_get(
    value: *const ValueHandle,
    key: *const c_char,
    out: *mut *const ValueHandle,
) -> Status {
    // SAFETY: the caller's promise.
    let key = unsafe { text(key, "key") };
    // SAFETY: the caller's promise.
    unsafe { answer(value, out, |value| Ok::<_, Error>(handle_of(value.get(key?)?))) }
}

#[cfg(test)]
mod tests;
