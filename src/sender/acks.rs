//! Hosts that wait for acknowledgements, by sleeping or by a call that they ordered, and what they wait for.
//!
//! An acknowledgement costs a fence and a load for each level as long as nobody waits for what it reaches. Otherwise it
//! takes the lock, and looks at the waits between the reader's old and new position only.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::engine::writer::answers::Answers;
use crate::engine::writer::quorum::{Reached, Readers, Tally, Wish};
use crate::engine::writer::sorted::Sorted;
use crate::engine::writer::tickets::Tickets;
use super::watermark::Watermark;
use crate::clock;
use crate::error::{Error, Result, Status};
use crate::host::Mailbox;
use crate::protocol::control::{AckLevel, ByLevel, Positions};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The sequences that one reader is asked for at a time, by level, at most.
const MAX_ASKED: usize = 32;

/// From so many on, waits that end together are taken from the lists in one go: each alone may move half of a list.
const MANY: usize = 64;

/// How a wait ended, or stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// `Ok`: enough readers have the entry. `Timeout`: not in time, or not yet. `Closed`: the sender was stopped before.
    pub status: Status,
    /// How many readers have it, of whatever group.
    pub readers: usize,
}

/// A call of the host that was ordered: gets the ticket and the end.
pub type AckedCall = Box<dyn FnOnce(u64, Acked) + Send>;

/// How much of what hosts may ask for again was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    pub(super) tickets: u64,
    pub(super) answers: u64,
}

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

/// A call that is due.
pub(super) struct Call {
    ticket: u64,
    acked: Acked,
    call: AckedCall,
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

/// Waits that have ended, and whose hosts do not know yet.
#[derive(Default)]
struct Due {
    calls: Vec<Call>,
    sleepers: Vec<Arc<Sleeper>>,
    /// They are listed still.
    listed: Vec<Listed>,
}

enum Waiter {
    Sleeper(Arc<Sleeper>),
    Call { call: AckedCall, deadline: Option<Instant> },
}

struct Wait {
    wish: Wish,
    waiter: Waiter,
}

/// Where a wait is listed.
struct Listed {
    number: u64,
    level: AckLevel,
    sequence: u64,
    deadline: Option<Instant>,
}

impl Listed {
    fn new(number: u64, wait: &Wait) -> Self {
        let deadline = match &wait.waiter {
            Waiter::Sleeper(_) => None,
            Waiter::Call { deadline, .. } => *deadline,
        };
        Self { number, level: wait.wish.level, sequence: wait.wish.sequence, deadline }
    }
}

struct State {
    closed: bool,
    /// The number given last.
    last: u64,
    waits: HashMap<u64, Wait>,
    /// Sequence and number of each wait, by level.
    by_sequence: ByLevel<Sorted<(u64, u64)>>,
    /// Deadline and number of each ordered call that has one.
    by_deadline: Sorted<(Instant, u64)>,
    /// What the callback thread knows of them.
    look_at: Option<Instant>,
    tickets: Tickets,
    answers: Answers,
}

impl State {
    fn new(inherited_from: u64) -> Self {
        Self {
            closed: false,
            last: 0,
            waits: HashMap::new(),
            by_sequence: Default::default(),
            by_deadline: Sorted::default(),
            look_at: None,
            tickets: Tickets::default(),
            answers: Answers::new(inherited_from),
        }
    }

    /// After this the next wait at this level can be added without more memory.
    fn try_reserve(&mut self, level: AckLevel) -> Result<()> {
        self.waits
            .try_reserve(1)
            .map_err(|_| Error::out_of_memory(format_args!("one more of {} waits", self.waits.len())))?;
        self.by_sequence[level].try_reserve()?;
        self.by_deadline.try_reserve()
    }

    fn add(&mut self, wish: Wish, waiter: Waiter) -> u64 {
        self.last += 1;
        self.by_sequence[wish.level].insert((wish.sequence, self.last));
        if let Waiter::Call { deadline: Some(deadline), .. } = &waiter {
            self.by_deadline.insert((*deadline, self.last));
        }
        self.waits.insert(self.last, Wait { wish, waiter });
        self.last
    }

    fn take(&mut self, number: u64) -> Option<Wait> {
        let wait = self.waits.remove(&number)?;
        self.unlist(&[Listed::new(number, &wait)]);
        Some(wait)
    }

    /// Takes waits that have ended from the lists.
    fn unlist(&mut self, ended: &[Listed]) {
        if ended.len() >= MANY {
            let waits = &self.waits;
            self.by_sequence.0.iter_mut().for_each(|list| list.retain(|(_, number)| waits.contains_key(number)));
            self.by_deadline.retain(|(_, number)| waits.contains_key(number));
            return;
        }
        for Listed { number, level, sequence, deadline } in ended {
            self.by_sequence[*level].remove(&(*sequence, *number));
            if let Some(deadline) = deadline {
                self.by_deadline.remove(&(*deadline, *number));
            }
        }
    }
}

/// The notice board between connections that take in acknowledgements and hosts that wait for them.
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

fn verdict(reached: Reached, closed: bool) -> Acked {
    let status = match (reached.enough, closed) {
        (true, _) => Status::Ok,
        (false, true) => Status::Closed,
        (false, false) => Status::Timeout,
    };
    Acked { status, readers: reached.readers }
}

impl AckBoard {
    /// A board with at most `max_ordered` outstanding calls, which go to the callback thread through its mailbox.
    /// `inherited_from`: see `core::beginning`.
    pub(super) fn new(mailbox: Arc<Mailbox<Work>>, max_ordered: usize, inherited_from: u64) -> Self {
        Self {
            lowest: Default::default(),
            asked: Default::default(),
            version: AtomicU64::new(0),
            ordered: AtomicUsize::new(0),
            max_ordered,
            state: Mutex::new(State::new(inherited_from)),
            mailbox,
        }
    }

    /// Has readers asked to tell as soon as they reach `sequence`, which need not exist yet. `true`: that is new.
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

    /// What a reader that is at `positions` is to tell of at once, by level, ascending: the lowest sequences that
    /// somebody waits for, and the highest one.
    pub(super) fn wanted(&self, positions: Positions) -> [Vec<u64>; 3] {
        let state = self.state.lock();
        AckLevel::ALL.map(|level| {
            let position = positions[level];
            let mut wanted = Vec::new();
            let mut from = position.saturating_add(1);
            while let Some((sequence, _)) = state.by_sequence[level].from(&(from, 0)).next() {
                wanted.push(*sequence);
                if wanted.len() == MAX_ASKED || *sequence == u64::MAX {
                    break;
                }
                from = sequence + 1;
            }
            let highest = state.by_sequence[level].last().map_or(0, |(sequence, _)| *sequence);
            for highest in [highest, self.asked[level].load(Ordering::Relaxed)] {
                if highest > position && !wanted.contains(&highest) {
                    wanted.push(highest);
                }
            }
            wanted.sort_unstable();
            wanted
        })
    }

    /// Tells that a reader's positions have moved from `before` to `now`, where `readers` sees them.
    #[inline]
    pub(super) fn announce(&self, before: Positions, now: Positions, readers: &impl Readers) {
        for level in AckLevel::ALL {
            let (before, now) = (before[level], now[level]);
            if now > before && self.lowest[level].is_at(now) {
                self.resolve(level, before, now, readers);
            }
        }
    }

    /// How many readers have what is wished for, without waiting. What is told of that stays so.
    pub(super) fn look(&self, wish: &Wish, readers: &impl Readers) -> Reached {
        self.state.lock().answers.judge(wish, readers.look(wish))
    }

    /// What was forgotten because there was too much.
    pub(super) fn forgotten(&self) -> Forgotten {
        let state = self.state.lock();
        Forgotten { tickets: state.tickets.forgotten(), answers: state.answers.forgotten() }
    }

    #[cold]
    fn resolve(&self, level: AckLevel, before: u64, now: u64, readers: &impl Readers) {
        let mut state = self.state.lock();
        let first = (before.saturating_add(1), 0);
        let between = state.by_sequence[level].from(&first).take_while(|(sequence, _)| *sequence <= now);
        let concerned: Vec<_> = between.map(|(_, number)| *number).collect();
        if concerned.is_empty() {
            return;
        }
        // Who waits alone needs no list of all readers.
        let tally = (concerned.len() > 1).then(|| readers.tally(level));
        let mut due = Due::default();
        for number in concerned {
            let State { waits, answers, .. } = &mut *state;
            let Some(Wait { wish, .. }) = waits.get(&number) else { continue };
            let reached =
                tally.as_ref().map_or_else(|| readers.look(wish), |tally| tally.look(wish.sequence, &wish.quorum));
            let reached = answers.judge(wish, reached);
            if reached.enough {
                Self::end(&mut state, number, verdict(reached, false), &mut due);
            }
        }
        state.unlist(&std::mem::take(&mut due.listed));
        if !state.by_sequence[level].is_empty() {
            // The next ones may have been left out of what the reader was asked for.
            self.version.fetch_add(1, Ordering::SeqCst);
        }
        self.release(state, due);
    }

    /// Ends a wait and leaves it among those that are `due`.
    fn end(state: &mut State, number: u64, acked: Acked, due: &mut Due) {
        let Some(wait) = state.waits.remove(&number) else { return };
        due.listed.push(Listed::new(number, &wait));
        let Wait { wish, waiter } = wait;
        match waiter {
            Waiter::Sleeper(sleeper) => {
                sleeper.end(acked);
                due.sleepers.push(sleeper);
            }
            Waiter::Call { call, .. } => {
                let enough = (acked.status == Status::Ok).then_some(acked.readers);
                state.tickets.keep(number, wish, enough);
                due.calls.push(Call { ticket: number, acked, call });
            }
        }
    }

    /// Gives the lock back and lets go whoever is due.
    fn release(&self, mut state: MutexGuard<'_, State>, due: Due) {
        state.unlist(&due.listed);
        self.settle(&mut state, due.calls);
        drop(state);
        // Not before: what they do next may need the lock.
        due.sleepers.iter().for_each(|sleeper| sleeper.wake());
    }

    /// Brings what others see in line with the state, and hands over what is due. With the state's lock, so that no call
    /// comes to the mailbox after the board was closed.
    fn settle(&self, state: &mut State, due: Vec<Call>) {
        for (lowest, waits) in self.lowest.0.iter().zip(&state.by_sequence.0) {
            lowest.set(waits.first().map(|(sequence, _)| *sequence));
        }
        let look_at = state.by_deadline.first().map(|(deadline, _)| *deadline);
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
    fn add(&self, state: &mut State, wish: Wish, waiter: Waiter) -> u64 {
        let number = state.add(wish, waiter);
        self.settle(state, Vec::new());
        self.version.fetch_add(1, Ordering::SeqCst);
        number
    }

    /// Sleeps until the wish is fulfilled, the time passes or the board is closed. `before` runs when others know of it,
    /// and is told whether it is over already.
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
        let reached = state.answers.judge(&wish, readers.look(&wish));
        let closed = state.closed;
        if reached.enough || closed || timeout.is_zero() {
            state.take(number);
            self.settle(&mut state, Vec::new());
            return verdict(reached, closed);
        }
        drop(state);
        before(&|| sleeper.is_ended());
        sleeper.sleep(deadline).unwrap_or_else(|| {
            let mut state = self.state.lock();
            let late = state.take(number).is_some();
            self.settle(&mut state, Vec::new());
            // It may have been resolved in this very moment.
            let resolved = if late { None } else { *sleeper.acked.lock() };
            resolved.unwrap_or_else(|| {
                let reached = state.answers.judge(&wish, readers.look(&wish));
                verdict(reached, false)
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
        let deadline = clock::instant().checked_add(timeout);
        let mut state = self.state.lock();
        if state.closed {
            self.ordered.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::new(Status::Closed, "the sender was stopped"));
        }
        if let Err(error) = state.try_reserve(wish.level) {
            self.ordered.fetch_sub(1, Ordering::Relaxed);
            return Err(error);
        }
        let number = self.add(&mut state, wish, Waiter::Call { call, deadline });
        let State { waits, answers, .. } = &mut *state;
        let Some(Wait { wish, .. }) = waits.get(&number) else { return Ok(number) };
        let reached = answers.judge(wish, readers.look(wish));
        if reached.enough || timeout.is_zero() {
            let mut due = Due::default();
            if let Err(error) = self.try_reserve_end(&mut state, &mut due) {
                let _wait = state.take(number);
                self.settle(&mut state, Vec::new());
                // What the host's data is freed with may call the sender.
                drop(state);
                self.ordered.fetch_sub(1, Ordering::Relaxed);
                return Err(error);
            }
            Self::end(&mut state, number, verdict(reached, false), &mut due);
            self.release(state, due);
        }
        Ok(number)
    }

    /// After this the end of one call takes no more memory.
    fn try_reserve_end(&self, state: &mut State, due: &mut Due) -> Result<()> {
        let no_memory = |_| Error::out_of_memory(format_args!("a call that is due"));
        due.calls.try_reserve(1).map_err(no_memory)?;
        due.listed.try_reserve(1).map_err(no_memory)?;
        self.mailbox.lock().work.calls.try_reserve(1).map_err(no_memory)?;
        state.tickets.try_reserve()
    }

    /// Ends the ordered calls whose time is over.
    pub(super) fn expire(&self, now: Instant, readers: &impl Readers) {
        let mut state = self.state.lock();
        let mut tallies: ByLevel<Option<Tally>> = ByLevel::default();
        let mut due = Due::default();
        let late: Vec<_> = state.by_deadline.iter().take_while(|(deadline, _)| *deadline <= now).copied().collect();
        for (_, number) in late {
            let State { waits, answers, .. } = &mut *state;
            let Some(Wait { wish, .. }) = waits.get(&number) else { continue };
            let tally = tallies[wish.level].get_or_insert_with(|| readers.tally(wish.level));
            let reached = answers.judge(wish, tally.look(wish.sequence, &wish.quorum));
            Self::end(&mut state, number, verdict(reached, false), &mut due);
        }
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
        state.closed = true;
        let tallies = ByLevel(AckLevel::ALL.map(|level| readers.tally(level)));
        let mut numbers: Vec<_> = state.waits.keys().copied().collect();
        numbers.sort_unstable();
        let mut due = Due::default();
        for number in numbers {
            let State { waits, answers, .. } = &mut *state;
            let Some(Wait { wish, .. }) = waits.get(&number) else { continue };
            let reached = tallies[wish.level].look(wish.sequence, &wish.quorum);
            let reached = answers.judge(wish, reached);
            Self::end(&mut state, number, verdict(reached, true), &mut due);
        }
        self.release(state, due);
    }

    /// What became of the call with this ticket; `None` when there is none, or it is too old.
    pub(super) fn ticket(&self, ticket: u64, readers: &impl Readers) -> Option<Acked> {
        let mut state = self.state.lock();
        let State { closed, waits, tickets, answers, .. } = &mut *state;
        let closed = *closed;
        if let Some(Wait { wish, waiter: Waiter::Call { .. } }) = waits.get(&ticket) {
            let reached = answers.judge(wish, readers.look(wish));
            return Some(verdict(reached, closed));
        }
        let (readers, enough) = tickets.look(ticket, |wish| answers.judge(wish, readers.look(wish)))?;
        let reached = Reached { readers, enough };
        Some(verdict(reached, closed))
    }
}

#[cfg(all(test, not(model)))]
mod tests;
