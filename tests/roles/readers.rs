//! Receivers.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use replication::protocol::entry::Entries;
use replication::protocol::lineage::Lineage;
use replication::protocol::token::Token;
use replication::receiver::Receiver;
use replication::receiver::config::{ApplyFailure, Handler, LocalLogConfig, Place, ReceiverConfig, ReceiverHost};

use crate::common::hosts::{Count, PLAIN_RECORD, Store, policy};
use crate::common::{Events, PATIENCE, receiver_config, start, until};
use crate::parent::{Arguments, Saying, arm, orders, say};

/// A reader that follows until it is told to finish. Its `host` is
/// - `transactions`: entry and token go to its file in one write, and it begins at the last token there;
/// - `position`: it applies, and leaves the position to the library;
/// - `bare`: as the first, and without a local log.
pub fn storing(arguments: &Arguments) {
    arm(arguments.text("point"), arguments.number("hit"));
    let host = arguments.text("host");
    let (store, token) = Store::open(Path::new(arguments.text("file")), if host == "position" { 16 } else { 1 });
    let mut config = ReceiverConfig {
        reconnect_interval: Duration::from_millis(20),
        ..receiver_config("reader", arguments.text("address"))
    };
    if host != "bare" {
        config.local_log = Some(LocalLogConfig {
            sync: policy(arguments.text("sync")),
            segment_bytes: arguments.number("segment"),
            retain_bytes: arguments.number("retain"),
            ..LocalLogConfig::new(arguments.text("dir"))
        });
    }
    if let Some(Token { stream_id, epoch, sequence, hash }) = token.filter(|_| host != "position") {
        (config.last_sequence, config.last_hash, config.has_position) = (sequence, hash, true);
        config.lineage = Some(Lineage { stream_id, epoch });
    }
    let held = store.receiver();
    let host = ReceiverHost { handler: Box::new(store), local_wal: None, connect: None, observer: Box::new(Saying) };
    let receiver = Receiver::new(config, host).unwrap();
    say(&format!("opened {}", receiver.last_sequence()));
    let receiver = held.get_or_init(|| receiver);
    receiver.start().unwrap();
    for order in orders() {
        assert_eq!(order, "finish");
        receiver.stop().unwrap();
        say("done");
    }
    std::process::exit(0);
}

/// Applies to a file, and never one certain entry.
struct Failing {
    store: Store,
    at: u64,
}

impl Handler for Failing {
    fn max_entries(&self) -> usize {
        1
    }
    fn apply(&mut self, entries: &mut Entries<'_>, place: &Place<'_>) -> Result<(), ApplyFailure> {
        if entries.clone().next().is_some_and(|entry| entry.sequence == self.at) {
            say(&format!("failed {}", self.at));
            return Err(ApplyFailure { applied: 0, code: 1, message: String::new() });
        }
        self.store.apply(entries, place)
    }
}

/// A reader that fails at the entry `fail`.
pub fn failing(arguments: &Arguments) {
    let (store, token) = Store::open(Path::new(arguments.text("file")), 1);
    assert_eq!(token, None);
    let receiver = store.receiver();
    let local_log = Some(LocalLogConfig::new(arguments.text("dir")));
    let config = ReceiverConfig { local_log, ..receiver_config("reader", arguments.text("address")) };
    let host = ReceiverHost {
        handler: Box::new(Failing { store, at: arguments.number("fail") }),
        local_wal: None,
        connect: None,
        observer: Box::new(Saying),
    };
    let made = Receiver::new(config, host).unwrap();
    receiver.get_or_init(|| made).start().unwrap();
    orders().for_each(drop);
    std::process::exit(0);
}

/// Counts from an entry on. It says how far it is when it has reached what it is told to, or has stopped.
pub fn counting(arguments: &Arguments) {
    let from = arguments.number("from");
    let count = Count::from(from);
    let config = ReceiverConfig {
        last_sequence: from,
        has_position: true,
        ..receiver_config("stalled", arguments.text("address"))
    };
    let receiver = start(config, count.clone(), &Events::default()).unwrap();
    until("the connection", || receiver.is_connected());
    say("connected");
    for order in orders() {
        match order.strip_prefix("reach ") {
            Some(sequence) => receiver.wait_sequence(sequence.parse().unwrap(), PATIENCE * 4).unwrap(),
            None => receiver.stop().unwrap(),
        }
        say(&format!("at {}", count.last()));
    }
    std::process::exit(0);
}

/// Appends each entry to a file, whose length is the position: data and position are one write.
struct Disk {
    file: File,
    records: u64,
}

impl Disk {
    fn open(path: &Path) -> Self {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        // A record that was half written when the process died is written again.
        let records = file.metadata().unwrap().len() / PLAIN_RECORD as u64;
        Self { file, records }
    }
}

impl Handler for Disk {
    fn max_entries(&self) -> usize {
        1
    }
    fn apply(&mut self, entries: &mut Entries<'_>, _: &Place<'_>) -> Result<(), ApplyFailure> {
        for entry in entries {
            let record = [&entry.sequence.to_be_bytes()[..], &entry.payload[..8]].concat();
            self.file.write_all_at(&record, self.records * PLAIN_RECORD as u64).unwrap();
            self.records += 1;
        }
        Ok(())
    }
}

/// Follows until its input ends.
pub fn plain(arguments: &Arguments) {
    let disk = Disk::open(Path::new(arguments.text("file")));
    let mut config = receiver_config("reader", arguments.text("address"));
    (config.last_sequence, config.handler_durable) = (disk.records, true);
    let receiver = start(config, disk, &Events::default()).unwrap();
    say("ready");
    orders().for_each(drop);
    receiver.stop().unwrap();
}
