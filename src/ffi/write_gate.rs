//! # Sender: the write gate
//!
//! Whether entries are taken while readers lag.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::args::{ack_level, invalid, positive};
use super::guard::{Guarded, HandleState, guard, make, release};
use super::sender_config::{SenderConfigHandle, set};
use crate::error::{Result, Status};
use crate::protocol::control::AckLevel;
use crate::sender::config::{GatePolicy, WriteGateConfig};

/// What sender_replicate() does while the write gate is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum GatePolicyNumber {
    /// Refuse the entry with `GATED`.
    Refuse = 0,
    /// Wait for the gate up to a time, then refuse the entry.
    Slow = 1,
}

/// When a sender takes entries: while enough connected readers are within a lag. Created by replication_write_gate_new().
pub struct WriteGateHandle {
    gate: HandleState,
    config: Mutex<WriteGateConfig>,
}

impl Guarded for WriteGateHandle {
    const NAME: &'static str = "gate";
    fn gate(&self) -> &HandleState {
        &self.gate
    }
}

impl WriteGateHandle {
    fn new() -> Result<Self> {
        let config = WriteGateConfig {
            min_readers: 1,
            max_lag_entries: 0,
            max_lag: Duration::ZERO,
            level: AckLevel::Received,
            policy: GatePolicy::Refuse,
        };
        Ok(Self { gate: HandleState::new()?, config: Mutex::new(config) })
    }
}

/// # Safety
/// As for [`guard`].
unsafe fn change(gate: *mut WriteGateHandle, change: impl FnOnce(&mut WriteGateConfig) -> Result<()>) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(gate, |gate| change(&mut gate.config.lock().unwrap_or_else(PoisonError::into_inner))) }
}

/// Creates a write gate that asks for one reader at level received, with any lag. Returns the gate, to be freed with
/// replication_write_gate_free(); NULL without memory.
///
/// The lag is measured by acknowledgements and checked before each entry, so entries of concurrent calls may pass
/// together. A gate promises nothing about a single entry: wait for its acknowledgement instead.
#[unsafe(no_mangle)]
pub extern "C" fn replication_write_gate_new() -> *mut WriteGateHandle {
    make(WriteGateHandle::new)
}

/// Sets how many connected readers must be within the lag, at most as many as may be connected.
/// Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 1. At least: 1.
///
/// # Safety
/// `gate` came from replication_write_gate_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_write_gate_set_min_readers(gate: *mut WriteGateHandle, readers: usize) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        change(gate, |config| {
            config.min_readers = positive(readers, "readers")?;
            Ok(())
        })
    }
}

/// Sets how many of the last entries a reader may not have acknowledged; 0 allows any number. Returns `OK`. Default: 0.
///
/// # Safety
/// `gate` came from replication_write_gate_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_write_gate_set_max_lag_entries(
    gate: *mut WriteGateHandle,
    entries: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        change(gate, |config| {
            config.max_lag_entries = entries;
            Ok(())
        })
    }
}

/// Sets how long a reader may leave an entry unacknowledged, to about an eighth; 0 allows any time. Returns `OK`.
/// Default: 0.
///
/// # Safety
/// `gate` came from replication_write_gate_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_write_gate_set_max_lag_ms(gate: *mut WriteGateHandle, lag_ms: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        change(gate, |config| {
            config.max_lag = Duration::from_millis(lag_ms);
            Ok(())
        })
    }
}

/// Sets what counts as acknowledged, a replication_ack_level. v1 readers acknowledge entries as received only.
/// Returns `OK`; `INVALID_ARGUMENT` for a number that is no level. Default: `REPLICATION_ACK_LEVEL_RECEIVED`.
///
/// # Safety
/// `gate` came from replication_write_gate_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_write_gate_set_level(gate: *mut WriteGateHandle, level: u32) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        change(gate, |config| {
            config.level = ack_level(level)?;
            Ok(())
        })
    }
}

/// Sets what sender_replicate() does while the gate is closed. `max_wait_ms` is for `REPLICATION_GATE_POLICY_SLOW`.
/// Returns `OK`; `INVALID_ARGUMENT` for a number that is no policy. Default: `REPLICATION_GATE_POLICY_REFUSE`.
///
/// # Safety
/// `gate` came from replication_write_gate_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_write_gate_set_policy(
    gate: *mut WriteGateHandle,
    policy: u32,
    max_wait_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        change(gate, |config| {
            config.policy = match policy {
                p if p == GatePolicyNumber::Refuse as u32 => GatePolicy::Refuse,
                p if p == GatePolicyNumber::Slow as u32 => GatePolicy::Slow(Duration::from_millis(max_wait_ms)),
                _ => return Err(invalid(format!("policy {policy} is no replication_gate_policy"))),
            };
            Ok(())
        })
    }
}

/// Frees a write gate. NULL is ignored. Configurations that it was set on keep their copy.
///
/// # Safety
/// `gate` is NULL or came from replication_write_gate_new(), and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_write_gate_free(gate: *mut WriteGateHandle) {
    // SAFETY: the caller's promise.
    unsafe { release(gate, drop) };
}

/// Sets the write gate: while it is closed, sender_replicate() refuses entries with GATED or waits. Returns `OK`.
/// Default: none.
///
/// - `gate`: copied; NULL removes the gate.
///
/// # When to change it
/// When the writer must not run ahead of its readers by more than a number of entries or a time.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed; `gate` is NULL or came from replication_write_gate_new() and is
/// not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_write_gate(
    config: *mut SenderConfigHandle,
    gate: *const WriteGateHandle,
) -> Status {
    // SAFETY: the caller's promise.
    let gate = unsafe { gate.as_ref() };
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.write_gate = match gate {
                None => None,
                Some(gate) => {
                    gate.gate.check()?;
                    Some(*gate.config.lock().unwrap_or_else(PoisonError::into_inner))
                }
            };
            Ok(())
        })
    }
}
