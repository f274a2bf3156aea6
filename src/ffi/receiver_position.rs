//! # Receiver: resuming exactly once
//!
//! Where a receiver goes on, and the token that a host stores with its data.

use super::args::{TokenRoom, token as checked_token};
use super::guard::guard;
use super::receiver::ReceiverHandle;
use super::receiver_config::{ReceiverConfigHandle, set};
use crate::error::Status;
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::lineage::Lineage;

/// Sets the host's position: the token that it stored with its data. The writer continues after it if it has the same
/// history; one that was restored or forked, and one of another stream or an older epoch, is refused with the event
/// DIVERGED. It replaces receiver_config_set_last_sequence(). Returns `OK`; `INVALID_ARGUMENT` for NULL and for bytes that
/// are no token. Default: none; the receiver follows the first writer's stream.
///
/// - `token`, `token_len`: from receiver_token() or sender_token().
///
/// # When to change it
/// When the host stores a token with its data: exactly once across restarts, without a log on disk.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed; `token` is NULL or points to `token_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_token(
    config: *mut ReceiverConfigHandle,
    token: *const u8,
    token_len: usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            let token = checked_token(token, token_len, "token")?;
            let core = &mut config.state().core;
            core.lineage = Some(Lineage { stream_id: token.stream_id, epoch: token.epoch });
            (core.last_sequence, core.last_hash, core.has_position) = (token.sequence, token.hash, true);
            Ok(())
        })
    }
}

/// Sets the sequence of the last applied entry, after which the writer continues; 0: with the first entry. For
/// exactly-once delivery, store it in the transaction that applies the entry. Unlike receiver_config_set_token() it
/// proves nothing about the history before it: a forked writer may not be noticed, and waits and the write gate count
/// this reader only when it acknowledges new entries. Returns `OK`. Default: 0.
///
/// # When to change it
/// When the host stores sequences only; prefer a token, which also identifies the history.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_last_sequence(config: *mut ReceiverConfigHandle, sequence: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            if sequence != core.last_sequence {
                // That of a token, and of another place.
                core.last_hash = UNKNOWN_HISTORY;
            }
            (core.last_sequence, core.has_position) = (sequence, true);
            Ok(())
        })
    }
}

/// Gets the token of the receiver's position: in a handler, after the entry or entries of the call; otherwise, after the
/// last applied entry. Stored in the transaction that applies an entry, it makes that happen exactly once, whatever
/// crashes. Returns `OK`; `NOT_FOUND` while no stream is known: neither a token nor the log on disk names one, and no v2 writer was
/// connected yet; `INVALID_ARGUMENT` for NULL; `BUFFER_TOO_SMALL`.
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed; `token` is NULL or has room for `token_size` bytes; `out_len` is NULL
/// or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_token(
    receiver: *const ReceiverHandle,
    token: *mut u8,
    token_size: usize,
    out_len: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(receiver, |receiver| {
            TokenRoom::new(token, token_size, out_len)?.put(&receiver.core().token()?);
            Ok(())
        })
    }
}

/// Gets the token of the position after the first entries of the call that a batch handler is in: for a handler that
/// commits a part of them, and sets `*applied` to their number.
///
/// - `applied`: how many of the call's entries; 0 for the position before them.
///
/// Returns what receiver_token() returns; `INVALID_ARGUMENT` also for more entries than the call has; `INVALID_STATE` outside
/// of a batch handler of this receiver.
///
/// # Safety
/// As for receiver_token().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_batch_token(
    receiver: *const ReceiverHandle,
    applied: usize,
    token: *mut u8,
    token_size: usize,
    out_len: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(receiver, |receiver| {
            let room = TokenRoom::new(token, token_size, out_len)?;
            room.put(&receiver.batch_token(applied)?);
            Ok(())
        })
    }
}
