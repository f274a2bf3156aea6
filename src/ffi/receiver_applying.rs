//! # Receiver: applying entries
//!
//! The handlers, what follows when one fails, and when entries are acknowledged.

use std::ffi::c_void;

use super::args::{invalid, positive, positive_ms};
use super::callbacks::{Callback, CallbackSlot, FreeFn, IngestBatchFn, IngestFn, RecordFn};
use super::guard::{guard, is_null};
use super::receiver::ReceiverHandle;
use super::receiver_config::{HandlerSlot, ReceiverConfigHandle, set};
use crate::error::Status;
use crate::receiver::config::{ApplyPolicy, ReceiverConfig};

/// What a receiver does if its handler fails on an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ApplyPolicyNumber {
    /// Retry forever, with growing pauses.
    Retry = 0,
    /// Retry some times, then stop applying.
    Stop = 1,
    /// Retry some times, then skip and report it.
    Skip = 2,
}

/// Entries a batch handler gets at most when it does not say.
const DEFAULT_BATCH_ENTRIES: usize = 1_024;

/// Sets the handler that receives entries one by one, in order, each once in the receiver's life. It replaces a handler
/// of any of the three kinds. Returns `OK`; `INVALID_ARGUMENT` for NULL.
///
/// # When to change it
/// One of the three handlers is needed; this one takes one entry at a time.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed. The functions may be called from other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_ingest_handler(
    config: *mut ReceiverConfigHandle,
    handler: IngestFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
) -> Status {
    let callback = Callback::<IngestFn>::new(handler, user_data, user_data_free);
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            let callback = callback.ok_or_else(|| is_null("handler"))?;
            config.replace(|state| &mut state.handler, HandlerSlot::Ingest(CallbackSlot::Set(callback)));
            Ok(())
        })
    }
}

/// Sets a handler that receives many entries per call, otherwise as receiver_config_set_ingest_handler(). Returns `OK`;
/// `INVALID_ARGUMENT` for a NULL handler.
///
/// - `max_entries`: the most entries per call, which never waits for more to arrive; 0 for 1024.
///
/// # When to change it
/// When entries are cheaper to apply in groups, such as one transaction for many.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed. The functions may be called from other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_ingest_batch_handler(
    config: *mut ReceiverConfigHandle,
    max_entries: usize,
    handler: IngestBatchFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
) -> Status {
    let callback = Callback::<IngestBatchFn>::new(handler, user_data, user_data_free);
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            let callback = callback.ok_or_else(|| is_null("handler"))?;
            let max_entries = if max_entries == 0 { DEFAULT_BATCH_ENTRIES } else { max_entries };
            config.replace(|state| &mut state.handler, HandlerSlot::Batch(CallbackSlot::Set(callback), max_entries));
            Ok(())
        })
    }
}

/// Sets a handler that receives entries one by one with their msgpack payload decoded, otherwise as
/// receiver_config_set_ingest_handler(). Returns `OK`; `INVALID_ARGUMENT` for a NULL handler.
///
/// # When to change it
/// When payloads are arrays of maps in msgpack.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed. The functions may be called from other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_record_handler(
    config: *mut ReceiverConfigHandle,
    handler: RecordFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
) -> Status {
    let callback = Callback::<RecordFn>::new(handler, user_data, user_data_free);
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            let callback = callback.ok_or_else(|| is_null("handler"))?;
            config.replace(|state| &mut state.handler, HandlerSlot::Record(CallbackSlot::Set(callback)));
            Ok(())
        })
    }
}

/// Sets how many bytes of memory the decoded records of an entry may take besides its payload, which may be a hundred
/// times smaller. An entry that exceeds it fails, see replication_record_fn. Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 268435456 (256 MiB). At least: 1.
///
/// # When to change it
/// Raise it for entries with more records than fit; lower it when the writer is not trusted.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_records_max_bytes(
    config: *mut ReceiverConfigHandle,
    max_bytes: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            config.state().records_max_bytes = positive(max_bytes, "max_bytes")?;
            Ok(())
        })
    }
}

/// Sets a function that writes each entry to the host's own log before the handler receives it; NULL for none. If it
/// fails (returns a number other than 0), the apply policy decides, and the handler does not receive the entry. Returns
/// `OK`. Default: none.
///
/// # When to change it
/// When the host keeps received entries in a log of its own.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed. The functions may be called from other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_local_wal(
    config: *mut ReceiverConfigHandle,
    append: IngestFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
) -> Status {
    let callback = Callback::<IngestFn>::new(append, user_data, user_data_free);
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            config.replace(|state| &mut state.local_wal, callback.into());
            Ok(())
        })
    }
}

/// Sets whether the handler makes entries durable before it returns, so that applied entries are also acknowledged as
/// durable. Returns `OK`. Default: false.
///
/// # When to change it
/// When the handler commits to durable storage before it returns, so that the writer can count on it.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_handler_durable(
    config: *mut ReceiverConfigHandle,
    durable: bool,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.handler_durable = durable;
            Ok(())
        })
    }
}

/// Sets what happens if the handler fails on an entry. A failure with `REPLICATION_STATUS_CLOSED` is always retried.
/// Returns `OK`; `INVALID_ARGUMENT` for an unknown policy.
///
/// - `policy`: a replication_apply_policy. Default: `REPLICATION_APPLY_POLICY_RETRY`.
/// - `retries`: how often the other two policies retry before they stop or skip.
///
/// # When to change it
/// STOP when an operator must look at a failing entry; SKIP only for data of which entries may be lost.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_apply_policy(
    config: *mut ReceiverConfigHandle,
    policy: u32,
    retries: u32,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.apply_policy = match policy {
                p if p == ApplyPolicyNumber::Retry as u32 => ApplyPolicy::Retry,
                p if p == ApplyPolicyNumber::Stop as u32 => ApplyPolicy::Stop(retries),
                p if p == ApplyPolicyNumber::Skip as u32 => ApplyPolicy::Skip(retries),
                _ => return Err(invalid(format!("policy {policy} is no replication_apply_policy"))),
            };
            Ok(())
        })
    }
}

/// Sets how many bytes may be received and not yet applied; a single entry may be larger. Returns `OK`;
/// `INVALID_ARGUMENT` for less than 65536. Default: 4194304 (4 MiB). At least: 65536.
///
/// # When to change it
/// Raise it when the handler is slower than the network in bursts; lower it when memory is short.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_buffer_bytes(config: *mut ReceiverConfigHandle, bytes: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            if bytes < ReceiverConfig::MIN_BUFFER_BYTES {
                return Err(invalid(format!(
                    "bytes is {bytes}, at least {} are needed",
                    ReceiverConfig::MIN_BUFFER_BYTES
                )));
            }
            core.buffer_bytes = bytes;
            Ok(())
        })
    }
}

/// Sets the interval in milliseconds at which a moving position is acknowledged. Returns `OK`; `INVALID_ARGUMENT` for
/// 0. Default: 100. At least: 1.
///
/// # When to change it
/// Lower it for fresher statistics and faster release of the log; waits for acknowledgements do not depend on it.
/// It may change while the receiver lives.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_ack_interval_ms(
    config: *mut ReceiverConfigHandle,
    interval_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.ack_interval = positive_ms(interval_ms, "interval_ms")?;
            Ok(())
        })
    }
}

/// Pauses a receiver until receiver_resume(): on return no handler runs, unless it made the call. The connection lasts
/// until the buffer is full and the writer's time limit ends. Pausing twice is allowed. Returns `OK`; `INVALID_STATE`
/// before receiver_start(); `CLOSED` after receiver_stop().
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_pause(receiver: *mut ReceiverHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(receiver, |receiver| receiver.core.pause()) }
}

/// Ends a pause, if there is one. Returns `OK`; `INVALID_STATE` before receiver_start(); `CLOSED` after
/// receiver_stop().
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_resume(receiver: *mut ReceiverHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(receiver, |receiver| receiver.core.resume()) }
}
