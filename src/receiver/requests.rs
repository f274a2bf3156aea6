//! What the writer wants to hear of at once: sequences by level, each until it was told.

use crate::protocol::control::{AckRequest, Positions};

/// Sequences of one level that are remembered, at most. The ones before the highest are given up first: what is asked
/// for there is told with the highest, or after the ack interval.
const MAX_REQUESTS: usize = 64;

/// Requests that are not answered, each level ascending.
#[derive(Default)]
pub(super) struct Requests([Vec<u64>; 3]);

impl Requests {
    pub(super) fn add(&mut self, request: AckRequest) {
        let Some(wanted) = self.0.get_mut(usize::from(request.level).wrapping_sub(1)) else { return };
        if let Err(place) = wanted.binary_search(&request.sequence) {
            wanted.insert(place, request.sequence);
            if wanted.len() > MAX_REQUESTS {
                wanted.remove(MAX_REQUESTS - 1);
            }
        }
    }

    /// Whether one is reached.
    pub(super) fn are_due(&self, positions: Positions) -> bool {
        self.0.iter().zip(by_level(positions)).any(|(wanted, reached)| wanted.first().is_some_and(|w| *w <= reached))
    }

    /// Forgets those that are reached, because the writer was told.
    pub(super) fn told(&mut self, positions: Positions) {
        for (wanted, reached) in self.0.iter_mut().zip(by_level(positions)) {
            wanted.drain(..wanted.partition_point(|wanted| *wanted <= reached));
        }
    }

    /// The first applied sequence to tell of. `durable_when_applied`: a durable position moves with the applied one, or
    /// not at all.
    pub(super) fn next_applied(&self, durable_when_applied: bool) -> Option<u64> {
        let [_, durable, applied] = &self.0;
        let durable = durable.first().filter(|_| durable_when_applied);
        durable.into_iter().chain(applied.first()).min().copied()
    }
}

fn by_level(positions: Positions) -> [u64; 3] {
    [positions.received, positions.durable, positions.applied]
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
            requests.add(AckRequest { level: 3, sequence });
        }
        requests.add(AckRequest { level: 2, sequence: 7 });
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
            requests.add(AckRequest { level: 3, sequence });
        }
        assert_eq!(requests.0[2].len(), MAX_REQUESTS);
        assert_eq!((requests.0[2][0], requests.0[2][MAX_REQUESTS - 1]), (1, 10_000));
    }
}
