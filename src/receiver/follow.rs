//! Follows a writer: one connection after the other, with pauses between them, and a report of why each ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::adopt::{adopt, held};
use super::context::ConnectionContext;
use super::handshake::{Handshaken, open};
use super::inbound::Inbound;
use super::progress::ending;
use super::report::Live;
use super::session::WriterSession;
use crate::clock;
use crate::engine::farewell;
use crate::engine::heartbeat::Pulse;
use crate::engine::reader::backoff::Backoff;
use crate::engine::reader::end::{ConnectionEnd, is_sent_to_writer};
use crate::engine::reader::handshake::verdict;
use crate::engine::reader::history::History;
use crate::engine::reader::life::ReceiverState;
use crate::engine::reader::reconnect::{Attempt, EndReport};
use crate::error::{Result, Status};
use crate::host::{Event, EventKind};
use crate::runtime::{sleep, timeout};
use crate::transport::{Address, Dialler, Dialling, Stream};

/// Follows the writer, which is at one of these addresses, until the receiver stops.
pub(super) async fn follow(mut context: ConnectionContext, addresses: Vec<Address>, dialling: Dialling) {
    let config = Arc::clone(&context.config);
    let mut life = context.progress.life.subscribe();
    let mut inbound = Inbound::new(config.buffer_bytes, config.max_entry_bytes, config.gap_policy);
    let mut history = History::new();
    let mut dialler = Dialler::new(addresses, dialling);
    let mut backoff = Backoff::new(config.reconnect_interval);
    let mut goes_on = false;
    let mut plan = None;
    loop {
        context.config = context.live.get();
        let ConnectionContext { config, report, .. } = &context;
        backoff.set_interval(config.reconnect_interval);
        if !wait_for_room(&context, &mut life).await {
            return;
        }
        if !goes_on || !dialler.has_more() {
            dialler.begin(clock::instant(), config.connect_timeout);
        }
        report.dials(&config.writer_addr);
        let (dialled, opened) = open(&context, &mut dialler, dialling, &mut plan, &history).await;
        let planned = opened.as_ref().is_ok_and(|opened| opened.plan.is_some());
        let (lived, end) = match opened {
            Ok(opened) => {
                let begun = clock::instant();
                let end = serve(&context, &mut inbound, &mut history, opened).await;
                (report.live.lock().take().map(|_| clock::since(begun)), end)
            }
            Err(error) => (None, error.into()),
        };
        let peer = report.peer.lock().clone();
        let attempt = Attempt { end: &end, peer: &peer, connected: lived.is_some(), planned };
        if life.borrow().is_ending() {
            if attempt.connected {
                report_end(&context, &attempt, None);
            }
            return;
        }
        plan = end.plan.clone().or(plan);
        let stays = attempt.stays(lived.is_some_and(|lived| backoff.is_stable(lived)));
        if let Some(dialled) = &dialled {
            if stays { dialler.stay(dialled) } else { dialler.failed(dialled) }
        }
        // Try the rest of the list before pausing.
        goes_on = dialled.is_some() && !stays && dialler.has_more();
        let pause = (!goes_on).then(|| backoff.next(end.error.status, lived, random()));
        report_end(&context, &attempt, pause);
        if let Some(pause) = pause {
            tokio::select! {
                biased;
                () = sleep(pause) => {}
                () = ending(&mut life) => return,
            }
        }
    }
}

/// Waits until the host has applied enough of the entries received before, since each connection brings some with its
/// handshake. Returns `false` if the receiver stops.
async fn wait_for_room(context: &ConnectionContext, life: &mut watch::Receiver<ReceiverState>) -> bool {
    let ConnectionContext { config, progress, inbox, .. } = context;
    let is_full = || inbox.unapplied_bytes() >= config.buffer_bytes;
    while is_full() {
        progress.request_room();
        if is_full() {
            tokio::select! {
                biased;
                () = progress.moved.notified() => {}
                () = ending(life) => return false,
            }
        }
    }
    true
}

/// A random number from 0 to 1; 1 if the system has no random bytes, which makes pauses longer.
fn random() -> f64 {
    let mut random = [0; 4];
    let part = if crate::random::fill(&mut random).is_ok() { u32::from_be_bytes(random) } else { u32::MAX };
    f64::from(part) / f64::from(u32::MAX)
}

/// Counts and reports the end of a connection. `pause`: the time until the next attempt.
fn report_end(context: &ConnectionContext, attempt: &Attempt<'_>, pause: Option<Duration>) {
    let ConnectionContext { config, progress, report, .. } = context;
    let EndReport { error, events } = attempt.report(&config.reader_id, progress.received(), pause);
    if error.is_some() {
        report.counters.errors.fetch_add(1, Ordering::Relaxed);
        *report.last_error.lock() = error;
    }
    events.into_iter().for_each(|event| report.event(event));
}

/// Serves one connection from the writer's answer to its end.
async fn serve(
    context: &ConnectionContext,
    inbound: &mut Inbound,
    history: &mut History,
    opened: Handshaken,
) -> ConnectionEnd {
    match agree(context, inbound, opened).await {
        Err(end) => end,
        Ok((stream, pulse)) => {
            let ended = WriterSession::new(context, &stream, inbound, history, pulse).run().await;
            if is_sent_to_writer(&ended) {
                let _ = timeout(farewell::READER_WAITS, stream.discard()).await;
            }
            ended.into()
        }
    }
}

/// Adopts the writer's lineage if both ends accept. Otherwise nothing changes.
async fn agree(
    context: &ConnectionContext,
    inbound: &mut Inbound,
    opened: Handshaken,
) -> Result<(Arc<Stream>, Option<Pulse>), ConnectionEnd> {
    let ConnectionContext { config, report, .. } = context;
    let Handshaken { stream, frames, ack, plan } = opened;
    let peer = report.peer.lock().clone();
    let agreed = verdict(&held(context), &ack, plan.as_ref(), &peer)?;
    let before = adopt(context, &agreed, &ack, plan.as_ref()).await?;
    let last = before.sequence;
    report.counters.connects.fetch_add(1, Ordering::Relaxed);
    let version = agreed.version;
    *report.live.lock() = Some(Live { since: clock::now(), version });
    let mut event = Event::new(EventKind::Connected, Status::Ok, format!("connected to {}", report.peer.lock()));
    event.sequence = last;
    event.detail = json!({
        "protocol": version.number(),
        "writer_sequence": ack.current_sequence,
        "peer": stream.peer(),
    });
    report.event(event);
    let rest = frames.into_rest();
    report.counters.bytes_received.fetch_add(rest.len() as u64, Ordering::Relaxed);
    inbound.begin(version, before, &rest)?;
    let stream = Arc::new(stream);
    let pulse = ack.answer.map(|answer| Pulse::of_reader(config.heartbeat_interval, config.peer_timeout, &answer));
    Ok((stream, pulse))
}
