//! What a handshake changes at this reader: nothing when either side refuses, and what it changes before anything is
//! acknowledged or applied under it when both accept.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::config::GapPolicy;
use super::core::Core;
use super::follow::End;
use super::inbound::Before;
use super::judge::{Agreed, Held, judge, parting};
use super::session::{count_hole, stopped, tell_hole};
use crate::error::{Error, Result, Status};
use crate::protocol::entry::{UNKNOWN_HISTORY, chain_start};
use crate::protocol::handshake::{Point, SyncAck};
use crate::protocol::lineage::Lineage;

/// What the next Sync asks for beside going on where this reader is. None of it is a position or a lineage of this reader's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    /// A writer has said between which entries the histories part: the next Sync, and that one only, asks more closely.
    pub(super) parting: Option<(u64, u64)>,
    /// By the host's policy the next Sync stands behind this entry, and leaves out those before that are gone.
    pub(super) behind_hole: Option<u64>,
    /// The hole that the host was told of last.
    told: Option<(u64, u64)>,
}

/// A lineage that waits for the callback thread to make it durable, and where the outcome goes.
pub(super) type Adoption = (Lineage, oneshot::Sender<Result<()>>);

/// Where the next Sync stands.
pub(super) fn asking_at(core: &Core) -> Point {
    match core.plan.lock().behind_hole {
        Some(sequence) => Point { sequence, hash: UNKNOWN_HISTORY },
        None => core.progress.received_point(),
    }
}

/// The verdict on a writer's answer. A refusal may leave a plan for the next attempt.
pub(super) fn verdict(core: &Core, ack: &SyncAck) -> Result<Agreed, End> {
    let at = asking_at(core);
    let held = Held {
        at,
        applied: core.progress.applied(),
        lineage: *core.lineage.lock(),
        bound: is_bound(core),
        local_log: core.local.is_some(),
        protocol: core.config.protocol,
        coordinator: core.config.coordinator_handshake,
        max_epoch_jump: core.config.max_epoch_jump,
    };
    judge(&held, ack).inspect_err(|end| {
        let mut plan = core.plan.lock();
        plan.behind_hole = None;
        if let Some(answer) = ack.answer.as_ref().filter(|_| end.refused) {
            plan.parting = parting(answer, at.sequence);
        }
    })
}

/// Whether the lineage that this reader followed last binds it: it has something of that, its host named it, or it is the one
/// of its directory, which also holds before the first entry and in the next process.
fn is_bound(core: &Core) -> bool {
    core.progress.received() > 0 || core.local.is_some() || core.config.lineage.is_some()
}

/// Plans to go on behind what a refusal says is gone, if the host's policy is that. The position moves when a writer admits
/// this reader there.
pub(super) fn plans_to_pass_hole(core: &Core, end: &End, ack: &SyncAck) -> bool {
    let gone = matches!(end.error.status, Status::SequenceGap | Status::WalRotated);
    if !(end.refused && gone && core.config.gap_policy == GapPolicy::Continue) {
        return false;
    }
    let last = core.progress.received();
    // A writer whose log is empty, or that does not say where it begins, goes on behind its position.
    let oldest = ack.answer.as_ref().and_then(|answer| answer.first_sequence.checked_sub(1));
    let oldest = oldest.unwrap_or(ack.current_sequence);
    if oldest <= last || oldest > ack.current_sequence {
        return false;
    }
    let mut plan = core.plan.lock();
    plan.behind_hole = Some(oldest);
    let hole = (last + 1, oldest);
    if plan.told.replace(hole) != Some(hole) {
        tell_hole(core, hole.0, hole.1);
    }
    true
}

/// Adopts what both ends have agreed on, and gives the place at which the stream goes on.
pub(super) async fn adopt(core: &Core, agreed: &Agreed, ack: &SyncAck) -> Result<Before> {
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
    let plan = std::mem::take(&mut *core.plan.lock());
    if let Some(oldest) = plan.behind_hole {
        count_hole(core, core.progress.received() + 1, oldest);
        core.progress.set_received(Point { sequence: oldest, hash: UNKNOWN_HISTORY });
    }
    core.progress.set_writer(ack.current_sequence);
    Ok(begin_at(core, ack))
}

/// Has the callback thread, which alone writes the files, note the lineage. It may be in the host's handler.
async fn make_durable(core: &Core, lineage: Lineage) -> Result<()> {
    let (answer, mut adopted) = oneshot::channel();
    core.mailbox.lock().work.adopt = Some((lineage, answer));
    core.attention.store(true, Ordering::SeqCst);
    core.mailbox.notify();
    let mut stopping: watch::Receiver<bool> = core.stopping.subscribe();
    let limit: Duration = core.config.connect_timeout;
    let in_time = tokio::select! {
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
