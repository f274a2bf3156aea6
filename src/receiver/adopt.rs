//! What an accepted handshake changes at this reader. All of it is done before the first entry is acknowledged or
//! applied; a refusal by either side changes nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::core::{Core, ending};
use super::delivery::Before;
use crate::engine::reader::handshake::{Agreed, Held, stream_start};
use crate::engine::reader::plan::Plan;
use crate::error::{Error, Result, Status};
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::handshake::{Point, SyncAck};
use crate::protocol::lineage::Lineage;
use crate::runtime::timeout;

/// What this reader has, by which a writer is judged.
pub(super) fn held(core: &Core) -> Held {
    Held {
        received: core.progress.received_point(),
        applied: core.progress.applied(),
        lineage: *core.lineage.lock(),
        named: core.config.lineage.is_some(),
        local_log: core.local.is_some(),
        protocol: core.config.protocol,
        coordinator: core.config.coordinator_handshake,
        gap_policy: core.config.gap_policy,
        max_epoch_jump: core.config.max_epoch_jump,
    }
}

/// Adopts the agreement that followed a Sync with this plan. Returns the position at which the stream continues.
pub(super) async fn adopt(core: &Core, agreed: &Agreed, ack: &SyncAck, plan: Option<&Plan>) -> Result<Before> {
    if let Some(new) = agreed.lineage {
        let old = *core.lineage.lock();
        if core.local.as_ref().is_some_and(|local| local.lineage() != Some(new)) {
            make_durable(core, new).await?;
        }
        *core.lineage.lock() = Some(new);
        // The first writer is no change of writer: the position that the host configured may be old.
        if old.is_some_and(|old| old != new) && core.counters.connects.load(Ordering::Relaxed) > 0 {
            core.progress.lineage_changed();
        }
    }
    if let Some(last) = plan.and_then(Plan::gap_end) {
        core.pass_gap(core.progress.received().saturating_add(1), last);
        core.progress.set_received(Point { sequence: last, hash: UNKNOWN_HISTORY });
    }
    core.progress.set_writer(ack.current_sequence);
    let received = core.progress.received_point();
    let start = stream_start(received, ack);
    if start.hash != received.hash {
        core.progress.set_received(Point { hash: start.hash, ..received });
    }
    Ok(start)
}

/// Has the callback thread, which alone writes the files, store the lineage. It may be busy in the host's handler.
async fn make_durable(core: &Core, lineage: Lineage) -> Result<()> {
    let (answer, mut adopted) = oneshot::channel();
    core.enqueue(|queue| queue.adopt = Some((lineage, answer)));
    let mut life = core.life().subscribe();
    let limit: Duration = core.config.connect_timeout;
    let in_time = tokio::select! {
        biased;
        done = timeout(limit, &mut adopted) => done.ok(),
        () = ending(&mut life) => None,
    };
    let outcome = match in_time {
        Some(outcome) => outcome,
        // The callback thread has not begun it, so it is withdrawn.
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
