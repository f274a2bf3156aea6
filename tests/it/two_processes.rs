//! Writers and readers in processes of their own, killed, stopped and started again.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use replication::error::Status;
use replication::host::EventKind;
use replication::receiver::config::ProtocolChoice;
use replication::sender::Sender;
use replication::sender::config::{FullPolicy, SenderConfig};

use crate::common::hosts::PLAIN_RECORD as RECORD;
use crate::common::{Applied, Events, PATIENCE, receiver, receiver_config, sender, until};
use crate::process::Role;

/// A file's path that is removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("replication-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    fn records(&self) -> u64 {
        std::fs::metadata(&self.0).map_or(0, |metadata| metadata.len() / RECORD as u64)
    }

    /// Checks that the file has every entry up to `last`, each once, in order.
    fn check(&self, last: u64) {
        let bytes = std::fs::read(&self.0).unwrap();
        assert_eq!(bytes.len() as u64, last * RECORD as u64);
        for (record, sequence) in bytes.chunks(RECORD).zip(1u64..) {
            assert_eq!(record[..8], sequence.to_be_bytes(), "at record {sequence}");
            assert_eq!(record[8..], sequence.to_be_bytes(), "the payload of {sequence}");
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A writer whose entries wait in memory for as long as this takes.
fn roomy() -> SenderConfig {
    SenderConfig { buffer_size: 4_000_000, full_policy: FullPolicy::Wait(PATIENCE), ..SenderConfig::default() }
}

/// A reader that appends each entry to a file.
fn reader(address: &str, file: &Scratch) -> Role {
    let reader = Role::play("plain-reader", &[("address", &address), ("file", &file.0.display())]);
    reader.hear("ready", 1);
    reader
}

/// A writer that has so many entries.
fn writer(address: &str, entries: u64) -> Role {
    let writer = Role::play("memory-writer", &[("address", &address), ("entries", &entries)]);
    writer.hear("ready", 1);
    writer
}

fn feed(sender: &Sender, entries: u64) {
    for _ in 0..entries {
        let sequence = sender.current_sequence() + 1;
        sender.replicate(0, &sequence.to_be_bytes()).unwrap();
    }
}

#[test]
fn p10_a_reader_killed_twenty_times_has_every_entry_once() {
    let (sender, address, events) = sender(roomy());
    let file = Scratch::new("killed");
    let mut seed = 0x2545_F491_4F6C_DD1Du64;
    for _ in 0..20 {
        let mut reader = reader(&address, &file);
        let (before, had) = (sender.current_sequence(), file.records());
        feed(&sender, 3000);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Somewhere among the entries that flow now.
        let at = had + (seed >> 33) % 3000;
        until("a point to kill at", || file.records() >= at.min(before + 3000));
        reader.kill();
    }
    let mut reader = reader(&address, &file);
    let last = sender.current_sequence();
    until("all entries", || file.records() == last);
    reader.end();
    file.check(last);
    assert!(events.count(EventKind::Connected) >= 15, "most of them were killed while they streamed");
    sender.stop().unwrap();
}

#[test]
fn p1_a_reader_that_was_stopped_goes_on_where_it_was() {
    // Longer than the pause: a slow reader is not a dead one.
    let (sender, address, events) = sender(roomy());
    let file = Scratch::new("stopped");
    let mut reader = reader(&address, &file);
    until("the reader", || sender.reader_count() == 1);
    let (other, applied, _) = receiver(receiver_config("other", &address));
    until("another reader", || sender.reader_count() == 2);
    for _ in 0..3 {
        feed(&sender, 1000);
        until("some entries", || file.records() > sender.current_sequence() - 1000);
        reader.signal(Signal::SIGSTOP);
        feed(&sender, 20_000);
        // The other one does not wait for it.
        other.wait_sequence(sender.current_sequence(), PATIENCE).unwrap();
        assert!(file.records() < sender.current_sequence());
        reader.signal(Signal::SIGCONT);
        until("all entries", || file.records() == sender.current_sequence());
    }
    reader.end();
    file.check(sender.current_sequence());
    assert_eq!(applied.last(), sender.current_sequence());
    assert_eq!(events.count(EventKind::Connected), 2);
    sender.stop().unwrap();
}

#[test]
fn p5_a_reader_that_stays_stopped_is_noticed_by_its_silence() {
    let config = SenderConfig {
        heartbeat_interval: Duration::from_millis(100),
        peer_timeout: Duration::from_millis(1000),
        ..SenderConfig::default()
    };
    let (sender, address, events) = sender(config);
    let file = Scratch::new("half-open");
    let mut reader = reader(&address, &file);
    events.wait(EventKind::Connected);
    reader.signal(Signal::SIGSTOP);
    let gone = events.wait(EventKind::Disconnected);
    assert_eq!((gone.status, gone.reader_id.as_str()), (Status::PeerTimeout, "reader"));
    // It is heard again, in its own time.
    reader.signal(Signal::SIGCONT);
    feed(&sender, 10);
    until("the entries", || file.records() == 10);
    reader.end();
    file.check(10);
    sender.stop().unwrap();
}

#[test]
fn p7_a_killed_writers_successor_of_another_lineage_is_refused() {
    for protocol in [ProtocolChoice::V2, ProtocolChoice::V1] {
        let mut writer = writer("127.0.0.1:0", 500);
        let address = format!("127.0.0.1:{}", writer.hear("ready", 1));
        let mut config = receiver_config("reader", &address);
        config.protocol = protocol;
        let (receiver, applied, events): (_, Applied, Events) = receiver(config);
        receiver.wait_sequence(500, PATIENCE).unwrap();
        writer.kill();
        let ended = events.wait(EventKind::Disconnected);
        assert_eq!(ended.status, Status::Io, "{ended:?}");
        // With v2 it is recognised although it has more entries; v1 can tell only when it has fewer.
        let (entries, status, kind) = match protocol {
            ProtocolChoice::V1 => (100, Status::Regressed, EventKind::Regressed),
            _ => (900, Status::Diverged, EventKind::Diverged),
        };
        let mut successor = self::writer(&address, entries);
        events.wait_status(kind, status);
        assert_eq!(applied.sequences(), (1..=500).collect::<Vec<_>>());
        assert_eq!(receiver.last_sequence(), 500);
        successor.end();
    }
}

#[test]
fn p2_what_was_replicated_before_stop_arrives() {
    let (sender, address, _) = sender(roomy());
    let file = Scratch::new("drained");
    let mut reader = reader(&address, &file);
    until("the reader", || sender.reader_count() == 1);
    feed(&sender, 50_000);
    sender.stop().unwrap();
    until("all entries", || file.records() == 50_000);
    reader.end();
    file.check(50_000);
}
