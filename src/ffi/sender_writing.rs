//! # Sender: writing entries
//!
//! How entries are taken, and the buffer that holds them.

use std::time::Duration;

use super::args::{TokenRoom, invalid, payload as checked_payload, positive, put_optional};
use super::callbacks::SliceView;
use super::guard::{guard, is_null, query};
use super::sender::SenderHandle;
use super::sender_config::{SenderConfigHandle, set};
use crate::error::{Error, Result, Status};
use crate::sender::config::{FullPolicy, SenderConfig};

/// What happens to a new entry if the buffer is full of entries that a reader still needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FullPolicyNumber {
    /// Accept it and cut off the slowest readers with `SEQUENCE_GAP`. With a log on disk they continue from there, and
    /// only a slow disk delays the entry or refuses it.
    CutOffSlowest = 0,
    /// Refuse it with `BUFFER_FULL`.
    Refuse = 1,
    /// Wait for the slowest reader, then refuse.
    Wait = 2,
}

/// Sets the capacity, in entries, of the buffer of entries in memory. Returns `OK`; `INVALID_ARGUMENT` for 0. Default:
/// 10000. At least: 1.
///
/// # When to change it
/// Raise it when readers without a log on disk to fall back on are cut off during bursts of small entries.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_buffer_size(config: *mut SenderConfigHandle, entries: usize) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.buffer_size = positive(entries, "entries")?;
            Ok(())
        })
    }
}

/// Sets the capacity of the buffer in bytes; the limit that is reached first applies. Returns `OK`; `INVALID_ARGUMENT`
/// for less than 65536. Default: 67108864 (64 MiB). At least: 65536.
///
/// # When to change it
/// Raise it when readers fall behind for longer than the buffer lasts at your rate of bytes; lower it when memory is
/// short. It must hold the largest entry.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_buffer_bytes(config: *mut SenderConfigHandle, bytes: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            if bytes < SenderConfig::MIN_BUFFER_BYTES {
                return Err(invalid(format!(
                    "bytes is {bytes}, at least {} are needed",
                    SenderConfig::MIN_BUFFER_BYTES
                )));
            }
            core.buffer_bytes = bytes;
            Ok(())
        })
    }
}

/// Sets what happens to new entries if the buffer is full. Returns `OK`; `INVALID_ARGUMENT` for an unknown policy.
///
/// - `policy`: a replication_full_policy. Default: `REPLICATION_FULL_POLICY_CUT_OFF_SLOWEST`.
/// - `wait_ms`: how many milliseconds `REPLICATION_FULL_POLICY_WAIT` waits.
///
/// # When to change it
/// Choose refusing or waiting when no reader may ever miss an entry and the log is in memory only. With a log on disk
/// the default serves lagging readers from there.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_full_policy(
    config: *mut SenderConfigHandle,
    policy: u32,
    wait_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.full_policy = match policy {
                p if p == FullPolicyNumber::CutOffSlowest as u32 => FullPolicy::CutOffSlowest,
                p if p == FullPolicyNumber::Refuse as u32 => FullPolicy::Refuse,
                p if p == FullPolicyNumber::Wait as u32 => FullPolicy::Wait(Duration::from_millis(wait_ms)),
                _ => return Err(invalid(format!("policy {policy} is no replication_full_policy"))),
            };
            Ok(())
        })
    }
}

/// Appends an entry to the log and assigns it the next sequence. Every reader receives entries in the order of their
/// sequences. The call does not wait for the network or a reader, except under `REPLICATION_FULL_POLICY_WAIT` and
/// `REPLICATION_GATE_POLICY_SLOW`; see sender_config_set_wal_timeout_ms() for waiting for the disk.
///
/// - `timestamp_us`: microseconds since the Unix epoch, passed on unchanged.
/// - `payload`, `payload_len`: any bytes, or none.
/// - `out_sequence`: the entry's sequence, also in the exception below; may be NULL.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a NULL payload with a length; `MESSAGE_TOO_LARGE` for a payload that does not
/// fit a message or the buffer; `BUFFER_FULL` if the full policy refuses the entry or the disk is too slow; `GATED`
/// while the write gate is closed; `NOT_WRITER` after sender_set_writable() with false; `INVALID_STATE` before
/// sender_start(); `CLOSED` after sender_stop(); `OUT_OF_MEMORY`; with a log on disk `DISK_FULL` and `STALLED` while
/// the disk refuses writes, and `IO` after it failed.
///
/// On failure no sequence is used, with one exception: under `REPLICATION_SYNC_POLICY_ALWAYS` the entry may be appended
/// but its sync may fail (`IO`), take too long (`TIMEOUT`) or be cut short by sender_stop() (`CLOSED`). Then
/// `*out_sequence` is set; set it to 0 before to recognise this. Do not append the entry again: sender_wait_durable()
/// tells its outcome.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `payload` points to `payload_len` bytes; `out_sequence` is NULL or
/// has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_replicate(
    sender: *mut SenderHandle,
    timestamp_us: u64,
    payload: *const u8,
    payload_len: usize,
    out_sequence: *mut u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let end = sender.core.put(timestamp_us, checked_payload(payload, payload_len)?)?;
            put_optional(out_sequence, end.sequence);
            sender.core.wait_synced(&end)
        })
    }
}

/// As sender_replicate(), and gives the entry's token, which identifies it also after a restart and at another node. It
/// is given, too, where sender_replicate() sets `*out_sequence` and fails. Returns what sender_replicate() returns;
/// `INVALID_ARGUMENT` also for a NULL `token` or `out_len`, and `BUFFER_TOO_SMALL`: then nothing is appended.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `payload` points to `payload_len` bytes; `token` is NULL or has room for
/// `token_size` bytes; `out_len` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_replicate_token(
    sender: *mut SenderHandle,
    timestamp_us: u64,
    payload: *const u8,
    payload_len: usize,
    token: *mut u8,
    token_size: usize,
    out_len: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let room = TokenRoom::new(token, token_size, out_len)?;
            let end = sender.core.put(timestamp_us, checked_payload(payload, payload_len)?)?;
            room.put(&sender.core.token_at(&end));
            sender.core.wait_synced(&end)
        })
    }
}

/// Appends entries with consecutive sequences, all of them or none, as sender_replicate() does.
///
/// - `timestamp_us`: for all entries.
/// - `payloads`, `count`: the entries, at least one.
/// - `out_first_sequence`: the sequence of the first; may be NULL.
///
/// Returns what sender_replicate() returns; `INVALID_ARGUMENT` also for a `count` of 0, `MESSAGE_TOO_LARGE` also for a
/// batch that exceeds the buffer.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `payloads` points to `count` slices, each of which points to its
/// bytes; `out_first_sequence` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_replicate_batch(
    sender: *mut SenderHandle,
    timestamp_us: u64,
    payloads: *const SliceView,
    count: usize,
    out_first_sequence: *mut u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let payloads = checked_payloads(payloads, count)?;
            // Every slice was checked just now, and the caller promises its bytes.
            let payloads = payloads.iter().map(|payload| unchecked_bytes(*payload));
            let (first, end) = sender.core.put_batch(timestamp_us, payloads)?;
            put_optional(out_first_sequence, first);
            sender.core.wait_synced(&end)
        })
    }
}

/// The slices of a batch, each fit for [`unchecked_bytes`].
///
/// # Safety
/// `payloads` is NULL or points to `count` slices, each of which is empty, NULL or points to its bytes.
unsafe fn checked_payloads<'a>(payloads: *const SliceView, count: usize) -> Result<&'a [SliceView]> {
    positive(count, "count")?;
    if payloads.is_null() {
        return Err(is_null("payloads"));
    }
    if count > isize::MAX as usize / size_of::<SliceView>() {
        return Err(invalid(format!("count is {count}, more than memory can hold")));
    }
    // SAFETY: not NULL, short enough for a slice, and the caller promises the slices.
    let payloads = unsafe { std::slice::from_raw_parts(payloads, count) };
    for (at, payload) in payloads.iter().enumerate() {
        // SAFETY: the caller's promise.
        if let Err(error) = unsafe { checked_payload(payload.data, payload.len) } {
            return Err(Error::new(error.status, format!("payloads[{at}]: {}", error.message)));
        }
    }
    Ok(payloads)
}

/// # Safety
/// `slice` is empty or points to its bytes, which are fewer than `isize::MAX` and stay unchanged for `'a`.
unsafe fn unchecked_bytes<'a>(slice: SliceView) -> &'a [u8] {
    if slice.len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(slice.data, slice.len) }
}

/// Returns the last entry's sequence; 0 if there is none, and for a NULL or unusable handle.
///
/// # Safety
/// `sender` is NULL or came from sender_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_current_sequence(sender: *const SenderHandle) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { query(sender, 0, |sender| sender.core.current_sequence()) }
}

/// Sets whether this node is the writer, as a new sender is. Otherwise it refuses entries and readers, and disconnects
/// readers, with status NOT_WRITER. Allowed before sender_start(). Returns `OK`; `CLOSED` after sender_stop().
///
/// # Safety
/// `sender` came from sender_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_set_writable(sender: *mut SenderHandle, writable: bool) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core.set_writable(writable)) }
}
