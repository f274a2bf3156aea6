//! What the parts of a running sender share, and what they report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::{Notify, Semaphore, watch};

use super::acks::{AckBoard, Work};
use super::config::SenderConfig;
use super::eager::Eager;
use super::gate::WriteGate;
use super::milestones::Milestones;
use super::reader::Reader;
use super::registry::Registry;
use super::slots::Slots;
use super::standing::Entered;
use crate::clock::boot_us;
use crate::error::{Error, Result, Status};
use crate::host::{Event, EventKind, Mailbox};
use crate::log::Log;
use crate::protocol::control::{AckLevel, Positions};
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::handshake::Sync;
use crate::protocol::lineage::Lineage;
use crate::sync::{Condvar, Mutex};
use crate::text::Escaped;
use crate::transport::{Listener, Stream};

/// Handshakes under way at once, at most; connections beyond them are closed unheard.
pub(super) const MAX_HANDSHAKES: usize = 256;

/// Where a sender is in its life, as its tasks see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Readers get what is left, then the connections end.
    Draining,
    /// Connections end now.
    Closing,
}

/// Whether entries are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Gate {
    Open = 0,
    NotStarted = 1,
    NotWriter = 2,
    Stopped = 3,
}

/// Numbers that only rise.
#[derive(Default)]
pub(super) struct Counters {
    refused_entries: AtomicU64,
    refused_reported: Seldom,
    cut_off_readers: AtomicU64,
    cut_off_entries: AtomicU64,
    refused_readers: AtomicU64,
    refused_for_descriptors: AtomicU64,
    descriptors_reported: Seldom,
    later_epochs: Seldom,
    farewells_left_out: AtomicU64,
    protocol_errors: AtomicU64,
    entries_sent_before: AtomicU64,
    bytes_sent_before: AtomicU64,
}

/// Behind which entry the log begins, and `inherited_from`: up to there nobody can prove what he has, because the host gave
/// this node a bare number to go on from and no history. It neither numbered nor inherited those entries.
fn beginning(log: &Log) -> (u64, u64) {
    let begin = log.disk().map_or_else(|| log.last_mark(), |disk| disk.oldest());
    (begin.sequence, if begin.hash == UNKNOWN_HISTORY { begin.sequence } else { 0 })
}

/// The shared part of a sender.
pub(super) struct Core {
    pub(super) config: SenderConfig,
    pub(super) lineage: Lineage,
    pub(super) log: Arc<Log>,
    /// The last entry that was there when the sender was made.
    pub(super) began_at: u64,
    /// What readers still need of the log, when it is on disk.
    pub(super) slots: Option<Slots>,
    pub(super) readers: Registry,
    pub(super) acks: AckBoard,
    pub(super) eager: Eager,
    pub(super) write_gate: Option<WriteGate>,
    pub(super) mailbox: Arc<Mailbox<Work>>,
    pub(super) counters: Counters,
    pub(super) milestones: Milestones,
    pub(super) phase: watch::Sender<Phase>,
    /// Wakes every reader's task that sleeps at the log's end.
    pub(super) end_moved: Notify,
    pub(super) handshakes: Arc<Semaphore>,
    /// Readers that have a moment to read why their connection ended.
    pub(super) farewells: Semaphore,
    pub(super) tasks: Tasks,
    pub(super) started: AtomicBool,
    gate: AtomicU8,
}

impl Core {
    pub(super) fn new(config: SenderConfig, lineage: Lineage, log: Arc<Log>, slots: Option<Slots>) -> Self {
        let mailbox = Arc::new(Mailbox::new(Work::default()));
        let (origin, inherited_from) = beginning(&log);
        Self {
            // All that are connected may be told at once, and as many as can come anew meanwhile.
            farewells: Semaphore::new(config.max_readers.saturating_add(MAX_HANDSHAKES).min(Semaphore::MAX_PERMITS)),
            readers: Registry::new(&config, (origin, inherited_from), log.last_sequence()),
            acks: AckBoard::new(Arc::clone(&mailbox), config.max_pending_acks, inherited_from),
            eager: Eager::new(),
            write_gate: config.write_gate.map(WriteGate::new),
            config,
            lineage,
            began_at: log.last_sequence(),
            slots,
            mailbox,
            counters: Counters::default(),
            milestones: Milestones::new(boot_us(), log.last_sequence()),
            log,
            phase: watch::Sender::new(Phase::Running),
            end_moved: Notify::new(),
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            tasks: Tasks::default(),
            started: AtomicBool::new(false),
            gate: AtomicU8::new(Gate::NotStarted as u8),
        }
    }

    pub(super) fn gate(&self) -> Gate {
        match self.gate.load(Ordering::Relaxed) {
            0 => Gate::Open,
            1 => Gate::NotStarted,
            2 => Gate::NotWriter,
            _ => Gate::Stopped,
        }
    }

    /// Moves from one state to another; `false` when it was in neither.
    pub(super) fn set_gate(&self, from: Gate, to: Gate) -> bool {
        let moved = self.gate.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire);
        moved.is_ok() || moved == Err(to as u8)
    }

    pub(super) fn stop_gate(&self) {
        self.gate.store(Gate::Stopped as u8, Ordering::Release);
    }

    /// An error unless this node is a running writer.
    #[inline]
    pub(super) fn check_writable(&self) -> Result<()> {
        if self.gate.load(Ordering::Relaxed) == Gate::Open as u8 { Ok(()) } else { self.not_writable() }
    }

    #[cold]
    fn not_writable(&self) -> Result<()> {
        match self.gate() {
            Gate::Open => Ok(()),
            Gate::NotWriter => Err(Error::new(Status::NotWriter, "this node is not the writer")),
            Gate::NotStarted => Err(Error::new(Status::InvalidState, "the sender was not started: call sender_start")),
            Gate::Stopped => Err(Error::new(Status::Closed, "the sender was stopped")),
        }
    }

    /// Has readers asked to tell as soon as they reach `sequence` at `level`.
    pub(super) fn ask(&self, level: AckLevel, sequence: u64) {
        if self.acks.ask(level, sequence) {
            self.end_moved.notify_waiters();
        }
    }

    /// Takes account of a reader whose positions moved from `before` to `now`.
    pub(super) fn reader_moved(&self, before: Positions, now: Positions) {
        // The gate first: who is woken by this finds it open.
        if let Some(gate) = &self.write_gate {
            gate.reader_moved(self, before, now);
        }
        self.acks.announce(before, now, &self.readers);
    }

    /// Takes account of a new connection of a reader that was at `before`.
    pub(super) fn reader_came(&self, before: Positions, reader: &Reader, entered: Entered) {
        if let Some(had) = entered.rewound_from {
            self.rewound(reader, had);
        }
        self.readers_changed();
        self.acks.announce(before, reader.positions(), &self.readers);
    }

    /// Takes account of a reader that came, left or said what only the write gate believes.
    #[cold]
    pub(super) fn readers_changed(&self) {
        if let Some(gate) = &self.write_gate {
            gate.adjust(self);
        }
    }

    /// Has entries that wait for the write gate look for another reason not to be taken.
    pub(super) fn wake_gated(&self) {
        if let Some(gate) = &self.write_gate {
            gate.wake();
        }
    }

    /// Whether the reader still has to get more than three quarters of what the window, or its slot, can hold.
    pub(super) fn is_lagging(&self, reader: &Reader) -> bool {
        let position = reader.position();
        if position >= self.log.end() {
            return false;
        }
        if let Some(storage) = &self.config.storage {
            return (self.log.end() - position) / 3 > storage.slot_max_bytes / 4;
        }
        // Chunks count whole: what entries leave free at their ends is used up too.
        let bytes = self.log.bytes_from(position);
        let entries = self.log.last_sequence().saturating_sub(reader.sent_whole());
        bytes / 3 > self.config.buffer_bytes / 4 || entries / 3 > self.config.buffer_size as u64 / 4
    }

    /// What readers are told whose entries are gone.
    pub(super) fn gone(&self) -> Status {
        if self.config.storage.is_some() { Status::WalRotated } else { Status::SequenceGap }
    }

    /// Where those entries are gone from.
    pub(super) fn gone_from(&self) -> &'static str {
        if self.config.storage.is_some() { "in the log" } else { "in memory" }
    }

    /// The connected readers that did not get everything, as text.
    pub(super) fn readers_behind(&self) -> Vec<String> {
        let last = self.log.last_sequence();
        let readers = self.readers.connected().into_iter();
        let at = readers.map(|reader| {
            let at = if reader.v2 { reader.stands_at() } else { reader.sent_whole() };
            (reader, at)
        });
        at.filter(|(_, at)| *at < last)
            .map(|(reader, at)| format!("reader \"{}\" is at {at}", Escaped(&reader.id)))
            .collect()
    }

    pub(super) fn reader_event(&self, mut event: Event, reader: &Reader) {
        event.reader_id.clone_from(&reader.id);
        event.address = reader.stream.peer().to_owned();
        self.mailbox.event(event);
    }

    pub(super) fn connected(&self, reader: &Reader) {
        let version = if reader.v2 { 2 } else { 1 };
        let text = format!("reader \"{}\" connected after sequence {}", Escaped(&reader.id), reader.started_after);
        let mut event = Event::new(EventKind::Connected, Status::Ok, text);
        event.sequence = reader.started_after;
        event.detail = json!({ "protocol": version });
        self.reader_event(event, reader);
    }

    pub(super) fn disconnected(&self, reader: &Reader, why: &Error) {
        let (bytes, sent) = (reader.bytes_sent(), reader.sent_whole());
        // That is known now. What the reader did not get holds nobody up, while it takes its time to close.
        reader.let_go();
        let entries = sent.saturating_sub(reader.started_after);
        self.counters.entries_sent_before.fetch_add(entries, Ordering::Relaxed);
        self.counters.bytes_sent_before.fetch_add(bytes, Ordering::Relaxed);
        let text = format!("reader \"{}\" disconnected: {}", Escaped(&reader.id), why.message);
        let mut event = Event::new(EventKind::Disconnected, why.status, text);
        event.sequence = sent;
        event.detail = json!({ "entries_sent": entries, "bytes_sent": bytes });
        self.reader_event(event, reader);
    }

    fn rewound(&self, reader: &Reader, had: Positions) {
        let (id, at) = (Escaped(&reader.id), reader.started_after);
        let Positions { received, durable, applied } = had;
        let text = format!(
            "reader \"{id}\" came back at {at}, it had acknowledged {received}: from now on it counts for entries up to {at} only"
        );
        let mut event = Event::new(EventKind::ReaderRewound, Status::Ok, text);
        event.sequence = at;
        event.detail = json!({ "acknowledged": received, "durable": durable, "applied": applied });
        self.reader_event(event, reader);
    }

    pub(super) fn lagging(&self, reader: &Reader) {
        let sent = reader.sent_whole();
        let behind = self.log.last_sequence().saturating_sub(sent);
        let text = format!("reader \"{}\" is {behind} entries behind and about to lose its place", Escaped(&reader.id));
        let mut event = Event::new(EventKind::Lagging, Status::Ok, text);
        event.sequence = sent;
        event.detail = json!({ "entries_behind": behind });
        self.reader_event(event, reader);
    }

    pub(super) fn refused(&self, stream: &Stream, sync: &Sync, why: &Error) {
        self.counters.refused_readers.fetch_add(1, Ordering::Relaxed);
        let epoch = sync.offer.as_ref().map_or(0, |offer| offer.epoch);
        // Anybody can say a number: it is counted, and told once a second.
        let suppressed = match why.status {
            Status::Diverged if epoch > self.lineage.epoch => self.counters.later_epochs.is_due(),
            _ => Some(0),
        };
        let Some(suppressed) = suppressed else { return };
        let text = format!("reader \"{}\" was refused: {}", Escaped(&sync.reader_id), why.message);
        let mut event = Event::new(EventKind::Refused, why.status, text);
        event.sequence = sync.last_known_sequence;
        event.reader_id.clone_from(&sync.reader_id);
        event.address = stream.peer().to_owned();
        if suppressed > 0 {
            event.detail = json!({ "suppressed": suppressed });
        }
        self.mailbox.event(event);
    }

    /// A connection that is closed before it said anything.
    pub(super) fn refused_unheard(&self, why: Error) {
        self.counters.refused_readers.fetch_add(1, Ordering::Relaxed);
        self.mailbox.event(Event::new(EventKind::Refused, why.status, why.message));
    }

    pub(super) fn protocol_error(&self, stream: &Stream, reader_id: &str, error: &Error) {
        self.counters.protocol_errors.fetch_add(1, Ordering::Relaxed);
        let mut event = Event::new(EventKind::ProtocolError, error.status, error.message.clone());
        event.reader_id = reader_id.to_owned();
        event.address = stream.peer().to_owned();
        self.mailbox.event(event);
    }

    /// A connection that is closed because the process is about to run out of descriptors; tells the host once a second.
    pub(super) fn descriptors_low(&self, listener: &Listener, limit: u64) {
        let counters = &self.counters;
        counters.refused_readers.fetch_add(1, Ordering::Relaxed);
        let refused = counters.refused_for_descriptors.fetch_add(1, Ordering::Relaxed) + 1;
        if counters.descriptors_reported.is_due().is_none() {
            return;
        }
        let text = format!(
            "a connection at {} is refused: of the {limit} files that this process may have open, all but a few are in use; \
             raise the limit (RLIMIT_NOFILE) or lower max_readers",
            listener.address()
        );
        let mut event = Event::new(EventKind::DescriptorsLow, Status::Io, text);
        event.address = listener.address().to_owned();
        event.detail = json!({ "limit": limit, "closed": refused });
        self.mailbox.event(event);
    }

    /// Counts entries that the full buffer refused; tells the host of it once a second.
    #[cold]
    pub(super) fn entries_refused(&self, count: u64, error: &Error) {
        let refused = self.counters.refused_entries.fetch_add(count, Ordering::Relaxed) + count;
        if self.counters.refused_reported.is_due().is_some() {
            let mut event = Event::new(EventKind::EntryRefused, error.status, error.message.clone());
            event.sequence = self.log.last_sequence();
            event.detail = json!({ "total_entries_refused": refused });
            self.mailbox.event(event);
        }
    }
}

/// Lets one report through a second.
#[derive(Default)]
struct Seldom(Mutex<Option<(Instant, u64)>>);

impl Seldom {
    /// Whether a report may be made now, and how many were not since the last one.
    fn is_due(&self) -> Option<u64> {
        let (mut last, now) = (self.0.lock(), Instant::now());
        match &mut *last {
            Some((at, suppressed)) if now.duration_since(*at) < Duration::from_secs(1) => {
                *suppressed += 1;
                None
            }
            last => Some(last.replace((now, 0)).map_or(0, |(_, suppressed)| suppressed)),
        }
    }
}

impl Counters {
    pub(super) fn farewell_left_out(&self) {
        self.farewells_left_out.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn farewells_left_out(&self) -> u64 {
        self.farewells_left_out.load(Ordering::Relaxed)
    }

    pub(super) fn cut_off(&self, entries: u64) {
        self.cut_off_readers.fetch_add(1, Ordering::Relaxed);
        self.cut_off_entries.fetch_add(entries, Ordering::Relaxed);
    }

    pub(super) fn refused_entries(&self) -> u64 {
        self.refused_entries.load(Ordering::Relaxed)
    }

    pub(super) fn cut_off_readers(&self) -> u64 {
        self.cut_off_readers.load(Ordering::Relaxed)
    }

    pub(super) fn cut_off_entries(&self) -> u64 {
        self.cut_off_entries.load(Ordering::Relaxed)
    }

    pub(super) fn refused_readers(&self) -> u64 {
        self.refused_readers.load(Ordering::Relaxed)
    }

    pub(super) fn protocol_errors(&self) -> u64 {
        self.protocol_errors.load(Ordering::Relaxed)
    }

    /// Entries and bytes sent on connections that ended.
    pub(super) fn sent_before(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.entries_sent_before), load(&self.bytes_sent_before))
    }
}

/// How many tasks serve connections; `stop` waits for none to be left.
#[derive(Default)]
pub(super) struct Tasks {
    running: Mutex<usize>,
    ended: Condvar,
}

/// Counts one task while it lives.
pub(super) struct Task(Arc<Core>);

impl Task {
    pub(super) fn begin(core: &Arc<Core>) -> Self {
        *core.tasks.running.lock() += 1;
        Self(Arc::clone(core))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        *self.0.tasks.running.lock() -= 1;
        self.0.tasks.ended.notify_all();
    }
}

impl Tasks {
    /// Waits until none is left; `false` when the time passed first.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut running = self.running.lock();
        while *running > 0 && Instant::now() < deadline {
            running = self.ended.wait(running, Some(deadline));
        }
        *running == 0
    }
}
