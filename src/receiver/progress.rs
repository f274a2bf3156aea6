//! The positions of a receiver, and the threads and tasks that wait for them.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::applied::Applied;
use super::atomic_point::AtomicPoint;
use super::awaited::AwaitedEntries;
use super::outgoing::OutgoingAcks;
use crate::clock::{self, Now};
use crate::engine::reader::life::ReceiverState;
use crate::error::{Error, Result, Status};
use crate::protocol::control::Positions;
use crate::protocol::handshake::Point;
use crate::protocol::lineage::Lineage;
use crate::sync::Mutex;

/// The most epochs that are remembered.
const MAX_EPOCHS: usize = 64;

/// What a change of the stream's lineage means for a host that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineageChange {
    /// It meant an entry of the history before, and stops waiting.
    Ends,
    /// It knows its entry by more than the sequence.
    Ignored,
}

/// Positions and counters. The connection's task sets the received position and the writer's, the callback thread the
/// applied and the durable one.
pub(super) struct Progress {
    received: AtomicU64,
    /// The chain hash through the received position. For the connection's task.
    received_hash: AtomicU64,
    applied: Applied,
    /// The host began after what is received, and it is not known yet whether its history is the writer's.
    host_unproven: AtomicBool,
    /// The position after the entry that is being applied, or was applied last.
    place: AtomicPoint,
    /// The last entry that the local log has made durable.
    durable: AtomicU64,
    /// The stream began before the end of a local log that was found, and has not reached it: the log may have other entries
    /// there than the writer.
    log_unproven: AtomicBool,
    /// The last entry before the local log. Until it is applied, the log does not have all that is before its end.
    log_begins_after: u64,
    /// The entries that hosts wait for by their tokens.
    pub(super) awaited: AwaitedEntries,
    /// The lineage of the stream, once it is known.
    lineage: Mutex<Option<Lineage>>,
    /// The epochs of that stream that were followed, rising, each with the last entry received before it.
    epochs: Mutex<Vec<(u64, u64)>>,
    /// How often the stream's lineage changed.
    lineage_changes: AtomicU64,
    /// The timestamp of the last applied entry.
    applied_timestamp_us: AtomicU64,
    /// When the entries that are being applied were received, on both clocks.
    applying_received_wall_us: AtomicU64,
    applying_received_boot_us: AtomicU64,
    entries_applied: AtomicU64,
    /// The last sequence that the writer is known to have.
    writer: AtomicU64,
    durable_when_applied: bool,
    /// The connection on which this is acknowledged.
    pub(super) outgoing: Mutex<OutgoingAcks>,
    /// Wakes the connection's task: there may be an acknowledgement to send, or buffers were released.
    pub(super) moved: Notify,
    room_requested: AtomicBool,
    /// The state of the receiver, with the reason that ends the waits for sequences.
    pub(super) life: watch::Sender<ReceiverState>,
}

impl Progress {
    pub(super) fn new(applied: Point, received: Point, durable_when_applied: bool) -> Self {
        Self {
            received: received.sequence.into(),
            received_hash: received.hash.into(),
            applied: Applied::new(applied.sequence),
            host_unproven: AtomicBool::new(applied.sequence > received.sequence),
            place: AtomicPoint::new(applied),
            durable: AtomicU64::new(0),
            log_unproven: AtomicBool::new(false),
            log_begins_after: 0,
            awaited: AwaitedEntries::new(),
            lineage: Mutex::default(),
            epochs: Mutex::default(),
            lineage_changes: AtomicU64::new(0),
            applied_timestamp_us: AtomicU64::new(0),
            applying_received_wall_us: AtomicU64::new(0),
            applying_received_boot_us: AtomicU64::new(0),
            entries_applied: AtomicU64::new(0),
            writer: AtomicU64::new(0),
            durable_when_applied,
            outgoing: Mutex::default(),
            moved: Notify::new(),
            room_requested: AtomicBool::new(false),
            life: watch::Sender::default(),
        }
    }

    /// The same, with a local log that was found: the entry before it, its last durable one, its last, and its epochs.
    pub(super) fn with_log(self, log_begins_after: u64, durable: u64, end: u64, epochs: Vec<(u64, u64)>) -> Self {
        let log_unproven = AtomicBool::new(self.received() < end);
        Self { log_begins_after, durable: durable.into(), log_unproven, epochs: Mutex::new(epochs), ..self }
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn applied(&self) -> u64 {
        self.applied.get()
    }

    /// What of the applied entries may be acknowledged. A host that began after what is received may have other entries
    /// there than the writer.
    fn proven_applied(&self) -> u64 {
        if self.host_unproven.load(Ordering::Acquire) && !mutant!("host-ahead-believed") { 0 } else { self.applied() }
    }

    /// The stream has reached the host's position, and the histories do not differ there, as far as they are known.
    pub(super) fn prove_host(&self) {
        if self.host_unproven.load(Ordering::Relaxed) {
            self.host_unproven.store(false, Ordering::Release);
            self.moved.notify_one();
        }
    }

    /// What of the local log's durable entries may be acknowledged, where the host has applied entries up to `applied`.
    fn proven_durable(&self, applied: u64) -> u64 {
        let durable = self.durable.load(Ordering::Acquire);
        let is_unproven = self.log_unproven.load(Ordering::Acquire);
        if applied < self.log_begins_after || is_unproven { 0 } else { durable }
    }

    /// The same of the local log's end.
    pub(super) fn prove_log(&self) {
        if self.log_unproven.load(Ordering::Relaxed) {
            self.log_unproven.store(false, Ordering::Release);
            self.moved.notify_one();
        }
    }

    /// The positions that may be acknowledged.
    pub(super) fn positions(&self) -> Positions {
        // Received is read last, so that it is not older than the others.
        let applied = self.proven_applied();
        let stored = self.proven_durable(applied);
        let durable = if self.durable_when_applied { applied.max(stored) } else { stored };
        let received = self.received();
        let applied = if mutant!("applied-when-received") { received } else { applied };
        // A gap that the writer leaves may end before the host's position.
        Positions { received, durable: durable.min(received), applied: applied.min(received) }
    }

    pub(super) fn set_received(&self, at: Point) {
        self.received_hash.store(at.hash, Ordering::Relaxed);
        self.received.store(at.sequence, Ordering::Release);
        self.writer.fetch_max(at.sequence, Ordering::Relaxed);
    }

    /// The received position with its chain hash. For the connection's task, which sets it.
    pub(super) fn received_point(&self) -> Point {
        Point { sequence: self.received(), hash: self.received_hash.load(Ordering::Relaxed) }
    }

    /// The last entry that the local log has made durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// The local log has made everything up to `sequence` durable. Acknowledges at once if the writer requested that;
    /// otherwise wakes the connection's task.
    pub(super) fn set_durable(&self, sequence: u64) {
        self.durable.fetch_max(sequence, Ordering::AcqRel);
        // Under the lock, so that a later acknowledgement has no lower position.
        let mut outgoing = self.outgoing.lock();
        if !outgoing.send_if_requested(self.positions()) {
            self.moved.notify_one();
        }
    }

    /// Acknowledges the present positions with the next flush.
    pub(super) fn acknowledge(&self) {
        self.outgoing.lock().acknowledge(self.positions());
    }

    /// Acknowledges if that is due, and has the connection's task woken when the next requested entry is applied.
    pub(super) fn acknowledge_if_due(&self) -> io::Result<()> {
        let mut outgoing = self.outgoing.lock();
        let positions = self.positions();
        outgoing.send_if_due(positions)?;
        // Only an entry that is received and not applied needs a report: what is applied was acknowledged above, or will be
        // when the socket is writable, and this is called again when an entry arrives and when the host is proven. The
        // durable position moves with the local log, which acknowledges by itself, or with the applied position.
        let is_reached_by_applying = |requested: &u64| {
            positions.applied < *requested
                && *requested <= positions.received
                && !self.host_unproven.load(Ordering::Acquire)
        };
        let requested = outgoing.next_applied(self.durable_when_applied).filter(is_reached_by_applying);
        if requested.is_some_and(|requested| self.applied.request_report(requested)) {
            self.moved.notify_one();
        }
        Ok(())
    }

    /// The position after the entry that is being applied, or was applied last.
    pub(super) fn place(&self) -> Point {
        self.place.get()
    }

    /// Sets the position after the entries that are about to be applied. Only the callback thread calls this.
    #[inline]
    pub(super) fn set_place(&self, at: Point) {
        self.place.set(at);
    }

    /// The lineage of the stream that is followed; `None` while unknown.
    pub(super) fn lineage(&self) -> Option<Lineage> {
        *self.lineage.lock()
    }

    pub(super) fn set_lineage(&self, lineage: Option<Lineage>) {
        let mut followed = self.lineage.lock();
        let mut epochs = self.epochs.lock();
        if followed.map(|old| old.stream_id) != lineage.map(|new| new.stream_id) && followed.is_some() {
            epochs.clear();
        }
        if let Some(Lineage { epoch, .. }) = lineage
            && epochs.last().is_none_or(|(last, _)| *last < epoch)
        {
            if epochs.len() == MAX_EPOCHS {
                epochs.remove(0);
            }
            let before = if epochs.is_empty() { 0 } else { self.received() };
            epochs.push((epoch, before));
        }
        *followed = lineage;
    }

    /// The epochs that were followed, rising, each with the last entry received before it.
    pub(super) fn epochs(&self) -> Vec<(u64, u64)> {
        self.epochs.lock().clone()
    }

    /// The lineage of the stream changed: whoever waits for a sequence meant an entry of another history.
    pub(super) fn lineage_changed(&self) {
        self.lineage_changes.fetch_add(1, Ordering::SeqCst);
        self.applied.wake_waiters();
    }

    /// Sets the position that the writer reported.
    pub(super) fn set_writer(&self, sequence: u64) {
        self.writer.store(sequence, Ordering::Relaxed);
    }

    pub(super) fn writer(&self) -> u64 {
        self.writer.load(Ordering::Relaxed)
    }

    /// How many entries were applied.
    pub(super) fn entries_applied(&self) -> u64 {
        self.entries_applied.load(Ordering::Relaxed)
    }

    /// The age of the last applied entry in microseconds: by its timestamp when it was received, and by the boot clock
    /// since then. So it does not matter whether the wall clock is set while entries wait here.
    pub(super) fn applied_age_us(&self, now: Now) -> u64 {
        let load = |time: &AtomicU64| time.load(Ordering::Relaxed);
        let on_arrival = load(&self.applying_received_wall_us).saturating_sub(load(&self.applied_timestamp_us));
        on_arrival.saturating_add(now.boot_us.saturating_sub(load(&self.applying_received_boot_us)))
    }

    /// Entries received at this time are applied from now on. Only the callback thread calls this.
    pub(super) fn set_applying(&self, received: Now) {
        self.applying_received_wall_us.store(received.wall_us, Ordering::Relaxed);
        self.applying_received_boot_us.store(received.boot_us, Ordering::Relaxed);
    }

    /// Moves the applied position. Only the callback thread calls this. It may miss a waiter that arrives at the same
    /// moment; [`Self::wake_missed`] finds it.
    #[inline]
    pub(super) fn set_applied(&self, sequence: u64, timestamp_us: u64, entries: u64) {
        self.applied_timestamp_us.store(timestamp_us, Ordering::Relaxed);
        self.entries_applied.store(self.entries_applied.load(Ordering::Relaxed) + entries, Ordering::Relaxed);
        if self.awaited.is_reached(sequence) {
            // First: whoever is woken asks for the hash.
            self.awaited.passed(self.place.get());
        }
        if self.applied.set(sequence) {
            // The task acknowledges, once for all entries applied until then. To send here would delay the next entry.
            self.moved.notify_one();
        }
    }

    /// Wakes the waiters that [`Self::set_applied`] missed. The callback thread calls this before it looks for more
    /// work.
    pub(super) fn wake_missed(&self) {
        if self.applied.wake_missed() {
            self.moved.notify_one();
        }
    }

    /// Requests a wake-up when buffers are released.
    pub(super) fn request_room(&self) {
        self.room_requested.store(true, Ordering::SeqCst);
    }

    /// Buffers were released. Wakes the connection's task if it requested that.
    pub(super) fn made_room(&self) {
        if self.room_requested.swap(false, Ordering::SeqCst) {
            self.moved.notify_one();
        }
    }

    /// Ends the receiver's connections and the waits for sequences.
    pub(super) fn end(&self, reason: Error) {
        self.life.send_modify(|life| life.end(reason));
        self.applied.wake_waiters();
    }

    /// Waits until `sequence` is applied.
    pub(super) fn wait_applied(&self, sequence: u64, timeout: Duration, on_change: LineageChange) -> Result<()> {
        if self.applied() >= sequence {
            return Ok(());
        }
        let deadline = clock::instant().checked_add(timeout);
        let changes = self.lineage_changes.load(Ordering::SeqCst);
        self.applied.wait(sequence, deadline, |applied| {
            if applied >= sequence {
                return Some(Ok(()));
            }
            if let Some(reason) = self.life.borrow().reason() {
                return Some(Err(reason.clone()));
            }
            let has_changed = self.lineage_changes.load(Ordering::SeqCst) != changes;
            if has_changed && on_change == LineageChange::Ends {
                let text = format!(
                    "the writer changed while sequence {sequence} was waited for; the last applied one is {applied}"
                );
                return Some(Err(Error::new(Status::LineageChanged, text)));
            }
            if deadline.is_some_and(|deadline| clock::instant() >= deadline) {
                let text = format!(
                    "sequence {sequence} was not applied within {} ms, the last one is {applied}",
                    timeout.as_millis()
                );
                return Some(Err(Error::new(Status::Timeout, text)));
            }
            None
        })
    }
}

/// Resolves when the receiver ends.
pub(super) async fn ending(life: &mut watch::Receiver<ReceiverState>) {
    // `Progress` has the sender, and outlives this task.
    let _ = life.wait_for(ReceiverState::is_ending).await;
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;
    use crate::engine::reader::acks::Acks;
    use crate::protocol::HEADER_SIZE;
    use crate::protocol::control::{AckLevel, AckRequest, StreamAck};
    use crate::transport::Stream;

    const ACK_INTERVAL: Duration = Duration::from_millis(100);

    /// A receiver's progress on a connection whose task does not run, and the writer's end of it.
    fn connected(runtime: &tokio::runtime::Runtime) -> (Progress, Arc<Stream>, UnixStream) {
        let _within = runtime.enter();
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let stream = Arc::new(Stream::from_fd(ours.into()).unwrap());
        runtime.block_on(stream.writable()).unwrap();
        let progress = Progress::new(Point::default(), Point::default(), false);
        let acks = Acks::new("reader", ACK_INTERVAL, Some(Duration::from_secs(3600)), clock::instant());
        progress.outgoing.lock().begin(&stream, acks);
        progress.set_received(Point { sequence: 10, hash: 0 });
        (progress, stream, theirs)
    }

    /// The positions that the writer has received, if any.
    fn heard(theirs: &mut UnixStream) -> Option<Positions> {
        let mut bytes = [0; 256];
        match theirs.read(&mut bytes) {
            Ok(read) => Some(StreamAck::decode(&bytes[HEADER_SIZE..read]).unwrap().positions),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether the connection's task would wake now.
    fn is_woken(runtime: &tokio::runtime::Runtime, progress: &Progress) -> bool {
        runtime.block_on(async { tokio::time::timeout(Duration::ZERO, progress.moved.notified()).await.is_ok() })
    }

    #[test]
    fn what_the_writer_waits_for_is_said_by_the_thread_that_made_it_durable() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (progress, _stream, mut theirs) = connected(&runtime);
        progress.outgoing.lock().request(AckRequest { level: AckLevel::Durable, sequence: 4 });

        // Not yet. The task acknowledges when the interval is over.
        progress.set_durable(3);
        assert_eq!((heard(&mut theirs), is_woken(&runtime, &progress)), (None, true));
        progress.set_durable(4);
        let said = heard(&mut theirs).unwrap();
        assert_eq!((said.received, said.durable, said.applied), (10, 4, 0));
        assert!(!is_woken(&runtime, &progress), "there was nothing left to do");

        // Nobody waits any more, and nobody is there.
        progress.set_durable(7);
        assert_eq!((heard(&mut theirs), is_woken(&runtime, &progress)), (None, true));
        progress.outgoing.lock().request(AckRequest { level: AckLevel::Durable, sequence: 8 });
        progress.outgoing.lock().close();
        progress.set_durable(8);
        assert_eq!((heard(&mut theirs), is_woken(&runtime, &progress)), (None, true));
    }

    /// A writer that waits for every entry costs one frame for many of them, and no call where they are applied.
    #[test]
    fn what_is_applied_is_said_by_the_task_once_for_all() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (progress, _stream, mut theirs) = connected(&runtime);
        for sequence in 1..=9 {
            progress.outgoing.lock().request(AckRequest { level: AckLevel::Applied, sequence });
        }
        progress.acknowledge_if_due().unwrap();
        for sequence in 1..=8 {
            progress.set_applied(sequence, 0, 1);
        }
        assert_eq!((heard(&mut theirs), is_woken(&runtime, &progress)), (None, true));
        progress.acknowledge_if_due().unwrap();
        assert_eq!(heard(&mut theirs).unwrap().applied, 8);
        progress.set_applied(9, 0, 1);
        assert!(is_woken(&runtime, &progress));
    }

    /// P6: a host that lost entries begins before its local log, which may have other entries than the writer.
    #[test]
    fn p6_nothing_is_acknowledged_as_durable_before_the_log_is_proven() {
        let at = |sequence| Point { sequence, hash: 0 };
        let progress = Progress::new(at(65), at(65), false).with_log(70, 75, 75, Vec::new());
        progress.set_received(at(74));
        progress.set_applied(72, 0, 7);
        assert_eq!(progress.positions().durable, 0);
        progress.set_received(at(90));
        progress.prove_log();
        assert_eq!(progress.positions().durable, 75);
        // A stream that begins at the log's end was compared by the handshake.
        assert_eq!(Progress::new(at(72), at(75), false).with_log(70, 75, 75, Vec::new()).positions().durable, 75);
    }

    /// P5: the task sleeps while nothing can be acknowledged, whatever the writer requested.
    #[test]
    fn p5_the_task_does_not_spin_for_what_it_cannot_acknowledge_yet() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (progress, stream, mut theirs) = connected(&runtime);

        // The host stands at 20, and only 10 entries were received.
        progress.set_applied(20, 0, 20);
        progress.outgoing.lock().request(AckRequest { level: AckLevel::Applied, sequence: 15 });
        progress.acknowledge_if_due().unwrap();
        assert!(!is_woken(&runtime, &progress));
        progress.set_received(Point { sequence: 15, hash: 0 });
        progress.acknowledge_if_due().unwrap();
        assert_eq!(heard(&mut theirs).unwrap().applied, 15);

        // The writer does not read what it asked for.
        for piece in [&[0; 4096][..], &[0]] {
            while stream.try_send(&[io::IoSlice::new(piece)]).is_ok() {}
        }
        progress.set_received(Point { sequence: 17, hash: 0 });
        for sequence in 16..=17 {
            progress.outgoing.lock().request(AckRequest { level: AckLevel::Applied, sequence });
            progress.acknowledge_if_due().unwrap();
            assert!(!is_woken(&runtime, &progress), "{sequence}");
        }
    }

    /// P6: a host that stands after what was received may have other entries there than the writer.
    #[test]
    fn p6_nothing_is_acknowledged_as_applied_before_the_host_is_proven() {
        for durable_when_applied in [false, true] {
            let at = |sequence| Point { sequence, hash: 0 };
            let progress = Progress::new(at(45), at(19), durable_when_applied).with_log(10, 19, 19, Vec::new());
            progress.set_received(at(47));
            let said = progress.positions();
            assert_eq!((said.received, said.durable, said.applied), (47, 0, 0));
            progress.prove_host();
            let said = progress.positions();
            let durable = if durable_when_applied { 45 } else { 19 };
            assert_eq!((said.received, said.durable, said.applied), (47, durable, 45));
        }
    }

    /// P5: a writer that does not read blocks no thread of this side. The task sends the acknowledgement later.
    #[test]
    fn p5_an_answer_that_the_socket_does_not_take_is_left_to_the_task() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (progress, stream, mut theirs) = connected(&runtime);
        progress.outgoing.lock().request(AckRequest { level: AckLevel::Durable, sequence: 4 });
        for piece in [&[0; 4096][..], &[0]] {
            while stream.try_send(&[io::IoSlice::new(piece)]).is_ok() {}
        }
        progress.set_durable(4);
        assert!(is_woken(&runtime, &progress) && progress.outgoing.lock().is_unsent());
        while theirs.read(&mut [0; 4096]).is_ok() {}
        runtime.block_on(stream.writable()).unwrap();
        progress.outgoing.lock().request(AckRequest { level: AckLevel::Durable, sequence: 5 });
        // The old numbers, then the new ones.
        progress.set_durable(5);
        let mut bytes = [0; 256];
        let read = theirs.read(&mut bytes).unwrap();
        let said = [&bytes[..read / 2], &bytes[read / 2..read]];
        assert_eq!(said.map(|frame| StreamAck::decode(&frame[HEADER_SIZE..]).unwrap().positions.durable), [4, 5]);
    }
}
