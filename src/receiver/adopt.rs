//! What a handshake changes at this reader: nothing when either side refuses, and what it changes before anything is
//! acknowledged or applied under it when both accept.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::config::GapPolicy;
use super::core::{Core, stopped};
use super::delivery::Before;
use crate::engine::reader::end::End;
use crate::engine::reader::handshake::{Agreed, Held, beginning, judge, parting};
use crate::engine::reader::plan::{self, Goal, Plan};
use crate::error::{Error, Result, Status};
use crate::protocol::entry::{UNKNOWN_HISTORY, chain_start};
use crate::protocol::handshake::{Point, SyncAck};
use crate::protocol::lineage::Lineage;
use crate::runtime::timeout;

/// The verdict on a writer's answer to a Sync with this plan. A refusal may bring a plan for the next one.
pub(super) fn verdict(core: &Core, ack: &SyncAck, plan: Option<&Plan>) -> Result<Agreed, End> {
    let held = Held {
        at: plan::sync_position(plan, core.progress.received_point()),
        applied: core.progress.applied(),
        lineage: *core.lineage.lock(),
        bound: is_bound(core),
        local_log: core.local.is_some(),
        protocol: core.config.protocol,
        coordinator: core.config.coordinator_handshake,
        max_epoch_jump: core.config.max_epoch_jump,
    };
    let theirs = lineage_of(ack);
    if let Some(plan) = plan.filter(|plan| ack.error.is_empty() && plan.hole_end().is_some() && plan.lineage != theirs)
    {
        let next = core.progress.received().saturating_add(1);
        let text = format!(
            "{} is another node now than the one that said its entries begin later; asking for entry {next} again",
            plan.peer
        );
        return Err(Error::new(Status::LineageChanged, text).into());
    }
    judge(&held, ack).map_err(|end| {
        let goal = goal(core.config.gap_policy, &held, &end, ack);
        let plan = goal.map(|goal| Plan { peer: core.peer.lock().clone(), lineage: theirs, goal });
        End { plan, ..end }
    })
}

/// What may be asked of a writer that refuses.
fn goal(policy: GapPolicy, held: &Held, end: &End, ack: &SyncAck) -> Option<Goal> {
    if !end.refused {
        return None;
    }
    if let Some((common, differing)) = parting(held, ack) {
        return Some(Goal::LocateFork { common, differing });
    }
    let gone = matches!(end.error.status, Status::SequenceGap | Status::WalRotated);
    let passes = gone && policy == GapPolicy::Continue;
    passes.then(|| beginning(held, ack)).flatten().map(Goal::PassHole)
}

/// Who a writer says it is; v1 does not say.
fn lineage_of(ack: &SyncAck) -> Option<Lineage> {
    ack.answer.as_ref().map(|answer| Lineage { stream_id: answer.stream_id, epoch: answer.epoch })
}

/// Whether the lineage that this reader followed last binds it: it has something of that, its host named it, or it is the one
/// of its directory, which also holds before the first entry and in the next process.
fn is_bound(core: &Core) -> bool {
    core.progress.received() > 0 || core.local.is_some() || core.config.lineage.is_some()
}

/// Adopts what both ends have agreed on after a Sync with this plan, and gives the place at which the stream goes on.
pub(super) async fn adopt(core: &Core, agreed: &Agreed, ack: &SyncAck, plan: Option<&Plan>) -> Result<Before> {
    if let Some(new) = agreed.lineage {
        let old = *core.lineage.lock();
        if core.local.as_ref().is_some_and(|local| local.lineage() != Some(new)) {
            make_durable(core, new).await?;
        }
        *core.lineage.lock() = Some(new);
        // What the host configured may be long past; a change is one that this receiver sees.
        if old.is_some_and(|old| old != new) && core.counters.connects.load(Ordering::Relaxed) > 0 {
            core.progress.lineage_changed();
        }
    }
    if let Some(last) = plan.and_then(Plan::hole_end) {
        core.pass_hole(core.progress.received().saturating_add(1), last);
        core.progress.set_received(Point { sequence: last, hash: UNKNOWN_HISTORY });
    }
    core.progress.set_writer(ack.current_sequence);
    Ok(begin_at(core, ack))
}

/// Has the callback thread, which alone writes the files, note the lineage. It may be in the host's handler.
async fn make_durable(core: &Core, lineage: Lineage) -> Result<()> {
    let (answer, mut adopted) = oneshot::channel();
    core.enqueue(|queue| queue.adopt = Some((lineage, answer)));
    let mut stopping: watch::Receiver<bool> = core.stopping.subscribe();
    let limit: Duration = core.config.connect_timeout;
    let in_time = tokio::select! {
        biased;
        done = timeout(limit, &mut adopted) => done.ok(),
        () = stopped(&mut stopping) => None,
    };
    let outcome = match in_time {
        Some(outcome) => outcome,
        // Not begun yet: it is withdrawn.
        None if core.mailbox.lock().work.adopt.take().is_some() => {
            let text = format!(
                "epoch {} of the writer could not be noted within {} ms, because the host's handler did not return",
                lineage.epoch,
                limit.as_millis()
            );
            return Err(Error::new(Status::PeerTimeout, text));
        }
        None => adopted.await,
    };
    outcome.unwrap_or_else(|_| Err(Error::new(Status::Closed, "the receiver is stopping")))
}

/// Where the stream goes on: here, with what the writer knows of the history before it when this side does not.
fn begin_at(core: &Core, ack: &SyncAck) -> Before {
    let mut at = core.progress.received_point();
    let epoch = ack.answer.as_ref().map_or(0, |answer| answer.epoch);
    if let Some(answer) = ack.answer.as_ref().filter(|_| at.hash == UNKNOWN_HISTORY) {
        at.hash = if at.sequence == 0 { chain_start(&answer.stream_id) } else { answer.hash };
        core.progress.set_received(at);
    }
    Before { epoch, sequence: at.sequence, hash: at.hash }
}
