//! Whether a reader may follow: whether this writer has every entry after its position, and whether what the reader has
//! is what this writer has.

use super::standing::Claim;
use crate::engine::lineage::{Follower, Source, Verdict, judge};
use crate::error::{Error, Status};
use crate::protocol::entry::{Mark, UNKNOWN_HISTORY};
use crate::protocol::handshake::{Offer, Point, Sync};
use crate::protocol::lineage::Lineage;

/// Why a reader may not follow.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: Error,
    /// Up to where the histories are known to be the same.
    pub(crate) common_sequence: Option<u64>,
    /// The first entry that is known to differ.
    pub(crate) differing_sequence: Option<u64>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, common_sequence: None, differing_sequence: None }
    }
}

/// Why the log has no cursor after an entry.
#[derive(Clone, Debug)]
pub(crate) enum Missing {
    /// The entries after it are gone; a reader at `oldest_known` or later could follow.
    Gone { oldest_known: u64 },
    /// The log ends before it.
    Ahead { last: u64 },
    /// The log on disk could not be read.
    Failed(Error),
}

/// What is asked of the log.
pub(crate) trait LogView {
    type Cursor;

    /// A cursor after the entry `sequence`, and the mark there.
    fn attach(&self, sequence: u64) -> Result<(Self::Cursor, Mark), Missing>;

    /// The oldest sequence that a reader can be at.
    fn oldest_known(&self) -> u64;

    /// Each epoch with the entry after which it began, as far as is known, in order.
    fn epochs(&self) -> Vec<(u64, u64)>;
}

/// Where a log keeps its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    Memory,
    Disk,
}

impl Medium {
    /// The status of a reader whose entries are gone.
    pub(crate) fn gone(self) -> Status {
        match self {
            Self::Memory => Status::SequenceGap,
            Self::Disk => Status::WalRotated,
        }
    }

    /// Where those entries are gone from.
    pub(crate) fn place(self) -> &'static str {
        match self {
            Self::Memory => "in memory",
            Self::Disk => "in the log",
        }
    }
}

/// A reader that may follow.
#[derive(Debug)]
pub(crate) struct Admitted<C> {
    /// After the reader's position.
    pub(crate) cursor: C,
    /// The mark there.
    pub(crate) start: Mark,
    /// Whether what its Sync says is proven.
    pub(crate) claim: Claim,
}

impl<C> Admitted<C> {
    /// The hash to disclose. A reader that brought none must not learn it: it would prove what the reader does not
    /// have.
    pub(crate) fn disclosed_hash(&self) -> u64 {
        if self.claim.proven || self.start.sequence == 0 { self.start.hash } else { UNKNOWN_HISTORY }
    }
}

/// Decides whether a reader may follow the writer of `lineage`, or why not. `believed`: what it says of later epochs is.
pub(crate) fn admit<L: LogView>(
    log: &L,
    medium: Medium,
    lineage: &Lineage,
    sync: &Sync,
    believed: bool,
) -> Result<Admitted<L::Cursor>, Refusal> {
    let known = sync.last_known_sequence;
    // Before the first entry there is nothing to compare.
    let offer = sync.offer.as_ref().filter(|_| known > 0);
    let hash = offer.map_or(UNKNOWN_HISTORY, |offer| offer.hash);
    let reader = Follower { lineage: offer.and_then(lineage_of), ..Follower::at(Point { sequence: known, hash }) };
    // A reader of another stream costs no look at the log.
    let unread = Source::new(Some(*lineage), UNKNOWN_HISTORY);
    check_lineage(judge(&reader, &unread), &reader, lineage, believed)?;
    let attached = match log.attach(known) {
        Err(Missing::Gone { oldest_known }) if mutant!("resumes-without-entries") => log.attach(oldest_known),
        attached => attached,
    };
    let (hash, last) = match &attached {
        Ok((_, start)) => (start.hash, u64::MAX),
        Err(Missing::Ahead { last }) => (UNKNOWN_HISTORY, *last),
        Err(Missing::Gone { .. } | Missing::Failed(_)) => (UNKNOWN_HISTORY, u64::MAX),
    };
    let verdict = judge(&reader, &Source { hash, last, epochs: &log.epochs(), ..unread });
    check_lineage(verdict, &reader, lineage, believed)?;
    if verdict == Verdict::Forked {
        return Err(fork(log, offer.map_or(&[], |offer| &offer.history), known));
    }
    let (cursor, start) = attached.map_err(|missing| not_here(medium, known, missing))?;
    Ok(Admitted { cursor, start, claim: Claim { proven: verdict.is_proven() } })
}

/// The lineage of the reader's position, if it has followed one.
fn lineage_of(offer: &Offer) -> Option<Lineage> {
    offer.stream_id.map(|stream_id| Lineage { stream_id, epoch: offer.epoch })
}

fn diverged(text: String) -> Refusal {
    Error::new(Status::Diverged, text).into()
}

/// Refuses a reader for its stream or epoch.
fn check_lineage(verdict: Verdict, reader: &Follower, ours: &Lineage, believed: bool) -> Result<(), Refusal> {
    let (known, theirs, ours) = (reader.at.sequence, reader.lineage.map_or(0, |lineage| lineage.epoch), ours.epoch);
    Err(match verdict {
        Verdict::Same { .. } | Verdict::Forked | Verdict::Regressed => return Ok(()),
        Verdict::OtherStream => {
            diverged(format!("position {known} belongs to another stream than this writer's; re-seed the reader"))
        }
        Verdict::OldEpoch | Verdict::EpochJump => diverged(format!(
            "the reader says that it has seen epoch {theirs}, this writer has epoch {ours}: {}",
            if believed {
                "if another node was promoted, stop this one"
            } else {
                "it has no right to say that another node was promoted (promote)"
            }
        )),
        Verdict::PastEpoch { epoch, last_before } => {
            let differing = last_before + 1;
            let text = format!(
                "the reader is at {known} in epoch {theirs}, but epoch {epoch} began after entry {last_before}: the \
                 first entry that differs is {differing}; re-seed the reader"
            );
            Refusal { common_sequence: Some(last_before), differing_sequence: Some(differing), ..diverged(text) }
        }
    })
}

fn not_here(medium: Medium, known: u64, missing: Missing) -> Error {
    match missing {
        Missing::Gone { oldest_known } => Error::new(
            medium.gone(),
            format!(
                "the reader is at {known}, entries up to {oldest_known} are no longer {}; re-seed the reader",
                medium.place()
            ),
        ),
        Missing::Ahead { last } => Error::new(
            Status::Regressed,
            format!(
                "the reader is at {known}, this writer only at {last}: it was restarted or restored without its log"
            ),
        ),
        Missing::Failed(error) => error,
    }
}

/// The histories differ at or before `known`. Finds out where, as far as the points that the reader named tell.
fn fork(log: &impl LogView, history: &[Point], known: u64) -> Refusal {
    let same = |point: &Point| {
        let proven = |ours: Mark| judge(&Follower::at(*point), &Source::new(None, ours.hash)).is_proven();
        log.attach(point.sequence).is_ok_and(|(_, start)| proven(start))
    };
    let ours = log.oldest_known()..known;
    let compares = |point: &&Point| ours.contains(&point.sequence) && point.hash != UNKNOWN_HISTORY;
    let rising = history.iter().filter(compares).collect::<Vec<_>>();
    // Once different, histories stay different.
    let split = rising.partition_point(|point| same(point));
    let common_sequence = split.checked_sub(1).map(|last| rising[last].sequence);
    let differing_sequence = rising.get(split).map_or(known, |point| point.sequence);
    let text = match common_sequence {
        Some(common) if common + 1 == differing_sequence => {
            format!(
                "the reader has another history than this writer: the first entry that differs is \
                 {differing_sequence}; re-seed the reader"
            )
        }
        Some(common) => format!(
            "the reader has another history than this writer: the first entry that differs lies after {common}, \
             at {differing_sequence} or before; re-seed the reader"
        ),
        None => format!(
            "the reader has another history than this writer: the first entry that differs is \
             {differing_sequence} or an earlier one; re-seed the reader"
        ),
    };
    Refusal { common_sequence, differing_sequence: Some(differing_sequence), ..diverged(text) }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    const OURS: Lineage = Lineage { stream_id: [7; 16], epoch: 5 };

    /// A log of ten entries; those up to `oldest` are gone. The hash after an entry is a hundred more than its
    /// sequence.
    struct Ten {
        oldest: u64,
    }

    impl LogView for Ten {
        type Cursor = ();

        fn attach(&self, sequence: u64) -> Result<((), Mark), Missing> {
            match sequence {
                11.. => Err(Missing::Ahead { last: 10 }),
                _ if sequence < self.oldest => Err(Missing::Gone { oldest_known: self.oldest }),
                _ => Ok(((), Mark { sequence, hash: sequence + 100, ..Mark::default() })),
            }
        }

        fn oldest_known(&self) -> u64 {
            self.oldest
        }

        fn epochs(&self) -> Vec<(u64, u64)> {
            vec![(1, 0), (5, 6)]
        }
    }

    fn sync(known: u64, offer: Option<Offer>) -> Sync {
        Sync { reader_id: "r".into(), last_known_sequence: known, offer }
    }

    fn offer(stream: u8, epoch: u64, hash: u64) -> Offer {
        Offer { version: 1, stream_id: Some([stream; 16]), epoch, hash, ..Offer::default() }
    }

    /// The status of a refusal, and where the histories part; or whether the reader's claim is proven.
    fn decide(sync: &Sync) -> Result<bool, (Status, Option<u64>, Option<u64>)> {
        let admitted = admit(&Ten { oldest: 2 }, Medium::Disk, &OURS, sync, false);
        admitted
            .map(|admitted| admitted.claim.proven)
            .map_err(|refusal| (refusal.error.status, refusal.common_sequence, refusal.differing_sequence))
    }

    #[test]
    fn p7_a_reader_follows_its_own_history_and_no_other() {
        let refused = |status| Err((status, None, None));
        let table = [
            // v1 readers have a position only.
            (sync(10, None), Ok(false)),
            (sync(11, None), refused(Status::Regressed)),
            (sync(1, None), refused(Status::WalRotated)),
            // The right hash is a proof, whatever the epoch.
            (sync(10, Some(offer(7, 5, 110))), Ok(true)),
            (sync(10, Some(offer(7, 1, 110))), Ok(true)),
            // Without a hash the epoch decides.
            (sync(10, Some(offer(7, 5, UNKNOWN_HISTORY))), Ok(false)),
            (sync(6, Some(offer(7, 1, UNKNOWN_HISTORY))), Ok(false)),
            (sync(7, Some(offer(7, 1, UNKNOWN_HISTORY))), Err((Status::Diverged, Some(6), Some(7)))),
            // Another stream, and a later writer of this one.
            (sync(10, Some(offer(8, 5, 110))), refused(Status::Diverged)),
            (sync(10, Some(offer(7, 6, 110))), refused(Status::Diverged)),
            // A wrong hash is a fork.
            (sync(10, Some(offer(7, 5, 1))), Err((Status::Diverged, None, Some(10)))),
            (sync(11, Some(offer(7, 5, 111))), refused(Status::Regressed)),
            // A reader past its epoch has diverged, even where the log ends before it.
            (sync(11, Some(offer(7, 1, 111))), Err((Status::Diverged, Some(6), Some(7)))),
            (sync(1, Some(offer(7, 1, 101))), refused(Status::WalRotated)),
            // Of an unnamed stream only the hash is compared.
            (sync(10, Some(Offer { stream_id: None, ..offer(8, 9, 110) })), Ok(true)),
            (sync(10, Some(Offer { stream_id: None, ..offer(8, 9, 1) })), Err((Status::Diverged, None, Some(10)))),
            // Who has nothing has no history.
            (sync(0, Some(offer(8, 9, 1))), refused(Status::WalRotated)),
        ];
        for (sync, decided) in table {
            assert_eq!(decide(&sync), decided, "{sync:?}");
        }
    }

    /// P6: what a Sync claims is proven by the right hash of a position after the first entry, and by nothing else.
    #[test]
    fn p6_a_claim_is_proven_by_a_right_hash_and_by_nothing_else() {
        let proven = |sync: Sync| admit(&Ten { oldest: 0 }, Medium::Disk, &OURS, &sync, false).unwrap().claim.proven;
        assert!(proven(sync(1, Some(offer(7, 5, 101)))));
        assert!(!proven(sync(0, Some(offer(7, 5, 100)))));
        assert!(!proven(sync(1, Some(offer(7, 5, UNKNOWN_HISTORY)))));
        assert!(!proven(sync(1, None)));
    }

    /// P6: the hash would be the proof of what a reader does not have.
    #[test]
    fn p6_a_reader_is_told_the_hash_that_it_brought_and_no_other() {
        let told = |hash| {
            let sync = sync(10, Some(offer(7, 5, hash)));
            admit(&Ten { oldest: 2 }, Medium::Disk, &OURS, &sync, false).unwrap().disclosed_hash()
        };
        assert_eq!((told(110), told(UNKNOWN_HISTORY)), (110, UNKNOWN_HISTORY));
    }

    /// P7: whoever may not promote says nothing of this writer.
    #[test]
    fn p7_a_later_epoch_is_believed_of_who_may_promote() {
        let sync = sync(10, Some(offer(7, 6, 110)));
        let text =
            |believed| admit(&Ten { oldest: 2 }, Medium::Disk, &OURS, &sync, believed).unwrap_err().error.message;
        assert!(text(true).contains("stop this one") && text(false).contains("no right to say"));
    }

    /// P7: points of which the reader does not know the history say nothing of where it parted.
    #[test]
    fn p7_an_unknown_hash_is_never_compared() {
        let unknown = [2, 4, 6].map(|sequence| Point { sequence, hash: UNKNOWN_HISTORY });
        let same = Point { sequence: 8, hash: 108 };
        let other = Point { sequence: 9, hash: 1 };
        let parting = |known: &[Point]| {
            let history = unknown.iter().chain(known).copied().collect();
            decide(&sync(10, Some(Offer { history, ..offer(7, 5, 1) })))
        };
        assert_eq!(parting(&[]), Err((Status::Diverged, None, Some(10))));
        assert_eq!(parting(&[same]), Err((Status::Diverged, Some(8), Some(10))));
        assert_eq!(parting(&[same, other]), Err((Status::Diverged, Some(8), Some(9))));
    }
}
