//! What the writer wants to hear of at once: sequences by level, each until it was told.

use crate::protocol::control::{AckLevel, AckRequest, ByLevel, Positions};

/// Sequences of one level that are remembered, at most. The ones before the highest are given up first: what is asked
/// for there is told with the highest, or after the ack interval.
const MAX_REQUESTS: usize = 64;

/// Requests that are not answered, each level ascending.
#[derive(Default)]
pub(super) struct Requests(ByLevel<Vec<u64>>);

impl Requests {
    pub(super) fn add(&mut self, request: AckRequest) {
        let wanted = &mut self.0[request.level];
        if let Err(place) = wanted.binary_search(&request.sequence) {
            wanted.insert(place, request.sequence);
            if wanted.len() > MAX_REQUESTS {
                wanted.remove(MAX_REQUESTS - 1);
            }
        }
    }

    /// Whether one is reached.
    pub(super) fn are_due(&self, positions: Positions) -> bool {
        AckLevel::ALL.into_iter().any(|level| self.0[level].first().is_some_and(|wanted| *wanted <= positions[level]))
    }

    /// Forgets those that are reached, because the writer was told.
    pub(super) fn told(&mut self, positions: Positions) {
        for level in AckLevel::ALL {
            let wanted = &mut self.0[level];
            wanted.drain(..wanted.partition_point(|wanted| *wanted <= positions[level]));
        }
    }

    /// The first applied sequence to tell of. `durable_when_applied`: a durable position moves with the applied one, or
    /// not at all.
    pub(super) fn next_applied(&self, durable_when_applied: bool) -> Option<u64> {
        let durable = self.0[AckLevel::Durable].first().filter(|_| durable_when_applied);
        durable.into_iter().chain(self.0[AckLevel::Applied].first()).min().copied()
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    fn applied(sequence: u64) -> Positions {
        Positions { received: 1_000_000, durable: 0, applied: sequence }
    }

    #[test]
    fn every_sequence_is_told_of_when_it_is_reached() {
        let mut requests = Requests::default();
        for sequence in [100, 5, 50, 5] {
            requests.add(AckRequest { level: AckLevel::Applied, sequence });
        }
        requests.add(AckRequest { level: AckLevel::Durable, sequence: 7 });
        assert_eq!((requests.next_applied(false), requests.next_applied(true)), (Some(5), Some(5)));
        assert!(!requests.are_due(applied(4)) && requests.are_due(applied(5)));
        requests.told(applied(5));
        assert_eq!((requests.next_applied(false), requests.next_applied(true)), (Some(50), Some(7)));
        assert!(!requests.are_due(applied(49)));
        requests.told(applied(99));
        assert_eq!(requests.next_applied(false), Some(100));
    }

    #[test]
    fn p5_a_writer_that_asks_for_ever_is_remembered_up_to_a_bound() {
        let mut requests = Requests::default();
        for sequence in 1..=10_000 {
            requests.add(AckRequest { level: AckLevel::Applied, sequence });
        }
        let wanted = &requests.0[AckLevel::Applied];
        assert_eq!(wanted.len(), MAX_REQUESTS);
        assert_eq!((wanted[0], wanted[MAX_REQUESTS - 1]), (1, 10_000));
    }
}
