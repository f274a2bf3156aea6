//! # Receiver: the log on disk, and tokens
//!
//! A receiver's own log on disk, and the token that a host stores with its data.

use std::ffi::c_char;
use std::path::PathBuf;

use super::args::{TokenRoom, absolute, optional_path, positive_ms, token as checked_token};
use super::guard::guard;
use super::receiver::ReceiverHandle;
use super::receiver_config::ReceiverConfigHandle;
use super::sender_storage::sync_policy;
use crate::error::{Result, Status};
use crate::log::disk::DiskConfig;
use crate::protocol::lineage::Lineage;
use crate::receiver::config::LocalLogConfig;

/// # Safety
/// As for [`guard`].
unsafe fn set(config: *mut ReceiverConfigHandle, change: impl FnOnce(&mut LocalLogConfig) -> Result<()>) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(config, |config| change(&mut config.state().local_log)) }
}

/// Sets the directory of a log on disk, in which the receiver stores entries before the handler receives them, and
/// keeps them over a restart. They are acknowledged as durable once they are synced there, whether or not they are
/// applied. Without a configured position, the receiver continues after the last applied entry, or a few before it. The
/// log needs a v2 writer. On promotion, give the directory to a sender with a higher epoch. Returns `OK`; `INVALID_ARGUMENT` and `IO` as sender_config_set_wal_dir(). Default: none.
///
/// - `path`: as for sender_config_set_wal_dir(); NULL for no log.
///
/// # When to change it
/// When the data of the handler is not durable by itself, or when the reader may be promoted to writer.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed; `path` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_wal_dir(config: *mut ReceiverConfigHandle, path: *const c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            let dir = optional_path(path, "path")?.map_or_else(|| Ok(PathBuf::new()), absolute)?;
            config.state().local_log.dir = dir;
            Ok(())
        })
    }
}

/// Sets when the receiver's log is synced, and its entries acknowledged as durable. Returns `OK`; `INVALID_ARGUMENT` as
/// sender_config_set_wal_sync().
///
/// - `policy`: a replication_sync_policy. `ALWAYS` syncs entries that arrived together before they are applied, `OS`
///   when the writer waits for it. Default: `REPLICATION_SYNC_POLICY_ALWAYS`.
/// - `interval_ms`, `bytes`: under `GROUP`, as for sender_config_set_wal_sync(). At least: 1.
///
/// # When to change it
/// GROUP or OS when applying may run ahead of the disk, and a reader that loses power may ask for the entries again.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_wal_sync(
    config: *mut ReceiverConfigHandle,
    policy: u32,
    interval_ms: u64,
    bytes: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |log| {
            log.sync = sync_policy(policy, interval_ms, bytes)?;
            Ok(())
        })
    }
}

/// As sender_config_set_wal_segment_bytes(). Returns `OK`; `INVALID_ARGUMENT` for a value out of range. Default:
/// 67108864 (64 MiB). Range: 65536 to 1073741824.
///
/// # When to change it
/// As for the sender.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_wal_segment_bytes(
    config: *mut ReceiverConfigHandle,
    bytes: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |log| {
            DiskConfig::check_segment_bytes(bytes)?;
            log.segment_bytes = bytes;
            Ok(())
        })
    }
}

/// Sets how many bytes of the receiver's log stay on disk once they are applied. Returns `OK`; `INVALID_ARGUMENT` for
/// NULL. Default: 1073741824 (1 GiB).
///
/// # When to change it
/// Raise it on a reader that may be promoted, so that other readers find what they need.
/// It may change while the receiver lives.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_wal_retain_bytes(config: *mut ReceiverConfigHandle, bytes: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |log| {
            log.retain_bytes = bytes;
            Ok(())
        })
    }
}

/// As sender_config_set_wal_retain_ms(), for applied entries; others stay. Returns `OK`; `INVALID_ARGUMENT` for 0.
/// Default: 86400000 (1 day). At least: 1.
///
/// # When to change it
/// As for the sender.
/// It may change while the receiver lives.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_wal_retain_ms(config: *mut ReceiverConfigHandle, age_ms: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |log| {
            log.retain_age = positive_ms(age_ms, "age_ms")?;
            Ok(())
        })
    }
}

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
