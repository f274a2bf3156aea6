//! The objects of a scenario, and what their handlers receive.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};

use replication::{Batch, Entry, Event, EventKind, HandlerResult, LogLevel, Receiver, Sender, Status};
use serde_json::Value;

pub const ENTRY_TIME_US: u64 = 1_700_000_000_000_000;
pub const MAX_BATCH: usize = 16;

/// The first failed check in a handler. A panic in the handler would count as a failure to apply.
static WRONG: Mutex<Option<String>> = Mutex::new(None);

/// Returns the first check that failed in a handler since the last call.
pub fn wrong() -> Option<String> {
    WRONG.lock().unwrap().take()
}

fn is_wrong(what: String) {
    WRONG.lock().unwrap().get_or_insert(what);
}

/// The events and log records that an object's handlers received.
#[derive(Default)]
pub struct Ears {
    events: Mutex<Vec<(EventKind, Status, u64)>>,
    records: Mutex<Vec<(LogLevel, String)>>,
}

impl Ears {
    pub fn event(&self, event: &Event) {
        self.events.lock().unwrap().push((event.kind, event.status, event.sequence));
    }

    pub fn log(&self, level: LogLevel, fields: &Value) {
        let event = fields["event"].as_str().unwrap_or_default().to_owned();
        self.records.lock().unwrap().push((level, event));
    }

    /// Returns how many events match the step.
    pub fn count(&self, step: &Value) -> usize {
        let fits = |(kind, status, sequence): &&(EventKind, Status, u64)| {
            step["kind"] == kind.name()
                && step.get("status").is_none_or(|wanted| wanted == status.name())
                && step.get("sequence").is_none_or(|wanted| *wanted == *sequence)
        };
        self.events.lock().unwrap().iter().filter(fits).count()
    }

    pub fn has_logged(&self, step: &Value) -> bool {
        let records = self.records.lock().unwrap();
        records.iter().any(|(level, event)| step["level"] == level_name(*level) && step["event"] == event.as_str())
    }
}

pub fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "ERROR",
        LogLevel::Warn => "WARN",
        LogLevel::Info => "INFO",
        LogLevel::Debug => "DEBUG",
    }
}

/// A handle that its own handlers can access, and stop once if the scenario says so.
pub struct Own<T> {
    handle: OnceLock<Weak<T>>,
    stops: bool,
    stopped: Mutex<Option<Status>>,
}

impl<T> Own<T> {
    pub fn new(stops: bool) -> Self {
        Self { handle: OnceLock::new(), stops, stopped: Mutex::new(None) }
    }

    pub fn set(&self, handle: &Arc<T>) {
        self.handle.get_or_init(|| Arc::downgrade(handle));
    }

    pub fn stopped(&self) -> Option<Status> {
        *self.stopped.lock().unwrap()
    }

    fn act(&self, stop: impl FnOnce(&T) -> replication::Result<()>) {
        if !self.stops || self.stopped().is_some() {
            return;
        }
        if let Some(handle) = self.handle.get().and_then(Weak::upgrade) {
            let status = stop(&handle).map_or_else(|error| error.status(), |()| Status::Ok);
            *self.stopped.lock().unwrap() = Some(status);
        }
    }
}

pub struct Writer {
    pub handle: Arc<Sender>,
    pub heard: Arc<WriterHost>,
}

pub struct WriterHost {
    pub ears: Ears,
    pub own: Own<Sender>,
}

impl WriterHost {
    pub fn event(&self, event: &Event) {
        self.ears.event(event);
        self.own.act(Sender::stop);
    }
}

pub struct Reader {
    pub handle: Arc<Receiver>,
    pub host: Arc<ReaderHost>,
}

/// An entry that a handler applied.
pub struct Taken {
    pub sequence: u64,
    pub payload: Vec<u8>,
}

pub struct ReaderHost {
    pub ears: Ears,
    pub own: Own<Receiver>,
    /// The sequence on which the handler fails, and how many more times.
    pub fails: Mutex<(u64, u64)>,
    pub held: Mutex<bool>,
    pub released: Condvar,
    pub taken: Mutex<Vec<Taken>>,
}

impl ReaderHost {
    pub fn new(step: &Value) -> Self {
        let fail = |key: &str| step["fail"][key].as_u64().unwrap_or(0);
        Self {
            ears: Ears::default(),
            own: Own::new(step["stop_inside"] == true),
            fails: Mutex::new((fail("sequence"), fail("times"))),
            held: Mutex::new(step["held"] == true),
            released: Condvar::new(),
            taken: Mutex::default(),
        }
    }

    pub fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }

    /// Runs at the start of every handler, before it applies anything.
    fn before(&self) {
        drop(self.released.wait_while(self.held.lock().unwrap(), |held| *held).unwrap());
        self.own.act(Receiver::stop);
    }

    fn may_fail(&self, entry: &Entry<'_>) -> HandlerResult {
        let (sequence, times) = &mut *self.fails.lock().unwrap();
        if entry.sequence() == *sequence && *times > 0 {
            *times -= 1;
            return Err(format!("entry {sequence} is not taken, as the scenario wants it").into());
        }
        Ok(())
    }

    fn take(&self, entry: &Entry<'_>) {
        let mut taken = self.taken.lock().unwrap();
        let sequence = entry.sequence();
        if entry.timestamp_us() != ENTRY_TIME_US {
            is_wrong(format!("entry {sequence} has the time {}", entry.timestamp_us()));
        }
        if let Some(last) = taken.last().filter(|last| last.sequence >= sequence) {
            is_wrong(format!("entry {sequence} came after {}", last.sequence));
        }
        taken.push(Taken { sequence, payload: entry.payload().to_vec() });
    }

    pub fn entry(&self, entry: &Entry<'_>) -> HandlerResult {
        self.before();
        self.may_fail(entry)?;
        self.take(entry);
        Ok(())
    }

    pub fn batch(&self, batch: &Batch<'_>) -> HandlerResult {
        self.before();
        if batch.len() > MAX_BATCH {
            is_wrong(format!("a batch has {} entries", batch.len()));
        }
        batch.iter().try_for_each(|entry| self.may_fail(entry))?;
        batch.iter().for_each(|entry| self.take(entry));
        Ok(())
    }
}

/// The result of an `on_acked` call, which is set only once.
#[derive(Default)]
pub struct Order(Mutex<Option<Status>>);

impl Order {
    pub fn end(&self, status: Status) {
        if self.0.lock().unwrap().replace(status).is_some() {
            is_wrong("an order ended twice".into());
        }
    }

    pub fn ended(&self) -> Option<Status> {
        *self.0.lock().unwrap()
    }
}

/// Returns the object with this name.
pub fn named<'a, T>(all: &'a HashMap<String, T>, name: &Value) -> &'a T {
    let name = name.as_str().unwrap_or_else(|| panic!("the name {name} is no text"));
    all.get(name).unwrap_or_else(|| panic!("no object {name}"))
}
