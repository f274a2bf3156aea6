//! A connected reader: the state that its task, waiting host threads and the statistics share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::access::{self, Via};
use super::acks::AckWaiters;
use super::incoming::Incoming;
use super::outgoing::{OutgoingEntries, SendOutcome};
use super::report::ReaderLabel;
use super::send_source::Loaded;
use crate::engine::access::policy::{AccessPolicy, Denied};
use crate::engine::access::rights::Rights;
use crate::engine::writer::peer::{Heard, Sent};
use crate::engine::writer::standing::{Entered, Start, counts, furthest};
use crate::error::{Error, Status};
use crate::log::CutWatch;
use crate::protocol::control::Positions;
use crate::sync::Mutex;
use crate::transport::Stream;

fn load([received, durable, applied]: &[AtomicU64; 3]) -> Positions {
    let load = |position: &AtomicU64| position.load(Ordering::Acquire);
    // In this order, so that a concurrent update never shows an applied entry that was not received.
    let (applied, durable) = (load(applied), load(durable));
    Positions { received: load(received), durable, applied }
}

fn rise(positions: &[AtomicU64; 3], to: Positions) {
    for (position, new) in positions.iter().zip([to.received, to.durable, to.applied]) {
        position.fetch_max(new, Ordering::AcqRel);
    }
}

/// The same, for positions that only one thread at a time writes.
fn raise(positions: &[AtomicU64; 3], to: Positions) {
    for (position, new) in positions.iter().zip([to.received, to.durable, to.applied]) {
        if new > position.load(Ordering::Relaxed) {
            position.store(new, Ordering::Release);
        }
    }
}

/// How a reader came here, and what it may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub(super) via: Via,
    pub(super) rights: Rights,
    /// The line of the access rules that says so.
    pub(super) rule: Option<usize>,
}

/// A connected reader.
pub(super) struct Reader {
    pub(super) id: String,
    pub(super) stream: Stream,
    via: Via,
    pub(super) rights: Rights,
    /// The line of the access rules that gives it its rights; 0: none does.
    rule: AtomicUsize,
    pub(super) v2: bool,
    /// In microseconds since the Unix epoch.
    pub(super) connected_at_us: u64,
    /// The position in the reader's Sync: the connection began after this sequence.
    pub(super) started_after: u64,
    /// See [`Start`].
    proven: AtomicBool,
    believed: AtomicU64,
    pub(super) cut: CutWatch,
    outgoing: Mutex<OutgoingEntries>,
    /// Taken before `outgoing`.
    pub(super) incoming: Mutex<Incoming>,
    positions: [AtomicU64; 3],
    /// The same, but only what was acknowledged on this connection.
    acknowledged_here: [AtomicU64; 3],
    /// Acknowledgements that count for the write gate only.
    for_gate: [AtomicU64; 3],
    acknowledged: AtomicBool,
    /// An acknowledgement waits until it is known whether its entry was sent.
    undecided: AtomicBool,
    /// An entry up to which all were sent whole.
    sent: AtomicU64,
    /// Microseconds since the Unix epoch of the last send; 0 before the first.
    last_send_us: AtomicU64,
    /// Connections of this id that ended with an error.
    errors: AtomicU64,
    /// Wakes the task when another thread could not send everything.
    pub(super) wake: Notify,
    closing: Mutex<Option<Error>>,
    pub(super) closed: Notify,
}

impl Reader {
    pub(super) fn new(
        id: String,
        stream: Stream,
        access: Access,
        v2: bool,
        started_after: u64,
        outgoing: OutgoingEntries,
        incoming: Incoming,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            stream,
            via: access.via,
            rights: access.rights,
            rule: access.rule.unwrap_or(0).into(),
            v2,
            connected_at_us: crate::clock::unix_time_us(),
            started_after,
            proven: AtomicBool::new(false),
            believed: AtomicU64::new(0),
            cut: outgoing.cursor().watch(),
            outgoing: Mutex::new(outgoing),
            incoming: Mutex::new(incoming),
            positions: Default::default(),
            acknowledged_here: Default::default(),
            for_gate: Default::default(),
            acknowledged: AtomicBool::new(false),
            undecided: AtomicBool::new(false),
            sent: started_after.into(),
            last_send_us: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            wake: Notify::new(),
            closing: Mutex::new(None),
            closed: Notify::new(),
        })
    }

    /// The line of the access rules that gives it its rights.
    pub(super) fn rule(&self) -> Option<usize> {
        Some(self.rule.load(Ordering::Relaxed)).filter(|line| *line > 0)
    }

    /// Whether what it acknowledges counts.
    #[inline]
    pub(super) fn counts(&self) -> bool {
        counts(self.rights)
    }

    /// Judges it by other access rules. One that keeps its rights stays.
    pub(super) fn recheck(&self, policy: &AccessPolicy) -> Result<(), Denied> {
        let decision = access::judge(policy, self.via, &self.stream, &self.id)?;
        if !decision.rights.contains(self.rights) {
            let (now, before) = (decision.rights, self.rights);
            let text = format!("the access rules changed: it had {before}, and has {now} now");
            let may_monitor = decision.rights.contains(Rights::MONITOR);
            return Err(Denied { error: Error::new(Status::NotAuthorized, text), may_monitor });
        }
        self.rule.store(decision.line.unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }

    /// Its id and address, for events.
    pub(super) fn peer(&self) -> ReaderLabel<'_> {
        ReaderLabel::new(&self.id, &self.stream)
    }

    /// Sends as much as the socket accepts. `own_thread`: the caller is the reader's task, whose thread may send from
    /// files.
    pub(super) fn send(&self, acks: &AckWaiters, own_thread: bool) -> SendOutcome {
        self.send_locked(&mut self.outgoing.lock(), acks, own_thread)
    }

    /// Sends as much as the socket accepts, from a host thread that is about to wait for this reader. The task sends
    /// the rest.
    pub(super) fn send_from_outside(&self, acks: &AckWaiters) {
        // If the task is sending now, it may have read the awaited acknowledgements before: it has to read them again.
        let outcome = self.outgoing.try_lock().map(|mut outgoing| self.send_locked(&mut outgoing, acks, false));
        if !matches!(outcome, Some(SendOutcome::AtEnd)) {
            self.wake.notify_one();
        }
    }

    pub(super) fn is_undecided(&self) -> bool {
        self.undecided.load(Ordering::Acquire)
    }

    pub(super) fn set_undecided(&self, undecided: bool) {
        self.undecided.store(undecided, Ordering::Release);
    }

    /// When it last sent something.
    pub(super) fn heard(&self) -> Heard {
        self.incoming.lock().heard()
    }

    fn send_locked(&self, outgoing: &mut OutgoingEntries, acks: &AckWaiters, own_thread: bool) -> SendOutcome {
        let before = outgoing.bytes_sent();
        let version = acks.version();
        if outgoing.requested_version() != version {
            outgoing.request(version, acks.requests(self.positions()));
        }
        let outcome = outgoing.send(&self.stream, own_thread);
        self.sent.store(outgoing.sent(), Ordering::Release);
        if outgoing.bytes_sent() != before {
            self.last_send_us.store(crate::clock::unix_time_us(), Ordering::Relaxed);
        }
        outcome
    }

    /// Takes the result of a load from disk.
    pub(super) fn supply(&self, loaded: Loaded) {
        self.outgoing.lock().supply(loaded);
    }

    /// Releases its entries in the log. It is sent no further entries.
    pub(super) fn release(&self) {
        self.outgoing.lock().cursor().release();
    }

    /// Queues a control frame; see [`OutgoingEntries::queue_control`].
    pub(super) fn queue_control(&self, frame: &[u8]) {
        self.outgoing.lock().queue_control(frame);
    }

    /// Whether a frame to this reader is half sent.
    pub(super) fn is_inside_frame(&self) -> bool {
        self.outgoing.lock().is_inside_frame()
    }

    /// The position of its cursor.
    pub(super) fn position(&self) -> u64 {
        self.outgoing.lock().cursor().position()
    }

    /// Payload and frame bytes sent.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.outgoing.lock().bytes_sent()
    }

    /// The last entry that was sent whole; see [`OutgoingEntries::sent_whole`].
    pub(super) fn sent_whole(&self) -> u64 {
        self.outgoing.lock().sent_whole()
    }

    /// Whether the entry was sent whole on this connection, or is from before it began.
    #[inline]
    pub(super) fn has_been_sent(&self, sequence: u64) -> Sent {
        if sequence <= self.sent() {
            return Sent::Whole;
        }
        let mut outgoing = self.outgoing.lock();
        let sent = outgoing.has_sent(sequence);
        self.sent.store(outgoing.sent(), Ordering::Release);
        sent
    }

    /// An entry up to which all were sent whole. Cheap, but may lag by one batch.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Microseconds since the Unix epoch of the last send; 0 before the first.
    pub(super) fn last_send_us(&self) -> u64 {
        self.last_send_us.load(Ordering::Relaxed)
    }

    /// Connections of this id that ended with an error, before this one.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Its positions: those acknowledged on this connection, as far as they count, and the one proven in its Sync.
    pub(super) fn positions(&self) -> Positions {
        load(&self.positions)
    }

    /// The same, but only what was acknowledged on this connection.
    pub(super) fn acknowledged_here(&self) -> Positions {
        load(&self.acknowledged_here)
    }

    /// Where this connection began, and how much of that is proven.
    pub(super) fn start(&self) -> Start {
        let (proven, believed) = (self.proven.load(Ordering::Relaxed), self.believed.load(Ordering::Relaxed));
        Start { after: self.started_after, proven, believed }
    }

    /// Sets where the connection begins, before anything is sent or received. `errors`: connections of this
    /// id that ended with an error.
    pub(super) fn begin(&self, entered: &Entered, errors: u64) {
        self.proven.store(entered.start.proven, Ordering::Relaxed);
        self.believed.store(entered.start.believed, Ordering::Relaxed);
        rise(&self.positions, entered.now);
        self.errors.store(errors, Ordering::Relaxed);
    }

    /// Takes an acknowledgement, as far as it counts; positions only rise. Returns `true` if the write gate must be
    /// checked, even if `positions` did not move. Called by one thread at a time.
    pub(super) fn acknowledge(&self, acked: Positions) -> bool {
        let start = self.start();
        let counts = start.counts(acked);
        rise(&self.positions, counts);
        raise(&self.acknowledged_here, counts);
        let mut changes_gate = !self.has_acknowledged();
        if start.believed > 0 {
            let before = load(&self.for_gate);
            rise(&self.for_gate, start.counts_for_gate(acked));
            changes_gate |= load(&self.for_gate) != before;
        }
        self.acknowledged.store(true, Ordering::Release);
        changes_gate
    }

    /// Whether it has proven or acknowledged the entries up to where its connection began.
    pub(super) fn has_its_start(&self) -> bool {
        self.positions.iter().any(|position| position.load(Ordering::Relaxed) >= self.started_after.max(1))
    }

    /// Its positions as the write gate counts them.
    pub(super) fn positions_for_gate(&self) -> Positions {
        furthest(self.positions(), load(&self.for_gate))
    }

    /// Whether it acknowledged anything on this connection, even only the position where it began.
    pub(super) fn has_acknowledged(&self) -> bool {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// The last entry that it has, or claims to have. For messages, and for decisions about this reader alone.
    pub(super) fn stands_at(&self) -> u64 {
        self.positions().received.max(self.started_after)
    }

    /// An entry up to which all were sent to it on this connection; 0 if none was.
    pub(super) fn sent_here(&self) -> u64 {
        let sent = self.sent();
        if sent > self.started_after { sent } else { 0 }
    }

    /// Ends the connection for this reason, unless it has one already.
    pub(super) fn close(&self, status: Status, message: impl Into<String>) {
        self.closing.lock().get_or_insert_with(|| Error::new(status, message));
        self.closed.notify_one();
    }

    /// Why the connection is to end, if it is.
    pub(super) fn closing(&self) -> Option<Error> {
        self.closing.lock().clone()
    }
}
