//! What a reader says in its Sync, and whether it may follow the writer that answers. Nothing changes before the whole
//! answer has passed.

use std::time::Duration;

use super::end::ConnectionEnd;
use super::history::History;
use super::plan::{self, Goal, Plan};
use super::policy::{GapPolicy, ProtocolChoice};
use super::stream::Before;
use crate::engine::lineage::{self, Follower, Source, Verdict};
use crate::engine::version::WireVersion;
use crate::error::{Error, Status};
use crate::protocol::STREAM_VERSION;
use crate::protocol::entry::{UNKNOWN_HISTORY, chain_start};
use crate::protocol::handshake::{Answer, Offer, Point, Sync, SyncAck, hex};
use crate::protocol::lineage::Lineage;
use crate::text::Quoted;

/// What this reader has, and whom it may follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// What it has received.
    pub(crate) received: Point,
    /// What its handler has applied. That may be more: a host may be ahead of what this receiver got.
    pub(crate) applied: u64,
    /// The end of its log on disk, 0 without one. That may be more as well: a host may be before the log's start.
    pub(crate) logged: u64,
    /// The lineage that it followed last.
    pub(crate) lineage: Option<Lineage>,
    /// Whether its host named that lineage.
    pub(crate) named: bool,
    /// Whether it keeps a log on disk.
    pub(crate) local_log: bool,
    pub(crate) protocol: ProtocolChoice,
    pub(crate) coordinator: bool,
    pub(crate) gap_policy: GapPolicy,
    /// How far an epoch may rise at once.
    pub(crate) max_epoch_jump: u64,
}

impl Held {
    /// The lineage that it must go on with: it has entries of that, or its host named it, or its directory is bound to it,
    /// which also counts before the first entry and in the next process.
    fn bound_to(&self) -> Option<Lineage> {
        self.lineage.filter(|_| self.received.sequence > 0 || self.local_log || self.named)
    }
}

/// The Sync of a reader with this plan. `logged`: points of the history from its log on disk, if it has one.
pub(crate) fn sync(
    held: &Held,
    plan: Option<&Plan>,
    reader_id: &str,
    heartbeat: Duration,
    logged: Vec<Point>,
    history: &History,
) -> Sync {
    let at = plan::sync_position(plan, held.received);
    let mut points = if logged.is_empty() { history.points().to_vec() } else { logged };
    points.retain(|point| point.sequence < at.sequence);
    let offer = Offer {
        version: STREAM_VERSION,
        stream_id: held.lineage.map(|lineage| lineage.stream_id),
        epoch: held.lineage.map_or(0, |lineage| lineage.epoch),
        heartbeat_ms: heartbeat.as_millis() as u64,
        hash: at.hash,
        history: points,
    };
    Sync {
        reader_id: reader_id.to_owned(),
        last_known_sequence: at.sequence,
        offer: (held.protocol != ProtocolChoice::V1).then_some(offer),
    }
}

/// A writer that may be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) version: WireVersion,
    /// To be adopted before anything is acknowledged or applied; v1 names none.
    pub(crate) lineage: Option<Lineage>,
}

/// The verdict on the answer of the writer at `peer` to a Sync with this plan. A refusal may bring a plan for the next one.
pub(crate) fn verdict(held: &Held, ack: &SyncAck, plan: Option<&Plan>, peer: &str) -> Result<Agreed, ConnectionEnd> {
    let at = plan::sync_position(plan, held.received);
    let lineage = ack.answer.as_ref().map(lineage_of);
    if let Some(plan) = plan.filter(|_| ack.error.is_empty()).filter(|plan| plan.gap_end().is_some())
        && plan.lineage != lineage
    {
        let next = held.received.sequence.saturating_add(1);
        let text = format!(
            "{} is another node now than the one that said its entries begin later; asking for entry {next} again",
            plan.peer
        );
        return Err(Error::new(Status::LineageChanged, text).into());
    }
    judge(held, at, ack).map_err(|end| {
        let goal = if end.refused { next_goal(held, at, end.error.status, ack) } else { None };
        let plan = goal.map(|goal| Plan { peer: peer.to_owned(), lineage, goal });
        ConnectionEnd { plan, ..end }
    })
}

/// What to ask a writer for that refuses this reader.
fn next_goal(held: &Held, at: Point, refused_with: Status, ack: &SyncAck) -> Option<Goal> {
    if let Some((common, differing)) = fork_range(held, at, ack) {
        return Some(Goal::LocateFork { common, differing });
    }
    let gone = matches!(refused_with, Status::SequenceGap | Status::WalRotated);
    let passes = gone && (held.gap_policy == GapPolicy::Continue || mutant!("gap-passed-silently"));
    passes.then(|| gap_end(held, at, ack)).flatten().map(Goal::PassGap)
}

/// Where the stream of a writer that may be followed begins: at what this reader has received. Where the reader does not know
/// the history up to there, it takes the writer's.
pub(crate) fn stream_start(received: Point, ack: &SyncAck) -> Before {
    let Point { sequence, mut hash } = received;
    let answer = ack.answer.as_ref();
    if let Some(answer) = answer.filter(|_| hash == UNKNOWN_HISTORY) {
        hash = if sequence == 0 { chain_start(&answer.stream_id) } else { answer.hash };
    }
    Before { epoch: answer.map_or(0, |answer| answer.epoch), sequence, hash }
}

/// Whether this writer may be followed from `at` on, and in which protocol.
fn judge(held: &Held, at: Point, ack: &SyncAck) -> Result<Agreed, ConnectionEnd> {
    let invalid = |text: &str| Err(Error::new(Status::InvalidMsg, text).into());
    if !ack.error.is_empty() {
        let code = match &ack.answer {
            Some(Answer { code, .. }) if !code.is_empty() => code.as_str(),
            _ => ack.error.split(':').next().unwrap_or_default(),
        };
        let error =
            Error::new(Status::reported(code), format!("the writer refuses this reader: {}", Quoted(&ack.error)));
        return Err(ConnectionEnd { error, refused: true, plan: None });
    }
    if let Some(answer) = &ack.answer {
        if held.protocol == ProtocolChoice::V1 {
            return invalid("the writer takes an offer of v2 that was not made");
        }
        if answer.version != STREAM_VERSION {
            let picked = answer.version;
            return invalid(&format!("the writer picked version {picked} of the stream, {STREAM_VERSION} was offered"));
        }
    }
    has_history(held, at, ack)?;
    let Some(answer) = &ack.answer else {
        if held.local_log {
            return invalid("the writer speaks v1, which names no stream: a local log cannot follow it");
        }
        if held.protocol == ProtocolChoice::Auto && held.bound_to().is_some() {
            let text = "the writer no longer names its stream; set the protocol to v1 to follow it all the same";
            return Err(Error::new(Status::Diverged, text).into());
        }
        if held.protocol == ProtocolChoice::V2 {
            return invalid("the writer does not speak v2, and nothing else is allowed here");
        }
        return Ok(Agreed { version: WireVersion::V1 { coordinator: held.coordinator }, lineage: None });
    };
    Ok(Agreed { version: WireVersion::V2, lineage: Some(lineage_of(answer)) })
}

/// Whether the writer has the history that this reader has, as far as it says.
fn has_history(held: &Held, at: Point, ack: &SyncAck) -> Result<(), Error> {
    let Point { sequence, hash } = at;
    let reader = Follower {
        lineage: held.bound_to(),
        // Before the first entry there is nothing to compare.
        at: Point { sequence, hash: if sequence > 0 { hash } else { UNKNOWN_HISTORY } },
        last: sequence.max(held.applied).max(held.logged),
        max_epoch_jump: held.max_epoch_jump,
    };
    let answer = ack.answer.as_ref();
    let hash = answer.map_or(UNKNOWN_HISTORY, |answer| answer.hash);
    let writer = Source { last: ack.current_sequence, ..Source::new(answer.map(lineage_of), hash) };
    let verdict = lineage::judge(&reader, &writer);
    let hex = |lineage: Option<Lineage>| lineage.map(|lineage| hex(&lineage.stream_id)).unwrap_or_default();
    let epoch = |lineage: Option<Lineage>| lineage.map_or(0, |lineage| lineage.epoch);
    let (old, new) = (epoch(reader.lineage), epoch(writer.lineage));
    let text = match verdict {
        Verdict::Same { .. } => return Ok(()),
        Verdict::OtherStream => {
            let (old, new) = (hex(reader.lineage), hex(writer.lineage));
            format!("the writer has stream {new}, position {sequence} belongs to stream {old}")
        }
        Verdict::OldEpoch => {
            format!("the writer has epoch {new}, epoch {old} was seen: it is no longer the writer")
        }
        Verdict::EpochJump => format!(
            "the writer has epoch {new}, {old} was the last one seen: an epoch may rise by {} at once; raise that with \
             receiver_config_set_max_epoch_jump if the writer is right",
            held.max_epoch_jump
        ),
        // A writer does not send where its epochs began; it judges that itself.
        Verdict::PastEpoch { .. } | Verdict::Forked => {
            format!("the writer has another history up to entry {sequence} than this reader: re-seed the reader")
        }
        Verdict::Regressed => format!(
            "the writer is at {}, this reader already at {}: it was restarted or restored without its log",
            writer.last, reader.last
        ),
    };
    Err(Error::new(verdict.status(), text))
}

/// Who a writer says it is.
fn lineage_of(answer: &Answer) -> Lineage {
    Lineage { stream_id: answer.stream_id, epoch: answer.epoch }
}

/// The entry after which a writer that refuses this reader, because entries are gone, could let it in. Only a writer that
/// would be followed if it did not refuse is believed.
fn gap_end(held: &Held, at: Point, refusal: &SyncAck) -> Option<u64> {
    let welcome = SyncAck { error: String::new(), ..refusal.clone() };
    judge(held, at, &welcome).ok()?;
    // A writer whose log is empty, or that does not say where it begins, goes on after its position.
    let oldest = refusal.answer.as_ref().and_then(|answer| answer.first_sequence.checked_sub(1));
    let oldest = oldest.unwrap_or(refusal.current_sequence);
    (oldest > at.sequence && oldest <= refusal.current_sequence).then_some(oldest)
}

/// Where a writer that refuses this reader says that their histories part: the last entry that both have and the first one
/// that is known to differ. Different streams have nothing in common.
fn fork_range(held: &Held, at: Point, refusal: &SyncAck) -> Option<(u64, u64)> {
    let answer = refusal.answer.as_ref()?;
    if held.lineage.is_some_and(|ours| ours.stream_id != answer.stream_id) {
        return None;
    }
    let differing = answer.differing_sequence.filter(|differing| *differing <= at.sequence)?;
    Some((answer.common_sequence.unwrap_or(0), differing)).filter(|(common, differing)| common < differing)
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    const OURS: Lineage = Lineage { stream_id: [7; 16], epoch: 5 };

    fn held() -> Held {
        Held {
            received: Point { sequence: 10, hash: 99 },
            applied: 10,
            logged: 0,
            lineage: Some(OURS),
            named: false,
            local_log: false,
            protocol: ProtocolChoice::Auto,
            coordinator: false,
            gap_policy: GapPolicy::Continue,
            max_epoch_jump: 1 << 60,
        }
    }

    fn ack() -> SyncAck {
        let answer =
            Answer { version: STREAM_VERSION, stream_id: OURS.stream_id, epoch: 5, hash: 99, ..Answer::default() };
        SyncAck { current_sequence: 10, can_resume: true, error: String::new(), answer: Some(answer) }
    }

    fn answering(change: impl FnOnce(&mut Answer)) -> SyncAck {
        let mut ack = ack();
        ack.answer.as_mut().map(change);
        ack
    }

    #[test]
    fn p7_a_writer_is_followed_when_its_whole_answer_passes() {
        let status = |held: &Held, ack: &SyncAck| match judge(held, held.received, ack) {
            Ok(agreed) => {
                assert_eq!(agreed.lineage.map(|l| l.epoch), ack.answer.as_ref().map(|answer| answer.epoch));
                Status::Ok
            }
            Err(end) => end.error.status,
        };
        let fresh = Held { received: Point::default(), applied: 0, lineage: None, ..held() };
        let (held, v1) = (held(), SyncAck { answer: None, ..ack() });
        let table = [
            ("the same", held, ack(), Status::Ok),
            ("a higher epoch", held, answering(|a| a.epoch = 6), Status::Ok),
            ("as high as it may be", held, answering(|a| a.epoch = 5 + (1 << 60)), Status::Ok),
            ("too high", held, answering(|a| a.epoch = 6 + (1 << 60)), Status::Diverged),
            ("the highest", held, answering(|a| a.epoch = u64::MAX), Status::Diverged),
            ("any, at first", fresh, answering(|a| (a.epoch, a.hash) = (u64::MAX, 0)), Status::Ok),
            ("a lower epoch", held, answering(|a| a.epoch = 4), Status::Diverged),
            ("another stream", held, answering(|a| a.stream_id = [8; 16]), Status::Diverged),
            ("another history", held, answering(|a| a.hash = 98), Status::Diverged),
            ("no history", held, answering(|a| a.hash = 0), Status::Ok),
            ("another version", held, answering(|a| a.version += 1), Status::InvalidMsg),
            ("behind", held, SyncAck { current_sequence: 9, ..ack() }, Status::Regressed),
            ("behind the host", Held { applied: 11, ..held }, ack(), Status::Regressed),
            ("behind the log", Held { logged: 11, ..held }, ack(), Status::Regressed),
            ("a refusal", held, SyncAck { error: "NOT_WRITER: no".into(), ..ack() }, Status::NotWriter),
            ("v2 unasked", Held { protocol: ProtocolChoice::V1, ..held }, ack(), Status::InvalidMsg),
            ("v1 after v2", held, v1.clone(), Status::Diverged),
            (
                "v1, where the host named a stream",
                Held { lineage: Some(OURS), named: true, ..fresh },
                v1.clone(),
                Status::Diverged,
            ),
            ("v1, as chosen", Held { protocol: ProtocolChoice::V1, ..held }, v1.clone(), Status::Ok),
            ("v1 at first", fresh, v1.clone(), Status::Ok),
            ("v1, with a log", Held { local_log: true, ..fresh }, v1.clone(), Status::InvalidMsg),
            ("v1, not allowed", Held { protocol: ProtocolChoice::V2, ..fresh }, v1, Status::InvalidMsg),
        ];
        for (what, held, ack, expected) in table {
            assert_eq!(status(&held, &ack), expected, "{what}");
        }
    }

    #[test]
    fn p7_an_epoch_that_jumps_too_far_is_named_with_the_remedy() {
        let held = Held { max_epoch_jump: 3, ..held() };
        let judge = |epoch| judge(&held, held.received, &answering(|a| a.epoch = epoch));
        assert!(judge(8).is_ok());
        let end = judge(9).err().map(|end| end.error.message).unwrap_or_default();
        for part in ["epoch 9", "5 was", "by 3 at once", "receiver_config_set_max_epoch_jump"] {
            assert!(end.contains(part), "{end}");
        }
    }

    /// P2, P7: what a refusal says is gone is believed of a writer that could be followed, and within what it has.
    #[test]
    fn p2_p7_a_beginning_is_believed_of_a_writer_that_could_be_followed() {
        let gone = |current_sequence, first_sequence, change: fn(&mut Answer)| {
            let mut refusal = SyncAck { error: "SEQUENCE_GAP: gone".into(), current_sequence, ..answering(change) };
            if let Some(answer) = &mut refusal.answer {
                (answer.first_sequence, answer.hash) = (first_sequence, UNKNOWN_HISTORY);
            }
            refusal
        };
        let same: fn(&mut Answer) = |_| {};
        let v1 = SyncAck { answer: None, ..gone(20, 0, same) };
        let fresh = Held { received: Point::default(), applied: 0, lineage: None, ..held() };
        let held = held();
        let table = [
            ("behind the reader", held, gone(20, 16, same), Some(15)),
            ("an empty log", held, gone(20, 0, same), Some(20)),
            ("up to its end", held, gone(20, 21, same), Some(20)),
            ("beyond its end", held, gone(20, 22, same), None),
            ("beyond all ends", held, gone(20, u64::MAX, same), None),
            ("where the reader is", held, gone(20, 11, same), None),
            ("before it", held, gone(20, 5, same), None),
            ("a writer that fell back", held, gone(9, 0, same), None),
            ("behind the host", Held { applied: 21, ..held }, gone(20, 16, same), None),
            ("a later epoch", held, gone(20, 16, |a| a.epoch = 6), Some(15)),
            ("an earlier epoch", held, gone(20, 16, |a| a.epoch = 4), None),
            ("too far an epoch", held, gone(20, 16, |a| a.epoch = u64::MAX), None),
            ("another stream", held, gone(20, 16, |a| a.stream_id = [8; 16]), None),
            ("another version", held, gone(20, 16, |a| a.version += 1), None),
            ("v1 after v2", held, v1.clone(), None),
            ("any stream, at first", fresh, gone(20, 16, |a| a.stream_id = [8; 16]), Some(15)),
            ("v1, at first", fresh, v1.clone(), Some(20)),
            ("v1, as chosen", Held { protocol: ProtocolChoice::V1, ..held }, v1.clone(), Some(20)),
            ("v1, not allowed", Held { protocol: ProtocolChoice::V2, ..fresh }, v1, None),
        ];
        for (what, held, refusal, expected) in table {
            assert_eq!(gap_end(&held, held.received, &refusal), expected, "{what}");
        }
    }

    #[test]
    fn where_histories_part_is_believed_only_within_what_was_received() {
        let table = [
            (None, Some(50), Some((0, 50))),
            (Some(20), Some(50), Some((20, 50))),
            (Some(20), None, None),
            // Beyond what was received, and the wrong way round.
            (None, Some(101), None),
            (Some(60), Some(50), None),
        ];
        let held = Held { received: Point { sequence: 100, hash: 99 }, ..held() };
        for (common_sequence, differing_sequence, expected) in table {
            let refusal =
                answering(|a| (a.common_sequence, a.differing_sequence) = (common_sequence, differing_sequence));
            assert_eq!(fork_range(&held, held.received, &refusal), expected, "{refusal:?}");
        }
        let foreign = answering(|a| (a.stream_id, a.differing_sequence) = ([8; 16], Some(50)));
        assert_eq!(fork_range(&held, held.received, &foreign), None);
    }

    fn begins_at_20() -> SyncAck {
        SyncAck {
            error: "WAL_ROTATED: gone".into(),
            current_sequence: 30,
            ..answering(|a| (a.first_sequence, a.hash) = (20, UNKNOWN_HISTORY))
        }
    }

    /// P2: a gap is passed only where the host decided so, and only at the node that named it.
    #[test]
    fn p2_a_plan_to_pass_a_hole_counts_for_the_node_that_named_it() {
        let held = held();
        let plan = |held: &Held| verdict(held, &begins_at_20(), None, "a:1").err().and_then(|end| end.plan);
        assert!(plan(&Held { gap_policy: GapPolicy::Refuse, ..held }).is_none());
        let plan = plan(&held).unwrap();
        assert_eq!((plan.peer.as_str(), plan.lineage, plan.gap_end()), ("a:1", Some(OURS), Some(19)));
        let said = sync(&held, Some(&plan), "r", Duration::from_secs(1), Vec::new(), &History::new());
        assert_eq!((said.last_known_sequence, said.offer.unwrap().hash), (19, UNKNOWN_HISTORY));
        let welcome = |change: fn(&mut Answer)| SyncAck { current_sequence: 30, ..answering(change) };
        assert!(verdict(&held, &welcome(|_| {}), Some(&plan), "a:1").is_ok());
        let other = verdict(&held, &welcome(|a| a.epoch = 6), Some(&plan), "a:1");
        assert_eq!(other.err().map(|end| end.error.status), Some(Status::LineageChanged));
    }

    /// The Sync names points before its position: from the log on disk, or else what was noted as it was received.
    #[test]
    fn a_sync_names_earlier_points_of_the_history() {
        let mut history = History::new();
        (1..=12).for_each(|sequence| history.note(Point { sequence, hash: sequence }));
        let history_of = |logged: &[u64]| {
            let logged = logged.iter().map(|sequence| Point { sequence: *sequence, hash: 1 }).collect();
            let said = sync(&held(), None, "r", Duration::from_secs(1), logged, &history);
            assert_eq!((said.last_known_sequence, said.offer.as_ref().map(|offer| offer.hash)), (10, Some(99)));
            said.offer.unwrap().history.into_iter().map(|point| point.sequence).collect::<Vec<_>>()
        };
        assert_eq!(history_of(&[]), (1..10).collect::<Vec<_>>());
        assert_eq!(history_of(&[4, 9, 10, 11]), [4, 9]);
        let v1 = Held { protocol: ProtocolChoice::V1, ..held() };
        assert_eq!(sync(&v1, None, "r", Duration::from_secs(1), Vec::new(), &history).offer, None);
    }

    #[test]
    fn a_stream_begins_with_the_history_of_whoever_knows_it() {
        let start = |sequence, hash| stream_start(Point { sequence, hash }, &answering(|a| a.hash = 77)).hash;
        assert_eq!((start(10, 99), start(10, UNKNOWN_HISTORY)), (99, 77));
        assert_eq!(start(0, UNKNOWN_HISTORY), chain_start(&OURS.stream_id));
        let v1 = stream_start(Point { sequence: 10, hash: 0 }, &SyncAck { answer: None, ..ack() });
        assert_eq!(v1, Before { epoch: 0, sequence: 10, hash: UNKNOWN_HISTORY });
    }
}
