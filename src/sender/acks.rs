//! Hosts that wait for acknowledgements, either as a sleeping thread or by an ordered call.
//!
//! An acknowledgement costs a fence and a load per level while nobody waits for a position that it reaches. Otherwise
//! it takes the lock and checks only the waits between the reader's old and new positions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::authorizer::AccessRequest;
use super::lowest_awaited::LowestAwaited;
use crate::clock;
use crate::engine::writer::quorum::{QuorumCount, Readers, Requirement};
use crate::engine::writer::waits::{self, Due, Waiter, Waits};
use crate::error::{Error, Result, Status};
use crate::host::Mailbox;
use crate::protocol::control::{AckLevel, ByLevel, Positions};
use crate::sync::modelled::{AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering};

pub use crate::engine::writer::waits::Acked;

/// A call that a host ordered. It is given the outcome.
pub type AckedCall = Box<dyn FnOnce(Acked) + Send>;

/// A call that is due.
pub(super) type Call = waits::Call<AckedCall>;

/// The work of the callback thread besides events.
#[derive(Default)]
pub(super) struct Work {
    /// The thread is to end.
    pub(super) over: bool,
    /// Calls that are due, oldest first.
    pub(super) calls: VecDeque<Call>,
    /// Connections about which the host is to decide, oldest first.
    pub(super) requests: VecDeque<AccessRequest>,
    /// The deadline of the ordered call that times out next.
    pub(super) next_deadline: Option<Instant>,
}

/// A sleeping thread, and the outcome that wakes it.
#[derive(Default)]
struct Sleeper {
    acked: Mutex<Option<Acked>>,
    changed: Condvar,
}

impl Sleeper {
    /// Sets the outcome.
    fn end(&self, acked: Acked) {
        *self.acked.lock() = Some(acked);
    }

    /// Whether there is an outcome.
    fn is_ended(&self) -> bool {
        self.acked.lock().is_some()
    }

    /// Wakes the thread. Called after [`Self::end`].
    fn wake(&self) {
        self.changed.notify_all();
    }

    /// Sleeps until there is an outcome. Returns `None` if the deadline passes first.
    fn sleep(&self, deadline: Option<Instant>) -> Option<Acked> {
        let mut acked = self.acked.lock();
        while acked.is_none() && deadline.is_none_or(|deadline| clock::instant() < deadline) {
            acked = self.changed.wait(acked, deadline);
        }
        *acked
    }
}

struct State {
    waits: Waits<Arc<Sleeper>, AckedCall>,
    /// The deadline that the callback thread was given last.
    next_deadline: Option<Instant>,
}

/// The hosts that wait for acknowledgements.
pub(super) struct AckWaiters {
    lowest: ByLevel<LowestAwaited>,
    /// The highest sequence that the sender itself requests, by level.
    requested: ByLevel<AtomicU64>,
    /// Rises whenever readers may have to be sent other requests.
    version: AtomicU64,
    /// How many calls were ordered and not made yet.
    ordered: AtomicUsize,
    max_ordered: AtomicUsize,
    state: Mutex<State>,
    mailbox: Arc<Mailbox<Work>>,
}

impl AckWaiters {
    /// At most `max_ordered` calls are outstanding. They go to the callback thread through its mailbox.
    /// `inherited_from`: see `quorum::is_ours`.
    pub(super) fn new(mailbox: Arc<Mailbox<Work>>, max_ordered: usize, inherited_from: u64) -> Self {
        Self {
            lowest: Default::default(),
            requested: Default::default(),
            version: AtomicU64::new(0),
            ordered: AtomicUsize::new(0),
            max_ordered: AtomicUsize::new(max_ordered),
            state: Mutex::new(State { waits: Waits::new(inherited_from), next_deadline: None }),
            mailbox,
        }
    }

    /// So many calls may be outstanding from now on.
    pub(super) fn set_max_ordered(&self, calls: usize) {
        self.max_ordered.store(calls, Ordering::Relaxed);
    }

    /// Requests acknowledgements as soon as readers reach `sequence`, which need not exist yet. Returns `false` if a
    /// request covers this already.
    pub(super) fn request(&self, level: AckLevel, sequence: u64) -> bool {
        let higher = self.requested[level].fetch_max(sequence, Ordering::Relaxed) < sequence;
        if higher {
            self.version.fetch_add(1, Ordering::SeqCst);
        }
        higher
    }

    /// Rises whenever readers may have to be sent other requests.
    #[inline]
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// The sequences to request of a reader at `positions`, by level, in ascending order.
    pub(super) fn requests(&self, positions: Positions) -> [Vec<u64>; 3] {
        let state = self.state.lock();
        let requested = AckLevel::ALL.map(|level| self.requested[level].load(Ordering::Relaxed));
        state.waits.requests(positions, requested)
    }

    /// A reader's positions moved from `before` to `now`, and `readers` counts the new ones.
    #[inline]
    pub(super) fn announce(&self, before: Positions, now: Positions, readers: &impl Readers) {
        for level in AckLevel::ALL {
            let (before, now) = (before[level], now[level]);
            if now > before && self.lowest[level].is_at(now) {
                self.advance(level, before, now, readers);
            }
        }
    }

    /// How many readers meet the requirement, without waiting. Once it is met, it stays so.
    pub(super) fn check(&self, requirement: &Requirement, readers: &impl Readers) -> QuorumCount {
        self.state.lock().waits.check(requirement, readers)
    }

    /// How many answers were forgotten because there were too many.
    pub(super) fn forgotten(&self) -> u64 {
        self.state.lock().waits.forgotten()
    }

    #[cold]
    fn advance(&self, level: AckLevel, before: u64, now: u64, readers: &impl Readers) {
        let mut state = self.state.lock();
        let Some(due) = state.waits.advance(level, before, now, readers) else { return };
        if state.waits.lowest(level).is_some() {
            // The next waits may not have been requested of the reader yet.
            self.version.fetch_add(1, Ordering::SeqCst);
        }
        self.release(state, due);
    }

    /// Releases the lock and ends the waits that are due.
    fn release(&self, mut state: MutexGuard<'_, State>, due: Due<Arc<Sleeper>, AckedCall>) {
        self.publish(&mut state, due.calls);
        due.sleepers.iter().for_each(|(sleeper, acked)| sleeper.end(*acked));
        drop(state);
        // Without the lock, which they may need next.
        due.sleepers.iter().for_each(|(sleeper, _)| sleeper.wake());
    }

    /// Publishes the lowest awaited sequences and the next deadline, and hands the calls that are due to the callback
    /// thread. The caller holds the state's lock, so that no call reaches the mailbox after the end.
    fn publish(&self, state: &mut State, due: Vec<Call>) {
        for level in AckLevel::ALL {
            self.lowest[level].set(state.waits.lowest(level));
        }
        let next_deadline = state.waits.next_deadline();
        if due.is_empty() && next_deadline == state.next_deadline {
            return;
        }
        state.next_deadline = next_deadline;
        let mut content = self.mailbox.lock();
        content.work.next_deadline = next_deadline;
        let calls = &mut content.work.calls;
        if calls.is_empty() {
            // This needs no memory, even if the callback thread has taken what was reserved.
            *calls = due.into();
        } else {
            calls.extend(due);
        }
        drop(content);
        self.mailbox.notify();
    }

    /// Adds a wait. The caller counts positions after this: an acknowledgement that it misses finds the wait.
    fn add(&self, state: &mut State, requirement: Requirement, waiter: Waiter<Arc<Sleeper>, AckedCall>) -> u64 {
        let number = state.waits.add(requirement, waiter);
        self.publish(state, Vec::new());
        self.version.fetch_add(1, Ordering::SeqCst);
        number
    }

    /// Sleeps until the requirement is met, the time passes or the sender stops. `before` runs once the wait is added;
    /// its argument returns whether the wait is over.
    pub(super) fn wait(
        &self,
        requirement: Requirement,
        timeout: Duration,
        readers: &impl Readers,
        before: impl FnOnce(&dyn Fn() -> bool),
    ) -> Acked {
        let deadline = clock::instant().checked_add(timeout);
        let sleeper = Arc::new(Sleeper::default());
        let mut state = self.state.lock();
        let number = self.add(&mut state, requirement.clone(), Waiter::Sleeper(Arc::clone(&sleeper)));
        let reached = state.waits.check(&requirement, readers);
        if reached.enough || state.waits.is_closed() || timeout.is_zero() {
            state.waits.remove(number);
            self.publish(&mut state, Vec::new());
            return state.waits.verdict(reached);
        }
        drop(state);
        before(&|| sleeper.is_ended());
        sleeper.sleep(deadline).unwrap_or_else(|| {
            let mut state = self.state.lock();
            let late = state.waits.remove(number).is_some();
            self.publish(&mut state, Vec::new());
            // It may have ended just now.
            let ended = if late { None } else { *sleeper.acked.lock() };
            ended.unwrap_or_else(|| {
                let reached = state.waits.check(&requirement, readers);
                state.waits.verdict(reached)
            })
        })
    }

    /// Orders a call for when the requirement is met, the time passes or the sender stops.
    pub(super) fn order(
        &self,
        requirement: Requirement,
        timeout: Duration,
        call: AckedCall,
        readers: &impl Readers,
    ) -> Result<()> {
        let most = self.max_ordered.load(Ordering::Relaxed);
        let room = |ordered: usize| (ordered < most).then_some(ordered + 1);
        if self.ordered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            let text = format!(
                "{most} calls wait for acknowledgements already, which is the bound: let some end, or raise max_pending_acks"
            );
            return Err(Error::new(Status::BufferFull, text));
        }
        self.try_order(requirement, timeout, call, readers).inspect_err(|_| {
            self.ordered.fetch_sub(1, Ordering::Relaxed);
        })
    }

    fn try_order(
        &self,
        requirement: Requirement,
        timeout: Duration,
        call: AckedCall,
        readers: &impl Readers,
    ) -> Result<()> {
        let deadline = clock::instant().checked_add(timeout);
        let mut state = self.state.lock();
        if state.waits.is_closed() {
            return Err(Error::new(Status::Closed, "the sender was stopped"));
        }
        state.waits.try_reserve(requirement.level)?;
        let number = self.add(&mut state, requirement, Waiter::Call { call, deadline });
        let Some(reached) = state.waits.check_number(number, readers) else { return Ok(()) };
        if reached.enough || timeout.is_zero() {
            match self.try_end(&mut state, number, reached) {
                Ok(due) => self.release(state, due),
                Err(error) => {
                    let _waiter = state.waits.remove(number);
                    self.publish(&mut state, Vec::new());
                    // Dropping the waiter frees the host's data, which may call the sender.
                    drop(state);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Ends one call. Fails without memory for the way to the callback thread.
    fn try_end(&self, state: &mut State, number: u64, reached: QuorumCount) -> Result<Due<Arc<Sleeper>, AckedCall>> {
        let reserved = self.mailbox.lock().work.calls.try_reserve(1);
        reserved.map_err(|_| Error::out_of_memory(format_args!("a call that is due")))?;
        state.waits.try_end(number, reached)
    }

    /// Ends the ordered calls whose time has passed.
    pub(super) fn expire(&self, now: Instant, readers: &impl Readers) {
        let mut state = self.state.lock();
        let due = state.waits.expire(now, readers);
        self.release(state, due);
    }

    /// Makes a call that is due. It no longer counts as outstanding.
    pub(super) fn make(&self, call: Call) {
        self.ordered.fetch_sub(1, Ordering::Relaxed);
        (call.call)(call.acked);
    }

    /// Ends all waits, present and future.
    pub(super) fn close(&self, readers: &impl Readers) {
        let mut state = self.state.lock();
        let due = state.waits.close(readers);
        self.release(state, due);
    }
}

#[cfg(all(test, feature = "model"))]
mod model;
#[cfg(all(test, not(feature = "model")))]
mod tests;
