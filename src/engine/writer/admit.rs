//! Whether a reader may follow: whether this writer has every entry after its position, and whether what the reader has
//! is what this writer has.

use super::standing::Claim;
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

/// Decides whether a reader may follow the writer of `lineage`, or why not.
pub(crate) fn admit<L: LogView>(
    log: &L,
    medium: Medium,
    lineage: &Lineage,
    sync: &Sync,
) -> Result<Admitted<L::Cursor>, Refusal> {
    let known = sync.last_known_sequence;
    let attach = || -> Result<_, Refusal> {
        let (cursor, start) = log.attach(known).map_err(|missing| not_here(medium, known, missing))?;
        Ok(Admitted { claim: Claim::of(sync, start.hash), cursor, start })
    };
    let Some(offer) = sync.offer.as_ref().filter(|_| known > 0) else { return attach() };
    same_lineage(lineage, offer, known)?;
    let attached = attach();
    if attached.as_ref().is_ok_and(|admitted| admitted.claim.proven) {
        return attached;
    }
    within_its_epoch(log, offer, known)?;
    let ours = attached.as_ref().map_or(UNKNOWN_HISTORY, |admitted| admitted.start.hash);
    let compares = !mutant!("histories-not-compared") && offer.hash != UNKNOWN_HISTORY && ours != UNKNOWN_HISTORY;
    if compares { Err(fork(log, offer, known)) } else { attached }
}

fn diverged(text: String) -> Refusal {
    Error::new(Status::Diverged, text).into()
}

/// Whether stream and epoch are this writer's, or earlier ones of its own.
fn same_lineage(ours: &Lineage, offer: &Offer, known: u64) -> Result<(), Refusal> {
    let Some(stream_id) = offer.stream_id else { return Ok(()) };
    if stream_id != ours.stream_id {
        let text = format!("position {known} belongs to another stream than this writer's; re-seed the reader");
        return Err(diverged(text));
    }
    if offer.epoch > ours.epoch {
        let (theirs, ours) = (offer.epoch, ours.epoch);
        return Err(diverged(format!(
            "the reader says that it has seen epoch {theirs}, this writer has epoch {ours}: if another node was promoted, stop this one"
        )));
    }
    Ok(())
}

/// Whether what the reader has of its epoch lies before the next epoch began. A log that belonged to a reader knows
/// that place as the one where the reader met the epoch, which may be earlier: so this is for histories that cannot be
/// compared, or that differ.
fn within_its_epoch(log: &impl LogView, offer: &Offer, known: u64) -> Result<(), Refusal> {
    if offer.stream_id.is_none() {
        return Ok(());
    }
    let epochs = log.epochs();
    let ended = epochs.iter().find(|(epoch, _)| *epoch > offer.epoch);
    if let Some((epoch, after)) = ended.filter(|(_, after)| known > *after) {
        let differing = after + 1;
        let text = format!(
            "the reader is at {known} in epoch {}, but epoch {epoch} began behind entry {after}: the first entry that differs is {differing}; re-seed the reader",
            offer.epoch
        );
        let refusal = diverged(text);
        return Err(Refusal { common_sequence: Some(*after), differing_sequence: Some(differing), ..refusal });
    }
    Ok(())
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
fn fork(log: &impl LogView, offer: &Offer, known: u64) -> Refusal {
    let same = |point: &Point| log.attach(point.sequence).is_ok_and(|(_, start)| start.hash == point.hash);
    let ours = log.oldest_known()..known;
    let compares = |point: &&Point| ours.contains(&point.sequence) && point.hash != UNKNOWN_HISTORY;
    let rising = offer.history.iter().filter(compares).collect::<Vec<_>>();
    // Once different, histories stay different.
    let split = rising.partition_point(|point| same(point));
    let common_sequence = split.checked_sub(1).map(|last| rising[last].sequence);
    let differing_sequence = rising.get(split).map_or(known, |point| point.sequence);
    let text = match common_sequence {
        Some(common) if common + 1 == differing_sequence => {
            format!(
                "the reader has another history than this writer: the first entry that differs is {differing_sequence}; re-seed the reader"
            )
        }
        Some(common) => format!(
            "the reader has another history than this writer: the first entry that differs lies behind {common}, at {differing_sequence} or before; re-seed the reader"
        ),
        None => format!(
            "the reader has another history than this writer: the first entry that differs is {differing_sequence} or an earlier one; re-seed the reader"
        ),
    };
    Refusal { common_sequence, differing_sequence: Some(differing_sequence), ..diverged(text) }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    const OURS: Lineage = Lineage { stream_id: [7; 16], epoch: 5 };

    /// A log of ten entries, of which the first two are gone. The hash after an entry is a hundred more than its
    /// sequence.
    struct Ten;

    impl LogView for Ten {
        type Cursor = ();

        fn attach(&self, sequence: u64) -> Result<((), Mark), Missing> {
            match sequence {
                0 | 1 => Err(Missing::Gone { oldest_known: 2 }),
                2..=10 => Ok(((), Mark { sequence, hash: sequence + 100, ..Mark::default() })),
                _ => Err(Missing::Ahead { last: 10 }),
            }
        }

        fn oldest_known(&self) -> u64 {
            2
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
        let admitted = admit(&Ten, Medium::Disk, &OURS, sync);
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
            // Who has nothing has no history.
            (sync(0, Some(offer(8, 9, 1))), refused(Status::WalRotated)),
        ];
        for (sync, decided) in table {
            assert_eq!(decide(&sync), decided, "{sync:?}");
        }
    }

    /// P6: the hash would be the proof of what a reader does not have.
    #[test]
    fn p6_a_reader_is_told_the_hash_that_it_brought_and_no_other() {
        let told =
            |hash| admit(&Ten, Medium::Disk, &OURS, &sync(10, Some(offer(7, 5, hash)))).unwrap().disclosed_hash();
        assert_eq!((told(110), told(UNKNOWN_HISTORY)), (110, UNKNOWN_HISTORY));
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
