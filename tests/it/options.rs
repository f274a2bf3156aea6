//! Options that change while a sender or receiver lives.

use std::time::Duration;

use replication::error::{Error, Status};
use replication::host::EventKind;
use replication::sender::config::{SenderConfig, StorageConfig};
use replication::sender::{AckLevel, Sender};

use crate::common::*;

const SENDER: &[&str] = &[
    "write_timeout_ms",
    "handshake_timeout_ms",
    "heartbeat_interval_ms",
    "min_heartbeat_ms",
    "peer_timeout_ms",
    "stop_timeout_ms",
    "max_readers",
    "max_handshakes",
    "max_handshakes_per_address",
    "max_handshakes_per_network",
    "max_connection_rate_per_address",
    "max_pending_acks",
    "wal_retain_bytes",
    "wal_retain_ms",
    "wal_timeout_ms",
    "slot_max_bytes",
    "slot_expiry_ms",
];

const RECEIVER: &[&str] = &[
    "reconnect_interval_ms",
    "ack_interval_ms",
    "connect_timeout_ms",
    "heartbeat_interval_ms",
    "peer_timeout_ms",
    "max_epoch_jump",
    "wal_retain_bytes",
    "wal_retain_ms",
];

fn stored(dir: &std::path::Path) -> SenderConfig {
    let storage = StorageConfig { segment_bytes: 64 << 10, ..StorageConfig::new(dir) };
    SenderConfig { storage: Some(storage), stop_timeout: Duration::ZERO, ..SenderConfig::default() }
}

/// Each is a number of its own: what one is set to, no other one becomes.
#[test]
fn every_live_option_is_read_as_it_was_set() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, _) = sender(stored(dir.path()));
    let local_log = Some(replication::receiver::config::LocalLogConfig::new(dir.path().join("reader")));
    let (receiver, ..) =
        receiver(replication::receiver::config::ReceiverConfig { local_log, ..receiver_config("r", &address) });
    let values = |names: &[&str]| (0..names.len() as u64).map(|n| 5_000 - 7 * n).collect::<Vec<_>>();
    // Heartbeats must stay below the limits for peers.
    let set = |set: &dyn Fn(&str, u64) -> Result<(), Error>, names: &[&str]| {
        set("peer_timeout_ms", 60_000).unwrap();
        names.iter().zip(values(names)).filter(|(name, _)| **name != "peer_timeout_ms").for_each(|(name, value)| {
            set(name, value).unwrap_or_else(|error| panic!("{name}: {error}"));
        });
    };
    set(&|name, value| sender.set_option(name, value), SENDER);
    set(&|name, value| receiver.set_option(name, value), RECEIVER);
    for (name, value) in SENDER.iter().zip(values(SENDER)) {
        let expected = if *name == "peer_timeout_ms" { 60_000 } else { value };
        assert_eq!(sender.option(name), Ok(expected), "{name}");
    }
    for (name, value) in RECEIVER.iter().zip(values(RECEIVER)) {
        let expected = if *name == "peer_timeout_ms" { 60_000 } else { value };
        assert_eq!(receiver.option(name), Ok(expected), "{name}");
    }
    // docs/options.md says of exactly these that they may change.
    let page = include_str!("../../docs/options.md");
    let marked = |who: &str| page.matches(&format!("It may change while the {who} lives.")).count();
    assert_eq!((marked("sender"), marked("receiver")), (SENDER.len(), RECEIVER.len()));
}

#[test]
fn what_no_configuration_would_take_is_refused_and_changes_nothing() {
    let (sender, address, _) = sender(SenderConfig { stop_timeout: Duration::ZERO, ..SenderConfig::default() });
    let (receiver, ..) = receiver(receiver_config("r", &address));
    let refused = |result: Result<(), Error>, status, text: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.status, status, "{error}");
        assert!(error.message.contains(text), "{error}");
    };
    refused(sender.set_option("heartbeat_interval_ms", 0), Status::InvalidArgument, "heartbeat_interval_ms");
    refused(sender.set_option("heartbeat_interval_ms", 10_000), Status::InvalidArgument, "below peer_timeout_ms");
    refused(sender.set_option("min_heartbeat_ms", 9), Status::InvalidArgument, "min_heartbeat_ms is 9");
    refused(sender.set_option("max_readers", 0), Status::InvalidArgument, "max_readers");
    refused(sender.set_option("max_pending_acks", 0), Status::InvalidArgument, "max_pending_acks");
    refused(sender.set_option("wal_retain_bytes", 1), Status::InvalidState, "wal_dir is not set");
    refused(sender.set_option("wal_dir", 1), Status::NotFound, "no option \"wal_dir\"");
    refused(sender.set_option("a\nb", 1), Status::NotFound, "no option \"a\\nb\"");
    refused(receiver.set_option("max_epoch_jump", 0), Status::InvalidArgument, "max_epoch_jump");
    refused(receiver.set_option("ack_interval_ms", 0), Status::InvalidArgument, "ack_interval_ms");
    refused(receiver.set_option("wal_retain_ms", 5), Status::InvalidState, "wal_dir is not set");
    refused(receiver.set_option("max_readers", 5), Status::NotFound, "those that may: reconnect_interval_ms");
    assert_eq!((sender.option("heartbeat_interval_ms"), sender.option("max_readers")), (Ok(1_000), Ok(1_024)));
    assert_eq!(sender.option("wal_retain_bytes").unwrap_err().status, Status::InvalidState);
    sender.stop().unwrap();
    receiver.stop().unwrap();
    refused(sender.set_option("max_readers", 5), Status::Closed, "stopped");
    refused(receiver.set_option("ack_interval_ms", 5), Status::Closed, "stopped");
    assert_eq!((sender.option("max_readers"), receiver.option("ack_interval_ms").is_ok()), (Ok(1_024), true));
}

#[test]
fn a_bound_that_is_raised_lets_the_next_one_in() {
    let config = SenderConfig { max_readers: 1, max_pending_acks: 1, ..SenderConfig::default() };
    let (sender, address, events) = sender(config);
    let (first, ..) = receiver(receiver_config("first", &address));
    until("the first", || sender.reader_count() == 1);
    let (second, ..) = receiver(receiver_config("second", &address));
    events.wait_status(EventKind::Refused, Status::BufferFull);
    sender.set_option("max_readers", 2).unwrap();
    until("the second", || sender.reader_count() == 2);
    // Who is connected stays when the bound is lowered.
    sender.set_option("max_readers", 1).unwrap();
    let last = sender.replicate(0, b"entry").unwrap();
    for receiver in [&first, &second] {
        receiver.wait_sequence(last, PATIENCE).unwrap();
    }

    let order = |sender: &Sender| {
        let quorum = sender.quorum(&[(None, 2)]).unwrap();
        let entry = sender.own(last).unwrap();
        sender.on_acked(entry, AckLevel::Durable, quorum, PATIENCE, Box::new(drop)).map_err(|error| error.status)
    };
    assert_eq!([order(&sender), order(&sender)], [Ok(()), Err(Status::BufferFull)]);
    sender.set_option("max_pending_acks", 2).unwrap();
    assert_eq!([order(&sender), order(&sender)], [Ok(()), Err(Status::BufferFull)]);
}

#[test]
fn p5_retention_that_is_lowered_frees_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, _, events) = sender(stored(dir.path()));
    let last = (0..40).map(|_| sender.replicate(0, &[7; 10_000]).unwrap()).last().unwrap();
    sender.wait_durable(last, PATIENCE).unwrap();
    assert_eq!(stat(sender.stats_json(), "oldest_sequence"), 1);
    sender.set_option("wal_retain_bytes", 150_000).unwrap();
    events.wait(EventKind::WalTrimmed);
    until("room", || stat(sender.stats_json(), "wal_bytes").as_u64().unwrap() <= 150_000 + 2 * (64 << 10));
}
