//! The callbacks of a receiver, set in its configuration.

use std::ffi::c_void;

use super::callbacks::{Callback, CallbackSlot, ConnectFn, EventFn, FreeFn, IngestBatchFn, IngestFn, LogFn, RecordFn};
use super::guard::{guard, is_null};
use super::receiver_config::{HandlerSlot, ReceiverConfigHandle};
use super::sender_config::log_level;
use crate::error::Status;
use crate::host::LogLevel;

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

/// Sets a function that writes each entry to the host's own log before the handler receives it. If it fails (returns a
/// number other than 0), the apply policy decides, and the handler does not receive the entry. Returns `OK`.
///
/// - `append`: NULL for none, the default.
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

/// Sets a function that connects to the writer instead of the library. It receives one address of the list, with a Unix
/// socket path absolute, and may take that address's share of the connect timeout, while no other callback runs.
/// Returns `OK`.
///
/// - `handler`: NULL for none, the default.
///
/// # When to change it
/// When connections need a proxy, a tunnel or credentials that the library does not know.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed. The functions may be called from other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_connect_handler(
    config: *mut ReceiverConfigHandle,
    handler: ConnectFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
) -> Status {
    let callback = Callback::<ConnectFn>::new(handler, user_data, user_data_free);
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            config.replace(|state| &mut state.connect, callback.into());
            Ok(())
        })
    }
}

/// As sender_config_set_event_handler(). Returns `OK`.
///
/// - `handler`: NULL for none, the default.
///
/// # When to change it
/// Always in production: failures in the background are reported here.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed. The functions may be called from other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_event_handler(
    config: *mut ReceiverConfigHandle,
    handler: EventFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
) -> Status {
    let callback = Callback::<EventFn>::new(handler, user_data, user_data_free);
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            config.replace(|state| &mut state.event, callback.into());
            Ok(())
        })
    }
}

/// As sender_config_set_log_handler(). Returns `OK`; `INVALID_ARGUMENT` for an unknown level.
///
/// - `handler`: NULL for none, the default.
///
/// # When to change it
/// When the library is to write into the log of the host.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed. The functions may be called from other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_log_handler(
    config: *mut ReceiverConfigHandle,
    max_level: i32,
    handler: LogFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
) -> Status {
    let callback = Callback::<LogFn>::new(handler, user_data, user_data_free);
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            let level = if callback.is_some() { log_level(max_level)? } else { LogLevel::Error };
            config.state().max_level = level;
            config.replace(|state| &mut state.log, callback.into());
            Ok(())
        })
    }
}
