//! The options of a receiver that may change while it lives.

use std::time::Duration;

use super::config::{LocalLogConfig, ReceiverConfig};
use crate::options::{LiveOption, ms};

type ReceiverOption = LiveOption<ReceiverConfig>;

/// Those that are times, counts and sizes. What concerns a connection concerns those that are made afterwards.
pub(super) const OPTIONS: &[ReceiverOption] = &[
    ReceiverOption {
        name: "reconnect_interval_ms",
        get: |config| ms(config.reconnect_interval),
        set: |config, value| config.reconnect_interval = Duration::from_millis(value),
    },
    ReceiverOption {
        name: "ack_interval_ms",
        get: |config| ms(config.ack_interval),
        set: |config, value| config.ack_interval = Duration::from_millis(value),
    },
    ReceiverOption {
        name: "connect_timeout_ms",
        get: |config| ms(config.connect_timeout),
        set: |config, value| config.connect_timeout = Duration::from_millis(value),
    },
    ReceiverOption {
        name: "heartbeat_interval_ms",
        get: |config| ms(config.heartbeat_interval),
        set: |config, value| config.heartbeat_interval = Duration::from_millis(value),
    },
    ReceiverOption {
        name: "peer_timeout_ms",
        get: |config| ms(config.peer_timeout),
        set: |config, value| config.peer_timeout = Duration::from_millis(value),
    },
    ReceiverOption {
        name: "max_epoch_jump",
        get: |config| Some(config.max_epoch_jump),
        set: |config, value| config.max_epoch_jump = value,
    },
    ReceiverOption {
        name: "wal_retain_bytes",
        get: |config| config.local_log.as_ref().map(|log| log.retain_bytes),
        set: |config, value| of_log(config, |log| log.retain_bytes = value),
    },
    ReceiverOption {
        name: "wal_retain_ms",
        get: |config| config.local_log.as_ref().and_then(|log| ms(log.retain_age)),
        set: |config, value| of_log(config, |log| log.retain_age = Duration::from_millis(value)),
    },
];

fn of_log(config: &mut ReceiverConfig, set: impl FnOnce(&mut LocalLogConfig)) {
    config.local_log.as_mut().map(set);
}
