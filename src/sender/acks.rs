//! The notice board between connections that take in acknowledgements and hosts that wait for them, by sleeping or by a
//! call that they ordered.
//!
//! An acknowledgement costs a fence and a load for each level as long as nobody waits for what it reaches. Otherwise it
//! takes the lock, and looks at the waits between the reader's old and new position only.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::watermark::Watermark;
use crate::clock;
use crate::engine::writer::quorum::{Reached, Readers, Wish};
use crate::engine::writer::waits::{self, Due, Forgotten, Waiter, Waits};
use crate::error::{Error, Result, Status};
use crate::host::Mailbox;
use crate::protocol::control::{AckLevel, ByLevel, Positions};
use crate::sync::modelled::{AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering};

pub use crate::engine::writer::waits::Acked;

/// A call of the host that was ordered: gets the ticket and the end.
pub type AckedCall = Box<dyn FnOnce(u64, Acked) + Send>;

/// A call that is due.
pub(super) type Call = waits::Call<AckedCall>;

/// What the callback thread has to do besides events.
#[derive(Default)]
pub(super) struct Work {
    /// It is to end.
    pub(super) over: bool,
    /// Calls that are due, the oldest first.
    pub(super) calls: VecDeque<Call>,
    /// When the next ordered call is late.
    pub(super) look_at: Option<Instant>,
}

/// A thread that sleeps, and what wakes it.
#[derive(Default)]
struct Sleeper {
    acked: Mutex<Option<Acked>>,
    changed: Condvar,
}

impl Sleeper {
    fn end(&self, acked: Acked) {
        *self.acked.lock() = Some(acked);
    }

    /// Whether it need not sleep any more.
    fn is_ended(&self) -> bool {
        self.acked.lock().is_some()
    }

    /// After its end.
    fn wake(&self) {
        self.changed.notify_all();
    }

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
    /// When the callback thread looks for calls that are late, as it was told.
    look_at: Option<Instant>,
}

/// The notice board of a sender.
pub(super) struct AckBoard {
    lowest: ByLevel<Watermark>,
    /// The highest sequence that the sender itself wants to hear of, by level.
    asked: ByLevel<AtomicU64>,
    /// Rises with every change of what readers are to be asked for.
    version: AtomicU64,
    /// Calls that were ordered and not made yet.
    ordered: AtomicUsize,
    max_ordered: usize,
    state: Mutex<State>,
    mailbox: Arc<Mailbox<Work>>,
}

impl AckBoard {
    /// A board with at most `max_ordered` outstanding calls, which go to the callback thread through its mailbox.
    /// `inherited_from`: see `quorum::is_ours`.
    pub(super) fn new(mailbox: Arc<Mailbox<Work>>, max_ordered: usize, inherited_from: u64) -> Self {
        Self {
            lowest: Default::default(),
            asked: Default::default(),
            version: AtomicU64::new(0),
            ordered: AtomicUsize::new(0),
            max_ordered,
            state: Mutex::new(State { waits: Waits::new(inherited_from), look_at: None }),
            mailbox,
        }
    }

    /// Has readers asked to acknowledge as soon as they reach `sequence`, which need not exist yet. `true`: that is
    /// new.
    pub(super) fn ask(&self, level: AckLevel, sequence: u64) -> bool {
        let higher = self.asked[level].fetch_max(sequence, Ordering::Relaxed) < sequence;
        if higher {
            self.version.fetch_add(1, Ordering::SeqCst);
        }
        higher
    }

    /// Rises whenever a reader may have to be asked for something else.
    #[inline]
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// What a reader at `positions` is to acknowledge at once, by level, ascending.
    pub(super) fn wanted(&self, positions: Positions) -> [Vec<u64>; 3] {
        let state = self.state.lock();
        let asked = AckLevel::ALL.map(|level| self.asked[level].load(Ordering::Relaxed));
        state.waits.wanted(positions, asked)
    }

    /// A reader's positions have moved from `before` to `now`, where `readers` sees them.
    #[inline]
    pub(super) fn announce(&self, before: Positions, now: Positions, readers: &impl Readers) {
        for level in AckLevel::ALL {
            let (before, now) = (before[level], now[level]);
            if now > before && self.lowest[level].is_at(now) {
                self.advance(level, before, now, readers);
            }
        }
    }

    /// How many readers have what is wished for, without waiting. What is told of that stays so.
    pub(super) fn look(&self, wish: &Wish, readers: &impl Readers) -> Reached {
        self.state.lock().waits.look(wish, readers)
    }

    /// What was forgotten because there was too much.
    pub(super) fn forgotten(&self) -> Forgotten {
        self.state.lock().waits.forgotten()
    }

    #[cold]
    fn advance(&self, level: AckLevel, before: u64, now: u64, readers: &impl Readers) {
        let mut state = self.state.lock();
        let Some(due) = state.waits.advance(level, before, now, readers) else { return };
        if state.waits.lowest(level).is_some() {
            // The next ones may have been left out of what the reader was asked for.
            self.version.fetch_add(1, Ordering::SeqCst);
        }
        self.release(state, due);
    }

    /// Gives the lock back and lets go whoever is due.
    fn release(&self, mut state: MutexGuard<'_, State>, due: Due<Arc<Sleeper>, AckedCall>) {
        self.settle(&mut state, due.calls);
        due.sleepers.iter().for_each(|(sleeper, acked)| sleeper.end(*acked));
        drop(state);
        // Not before: what they do next may need the lock.
        due.sleepers.iter().for_each(|(sleeper, _)| sleeper.wake());
    }

    /// Brings what others see in line with the state, and hands over what is due. With the state's lock, so that no
    /// call comes to the mailbox after the board was closed.
    fn settle(&self, state: &mut State, due: Vec<Call>) {
        for level in AckLevel::ALL {
            self.lowest[level].set(state.waits.lowest(level));
        }
        let look_at = state.waits.next_deadline();
        if due.is_empty() && look_at == state.look_at {
            return;
        }
        state.look_at = look_at;
        let mut content = self.mailbox.lock();
        content.work.look_at = look_at;
        let calls = &mut content.work.calls;
        if calls.is_empty() {
            // Takes no memory, also when the callback thread has taken what was reserved.
            *calls = due.into();
        } else {
            calls.extend(due);
        }
        drop(content);
        self.mailbox.notify();
    }

    /// Takes a wait on. Positions are to be counted after this: whose acknowledgement is not counted then will see it.
    fn add(&self, state: &mut State, wish: Wish, waiter: Waiter<Arc<Sleeper>, AckedCall>) -> u64 {
        let number = state.waits.add(wish, waiter);
        self.settle(state, Vec::new());
        self.version.fetch_add(1, Ordering::SeqCst);
        number
    }

    /// Sleeps until the wish is fulfilled, the time passes or the board is closed. `before` runs when others know of
    /// it, and is told whether it is over already.
    pub(super) fn wait(
        &self,
        wish: Wish,
        timeout: Duration,
        readers: &impl Readers,
        before: impl FnOnce(&dyn Fn() -> bool),
    ) -> Acked {
        let deadline = clock::instant().checked_add(timeout);
        let sleeper = Arc::new(Sleeper::default());
        let mut state = self.state.lock();
        let number = self.add(&mut state, wish.clone(), Waiter::Sleeper(Arc::clone(&sleeper)));
        let reached = state.waits.look(&wish, readers);
        if reached.enough || state.waits.is_closed() || timeout.is_zero() {
            state.waits.remove(number);
            self.settle(&mut state, Vec::new());
            return state.waits.verdict(reached);
        }
        drop(state);
        before(&|| sleeper.is_ended());
        sleeper.sleep(deadline).unwrap_or_else(|| {
            let mut state = self.state.lock();
            let late = state.waits.remove(number).is_some();
            self.settle(&mut state, Vec::new());
            // It may have ended in this very moment.
            let ended = if late { None } else { *sleeper.acked.lock() };
            ended.unwrap_or_else(|| {
                let reached = state.waits.look(&wish, readers);
                state.waits.verdict(reached)
            })
        })
    }

    /// Orders a call for when the wish is fulfilled, the time has passed or the board is closed, and gives its ticket.
    pub(super) fn order(&self, wish: Wish, timeout: Duration, call: AckedCall, readers: &impl Readers) -> Result<u64> {
        let room = |ordered: usize| (ordered < self.max_ordered).then_some(ordered + 1);
        if self.ordered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            let text = format!(
                "{} calls wait for acknowledgements already, which is the bound: let some end, or raise it with sender_config_set_max_pending_acks",
                self.max_ordered
            );
            return Err(Error::new(Status::BufferFull, text));
        }
        self.try_order(wish, timeout, call, readers).inspect_err(|_| {
            self.ordered.fetch_sub(1, Ordering::Relaxed);
        })
    }

    fn try_order(&self, wish: Wish, timeout: Duration, call: AckedCall, readers: &impl Readers) -> Result<u64> {
        let deadline = clock::instant().checked_add(timeout);
        let mut state = self.state.lock();
        if state.waits.is_closed() {
            return Err(Error::new(Status::Closed, "the sender was stopped"));
        }
        state.waits.try_reserve(wish.level)?;
        let number = self.add(&mut state, wish, Waiter::Call { call, deadline });
        let Some(reached) = state.waits.look_at(number, readers) else { return Ok(number) };
        if reached.enough || timeout.is_zero() {
            match self.try_end(&mut state, number, reached) {
                Ok(due) => self.release(state, due),
                Err(error) => {
                    let _waiter = state.waits.remove(number);
                    self.settle(&mut state, Vec::new());
                    // What the host's data is freed with may call the sender.
                    drop(state);
                    return Err(error);
                }
            }
        }
        Ok(number)
    }

    /// Ends one call. There is memory for the way to the callback thread, or it is an error.
    fn try_end(&self, state: &mut State, number: u64, reached: Reached) -> Result<Due<Arc<Sleeper>, AckedCall>> {
        let reserved = self.mailbox.lock().work.calls.try_reserve(1);
        reserved.map_err(|_| Error::out_of_memory(format_args!("a call that is due")))?;
        state.waits.try_end(number, reached)
    }

    /// Ends the ordered calls whose time is over.
    pub(super) fn expire(&self, now: Instant, readers: &impl Readers) {
        let mut state = self.state.lock();
        let due = state.waits.expire(now, readers);
        self.release(state, due);
    }

    /// Makes a call that is due; it no longer counts as outstanding.
    pub(super) fn make(&self, call: Call) {
        self.ordered.fetch_sub(1, Ordering::Relaxed);
        (call.call)(call.ticket, call.acked);
    }

    /// Ends every wait, now and later.
    pub(super) fn close(&self, readers: &impl Readers) {
        let mut state = self.state.lock();
        let due = state.waits.close(readers);
        self.release(state, due);
    }

    /// What became of the call with this ticket; `None` when there is none, or it is too old.
    pub(super) fn ticket(&self, ticket: u64, readers: &impl Readers) -> Option<Acked> {
        self.state.lock().waits.ticket(ticket, readers)
    }
}

#[cfg(all(test, model))]
mod model;
#[cfg(all(test, not(model)))]
mod tests;
