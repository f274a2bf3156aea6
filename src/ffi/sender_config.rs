//! # Sender
//!
//! The configuration of a sender: what it is told before it is made.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::access_request::AuthorizeFn;
use super::args::invalid;
use super::callbacks::{CallbackSlot, EventFn, LogFn};
use super::guard::{Guarded, HandleState, guard, make, release};
use crate::error::{Result, Status};
use crate::host::LogLevel;
use crate::sender::config::{SenderConfig, StorageConfig};

/// The most threads for the network that are taken for a real wish.
const MAX_IO_THREADS: u32 = 256;

/// What the setters fill.
pub(crate) struct SenderConfigState {
    pub(crate) core: SenderConfig,
    /// Used when it has a directory.
    pub(crate) storage: StorageConfig,
    pub(crate) event: CallbackSlot<EventFn>,
    pub(crate) log: CallbackSlot<LogFn>,
    pub(crate) authorize: CallbackSlot<AuthorizeFn>,
    pub(crate) max_level: LogLevel,
}

/// The options of a sender. Created by sender_config_new().
pub struct SenderConfigHandle {
    gate: HandleState,
    state: Mutex<SenderConfigState>,
}

impl Guarded for SenderConfigHandle {
    const NAME: &'static str = "config";
    fn gate(&self) -> &HandleState {
        &self.gate
    }
}

impl SenderConfigHandle {
    fn new() -> Result<Self> {
        Ok(Self {
            gate: HandleState::new()?,
            state: Mutex::new(SenderConfigState {
                core: SenderConfig::default(),
                storage: StorageConfig::new(""),
                event: CallbackSlot::Empty,
                log: CallbackSlot::Empty,
                authorize: CallbackSlot::Empty,
                max_level: LogLevel::Error,
            }),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, SenderConfigState> {
        // A panic while it was locked has poisoned the gate, which lets nobody in any more.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// # Safety
/// As for [`guard`].
pub(super) unsafe fn set(
    config: *mut SenderConfigHandle,
    change: impl FnOnce(&mut SenderConfig) -> Result<()>,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(config, |config| change(&mut config.state().core)) }
}

/// Creates a configuration with default options. Returns NULL if out of memory.
#[unsafe(no_mangle)]
pub extern "C" fn sender_config_new() -> *mut SenderConfigHandle {
    make(SenderConfigHandle::new)
}

/// Frees a configuration, and the `user_data` of callbacks that no sender has taken over.
///
/// # Safety
/// `config` is NULL or came from sender_config_new(), and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_free(config: *mut SenderConfigHandle) {
    // SAFETY: the caller's promise.
    unsafe { release(config, drop) };
}

/// Sets the number of network threads; 0: one per two processors, from one to four. Returns `OK`; `INVALID_ARGUMENT`
/// for more than 256. Default: 0. At most: 256.
///
/// # When to change it
/// Raise it when one thread cannot send to all readers: above some GB/s, or with TLS and many readers.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_io_threads(config: *mut SenderConfigHandle, threads: u32) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            if threads > MAX_IO_THREADS {
                return Err(invalid(format!("threads is {threads}, at most {MAX_IO_THREADS} are allowed")));
            }
            core.io_threads = threads as usize;
            Ok(())
        })
    }
}

/// Sets for how many milliseconds sender_stop() lets readers catch up; 0: it closes their connections at once. Returns
/// `OK`. Default: 5000 (5 s).
///
/// # When to change it
/// Raise it when readers must have everything before the writer ends; 0 for an immediate end.
/// It may change while the sender lives.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_stop_timeout_ms(config: *mut SenderConfigHandle, timeout_ms: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.stop_timeout = Duration::from_millis(timeout_ms);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
