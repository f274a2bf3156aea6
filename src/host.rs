//! What the library tells its host besides entries: events and log records.

use serde_json::Value;

use crate::error::Status;

/// How much a log record matters. Numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum LogLevel {
    /// Something failed and was not delivered.
    Error = 1,
    /// Something unusual that the library handled.
    Warn = 2,
    /// Readers come and go.
    Info = 3,
    /// Details for development.
    Debug = 4,
}

/// What kind of thing happened. Numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum EventKind {
    /// Sender: a reader attached. Receiver: the handshake is done.
    Connected = 1,
    /// A connection ended; the status says why.
    Disconnected = 2,
    /// Sender: a peer was refused. Receiver: the writer refused us.
    Refused = 3,
    /// Entries are missing; `sequence` is the first missing one.
    Gap = 4,
    /// The writer of our stream is behind what we hold.
    Regressed = 5,
    /// The writer belongs to another lineage than the one we follow.
    Diverged = 6,
    /// Sender: a reader has used more than three quarters of the window.
    Lagging = 7,
    /// Sender: a reader fell out of the window.
    CutOff = 8,
    /// Receiver: the handler failed on the entry `sequence`.
    ApplyFailed = 9,
    /// Receiver: the skip policy gave up on the entry `sequence`.
    EntrySkipped = 10,
    /// Receiver: the continue policy went on past a hole that begins at `sequence`.
    HolePassed = 11,
    /// Receiver: the stop policy ended applying at the entry `sequence`.
    Stopped = 12,
    /// The peer broke the protocol; its connection was closed.
    ProtocolError = 13,
    /// Sender: new entries were refused with `BUFFER_FULL` (rate-limited, the count is in the detail).
    EntryRefused = 14,
    /// The host was too slow for its own events (the count is in the detail).
    EventsLost = 15,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// What kind of thing.
    pub kind: EventKind,
    /// The status that belongs to it; `Ok` when nothing failed.
    pub status: Status,
    /// The entry concerned; 0 when there is none.
    pub sequence: u64,
    /// The reader concerned; empty when unknown.
    pub reader_id: String,
    /// The peer's address; empty when unknown.
    pub address: String,
    /// A sentence for people.
    pub message: String,
    /// More, as a JSON object for programs.
    pub detail: Value,
}

/// The host's ears. Called from one thread of the handle, serially.
pub trait Observer: Send {
    /// Takes one event.
    fn event(&mut self, event: &Event);
    /// Takes one log record; `fields` is a JSON object.
    fn log(&mut self, level: LogLevel, message: &str, fields: &Value);
    /// The least important level the host wants to see; `None` for no log at all.
    fn max_level(&self) -> Option<LogLevel>;
}

/// A host that does not listen.
pub struct Silent;

impl Observer for Silent {
    fn event(&mut self, _: &Event) {}
    fn log(&mut self, _: LogLevel, _: &str, _: &Value) {}
    fn max_level(&self) -> Option<LogLevel> {
        None
    }
}
