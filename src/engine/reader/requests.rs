//! Sequences, by ack level, that the writer asked to be acknowledged immediately.

use crate::protocol::control::{AckLevel, AckRequest, ByLevel, Positions};

/// The most sequences of one level that are remembered. Those just below the highest are dropped first: they are
/// acknowledged together with the highest, or after the ack interval.
const MAX_REQUESTS: usize = 64;

/// Requests that are not yet acknowledged, each level in ascending order.
#[derive(Default)]
pub(crate) struct Requests(ByLevel<Vec<u64>>);

impl Requests {
    pub(crate) fn add(&mut self, request: AckRequest) {
        let requested = &mut self.0[request.level];
        if let Err(place) = requested.binary_search(&request.sequence) {
            requested.insert(place, request.sequence);
            if requested.len() > MAX_REQUESTS {
                requested.remove(MAX_REQUESTS - 1);
            }
        }
    }

    /// Whether one of them is reached.
    pub(crate) fn is_due(&self, positions: Positions) -> bool {
        AckLevel::ALL
            .into_iter()
            .any(|level| self.0[level].first().is_some_and(|requested| *requested <= positions[level]))
    }

    /// Removes the requests that an acknowledgement of these positions satisfies.
    pub(crate) fn acknowledged(&mut self, positions: Positions) {
        for level in AckLevel::ALL {
            let requested = &mut self.0[level];
            requested.drain(..requested.partition_point(|requested| *requested <= positions[level]));
        }
    }

    /// The first requested sequence that is reached by applying. With `durable_when_applied` the durable position moves
    /// with the applied one, so requests for durability count too.
    pub(crate) fn next_applied(&self, durable_when_applied: bool) -> Option<u64> {
        let durable = self.0[AckLevel::Durable].first().filter(|_| durable_when_applied);
        durable.into_iter().chain(self.0[AckLevel::Applied].first()).min().copied()
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    fn applied(sequence: u64) -> Positions {
        Positions { received: 1_000_000, durable: 0, applied: sequence }
    }

    #[test]
    fn every_requested_sequence_is_due_when_it_is_reached() {
        let mut requests = Requests::default();
        for sequence in [100, 5, 50, 5] {
            requests.add(AckRequest { level: AckLevel::Applied, sequence });
        }
        requests.add(AckRequest { level: AckLevel::Durable, sequence: 7 });
        assert_eq!((requests.next_applied(false), requests.next_applied(true)), (Some(5), Some(5)));
        assert!(!requests.is_due(applied(4)) && requests.is_due(applied(5)));
        requests.acknowledged(applied(5));
        assert_eq!((requests.next_applied(false), requests.next_applied(true)), (Some(50), Some(7)));
        assert!(!requests.is_due(applied(49)));
        requests.acknowledged(applied(99));
        assert_eq!(requests.next_applied(false), Some(100));
    }

    #[test]
    fn p5_a_writer_that_asks_for_ever_is_remembered_up_to_a_bound() {
        let mut requests = Requests::default();
        for sequence in 1..=10_000 {
            requests.add(AckRequest { level: AckLevel::Applied, sequence });
        }
        let requested = &requests.0[AckLevel::Applied];
        assert_eq!(requested.len(), MAX_REQUESTS);
        assert_eq!((requested[0], requested[MAX_REQUESTS - 1]), (1, 10_000));
    }
}
