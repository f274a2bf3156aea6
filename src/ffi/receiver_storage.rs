//! # Receiver: the log on disk
//!
//! A log of its own, in which a receiver keeps what it received.

use std::ffi::c_char;
use std::path::PathBuf;

use super::args::{absolute, optional_path, positive_ms};
use super::guard::guard;
use super::receiver_config::{ReceiverConfigHandle, set as set_core};
use super::sender_storage::sync_policy;
use crate::error::{Result, Status};
use crate::log::disk::DiskConfig;
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

/// Sets how many bytes of the receiver's log stay on disk once they are applied. Returns `OK`. Default: 1073741824 (1 GiB).
///
/// # When to change it
/// Raise it on a reader that may be promoted, so that other readers find what they need. It must cover what a host that
/// commits later than its handler returns can lose in a crash.
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

/// As sender_config_set_insecure_permissions_allowed(); call it before receiver_config_set_tls(). Returns `OK`. Default: false.
///
/// # When to change it
/// Only in tests, and where another mechanism than file permissions protects the files.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_insecure_permissions_allowed(
    config: *mut ReceiverConfigHandle,
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
