//! # Sender: events and statistics
//!
//! What a sender reports.

use std::ffi::{c_char, c_void};

use super::args::{invalid, required};
use super::callbacks::{Callback, EventFn, FreeFn, LogFn};
use super::guard::guard;
use super::sender::SenderHandle;
use super::sender_config::SenderConfigHandle;
use super::status::c_string;
use crate::error::{Result, Status};
use crate::host::LogLevel;

/// Sets the function that receives events; NULL for none. Returns `OK`. Default: none.
///
/// # When to change it
/// Always in production: failures in the background are reported here.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed. The functions may be called from other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_event_handler(
    config: *mut SenderConfigHandle,
    handler: EventFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
) -> Status {
    let callback = Callback::<EventFn>::new(handler, user_data, user_data_free);
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            // The old callback is dropped after the lock: its free function may use the configuration.
            let _old = std::mem::replace(&mut config.state().event, callback.into());
            Ok(())
        })
    }
}

/// Sets the function that receives log records. Returns `OK`; `INVALID_ARGUMENT` for a wrong level.
///
/// - `max_level`: the least severe replication_log_level to pass on; ignored if `handler` is NULL.
/// - `handler`: NULL for none, the default.
///
/// # When to change it
/// When the library is to write into the log of the host.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed. The functions may be called from other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_log_handler(
    config: *mut SenderConfigHandle,
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
            let _old = {
                let mut state = config.state();
                state.max_level = level;
                std::mem::replace(&mut state.log, callback.into())
            };
            Ok(())
        })
    }
}

/// The log level with this number.
pub(crate) fn log_level(number: i32) -> Result<LogLevel> {
    [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug]
        .into_iter()
        .find(|level| *level as i32 == number)
        .ok_or_else(|| invalid(format!("max_level {number} is no replication_log_level")))
}

/// Gets the statistics as a JSON object, to be freed with replication_string_free(). Later versions only add keys.
/// Returns `OK`; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `out_json` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_stats_json(sender: *const SenderHandle, out_json: *mut *mut c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let out_json = required(out_json, "out_json")?;
            out_json.write(c_string(sender.core.stats_json()?).into_raw());
            Ok(())
        })
    }
}
