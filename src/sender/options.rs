//! The options of a sender that may change while it lives.

use std::time::Duration;

use super::config::{SenderConfig, StorageConfig};
use crate::options::{LiveOption, ms};

type SenderOption = LiveOption<SenderConfig>;

/// Those that are times, counts and sizes. What concerns a connection concerns those that are made afterwards.
pub(super) const OPTIONS: &[SenderOption] = &[
    SenderOption {
        name: "write_timeout_ms",
        get: |config| ms(config.write_timeout),
        set: |config, value| config.write_timeout = Duration::from_millis(value),
    },
    SenderOption {
        name: "handshake_timeout_ms",
        get: |config| ms(config.handshake_timeout),
        set: |config, value| config.handshake_timeout = Duration::from_millis(value),
    },
    SenderOption {
        name: "heartbeat_interval_ms",
        get: |config| ms(config.heartbeat_interval),
        set: |config, value| config.heartbeat_interval = Duration::from_millis(value),
    },
    SenderOption {
        name: "min_heartbeat_ms",
        get: |config| ms(config.min_heartbeat),
        set: |config, value| config.min_heartbeat = Duration::from_millis(value),
    },
    SenderOption {
        name: "peer_timeout_ms",
        get: |config| ms(config.peer_timeout),
        set: |config, value| config.peer_timeout = Duration::from_millis(value),
    },
    SenderOption {
        name: "stop_timeout_ms",
        get: |config| ms(config.stop_timeout),
        set: |config, value| config.stop_timeout = Duration::from_millis(value),
    },
    SenderOption {
        name: "max_readers",
        get: |config| Some(config.max_readers as u64),
        set: |config, value| config.max_readers = count(value),
    },
    SenderOption {
        name: "max_handshakes",
        get: |config| Some(config.crowd.handshakes as u64),
        set: |config, value| config.crowd.handshakes = count(value),
    },
    SenderOption {
        name: "max_handshakes_per_address",
        get: |config| Some(config.crowd.per_address as u64),
        set: |config, value| config.crowd.per_address = count(value),
    },
    SenderOption {
        name: "max_handshakes_per_network",
        get: |config| Some(config.crowd.per_network as u64),
        set: |config, value| config.crowd.per_network = count(value),
    },
    SenderOption {
        name: "max_connection_rate_per_address",
        get: |config| Some(config.crowd.per_second.into()),
        set: |config, value| config.crowd.per_second = u32::try_from(value).unwrap_or(u32::MAX),
    },
    SenderOption {
        name: "max_pending_acks",
        get: |config| Some(config.max_pending_acks as u64),
        set: |config, value| config.max_pending_acks = count(value),
    },
    SenderOption {
        name: "wal_retain_bytes",
        get: |config| config.storage.as_ref().map(|storage| storage.retain_bytes),
        set: |config, value| of_log(config, |storage| storage.retain_bytes = value),
    },
    SenderOption {
        name: "wal_retain_ms",
        get: |config| config.storage.as_ref().and_then(|storage| ms(storage.retain_age)),
        set: |config, value| of_log(config, |storage| storage.retain_age = Duration::from_millis(value)),
    },
    SenderOption {
        name: "wal_timeout_ms",
        get: |config| config.storage.as_ref().and_then(|storage| ms(storage.timeout)),
        set: |config, value| of_log(config, |storage| storage.timeout = Duration::from_millis(value)),
    },
    SenderOption {
        name: "slot_max_bytes",
        get: |config| config.storage.as_ref().map(|storage| storage.slot_max_bytes),
        set: |config, value| of_log(config, |storage| storage.slot_max_bytes = value),
    },
    SenderOption {
        name: "slot_expiry_ms",
        get: |config| config.storage.as_ref().and_then(|storage| ms(storage.slot_expiry)),
        set: |config, value| of_log(config, |storage| storage.slot_expiry = Duration::from_millis(value)),
    },
];

fn count(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn of_log(config: &mut SenderConfig, set: impl FnOnce(&mut StorageConfig)) {
    config.storage.as_mut().map(set);
}
