//! Whether a position lies in the history of a log: the question behind every handshake and every log that is opened.
//!
//! A follower has the entries up to a position and wants those after it; a source is the log it would take them from.
//! Who asks, and about whom, differs:
//!
//! | who asks | follower | source |
//! |---|---|---|
//! | a writer, of a reader's Sync | the reader | its own log |
//! | a reader, of a writer's answer | itself | the writer's log |
//! | a writer that opens its log on disk | what the host says it goes on from | the log on disk |
//! | the same, of the epoch to write | the log on disk | what the host says it writes |
//! | a reader that opens its log on disk | the host's position | the log on disk |
//! | a reader, before it writes to that log | what it received, up to the log's end | the log on disk |
//! | a reader, before it calls the handler | the host's position | what it received |
//!
//! Stream and epoch are what the two say of themselves. The chain hash is the proof: equal hashes at the position are
//! one history up to there, different ones are a fork, whatever else the two say.

use crate::error::Status;
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::handshake::Point;
use crate::protocol::lineage::Lineage;
use crate::protocol::token::Token;

/// What a follower has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follower {
    /// The lineage that its position belongs to; `None` if it may follow any. An epoch of 0 is below every other.
    pub(crate) lineage: Option<Lineage>,
    /// Its position: the source is to go on after it.
    pub(crate) at: Point,
    /// The last entry that it has, if the source must have that too. Usually the position.
    pub(crate) last: u64,
    /// How far the source's epoch may be above its own.
    pub(crate) max_epoch_jump: u64,
}

impl Follower {
    /// One at this position that may follow any lineage.
    pub(crate) fn at(at: Point) -> Self {
        Self { lineage: None, at, last: at.sequence, max_epoch_jump: u64::MAX }
    }
}

/// What a source has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    /// The lineage of the log; `None` if it names none, as in v1.
    pub(crate) lineage: Option<Lineage>,
    /// The chain hash of its entries up to the follower's position.
    pub(crate) hash: u64,
    /// The last entry of the log; `u64::MAX` if the follower may be ahead of it.
    pub(crate) last: u64,
    /// The epochs that the log knows, rising, each with the last entry before it.
    pub(crate) epochs: &'a [(u64, u64)],
}

impl Source<'_> {
    /// One of which no more is known, or of no interest, than its lineage and its hash at the follower's position.
    pub(crate) fn new(lineage: Option<Lineage>, hash: u64) -> Self {
        Self { lineage, hash, last: u64::MAX, epochs: &[] }
    }
}

/// Whether the follower's position lies in the source's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It does, as far as both know. `proven`: their hashes are equal.
    Same { proven: bool },
    /// The source has another stream.
    OtherStream,
    /// The source has a lower epoch than the follower has seen: it is no longer the writer.
    OldEpoch,
    /// The source's epoch is further above the follower's than is allowed.
    EpochJump,
    /// The follower has entries of its epoch after the last one before `epoch`, with which the source went on.
    PastEpoch { epoch: u64, last_before: u64 },
    /// The source has other entries up to the position.
    Forked,
    /// The source ends before what the follower has: it was restarted or restored without its log.
    Regressed,
}

impl Verdict {
    /// Whether equal hashes prove that the histories are the same up to the position.
    pub(crate) fn is_proven(self) -> bool {
        self == Self::Same { proven: true }
    }

    /// The status of a refusal for this reason.
    pub(crate) fn status(self) -> Status {
        match self {
            Self::Same { .. } => Status::Ok,
            Self::Regressed => Status::Regressed,
            Self::OtherStream | Self::OldEpoch | Self::EpochJump | Self::PastEpoch { .. } | Self::Forked => {
                Status::Diverged
            }
        }
    }
}

/// Whether the follower's position lies in the source's history; of several reasons why not, the one that says most.
pub(crate) fn judge(follower: &Follower, source: &Source<'_>) -> Verdict {
    let known = follower.at.hash != UNKNOWN_HISTORY && source.hash != UNKNOWN_HISTORY;
    let proven = known && follower.at.hash == source.hash;
    if let (Some(theirs), Some(ours)) = (follower.lineage, source.lineage) {
        if theirs.stream_id != ours.stream_id {
            return Verdict::OtherStream;
        }
        match ours.epoch.checked_sub(theirs.epoch) {
            None if mutant!("old-epochs-followed") => {}
            None => return Verdict::OldEpoch,
            Some(jump) if jump > follower.max_epoch_jump => return Verdict::EpochJump,
            Some(_) => {}
        }
        // A log that was a reader's knows an epoch from where the reader met it, which may be before where it began.
        // So this counts for histories that cannot be compared, or that differ.
        let next = source.epochs.iter().find(|(epoch, _)| *epoch > theirs.epoch).filter(|_| !proven);
        if let Some((epoch, last_before)) = next.copied().filter(|(_, before)| follower.at.sequence > *before) {
            return Verdict::PastEpoch { epoch, last_before };
        }
    }
    if known && !proven && !mutant!("histories-not-compared") {
        return Verdict::Forked;
    }
    if source.last < follower.last {
        return Verdict::Regressed;
    }
    Verdict::Same { proven }
}

/// A history that is asked for one entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownHistory<'a> {
    pub(crate) lineage: Lineage,
    /// The chain hash through the entry, if it is still known.
    pub(crate) hash: u64,
    /// The last entry.
    pub(crate) last: u64,
    /// The epochs that are known, rising, each with the last entry before it.
    pub(crate) epochs: &'a [(u64, u64)],
    /// The last entry before the epoch of `lineage`, if this node began that epoch. A reader may meet an epoch before
    /// that epoch begins.
    pub(crate) began_after: Option<u64>,
}

/// Whether a history has the entry that a token names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    Present,
    /// It does not, for this reason.
    Lost(Verdict),
    /// The hash that would tell is no longer known.
    Unknown,
}

/// Whether a history has the entry of this token. Equal hashes are proof. Without them one writer must have numbered
/// the entry and the history's entry of that sequence.
pub(crate) fn find(token: &Token, history: &KnownHistory<'_>) -> Membership {
    let ours = history.lineage;
    if token.stream_id != ours.stream_id {
        return Membership::Lost(Verdict::OtherStream);
    }
    if token.sequence == 0 {
        return Membership::Present;
    }
    if token.hash != UNKNOWN_HISTORY && history.hash != UNKNOWN_HISTORY && !mutant!("tokens-not-compared") {
        let is_same = token.hash == history.hash;
        return if is_same { Membership::Present } else { Membership::Lost(Verdict::Forked) };
    }
    let is_past = |last: &u64| token.sequence > *last;
    if is_past(&history.last) {
        return Membership::Lost(Verdict::Regressed);
    }
    if token.epoch == ours.epoch {
        return Membership::Present;
    }
    if token.epoch < ours.epoch
        && let Some(last_before) = history.began_after.filter(is_past)
    {
        return Membership::Lost(Verdict::PastEpoch { epoch: ours.epoch, last_before });
    }
    let known = history.epochs.iter().position(|(epoch, _)| *epoch == token.epoch);
    let next = known.and_then(|at| history.epochs.get(at + 1));
    match next {
        Some((_, last_of_it)) if !is_past(last_of_it) => Membership::Present,
        _ => Membership::Unknown,
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    const OURS: Lineage = Lineage { stream_id: [7; 16], epoch: 5 };

    fn follower(change: impl FnOnce(&mut Follower)) -> Follower {
        let mut follower =
            Follower { lineage: Some(OURS), max_epoch_jump: 3, ..Follower::at(Point { sequence: 10, hash: 99 }) };
        change(&mut follower);
        follower
    }

    fn source(change: impl FnOnce(&mut Source<'static>)) -> Source<'static> {
        let mut source = Source { last: 20, ..Source::new(Some(OURS), 99) };
        change(&mut source);
        source
    }

    /// P7: every row that a handshake, an opened log or the apply thread decides by.
    #[test]
    fn p7_a_position_is_judged_by_stream_epoch_history_and_length() {
        let same = || follower(|_| {});
        let unhashed = || follower(|f| f.at.hash = UNKNOWN_HISTORY);
        let unbound = || follower(|f| f.lineage = None);
        let epoch = |epoch| source(move |s| s.lineage = Some(Lineage { epoch, ..OURS }));
        let other = Some(Lineage { stream_id: [8; 16], ..OURS });
        // What a host says of its position names no epoch; a log on disk is to go on in the epoch that the host names.
        let host = |hash| {
            let lineage = Some(Lineage { epoch: 0, ..OURS });
            Follower { lineage, ..Follower::at(Point { sequence: 10, hash }) }
        };
        let log = || Follower { lineage: Some(OURS), ..Follower::at(Point::default()) };
        // The source went on with epoch 6 after entry 8, or after entry 10.
        let after_8 = |hash| source(|s| (s.lineage, s.hash, s.epochs) = (epoch(6).lineage, hash, &[(5, 0), (6, 8)]));
        let after_10 = |hash| source(|s| (s.lineage, s.hash, s.epochs) = (epoch(6).lineage, hash, &[(5, 0), (6, 10)]));
        let (proven, unproven) = (Verdict::Same { proven: true }, Verdict::Same { proven: false });
        let past = Verdict::PastEpoch { epoch: 6, last_before: 8 };
        let short = Verdict::Regressed;
        let table = [
            ("the same", same(), source(|_| {}), proven),
            ("a follower without a hash", unhashed(), source(|_| {}), unproven),
            ("a source without a hash", same(), source(|s| s.hash = UNKNOWN_HISTORY), unproven),
            ("another history", same(), source(|s| s.hash = 98), Verdict::Forked),
            ("another stream", same(), source(|s| s.lineage = other), Verdict::OtherStream),
            ("another stream, when unbound", unbound(), source(|s| s.lineage = other), proven),
            ("another history, when unbound", unbound(), source(|s| s.hash = 98), Verdict::Forked),
            ("no lineage", same(), source(|s| s.lineage = None), proven),
            ("a lower epoch", same(), epoch(4), Verdict::OldEpoch),
            ("a higher epoch", same(), epoch(6), proven),
            ("as high as it may be", same(), epoch(8), proven),
            ("too high", same(), epoch(9), Verdict::EpochJump),
            ("the highest", same(), epoch(u64::MAX), Verdict::EpochJump),
            ("the highest, when unbound", unbound(), epoch(u64::MAX), proven),
            ("no epoch seen", follower(|f| f.lineage = Some(Lineage { epoch: 0, ..OURS })), epoch(3), proven),
            ("up to the end of its epoch", unhashed(), after_10(99), unproven),
            ("past its epoch, not compared", unhashed(), after_8(99), past),
            ("past its epoch, source unknown", same(), after_8(UNKNOWN_HISTORY), past),
            ("past its epoch, but the same entries", same(), after_8(99), proven),
            ("past its epoch, other entries", same(), after_8(98), past),
            ("within its epoch, other entries", same(), after_10(98), Verdict::Forked),
            ("past its epoch, when unbound", follower(|f| (f.lineage, f.at.hash) = (None, 0)), after_8(99), unproven),
            ("at the end", same(), source(|s| s.last = 10), proven),
            ("ahead", unhashed(), source(|s| s.last = 9), short),
            ("a host that is ahead of its reader", follower(|f| f.last = 21), source(|_| {}), short),
            ("ahead, when unbound", follower(|f| (f.lineage, f.at.hash) = (None, 0)), source(|s| s.last = 9), short),
            ("ahead, and past its epoch", unhashed(), Source { last: 9, ..after_8(UNKNOWN_HISTORY) }, past),
            ("a host in any epoch", host(99), source(|_| {}), proven),
            ("a host, other entries", host(98), source(|_| {}), Verdict::Forked),
            ("a host, another stream", host(99), source(|s| s.lineage = other), Verdict::OtherStream),
            ("a host, ahead", host(UNKNOWN_HISTORY), source(|s| s.last = 9), short),
            ("a log, for an epoch below its own", log(), epoch(4), Verdict::OldEpoch),
            ("a log, for its epoch", log(), epoch(5), unproven),
            ("a log, for any epoch above its own", log(), epoch(u64::MAX), unproven),
            ("ahead, where it may be", follower(|f| f.last = 21), source(|s| s.last = u64::MAX), proven),
        ];
        for (what, follower, source, expected) in table {
            assert_eq!(judge(&follower, &source), expected, "{what}");
        }
    }

    /// P7: of several reasons the one that no later entry can change comes first.
    #[test]
    fn p7_the_stream_is_told_before_the_epoch_before_the_history_before_the_length() {
        let all = follower(|f| (f.last, f.lineage) = (21, Some(Lineage { epoch: 6, ..OURS })));
        let mut source = source(|s| (s.lineage, s.hash) = (Some(Lineage { stream_id: [8; 16], ..OURS }), 98));
        assert_eq!(judge(&all, &source), Verdict::OtherStream);
        source.lineage = Some(OURS);
        assert_eq!(judge(&all, &source), Verdict::OldEpoch);
        source.lineage = Some(Lineage { epoch: 6, ..OURS });
        assert_eq!(judge(&all, &source), Verdict::Forked);
        source.hash = 99;
        assert_eq!(judge(&all, &source), Verdict::Regressed);
        source.last = 21;
        assert_eq!(judge(&all, &source), Verdict::Same { proven: true });
    }

    /// P7: what a sender answers for the entry of a token, and a receiver that has reached its sequence.
    #[test]
    fn p7_the_entry_of_a_token_is_found_by_its_hash_or_by_who_numbered_it() {
        let token = |epoch, sequence, hash| Token { stream_id: [7; 16], epoch, sequence, hash };
        // Epoch 3 up to entry 10, then epoch 5 up to entry 20.
        let epochs = &[(3, 0), (5, 10)];
        let began = |hash| KnownHistory { lineage: OURS, hash, last: 20, epochs, began_after: Some(10) };
        let met = |hash| KnownHistory { began_after: None, ..began(hash) };
        let (present, unknown) = (Membership::Present, Membership::Unknown);
        let forked = Membership::Lost(Verdict::Forked);
        let past = Membership::Lost(Verdict::PastEpoch { epoch: 5, last_before: 10 });
        let foreign = Token { stream_id: [8; 16], ..token(5, 12, 99) };
        let table = [
            ("the same hash", token(5, 12, 99), began(99), present),
            ("another hash", token(5, 12, 98), began(99), forked),
            ("another stream", foreign, began(99), Membership::Lost(Verdict::OtherStream)),
            ("the beginning", token(4, 0, 98), began(99), present),
            ("the same hash, met in a later epoch", token(6, 12, 99), began(99), present),
            ("another hash, of a later epoch", token(6, 12, 98), began(99), forked),
            ("beyond the end", token(5, 21, 99), began(0), Membership::Lost(Verdict::Regressed)),
            ("no hash, of this epoch", token(5, 12, 99), began(0), present),
            ("a token without a hash", token(5, 12, 0), began(99), present),
            ("no hash, inherited", token(3, 10, 99), began(0), present),
            ("no hash, past where this epoch began", token(3, 11, 99), began(0), past),
            ("no hash, past where this epoch was met", token(3, 11, 99), met(0), unknown),
            ("no hash, before where this epoch was met", token(3, 10, 99), met(0), present),
            ("no hash, of an epoch between", token(4, 10, 99), began(0), unknown),
            ("no hash, of an epoch between, too late", token(4, 11, 99), began(0), past),
            ("no hash, of an earlier epoch", token(2, 5, 99), began(0), unknown),
            ("no hash, of a later epoch", token(6, 12, 99), began(0), unknown),
        ];
        for (what, token, history, expected) in table {
            assert_eq!(find(&token, &history), expected, "{what}");
        }
    }
}
