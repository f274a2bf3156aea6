//! A sender with a good reader that must feel nothing of what a test does to the sender.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use replication::host::EventKind;
use replication::receiver::Receiver;
use replication::sender::Sender;
use replication::sender::config::SenderConfig;

use super::wire::payload;
use super::{Applied, Events, PATIENCE, receiver, receiver_config, sender, stat, until};

/// The longest an entry may take to the good reader. Far below every time-out that a bad reader could make it wait for.
pub const SOON: Duration = Duration::from_secs(4);

/// What the first bytes of a surge's entries name.
const SURGE: u64 = 0xA5A5_A5A5_A5A5_A5A5;

/// A running sender, and a good reader to which entries flow all the time.
pub struct Stage {
    pub sender: Arc<Sender>,
    pub address: String,
    pub events: Events,
    good: (Receiver, Applied, Events),
    stop: mpsc::Sender<()>,
    feeder: JoinHandle<Duration>,
}

/// A configuration whose time-outs a test can wait for, but for the write timeout.
pub fn quick() -> SenderConfig {
    SenderConfig {
        buffer_bytes: 1 << 20,
        handshake_timeout: Duration::from_millis(500),
        heartbeat_interval: Duration::from_millis(100),
        peer_timeout: Duration::from_millis(1500),
        write_timeout: Duration::from_secs(20),
        io_threads: 1,
        ..SenderConfig::default()
    }
}

impl Stage {
    /// Begins. With one network thread, whoever keeps that thread busy is felt by all.
    pub fn new(config: SenderConfig) -> Self {
        let (sender, address, events) = sender(config);
        let sender = Arc::new(sender);
        let good = receiver(receiver_config("good", &address));
        until("the good reader", || sender.reader_count() == 1);
        let (stop, stopped) = mpsc::channel();
        let feeder = {
            let sender = Arc::clone(&sender);
            let applied = good.1.clone();
            std::thread::spawn(move || feed(&sender, &applied, &stopped))
        };
        Self { sender, address, events, good, stop, feeder }
    }

    /// Waits until that many more entries have reached the good reader.
    pub fn flow(&self, entries: u64) {
        self.good.0.wait_sequence(self.sender.current_sequence() + entries, PATIENCE).unwrap();
    }

    /// A statistic of the sender.
    pub fn stat(&self, key: &str) -> u64 {
        stat(self.sender.stats_json(), key).as_u64().unwrap()
    }

    /// Waits for the event that the reader `id` is gone, and gives its status.
    pub fn gone(&self, id: &str) -> replication::host::Event {
        self.events.wait_where(&format!("the end of {id}"), |event| {
            event.kind == EventKind::Disconnected && event.reader_id == id
        })
    }

    /// Appends `entries` of `size` bytes, between those that flow, as fast as the good reader takes them.
    pub fn surge(&self, entries: usize, size: usize) {
        let large = vec![0xA5; size];
        for _ in 0..entries {
            let sequence = self.sender.replicate(0, &large).unwrap();
            self.good.0.wait_sequence(sequence, PATIENCE).unwrap();
        }
    }

    /// Ends, and checks that the good reader got every entry, in order, soon, on its first connection.
    pub fn finish(self) {
        self.flow(20);
        self.stop.send(()).unwrap();
        let slowest = self.feeder.join().unwrap();
        assert!(slowest < SOON, "an entry took {slowest:?} to the good reader");
        let (receiver, applied, events) = self.good;
        let last = self.sender.current_sequence();
        receiver.wait_sequence(last, PATIENCE).unwrap();
        let entries = applied.entries();
        assert_eq!(entries.len() as u64, last);
        for (entry, sequence) in entries.into_iter().zip(1..) {
            assert_eq!(entry.0, sequence);
            let named = u64::from_be_bytes(entry.1[..8].try_into().unwrap());
            let intact =
                if named == SURGE { entry.1.iter().all(|byte| *byte == 0xA5) } else { entry.1 == payload(named) };
            assert!(intact, "entry {sequence} was altered");
        }
        let kinds: Vec<_> = events.all().iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::Connected]);
        self.sender.stop().unwrap();
    }
}

/// Feeds an entry a millisecond, each after the one before has arrived. Gives the longest an entry took.
fn feed(sender: &Sender, applied: &Applied, stopped: &mpsc::Receiver<()>) -> Duration {
    let mut slowest = Duration::ZERO;
    while stopped.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
        let begun = Instant::now();
        let sequence = sender.replicate(0, &payload(sender.current_sequence() + 1)).unwrap();
        until("an entry at the good reader", || applied.last() >= sequence);
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}
