//! The disk side of the log: one more cursor over the log in memory, which writes the entries it passes.
//!
//! One thread writes. Appends continue in memory meanwhile, but may not reuse memory that is not written yet. Readers
//! see entries once the policy calls them safe: written, or synced. So a writer whose process crashes never lacks an entry
//! that a reader has; after a loss of power that holds where readers see what is synced.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::disk::{DiskLog, FileRange};
use super::end_signal::EndSignal;
use super::memory::MemoryLog;
use super::upkeep::{Upkeep, UpkeepNews};
use super::{AttachError, Mark};
use crate::clock;
use crate::engine::disk::{PendingSync, RETRY, SyncPolicy, SyncSchedule, Wanted};
use crate::engine::stall::{DiskNews, Operation, Stall};
use crate::error::{Error, Result};
use crate::sync::{Condvar, Mutex};

mod log;
mod wait;

/// The longest that a sync waits for more appends to share it. It also waits no longer than half of what the previous
/// sync took.
const MAX_GATHER: Duration = Duration::from_millis(1);

/// Unsynced bytes at which [`Storage::sync_ahead`] syncs under [`SyncPolicy::Os`].
const SYNC_AHEAD_BYTES: u64 = 8 << 20;

/// The log's disk side.
pub(super) struct Storage {
    disk: DiskLog,
    policy: SyncPolicy,
    /// The end of the appended entries, at which the storing thread sleeps.
    appended: EndSignal,
    /// The end of the written entries.
    written: AtomicU64,
    /// The end of the entries confirmed as durable, and the last of them. Nothing is confirmed after the log has
    /// failed.
    synced: AtomicU64,
    synced_sequence: AtomicU64,
    /// The position from which on readers need the log, whatever retention says.
    held_from: AtomicU64,
    /// How many appends there were, under [`SyncPolicy::Always`].
    appends: AtomicU64,
    /// The number of appends at which the storing thread, which gathers them, is woken; 0 when it does not.
    awaited: AtomicU64,
    state: Mutex<State>,
    /// Wakes the storing thread.
    work: Condvar,
    /// Wakes callers that wait for entries to be durable, or for the threads to end.
    durable: Condvar,
    /// Wakes the thread that syncs ahead.
    ahead: Condvar,
    upkeep: Upkeep,
}

/// The appends that are to share the next sync.
#[derive(Default)]
struct SyncGroup {
    /// How many appends there were before the turn of the last sync.
    appends: u64,
    /// How many more are likely to come: as many as came for the last sync and during it.
    expected: u64,
    /// When the sync starts without them.
    until: Option<Instant>,
}

/// What the storing thread remembers from turn to turn.
struct Turn {
    schedule: SyncSchedule,
    stall: Stall,
    /// [`State::wanted`] when the turn began.
    wanted: u64,
    group: SyncGroup,
}

/// How far the threads of a log on disk have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All entries are stored, or were given up with an error, and all threads have ended.
    All,
    /// The same, but a thread beside the storing one is still in a system call.
    Stored,
    /// The storing thread is still in a system call.
    Not,
}

#[derive(Default)]
struct State {
    /// The storing thread is to check for work again.
    notified: bool,
    /// The storing thread sleeps and has not been woken.
    idle: bool,
    /// The storing thread waits for appends to share the next sync.
    gathering: bool,
    /// The highest position that a caller waits for to be durable.
    wanted: u64,
    /// Why the disk refuses writes, if it does.
    failed: Option<Error>,
    /// The failure may pass; the disk is tried again.
    stalled: bool,
    /// The disk refused an attempt that was made for everything wanted up to this position.
    refused: u64,
    closed: bool,
    /// When a disk that still refuses is given up, once the log is closed and a caller waits for its end.
    until: Option<Instant>,
    /// The storing thread has ended.
    over: bool,
    /// A sync ahead is under way.
    syncing_ahead: bool,
    /// The thread that does the directory's upkeep runs.
    keeping: bool,
}

impl Storage {
    pub(super) fn new(disk: DiskLog, policy: SyncPolicy) -> Self {
        let Mark { position: end, sequence, .. } = disk.written();
        Self {
            disk,
            policy,
            appended: EndSignal::new(end),
            written: end.into(),
            synced: end.into(),
            synced_sequence: sequence.into(),
            held_from: u64::MAX.into(),
            appends: 0.into(),
            awaited: 0.into(),
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            durable: Condvar::new(),
            ahead: Condvar::new(),
            upkeep: Upkeep::default(),
        }
    }

    pub(super) fn disk(&self) -> &DiskLog {
        &self.disk
    }

    pub(super) fn waits_for_sync(&self) -> bool {
        self.policy == SyncPolicy::Always
    }

    /// The position up to which memory may be reused.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    pub(super) fn hold_from(&self, position: u64) {
        self.held_from.store(position, Ordering::SeqCst);
    }

    /// Called by an append, under its lock, when the log has reached `end`. `true`: the caller must [`Self::wake`] the
    /// storing thread.
    #[inline]
    pub(super) fn appended(&self, end: u64) -> bool {
        // Before the end moves: a storing thread that sees this entry has also counted it.
        let complete = self.waits_for_sync()
            && self.appends.fetch_add(1, Ordering::SeqCst) + 1 == self.awaited.load(Ordering::SeqCst);
        self.appended.advance(end) || complete
    }

    /// Wakes the storing thread if it sleeps, or if it has gathered all the appends it waits for.
    #[cold]
    pub(super) fn wake(&self) {
        let mut state = self.state.lock();
        self.notify(&mut state);
        if state.gathering && self.appends.load(Ordering::SeqCst) >= self.awaited.load(Ordering::SeqCst) {
            state.gathering = false;
            self.work.notify_all();
        }
    }

    /// Has the storing thread check for work again, and wakes it if it sleeps.
    fn notify(&self, state: &mut State) {
        state.notified = true;
        if std::mem::take(&mut state.idle) {
            self.work.notify_all();
        }
    }

    /// Has the storing thread write and sync all entries, and end. If the disk refuses, it keeps trying until the
    /// deadline that [`Self::wait_over`] sets.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_all();
    }

    /// Stores entries until the log is closed or the disk fails.
    pub(super) fn run(&self, memory: &MemoryLog, report: &mut dyn FnMut(DiskNews)) -> Result<()> {
        let ended = self.store_all(memory, report);
        if let Err(error) = &ended {
            self.fail(memory, error, false);
            // Entries accepted before the directory was lost should be found in it. If that fails too, the first error
            // is enough.
            let _ = self.rescue(memory);
            report(DiskNews::Failed(error.clone()));
        }
        self.state.lock().over = true;
        self.durable.notify_all();
        self.ahead.notify_all();
        self.upkeep.close();
        ended
    }

    /// After the log has lost its directory, writes and syncs the entries accepted before. They are neither shown to
    /// readers nor confirmed.
    fn rescue(&self, memory: &MemoryLog) -> Result<()> {
        let Some(rescue) = self.disk.rescue() else { return Ok(()) };
        while let Some((chunk, start)) = memory.entries_from(self.disk.written().position) {
            rescue.write_verified(&chunk.bytes()[start..])?;
        }
        rescue.sync()
    }

    /// Runs the directory's upkeep until the storing thread has ended.
    fn keep(&self, report: &mut dyn FnMut(UpkeepNews)) {
        self.state.lock().keeping = true;
        // Read before each removal: a reader that has connected meanwhile may need the segment. One that connects during
        // the removal is told that its entries are gone.
        let mut kept_from = |_| {
            let held = self.held_from.load(Ordering::SeqCst);
            Ok(if mutant!("trim-past-slots") { u64::MAX } else { held })
        };
        let kept = self.upkeep.run(&self.disk, &mut kept_from, &mut |news| match news {
            UpkeepNews::Room => {
                // Under the lock, so that the storing thread hears it if it waits. If it comes to wait only now, it tries
                // again after `RETRY`.
                drop(self.state.lock());
                self.work.notify_all();
            }
            news => report(news),
        });
        let mut state = self.state.lock();
        state.keeping = false;
        if kept.is_err() {
            // The log is unusable; the storing thread finds the cause.
            self.notify(&mut state);
        }
        drop(state);
        self.durable.notify_all();
    }

    /// Under [`SyncPolicy::Os`], syncs whenever [`SYNC_AHEAD_BYTES`] are unsynced, until the storing thread has ended.
    /// A segment must be durable before the next one begins; without this, the storing thread, and readers with it,
    /// would wait for the sync of a whole segment.
    fn sync_ahead(&self, memory: &MemoryLog) {
        let mut state = self.state.lock();
        // After a failure nothing more is confirmed as durable.
        while !state.over && (state.stalled || state.failed.is_none()) {
            if self.is_sync_ahead_due() {
                state.syncing_ahead = true;
                drop(state);
                let synced = self.sync(memory);
                state = self.state.lock();
                state.syncing_ahead = false;
                match synced {
                    Ok(_) => {}
                    Err(error) if error.status.is_passing() => {
                        state = self.ahead.wait(state, Some(clock::instant() + RETRY));
                    }
                    // The log is unusable; the next write reports the cause.
                    Err(_) => break,
                }
            } else {
                state = self.ahead.wait(state, None);
            }
        }
        drop(state);
        self.durable.notify_all();
    }

    fn is_sync_ahead_due(&self) -> bool {
        // Saturating: a sync ahead may cover a write before `written` says so.
        self.written().saturating_sub(self.synced.load(Ordering::Relaxed)) >= SYNC_AHEAD_BYTES
    }

    fn store_all(&self, memory: &MemoryLog, report: &mut dyn FnMut(DiskNews)) -> Result<()> {
        let mut turn = Turn {
            schedule: SyncSchedule::new(self.policy, self.disk.begun(), clock::instant()),
            stall: Stall::new(Operation::Write),
            wanted: 0,
            group: SyncGroup::default(),
        };
        loop {
            // A failure on another thread ends the log even if nothing is appended.
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
                self.upkeep.notify();
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

    /// Writes the next entries, and syncs if that is due. Returns `false` if there was nothing to write.
    fn take_turn(&self, memory: &MemoryLog, closing: bool, turn: &mut Turn) -> Result<bool> {
        let appends = self.appends.load(Ordering::Relaxed);
        turn.wanted = self.state.lock().wanted;
        let wrote = match self.write_some(memory) {
            Ok(wrote) => wrote,
            Err(error) => {
                if error.status.is_passing() && turn.schedule.is_sync_due_in_stall(self.backlog(closing)) {
                    self.sync(memory)?;
                    turn.schedule.synced();
                }
                return Err(error);
            }
        };
        if wrote {
            turn.schedule.wrote(clock::instant());
        }
        let begun = clock::instant();
        if turn.schedule.is_sync_due(self.backlog(closing && !wrote), begun) {
            let arrived = self.sync(memory)?;
            let until = Some(clock::instant() + MAX_GATHER.min(clock::since(begun) / 2));
            let expected = arrived - turn.group.appends;
            turn.schedule.synced();
            turn.group = SyncGroup { appends, expected, until };
        }
        Ok(wrote)
    }

    /// Handles a disk that refuses for now: refuses appends, and waits until it is time to try again. Fails if the log
    /// is closed and its deadline has passed.
    fn stall(&self, memory: &MemoryLog, error: Error, turn: &mut Turn, report: &mut dyn FnMut(DiskNews)) -> Result<()> {
        if turn.stall.reason() != Some(&error) {
            self.fail(memory, &error, true);
        }
        self.state.lock().refused = turn.wanted;
        self.durable.notify_all();
        if let Some(stalled) = turn.stall.begin(&error) {
            report(stalled);
        }
        // Retention may free space.
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

    /// Accepts appends again, because the disk does.
    fn resume(&self, memory: &MemoryLog) {
        if mutant!("stalled-for-ever") {
            return;
        }
        memory.refuse_with(None);
        let mut state = self.state.lock();
        (state.failed, state.stalled) = (None, false);
        drop(state);
        self.upkeep.relax();
    }

    /// Writes the next entries of one chunk. Returns `false` if there are none.
    fn write_some(&self, memory: &MemoryLog) -> Result<bool> {
        let position = self.written();
        if self.appended.end() <= position {
            return Ok(false);
        }
        // Memory that is not written is never evicted.
        let Some((chunk, start)) = memory.entries_from(position) else { return Ok(false) };
        let wrote = self.disk.write_verified(&chunk.bytes()[start..]);
        // A write that failed may have completed segments before: those entries are written.
        let end = self.disk.written();
        if end.position > position {
            self.written.store(end.position, Ordering::SeqCst);
            if self.policy == SyncPolicy::Os || mutant!("shown-before-sync") {
                memory.show(&end);
                if self.is_sync_ahead_due() {
                    // Under the lock, or the thread could miss this between its check and its wait.
                    drop(self.state.lock());
                    self.ahead.notify_all();
                }
            }
            memory.passed(end.position);
        }
        wrote.map(|_| true)
    }

    /// What a sync would do now. `closing`: everything that is written is wanted.
    fn backlog(&self, closing: bool) -> PendingSync {
        let (written, synced) = (self.written(), self.synced.load(Ordering::Relaxed));
        let wanted = if closing { written } else { self.state.lock().wanted };
        PendingSync {
            bytes: written.saturating_sub(synced),
            wanted: match wanted {
                _ if wanted <= synced => Wanted::Nothing,
                _ if wanted <= written => Wanted::Written,
                _ => Wanted::Unwritten,
            },
            all_written: self.appended.end() <= written,
        }
    }

    /// Syncs what is written. Returns the number of appends by the end of the sync: those that it releases, and those
    /// made meanwhile.
    fn sync(&self, memory: &MemoryLog) -> Result<u64> {
        let end = self.disk.sync()?;
        // Counted before any of their callers is released and can append again.
        let arrived = self.appends.load(Ordering::Relaxed);
        self.confirm(memory, &end)?;
        Ok(arrived)
    }

    /// Confirms that the entries before `end` are durable. Fails if the log has failed meanwhile, because waiting
    /// callers have got an error then.
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

    /// Group commit: waits a moment for as many appends as came together last time. The callers that the last sync
    /// released are about to append again; a sync for the first of them alone would make the others wait for two.
    fn gather(&self, group: &SyncGroup) {
        let Some(until) = group.until.filter(|_| group.expected > 1) else { return };
        let awaited = group.appends + group.expected;
        self.awaited.store(awaited, Ordering::SeqCst);
        let mut state = self.state.lock();
        while self.appends.load(Ordering::SeqCst) < awaited && !state.closed && clock::instant() < until {
            state.gathering = true;
            state = self.work.wait(state, Some(until));
        }
        state.gathering = false;
        self.awaited.store(0, Ordering::Relaxed);
    }

    /// Fails if the directory is no longer the log's. A check that cannot be made now is made again before the next
    /// sync.
    fn check_identity(&self) -> Result<()> {
        match self.disk.check_identity() {
            Err(error) if !self.disk.is_usable() => Err(error),
            _ => Ok(()),
        }
    }

    /// Refuses appends, and wakes the callers that wait for entries to be durable.
    fn fail(&self, memory: &MemoryLog, error: &Error, stalled: bool) {
        memory.refuse_with(Some(error.clone()));
        let mut state = self.state.lock();
        (state.failed, state.stalled) = (Some(error.clone()), stalled);
        drop(state);
        self.durable.notify_all();
    }

    /// Sleeps until there are new entries, another thread notifies, or the deadline passes.
    fn sleep(&self, deadline: Instant) {
        if !self.appended.announce(self.written()) {
            return;
        }
        let mut state = self.state.lock();
        while !state.notified && !state.closed && clock::instant() < deadline {
            state.idle = true;
            state = self.work.wait(state, Some(deadline));
        }
        (state.idle, state.notified) = (false, false);
    }

    /// The boundary after the entry `sequence`, if it is still there.
    pub(super) fn locate(&self, sequence: u64) -> std::result::Result<Mark, AttachError> {
        match self.disk.locate(sequence).map_err(AttachError::Failed)? {
            Some(mark) => Ok(mark),
            None => match self.disk.written().sequence {
                last if sequence > last => Err(AttachError::Ahead { last }),
                _ => Err(AttachError::Gone { oldest_known: self.disk.oldest().sequence }),
            },
        }
    }

    /// The contiguous entries on disk from `position` to `shown`, or the first of them; `None` if they are gone.
    pub(super) fn file_range(&self, position: u64, shown: u64) -> Result<Option<FileRange>> {
        self.disk.file_range(position, shown)
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests;
