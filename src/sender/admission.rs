//! Whether a reader may follow: whether this writer has every entry after its position, and whether what the reader has is
//! what this writer has.

use std::sync::Arc;

use super::core::Core;
use crate::engine::writer::standing::Claim;
use crate::error::{Error, Status};
use crate::log::{AttachError, Cursor, Log};
use crate::runtime;
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::handshake::{Offer, Point, Sync};

/// Why a reader may not follow.
pub(super) struct Refusal {
    pub(super) error: Error,
    /// Up to where the histories are known to be the same.
    pub(super) common_sequence: Option<u64>,
    /// The first entry that is known to differ.
    pub(super) differing_sequence: Option<u64>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, common_sequence: None, differing_sequence: None }
    }
}

/// A reader that may follow.
pub(super) struct Admitted {
    /// Behind the reader's position.
    pub(super) cursor: Cursor,
    /// Whether what its Sync says is proven.
    pub(super) claim: Claim,
}

impl Admitted {
    fn new(sync: &Sync, cursor: Cursor) -> Self {
        Self { claim: Claim::of(sync, cursor.start().hash), cursor }
    }

    /// The hash that the reader is told: to one that brought none it would be the proof of what it does not have.
    pub(super) fn told_hash(&self) -> u64 {
        let start = self.cursor.start();
        if self.claim.proven || start.sequence == 0 { start.hash } else { UNKNOWN_HISTORY }
    }
}

/// Whether the reader may follow, or why not.
pub(super) async fn admit(core: &Arc<Core>, sync: &Sync) -> Result<Admitted, Refusal> {
    core.gate.check()?;
    if core.log.disk().is_none() {
        return decide(core, sync);
    }
    // The log's files may have to be read, which must not keep this thread from the other readers.
    let (core, sync) = (Arc::clone(core), sync.clone());
    let decided = runtime::spawn_blocking(move || decide(&core, &sync)).await;
    decided.unwrap_or_else(|| Err(Error::new(Status::Panic, "internal error while a reader was admitted").into()))
}

fn decide(core: &Core, sync: &Sync) -> Result<Admitted, Refusal> {
    let known = sync.last_known_sequence;
    let attach = || {
        let cursor = core.log.attach(known).map_err(|error| not_here(core, known, error))?;
        Ok(Admitted::new(sync, cursor))
    };
    let Some(offer) = sync.offer.as_ref().filter(|_| known > 0) else { return attach() };
    same_lineage(core, offer, known)?;
    let attached: Result<_, Refusal> = attach();
    let ours = attached.as_ref().map_or(UNKNOWN_HISTORY, |admitted| admitted.cursor.start().hash);
    if attached.as_ref().is_ok_and(|admitted| admitted.claim.proven) {
        return attached;
    }
    within_its_epoch(core, offer, known)?;
    let compares = offer.hash != UNKNOWN_HISTORY && ours != UNKNOWN_HISTORY;
    if compares { Err(fork(&core.log, offer, known)) } else { attached }
}

fn diverged(text: String) -> Refusal {
    Error::new(Status::Diverged, text).into()
}

/// Whether stream and epoch are this writer's, or earlier ones of its own.
fn same_lineage(core: &Core, offer: &Offer, known: u64) -> Result<(), Refusal> {
    let Some(stream_id) = offer.stream_id else { return Ok(()) };
    if stream_id != core.lineage.stream_id {
        let text = format!("position {known} belongs to another stream than this writer's; re-seed the reader");
        return Err(diverged(text));
    }
    if offer.epoch > core.lineage.epoch {
        let (theirs, ours) = (offer.epoch, core.lineage.epoch);
        return Err(diverged(format!(
            "the reader says that it has seen epoch {theirs}, this writer has epoch {ours}: if another node was promoted, stop this one"
        )));
    }
    Ok(())
}

/// Whether what the reader has of its epoch lies before the next epoch began. A log that was a reader's own knows that place
/// as the one where the reader met the epoch, which may be an earlier one: so this is for histories that cannot be compared,
/// or that differ.
fn within_its_epoch(core: &Core, offer: &Offer, known: u64) -> Result<(), Refusal> {
    if offer.stream_id.is_none() {
        return Ok(());
    }
    let epochs = core.log.disk().map(|disk| disk.epochs()).unwrap_or_default();
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

fn not_here(core: &Core, known: u64, error: AttachError) -> Refusal {
    match error {
        AttachError::Gone { oldest_known } => Error::new(
            core.gone(),
            format!(
                "the reader is at {known}, entries up to {oldest_known} are no longer {}; re-seed the reader",
                core.gone_from()
            ),
        ),
        AttachError::Ahead { last } => Error::new(
            Status::Regressed,
            format!(
                "the reader is at {known}, this writer only at {last}: it was restarted or restored without its log"
            ),
        ),
        AttachError::Failed(error) => error,
    }
    .into()
}

/// The histories differ at or before `known`. Finds out where, as far as the points that the reader named tell.
fn fork(log: &Arc<Log>, offer: &Offer, known: u64) -> Refusal {
    let same = |point: &Point| log.attach(point.sequence).map(|cursor| cursor.start().hash) == Ok(point.hash);
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
    use crate::log::{FullPolicy, LogConfig, Mark};

    /// P7: points of which the reader does not know the history say nothing of where it parted.
    #[test]
    fn p7_an_unknown_hash_is_never_compared() {
        let start = Mark { hash: 1, ..Mark::default() };
        let log = Arc::new(Log::new(LogConfig { start, ..LogConfig::new(100, 1 << 16, FullPolicy::Refuse) }));
        for _ in 0..10 {
            log.append(0, b"entry").unwrap();
        }
        let ours = |sequence| log.attach(sequence).map(|cursor| cursor.start().hash).unwrap();
        let unknown = [2, 4, 6].map(|sequence| Point { sequence, hash: UNKNOWN_HISTORY });
        let same = Point { sequence: 8, hash: ours(8) };
        let other = Point { sequence: 9, hash: ours(9) ^ 1 };
        let parting = |known: &[Point]| {
            let history = unknown.iter().chain(known).copied().collect();
            let refusal = fork(&log, &Offer { hash: ours(10) ^ 1, history, ..Offer::default() }, 10);
            (refusal.common_sequence, refusal.differing_sequence)
        };
        assert_eq!(parting(&[]), (None, Some(10)));
        assert_eq!(parting(&[same]), (Some(8), Some(10)));
        assert_eq!(parting(&[same, other]), (Some(8), Some(9)));
    }
}
