//! What became of calls that were ordered: kept for a host that asks later, up to a bound.

use std::collections::{HashMap, VecDeque};

use super::quorum::{QuorumCount, Requirement};
use crate::error::{Error, Result};

/// Tickets of resolved calls that are remembered, at most; the oldest are forgotten first.
pub const TICKETS_KEPT: usize = 65_536;

struct Ticket {
    requirement: Requirement,
    /// Readers that had the entry when there were enough; `None`: never seen to be enough.
    enough: Option<usize>,
}

/// Tickets of calls that were resolved.
#[derive(Default)]
pub(crate) struct Tickets {
    tickets: HashMap<u64, Ticket>,
    /// Their numbers, in the order in which they were resolved.
    resolved: VecDeque<u64>,
    /// How many were forgotten because there were too many.
    forgotten: u64,
}

impl Tickets {
    /// After this the next one can be kept without more memory.
    pub(crate) fn try_reserve(&mut self) -> Result<()> {
        let no_memory = |_| Error::out_of_memory(format_args!("a ticket"));
        self.tickets.try_reserve(1).map_err(no_memory)?;
        self.resolved.try_reserve(1).map_err(no_memory)
    }

    pub(crate) fn keep(&mut self, number: u64, requirement: Requirement, enough: Option<usize>) {
        if self.resolved.len() == TICKETS_KEPT {
            self.resolved.pop_front().and_then(|oldest| self.tickets.remove(&oldest));
            self.forgotten += 1;
        }
        self.tickets.insert(number, Ticket { requirement, enough });
        self.resolved.push_back(number);
    }

    /// How many were forgotten because there were too many.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Readers that have the entry, and whether there were or are enough. Once there were, it stays so.
    pub(crate) fn check(
        &mut self,
        number: u64,
        count: impl FnOnce(&Requirement) -> QuorumCount,
    ) -> Option<(usize, bool)> {
        let ticket = self.tickets.get_mut(&number)?;
        let now = count(&ticket.requirement);
        if now.enough || ticket.enough.is_some() {
            ticket.enough = ticket.enough.max(Some(now.readers));
        }
        Some((ticket.enough.unwrap_or(now.readers), ticket.enough.is_some()))
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::engine::writer::quorum::{Groups, ReaderPosition, Tally};
    use crate::protocol::control::AckLevel;

    fn requirement(sequence: u64) -> Requirement {
        Requirement { sequence, level: AckLevel::Applied, quorum: Groups::default().quorum(&[(None, 1)], 10).unwrap() }
    }

    fn at(positions: &[u64]) -> impl FnOnce(&Requirement) -> QuorumCount {
        let tally = Tally::new(
            positions.iter().map(|position| ReaderPosition { position: *position, ..ReaderPosition::default() }),
        );
        move |requirement| tally.check(requirement.sequence, &requirement.quorum)
    }

    #[test]
    fn a_ticket_tells_what_is_and_keeps_what_was_enough() {
        let mut tickets = Tickets::default();
        tickets.keep(1, requirement(5), None);
        tickets.keep(2, requirement(5), Some(1));
        assert_eq!(tickets.check(1, at(&[4])), Some((0, false)));
        assert_eq!(tickets.check(1, at(&[5, 9])), Some((2, true)));
        // The readers are forgotten, or begin anew: what was seen stays true.
        assert_eq!(tickets.check(1, at(&[])), Some((2, true)));
        assert_eq!(tickets.check(2, at(&[])), Some((1, true)));
        assert_eq!(tickets.check(3, at(&[9])), None);
    }

    #[test]
    fn p5_the_oldest_tickets_are_forgotten() {
        let mut tickets = Tickets::default();
        for number in 1..=TICKETS_KEPT as u64 + 10 {
            tickets.keep(number, requirement(number), None);
        }
        assert_eq!(tickets.check(10, at(&[])), None);
        assert_eq!(tickets.check(11, at(&[])), Some((0, false)));
        assert_eq!(tickets.forgotten(), 10);
        // The oldest are those that were resolved first, whatever their numbers.
        tickets.keep(1, requirement(1), None);
        assert_eq!(tickets.check(11, at(&[])), None);
        assert_eq!(tickets.check(1, at(&[])), Some((0, false)));
    }
}
