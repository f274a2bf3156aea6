//! A connection after the handshake: entries in, acknowledgements out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::core::{Core, stopped};
use super::delivery::Before;
use super::inbound::Inbound;
use super::local_log::LocalLog;
use crate::clock;
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

/// The pause of a connection without heartbeats on which nothing happens.
const IDLE: Duration = Duration::from_secs(3600);

/// How often a v2 connection shows that it lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulse {
    /// How often this side says something.
    pub(super) interval: Duration,
    /// How long the writer may be silent.
    pub(super) patience: Duration,
}

/// A connection after the handshake.
pub(super) struct Session<'a> {
    core: &'a Arc<Core>,
    stream: &'a Stream,
    inbound: &'a mut Inbound,
    /// Points of what was received over v2.
    history: &'a mut History,
    /// Of a v2 connection.
    pulse: Option<Pulse>,
    heard_at: Instant,
    /// Deliveries were passed on that the callback thread was not woken for.
    unannounced: bool,
}

impl<'a> Session<'a> {
    /// `pulse`: that of v2; v1 has none.
    pub(super) fn new(
        core: &'a Arc<Core>,
        stream: &'a Arc<Stream>,
        inbound: &'a mut Inbound,
        history: &'a mut History,
        pulse: Option<Pulse>,
    ) -> Self {
        // What the last writer, or the last connection's, waited for.
        core.local.iter().for_each(LocalLog::want_no_sync);
        inbound.receives_at(clock::now());
        let heartbeat = pulse.map_or(IDLE, |pulse| pulse.interval);
        let (id, interval) = (&core.config.reader_id, core.config.ack_interval);
        core.progress.acks.lock().begin(stream, pulse.is_some(), id, interval, heartbeat);
        Self { core, stream, inbound, history, pulse, heard_at: clock::instant(), unannounced: false }
    }

    /// Receives until the connection ends, and says why it did.
    pub(super) async fn run(&mut self) -> Error {
        let ended = self.receive_all().await;
        self.announce();
        self.end(ended)
    }

    async fn receive_all(&mut self) -> Error {
        let (core, stream) = (self.core, self.stream);
        let mut stopping = core.stopping.subscribe();
        // What came with the handshake.
        if let Err(error) = self.take() {
            return error;
        }
        core.progress.acknowledge();
        let mut reads = 0;
        // Moved only when it is too late: to arm it costs a system call.
        let mut look = std::pin::pin!(sleep(self.next_look()));
        loop {
            if *stopping.borrow() {
                return self.say_good_bye();
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
                // Not reading is this side's own doing.
                self.heard_at = clock::instant();
            }
            if self.pulse.is_some_and(|pulse| clock::since(self.heard_at) > pulse.patience) {
                let text = format!("nothing heard from the writer for {} ms", clock::since(self.heard_at).as_millis());
                return Error::new(Status::PeerTimeout, text);
            }
            if let Err(error) = core.progress.acknowledge_if_due() {
                return lost(Status::Io, &error);
            }
            let unsent = core.progress.acks.lock().is_unsent();
            let look_at = tokio::time::Instant::from(clock::instant() + self.next_look());
            if look_at < look.deadline() || look.is_elapsed() {
                look.as_mut().reset(look_at);
            }
            tokio::select! {
                biased;
                () = stopped(&mut stopping) => {}
                () = &mut look => {}
                () = core.progress.moved.notified() => {}
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
            let waiting = session.core.mailbox.lock().work.bytes as u64;
            Ok(waiting >= session.core.config.buffer_bytes || session.inbound.spare()?.is_none())
        };
        if full(self)? {
            // Look again after asking to be told: it may have come free in between.
            self.core.progress.want_room();
            return Ok(!full(self)?);
        }
        Ok(true)
    }

    /// Reads once and takes in what came. `false`: nothing came.
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
        let counters = &self.core.counters;
        counters.bytes_received.fetch_add(received as u64, Ordering::Relaxed);
        let now = clock::now();
        counters.last_receive_us.store(now.wall_us, Ordering::Relaxed);
        self.inbound.receives_at(now);
        self.heard_at = clock::instant();
        self.take()?;
        Ok(true)
    }

    /// Passes on what is whole.
    fn take(&mut self) -> Result<()> {
        while self.take_delivery()? {}
        Ok(())
    }

    /// Passes on one delivery of it. `true`: there may be another.
    fn take_delivery(&mut self) -> Result<bool> {
        let core = self.core;
        let (parsed, delivery) = self.inbound.parse();
        if parsed.entries > 0 {
            core.counters.entries_received.fetch_add(parsed.entries, Ordering::Relaxed);
            let Before { sequence, hash, .. } = self.inbound.before();
            let at = Point { sequence, hash };
            core.progress.set_received(at);
            if self.pulse.is_some() {
                self.history.note(at);
            }
        }
        let mut wanted = 0;
        for control in parsed.controls {
            match control {
                Control::Heartbeat(heartbeat) => core.progress.set_writer(heartbeat.last_sequence),
                Control::AckRequest(request) => {
                    core.progress.acks.lock().ask(request);
                    if request.level == AckLevel::Durable {
                        wanted = wanted.max(request.sequence);
                    }
                }
                Control::HolePassed { first, last } => core.pass_hole(first, last),
            }
        }
        // Who waits for the acknowledgement waits longer than the handler does.
        let flushed = core.progress.acknowledge_if_due().map_err(|error| lost(Status::Io, &error));
        if let Some(delivery) = delivery {
            let mut content = core.mailbox.lock();
            content.work.bytes += delivery.len();
            content.work.deliveries.push_back(delivery);
            let many = content.work.bytes as u64 >= core.config.buffer_bytes / 8;
            drop(content);
            self.unannounced = true;
            if many {
                self.announce();
            }
        }
        if wanted > 0 && core.local.as_ref().is_some_and(|local| core.want_sync(local, wanted)) {
            self.unannounced = true;
            self.announce();
        }
        parsed.error.map_or(flushed, Err)?;
        Ok(parsed.full)
    }

    /// Wakes the callback thread for what was passed on. While more arrives, once for many deliveries is enough.
    fn announce(&mut self) {
        if std::mem::take(&mut self.unannounced) {
            self.core.mailbox.notify();
        }
    }

    /// How long nothing is due, if nothing happens.
    fn next_look(&self) -> Duration {
        let progress = &self.core.progress;
        let ack = progress.acks.lock().rest(progress.positions());
        let left = |pulse: Pulse| pulse.patience.saturating_sub(clock::since(self.heard_at));
        let silence = self.pulse.map_or(Duration::MAX, left);
        ack.min(silence).max(Duration::from_millis(1))
    }

    /// Tells the writer why this side ends the connection, if it does.
    fn end(&mut self, error: Error) -> Error {
        if is_sent_to_writer(&error) {
            self.core.progress.acks.lock().finish(None, Some(&error));
        }
        error
    }

    /// The last words of a receiver that stops: how far it came, and why it stops if it had to.
    fn say_good_bye(&mut self) -> Error {
        let progress = &self.core.progress;
        let reason = progress.ended().filter(|reason| reason.status == Status::ApplyFailed);
        let mut acks = progress.acks.lock();
        acks.finish(Some(progress.positions()), reason.as_ref());
        reason.unwrap_or_else(|| Error::new(Status::Ok, "the receiver stops"))
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.core.progress.acks.lock().close();
    }
}
