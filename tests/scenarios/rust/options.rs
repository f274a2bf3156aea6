//! The options of senders and receivers, by their names in the scenario file.

use std::path::Path;
use std::time::Duration;

use replication::{
    AckLevel, ApplyPolicy, FullPolicy, GapPolicy, GatePolicy, Protocol, ReceiverBuilder, Result, Secret, SenderBuilder,
    SyncPolicy, WriteGate,
};
use serde_json::Value;

use crate::scenario::Scenario;

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn small(value: &Value) -> usize {
    usize::try_from(number(value)).unwrap()
}

pub fn truth(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| panic!("{value} is no boolean"))
}

pub fn ms(value: &Value) -> Duration {
    Duration::from_millis(number(value))
}

pub fn level(value: &Value) -> AckLevel {
    match text(value) {
        "RECEIVED" => AckLevel::Received,
        "DURABLE" => AckLevel::Durable,
        "APPLIED" => AckLevel::Applied,
        other => panic!("unknown level {other}"),
    }
}

pub fn unhex(hex: &Value) -> Vec<u8> {
    let hex = text(hex);
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn sync_policy(value: &Value) -> SyncPolicy {
    match text(&value[0]) {
        "ALWAYS" => SyncPolicy::Always,
        "GROUP" => SyncPolicy::Group { interval: ms(&value[1]), bytes: number(&value[2]) },
        "OS" => SyncPolicy::Os,
        other => panic!("unknown policy {other}"),
    }
}

fn gate(value: &Value) -> WriteGate {
    let policy = match text(&value[4]) {
        "REFUSE" => GatePolicy::Refuse,
        "SLOW" => GatePolicy::Slow(ms(&value[5])),
        other => panic!("unknown policy {other}"),
    };
    WriteGate {
        min_readers: small(&value[0]),
        max_lag_entries: number(&value[1]),
        max_lag: ms(&value[2]),
        level: level(&value[3]),
        policy,
    }
}

/// Returns a path in the temporary directory, or `None` for null.
fn path(tmp: &Path, value: &Value) -> Option<std::path::PathBuf> {
    (!value.is_null()).then(|| tmp.join(text(value)))
}

/// Makes a secret from its cluster, its name and a text.
pub fn secret(value: &Value) -> Result<Secret> {
    Secret::from_bytes(text(&value[0]), text(&value[1]), text(&value[2]))
}

pub fn of_sender(it: &Scenario<'_>, builder: SenderBuilder, key: &str, value: &Value) -> Result<SenderBuilder> {
    Ok(match key {
        "buffer_size" => builder.buffer_size(small(value)),
        "buffer_bytes" => builder.buffer_bytes(number(value)),
        "full_policy" => builder.full_policy(match text(&value[0]) {
            "CUT_OFF_SLOWEST" => FullPolicy::CutOffSlowest,
            "REFUSE" => FullPolicy::Refuse,
            "WAIT" => FullPolicy::Wait(ms(&value[1])),
            other => panic!("unknown policy {other}"),
        }),
        "write_timeout_ms" => builder.write_timeout(ms(value)),
        "handshake_timeout_ms" => builder.handshake_timeout(ms(value)),
        "heartbeat_interval_ms" => builder.heartbeat_interval(ms(value)),
        "min_heartbeat_ms" => builder.min_heartbeat(ms(value)),
        "peer_timeout_ms" => builder.peer_timeout(ms(value)),
        "stop_timeout_ms" => builder.stop_timeout(ms(value)),
        "max_readers" => builder.max_readers(small(value)),
        "io_threads" => builder.io_threads(small(value)),
        "last_sequence" => builder.last_sequence(number(value)),
        "access_rules" => builder.access_rules(text(value)),
        // 0 means the token's own epoch.
        "token" => builder.token(it.token(&value[0]), Some(number(&value[1])).filter(|epoch| *epoch != 0)),
        "tls" => {
            let file = |at: usize| path(it.tmp(), &value[at]);
            let builder = builder.tls(file(0).unwrap(), file(1).unwrap());
            match file(2) {
                Some(client_ca) => builder.tls_client_ca(client_ca),
                None => builder,
            }
        }
        "groups" => value.as_object().unwrap().iter().fold(builder, |builder, (name, reader_ids)| {
            builder.group(name.as_str(), reader_ids.as_array().unwrap().iter().map(text))
        }),
        "write_gate" => builder.write_gate(gate(value)),
        "max_pending_acks" => builder.max_pending_acks(small(value)),
        "wal_dir" => builder.wal_dir(path(it.tmp(), value).unwrap_or_default()),
        "wal_sync" => builder.wal_sync(sync_policy(value)),
        "wal_segment_bytes" => builder.wal_segment_bytes(number(value)),
        "wal_retain_bytes" => builder.wal_retain_bytes(number(value)),
        "wal_retain_ms" => builder.wal_retain(ms(value)),
        "wal_timeout_ms" => builder.wal_timeout(ms(value)),
        "slot_max_bytes" => builder.slot_max_bytes(number(value)),
        "slot_expiry_ms" => builder.slot_expiry(ms(value)),
        "secrets" => {
            let mut secrets = value.as_array().unwrap().iter().map(secret);
            secrets.try_fold(builder, |builder, secret| secret.map(|secret| builder.secret(&secret)))?
        }
        "plain_secrets_allowed" => builder.plain_secrets_allowed(truth(value)),
        other => panic!("unknown option {other}"),
    })
}

pub fn of_receiver(it: &Scenario<'_>, builder: ReceiverBuilder, key: &str, value: &Value) -> ReceiverBuilder {
    match key {
        "reader_id" => builder.reader_id(text(value)),
        "writer_addr" => builder.writer_addr(text(value)),
        "last_sequence" => builder.last_sequence(number(value)),
        "token" => builder.token(it.token(value)),
        "protocol" => builder.protocol(match text(value) {
            "AUTO" => Protocol::Auto,
            "V1" => Protocol::V1,
            "V2" => Protocol::V2,
            other => panic!("unknown protocol {other}"),
        }),
        "coordinator_handshake" => builder.coordinator_handshake(truth(value)),
        "gap_policy" => builder.gap_policy(match text(value) {
            "REFUSE" => GapPolicy::Refuse,
            "CONTINUE" => GapPolicy::Continue,
            other => panic!("unknown policy {other}"),
        }),
        "apply_policy" => builder.apply_policy(match (text(&value[0]), number(&value[1]) as u32) {
            ("RETRY", _) => ApplyPolicy::Retry,
            ("STOP", retries) => ApplyPolicy::Stop(retries),
            ("SKIP", retries) => ApplyPolicy::Skip(retries),
            (other, _) => panic!("unknown policy {other}"),
        }),
        "handler_durable" => builder.handler_durable(truth(value)),
        "reconnect_interval_ms" => builder.reconnect_interval(ms(value)),
        "ack_interval_ms" => builder.ack_interval(ms(value)),
        "connect_timeout_ms" => builder.connect_timeout(ms(value)),
        "heartbeat_interval_ms" => builder.heartbeat_interval(ms(value)),
        "peer_timeout_ms" => builder.peer_timeout(ms(value)),
        "buffer_bytes" => builder.buffer_bytes(number(value)),
        "max_entry_bytes" => builder.max_entry_bytes(number(value)),
        "max_epoch_jump" => builder.max_epoch_jump(number(value)),
        "tls" => {
            let file = |at: usize| path(it.tmp(), &value[at]);
            let mut builder = builder.tls(file(0).unwrap());
            if let Some(name) = value[1].as_str() {
                builder = builder.tls_server_name(name);
            }
            match (file(2), file(3)) {
                (Some(chain), Some(key)) => builder.tls_identity(chain, key),
                _ => builder,
            }
        }
        "wal_dir" => builder.wal_dir(path(it.tmp(), value).unwrap_or_default()),
        "wal_sync" => builder.wal_sync(sync_policy(value)),
        "wal_segment_bytes" => builder.wal_segment_bytes(number(value)),
        "wal_retain_bytes" => builder.wal_retain_bytes(number(value)),
        "wal_retain_ms" => builder.wal_retain(ms(value)),
        "secret" => builder.secret(&secret(value).unwrap()),
        "plain_secrets_allowed" => builder.plain_secrets_allowed(truth(value)),
        other => panic!("unknown option {other}"),
    }
}
