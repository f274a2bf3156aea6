//! Senders and receivers whose disk refuses.

use std::path::Path;
use std::time::{Duration, Instant};

use replication::error::{Error, Status};
use replication::host::EventKind;
use replication::receiver::Receiver;
use replication::receiver::config::{LocalLogConfig, ReceiverConfig};
use replication::sender::Sender;

use super::hosts::{Seen, payload, policy};
use super::{Events, PATIENCE, receiver_config, start};

pub const SEGMENT: u64 = 64 << 10;
pub const ENTRY: usize = 4000;
pub const POLICIES: [&str; 3] = ["always", "group", "os"];

pub fn write(sender: &Sender, count: u64) -> Result<u64, Error> {
    let mut last = sender.current_sequence();
    for _ in 0..count {
        let given = sender.replicate(0, &payload(last + 1, 0, ENTRY))?;
        assert_eq!(given, last + 1);
        last = given;
    }
    Ok(last)
}

/// Writes entries and waits until they are durable, however short the log's own timeout is.
pub fn write_durably(sender: &Sender, count: u64) -> u64 {
    for _ in 0..count {
        if let Err(error) = write(sender, 1) {
            assert_eq!(error.status, Status::Timeout, "{error}");
        }
    }
    let last = sender.current_sequence();
    sender.wait_durable(last, PATIENCE).unwrap();
    last
}

/// Writes until the disk refuses. Gives the last entry that was taken, and how the next one was refused.
pub fn write_until_refused(sender: &Sender, what: &str) -> (u64, Error) {
    let begun = Instant::now();
    loop {
        match write(sender, 1) {
            Ok(_) => {}
            // Under `always` it is in the log, and not durable in time. Or the disk's side was not heard of in that
            // time.
            Err(error) if matches!(error.status, Status::Timeout | Status::BufferFull) => {}
            Err(error) => return (sender.current_sequence(), error),
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: nothing is refused");
    }
}

pub fn follow(config: ReceiverConfig) -> (Receiver, Seen, Events) {
    let (seen, events) = (Seen::default(), Events::default());
    let config = ReceiverConfig { reconnect_interval: Duration::from_millis(20), ..config };
    (start(config, seen.clone(), &events).unwrap(), seen, events)
}

pub fn check(seen: &Seen, first: u64, last: u64) {
    let entries = seen.entries();
    assert!(entries.iter().map(|(sequence, _)| *sequence).eq(first..=last), "not {first} to {last}: {entries:?}");
}

pub fn local(dir: &Path, sync: &str, address: &str) -> ReceiverConfig {
    let log = LocalLogConfig { sync: policy(sync), segment_bytes: SEGMENT, ..LocalLogConfig::new(dir) };
    ReceiverConfig { local_log: Some(log), ..receiver_config("reader", address) }
}

pub fn no_trouble(events: &Events) {
    let bad = |kind| matches!(kind, EventKind::Gap | EventKind::Regressed | EventKind::Diverged);
    assert!(events.all().iter().all(|event| !bad(event.kind)), "{:?}", events.all());
}
