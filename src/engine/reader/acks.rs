//! When a reader acknowledges, and what it then says. Positions are acknowledged at most once in an interval while they
//! move, at once where the writer asked for that, and in v2 also now and then to show that the reader lives.

use std::time::{Duration, Instant};

use super::requests::Requests;
use crate::protocol::control::{AckRequest, Positions, StreamAck};
use crate::protocol::message;

/// The acknowledgements of one connection.
pub(crate) struct Acks {
    reader_id: String,
    /// How often moving positions are acknowledged.
    interval: Duration,
    /// How often a v2 reader says something; `None` in v1.
    heartbeat: Option<Duration>,
    /// The positions of the last acknowledgement, and when it was made.
    acked: Positions,
    acked_at: Instant,
    requests: Requests,
}

impl Acks {
    /// Nothing is acknowledged yet. `heartbeat`: that of v2; v1 has none.
    pub(crate) fn new(reader_id: &str, interval: Duration, heartbeat: Option<Duration>, now: Instant) -> Self {
        Self {
            reader_id: reader_id.to_owned(),
            interval,
            heartbeat,
            acked: Positions::default(),
            acked_at: now,
            requests: Requests::default(),
        }
    }

    /// The writer wants an acknowledgement as soon as this is reached.
    pub(crate) fn request(&mut self, request: AckRequest) {
        self.requests.add(request);
    }

    /// The first requested sequence that is reached by applying; see [`Requests::next_applied`].
    pub(crate) fn next_applied(&self, durable_when_applied: bool) -> Option<u64> {
        self.requests.next_applied(durable_when_applied)
    }

    /// Whether the writer asked to hear of what is reached.
    pub(crate) fn is_requested(&self, positions: Positions) -> bool {
        self.requests.is_due(positions)
    }

    /// Whether an acknowledgement is due.
    pub(crate) fn is_due(&self, positions: Positions, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.acked_at);
        self.is_requested(positions)
            || self.has_moved(positions) && passed >= self.interval
            || self.heartbeat.is_some_and(|heartbeat| passed >= heartbeat)
    }

    /// When to ask [`Self::is_due`] again if nothing arrives; `None`: not before something arrives. Requests are not
    /// considered.
    pub(crate) fn next_at(&self, positions: Positions, now: Instant) -> Option<Instant> {
        let moved = self.has_moved(positions).then_some((self.acked_at, self.interval));
        let is_applying = positions.applied != positions.received;
        let moves = is_applying.then_some((now, self.interval));
        let beats = self.heartbeat.map(|heartbeat| (self.acked_at, heartbeat));
        [moved, moves, beats].into_iter().flatten().filter_map(|(from, pause)| from.checked_add(pause)).min()
    }

    /// Whether an acknowledgement of these positions would differ from the last one.
    fn has_moved(&self, positions: Positions) -> bool {
        match self.heartbeat {
            Some(_) => positions != self.acked,
            None => positions.applied != self.acked.applied,
        }
    }

    /// Adds an acknowledgement of these positions to `out`. `false`: its frame cannot be made, and nothing changed.
    pub(crate) fn acknowledge(&mut self, positions: Positions, now: Instant, out: &mut Vec<u8>) -> bool {
        if self.heartbeat.is_some() {
            out.extend(StreamAck { positions, reply: false }.encode());
        } else if message::encode_ack(out, positions.applied, &self.reader_id).is_err() {
            // An id of at most 255 bytes always fits a frame.
            return false;
        }
        self.requests.acknowledged(positions);
        (self.acked, self.acked_at) = (positions, now);
        true
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::clock;
    use crate::protocol::control::AckLevel;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn positions(received: u64, applied: u64) -> Positions {
        Positions { received, durable: 0, applied }
    }

    /// An interval of 100 ms, the last acknowledgement at the start with these positions.
    fn acked(at: Positions, heartbeat: Option<Duration>) -> (Acks, Instant) {
        let start = clock::instant();
        let mut acks = Acks::new("r", MS(100), heartbeat, start);
        assert!(acks.acknowledge(at, start, &mut Vec::new()));
        (acks, start)
    }

    #[test]
    fn an_acknowledgement_is_due_when_something_moved_or_the_writer_waits_or_the_heartbeat_is_over() {
        let (v2, v1) = (Some(MS(1000)), None);
        let table = [
            ("nothing moved", v2, positions(5, 5), 999, false),
            ("a heartbeat", v2, positions(5, 5), 1000, true),
            ("v1 has none", v1, positions(5, 5), 1_000_000, false),
            ("moved, too early", v2, positions(6, 5), 99, false),
            ("moved", v2, positions(6, 5), 100, true),
            ("received, in v1", v1, positions(6, 5), 100, false),
            ("applied, in v1", v1, positions(6, 6), 100, true),
        ];
        for (what, heartbeat, now, passed, expected) in table {
            let (acks, start) = acked(positions(5, 5), heartbeat);
            assert_eq!(acks.is_due(now, start + MS(passed)), expected, "{what}");
        }
        let (mut acks, start) = acked(positions(5, 5), v2);
        acks.request(AckRequest { level: AckLevel::Applied, sequence: 6 });
        assert!(!acks.is_due(positions(6, 5), start) && acks.is_due(positions(6, 6), start));
        assert!(acks.acknowledge(positions(6, 6), start, &mut Vec::new()) && !acks.is_due(positions(6, 6), start));
    }

    #[test]
    fn the_next_one_is_awaited_no_longer_than_it_takes() {
        let (v2, v1) = (Some(MS(1000)), None);
        let table = [
            ("nothing to say", v2, positions(5, 5), Some(1000)),
            ("nothing at all", v1, positions(5, 5), None),
            ("moved", v2, positions(6, 6), Some(100)),
            ("about to be applied", v1, positions(6, 5), Some(110)),
            ("moved, and about to be applied", v2, positions(6, 5), Some(100)),
            ("a heartbeat below the interval", Some(MS(20)), positions(6, 5), Some(20)),
        ];
        for (what, heartbeat, now, expected) in table {
            let (acks, start) = acked(positions(5, 5), heartbeat);
            assert_eq!(acks.next_at(now, start + MS(10)), expected.map(|passed| start + MS(passed)), "{what}");
        }
        // What is received and not applied for long is looked at once in an interval.
        for heartbeat in [v2, v1] {
            let (acks, start) = acked(positions(6, 5), heartbeat);
            let late = start + MS(300);
            assert!(!acks.is_due(positions(6, 5), late));
            assert_eq!(acks.next_at(positions(6, 5), late), Some(late + MS(100)));
        }
    }

    #[test]
    fn v1_acknowledges_what_is_applied_and_v2_all() {
        let said = |heartbeat| {
            let mut out = Vec::new();
            acked(positions(0, 0), heartbeat).0.acknowledge(positions(9, 4), clock::instant(), &mut out);
            out
        };
        assert_eq!(said(Some(MS(1))), StreamAck { positions: positions(9, 4), reply: false }.encode());
        let mut v1 = Vec::new();
        message::encode_ack(&mut v1, 4, "r").unwrap();
        assert_eq!(said(None), v1);
    }
}
