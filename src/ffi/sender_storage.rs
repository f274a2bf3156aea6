//! # Sender: the log on disk
//!
//! A sender's log on disk: its configuration, and what can be asked of it.

use std::ffi::c_char;
use std::path::PathBuf;
use std::time::Duration;

use super::args::{
    absolute, invalid, optional_path, positive_ms, put_token, reader_id as checked_reader_id, required,
    token as checked_token,
};
use super::guard::guard;
use super::sender::SenderHandle;
use super::sender_config::SenderConfigHandle;
use super::status::c_string;
use crate::error::{Result, Status};
use crate::log::disk::DiskConfig;
use crate::protocol::lineage::Lineage;
pub use crate::protocol::token::TOKEN_BYTES;
use crate::sender::config::{StorageConfig, SyncPolicy};

/// When what is written to a log on disk is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SyncPolicyNumber {
    /// Before sender_replicate() returns. Callers at the same time share one sync.
    Always = 0,
    /// After a time or a number of bytes, whichever comes first, and at once when somebody waits for it.
    Group = 1,
    /// When the operating system likes, and when somebody waits for it. Survives the end of the process, not of the machine.
    Os = 2,
}

/// The policy with this number.
pub(crate) fn sync_policy(policy: u32, interval_ms: u64, bytes: u64) -> Result<SyncPolicy> {
    match policy {
        0 => Ok(SyncPolicy::Always),
        1 if bytes == 0 => Err(invalid("bytes is 0, at least 1 is needed")),
        1 => Ok(SyncPolicy::Group { interval: positive_ms(interval_ms, "interval_ms")?, bytes }),
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

/// Sets the directory of the log on disk. NULL: the log lives in memory only, the default. The directory is made if it is
/// not there; its parent must be. sender_new() opens it, goes on with the stream, the epoch and the sequence it finds there,
/// and keeps it locked until sender_free().
///
/// With a log on disk readers are sent what is safe there: what was synced, under `OS` what was written. A reader that falls
/// out of memory goes on from disk; one whose entries are gone from there too is told `WAL_ROTATED`. docs/durability.md tells
/// the whole.
///
/// A relative path is made absolute now, and the directory is held open from then on: a host that changes its working directory
/// or its root afterwards changes nothing. If the directory is moved, removed or replaced while it is in use, or the file `lock`
/// in it is, the log ends with the event `WAL_FAILED` within about a second, and nothing more is confirmed.
///
/// Others may not write to the directory: see sender_config_set_insecure_permissions_allowed().
///
/// Returns `OK`; `INVALID_ARGUMENT` for an empty path or one that is not UTF-8; `IO` for a relative path when the process has no
/// working directory.
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

/// Sets when the log on disk is made durable. Default `GROUP` with 5 ms and 1048576 bytes.
///
/// - `policy`: a replication_sync_policy.
/// - `interval_ms`, `bytes`: for `GROUP`: the longest time in milliseconds and the most bytes between two syncs; otherwise
///   ignored.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a number that is no policy, and for 0 with `GROUP`.
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

/// Sets the usual size in bytes of a file of the log, the unit in which old entries go. Default 67108864 (64 MiB), at least
/// 65536, at most 1073741824 (1 GiB).
///
/// Returns `OK`; `INVALID_ARGUMENT` for less or more.
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

/// Sets how many bytes of the log stay on disk when no slot needs them. Default 1073741824 (1 GiB). The newest file always
/// stays.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL.
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

/// Sets after how many milliseconds entries leave the disk when no slot needs them. Default 86400000 (a day).
///
/// Whole files go. A file goes when its last entry was written longer ago than this; and a file is completed before it is
/// full when its first entry was written a quarter of this ago. So an entry is gone one and a quarter times this after it was
/// written, and up to ten seconds more, also when nothing is written any more. The last file stays, without entries then.
/// What counts is when the library wrote the entry, not its timestamp.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
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

/// Sets how many bytes of the log the slot of a reader may hold back beyond what retention keeps. Default 8589934592 (8 GiB).
/// A slot that would hold back more is lost: an event, and `WAL_ROTATED` for its reader if it then asks for what is gone.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL.
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

/// Sets how long in milliseconds the slot of a reader is kept that does not come back. Default 604800000 (a week).
///
/// The time runs on the boot clock, which nobody can set. How long a slot was out of use before sender_new() is known by the
/// wall clock alone: that counts from ten minutes after sender_new(), and after each time that the wall clock was set by
/// more than 5 seconds; until then such a slot is as old as the handle.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
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

/// Sets how long in milliseconds sender_replicate() waits for the disk: for room in memory that is not written yet, and
/// under `ALWAYS` for the sync. Default 5000.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
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

/// Sets where a sender begins whose log is new: after a position that a reader reached, to take over as the writer.
///
/// - `token`: `REPLICATION_TOKEN_BYTES` from receiver_token() or sender_token(): stream, epoch, sequence, and the
///   hash of what lies before, by which readers recognise whether this writer has the history that they have.
/// - `epoch`: the epoch in which this sender writes, above the token's when it takes over from another writer; 0: the token's.
///
/// It replaces sender_config_set_stream() and sender_config_set_last_sequence(). Returns `OK`; `INVALID_ARGUMENT` for NULL,
/// for a token that is damaged, and for an epoch below the token's.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed; `token` is NULL or points to `REPLICATION_TOKEN_BYTES` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_token(
    config: *mut SenderConfigHandle,
    token: *const u8,
    epoch: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            let token = checked_token(token)?;
            let epoch = if epoch == 0 { token.epoch } else { epoch };
            if epoch < token.epoch {
                return Err(invalid(format!("epoch {epoch} is below the token's, {}", token.epoch)));
            }
            let core = &mut config.state().core;
            core.lineage = Some(Lineage { stream_id: token.stream_id, epoch });
            (core.last_sequence, core.last_hash) = (token.sequence, token.hash);
            Ok(())
        })
    }
}

/// Gives the position after the last entry of a sender, with stream, epoch and hash.
///
/// - `out_token`: room for `REPLICATION_TOKEN_BYTES`.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `out_token` is NULL or has room for `REPLICATION_TOKEN_BYTES`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_token(sender: *const SenderHandle, out_token: *mut u8) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| put_token(&sender.core().token(), out_token)) }
}

/// Waits until an entry is on this node's disk, whatever the sync policy; it is synced at once.
///
/// - `sequence`: an entry that was replicated.
/// - `timeout_ms`: how long, in milliseconds; 0 only looks.
///
/// Returns `OK`; `TIMEOUT`; `INVALID_STATE` without sender_config_set_wal_dir() or before sender_start();
/// `INVALID_ARGUMENT` for a sequence that no entry has yet; `IO` when the disk failed; `DISK_FULL` or
/// `STALLED` while it refuses for now; `CLOSED`; `WRONG_THREAD` in
/// a callback of this sender. Any other thread.
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

/// Gives the slots of a sender's readers as a JSON array with an object for each: `reader_id`, `connected`, `state` ("held" or
/// "lost"), `sequence`, `held_bytes`, `max_bytes`, `updated`, `acknowledged` (whether its reader ever acknowledged or proved
/// anything), and `lost_in_s`: in how many seconds it is lost at this rate, or null.
///
/// - `out_json`: the text, to be freed with replication_string_free().
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL; `INVALID_STATE` without sender_config_set_wal_dir().
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

/// Gives up the slot of a reader that will not come back, so that it no longer holds the log. A connected reader is not
/// disconnected; it gets a slot again when it connects again. Allowed before sender_start() and after sender_stop(), too.
///
/// Returns `OK`; `NOT_FOUND` when there is none; `INVALID_STATE` without sender_config_set_wal_dir();
/// `INVALID_ARGUMENT`; of a sender that does not run, `IO`, `DISK_FULL` or `STALLED` when the disk does not take it.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `reader_id` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_drop_slot(sender: *mut SenderHandle, reader_id: *const c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core().drop_slot(checked_reader_id(reader_id)?)) }
}
