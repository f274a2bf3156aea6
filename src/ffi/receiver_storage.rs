//! # Receiver: the log on disk, and tokens
//!
//! A receiver's own log on disk, and the token that a host stores with its data.

use std::ffi::c_char;
use std::path::PathBuf;

use super::args::{absolute, optional_path, positive_ms, put_token, required, token as checked_token};
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

/// Sets the directory of a log on disk in which the receiver keeps what it receives, before the handler gets it. NULL: none,
/// the default. The directory is made if it is not there; its parent must be. receiver_new() opens it and keeps it locked until
/// receiver_free().
///
/// With it entries are acknowledged as durable when they are in this log, whatever the handler has done; after a restart what
/// was not applied comes from here, before anything from the writer; and without receiver_config_set_token() or
/// receiver_config_set_last_sequence() the receiver goes on after the entry that was applied last, or a few before it. A node
/// that is promoted gives the directory to a sender with a higher epoch. Needs a v2 writer. docs/durability.md tells the whole.
///
/// A relative path is made absolute now, and the directory is held open from then on: a host that changes its working directory
/// or its root afterwards changes nothing. If the directory is moved, removed or replaced while it is in use, or the file `lock`
/// in it is, the log ends with the event `WAL_FAILED` within about a second, and nothing more is confirmed.
///
/// Others may not write to the directory: see receiver_config_set_insecure_permissions_allowed().
///
/// Returns `OK`; `INVALID_ARGUMENT` for an empty path or one that is not UTF-8; `IO` for a relative path when the process has no
/// working directory.
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

/// Sets when the receiver's log is made durable, and so acknowledged as that. Default `ALWAYS`: what has arrived together is
/// synced together, before it is applied.
///
/// - `policy`: a replication_sync_policy. Under `OS` entries are durable when the writer waits for it.
/// - `interval_ms`, `bytes`: for `GROUP`: the longest time in milliseconds and the most bytes between two syncs; otherwise
///   ignored.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a number that is no policy, and for 0 with `GROUP`.
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

/// Sets the usual size in bytes of a file of the receiver's log, the unit in which old entries go. Default 67108864 (64 MiB), at
/// least 65536, at most 1073741824 (1 GiB).
///
/// Returns `OK`; `INVALID_ARGUMENT` for less or more.
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

/// Sets how many bytes of the receiver's log stay on disk once they are applied. Default 1073741824 (1 GiB).
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL.
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

/// Sets after how many milliseconds applied entries leave the disk. Default 86400000 (a day).
///
/// Whole files go. A file goes when its last entry was stored longer ago than this and all of it is applied; and a file is
/// completed before it is full when its first entry was stored a quarter of this ago. So an applied entry is gone one and a
/// quarter times this after it was stored, and up to ten seconds more, also when nothing arrives any more. The last file
/// stays, without entries then. What counts is when the library stored the entry, not its timestamp.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
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

/// Sets where the host stands: the token that it stored with its data. The writer goes on after it, if it has the very history
/// that the host has; a writer that was restored or forked is refused and reported as diverged.
///
/// - `token`: `REPLICATION_TOKEN_BYTES` from receiver_token().
///
/// It replaces receiver_config_set_last_sequence() and receiver_config_set_stream(). Returns `OK`; `INVALID_ARGUMENT` for NULL
/// and for a token that is damaged.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed; `token` is NULL or points to `REPLICATION_TOKEN_BYTES` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_token(config: *mut ReceiverConfigHandle, token: *const u8) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            let token = checked_token(token)?;
            let core = &mut config.state().core;
            core.lineage = Some(Lineage { stream_id: token.stream_id, epoch: token.epoch });
            (core.last_sequence, core.last_hash, core.has_position) = (token.sequence, token.hash, true);
            Ok(())
        })
    }
}

/// Gives the token of where a receiver stands. In a handler: the place after the entry, or the entries, that it is called
/// with, to be stored in the same transaction, so that each entry is applied exactly once whatever crashes. Elsewhere: the place
/// after what was applied last.
///
/// - `out_token`: room for `REPLICATION_TOKEN_BYTES`.
///
/// Returns `OK`; `NOT_FOUND` while the stream is unknown: before the first connection, and as long as the writer speaks
/// v1 only; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed; `out_token` is NULL or has room for `REPLICATION_TOKEN_BYTES`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_token(receiver: *const ReceiverHandle, out_token: *mut u8) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(receiver, |receiver| {
            let out_token = required(out_token, "out_token")?;
            put_token(&receiver.core().token()?, out_token)
        })
    }
}
