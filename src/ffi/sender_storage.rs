//! # Sender: the log on disk
//!
//! A sender's log on disk: its configuration, and what can be asked of it.

use std::ffi::c_char;
use std::path::PathBuf;
use std::time::Duration;

use super::args::{absolute, invalid, optional_path, positive, positive_ms, reader_id as checked_reader_id, required};
use super::guard::guard;
use super::sender::SenderHandle;
use super::sender_config::{SenderConfigHandle, set as set_core};
use super::status::c_string;
use crate::error::{Result, Status};
use crate::log::disk::DiskConfig;
use crate::sender::config::{StorageConfig, SyncPolicy};

/// When a log on disk is synced, besides whenever somebody waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SyncPolicyNumber {
    /// Before the call that appends returns.
    Always = 0,
    /// After an interval or a number of bytes.
    Group = 1,
    /// When the system does; survives process crashes only.
    Os = 2,
}

/// The policy with this number.
pub(crate) fn sync_policy(policy: u32, interval_ms: u64, bytes: u64) -> Result<SyncPolicy> {
    match policy {
        0 => Ok(SyncPolicy::Always),
        1 => {
            let bytes = positive(bytes, "bytes")?;
            Ok(SyncPolicy::Group { interval: positive_ms(interval_ms, "interval_ms")?, bytes })
        }
        2 => Ok(SyncPolicy::Os),
        other => Err(invalid(format!("policy {other} is no replication_sync_policy"))),
    }
}

/// # Safety
/// As for [`guard`].
unsafe fn set(config: *mut SenderConfigHandle, change: impl FnOnce(&mut StorageConfig) -> Result<()>) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(config, |config| change(&mut config.state().storage)) }
}

/// Sets the directory of the log on disk. sender_new() opens it, continues the stream, epoch and sequence found there,
/// and keeps it locked until sender_free(). Readers receive entries once they are synced, under
/// `REPLICATION_SYNC_POLICY_OS` once they are written; those that fall behind the buffer continue from disk, or get
/// status WAL_ROTATED if the entries are gone from there. See docs/durability.md. Returns `OK`; `INVALID_ARGUMENT` for
/// an empty path or one that is not UTF-8; `IO` for a relative path without a working directory. Default: none.
///
/// - `path`: made absolute now; NULL for a log in memory only. The directory is created if its parent exists. No one
///   else may write to it, see sender_config_set_insecure_permissions_allowed(). If it, or its file `lock`, is moved,
///   removed or replaced while in use, the log fails within about a second (WAL_FAILED).
///
/// # When to change it
/// Always in production: without it a restart loses the entries that readers still need.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed; `path` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_wal_dir(config: *mut SenderConfigHandle, path: *const c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            let dir = optional_path(path, "path")?.map_or_else(|| Ok(PathBuf::new()), absolute)?;
            config.state().storage.dir = dir;
            Ok(())
        })
    }
}

/// Sets when the log on disk is synced. Returns `OK`; `INVALID_ARGUMENT` for an unknown policy, and for 0 with `GROUP`.
///
/// - `policy`: a replication_sync_policy. Default: `REPLICATION_SYNC_POLICY_GROUP`.
/// - `interval_ms`: under `GROUP` the most milliseconds between syncs. Default: 5. At least: 1.
/// - `bytes`: under `GROUP` the most bytes between syncs. Default: 1048576 (1 MiB). At least: 1.
///
/// # When to change it
/// ALWAYS when an entry must be durable before the append returns; OS when a crash of the machine may lose the last
/// seconds.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_wal_sync(
    config: *mut SenderConfigHandle,
    policy: u32,
    interval_ms: u64,
    bytes: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |storage| {
            storage.sync = sync_policy(policy, interval_ms, bytes)?;
            Ok(())
        })
    }
}

/// Sets the usual size of a log file, in bytes. Whole files are removed. Returns `OK`; `INVALID_ARGUMENT` if out of
/// range. Default: 67108864 (64 MiB). Range: 65536 to 1073741824.
///
/// # When to change it
/// Lower it on small disks, since space is freed a segment at a time; raise it for very high rates.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_wal_segment_bytes(config: *mut SenderConfigHandle, bytes: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |storage| {
            DiskConfig::check_segment_bytes(bytes)?;
            storage.segment_bytes = bytes;
            Ok(())
        })
    }
}

/// Sets how many bytes of the log stay on disk if no slot needs more. The newest file always stays. Returns `OK`.
/// Default: 1073741824 (1 GiB).
///
/// # When to change it
/// Raise it to let readers that were away for long catch up; it bounds the disk together with `slot_max_bytes`.
/// It may change while the sender lives.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_wal_retain_bytes(config: *mut SenderConfigHandle, bytes: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |storage| {
            storage.retain_bytes = bytes;
            Ok(())
        })
    }
}

/// Sets the age in milliseconds, from the write, not by its timestamp, at which entries that no slot needs
/// are removed from disk. Whole files go, so it may take a quarter longer, and ten seconds more. Returns `OK`;
/// `INVALID_ARGUMENT` for 0. Default: 86400000 (1 day). At least: 1.
///
/// # When to change it
/// Set it to the longest absence that a reader without a slot must survive.
/// It may change while the sender lives.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_wal_retain_ms(config: *mut SenderConfigHandle, age_ms: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |storage| {
            storage.retain_age = positive_ms(age_ms, "age_ms")?;
            Ok(())
        })
    }
}

/// Sets how many bytes of the log a reader's slot may hold back beyond retention. A slot that exceeds it is lost, with
/// an event; its reader gets status WAL_ROTATED if it asks for removed entries. Returns `OK`. Default: 8589934592 (8 GiB).
///
/// # When to change it
/// Set it to what the disk can give to readers that are away; a reader that needs more must copy the data anew.
/// It may change while the sender lives.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_slot_max_bytes(config: *mut SenderConfigHandle, bytes: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |storage| {
            storage.slot_max_bytes = bytes;
            Ok(())
        })
    }
}

/// Sets for how many milliseconds the slot of an absent reader is kept; after a restart for at least ten minutes, or
/// this time if it is less. docs/durability.md explains changes of the clock. Returns `OK`; `INVALID_ARGUMENT` for 0.
/// Default: 604800000 (7 days). At least: 1.
///
/// # When to change it
/// Set it to the longest absence of a reader that is still expected back.
/// It may change while the sender lives.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_slot_expiry_ms(config: *mut SenderConfigHandle, expiry_ms: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |storage| {
            storage.slot_expiry = positive_ms(expiry_ms, "expiry_ms")?;
            Ok(())
        })
    }
}

/// Sets for how many milliseconds sender_replicate() waits for the disk: for room in the buffer, and under
/// `REPLICATION_SYNC_POLICY_ALWAYS` for the sync. Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 5000 (5 s). At
/// least: 1.
///
/// # When to change it
/// Raise it for disks that stall, such as network storage; lower it when the host prefers an error to a wait.
/// It may change while the sender lives.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_wal_timeout_ms(config: *mut SenderConfigHandle, timeout_ms: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |storage| {
            storage.timeout = positive_ms(timeout_ms, "timeout_ms")?;
            Ok(())
        })
    }
}

/// Allows permissions of a log directory or private key that are otherwise refused, and reports them with the event
/// UNPROTECTED. Call it before sender_config_set_tls(). Returns `OK`. Default: false.
///
/// The function that opens them returns `INVALID_ARGUMENT` for a directory that everyone may write to, for a key that
/// its group or others may write to, that others may read, or that its group may read unless root owns it, and for
/// either if another user (not root) owns it. The text names the remedy. A directory that its group may write to is
/// only reported.
///
/// # When to change it
/// Only in tests, and where another mechanism than file permissions protects the files.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_insecure_permissions_allowed(
    config: *mut SenderConfigHandle,
    allowed: bool,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set_core(config, |core| {
            core.insecure_permissions_allowed = allowed;
            Ok(())
        })
    }
}

/// Syncs an entry to this node's disk now, whatever the sync policy, and waits until it is durable.
///
/// - `sequence`: an appended entry.
/// - `timeout_ms`: the time limit in milliseconds; 0 only checks.
///
/// Returns `OK`; `TIMEOUT`; `INVALID_STATE` without sender_config_set_wal_dir() or before sender_start();
/// `INVALID_ARGUMENT` for a sequence that no entry has yet; `IO` if the disk failed; `DISK_FULL` or `STALLED` while it
/// refuses writes; `CLOSED` if the sender is stopped; `WRONG_THREAD` in a callback of this sender.
///
/// # Safety
/// `sender` came from sender_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_wait_durable(sender: *mut SenderHandle, sequence: u64, timeout_ms: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            sender.may_wait("sender_wait_durable")?;
            sender.core().wait_durable(sequence, Duration::from_millis(timeout_ms))
        })
    }
}

/// Gets the readers' slots as a JSON array. Each has `reader_id`, `connected`, `state` ("held" or "lost"), `sequence`,
/// `held_bytes`, `max_bytes`, `updated`, `acknowledged` (whether its reader ever acknowledged or proved anything), and
/// `lost_in_s` (in how many seconds it will be lost at this rate, or null). Returns `OK`; `INVALID_ARGUMENT` for NULL;
/// `INVALID_STATE` without sender_config_set_wal_dir().
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `out_json` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_slots_json(sender: *const SenderHandle, out_json: *mut *mut c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let out_json = required(out_json, "out_json")?;
            out_json.write(c_string(sender.core().slots_json()?).into_raw());
            Ok(())
        })
    }
}

/// Drops the slot of a reader that will not come back, so that it no longer holds back the log. A connected reader
/// stays connected, and gets a slot when it connects again. Allowed whether or not the sender runs. Returns `OK`;
/// `NOT_FOUND` without such a slot; `INVALID_STATE` without sender_config_set_wal_dir(); `INVALID_ARGUMENT` for an
/// invalid id; of a sender that does not run, `IO`, `DISK_FULL` or `STALLED` if the disk refuses the change.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `reader_id` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_drop_slot(sender: *mut SenderHandle, reader_id: *const c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core().drop_slot(checked_reader_id(reader_id)?)) }
}
