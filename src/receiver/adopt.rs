//! Adopts the result of an accepted handshake, before the first entry is acknowledged or applied. A refusal by either
//! side changes nothing.

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

/// This reader's position and configuration, by which a writer is judged.
pub(super) fn held(context: &ConnectionContext) -> Held {
    let ConnectionContext { config, progress, local, .. } = context;
    Held {
        received: progress.received_point(),
        applied: progress.applied(),
        logged: local.as_ref().and_then(|local| local.disk()).map_or(0, |disk| disk.written().sequence),
        lineage: progress.lineage(),
        named: config.lineage.is_some(),
        local_log: local.is_some(),
        protocol: config.protocol,
        coordinator: config.coordinator_handshake,
        gap_policy: config.gap_policy,
        max_epoch_jump: config.max_epoch_jump,
    }
}

/// Adopts the agreement that followed a Sync with this plan. Returns the position at which the stream continues.
pub(super) async fn adopt(
    context: &ConnectionContext,
    agreed: &Agreed,
    ack: &SyncAck,
    plan: Option<&Plan>,
) -> Result<Before> {
    let ConnectionContext { progress, report, local, .. } = context;
    if let Some(new) = agreed.lineage {
        let old = progress.lineage();
        if local.as_ref().is_some_and(|local| local.lineage() != Some(new)) {
            make_durable(context, new).await?;
        }
        progress.set_lineage(Some(new));
        // The first writer is no change of writer: the position that the host configured may be old.
        if old.is_some_and(|old| old != new) && report.counters.connects.load(Ordering::Relaxed) > 0 {
            progress.lineage_changed();
        }
    }
    if let Some(last) = plan.and_then(Plan::gap_end) {
        report.pass_gap(progress.received().saturating_add(1), last);
        progress.set_received(Point { sequence: last, hash: UNKNOWN_HISTORY });
    }
    progress.set_writer(ack.current_sequence);
    let received = progress.received_point();
    let start = stream_start(received, ack);
    if start.hash != received.hash {
        progress.set_received(Point { hash: start.hash, ..received });
    }
    Ok(start)
}

/// Has the callback thread, which alone writes the files, store the lineage. It may be busy in the host's handler.
async fn make_durable(context: &ConnectionContext, lineage: Lineage) -> Result<()> {
    let ConnectionContext { config, progress, inbox, .. } = context;
    let (answer, mut adopted) = oneshot::channel();
    inbox.enqueue(|queue| queue.adopt = Some((lineage, answer)));
    let mut life = progress.life.subscribe();
    let limit: Duration = config.connect_timeout;
    let in_time = tokio::select! {
        biased;
        done = timeout(limit, &mut adopted) => done.ok(),
        () = ending(&mut life) => None,
    };
    let outcome = match in_time {
        Some(outcome) => outcome,
        // The callback thread has not begun it, so it is withdrawn.
        None if inbox.mailbox.lock().work.adopt.take().is_some() => {
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
