//! A connection after the handshake: receives entries and sends acknowledgements.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::config::ReceiverConfig;
use super::context::ConnectionContext;
use super::delivery::Before;
use super::inbound::Inbound;
use super::local_log::LocalLog;
use super::progress::{Progress, ending};
use super::queue::Inbox;
use super::report::ReceiverReport;
use crate::clock;
use crate::engine::heartbeat::Pulse;
use crate::engine::reader::acks::Acks;
use crate::engine::reader::end::is_sent_to_writer;
use crate::engine::reader::history::History;
use crate::engine::reader::stream::Control;
use crate::error::{Error, Result, Status};
use crate::protocol::control::AckLevel;
use crate::protocol::handshake::Point;
use crate::runtime::sleep;
use crate::transport::{Stream, lost};

/// Reads in a row before other tasks get a turn.
const READS_PER_TURN: u32 = 16;

/// How long a connection without heartbeats may sleep when nothing happens.
const IDLE: Duration = Duration::from_secs(3600);

/// A connection after the handshake.
pub(super) struct WriterSession<'a> {
    config: &'a ReceiverConfig,
    progress: &'a Progress,
    inbox: &'a Inbox,
    report: &'a ReceiverReport,
    local: Option<&'a LocalLog>,
    stream: &'a Stream,
    inbound: &'a mut Inbound,
    /// Points in the history of the entries received over v2.
    history: &'a mut History,
    /// The heartbeat rules of a v2 connection.
    pulse: Option<Pulse>,
    received_at: Instant,
    /// There are new deliveries for which the callback thread was not woken.
    unannounced: bool,
}

impl<'a> WriterSession<'a> {
    /// `pulse`: the heartbeat rules of v2; v1 has none.
    pub(super) fn new(
        context: &'a ConnectionContext,
        stream: &'a Arc<Stream>,
        inbound: &'a mut Inbound,
        history: &'a mut History,
        pulse: Option<Pulse>,
    ) -> Self {
        let ConnectionContext { config, progress, inbox, report, local, .. } = context;
        // Requests of an earlier connection no longer count.
        let local = local.as_deref();
        local.iter().for_each(|local| local.clear_sync_request());
        inbound.receives_at(clock::now());
        let now = clock::instant();
        let heartbeat = pulse.map(|pulse| pulse.interval);
        let acks = Acks::new(&config.reader_id, config.ack_interval, heartbeat, now);
        progress.outgoing.lock().begin(stream, acks);
        Self {
            config,
            progress,
            inbox,
            report,
            local,
            stream,
            inbound,
            history,
            pulse,
            received_at: now,
            unannounced: false,
        }
    }

    /// Receives until the connection ends, and returns the reason.
    pub(super) async fn run(&mut self) -> Error {
        let ended = self.receive_all().await;
        self.announce();
        self.end(ended)
    }

    async fn receive_all(&mut self) -> Error {
        let (progress, stream) = (self.progress, self.stream);
        let mut life = progress.life.subscribe();
        // Bytes that came with the handshake.
        if let Err(error) = self.take() {
            return error;
        }
        progress.acknowledge();
        let mut reads = 0;
        // Moved only when it is set too late, because arming it costs a system call.
        let mut timer = std::pin::pin!(sleep(self.next_deadline().saturating_duration_since(clock::instant())));
        loop {
            if life.borrow().is_ending() {
                return self.send_last_ack();
            }
            let room = match self.has_room() {
                Ok(room) => room,
                Err(error) => return error,
            };
            if room {
                match self.receive() {
                    Ok(true) => {
                        reads += 1;
                        if reads % READS_PER_TURN == 0 {
                            tokio::task::yield_now().await;
                        }
                        continue;
                    }
                    Ok(false) => {}
                    Err(error) => return error,
                }
            }
            self.announce();
            if !room {
                // The writer is not silent: this side does not read.
                self.received_at = clock::instant();
            }
            if let Some(Err(error)) = self.pulse.map(|pulse| pulse.check(self.received_at, clock::instant())) {
                return error;
            }
            if let Err(error) = progress.acknowledge_if_due() {
                return lost(Status::Io, &error);
            }
            let unsent = progress.outgoing.lock().is_unsent();
            let deadline = tokio::time::Instant::from(self.next_deadline());
            if deadline < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
            tokio::select! {
                biased;
                () = ending(&mut life) => {}
                () = &mut timer => {}
                () = progress.moved.notified() => {}
                writable = stream.writable(), if unsent => {
                    if let Err(error) = writable { return lost(Status::Io, &error) }
                }
                readable = stream.readable(), if room => if let Err(error) = readable { return lost(Status::Io, &error) },
            }
        }
    }

    /// Whether the callback thread keeps up.
    fn has_room(&mut self) -> Result<bool> {
        let full = |session: &mut Self| -> Result<bool> {
            let is_full = session.inbox.unapplied_bytes() >= session.config.buffer_bytes;
            Ok(is_full || session.inbound.spare()?.is_none())
        };
        if full(self)? {
            // Checked again after the request, because there may be room by now.
            self.progress.request_room();
            return Ok(!full(self)?);
        }
        Ok(true)
    }

    /// Reads once and handles what arrived. Returns `false` if nothing did.
    fn receive(&mut self) -> Result<bool> {
        let Some(mut spare) = self.inbound.spare()? else { return Ok(false) };
        let received = match self.stream.try_receive(&mut spare) {
            Ok(0) if self.inbound.is_unfinished() => {
                return Err(Error::new(Status::Truncated, "the writer closed the connection inside a frame"));
            }
            Ok(0) => return Err(Error::new(Status::Io, "the writer closed the connection")),
            Ok(received) => received,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(false);
            }
            Err(error) => return Err(lost(Status::Io, &error)),
        };
        let counters = &self.report.counters;
        counters.bytes_received.fetch_add(received as u64, Ordering::Relaxed);
        let now = clock::now();
        counters.last_receive_us.store(now.wall_us, Ordering::Relaxed);
        self.inbound.receives_at(now);
        self.received_at = clock::instant();
        self.take()?;
        Ok(true)
    }

    /// Handles everything that has arrived whole.
    fn take(&mut self) -> Result<()> {
        while self.take_delivery()? {}
        Ok(())
    }

    /// Handles up to one delivery. Returns `true` if there may be another.
    fn take_delivery(&mut self) -> Result<bool> {
        let (progress, counters) = (self.progress, &self.report.counters);
        let (parsed, delivery) = self.inbound.parse();
        if parsed.entries > 0 {
            counters.entries_received.fetch_add(parsed.entries, Ordering::Relaxed);
            let Before { sequence, hash, .. } = self.inbound.before();
            let at = Point { sequence, hash };
            progress.set_received(at);
            if self.pulse.is_some() {
                self.history.note(at);
            }
        }
        let mut requested = 0;
        for control in parsed.controls {
            match control {
                Control::Heartbeat(heartbeat) => progress.set_writer(heartbeat.last_sequence),
                Control::AckRequest(request) => {
                    progress.outgoing.lock().request(request);
                    if request.level == AckLevel::Durable {
                        requested = requested.max(request.sequence);
                    }
                }
                Control::GapPassed { first, last } => self.report.pass_gap(first, last),
            }
        }
        // Before the delivery is queued, because the writer waits for the acknowledgement.
        let flushed = progress.acknowledge_if_due().map_err(|error| lost(Status::Io, &error));
        if let Some(delivery) = delivery {
            let mut content = self.inbox.mailbox.lock();
            content.work.bytes += delivery.len();
            content.work.deliveries.push_back(delivery);
            let many = content.work.bytes as u64 >= self.config.buffer_bytes / 8;
            drop(content);
            self.unannounced = true;
            if many {
                self.announce();
            }
        }
        if requested > 0 && self.local.is_some_and(|local| self.request_sync(local, requested)) {
            self.unannounced = true;
            self.announce();
        }
        parsed.error.map_or(flushed, Err)?;
        Ok(parsed.full)
    }

    /// Requests that the callback thread sync the local log through `sequence`, which may not have arrived yet. Returns
    /// `true` if unsynced entries are there already, so that the thread must be woken.
    fn request_sync(&self, local: &LocalLog, sequence: u64) -> bool {
        local.request_sync(sequence);
        let some = self.progress.received() > self.progress.durable();
        if some {
            self.inbox.interrupt();
            // Under the lock, so that the thread does not go to sleep with the old number.
            drop(self.inbox.mailbox.lock());
        }
        some
    }

    /// Wakes the callback thread for new deliveries. While more arrive, one wake-up for many is enough.
    fn announce(&mut self) {
        if std::mem::take(&mut self.unannounced) {
            self.inbox.mailbox.notify();
        }
    }

    /// When the next acknowledgement is due, or the writer will have been silent for too long.
    fn next_deadline(&self) -> Instant {
        let (now, progress) = (clock::instant(), self.progress);
        let ack = progress.outgoing.lock().next_at(progress.positions(), now);
        let silence = self.pulse.and_then(|pulse| pulse.deadline(self.received_at));
        let next = ack.into_iter().chain(silence).min().unwrap_or(now + IDLE);
        next.max(now + Duration::from_millis(1))
    }

    /// Sends the writer the reason, if this side ends the connection.
    fn end(&mut self, error: Error) -> Error {
        if is_sent_to_writer(&error) {
            self.progress.outgoing.lock().finish(None, Some(&error));
        }
        error
    }

    /// Sends the last acknowledgement of a receiver that stops, and the reason if it stops because of a failure.
    fn send_last_ack(&mut self) -> Error {
        let progress = self.progress;
        let reason = progress.life.borrow().reason().filter(|reason| reason.status == Status::ApplyFailed).cloned();
        let mut outgoing = progress.outgoing.lock();
        outgoing.finish(Some(progress.positions()), reason.as_ref());
        reason.unwrap_or_else(|| Error::new(Status::Ok, "the receiver stops"))
    }
}

impl Drop for WriterSession<'_> {
    fn drop(&mut self) {
        self.progress.outgoing.lock().close();
    }
}
