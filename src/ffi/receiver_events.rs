//! # Receiver: events and statistics
//!
//! What a receiver reports.

use std::ffi::{c_char, c_void};

use super::args::required;
use super::callbacks::{Callback, EventFn, FreeFn, LogFn};
use super::guard::guard;
use super::receiver::ReceiverHandle;
use super::receiver_config::ReceiverConfigHandle;
use super::sender_events::log_level;
use super::status::c_string;
use crate::error::Status;
use crate::host::LogLevel;

/// As sender_config_set_event_handler(). Returns `OK`. Default: none.
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

/// As sender_config_set_log_handler(). Returns `OK`; `INVALID_ARGUMENT` for a wrong level. Default: none.
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

/// As sender_stats_json(). Returns `OK`; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed; `out_json` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_stats_json(receiver: *const ReceiverHandle, out_json: *mut *mut c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(receiver, |receiver| {
            let out_json = required(out_json, "out_json")?;
            out_json.write(c_string(receiver.core.stats_json()?).into_raw());
            Ok(())
        })
    }
}
