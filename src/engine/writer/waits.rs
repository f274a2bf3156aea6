//! Who waits for which entry to be acknowledged by which quorum: threads that sleep, and calls that hosts ordered.
//!
//! An acknowledgement checks only the waits between the reader's old and new position. `S` is what wakes a sleeping
//! thread and `C` is an ordered call; both are handed back when their wait ends.

use std::collections::HashMap;
use std::time::Instant;

use super::answers::Answers;
use super::quorum::{QuorumCount, Readers, Requirement, Tally};
use super::sorted::Sorted;
use crate::error::{Error, Result, Status};
use crate::protocol::control::{AckLevel, ByLevel, Positions};

/// How many sequences of a level one reader is sent requests for at a time, at most.
pub(crate) const MAX_REQUESTED: usize = 32;

/// From this many on, waits that end together are removed from the lists in one pass: each alone may move half of a
/// list.
pub(crate) const MANY: usize = 64;

/// How a wait ended, or stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// `Ok`: enough readers have the entry. `Timeout`: not in time, or not yet. `Closed`: the sender was stopped
    /// before.
    pub status: Status,
    /// How many readers have it, of whatever group.
    pub readers: usize,
}

/// An ordered call that is due.
pub(crate) struct Call<C> {
    pub(crate) acked: Acked,
    pub(crate) call: C,
}

/// Waits that have ended.
pub(crate) struct Due<S, C> {
    pub(crate) calls: Vec<Call<C>>,
    pub(crate) sleepers: Vec<(S, Acked)>,
}

/// Who waits.
pub(crate) enum Waiter<S, C> {
    Sleeper(S),
    Call { call: C, deadline: Option<Instant> },
}

struct Wait<S, C> {
    requirement: Requirement,
    waiter: Waiter<S, C>,
}

/// Where a wait is listed.
struct Listed {
    number: u64,
    level: AckLevel,
    sequence: u64,
    deadline: Option<Instant>,
}

impl Listed {
    fn new<S, C>(number: u64, wait: &Wait<S, C>) -> Self {
        let deadline = match &wait.waiter {
            Waiter::Sleeper(_) => None,
            Waiter::Call { deadline, .. } => *deadline,
        };
        Self { number, level: wait.requirement.level, sequence: wait.requirement.sequence, deadline }
    }
}

/// The waits that end in one step: what is due, and what is still to be removed from the lists.
struct Ending<S, C> {
    due: Due<S, C>,
    listed: Vec<Listed>,
}

impl<S, C> Ending<S, C> {
    fn new() -> Self {
        Self { due: Due { calls: Vec::new(), sleepers: Vec::new() }, listed: Vec::new() }
    }
}

/// All waits of a sender.
pub(crate) struct Waits<S, C> {
    closed: bool,
    /// The number given last.
    last: u64,
    waits: HashMap<u64, Wait<S, C>>,
    /// Sequence and number of each wait, by level.
    by_sequence: ByLevel<Sorted<(u64, u64)>>,
    /// Deadline and number of each ordered call that has one.
    by_deadline: Sorted<(Instant, u64)>,
    answers: Answers,
}

impl<S, C> Waits<S, C> {
    /// `inherited_from`: see [`is_ours`](super::quorum::is_ours).
    pub(crate) fn new(inherited_from: u64) -> Self {
        Self {
            closed: false,
            last: 0,
            waits: HashMap::new(),
            by_sequence: Default::default(),
            by_deadline: Sorted::default(),
            answers: Answers::new(inherited_from),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The lowest sequence that somebody waits for at a level.
    pub(crate) fn lowest(&self, level: AckLevel) -> Option<u64> {
        self.by_sequence[level].first().map(|(sequence, _)| *sequence)
    }

    /// When the next ordered call expires.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// How many answers were forgotten because there were too many.
    pub(crate) fn forgotten(&self) -> u64 {
        self.answers.forgotten()
    }

    /// What a reader at `positions` is to acknowledge at once, by level, ascending: the lowest sequences that somebody
    /// waits for, the highest one, and `requested`.
    pub(crate) fn requests(&self, positions: Positions, requested: [u64; 3]) -> [Vec<u64>; 3] {
        let requested = ByLevel(requested);
        AckLevel::ALL.map(|level| {
            let position = positions[level];
            let mut requests = Vec::new();
            let mut from = position.saturating_add(1);
            while let Some((sequence, _)) = self.by_sequence[level].from(&(from, 0)).next() {
                requests.push(*sequence);
                if requests.len() == MAX_REQUESTED || *sequence == u64::MAX {
                    break;
                }
                from = sequence + 1;
            }
            let highest = self.by_sequence[level].last().map_or(0, |(sequence, _)| *sequence);
            for highest in [highest, requested[level]] {
                if highest > position && !requests.contains(&highest) {
                    requests.push(highest);
                }
            }
            requests.sort_unstable();
            requests
        })
    }

    /// How many readers meet the requirement. Once it is met, it stays so.
    pub(crate) fn check(&mut self, requirement: &Requirement, readers: &impl Readers) -> QuorumCount {
        self.answers.judge(requirement, readers.check(requirement))
    }

    /// How the wait `number` stands; `None` if it has ended.
    pub(crate) fn check_number(&mut self, number: u64, readers: &impl Readers) -> Option<QuorumCount> {
        let Wait { requirement, .. } = self.waits.get(&number)?;
        Some(self.answers.judge(requirement, readers.check(requirement)))
    }

    /// What the host is told of a wait that stands so.
    pub(crate) fn verdict(&self, reached: QuorumCount) -> Acked {
        let status = match (reached.enough, self.closed) {
            (true, _) => Status::Ok,
            (false, true) => Status::Closed,
            (false, false) => Status::Timeout,
        };
        Acked { status, readers: reached.readers }
    }

    /// Reserves the memory for one more wait at this level.
    pub(crate) fn try_reserve(&mut self, level: AckLevel) -> Result<()> {
        self.waits
            .try_reserve(1)
            .map_err(|_| Error::out_of_memory(format_args!("one more of {} waits", self.waits.len())))?;
        self.by_sequence[level].try_reserve()?;
        self.by_deadline.try_reserve()
    }

    /// Adds a wait and returns its number. The caller publishes [`lowest`](Self::lowest) and only then checks whether
    /// the wait is over already: an acknowledgement that is not counted then will find the wait.
    pub(crate) fn add(&mut self, requirement: Requirement, waiter: Waiter<S, C>) -> u64 {
        self.last += 1;
        self.by_sequence[requirement.level].insert((requirement.sequence, self.last));
        if let Waiter::Call { deadline: Some(deadline), .. } = &waiter {
            self.by_deadline.insert((*deadline, self.last));
        }
        self.waits.insert(self.last, Wait { requirement, waiter });
        self.last
    }

    /// Removes a wait without an answer; `None` if it has ended.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Waiter<S, C>> {
        let wait = self.waits.remove(&number)?;
        self.unlist(&[Listed::new(number, &wait)]);
        Some(wait.waiter)
    }

    /// Ends one wait, unless there is no memory for that.
    pub(crate) fn try_end(&mut self, number: u64, reached: QuorumCount) -> Result<Due<S, C>> {
        let no_memory = |_| Error::out_of_memory(format_args!("a call that is due"));
        let mut ending = Ending::new();
        ending.due.calls.try_reserve(1).map_err(no_memory)?;
        ending.listed.try_reserve(1).map_err(no_memory)?;
        self.end(number, reached, &mut ending);
        Ok(self.finish(ending))
    }

    /// A reader's position at a level moved from `before` to `now`. `None`: nobody waited for that.
    pub(crate) fn advance(
        &mut self,
        level: AckLevel,
        before: u64,
        now: u64,
        readers: &impl Readers,
    ) -> Option<Due<S, C>> {
        let first = (before.saturating_add(1), 0);
        let between = self.by_sequence[level].from(&first).take_while(|(sequence, _)| *sequence <= now);
        let concerned: Vec<_> = between.map(|(_, number)| *number).collect();
        if concerned.is_empty() {
            return None;
        }
        // Who waits alone needs no list of all readers.
        let tally = (concerned.len() > 1).then(|| readers.tally(level));
        let mut ending = Ending::new();
        for number in concerned {
            let Some(Wait { requirement, .. }) = self.waits.get(&number) else { continue };
            let reached = tally.as_ref().map_or_else(
                || readers.check(requirement),
                |tally| tally.check(requirement.sequence, &requirement.quorum),
            );
            let reached = self.answers.judge(requirement, reached);
            if reached.enough {
                self.end(number, reached, &mut ending);
            }
        }
        Some(self.finish(ending))
    }

    /// Ends the ordered calls whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant, readers: &impl Readers) -> Due<S, C> {
        let late: Vec<_> = self.by_deadline.iter().take_while(|(deadline, _)| *deadline <= now).copied().collect();
        self.end_all(late.into_iter().map(|(_, number)| number), readers)
    }

    /// Ends every wait; later ones end at once.
    pub(crate) fn close(&mut self, readers: &impl Readers) -> Due<S, C> {
        self.closed = true;
        let mut numbers: Vec<_> = self.waits.keys().copied().collect();
        numbers.sort_unstable();
        self.end_all(numbers.into_iter(), readers)
    }

    /// Ends these waits as they stand.
    fn end_all(&mut self, numbers: impl Iterator<Item = u64>, readers: &impl Readers) -> Due<S, C> {
        let mut tallies: ByLevel<Option<Tally>> = ByLevel::default();
        let mut ending = Ending::new();
        for number in numbers {
            let Some(Wait { requirement, .. }) = self.waits.get(&number) else { continue };
            let tally = tallies[requirement.level].get_or_insert_with(|| readers.tally(requirement.level));
            let reached = self.answers.judge(requirement, tally.check(requirement.sequence, &requirement.quorum));
            self.end(number, reached, &mut ending);
        }
        self.finish(ending)
    }

    fn end(&mut self, number: u64, reached: QuorumCount, ending: &mut Ending<S, C>) {
        let Some(wait) = self.waits.remove(&number) else { return };
        let acked = self.verdict(reached);
        ending.listed.push(Listed::new(number, &wait));
        match wait.waiter {
            Waiter::Sleeper(sleeper) => ending.due.sleepers.push((sleeper, acked)),
            Waiter::Call { call, .. } => ending.due.calls.push(Call { acked, call }),
        }
    }

    fn finish(&mut self, ending: Ending<S, C>) -> Due<S, C> {
        self.unlist(&ending.listed);
        ending.due
    }

    /// Removes waits that have ended from the lists.
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

    /// How many waits there are, how many are listed at a level, and how many have a deadline.
    #[cfg(all(test, not(feature = "model")))]
    pub(crate) fn sizes(&self, level: AckLevel) -> (usize, usize, usize) {
        (self.waits.len(), self.by_sequence[level].len(), self.by_deadline.len())
    }
}
