//! What a reader's claims count for. A Sync says where a reader stands, and is no proof of it: what counts is what a
//! connection was sent and acknowledged, and a position whose chain hash the reader knew.

use crate::protocol::control::Positions;
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::handshake::Sync;
use crate::protocol::lineage::Lineage;

/// What a Sync says beside the position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    /// The hash that the reader brought is this writer's hash at that position.
    pub(super) proven: bool,
    /// Whose entries the reader says it holds.
    pub(super) term: Term,
}

/// The term of office, a stream and an epoch, in which a reader says it received its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Term {
    /// This writer's.
    Ours,
    /// An earlier one of this stream.
    Earlier,
    /// It does not say, or another stream's.
    #[default]
    Unknown,
}

impl Claim {
    /// The claim in `sync` to a writer whose chain hash at the reader's position is `hash`.
    pub(super) fn of(sync: &Sync, ours: Lineage, hash: u64) -> Self {
        let Some(offer) = &sync.offer else { return Self::default() };
        let known = offer.hash != UNKNOWN_HISTORY && hash != UNKNOWN_HISTORY;
        let term = match offer.stream_id {
            Some(stream_id) if stream_id == ours.stream_id && offer.epoch == ours.epoch => Term::Ours,
            Some(stream_id) if stream_id == ours.stream_id && offer.epoch < ours.epoch => Term::Earlier,
            _ => Term::Unknown,
        };
        Self { proven: sync.last_known_sequence > 0 && known && offer.hash == hash, term }
    }
}

/// Up to where the write gate, and the gate alone, believes what a reader acknowledges of the place where it began. A crash may
/// have taken what the sender knew of a reader about entries up to `began_at`, which were there when it was made. Without a
/// hash the reader cannot prove them, and would get nothing new to acknowledge while the gate is shut for that. `held`: its
/// slot shows that it acknowledged entries before.
pub(super) fn believed_by_gate(after: u64, claim: Claim, held: u64, began_at: u64) -> u64 {
    if !claim.proven && held > 0 && after >= began_at { began_at } else { 0 }
}

/// Where a connection begins, and how far this writer knows of itself that the reader has the entries before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The position of the Sync.
    pub(super) after: u64,
    /// Entries up to here were proven, or sent to this reader on earlier connections. At most `after`.
    pub(super) vouched: u64,
}

impl Start {
    /// What an acknowledgement counts for: what was sent on this connection, and before that what is vouched for.
    #[inline]
    pub(super) fn credit(self, said: Positions) -> Positions {
        let credit = |said: u64| if said > self.after { said } else { said.min(self.vouched) };
        Positions { received: credit(said.received), durable: credit(said.durable), applied: credit(said.applied) }
    }
}

/// The entries up to `sequence` of these.
pub(super) fn up_to(positions: Positions, sequence: u64) -> Positions {
    let Positions { received, durable, applied } = positions;
    Positions { received: received.min(sequence), durable: durable.min(sequence), applied: applied.min(sequence) }
}

/// The further one at each level.
pub(super) fn furthest(a: Positions, b: Positions) -> Positions {
    Positions {
        received: a.received.max(b.received),
        durable: a.durable.max(b.durable),
        applied: a.applied.max(b.applied),
    }
}

/// What is known of a reader between its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// What it acknowledged or proved.
    pub(super) has: Positions,
    /// Entries up to here were sent to it, or proven.
    pub(super) sent: u64,
    /// It came back, proven, before what it had acknowledged.
    pub(super) rewound: bool,
    /// Where its entries are another writer's that this one cannot compare with: up to here it counts for none.
    pub(super) foreign: u64,
    /// It was seen with entries of an earlier term.
    pub(super) earlier_term: bool,
}

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entered {
    pub(super) start: Start,
    /// What counts from the first moment on.
    pub(super) now: Positions,
    /// What the reader had acknowledged before, when it came back, proven, at an earlier position.
    pub(super) rewound_from: Option<Positions>,
}

impl Standing {
    /// A reader of which nothing is known. `inherited_from`: see `core::beginning`.
    pub(super) fn new(inherited_from: u64) -> Self {
        Self { foreign: inherited_from, ..Self::default() }
    }

    /// Takes account of a new connection behind `after`. `held` is what its slot vouches for.
    ///
    /// A proven position counts as received, also when it is an earlier one than was acknowledged. Without proof a Sync
    /// changes nothing: neither does a lower one take back what was acknowledged, nor does a higher one add to it.
    pub(super) fn enter(&mut self, after: u64, claim: Claim, held: u64) -> Entered {
        self.earlier_term |= claim.term == Term::Earlier;
        if claim.term == Term::Ours && !self.earlier_term && after >= self.foreign {
            // The host gave this writer a bare number to go on from, so nobody can prove anything before it. A reader that
            // followed the same term followed this writer's earlier life.
            self.sent = self.sent.max(self.foreign);
            self.foreign = 0;
        }
        if !claim.proven {
            let start = Start { after, vouched: self.sent.max(held).min(after) };
            return Entered { start, now: Positions::default(), rewound_from: None };
        }
        let before = self.has;
        let rewound_from = (after < before.received).then_some(before);
        if rewound_from.is_some() {
            self.has = up_to(before, after);
            self.rewound = true;
        }
        self.has.received = after;
        // Behind a rewind, what was sent later was lost.
        self.sent = after;
        Entered { start: Start { after, vouched: after }, now: self.has, rewound_from }
    }

    /// Takes account of the end of a connection that was at `positions`, and to which entries up to `sent` were sent.
    pub(super) fn leave(&mut self, positions: Positions, sent: u64) {
        self.has = furthest(self.has, positions);
        self.sent = self.sent.max(sent).max(self.has.received);
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;
    use crate::protocol::handshake::Offer;

    fn at(received: u64, durable: u64, applied: u64) -> Positions {
        Positions { received, durable, applied }
    }

    const OURS: Lineage = Lineage { stream_id: [7; 16], epoch: 5 };
    const PROVEN: Claim = Claim { proven: true, term: Term::Ours };
    const BARE: Claim = Claim { proven: false, term: Term::Unknown };

    #[test]
    fn p6_a_claim_is_proven_by_a_right_hash_and_by_nothing_else() {
        let claim = |known, hash, ours| {
            let offer = Offer { version: 1, stream_id: Some(OURS.stream_id), epoch: 5, hash, ..Offer::default() };
            let sync = Sync { reader_id: "r".into(), last_known_sequence: known, offer: Some(offer) };
            Claim::of(&sync, OURS, ours).proven
        };
        assert!(claim(1, 9, 9));
        for (known, hash, ours) in [(0, 9, 9), (1, 9, 8), (1, 0, 9), (1, 9, 0), (1, 0, 0)] {
            assert!(!claim(known, hash, ours), "{known} {hash} {ours}");
        }
        let v1 = Sync { reader_id: "r".into(), last_known_sequence: 3, offer: None };
        assert_eq!(Claim::of(&v1, OURS, 9), BARE);
        let term = |stream_id, epoch| {
            let offer = Offer { version: 1, stream_id, epoch, ..Offer::default() };
            Claim::of(&Sync { offer: Some(offer), ..v1.clone() }, OURS, 9).term
        };
        assert_eq!(term(Some(OURS.stream_id), 5), Term::Ours);
        assert_eq!(term(Some(OURS.stream_id), 4), Term::Earlier);
        assert_eq!(term(Some([8; 16]), 5), Term::Unknown);
        assert_eq!(term(None, 5), Term::Unknown);
    }

    /// What an acknowledgement counts for, by where the connection began and what is vouched for.
    #[test]
    fn p6_an_acknowledgement_counts_for_what_was_sent_or_vouched_for() {
        let table = [
            // Behind the start: sent on this connection.
            (10, 0, at(12, 11, 12), at(12, 11, 12)),
            // At the start, by a stranger: nothing.
            (10, 0, at(10, 10, 10), at(0, 0, 0)),
            // One level behind the start, others before it.
            (10, 0, at(11, 9, 10), at(11, 0, 0)),
            // At the start, of what earlier connections were sent in part.
            (10, 8, at(10, 3, 10), at(8, 3, 8)),
            // Proven.
            (10, 10, at(10, 4, 7), at(10, 4, 7)),
            (0, 0, at(0, 0, 0), at(0, 0, 0)),
        ];
        for (after, vouched, said, counted) in table {
            let credit = Start { after, vouched }.credit(said);
            assert_eq!(credit, counted, "after {after}, vouched {vouched}, said {said:?}");
            assert!(credit.durable <= credit.received && credit.applied <= credit.received);
        }
    }

    #[test]
    fn p6_the_gate_believes_a_reader_with_a_slot_about_what_was_there_before_the_sender() {
        let table = [
            // Without a slot, or with one that was never acknowledged.
            ((100, BARE, 0), 0),
            ((130, BARE, 0), 0),
            // With one, before what was there, at its end and later.
            ((99, BARE, 60), 0),
            ((100, BARE, 60), 100),
            ((130, BARE, 60), 100),
            // With a proof there is nothing to believe.
            ((100, PROVEN, 60), 0),
        ];
        for ((after, claim, held), believed) in table {
            assert_eq!(believed_by_gate(after, claim, held, 100), believed, "after {after}, {claim:?}, held {held}");
        }
    }

    /// A connection's beginning, by what is known of the reader and what it brings.
    #[test]
    fn p6_a_sync_by_itself_counts_for_nothing_and_takes_nothing_back() {
        let known = Standing { has: at(50, 40, 45), sent: 60, ..Standing::default() };
        let enter = |standing: Standing, after, claim, held| {
            let mut standing = standing;
            let entered = standing.enter(after, claim, held);
            (standing.has, standing.sent, entered.start.vouched, entered.now, entered.rewound_from)
        };
        // A stranger, ahead, with or without a slot that vouches for a part.
        assert_eq!(enter(Standing::default(), 99, BARE, 0), (at(0, 0, 0), 0, 0, at(0, 0, 0), None));
        assert_eq!(enter(Standing::default(), 99, BARE, 30), (at(0, 0, 0), 0, 30, at(0, 0, 0), None));
        // A known id, ahead, back where it was, and at the beginning: what it acknowledged stays.
        for (after, vouched) in [(99, 60), (60, 60), (55, 55), (0, 0)] {
            assert_eq!(enter(known, after, BARE, 0), (known.has, 60, vouched, at(0, 0, 0), None), "{after}");
        }
        // With proof the position counts, forward and back.
        assert_eq!(enter(known, 99, PROVEN, 0), (at(99, 40, 45), 99, 99, at(99, 40, 45), None));
        assert_eq!(enter(known, 50, PROVEN, 0), (known.has, 50, 50, known.has, None));
        assert_eq!(enter(known, 42, PROVEN, 0), (at(42, 40, 42), 42, 42, at(42, 40, 42), Some(known.has)));
    }

    /// A writer that was given a bare number: who followed the same term has what came before, others do not.
    #[test]
    fn p7_entries_of_an_earlier_term_do_not_count_where_nobody_can_compare() {
        let term = |term| Claim { proven: false, term };
        let mut same = Standing::new(80);
        assert_eq!(same.enter(80, term(Term::Ours), 0).start, Start { after: 80, vouched: 80 });
        assert_eq!(same.foreign, 0);
        for first in [Term::Earlier, Term::Unknown] {
            let mut other = Standing::new(80);
            assert_eq!(other.enter(80, term(first), 0).start.vouched, 0);
            other.leave(at(85, 0, 0), 85);
            assert_eq!(other.foreign, 80);
        }
        // Once promoted over, a reader that has adopted the new epoch since is no better.
        let mut adopted = Standing::new(80);
        adopted.enter(80, term(Term::Earlier), 0);
        adopted.enter(80, term(Term::Ours), 0);
        assert_eq!(adopted.foreign, 80);
    }
}
