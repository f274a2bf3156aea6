//! What an accepted handshake changes at this reader. All of it is done before the first entry is acknowledged or
//! applied; a refusal by either side changes nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::context::ConnectionContext;
use super::delivery::Before;
use super::progress::ending;
use crate::engine::reader::handshake::{Agreed, Held, stream_start};
use crate::engine::reader::plan::Plan;
use crate::error::{Error, Result, Status};
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::handshake::{Point, SyncAck};
use crate::protocol::lineage::Lineage;
use crate::runtime::timeout;

/// What this reader has, by which a writer is judged.
pub(super) fn held(context: &ConnectionContext) -> Held {
    Held {
        received: context.progress.received_point(),
        applied: context.progress.applied(),
        lineage: context.progress.lineage(),
        named: context.config.lineage.is_some(),
        local_log: context.local.is_some(),
        protocol: context.config.protocol,
        coordinator: context.config.coordinator_handshake,
        gap_policy: context.config.gap_policy,
        max_epoch_jump: context.config.max_epoch_jump,
    }
}

/// Adopts the agreement that followed a Sync with this plan. Returns the position at which the stream continues.
pub(super) async fn adopt(
    context: &ConnectionContext,
    agreed: &Agreed,
    ack: &SyncAck,
    plan: Option<&Plan>,
) -> Result<Before> {
    if let Some(new) = agreed.lineage {
        let old = context.progress.lineage();
        if context.local.as_ref().is_some_and(|local| local.lineage() != Some(new)) {
            make_durable(context, new).await?;
        }
        context.progress.set_lineage(Some(new));
        // The first writer is no change of writer: the position that the host configured may be old.
        if old.is_some_and(|old| old != new) && context.report.counters.connects.load(Ordering::Relaxed) > 0 {
            context.progress.lineage_changed();
        }
    }
    if let Some(last) = plan.and_then(Plan::gap_end) {
        context.report.pass_gap(context.progress.received().saturating_add(1), last);
        context.progress.set_received(Point { sequence: last, hash: UNKNOWN_HISTORY });
    }
    context.progress.set_writer(ack.current_sequence);
    let received = context.progress.received_point();
    let start = stream_start(received, ack);
    if start.hash != received.hash {
        context.progress.set_received(Point { hash: start.hash, ..received });
    }
    Ok(start)
}

/// Has the callback thread, which alone writes the files, store the lineage. It may be busy in the host's handler.
async fn make_durable(context: &ConnectionContext, lineage: Lineage) -> Result<()> {
    let (answer, mut adopted) = oneshot::channel();
    context.inbox.enqueue(|queue| queue.adopt = Some((lineage, answer)));
    let mut life = context.progress.life.subscribe();
    let limit: Duration = context.config.connect_timeout;
    let in_time = tokio::select! {
        biased;
        done = timeout(limit, &mut adopted) => done.ok(),
        () = ending(&mut life) => None,
    };
    let outcome = match in_time {
        Some(outcome) => outcome,
        // The callback thread has not begun it, so it is withdrawn.
        None if context.inbox.mailbox.lock().work.adopt.take().is_some() => {
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
