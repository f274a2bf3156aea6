//! The callback thread, the only one that calls the host. It applies entries in order; between entries it delivers
//! events, calls the connect handler and writes the local log.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::delivery::{Before, Delivery};
use super::handler::{ApplyFailure, Connect, Handler, LocalWal, Place, ReceiverHost};
use super::local_log::entries_after;
use super::local_log_writer::LocalLogWriter;
use super::progress::Progress;
use super::queue::{Adoption, Dial, Inbox, Queue};
use super::report::ReceiverReport;
use crate::clock;
use crate::engine::lineage::{self, Follower, Source, Verdict};
use crate::engine::reader::apply::{Action, ApplySchedule, Deferred, LogWork, Outcome, PendingWork};
use crate::engine::reader::policy::ApplyPolicy;
use crate::error::{Error, Result, Status};
use crate::host::{Event, EventDispatcher, EventKind};
use crate::log::RETRY;
use crate::protocol::entry::{Entries, UNKNOWN_HISTORY, Walked};
use crate::protocol::handshake::Point;

/// The state of the callback thread.
pub(super) struct Applier {
    progress: Arc<Progress>,
    inbox: Arc<Inbox>,
    report: Arc<ReceiverReport>,
    handler: Box<dyn Handler>,
    local_wal: Option<LocalWal>,
    connect: Option<Connect>,
    dispatcher: EventDispatcher,
    /// The local log on disk, if there is one.
    log_writer: Option<LocalLogWriter>,
    /// The delivery that is being applied.
    current: Option<Delivery>,
    /// The chain hash after the last entry of it that was applied.
    hash: u64,
    /// The last entry that the host's own log has.
    logged: u64,
    schedule: ApplySchedule,
}

/// The next task of the thread, with its arguments.
enum CallbackTask {
    Deliver(VecDeque<Event>),
    Dial(Dial),
    Adopt(Adoption),
    Apply,
    Store(Vec<Delivery>),
    Sync,
    Check,
    StorePosition,
    Replay,
    GiveUp(EventKind, Error),
    Stop,
}

impl Applier {
    pub(super) fn new(
        progress: Arc<Progress>,
        inbox: Arc<Inbox>,
        report: Arc<ReceiverReport>,
        host: ReceiverHost,
        policy: ApplyPolicy,
        log_writer: Option<LocalLogWriter>,
    ) -> Self {
        let mut schedule = ApplySchedule::new(policy);
        if log_writer.is_some() {
            // The host may have applied more than the position file says, and retention follows the file.
            schedule.defer(Deferred::StorePosition, clock::instant());
        }
        let ReceiverHost { handler, local_wal, connect, observer } = host;
        Self {
            logged: progress.applied(),
            progress,
            inbox,
            report,
            handler,
            local_wal,
            connect,
            dispatcher: EventDispatcher::new(observer),
            log_writer,
            current: None,
            hash: UNKNOWN_HISTORY,
            schedule,
        }
    }

    /// Runs until the receiver stops.
    pub(super) fn run(mut self) {
        loop {
            match self.next() {
                CallbackTask::Deliver(events) => events.iter().for_each(|event| self.dispatcher.deliver(event)),
                CallbackTask::Dial(Dial { address, answer }) => {
                    let dialled = match &mut self.connect {
                        Some(connect) => connect(&address),
                        None => Err(io::Error::other("no connect handler is set")),
                    };
                    // If the receiver no longer waits, dropping the answer closes the socket.
                    let _ = answer.send(dialled);
                }
                CallbackTask::Adopt((lineage, answer)) => {
                    let adopted = self.log_writer.as_mut().map_or(Ok(()), |log_writer| log_writer.adopt(lineage));
                    if let Err(error) = adopted.as_ref()
                        && !error.status.is_passing()
                    {
                        self.wal_failed(error);
                    }
                    // The connection's task waits for the answer.
                    let _ = answer.send(adopted);
                }
                CallbackTask::Apply => self.apply(),
                CallbackTask::Store(deliveries) => self.store(&deliveries),
                CallbackTask::Sync => {
                    let synced = self.log_writer.as_mut().map_or(Ok(()), LocalLogWriter::sync);
                    synced.unwrap_or_else(|error| self.wal_failed(&error));
                }
                CallbackTask::Check => {
                    let checked = self.log_writer.as_mut().map_or(Ok(()), LocalLogWriter::check_identity);
                    checked.unwrap_or_else(|error| self.wal_failed(&error));
                }
                CallbackTask::StorePosition => self.store_position(),
                // `next` replays before it checks for other work.
                CallbackTask::Replay => self.schedule.clear(Deferred::Replay),
                CallbackTask::GiveUp(kind, error) => self.give_up(kind, &error),
                CallbackTask::Stop => {
                    if let Some(log_writer) = &mut self.log_writer {
                        log_writer.finish();
                        let events = self.inbox.mailbox.lock().take_events();
                        events.iter().for_each(|event| self.dispatcher.deliver(event));
                    }
                    return;
                }
            }
        }
    }

    /// Waits for the next task.
    fn next(&mut self) -> CallbackTask {
        self.progress.wake_missed();
        self.replay();
        let inbox = Arc::clone(&self.inbox);
        let mailbox = &inbox.mailbox;
        let mut content = mailbox.lock();
        content.work.applying = false;
        if content.work.paused {
            mailbox.notify();
        }
        inbox.attention.store(false, Ordering::SeqCst);
        loop {
            let now = clock::instant();
            let work = self.work(&content.work, content.has_events());
            return match self.schedule.next(&work, now) {
                Action::DeliverEvents => CallbackTask::Deliver(content.take_events()),
                Action::Stop => CallbackTask::Stop,
                Action::Dial => match content.work.dial.take() {
                    Some(dial) => CallbackTask::Dial(dial),
                    None => continue,
                },
                Action::Adopt => match content.work.adopt.take() {
                    Some(adoption) => CallbackTask::Adopt(adoption),
                    None => continue,
                },
                Action::Lost => match self.log_writer.as_ref().and_then(LocalLogWriter::lost) {
                    Some(error) => CallbackTask::GiveUp(EventKind::WalFailed, error),
                    None => continue,
                },
                Action::Store => {
                    CallbackTask::Store(content.work.deliveries.range(content.work.stored..).cloned().collect())
                }
                Action::Sync => CallbackTask::Sync,
                Action::Check => CallbackTask::Check,
                Action::StorePosition => CallbackTask::StorePosition,
                Action::Replay => CallbackTask::Replay,
                Action::Apply => match self.take_delivery(&mut content.work) {
                    Ok(()) => CallbackTask::Apply,
                    Err(error) => CallbackTask::GiveUp(EventKind::Diverged, error),
                },
                Action::Wait(deadline) => {
                    content = mailbox.wait(content, deadline);
                    continue;
                }
            };
        }
    }

    /// The pending work of this thread.
    fn work(&mut self, queue: &Queue, events: bool) -> PendingWork {
        let unstored = queue.stored < queue.deliveries.len();
        if let Some(log_writer) = self.log_writer.as_ref().filter(|_| unstored && self.schedule.is_store_deferred())
            && log_writer.has_room()
        {
            self.schedule.clear(Deferred::Store);
        }
        let log = self.log_writer.as_ref().map(|log_writer| LogWork {
            lost: log_writer.lost().is_some(),
            unstored,
            sync_requested: log_writer.is_sync_requested(),
            sync_at: log_writer.sync_at(),
            check_at: Some(log_writer.check_at()),
        });
        // Stored entries of an earlier process are applied first. With a log on disk, only stored entries are applied.
        let ready = if log.is_some() { queue.stored > 0 } else { !queue.deliveries.is_empty() };
        PendingWork {
            events,
            stop: self.progress.life.borrow().is_closed(),
            dial: queue.dial.is_some(),
            adopt: queue.adopt.is_some(),
            paused: queue.paused,
            entry: self.current.is_some() || ready && !self.schedule.is_replay_deferred(),
            log,
        }
    }

    /// Makes the next delivery the current one, unless there is one. Fails if the host has another history.
    fn take_delivery(&mut self, queue: &mut Queue) -> Result<()> {
        if self.current.is_none() {
            self.current = queue.deliveries.pop_front();
            queue.stored = queue.stored.saturating_sub(1);
            queue.bytes -= self.begin()?;
        }
        queue.applying = true;
        Ok(())
    }

    /// Applies the current delivery until it is finished, an entry is refused, or other work waits for this thread.
    fn apply(&mut self) {
        self.schedule.begin_try();
        let Some(mut delivery) = self.current.take() else { return };
        self.progress.set_applying(delivery.received());
        let before = delivery.len();
        // With a log of the host's own, each call of the handler gets only entries that this log has taken.
        let longest = self.local_wal.as_ref().map_or(usize::MAX, |_| self.handler.max_entries());
        loop {
            let entries = Entries::new(delivery.entries()).with_history(self.hash);
            if entries.is_over() {
                break;
            }
            let awaited = self.progress.awaited.call_limit(self.progress.applied());
            let (mut run, refused) = self.log_locally(entries.limit(longest.min(awaited)));
            // Entries that the host's log took are applied before the refused one is reported. There may be none.
            let outcome = match &refused {
                Some(failure) if failure.applied == 0 => Ok(()),
                _ => self.handler.apply_run(&mut run, &Place::of(&self.progress, &self.inbox.attention)),
            };
            let outcome = outcome.and(refused.map_or(Ok(()), Err));
            let Walked { bytes: taken, hash, .. } = run.walked();
            self.hash = hash;
            if let Err(failure) = outcome {
                self.progress.set_place(Point { sequence: self.progress.applied(), hash });
                let mut rest = Entries::new(run.rest()).with_history(hash);
                let Some(failed) = rest.next() else { break };
                let (sequence, timestamp_us, size) = (failed.sequence, failed.timestamp_us, failed.encoded_len());
                let skip = self.failed(sequence, taken > 0, &failure) || mutant!("failed-entry-passed");
                let skipped = if skip { size } else { 0 };
                if skip {
                    self.hash = rest.walked().hash;
                    self.progress.set_place(Point { sequence, hash: self.hash });
                    self.progress.set_applied(sequence, timestamp_us, 0);
                    self.logged = self.logged.max(sequence);
                }
                delivery.advance(taken + skipped);
                if self.schedule.holds_back() {
                    return self.put_back(delivery, before);
                }
            } else {
                self.schedule.applied();
                delivery.advance(taken);
            }
            if self.inbox.attention.load(Ordering::Relaxed) {
                return self.put_back(delivery, before);
            }
        }
        drop(delivery);
        self.release_buffer(before);
    }

    /// Keeps what is left of a delivery, of which there were `before` bytes, for the next turn.
    fn put_back(&mut self, delivery: Delivery, before: usize) {
        let left = delivery.len();
        self.current = Some(delivery);
        self.release_buffer(before - left);
    }

    /// Makes entries that an earlier process stored the current delivery, before entries that arrive now.
    fn replay(&mut self) {
        let is_due = self.current.is_none() && !self.schedule.is_replay_deferred() && !self.schedule.is_over();
        let Some(log_writer) = self.log_writer.as_mut().filter(|_| is_due) else { return };
        match log_writer.replay(self.progress.applied()) {
            Ok(None) => {}
            Ok(Some(delivery)) => {
                self.inbox.mailbox.lock().work.bytes += delivery.len();
                self.current = Some(delivery);
                if let Err(error) = self.begin() {
                    self.give_up(EventKind::Diverged, &error);
                }
            }
            Err(error) if error.status.is_passing() => {
                self.schedule.defer(Deferred::Replay, clock::instant() + RETRY);
            }
            Err(error) => self.wal_failed(&error),
        }
    }

    /// Prepares a new current delivery: skips the entries that the host has applied already, because it may be ahead of
    /// its local log. Returns the bytes skipped. Fails if the writer's history differs from the host's there.
    fn begin(&mut self) -> Result<usize> {
        let host = self.progress.place();
        let Some(delivery) = &mut self.current else { return Ok(0) };
        let Before { sequence: mut at, hash, .. } = delivery.before();
        self.hash = hash;
        let length = delivery.len();
        while at < host.sequence && !mutant!("host-position-ignored") {
            let run = Entries::new(delivery.entries()).with_history(self.hash);
            let Walked { bytes, sequence, hash, .. } = entries_after(run, host.sequence).walked();
            if bytes == 0 {
                break;
            }
            (at, self.hash) = (sequence, hash);
            delivery.advance(bytes);
        }
        let skipped = length - delivery.len();
        let compares = skipped > 0 && at == host.sequence;
        let verdict = lineage::judge(&Follower::at(host), &Source::new(None, self.hash));
        if compares && verdict == Verdict::Forked {
            let text = format!("the writer has another history up to entry {at} than the host: re-seed the reader");
            return Err(Error::new(verdict.status(), text));
        }
        if at >= host.sequence {
            self.progress.prove_host();
        }
        Ok(skipped)
    }

    /// Writes deliveries to the local log.
    fn store(&mut self, deliveries: &[Delivery]) {
        self.schedule.clear(Deferred::Store);
        let Some(log_writer) = &mut self.log_writer else { return };
        match log_writer.store(deliveries) {
            Ok(stored) => {
                self.inbox.mailbox.lock().work.stored += stored;
                if stored < deliveries.len() {
                    self.schedule.defer(Deferred::Store, clock::instant() + RETRY);
                }
            }
            Err(error) => self.wal_failed(&error),
        }
    }

    /// Ends the receiver: without its local log no further entry can be applied.
    fn wal_failed(&mut self, error: &Error) {
        self.give_up(EventKind::WalFailed, error);
    }

    /// Ends the receiver, because no further entry can be applied.
    fn give_up(&mut self, kind: EventKind, error: &Error) {
        self.schedule.end();
        let mut event = Event::new(kind, error.status, error.message.clone());
        event.sequence = self.progress.applied();
        self.report.event(event);
        self.progress.end(error.clone());
    }

    /// Writes the applied position to the position file. Tries again later if the disk refuses for now.
    fn store_position(&mut self) {
        self.schedule.clear(Deferred::StorePosition);
        match self.log_writer.as_mut().map_or(Ok(()), LocalLogWriter::store_applied) {
            Ok(()) => {}
            Err(error) if error.status.is_passing() => {
                self.schedule.defer(Deferred::StorePosition, clock::instant() + RETRY);
            }
            Err(error) => self.wal_failed(&error),
        }
    }

    /// Stores the applied position, and releases buffer space for the connection's task to receive into.
    fn release_buffer(&mut self, bytes: usize) {
        self.store_position();
        self.inbox.mailbox.lock().work.bytes -= bytes;
        self.progress.made_room();
    }

    /// Writes entries to the host's own log, each once. Returns the entries that it has, and why it refused the next
    /// one.
    #[inline]
    fn log_locally<'a>(&mut self, run: Entries<'a>) -> (Entries<'a>, Option<ApplyFailure>) {
        let Some(local_wal) = &mut self.local_wal else { return (run, None) };
        for (before, entry) in run.enumerate() {
            if entry.sequence <= self.logged {
                continue;
            }
            match local_wal(&entry) {
                0 => self.logged = entry.sequence,
                code => {
                    let message = format!("local_wal returned {code}");
                    return (run.limit(before), Some(ApplyFailure { applied: before, code, message }));
                }
            }
        }
        (run, None)
    }

    /// Reports a refused entry and follows the apply policy. Returns `true` if the entry is to be skipped.
    fn failed(&mut self, sequence: u64, moved: bool, failure: &ApplyFailure) -> bool {
        let (tries, outcome) = self.schedule.refused(failure.code, moved, clock::instant());
        let why = match failure.message.as_str() {
            "" => format!("the handler returned {}", failure.code),
            message => message.to_owned(),
        };
        self.report.counters.apply_failures.fetch_add(1, Ordering::Relaxed);
        let text = format!("applying entry {sequence} failed (try {tries}): {why}");
        let report = |kind, text| {
            let mut event = Event::new(kind, Status::ApplyFailed, text);
            event.sequence = sequence;
            event.detail = json!({ "code": failure.code, "tries": tries });
            self.report.event(event);
        };
        report(EventKind::ApplyFailed, text.clone());
        match outcome {
            Outcome::Retry => {}
            Outcome::Stop => {
                let text = format!("{text}; applying stopped, a new receiver can go on after entry {}", sequence - 1);
                report(EventKind::Stopped, text.clone());
                self.progress.end(Error::new(Status::ApplyFailed, text));
            }
            Outcome::Skip => {
                self.report.counters.entries_skipped.fetch_add(1, Ordering::Relaxed);
                report(EventKind::EntrySkipped, format!("{text}; skipped"));
            }
        }
        outcome == Outcome::Skip
    }
}
