//! What the stream tests share: a sender, receivers that collect, and waiting for conditions.
#![allow(dead_code, reason = "each program uses its part")]

pub mod disk_log;
pub mod disks;
pub mod hosts;
pub mod secret;
pub mod stage;
pub mod wire;

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use replication::error::{Result, Status};
use replication::host::{Event, EventKind, LogLevel, Observer};
use replication::protocol::entry::Entries;
use replication::receiver::Receiver;
use replication::receiver::config::{ApplyFailure, Handler, Place, ReceiverConfig, ReceiverHost};
use replication::sender::Sender;
use replication::sender::config::SenderConfig;
use serde_json::Value;

/// The longest any condition here may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the condition holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited too long for: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a terminal obeys this character, or nobody sees it. Said anew, so that a mistake of the library shows.
pub fn is_hidden(c: char) -> bool {
    const INVISIBLE: &str = "\u{ad}\u{61c}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\
        \u{202d}\u{202e}\u{2060}\u{2066}\u{2067}\u{2068}\u{2069}\u{feff}\u{e0041}";
    c.is_control() || INVISIBLE.contains(c)
}

/// Events of a handle, as they came.
#[derive(Clone, Default)]
pub struct Events(Arc<(Mutex<Vec<Event>>, Condvar)>);

impl Observer for Events {
    fn event(&mut self, event: &Event) {
        self.0.0.lock().unwrap().push(event.clone());
        self.0.1.notify_all();
    }
    fn log(&mut self, _: LogLevel, _: &str, _: &Value) {}
    fn max_level(&self) -> Option<LogLevel> {
        None
    }
}

impl Events {
    /// All so far.
    pub fn all(&self) -> Vec<Event> {
        self.0.0.lock().unwrap().clone()
    }

    /// Waits for one of this kind and gives it.
    pub fn wait(&self, kind: EventKind) -> Event {
        self.wait_for(|event| event.kind == kind, &format!("{kind:?}"))
    }

    /// Waits for one of this kind with this status.
    pub fn wait_status(&self, kind: EventKind, status: Status) -> Event {
        self.wait_for(|event| event.kind == kind && event.status == status, &format!("{kind:?} {status:?}"))
    }

    /// Waits for one of which this is true.
    pub fn wait_where(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        self.wait_for(wanted, what)
    }

    /// How many of this kind came so far.
    pub fn count(&self, kind: EventKind) -> usize {
        self.0.0.lock().unwrap().iter().filter(|event| event.kind == kind).count()
    }

    fn wait_for(&self, wanted: impl Fn(&Event) -> bool, what: &str) -> Event {
        let deadline = Instant::now() + PATIENCE;
        let mut events = self.0.0.lock().unwrap();
        loop {
            if let Some(event) = events.iter().find(|event| wanted(event)) {
                return event.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no event {what}, only {events:#?}");
            events = self.0.1.wait_timeout(events, left).unwrap().0;
        }
    }
}

/// What one handler got, and what it is to answer.
#[derive(Clone, Default)]
pub struct Applied(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    entries: Vec<(u64, Vec<u8>)>,
    fail: Option<(u64, u32)>,
}

impl Applied {
    /// All entries so far.
    pub fn entries(&self) -> Vec<(u64, Vec<u8>)> {
        self.0.lock().unwrap().entries.clone()
    }

    /// The sequences so far.
    pub fn sequences(&self) -> Vec<u64> {
        self.0.lock().unwrap().entries.iter().map(|(sequence, _)| *sequence).collect()
    }

    /// The last sequence; 0 before the first.
    pub fn last(&self) -> u64 {
        self.0.lock().unwrap().entries.last().map_or(0, |(sequence, _)| *sequence)
    }

    /// Makes the entry fail so many times.
    pub fn fail(&self, sequence: u64, times: u32) {
        self.0.lock().unwrap().fail = Some((sequence, times));
    }
}

impl Handler for Applied {
    fn max_entries(&self) -> usize {
        1
    }
    fn apply(&mut self, entries: &mut Entries<'_>, _: &Place<'_>) -> std::result::Result<(), ApplyFailure> {
        let mut state = self.0.lock().unwrap();
        for entry in entries {
            if let Some((sequence, times)) = &mut state.fail
                && *sequence == entry.sequence
                && *times > 0
            {
                *times -= 1;
                return Err(ApplyFailure { applied: 0, code: 7, message: String::new() });
            }
            state.entries.push((entry.sequence, entry.payload.to_vec()));
        }
        Ok(())
    }
}

/// A running sender on a free port.
pub fn sender(config: SenderConfig) -> (Sender, String, Events) {
    let events = Events::default();
    let sender = Sender::new(config, Box::new(events.clone())).unwrap();
    sender.start().unwrap();
    let port = sender.listen("127.0.0.1:0").unwrap();
    (sender, format!("127.0.0.1:{port}"), events)
}

/// A receiver's configuration for tests: quick to come back.
pub fn receiver_config(id: &str, address: &str) -> ReceiverConfig {
    ReceiverConfig {
        reader_id: id.into(),
        writer_addr: address.into(),
        reconnect_interval: Duration::from_millis(100),
        ack_interval: Duration::from_millis(5),
        ..ReceiverConfig::default()
    }
}

/// A running receiver.
pub fn receiver(config: ReceiverConfig) -> (Receiver, Applied, Events) {
    let (applied, events) = (Applied::default(), Events::default());
    let receiver = start(config, applied.clone(), &events).unwrap();
    (receiver, applied, events)
}

/// Starts a receiver with this handler.
pub fn start(config: ReceiverConfig, handler: impl Handler + 'static, events: &Events) -> Result<Receiver> {
    let host =
        ReceiverHost { handler: Box::new(handler), local_wal: None, connect: None, observer: Box::new(events.clone()) };
    let receiver = Receiver::new(config, host)?;
    receiver.start()?;
    Ok(receiver)
}

/// A statistic of a sender or receiver.
pub fn stat(json: Result<String>, key: &str) -> Value {
    serde_json::from_str::<Value>(&json.unwrap()).unwrap()[key].clone()
}
