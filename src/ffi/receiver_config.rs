//! # Receiver
//!
//! The configuration of a receiver: what it is told before it is made.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::callbacks::{CallbackSlot, ConnectFn, EventFn, IngestBatchFn, IngestFn, LogFn, RecordFn};
use super::guard::{Guarded, HandleState, guard, make, release};
use crate::error::{Result, Status};
use crate::host::LogLevel;
use crate::receiver::config::{LocalLogConfig, ReceiverConfig};
use crate::records::DEFAULT_MAX_BYTES;

/// Which of the three kinds of handler is set.
pub(crate) enum HandlerSlot {
    None,
    Ingest(CallbackSlot<IngestFn>),
    Batch(CallbackSlot<IngestBatchFn>, usize),
    Record(CallbackSlot<RecordFn>),
}

/// What the setters fill.
pub(crate) struct ReceiverConfigState {
    pub(crate) core: ReceiverConfig,
    /// Used when it has a directory.
    pub(crate) local_log: LocalLogConfig,
    pub(crate) handler: HandlerSlot,
    /// For the records of one entry.
    pub(crate) records_max_bytes: u64,
    pub(crate) local_wal: CallbackSlot<IngestFn>,
    pub(crate) connect: CallbackSlot<ConnectFn>,
    pub(crate) event: CallbackSlot<EventFn>,
    pub(crate) log: CallbackSlot<LogFn>,
    pub(crate) max_level: LogLevel,
}

/// The options of a receiver. Created by receiver_config_new().
pub struct ReceiverConfigHandle {
    gate: HandleState,
    state: Mutex<ReceiverConfigState>,
}

impl Guarded for ReceiverConfigHandle {
    const NAME: &'static str = "config";
    fn gate(&self) -> &HandleState {
        &self.gate
    }
}

impl ReceiverConfigHandle {
    fn new() -> Result<Self> {
        Ok(Self {
            gate: HandleState::new()?,
            state: Mutex::new(ReceiverConfigState {
                core: ReceiverConfig::default(),
                local_log: LocalLogConfig::new(""),
                handler: HandlerSlot::None,
                records_max_bytes: DEFAULT_MAX_BYTES,
                local_wal: CallbackSlot::Empty,
                connect: CallbackSlot::Empty,
                event: CallbackSlot::Empty,
                log: CallbackSlot::Empty,
                max_level: LogLevel::Error,
            }),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, ReceiverConfigState> {
        // A panic while it was locked has poisoned the gate, which lets nobody in any more.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `new` in its place. What was there is dropped after the lock: its free function may use the configuration.
    pub(crate) fn replace<T>(&self, place: impl FnOnce(&mut ReceiverConfigState) -> &mut T, new: T) {
        let _old = std::mem::replace(place(&mut self.state()), new);
    }
}

/// # Safety
/// As for [`guard`].
pub(super) unsafe fn set(
    config: *mut ReceiverConfigHandle,
    change: impl FnOnce(&mut ReceiverConfig) -> Result<()>,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(config, |config| change(&mut config.state().core)) }
}

/// Creates a configuration with default options. Returns NULL if out of memory.
#[unsafe(no_mangle)]
pub extern "C" fn receiver_config_new() -> *mut ReceiverConfigHandle {
    make(ReceiverConfigHandle::new)
}

/// Frees a configuration, and the `user_data` of callbacks that no receiver has taken over.
///
/// # Safety
/// `config` is NULL or came from receiver_config_new(), and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_free(config: *mut ReceiverConfigHandle) {
    // SAFETY: the caller's promise.
    unsafe { release(config, drop) };
}

#[cfg(test)]
mod tests;
