//! How much of what a reader claims counts. A Sync says where a reader is, which proves nothing. What counts is what a
//! connection was sent and acknowledged, and a position whose chain hash the reader knew.
//!
//! Waits, answers, quorums and slots rely on nothing else. The write gate promises nothing about what readers have and
//! only limits how far the writer runs ahead of them. It accepts a little more: a reader without a hash that reconnects
//! while the gate is shut is sent nothing new that it could acknowledge, and could never open it.

use crate::engine::access::rights::Rights;
use crate::protocol::control::Positions;

/// Whether what a connection with these rights acknowledges and proves counts.
pub(crate) fn counts(rights: Rights) -> bool {
    rights.contains(Rights::ACK) || mutant!("acks-count-without-right")
}

/// What a Sync proves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The hash that the reader brought is this writer's hash at that position.
    pub(crate) proven: bool,
}

/// What this sender knows of a reader id, from which the write gate judges what it acknowledges without proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its slot shows that it acknowledged entries up to here.
    pub(crate) held: u64,
    /// The last entry that was there when the sender was made.
    pub(crate) began_at: u64,
}

/// Where a connection begins, and what is accepted for the entries before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    /// The position of the Sync.
    pub(crate) after: u64,
    /// The reader proved that it has the entries up to there.
    pub(crate) proven: bool,
    /// The write gate accepts unproven acknowledgements up to here, at most `after`.
    pub(crate) believed: u64,
}

impl Start {
    /// The part of an acknowledgement that counts: entries after the start, which were sent, and before it what is
    /// proven.
    #[inline]
    pub(crate) fn counts(self, acked: Positions) -> Positions {
        self.from(acked, if self.proven { self.after } else { 0 })
    }

    /// The part that counts at the write gate.
    pub(crate) fn counts_for_gate(self, acked: Positions) -> Positions {
        self.from(acked, if self.proven { self.after } else { self.believed })
    }

    /// The part of `acked` after the start, and before it at most `before`.
    #[inline]
    fn from(self, acked: Positions, before: u64) -> Positions {
        let credit = |acked: u64| if acked > self.after { acked } else { acked.min(before) };
        Positions { received: credit(acked.received), durable: credit(acked.durable), applied: credit(acked.applied) }
    }
}

/// The entries up to `sequence` of these.
pub(crate) fn up_to(positions: Positions, sequence: u64) -> Positions {
    let Positions { received, durable, applied } = positions;
    Positions { received: received.min(sequence), durable: durable.min(sequence), applied: applied.min(sequence) }
}

/// The further one at each level.
pub(crate) fn furthest(a: Positions, b: Positions) -> Positions {
    Positions {
        received: a.received.max(b.received),
        durable: a.durable.max(b.durable),
        applied: a.applied.max(b.applied),
    }
}

/// What is known of a reader between its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// What it acknowledged or proved.
    pub(crate) has: Positions,
    /// Entries up to here were sent to it on earlier connections, or proven. For the write gate alone.
    pub(crate) sent: u64,
    /// It came back, proven, before what it had acknowledged.
    pub(crate) rewound: bool,
}

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entered {
    pub(crate) start: Start,
    /// What counts from the first moment on.
    pub(crate) now: Positions,
    /// What the reader had acknowledged before, when it came back, proven, at an earlier position.
    pub(crate) rewound_from: Option<Positions>,
}

impl Standing {
    /// Records a new connection that begins after the entry `after`.
    ///
    /// A proven position counts as received, even when it is an earlier one than was acknowledged. Without proof a Sync
    /// changes nothing: a lower one takes back nothing that was acknowledged, and a higher one adds nothing to it.
    pub(crate) fn enter(&mut self, after: u64, claim: Claim, known: Known) -> Entered {
        if !claim.proven && !mutant!("claims-believed") {
            let start = Start { after, proven: false, believed: self.believed(after, known) };
            return Entered { start, now: Positions::default(), rewound_from: None };
        }
        let before = self.has;
        let rewound_from = (after < before.received).then_some(before);
        if rewound_from.is_some() {
            self.has = up_to(before, after);
            self.rewound = true;
        }
        self.has.received = after;
        // After a rewind, what was sent later was lost.
        self.sent = after;
        Entered { start: Start { after, proven: true, believed: 0 }, now: self.has, rewound_from }
    }

    /// The entry up to which the write gate accepts unproven acknowledgements of a reader that begins after `after`:
    /// what it was sent in this process, or acknowledged. A crash may have lost what the sender knew about entries that
    /// existed when it was made; a reader whose slot shows an earlier acknowledgement, and that begins after those
    /// entries, may have them all.
    fn believed(&self, after: u64, known: Known) -> u64 {
        let older = if known.held > 0 && after >= known.began_at { known.began_at } else { 0 };
        self.sent.max(known.held).max(older).min(after)
    }

    /// Records the end of a connection that was at `positions`, and to which entries up to `sent` were sent.
    pub(crate) fn leave(&mut self, positions: Positions, sent: u64) {
        self.has = furthest(self.has, positions);
        self.sent = self.sent.max(sent).max(self.has.received);
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    fn at(received: u64, durable: u64, applied: u64) -> Positions {
        Positions { received, durable, applied }
    }

    const PROVEN: Claim = Claim { proven: true };
    const BARE: Claim = Claim { proven: false };

    /// What an acknowledgement counts for, and what it counts for at the write gate, by how the connection began.
    #[test]
    fn p6_an_acknowledgement_counts_for_what_was_sent_or_proven() {
        let bare = |believed| Start { after: 10, proven: false, believed };
        let proven = Start { after: 10, proven: true, believed: 0 };
        let none = at(0, 0, 0);
        let table = [
            // After the start: sent on this connection.
            (bare(0), at(12, 11, 12), at(12, 11, 12), at(12, 11, 12)),
            // At the start, by a stranger: nothing.
            (bare(0), at(10, 10, 10), none, none),
            // One level after the start, others before it.
            (bare(0), at(11, 9, 10), at(11, 0, 0), at(11, 0, 0)),
            // At the start, of what the gate believes in part or whole: waits believe none of it.
            (bare(8), at(10, 3, 10), none, at(8, 3, 8)),
            (bare(10), at(10, 10, 4), none, at(10, 10, 4)),
            (bare(8), at(11, 9, 10), at(11, 0, 0), at(11, 8, 8)),
            (proven, at(10, 4, 7), at(10, 4, 7), at(10, 4, 7)),
            (Start::default(), none, none, none),
        ];
        for (start, said, counted, at_gate) in table {
            assert_eq!(start.counts(said), counted, "{start:?}, said {said:?}");
            assert_eq!(start.counts_for_gate(said), at_gate, "{start:?}, said {said:?}");
            for credit in [start.counts(said), start.counts_for_gate(said)] {
                assert!(credit.durable <= credit.received && credit.applied <= credit.received);
            }
        }
    }

    /// What the write gate believes without proof, by what earlier connections were sent and what a slot shows.
    #[test]
    fn p6_the_gate_alone_believes_what_was_sent_before_and_what_a_crash_may_have_taken() {
        let table = [
            // (after, sent before, held by a slot), where 100 was the last entry when the sender was made.
            ((130, 0, 0), 0),
            // What earlier connections were sent, but no more than where it begins.
            ((130, 120, 0), 120),
            ((110, 120, 0), 110),
            // A slot with an acknowledgement: what it vouches for, and from the old end on all that was there.
            ((99, 0, 60), 60),
            ((100, 0, 60), 100),
            ((130, 0, 60), 100),
            ((130, 0, 125), 125),
            ((130, 127, 60), 127),
        ];
        for ((after, sent, held), believed) in table {
            let known = Known { held, began_at: 100 };
            let enter = |claim| Standing { sent, ..Standing::default() }.enter(after, claim, known);
            assert_eq!(enter(BARE).start, Start { after, proven: false, believed }, "{after} {sent} {held}");
            // With a proof there is nothing to believe.
            assert_eq!(enter(PROVEN).start, Start { after, proven: true, believed: 0 });
        }
    }

    /// A connection's beginning, by what is known of the reader and what it brings.
    #[test]
    fn p6_a_sync_by_itself_counts_for_nothing_and_takes_nothing_back() {
        let known = Standing { has: at(50, 40, 45), sent: 60, ..Standing::default() };
        let enter = |standing: Standing, after, claim| {
            let mut standing = standing;
            let entered = standing.enter(after, claim, Known { held: 30, began_at: 1000 });
            (standing.has, standing.sent, entered.now, entered.rewound_from)
        };
        // A stranger, ahead.
        assert_eq!(enter(Standing::default(), 99, BARE), (at(0, 0, 0), 0, at(0, 0, 0), None));
        // A known id, ahead, back where it was, and at the beginning: what it acknowledged stays.
        for after in [99, 60, 55, 0] {
            assert_eq!(enter(known, after, BARE), (known.has, 60, at(0, 0, 0), None), "{after}");
        }
        // With proof the position counts, forward and back.
        assert_eq!(enter(known, 99, PROVEN), (at(99, 40, 45), 99, at(99, 40, 45), None));
        assert_eq!(enter(known, 50, PROVEN), (known.has, 50, known.has, None));
        assert_eq!(enter(known, 42, PROVEN), (at(42, 40, 42), 42, at(42, 40, 42), Some(known.has)));
    }
}
