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

/// Sets the handler that gets entries one by one, in order, each once in the life of the receiver. A receiver has exactly one
/// of three kinds of handler (ingest, batch, record): setting one replaces the earlier.
///
/// It is called from the callback thread of the receiver, one call at a time with all other callbacks. `user_data` and
/// `user_data_free` move to the first receiver made from the configuration; `user_data_free` (may be NULL) runs once, after
/// the last call, and also when this function fails or another handler replaces this one.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a NULL handler.
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

/// Sets the handler that gets entries many at a time, for languages where a call costs. A receiver has exactly one
/// of three kinds of handler (ingest, batch, record): setting one replaces the earlier.
///
/// - `max_entries`: entries in one call, at most; 0 means 1024. A call never waits for more entries than are there.
///
/// It is called from the callback thread of the receiver, one call at a time with all other callbacks. `user_data` and
/// `user_data_free` move to the first receiver made from the configuration; `user_data_free` (may be NULL) runs once, after
/// the last call, and also when this function fails or another handler replaces this one.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a NULL handler.
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

/// Sets the handler that gets entries one by one with their msgpack payload decoded. A receiver has exactly one
/// of three kinds of handler (ingest, batch, record): setting one replaces the earlier.
///
/// It is called from the callback thread of the receiver, one call at a time with all other callbacks. `user_data` and
/// `user_data_free` move to the first receiver made from the configuration; `user_data_free` (may be NULL) runs once, after
/// the last call, and also when this function fails or another handler replaces this one.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a NULL handler.
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

/// Sets who writes each entry to the host's own log before the handler gets it. NULL: nobody, the default. An entry that it
/// does not take (a return other than 0) is tried again under the apply policy and does not reach the handler.
///
/// It is called from the callback thread of the receiver, one call at a time with all other callbacks. `user_data` and
/// `user_data_free` move to the first receiver made from the configuration; `user_data_free` (may be NULL) runs once, after
/// the last call, and also when this function fails or another handler replaces this one.
///
/// Returns `OK`.
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

/// Sets who connects to the writer. NULL: the library itself, the default. The handler gets one address of the list, with the
/// path of a Unix socket absolute. It may take that address's share of what receiver_config_set_connect_timeout_ms() says; while
/// it runs, no other callback does.
///
/// It is called from the callback thread of the receiver, one call at a time with all other callbacks. `user_data` and
/// `user_data_free` move to the first receiver made from the configuration; `user_data_free` (may be NULL) runs once, after
/// the last call, and also when this function fails or another handler replaces this one.
///
/// Returns `OK`.
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

/// Sets who hears of events. NULL: nobody, the default.
///
/// It is called from the callback thread of the receiver, one call at a time with all other callbacks. `user_data` and
/// `user_data_free` move to the first receiver made from the configuration; `user_data_free` (may be NULL) runs once, after
/// the last call, and also when this function fails or another handler replaces this one.
///
/// Returns `OK`.
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

/// Sets who gets log records. NULL: nobody, the default.
///
/// - `max_level`: the least important replication_log_level to hand over; ignored when `handler` is NULL.
///
/// It is called from the callback thread of the receiver, one call at a time with all other callbacks. `user_data` and
/// `user_data_free` move to the first receiver made from the configuration; `user_data_free` (may be NULL) runs once, after
/// the last call, and also when this function fails or another handler replaces this one.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a number that is no level.
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
