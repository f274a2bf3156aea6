//! What the host is told besides entries: events and log records. They wait in a mailbox for the handle's callback
//! thread, the only one that calls the host.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clock;
use crate::error::Status;
use crate::permissions::Unprotected;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::text;

/// The severity of a log record. The numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum LogLevel {
    /// Something failed and was not delivered.
    Error = 1,
    /// Something unusual that the library handled.
    Warn = 2,
    /// Readers connect and disconnect.
    Info = 3,
    /// Details for development.
    Debug = 4,
}

/// The kind of an event. The numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumIter, strum::IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[repr(i32)]
pub enum EventKind {
    /// The handshake with a peer succeeded.
    Connected = 1,
    /// A connection or attempt failed or ended.
    Disconnected = 2,
    /// The writer refused a reader or a connection.
    Refused = 3,
    /// Entries are missing from `sequence` on.
    Gap = 4,
    /// The writer is behind this reader.
    Regressed = 5,
    /// The histories of writer and reader differ.
    Diverged = 6,
    /// Sender: a reader is about to fall too far behind.
    Lagging = 7,
    /// Sender: a reader fell too far behind.
    CutOff = 8,
    /// Receiver: the handler failed on `sequence`.
    ApplyFailed = 9,
    /// Receiver: the entry `sequence` was skipped.
    EntrySkipped = 10,
    /// Receiver: skipped a gap starting at `sequence`.
    GapPassed = 11,
    /// Receiver: applying stopped at `sequence`.
    Stopped = 12,
    /// A connection closed on a protocol error.
    ProtocolError = 13,
    /// Sender: entries refused with `BUFFER_FULL`.
    EntryRefused = 14,
    /// The host was too slow; events were dropped.
    EventsLost = 15,
    /// Sender: the write gate closed.
    GateClosed = 16,
    /// Sender: the write gate opened.
    GateOpened = 17,
    /// Sender: a slot exceeded its limit and is lost.
    SlotLost = 18,
    /// Sender: an unused slot was dropped.
    SlotExpired = 19,
    /// The disk refuses the log; the library retries.
    WalStalled = 20,
    /// The disk accepts the log again.
    WalResumed = 21,
    /// The log failed; open it with a new handle.
    WalFailed = 22,
    /// The log's torn end was cut off on opening.
    WalRecovered = 23,
    /// Retention removed the oldest log files.
    WalTrimmed = 24,
    /// Sender: no free slot for a connected reader.
    SlotRefused = 25,
    /// Sender: a reader lost acknowledged entries.
    ReaderRewound = 26,
    /// Sender: no descriptor for a connection.
    DescriptorsLow = 27,
    /// Sender: cannot listen on every address.
    ListenIncomplete = 28,
    /// Other users can access files that are in use.
    Unprotected = 29,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// The kind.
    pub kind: EventKind,
    /// Its status; `Ok` when nothing failed.
    pub status: Status,
    /// The entry concerned; 0 when there is none.
    pub sequence: u64,
    /// The reader concerned; empty when unknown.
    pub reader_id: String,
    /// The peer's address; empty when unknown.
    pub address: String,
    /// A text for people.
    pub message: String,
    /// Details for programs, a JSON object.
    pub detail: Value,
}

/// The host's event and log handlers. One thread of the handle calls them.
pub trait Observer: Send {
    /// Takes one event.
    fn event(&mut self, event: &Event);
    /// Takes one log record; `fields` is a JSON object.
    fn log(&mut self, level: LogLevel, message: &str, fields: &Value);
    /// The least important level the host wants to see; `None` for no log at all.
    fn max_level(&self) -> Option<LogLevel>;
}

/// An observer that ignores everything.
pub struct Silent;

impl Observer for Silent {
    fn event(&mut self, _: &Event) {}
    fn log(&mut self, _: LogLevel, _: &str, _: &Value) {}
    fn max_level(&self) -> Option<LogLevel> {
        None
    }
}

impl Event {
    /// An event of `kind` with nothing else known.
    pub fn new(kind: EventKind, status: Status, message: impl Into<String>) -> Self {
        Self {
            kind,
            status,
            sequence: 0,
            reader_id: String::new(),
            address: String::new(),
            message: message.into(),
            detail: json!({}),
        }
    }

    /// Reports a file that other users have more rights to than is safe.
    pub(crate) fn unprotected(found: &Unprotected) -> Self {
        let event = Self::new(EventKind::Unprotected, Status::Ok, found.text.clone());
        Self { detail: json!({ "path": found.path.to_string_lossy() }), ..event }
    }
}

impl EventKind {
    /// The kind as text, such as `CUT_OFF`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    fn level(self) -> LogLevel {
        match self {
            Self::Connected | Self::Disconnected | Self::GateOpened | Self::WalResumed | Self::WalTrimmed => {
                LogLevel::Info
            }
            Self::Refused
            | Self::Lagging
            | Self::ProtocolError
            | Self::ApplyFailed
            | Self::SlotExpired
            | Self::WalRecovered
            | Self::SlotRefused
            | Self::ReaderRewound
            | Self::ListenIncomplete
            | Self::Unprotected => LogLevel::Warn,
            Self::Gap
            | Self::Regressed
            | Self::Diverged
            | Self::CutOff
            | Self::EntrySkipped
            | Self::GapPassed
            | Self::Stopped
            | Self::EntryRefused
            | Self::SlotLost
            | Self::WalStalled
            | Self::WalFailed
            | Self::EventsLost
            | Self::DescriptorsLow
            | Self::GateClosed => LogLevel::Error,
        }
    }
}

/// The most events that wait for a slow host. Later ones are dropped, counted and reported as lost.
const MAX_WAITING: usize = 1024;

/// The queue from a handle's threads to its callback thread. `W` is the work besides events.
#[derive(Default)]
pub(crate) struct Mailbox<W> {
    content: Mutex<Content<W>>,
    changed: Condvar,
}

/// The content of a mailbox.
#[derive(Default)]
pub(crate) struct Content<W> {
    events: VecDeque<Event>,
    lost: u64,
    /// The work besides events.
    pub(crate) work: W,
}

impl<W> Content<W> {
    /// Takes the events that wait, oldest first.
    pub(crate) fn take_events(&mut self) -> VecDeque<Event> {
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            let mut event = Event::new(
                EventKind::EventsLost,
                Status::Ok,
                format!("{lost} events were lost: the host's handlers are too slow"),
            );
            event.detail = json!({ "lost": lost });
            self.events.push_back(event);
        }
        std::mem::take(&mut self.events)
    }

    /// Whether events wait.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty() || self.lost > 0
    }
}

impl<W> Mailbox<W> {
    /// Adds an event. Control characters in its texts are escaped, so that they cannot affect a log file or a terminal.
    pub(crate) fn event(&self, mut event: Event) {
        for text in [&mut event.message, &mut event.address] {
            *text = text::printable(Cow::Owned(std::mem::take(text))).into_owned();
        }
        // Programs look readers up by their id, so a valid one is left as it is. An id with control characters is not
        // valid, and comes from a damaged file.
        if text::first_control(&event.reader_id).is_some() {
            event.reader_id = text::printable(Cow::Owned(event.reader_id)).into_owned();
        }
        let mut content = self.content.lock();
        if content.events.len() < MAX_WAITING {
            content.events.push_back(event);
        } else {
            content.lost += 1;
        }
        drop(content);
        self.changed.notify_all();
    }

    /// Locks the content.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Content<W>> {
        self.content.lock()
    }

    /// Wakes the threads in [`Self::wait`].
    pub(crate) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits for a change, at most until the deadline.
    pub(crate) fn wait<'a>(
        &self,
        content: MutexGuard<'a, Content<W>>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, Content<W>> {
        self.changed.wait(content, deadline)
    }
}

/// The most log lines of one kind in a second. Further ones are dropped and counted.
const LINES_PER_SECOND: u32 = 10;

/// Passes events to the observer, each also as a log line, and limits how many lines of one kind there are.
pub(crate) struct EventDispatcher {
    observer: Box<dyn Observer>,
    lines: HashMap<EventKind, Lines>,
}

struct Lines {
    since: Instant,
    written: u32,
    suppressed: u64,
}

impl EventDispatcher {
    pub(crate) fn new(observer: Box<dyn Observer>) -> Self {
        Self { observer, lines: HashMap::new() }
    }

    pub(crate) fn deliver(&mut self, event: &Event) {
        self.observer.event(event);
        let level = event.kind.level();
        if self.observer.max_level().is_none_or(|max| level > max) {
            return;
        }
        let now = clock::instant();
        let lines = self.lines.entry(event.kind).or_insert(Lines { since: now, written: 0, suppressed: 0 });
        if now.duration_since(lines.since) >= Duration::from_secs(1) {
            (lines.since, lines.written) = (now, 0);
        }
        if lines.written == LINES_PER_SECOND {
            lines.suppressed += 1;
            return;
        }
        lines.written += 1;
        let fields = json!({
            "event": event.kind.name(),
            "status": event.status.name(),
            "sequence": event.sequence,
            "reader_id": event.reader_id,
            "address": event.address,
            "detail": event.detail,
            "suppressed": std::mem::take(&mut lines.suppressed),
        });
        self.observer.log(level, &event.message, &fields);
    }
}
