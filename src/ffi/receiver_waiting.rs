//! # Receiver: reading one's own writes
//!
//! How far a receiver is, and waiting until it is far enough.

use std::time::Duration;

use super::args::token as checked_token;
use super::guard::{guard, query};
use super::receiver::ReceiverHandle;
use crate::error::Status;

/// Returns the last applied sequence; 0 for a NULL or unusable handle.
///
/// # Safety
/// `receiver` is NULL or came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_last_sequence(receiver: *const ReceiverHandle) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { query(receiver, 0, |receiver| receiver.core.last_sequence()) }
}

/// Waits until an entry, and so every entry before it, is applied.
///
/// - `sequence`: the entry, which need not have arrived.
/// - `timeout_ms`: the time limit in milliseconds; 0 only checks.
///
/// Returns `OK`, even after receiver_stop(); `TIMEOUT`; `INVALID_STATE` before receiver_start(); `WRONG_THREAD` in a
/// callback of this receiver; `APPLY_FAILED` if the apply policy stopped before the entry; `LINEAGE_CHANGED` if another
/// writer took over, in whose history the sequence may be another entry; `IO` or `DAMAGED` if the receiver's log on
/// disk failed; `CLOSED` once stopped.
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_wait_sequence(
    receiver: *mut ReceiverHandle,
    sequence: u64,
    timeout_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(receiver, |receiver| {
            receiver.may_wait("receiver_wait_sequence")?;
            receiver.core.wait_sequence(sequence, Duration::from_millis(timeout_ms))
        })
    }
}

/// As receiver_wait_sequence(), for the entry of a token: a host that got the token at the writer reads its writes here.
/// Returns what receiver_wait_sequence() returns; `LOST` if the entry is not in the history that was applied: it is of
/// another stream, or another entry took its place at a fail-over; `LINEAGE_CHANGED` if that cannot be told, because a
/// receiver without a log on disk had passed the entry, and follows another epoch than the token's; `NOT_FOUND` if the
/// entry is applied and no v2 writer has named its stream; `INVALID_ARGUMENT` for bytes that are no token.
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed; `token` is NULL or points to `token_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_wait_token(
    receiver: *mut ReceiverHandle,
    token: *const u8,
    token_len: usize,
    timeout_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(receiver, |receiver| {
            receiver.may_wait("receiver_wait_token")?;
            let token = checked_token(token, token_len, "token")?;
            receiver.core.wait_token(&token, Duration::from_millis(timeout_ms))
        })
    }
}
