//! The callback thread: the only one that calls the host. It applies entries in order, and between them delivers events
//! and dials.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use super::config::ApplyPolicy;
use super::core::Core;
use super::delivery::{Before, Delivery};
use super::handler::{ApplyFailure, Connect, Handler, LocalWal, Place, ReceiverHost};
use super::keeper::Keeper;
use super::local_log::behind;
use super::queue::{Adoption, Dial};
use crate::clock;
use crate::engine::lineage::{self, Follower, Source, Verdict};
use crate::error::{Error, Result, Status};
use crate::host::{Event, EventKind, Postman};
use crate::log::RETRY;
use crate::log::disk::position::PositionFile;
use crate::protocol::entry::{Entries, UNKNOWN_HISTORY, Walked};
use crate::protocol::handshake::Point;

/// Pauses between two tries of an entry that the handler does not take, doubling.
const RETRY_PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(1);

/// The code of a host that takes no more because it ends.
const CLOSED: i32 = Status::Closed as i32;

/// The callback thread's own state.
pub(super) struct Applier {
    core: Arc<Core>,
    handler: Box<dyn Handler>,
    local_wal: Option<LocalWal>,
    connect: Option<Connect>,
    postman: Postman,
    /// The local log on disk, if there is one.
    keeper: Option<Keeper>,
    /// What is being applied.
    current: Option<Delivery>,
    /// The chain hash behind what was applied of it.
    hash: u64,
    /// Entries up to here are in the host's own log.
    logged: u64,
    failures: u32,
    retry_at: Option<Instant>,
    /// When a disk that refuses is tried again, for entries.
    store_at: Option<Instant>,
    /// The same for what is read back of an earlier life.
    replay_at: Option<Instant>,
    /// When the handler's position is stored although nothing is applied.
    note_at: Option<Instant>,
    over: bool,
}

/// What the thread does next.
enum Next {
    Events(VecDeque<Event>),
    Dial(Dial),
    Adopt(Adoption),
    Apply,
    Store(Vec<Delivery>),
    Sync,
    Check,
    Note,
    Replay,
    Diverged(Error),
    Lost(Error),
    Stop,
}

impl Applier {
    pub(super) fn new(core: Arc<Core>, host: ReceiverHost, position: Option<PositionFile>) -> Self {
        let logged = core.progress.applied();
        // Where the host stands may be further than the file says, and retention goes by that.
        let note_at = position.is_some().then(clock::instant);
        let ReceiverHost { handler, local_wal, connect, observer } = host;
        Self {
            keeper: position.map(|position| Keeper::new(&core, position)),
            core,
            handler,
            local_wal,
            connect,
            postman: Postman::new(observer),
            current: None,
            hash: UNKNOWN_HISTORY,
            logged,
            failures: 0,
            retry_at: None,
            store_at: None,
            replay_at: None,
            note_at,
            over: false,
        }
    }

    /// Runs until the receiver stops.
    pub(super) fn run(mut self) {
        loop {
            match self.next() {
                Next::Events(events) => events.iter().for_each(|event| self.postman.deliver(event)),
                Next::Dial(Dial { address, answer }) => {
                    let dialled = match &mut self.connect {
                        Some(connect) => connect(&address),
                        None => Err(io::Error::other("no connect handler is set")),
                    };
                    // Nobody waits any more: the socket closes with the answer.
                    let _ = answer.send(dialled);
                }
                Next::Adopt((lineage, answer)) => {
                    let adopted = self.keeper.as_mut().map_or(Ok(()), |keeper| keeper.adopt(lineage));
                    if let Err(error) = adopted.as_ref()
                        && !error.status.is_passing()
                    {
                        self.log_failed(error);
                    }
                    // Who asked waits for it.
                    let _ = answer.send(adopted);
                }
                Next::Apply => self.apply(),
                Next::Store(deliveries) => self.store(&deliveries),
                Next::Sync => {
                    let synced = self.keeper.as_mut().map_or(Ok(()), Keeper::sync);
                    synced.unwrap_or_else(|error| self.log_failed(&error));
                }
                Next::Check => {
                    let checked = self.keeper.as_mut().map_or(Ok(()), Keeper::check_identity);
                    checked.unwrap_or_else(|error| self.log_failed(&error));
                }
                Next::Note => self.note(),
                // It comes before everything else.
                Next::Replay => self.replay_at = None,
                Next::Diverged(error) => self.give_up(EventKind::Diverged, &error),
                Next::Lost(error) => self.log_failed(&error),
                Next::Stop => {
                    if let Some(keeper) = &mut self.keeper {
                        keeper.finish();
                        let events = self.core.mailbox.lock().take_events();
                        events.iter().for_each(|event| self.postman.deliver(event));
                    }
                    return;
                }
            }
        }
    }

    /// Waits for something to do.
    fn next(&mut self) -> Next {
        self.core.progress.settle();
        self.replay();
        let core = Arc::clone(&self.core);
        let mailbox = &core.mailbox;
        let mut content = mailbox.lock();
        content.work.applying = false;
        if content.work.paused {
            mailbox.notify();
        }
        self.core.attention.store(false, Ordering::SeqCst);
        loop {
            if content.has_events() {
                return Next::Events(content.take_events());
            }
            if content.work.stop {
                return Next::Stop;
            }
            if let Some(dial) = content.work.dial.take() {
                return Next::Dial(dial);
            }
            if let Some(adoption) = content.work.adopt.take() {
                return Next::Adopt(adoption);
            }
            let now = clock::instant();
            let keeper = self.keeper.as_ref().filter(|_| !self.over);
            let sync_at = keeper.and_then(Keeper::sync_at);
            let check_at = keeper.map(Keeper::check_at);
            if let Some(keeper) = keeper {
                if let Some(error) = keeper.lost() {
                    return Next::Lost(error);
                }
                // Before anything is applied, and whether or not it can be: what is stored does not wait for the handler.
                let stored = content.work.stored;
                if stored < content.work.deliveries.len()
                    && self.store_at.is_none_or(|at| at <= now || keeper.has_room())
                {
                    return Next::Store(content.work.deliveries.range(stored..).cloned().collect());
                }
                if sync_at.is_some_and(|at| at <= now) || keeper.is_sync_wanted() {
                    return Next::Sync;
                }
                if check_at.is_some_and(|at| at <= now) {
                    return Next::Check;
                }
                if self.note_at.is_some_and(|at| at <= now) {
                    return Next::Note;
                }
                if self.replay_at.is_some_and(|at| at <= now) {
                    return Next::Replay;
                }
            }
            let due = self.retry_at.is_none_or(|at| at <= clock::instant());
            if due && !content.work.paused && !self.over {
                // What an earlier life received comes first.
                let is_next = self.current.is_none() && self.replay_at.is_none();
                if is_next && (self.keeper.is_none() || content.work.stored > 0) {
                    self.current = content.work.deliveries.pop_front();
                    content.work.stored = content.work.stored.saturating_sub(1);
                    match self.begin() {
                        Ok(skipped) => content.work.bytes -= skipped,
                        Err(error) => return Next::Diverged(error),
                    }
                }
                if self.current.is_some() {
                    content.work.applying = true;
                    return Next::Apply;
                }
            }
            let retry_at = self.retry_at.filter(|_| !content.work.paused && !self.over);
            let again = [retry_at, sync_at, check_at, self.store_at, self.replay_at, self.note_at];
            let deadline = again.into_iter().flatten().min();
            content = mailbox.wait(content, deadline);
        }
    }

    /// Applies what is at hand until something else wants this thread.
    fn apply(&mut self) {
        let core = Arc::clone(&self.core);
        self.retry_at = None;
        let Some(mut delivery) = self.current.take() else { return };
        core.progress.set_applying(delivery.received());
        let before = delivery.len();
        // What the host's own log takes is applied call by call.
        let longest = self.local_wal.as_ref().map_or(usize::MAX, |_| self.handler.max_entries());
        loop {
            let entries = Entries::new(delivery.entries()).behind(self.hash);
            if entries.is_over() {
                break;
            }
            let (mut run, refused) = self.log_locally(entries.limit(longest));
            // The host's log may have taken none; what it took is applied before the one it refused is told.
            let outcome = match &refused {
                Some(failure) if failure.applied == 0 => Ok(()),
                _ => self.handler.apply_run(&mut run, &Place::of(&core.progress, &core.attention)),
            };
            let outcome = outcome.and(refused.map_or(Ok(()), Err));
            let Walked { bytes: taken, hash, .. } = run.walked();
            self.hash = hash;
            if let Err(failure) = outcome {
                core.progress.set_place(Point { sequence: core.progress.applied(), hash });
                let mut rest = Entries::new(run.rest()).behind(hash);
                let Some(failed) = rest.next() else { break };
                let (sequence, timestamp_us, size) = (failed.sequence, failed.timestamp_us, failed.encoded_len());
                let skip = self.failed(sequence, taken > 0, &failure);
                let skipped = if skip { size } else { 0 };
                if skip {
                    self.hash = rest.walked().hash;
                    core.progress.set_place(Point { sequence, hash: self.hash });
                    core.progress.set_applied(sequence, timestamp_us, 0);
                    self.logged = self.logged.max(sequence);
                }
                delivery.advance(taken + skipped);
                if self.retry_at.is_some() || self.over {
                    self.current = Some(delivery);
                    let left = self.current.as_ref().map_or(0, Delivery::len);
                    return self.gave_back(before - left);
                }
            } else {
                self.failures = 0;
                delivery.advance(taken);
            }
            if core.attention.load(Ordering::Relaxed) {
                let left = delivery.len();
                self.current = Some(delivery);
                return self.gave_back(before - left);
            }
        }
        drop(delivery);
        self.gave_back(before);
    }

    /// Takes up what was received in an earlier life, before anything else.
    fn replay(&mut self) {
        let is_due = self.current.is_none() && self.replay_at.is_none() && !self.over;
        let Some(keeper) = self.keeper.as_mut().filter(|_| is_due) else { return };
        match keeper.replay(self.core.progress.applied()) {
            Ok(None) => {}
            Ok(Some(delivery)) => {
                self.core.mailbox.lock().work.bytes += delivery.len();
                self.current = Some(delivery);
                if let Err(error) = self.begin() {
                    self.give_up(EventKind::Diverged, &error);
                }
            }
            Err(error) if error.status.is_passing() => self.replay_at = Some(clock::instant() + RETRY),
            Err(error) => self.log_failed(&error),
        }
    }

    /// A new delivery is current. Leaves out what the host has, which may stand ahead of what its local log goes on from,
    /// and returns its bytes. Fails if the writer has another history there than the host.
    fn begin(&mut self) -> Result<usize> {
        let host = self.core.progress.place();
        let Some(delivery) = &mut self.current else { return Ok(0) };
        let Before { sequence: mut at, hash, .. } = delivery.before();
        self.hash = hash;
        let length = delivery.len();
        while at < host.sequence {
            let run = Entries::new(delivery.entries()).behind(self.hash);
            let Walked { bytes, sequence, hash, .. } = behind(run, host.sequence).walked();
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
        Ok(skipped)
    }

    /// Puts deliveries into the local log.
    fn store(&mut self, deliveries: &[Delivery]) {
        self.store_at = None;
        let Some(keeper) = &mut self.keeper else { return };
        match keeper.store(deliveries) {
            Ok(stored) => {
                self.core.mailbox.lock().work.stored += stored;
                if stored < deliveries.len() {
                    self.store_at = Some(clock::instant() + RETRY);
                }
            }
            Err(error) => self.log_failed(&error),
        }
    }

    /// The local log is unusable: nothing can be applied that was not stored.
    fn log_failed(&mut self, error: &Error) {
        self.give_up(EventKind::LogFailed, error);
    }

    /// Nothing can be applied any more.
    fn give_up(&mut self, kind: EventKind, error: &Error) {
        self.over = true;
        let mut event = Event::new(kind, error.status, error.message.clone());
        event.sequence = self.core.progress.applied();
        self.core.event(event);
        self.core.halt(error.clone());
    }

    /// Notes how far the handler came. A disk that refuses is tried again; what is applied stays so.
    fn note(&mut self) {
        self.note_at = None;
        match self.keeper.as_mut().map_or(Ok(()), Keeper::applied) {
            Ok(()) => {}
            Err(error) if error.status.is_passing() => self.note_at = Some(clock::instant() + RETRY),
            Err(error) => self.log_failed(&error),
        }
    }

    /// Tells the connection's task that `bytes` are free again.
    fn gave_back(&mut self, bytes: usize) {
        self.note();
        self.core.mailbox.lock().work.bytes -= bytes;
        self.core.progress.made_room();
    }

    /// Writes the run to the host's own log, each entry once. Returns what is there of it, and why the next is not.
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

    /// Decides about an entry that was not taken. `true`: skip it.
    fn failed(&mut self, sequence: u64, moved: bool, failure: &ApplyFailure) -> bool {
        if moved {
            self.failures = 0;
        }
        self.failures += 1;
        let why = match failure.message.as_str() {
            "" => format!("the handler returned {}", failure.code),
            message => message.to_owned(),
        };
        self.core.counters.apply_failures.fetch_add(1, Ordering::Relaxed);
        let text = format!("applying entry {sequence} failed (try {}): {why}", self.failures);
        self.report(EventKind::ApplyFailed, sequence, text.clone(), failure.code);
        let policy = match failure.code {
            // The host ends and leaves the entry, which is nothing that a policy may give up.
            CLOSED => ApplyPolicy::Retry,
            _ => self.core.config.apply_policy,
        };
        match policy {
            ApplyPolicy::Stop(retries) if self.failures > retries => {
                self.over = true;
                let text = format!("{text}; applying stopped, a new receiver can go on after entry {}", sequence - 1);
                self.report(EventKind::Stopped, sequence, text.clone(), failure.code);
                self.core.halt(Error::new(Status::ApplyFailed, text));
                false
            }
            ApplyPolicy::Skip(retries) if self.failures > retries => {
                self.core.counters.entries_skipped.fetch_add(1, Ordering::Relaxed);
                self.report(EventKind::EntrySkipped, sequence, format!("{text}; skipped"), failure.code);
                self.failures = 0;
                true
            }
            _ => {
                let doubled = RETRY_PAUSES.start().saturating_mul(1 << (self.failures - 1).min(10));
                self.retry_at = Some(clock::instant() + doubled.min(*RETRY_PAUSES.end()));
                false
            }
        }
    }

    fn report(&mut self, kind: EventKind, sequence: u64, text: String, code: i32) {
        let mut event = Event::new(kind, Status::ApplyFailed, text);
        event.sequence = sequence;
        event.detail = json!({ "code": code, "tries": self.failures });
        self.core.event(event);
    }
}
