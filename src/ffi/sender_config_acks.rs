//! Whom a sender's host waits for, and when it takes entries.

use std::ffi::c_char;
use std::time::Duration;

use super::args::{ack_level, invalid, text, texts};
use super::sender_config::{SenderConfigHandle, set};
use crate::error::Status;
use crate::sender::config::{GatePolicy, Group, WriteGateConfig};

/// What sender_replicate() does while the write gate is shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum GatePolicyNumber {
    /// Refuse the entry with `REPLICATION_STATUS_GATED`.
    Refuse = 0,
    /// Wait for the gate to open up to a given time, then refuse.
    Slow = 1,
}

/// Adds a group of readers, for a replication_quorum to name: a place, a rack, a kind. A reader may be in many groups, and
/// need not be connected.
///
/// - `name`: 1 to 255 bytes without control characters; new in this configuration.
/// - `reader_ids`, `count`: its readers, at least one; an id that ends with `*` stands for every reader id that begins with
///   what is before it.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL, a name or id that is empty or too long, text that is not UTF-8, a `count`
/// of 0, a name that is there already, and for a 65th group.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed. `name` is NULL or ends with a NUL; `reader_ids` is NULL or
/// points to `count` texts, each of which is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_add_group(
    config: *mut SenderConfigHandle,
    name: *const c_char,
    reader_ids: *const *const c_char,
    count: usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| core.groups.add(Group::new(text(name, "name")?, texts(reader_ids, count, "reader_ids")?)?))
    }
}

/// Sets when entries are taken: while at least `min_readers` connected readers are within a lag. Otherwise
/// sender_replicate() refuses them with `GATED` or waits. Default: always.
///
/// The lag is measured by acknowledgements, which readers are asked for in time, and checked before each entry, so that
/// entries of concurrent calls may pass together. It is not a promise about any one entry: for that, wait for it.
///
/// - `min_readers`: how many; 0 takes the gate away.
/// - `max_lag_entries`: how many of the last entries a reader may not have acknowledged; 0: any number.
/// - `max_lag_ms`: how long an entry may be unacknowledged, in milliseconds and to about an eighth; 0: any time.
/// - `level`: a replication_ack_level: what counts as acknowledged. v1 readers acknowledge at level received only.
/// - `policy`: a replication_gate_policy.
/// - `max_wait_ms`: how long `REPLICATION_GATE_POLICY_SLOW` waits, in milliseconds; ignored for the other.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a number that is no level or policy. sender_new() returns `INVALID_ARGUMENT` for a
/// gate that wants more readers than sender_config_set_max_readers() allows.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_write_gate(
    config: *mut SenderConfigHandle,
    min_readers: usize,
    max_lag_entries: u64,
    max_lag_ms: u64,
    level: u32,
    policy: u32,
    max_wait_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            let level = ack_level(level)?;
            let policy = match policy {
                p if p == GatePolicyNumber::Refuse as u32 => GatePolicy::Refuse,
                p if p == GatePolicyNumber::Slow as u32 => GatePolicy::Slow(Duration::from_millis(max_wait_ms)),
                _ => return Err(invalid(format!("policy {policy} is no replication_gate_policy"))),
            };
            let max_lag = Duration::from_millis(max_lag_ms);
            let gate = WriteGateConfig { min_readers, max_lag_entries, max_lag, level, policy };
            core.write_gate = (min_readers > 0).then_some(gate);
            Ok(())
        })
    }
}

/// Sets how many calls of sender_on_acked() may be outstanding; further ones are refused with `BUFFER_FULL`. Default 65536.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_max_pending_acks(config: *mut SenderConfigHandle, calls: usize) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            if calls == 0 {
                return Err(invalid("calls is 0, at least 1 is needed"));
            }
            core.max_pending_acks = calls;
            Ok(())
        })
    }
}
