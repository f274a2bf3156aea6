//! The log on disk: one more cursor over the memory, which writes what it passes.
//!
//! One thread writes. Appends go on in memory meanwhile; what they may not do is to use memory again that is not written
//! yet. Readers are shown what the policy calls safe: what is written, or what is synced. So a writer that comes back
//! after a crash is never behind a reader.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::bell::Bell;
use super::disk::{DiskLog, Stretch};
use super::memory::MemoryLog;
use super::upkeep::{Upkeep, UpkeepNews};
use super::{AttachError, Mark};
use crate::clock;
use crate::engine::disk::{Backlog, RETRY, Schedule, SyncPolicy, Wanted};
use crate::engine::stall::{DiskNews, Operation, Stall};
use crate::error::{Error, Result};
use crate::sync::{Condvar, Mutex};

mod log;
mod wait;

/// How long a sync waits for appends to share it, at most; also no longer than half of the sync before.
const PATIENCE: Duration = Duration::from_millis(1);

/// So many bytes are synced under [`SyncPolicy::Os`], too.
const MUCH_BYTES: u64 = 8 << 20;

/// The log's disk side.
pub(super) struct Storage {
    disk: DiskLog,
    policy: SyncPolicy,
    /// The end of what was appended. The storing thread sleeps there.
    appended: Bell,
    written: AtomicU64,
    /// The end of what was confirmed as durable, and its last entry. Nothing is any more once the log has failed.
    synced: AtomicU64,
    synced_sequence: AtomicU64,
    /// The position from which on somebody still needs the log.
    held_from: AtomicU64,
    /// How many appends wait for their sync, or did.
    calls: AtomicU64,
    /// The number of appends at which the storing thread, which waits for them, is woken.
    awaited: AtomicU64,
    state: Mutex<State>,
    /// For the storing thread.
    work: Condvar,
    /// For those who wait until something is durable.
    durable: Condvar,
    /// For the thread that syncs on the side.
    much: Condvar,
    upkeep: Upkeep,
}

/// Appends that share a sync, before it begins.
#[derive(Default)]
struct Group {
    /// The number of appends that were synced before.
    calls: u64,
    /// How many appends are likely to come.
    expected: u64,
    /// Until when they are waited for.
    until: Option<Instant>,
}

/// What the storing thread remembers from turn to turn.
struct Turn {
    schedule: Schedule,
    stall: Stall,
    /// [`State::wanted`] when the turn began.
    wanted: u64,
    group: Group,
}

/// How the end of a log on disk was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything is stored, or was given up with an error, and all threads are gone.
    All,
    /// The same, but a thread that keeps the directory is still in a call of the system.
    Stored,
    /// The storing thread is still in a call of the system.
    Not,
}

#[derive(Default)]
struct State {
    rung: bool,
    /// The storing thread sleeps and has not been woken.
    idle: bool,
    /// The storing thread waits for appends to share a sync.
    gathering: bool,
    /// Somebody waits until this position is synced.
    wanted: u64,
    failed: Option<Error>,
    /// That may pass, and is tried again.
    stalled: bool,
    /// What was tried and refused so far was wanted up to this position.
    refused: u64,
    closed: bool,
    /// Until when a disk that refuses is tried again, once the log is closed and somebody waits for its end.
    until: Option<Instant>,
    /// The storing thread is gone.
    over: bool,
    /// Another one syncs on the side.
    ahead: bool,
    /// Another one keeps the directory.
    keeping: bool,
}

impl Storage {
    pub(super) fn new(disk: DiskLog, policy: SyncPolicy) -> Self {
        let Mark { position: end, sequence, .. } = disk.written();
        Self {
            disk,
            policy,
            appended: Bell::new(end),
            written: end.into(),
            synced: end.into(),
            synced_sequence: sequence.into(),
            held_from: u64::MAX.into(),
            calls: 0.into(),
            awaited: 0.into(),
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            durable: Condvar::new(),
            much: Condvar::new(),
            upkeep: Upkeep::default(),
        }
    }

    pub(super) fn disk(&self) -> &DiskLog {
        &self.disk
    }

    pub(super) fn waits_for_sync(&self) -> bool {
        self.policy == SyncPolicy::Always
    }

    /// The position up to which memory may be used again.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    pub(super) fn hold_from(&self, position: u64) {
        self.held_from.store(position, Ordering::SeqCst);
    }

    /// Called by an append, with its lock: the log reaches `end` now. `true`: then [`Self::wake`] the storing thread.
    #[inline]
    pub(super) fn appended(&self, end: u64) -> bool {
        // The count first: whoever is awaited has then arrived.
        let complete = self.waits_for_sync()
            && self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.awaited.load(Ordering::SeqCst);
        self.appended.advance(end) || complete
    }

    /// Wakes the storing thread, which sleeps at the end or waits for company.
    #[cold]
    pub(super) fn wake(&self) {
        let mut state = self.state.lock();
        self.ring(&mut state);
        if state.gathering && self.calls.load(Ordering::SeqCst) >= self.awaited.load(Ordering::SeqCst) {
            state.gathering = false;
            self.work.notify_all();
        }
    }

    /// Has the storing thread look again.
    fn ring(&self, state: &mut State) {
        state.rung = true;
        if std::mem::take(&mut state.idle) {
            self.work.notify_all();
        }
    }

    /// Has the storing thread write and sync what there is, and end. While the disk refuses, it goes on trying until
    /// [`Self::wait_over`] says for how long.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_all();
    }

    /// Stores until the log is closed or the disk fails. Returns what became of it.
    pub(super) fn run(&self, memory: &MemoryLog, report: &mut dyn FnMut(DiskNews)) -> Result<()> {
        let ended = self.store_all(memory, report);
        if let Err(error) = &ended {
            self.fail(memory, error, false);
            // What was taken before the directory was lost is to be found in it. If it cannot, the error is told already.
            let _ = self.rescue(memory);
            report(DiskNews::Failed(error.clone()));
        }
        self.state.lock().over = true;
        self.durable.notify_all();
        self.much.notify_all();
        self.upkeep.close();
        ended
    }

    /// After the log lost its directory: writes and syncs what was taken before. Nobody is shown or told any of it.
    fn rescue(&self, memory: &MemoryLog) -> Result<()> {
        let Some(rescue) = self.disk.rescue() else { return Ok(()) };
        while let Some((chunk, start)) = memory.entries_from(self.disk.written().position) {
            rescue.write_verified(&chunk.bytes()[start..])?;
        }
        rescue.sync()
    }

    /// Keeps the directory until the storing thread is gone.
    fn keep(&self, report: &mut dyn FnMut(UpkeepNews)) {
        self.state.lock().keeping = true;
        // Before each removal: a reader that came meanwhile may need what would go.
        let mut kept_from = |_| Ok(self.held_from.load(Ordering::SeqCst));
        let kept = self.upkeep.run(&self.disk, &mut kept_from, &mut |news| match news {
            UpkeepNews::Room => {
                // With the lock, so that the storing thread does not fall asleep as if there were none.
                drop(self.state.lock());
                self.work.notify_all();
            }
            news => report(news),
        });
        let mut state = self.state.lock();
        state.keeping = false;
        if kept.is_err() {
            // The log is unusable, and the storing thread finds out why.
            self.ring(&mut state);
        }
        drop(state);
        self.durable.notify_all();
    }

    /// Syncs on the side what is written under `OS`, each time when it is much, until the storing thread is gone. Only a
    /// whole segment that is durable has a next one, and the storing thread would wait for all of it, and readers with it.
    fn sync_ahead(&self, memory: &MemoryLog) {
        let mut state = self.state.lock();
        // What is written after a failure is durable for nobody.
        while !state.over && (state.stalled || state.failed.is_none()) {
            if self.is_much_unsynced() {
                state.ahead = true;
                drop(state);
                let synced = self.sync(memory);
                state = self.state.lock();
                state.ahead = false;
                match synced {
                    Ok(_) => {}
                    Err(error) if error.status.is_passing() => {
                        state = self.much.wait(state, Some(clock::instant() + RETRY));
                    }
                    // The log is unusable, and the next write says why.
                    Err(_) => break,
                }
            } else {
                state = self.much.wait(state, None);
            }
        }
        drop(state);
        self.durable.notify_all();
    }

    fn is_much_unsynced(&self) -> bool {
        // A sync on the side may meet a write before this number does.
        self.written().saturating_sub(self.synced.load(Ordering::Relaxed)) >= MUCH_BYTES
    }

    fn store_all(&self, memory: &MemoryLog, report: &mut dyn FnMut(DiskNews)) -> Result<()> {
        let mut turn = Turn {
            schedule: Schedule::new(self.policy, self.disk.begun(), clock::instant()),
            stall: Stall::new(Operation::Write),
            wanted: 0,
            group: Group::default(),
        };
        loop {
            // What failed on the side ends the log although nothing is appended.
            self.disk.check_usable()?;
            if turn.schedule.check_at() <= clock::instant() {
                self.check_identity()?;
                turn.schedule.checked(clock::instant());
            }
            self.gather(&turn.group);
            let closing = self.state.lock().closed;
            let wrote = match self.take_turn(memory, closing, &mut turn) {
                Ok(wrote) => wrote,
                Err(error) if error.status.is_passing() => {
                    self.stall(memory, error, &mut turn, report)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(resumed) = turn.stall.end() {
                self.resume(memory);
                report(resumed);
            }
            if turn.schedule.has_begun(self.disk.begun()) {
                self.upkeep.ring();
                // The segments before it are durable.
                self.confirm(memory, &self.disk.synced())?;
                if self.synced.load(Ordering::Relaxed) >= self.written() {
                    turn.schedule.synced();
                }
            }
            if wrote {
                continue;
            }
            if closing {
                return Ok(());
            }
            let check_at = turn.schedule.check_at();
            self.sleep(turn.schedule.sync_at().map_or(check_at, |sync_at| sync_at.min(check_at)));
        }
    }

    /// Writes what there is, and syncs if it is time to. `false`: there was nothing to write.
    fn take_turn(&self, memory: &MemoryLog, closing: bool, turn: &mut Turn) -> Result<bool> {
        let calls = self.calls.load(Ordering::Relaxed);
        turn.wanted = self.state.lock().wanted;
        let wrote = match self.write_some(memory) {
            Ok(wrote) => wrote,
            Err(error) => {
                // What was written before does not wait for the disk as well: nobody knows for how long.
                let synced = self.synced.load(Ordering::Relaxed);
                let sync_needed = self.policy != SyncPolicy::Os || closing || turn.wanted > synced;
                if error.status.is_passing() && sync_needed && self.written() > synced {
                    self.sync(memory)?;
                    turn.schedule.synced();
                }
                return Err(error);
            }
        };
        if wrote {
            turn.schedule.wrote(clock::instant());
        }
        if self.is_sync_due(&turn.schedule, !wrote && closing) {
            let begun = clock::instant();
            let arrived = self.sync(memory)?;
            let until = Some(clock::instant() + PATIENCE.min(clock::since(begun) / 2));
            let expected = arrived - turn.group.calls;
            turn.schedule.synced();
            turn.group = Group { calls, expected, until };
        }
        Ok(wrote)
    }

    /// The disk refuses for now, also what was wanted up to `turn.wanted`: so do appends, and after a moment it is tried
    /// again. Fails when the log is closed and the time for that is over.
    fn stall(&self, memory: &MemoryLog, error: Error, turn: &mut Turn, report: &mut dyn FnMut(DiskNews)) -> Result<()> {
        if turn.stall.reason() != Some(&error) {
            self.fail(memory, &error, true);
        }
        self.state.lock().refused = turn.wanted;
        self.durable.notify_all();
        if let Some(stalled) = turn.stall.begin(&error) {
            report(stalled);
        }
        // Room may come from retention too.
        self.upkeep.hurry();
        let state = self.state.lock();
        let now = clock::instant();
        match state.until.filter(|_| state.closed) {
            Some(until) if now >= until => {
                drop(state);
                let (first, last) = (self.synced_sequence().saturating_add(1), memory.last_sequence());
                let text = format!("closed, but entries {first} to {last} are not durable: {}", error.message);
                Err(Error::new(error.status, text))
            }
            until => {
                drop(self.work.wait(state, Some(until.map_or(now + RETRY, |until| until.min(now + RETRY)))));
                Ok(())
            }
        }
    }

    /// The disk takes entries again.
    fn resume(&self, memory: &MemoryLog) {
        memory.refuse_with(None);
        let mut state = self.state.lock();
        (state.failed, state.stalled) = (None, false);
        drop(state);
        self.upkeep.relax();
    }

    /// Writes the next stretch of memory. `false`: there is none.
    fn write_some(&self, memory: &MemoryLog) -> Result<bool> {
        let position = self.written();
        if self.appended.end() <= position {
            return Ok(false);
        }
        // What is not written is never given up, so it is there.
        let Some((chunk, start)) = memory.entries_from(position) else { return Ok(false) };
        let wrote = self.disk.write_verified(&chunk.bytes()[start..]);
        // Of what found no room as a whole, the part that went to segments before is there all the same.
        let end = self.disk.written();
        if end.position > position {
            self.written.store(end.position, Ordering::SeqCst);
            if self.policy == SyncPolicy::Os {
                memory.show(&end);
                if self.is_much_unsynced() {
                    // With the lock, so that it does not fall asleep with the old number.
                    drop(self.state.lock());
                    self.much.notify_all();
                }
            }
            memory.passed(end.position);
        }
        wrote.map(|_| true)
    }

    /// Whether what is written is to be synced now; `last`: nothing more will be written.
    fn is_sync_due(&self, schedule: &Schedule, last: bool) -> bool {
        let (written, synced) = (self.written(), self.synced.load(Ordering::Relaxed));
        let wanted = if last { written } else { self.state.lock().wanted };
        let backlog = Backlog {
            bytes: written.saturating_sub(synced),
            wanted: match wanted {
                _ if wanted <= synced => Wanted::Nothing,
                _ if wanted <= written => Wanted::Written,
                _ => Wanted::Unwritten,
            },
            all_written: self.appended.end() <= written,
        };
        schedule.is_sync_due(backlog, clock::instant())
    }

    /// Makes what is written durable. Returns how many appends had come when it was: those that it lets go, and those that
    /// came meanwhile.
    fn sync(&self, memory: &MemoryLog) -> Result<u64> {
        let end = self.disk.sync()?;
        // Before anybody is let go.
        let arrived = self.calls.load(Ordering::Relaxed);
        self.confirm(memory, &end)?;
        Ok(arrived)
    }

    /// What lies before `end` is durable. Fails if another thread has ended the log meanwhile: whoever waited was told so.
    fn confirm(&self, memory: &MemoryLog, end: &Mark) -> Result<()> {
        let state = self.state.lock();
        if let Some(error) = state.failed.as_ref().filter(|_| !state.stalled) {
            return Err(error.clone());
        }
        self.synced.fetch_max(end.position, Ordering::Release);
        self.synced_sequence.fetch_max(end.sequence, Ordering::Release);
        drop(state);
        if self.policy != SyncPolicy::Os {
            memory.show(end);
        }
        self.durable.notify_all();
        Ok(())
    }

    /// Waits a moment for as many appends as came together last time: those whose callers the last sync let go are about to
    /// come back, and a sync for the first of them alone would make the others wait for two.
    fn gather(&self, group: &Group) {
        let Some(until) = group.until.filter(|_| group.expected > 1) else { return };
        let awaited = group.calls + group.expected;
        self.awaited.store(awaited, Ordering::SeqCst);
        let mut state = self.state.lock();
        while self.calls.load(Ordering::SeqCst) < awaited && !state.closed && clock::instant() < until {
            state.gathering = true;
            state = self.work.wait(state, Some(until));
        }
        state.gathering = false;
        self.awaited.store(0, Ordering::Relaxed);
    }

    /// Fails if the directory is the log's no more. What cannot be found out now stands in the way of the next sync.
    fn check_identity(&self) -> Result<()> {
        match self.disk.check_identity() {
            Err(error) if !self.disk.is_usable() => Err(error),
            _ => Ok(()),
        }
    }

    /// Refuses appends and ends waits for durability.
    fn fail(&self, memory: &MemoryLog, error: &Error, stalled: bool) {
        memory.refuse_with(Some(error.clone()));
        let mut state = self.state.lock();
        (state.failed, state.stalled) = (Some(error.clone()), stalled);
        drop(state);
        self.durable.notify_all();
    }

    fn sleep(&self, deadline: Instant) {
        if !self.appended.announce(self.written()) {
            return;
        }
        let mut state = self.state.lock();
        while !state.rung && !state.closed && clock::instant() < deadline {
            state.idle = true;
            state = self.work.wait(state, Some(deadline));
        }
        (state.idle, state.rung) = (false, false);
    }

    /// The boundary behind the entry `sequence`, if it is still there.
    pub(super) fn locate(&self, sequence: u64) -> std::result::Result<Mark, AttachError> {
        match self.disk.locate(sequence).map_err(AttachError::Failed)? {
            Some(mark) => Ok(mark),
            None => match self.disk.written().sequence {
                last if sequence > last => Err(AttachError::Ahead { last }),
                _ => Err(AttachError::Gone { oldest_known: self.disk.oldest().sequence }),
            },
        }
    }

    /// The stored bytes from `position` on that may be shown; `None` when they are gone.
    pub(super) fn stretch(&self, position: u64, shown: u64) -> Result<Option<Stretch>> {
        self.disk.stretch(position, shown)
    }
}

#[cfg(all(test, not(model)))]
mod tests;
