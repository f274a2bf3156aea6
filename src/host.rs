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
#[non_exhaustive]
pub enum EventKind {
    /// The handshake with a peer succeeded.
    ///
    /// # At a sender
    /// - when: a reader was admitted
    /// - status: `OK`
    /// - sequence: its position
    /// - detail: `protocol`: 1 or 2; `rights`: what it may do
    ///
    /// # At a receiver
    /// - when: the handshake is done
    /// - status: `OK`
    /// - sequence: the last entry received
    /// - detail: `protocol`, `writer_sequence`, `peer`
    Connected = 1,
    /// A connection ended or an attempt failed.
    ///
    /// # At a sender
    /// - when: its connection ended
    /// - status: `OK`: it closed, or the sender stops. `WRITE_FAILED`, `PEER_TIMEOUT`, `SEQUENCE_GAP`, `WAL_ROTATED`,
    ///   `IO` or `DAMAGED` (its entries could not be read from disk), `REPLACED`, `REMOVED`, `NOT_WRITER`,
    ///   `NOT_AUTHORIZED` (the access rules changed), `INVALID_MSG`, `TRUNCATED`, `MESSAGE_TOO_SMALL`,
    ///   `MESSAGE_TOO_LARGE`, or what the reader reported
    /// - sequence: the last entry sent whole
    /// - detail: `entries_sent`, `bytes_sent`
    ///
    /// # At a receiver
    /// - when: the connection ended, or could not be made
    /// - status: the reason: `IO`, `PEER_TIMEOUT`, `BAD_ADDRESS`, `BAD_DESCRIPTOR`, what the writer reported
    ///   (`REPLACED`, `NOT_WRITER`, ...), `NOT_AUTHORIZED` for a peer that is not the expected writer, or a status of
    ///   the kinds below. `LINEAGE_CHANGED`: the address now has another node than the one that said which entries are
    ///   gone, and is asked for them again. `OK`: the receiver stops
    /// - sequence: the last entry received
    Disconnected = 2,
    /// The writer refused a reader or a connection.
    ///
    /// # At a sender
    /// - when: a reader was refused, a connection could not be accepted, or a peer of another user came to an abstract
    ///   socket
    /// - status: `NOT_AUTHORIZED`: it may not follow, and was not told why; `NOT_WRITER`, `SEQUENCE_GAP`,
    ///   `WAL_ROTATED`, `REGRESSED`, `DIVERGED`, `BUFFER_FULL`, `CLOSED`; `IO` when accepting failed, or the peer's
    ///   user may not connect; `IO` or `DAMAGED` when the log on disk could not be read
    /// - sequence: its position
    /// - detail: for readers that may not follow, of which 16 are reported a second, and for those that name a later
    ///   epoch, of which one is: `suppressed`, how many were not reported since, if any
    ///
    /// # At a receiver
    /// - when: the writer refused this reader, or did not prove that it is the one to follow
    /// - status: `NOT_WRITER`, `NOT_AUTHORIZED`, `BUFFER_FULL`; `IO`, `DAMAGED`: its disk
    /// - sequence: the last entry received
    Refused = 3,
    /// Entries are missing from `sequence` on.
    ///
    /// # At a receiver
    /// - when: entries are missing
    /// - status: `SEQUENCE_GAP`, `WAL_ROTATED`
    /// - sequence: the first missing one
    Gap = 4,
    /// The writer is behind this reader.
    ///
    /// # At a receiver
    /// - when: the writer is behind this reader
    /// - status: `REGRESSED`
    /// - sequence: the last entry received
    Regressed = 5,
    /// The histories of writer and reader differ.
    ///
    /// # At a receiver
    /// - when: the writer has another stream, an older epoch, or other entries before this position; or it says so
    ///   about this reader. The text names the first entry that differs, as far as it is known
    /// - status: `DIVERGED`
    /// - sequence: the last entry received; where the host's own history differs, which ends the receiver, the last one
    ///   applied
    Diverged = 6,
    /// Sender: a reader is about to fall too far behind.
    ///
    /// # At a sender
    /// - when: a reader lags by three quarters of the buffer; reported again only after it had caught up. With a log on
    ///   disk: three quarters of `slot_max_bytes`; or its slot, connected or not, will be lost within 5 minutes at this
    ///   rate, reported again only after that was over
    /// - status: `OK`
    /// - sequence: the last entry sent whole; for a slot, its position
    /// - detail: `entries_behind`; for a slot, `lost_in_s`
    Lagging = 7,
    /// Sender: a reader fell too far behind.
    ///
    /// # At a sender
    /// - when: the next entry that a reader needs left the buffer, or the log on disk; `DISCONNECTED` follows
    /// - status: `SEQUENCE_GAP`; `WAL_ROTATED` with a log on disk
    /// - sequence: the first entry it lacks
    /// - detail: `sent`, `oldest_known`, `current`
    CutOff = 8,
    /// Receiver: the handler failed on `sequence`.
    ///
    /// # At a receiver
    /// - when: the handler or the local log did not take an entry; once for each attempt
    /// - status: `APPLY_FAILED`
    /// - sequence: the entry
    /// - detail: `code`: what it returned, `tries`
    ApplyFailed = 9,
    /// Receiver: the entry `sequence` was skipped.
    ///
    /// # At a receiver
    /// - when: the policy skipped an entry
    /// - status: `APPLY_FAILED`
    /// - sequence: the entry
    /// - detail: `code`, `tries`
    EntrySkipped = 10,
    /// Receiver: skipped a gap starting at `sequence`.
    ///
    /// # At a receiver
    /// - when: `REPLICATION_GAP_POLICY_CONTINUE` continues after a gap: one inside what a writer sends, or one before
    ///   the oldest entry that it has. In the second case the node that reported the gap has to admit this reader after
    ///   it; any other node is asked for the next entry, because it may have it
    /// - status: `SEQUENCE_GAP`
    /// - sequence: the first missing one
    /// - detail: `first_missing`, `last_missing`
    GapPassed = 11,
    /// Receiver: applying stopped at `sequence`.
    ///
    /// # At a receiver
    /// - when: the policy stopped applying
    /// - status: `APPLY_FAILED`
    /// - sequence: the entry
    /// - detail: `code`, `tries`
    Stopped = 12,
    /// A connection closed on a protocol error.
    ///
    /// # At a sender
    /// - when: a peer broke the protocol or sent no Sync in time; not a peer that sent no byte
    /// - status: `INVALID_MSG`, `TRUNCATED`, `MESSAGE_TOO_SMALL`, `MESSAGE_TOO_LARGE`, `PEER_TIMEOUT`, `IO` (TLS
    ///   failed)
    /// - sequence: 0
    ///
    /// # At a receiver
    /// - when: the writer broke the protocol, or ended inside a frame, as a killed writer does
    /// - status: `INVALID_MSG`, `MESSAGE_TOO_SMALL`, `MESSAGE_TOO_LARGE`, `TRUNCATED`
    /// - sequence: the last entry received; with `MESSAGE_TOO_LARGE` the next one, which is over `max_entry_bytes` or
    ///   too large for a frame
    ProtocolError = 13,
    /// Sender: entries refused with `BUFFER_FULL`.
    ///
    /// # At a sender
    /// - when: `sender_replicate` returned `BUFFER_FULL`; once a second
    /// - status: `BUFFER_FULL`
    /// - sequence: the last entry taken
    /// - detail: `total_entries_refused`
    EntryRefused = 14,
    /// The host was too slow; events were dropped.
    ///
    /// # At a sender
    /// - when: more than 1024 events waited
    /// - status: `OK`
    /// - sequence: 0
    /// - detail: `lost`
    ///
    /// # At a receiver
    /// - when: more than 1024 events waited
    /// - status: `OK`
    /// - sequence: 0
    /// - detail: `lost`
    EventsLost = 15,
    /// Sender: the write gate closed.
    ///
    /// # At a sender
    /// - when: too few readers are within the lag of the write gate
    /// - status: `GATED`
    /// - sequence: the last entry
    /// - detail: `readers` that are within it, `min_readers`, `max_lag_entries`, `max_lag_ms`, `level`
    GateClosed = 16,
    /// Sender: the write gate opened.
    ///
    /// # At a sender
    /// - when: enough are again
    /// - status: `OK`
    /// - sequence: the last entry
    /// - detail: the same
    GateOpened = 17,
    /// Sender: a slot exceeded its limit and is lost.
    ///
    /// # At a sender
    /// - when: a reader's slot held back more than `slot_max_bytes`; it holds nothing any more
    /// - status: `WAL_ROTATED`
    /// - sequence: its position
    /// - detail: `held_bytes`, `max_bytes`
    SlotLost = 18,
    /// Sender: an unused slot was dropped.
    ///
    /// # At a sender
    /// - when: a slot was not used for `slot_expiry_ms` and is gone. With `BUFFER_FULL`: all slots are in use, and this
    ///   one was given up for another reader; without `reader_id`, several were given up that were lost or never used.
    ///   With `INVALID_ARGUMENT`: its id is one that no reader may have
    /// - status: `OK`, `BUFFER_FULL`, `INVALID_ARGUMENT`
    /// - sequence: its last position; 0 without `reader_id`
    /// - detail: without `reader_id`, `slots_given_up`: how many
    SlotExpired = 19,
    /// The disk refuses the log; the library retries.
    ///
    /// # At a sender
    /// - when: the disk refuses for a reason that may pass: new entries are refused, and the disk is tried again. Also
    ///   when only the slots could not be stored, or an old file could not be removed; entries are then still accepted
    /// - status: `DISK_FULL`; `STALLED` for any reason but room; for the slots also `IO`
    /// - sequence: the last entry; for the slots 0
    ///
    /// # At a receiver
    /// - when: the disk of the receiver's log refuses for a reason that may pass: entries that it does not take are not
    ///   applied, and are tried again. Also when only the position could not be stored, or an old file could not be
    ///   removed; entries are then still applied
    /// - status: `DISK_FULL`; `STALLED` for any reason but room
    /// - sequence: the last entry applied
    /// - detail: `path`: the log's directory, null before the first entry
    WalStalled = 20,
    /// The disk accepts the log again.
    ///
    /// # At a sender
    /// - when: the disk works again
    /// - status: `OK`
    /// - sequence: the last entry; for the slots 0
    ///
    /// # At a receiver
    /// - when: the disk works again
    /// - status: `OK`
    /// - sequence: the last entry applied
    /// - detail: `path`
    WalResumed = 21,
    /// The log failed; open it with a new handle.
    ///
    /// # At a sender
    /// - when: the disk failed, or the log's directory was moved, removed or replaced; nothing more is stored or taken.
    ///   Create a new sender when it is repaired
    /// - status: `IO`, `DAMAGED`; `DISK_FULL`, `STALLED` in `sender_stop`
    /// - sequence: the last entry taken, stored or not
    ///
    /// # At a receiver
    /// - when: the receiver's log failed, or its directory was moved, removed or replaced. The receiver has ended, and
    ///   its waits end with this status: create a new one when the disk is repaired. From `receiver_stop`: the last
    ///   entries or the position may not be durable
    /// - status: `IO`, `DAMAGED`, `DISK_FULL`, `STALLED`
    /// - sequence: the last entry applied
    /// - detail: `path`, from `receiver_stop`
    WalFailed = 22,
    /// The log's torn end was cut off on opening.
    ///
    /// # At a sender
    /// - when: when the log was opened, it ended with bytes of an entry that a crash cut short; they were cut off
    /// - status: `OK`
    /// - sequence: the last entry
    /// - detail: `path`, `offset`, `bytes`
    WalRecovered = 23,
    /// Retention removed the oldest log files.
    ///
    /// # At a sender
    /// - when: retention removed the oldest files
    /// - status: `OK`
    /// - sequence: the last entry
    /// - detail: `segments`: how many
    WalTrimmed = 24,
    /// Sender: no free slot for a connected reader.
    ///
    /// # At a sender
    /// - when: the slot table is full, so a reader follows without a slot: while it is away, only retention keeps its
    ///   entries
    /// - status: `BUFFER_FULL`
    /// - sequence: its position
    /// - detail: `max_slots`
    SlotRefused = 25,
    /// Sender: a reader lost acknowledged entries.
    ///
    /// # At a sender
    /// - when: a reader came back and proved an earlier position than it had acknowledged; it counts from there for
    ///   everything that was not answered yet
    /// - status: `OK`
    /// - sequence: its position
    /// - detail: `acknowledged`, `durable`, `applied`: its earlier positions
    ReaderRewound = 26,
    /// Sender: closed a peer to save descriptors.
    ///
    /// # At a sender
    /// - when: a connection was closed because it would have used one of the last 16 file descriptors that the process
    ///   may open, once a second; or no connection could be accepted because there are no descriptors
    /// - status: `IO`
    /// - sequence: 0
    /// - detail: `limit`, `closed`: how many connections so far; nothing when none could be accepted
    DescriptorsLow = 27,
    /// Sender: cannot listen on every address.
    ///
    /// # At a sender
    /// - when: this machine does not have one of the addresses of a name that `sender_listen` was given, or the file of
    ///   a Unix socket was removed or replaced
    /// - status: `BAD_ADDRESS`, `IO`
    /// - sequence: 0
    ListenIncomplete = 28,
    /// Other users can access files that are in use.
    ///
    /// # At a sender
    /// - when: other users may change or read a file or directory that is used nevertheless
    /// - status: `OK`
    /// - sequence: 0
    /// - detail: `path`
    ///
    /// # At a receiver
    /// - when: other users may change or read a file or directory that is used nevertheless
    /// - status: `OK`
    /// - sequence: 0
    /// - detail: `path`
    Unprotected = 29,
}

/// One thing that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
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
    /// Who the peer is, as far as the connection proves it, in words: `cn:`, `dns:`, `uri:`, `ip:` and `sha256:` (the
    /// fingerprint) of its certificate; `uid:`, `gid:` and `pid:` of the process behind a Unix socket; `none` for a peer of
    /// which only the address is known. Empty when no connection is concerned.
    pub identity: String,
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
    #[doc(hidden)]
    pub fn new(kind: EventKind, status: Status, message: impl Into<String>) -> Self {
        Self {
            kind,
            status,
            sequence: 0,
            reader_id: String::new(),
            address: String::new(),
            identity: String::new(),
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
            "identity": event.identity,
            "detail": event.detail,
            "suppressed": std::mem::take(&mut lines.suppressed),
        });
        self.observer.log(level, &event.message, &fields);
    }
}
