//! The connection: dialling, the handshake, entries in and acknowledgements out, and dialling again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use super::config::{GapPolicy, ProtocolChoice};
use super::core::Core;
use super::inbound::{Control, Inbound, Incoming};
use crate::clock::unix_time_us;
use crate::error::{Error, Result, Status};
use crate::host::{Event, EventKind};
use crate::protocol::control::{Positions, StreamAck};
use crate::protocol::frame::{TYPE_ACK, TYPE_ERROR, TYPE_SYNC_ACK};
use crate::protocol::handshake::{Answer, Offer, Sync, SyncAck, hex};
use crate::protocol::lineage::Lineage;
use crate::protocol::{STREAM_VERSION, message};
use crate::transport::{FrameReader, Stream};

/// The first pause between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// How often a peer may want to hear something, at most.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(10);

/// The pause of a connection without heartbeats on which nothing happens.
const IDLE: Duration = Duration::from_secs(3600);

/// How long the writer may take to read why this side ends the connection.
const LINGER: Duration = Duration::from_millis(250);

/// Reads in a row before other tasks get a turn.
const READS_PER_TURN: u32 = 16;

/// Follows the writer until the receiver stops.
pub(super) async fn follow(core: Arc<Core>, has_connect_handler: bool) {
    let mut stopping = core.stopping.subscribe();
    let mut inbound = Inbound::new(core.config.buffer_bytes, core.config.gap_policy);
    let mut pause = FIRST_PAUSE;
    loop {
        if !wait_for_room(&core, &mut stopping).await {
            return;
        }
        let received = core.progress.received();
        let ended = connect(&core, &mut inbound, has_connect_handler).await;
        core.connected_since_us.store(0, Ordering::Release);
        if *stopping.borrow() {
            if let (Err(end), true) = (ended, core.version.load(Ordering::Acquire) != 0) {
                failed(&core, end);
            }
            return;
        }
        let progressed = core.progress.received() != received;
        match ended {
            // A hole was passed by decision: the next attempt begins behind it.
            Ok(()) => {}
            Err(end) => failed(&core, end),
        }
        if progressed {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = sleep(jitter(pause)) => {}
            () = stopped(&mut stopping) => return,
        }
        pause = (pause * 2).min(core.config.reconnect_interval);
    }
}

/// Waits until the host has applied enough of what came before: each connection brings some bytes with its handshake.
/// `false`: the receiver stops.
async fn wait_for_room(core: &Core, stopping: &mut watch::Receiver<bool>) -> bool {
    let is_full = || core.mailbox.lock().work.bytes as u64 >= core.config.buffer_bytes;
    while is_full() {
        core.progress.want_room();
        if is_full() {
            tokio::select! {
                () = core.progress.moved.notified() => {}
                () = stopped(stopping) => return false,
            }
        }
    }
    true
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The sender lives in the core, which outlives this task.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// A time between half of `pause` and all of it, so that many readers do not come back at once.
fn jitter(pause: Duration) -> Duration {
    let mut random = [0; 4];
    // Without randomness the pause is whole, which is only less kind.
    let part = if getrandom::fill(&mut random).is_ok() { u32::from_be_bytes(random) } else { u32::MAX };
    pause.mul_f64(0.5 + 0.5 * f64::from(part) / f64::from(u32::MAX))
}

/// Why a connection, or the attempt at one, ended.
struct End {
    error: Error,
    /// The writer's answer to the Sync was a no.
    refused: bool,
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self { error, refused: false }
    }
}

/// Counts and reports an end.
fn failed(core: &Core, End { error, refused }: End) {
    let was_connected = core.version.swap(0, Ordering::AcqRel) != 0;
    if error.status != Status::Ok {
        core.counters.errors.fetch_add(1, Ordering::Relaxed);
        *core.last_error.lock() = Some(error.clone());
    }
    let kind = match error.status {
        Status::SequenceGap | Status::WalRotated => Some(EventKind::Gap),
        Status::Regressed => Some(EventKind::Regressed),
        Status::Diverged => Some(EventKind::Diverged),
        _ if refused => Some(EventKind::Refused),
        Status::InvalidMsg | Status::MessageTooLarge | Status::MessageTooSmall | Status::Truncated => {
            Some(EventKind::ProtocolError)
        }
        _ => None,
    };
    let received = core.progress.received();
    if let Some(kind) = kind {
        let mut event = Event::new(kind, error.status, error.message.clone());
        event.sequence = if kind == EventKind::Gap { received.saturating_add(1) } else { received };
        core.event(event);
    }
    if was_connected || kind.is_none() {
        let verb = if was_connected { "disconnected from" } else { "not connected to" };
        let text = format!("{verb} {}: {}", core.config.writer_addr, error.message);
        let mut event = Event::new(EventKind::Disconnected, error.status, text);
        event.sequence = received;
        core.event(event);
    }
}

/// One connection, from dialling to its end. `Ok`: a hole was passed, and it is worth dialling again.
async fn connect(core: &Arc<Core>, inbound: &mut Inbound, has_connect_handler: bool) -> Result<(), End> {
    let mut stopping = core.stopping.subscribe();
    let opened = tokio::select! {
        opened = timeout(core.config.connect_timeout, open(core, has_connect_handler)) => opened,
        () = stopped(&mut stopping) => return Err(Error::new(Status::Ok, "the receiver stops").into()),
    };
    let limit = core.config.connect_timeout.as_millis();
    let (stream, frames, ack) = opened.map_err(|_| {
        let text = format!("no connection and handshake with {} within {limit} ms", core.config.writer_addr);
        Error::new(Status::PeerTimeout, text)
    })??;
    let last = core.progress.received();
    let incoming = match agree(core, &ack) {
        Ok(incoming) => incoming,
        Err(End { error, .. })
            if error.status == Status::SequenceGap && core.config.gap_policy == GapPolicy::Continue =>
        {
            // A writer whose log is empty, or that does not say where it begins, goes on behind its position.
            let oldest = ack.answer.as_ref().and_then(|answer| answer.first_sequence.checked_sub(1));
            let oldest = oldest.unwrap_or(ack.current_sequence);
            if oldest <= last || oldest > ack.current_sequence {
                return Err(End { error, refused: true });
            }
            pass_hole(core, last + 1, oldest);
            core.progress.set_received(oldest);
            return Ok(());
        }
        Err(end) => return Err(end),
    };
    core.progress.set_writer(ack.current_sequence);
    core.counters.connects.fetch_add(1, Ordering::Relaxed);
    core.version.store(if incoming == Incoming::V2 { 2 } else { 1 }, Ordering::Release);
    core.connected_since_us.store(unix_time_us(), Ordering::Release);
    let mut event = Event::new(EventKind::Connected, Status::Ok, format!("connected to {}", core.config.writer_addr));
    event.sequence = last;
    event.detail = json!({
        "protocol": core.version.load(Ordering::Relaxed),
        "writer_sequence": ack.current_sequence,
        "peer": stream.peer(),
    });
    core.event(event);
    let rest = frames.into_rest();
    core.counters.bytes_received.fetch_add(rest.len() as u64, Ordering::Relaxed);
    inbound.begin(incoming, last, &rest);
    let mut session = Session {
        core,
        stream: &stream,
        inbound,
        v2: incoming == Incoming::V2,
        out: Vec::new(),
        unflushed: false,
        acked: Positions::default(),
        acked_at: Instant::now(),
        heard_at: Instant::now(),
        requests: [0; 3],
        unannounced: false,
        heartbeat: ack.answer.map_or(IDLE, |answer| {
            // The side that wants to hear more often is heard: its time-out fits its own interval.
            let wanted = Duration::from_millis(answer.heartbeat_ms).max(SHORTEST_HEARTBEAT);
            core.config.heartbeat_interval.min(wanted)
        }),
    };
    let ended = session.run().await;
    if is_told(&ended) {
        let _ = timeout(LINGER, stream.discard()).await;
    }
    Err(ended.into())
}

/// Dials and shakes hands.
async fn open(core: &Core, has_connect_handler: bool) -> Result<(Stream, FrameReader, SyncAck)> {
    let config = &core.config;
    let stream = if has_connect_handler { dial(core).await? } else { Stream::connect(&core.address).await? };
    let stream = match &config.tls {
        Some(tls) => tls.connect(stream, &core.address)?,
        None => stream,
    };
    stream.handshake().await.map_err(|e| Error::new(Status::Io, e.to_string()))?;
    let lineage = *core.lineage.lock();
    let sync = Sync {
        reader_id: config.reader_id.clone(),
        last_known_sequence: core.progress.received(),
        offer: (config.protocol != ProtocolChoice::V1).then(|| Offer {
            version: STREAM_VERSION,
            stream_id: lineage.map(|lineage| lineage.stream_id),
            epoch: lineage.map_or(0, |lineage| lineage.epoch),
            heartbeat_ms: config.heartbeat_interval.as_millis() as u64,
        }),
    };
    let mut hello = Vec::new();
    message::encode_sync(&mut hello, &sync, config.coordinator_handshake)
        .map_err(|e| Error::new(e.status(), e.to_string()))?;
    let mut left = &hello[..];
    while !left.is_empty() {
        match stream.try_send(&[io::IoSlice::new(left)]) {
            Ok(sent) => left = &left[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await.map_err(lost)?,
            Err(error) => return Err(lost(error)),
        }
    }
    let mut frames = FrameReader::default();
    let (kind, payload) = frames.read(&stream).await?;
    let expected = if config.coordinator_handshake { TYPE_ACK } else { TYPE_SYNC_ACK };
    if kind == TYPE_ERROR {
        let said = message::decode_error(&payload).map_err(|e| Error::new(Status::InvalidMsg, e.to_string()))?;
        let status = Status::reported(&said.code);
        return Err(Error::new(status, format!("the writer answers {}: {}", said.code, said.message)));
    }
    if kind != expected {
        let text = format!("the writer answered the Sync with a frame of type {kind:#04x}, not {expected:#04x}");
        return Err(Error::new(Status::InvalidMsg, text));
    }
    let ack = message::decode_sync_ack(&payload);
    let ack = ack.map_err(|e| Error::new(Status::InvalidMsg, format!("bad SyncAck: {e}")))?;
    Ok((stream, frames, ack))
}

/// Has the host dial, on its callback thread.
async fn dial(core: &Core) -> Result<Stream> {
    let (answer, dialled) = oneshot::channel();
    core.mailbox.lock().work.dial = Some(answer);
    core.attention.store(true, Ordering::SeqCst);
    core.mailbox.notify();
    let address = &core.config.writer_addr;
    let socket = match dialled.await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => {
            return Err(Error::new(Status::Io, format!("the connect handler gave no socket to {address}: {error}")));
        }
        Err(_) => return Err(Error::new(Status::Closed, "the receiver is stopping")),
    };
    Stream::from_fd(socket)
}

/// Whether this writer may be followed, and in which protocol.
fn agree(core: &Core, ack: &SyncAck) -> Result<Incoming, End> {
    let config = &core.config;
    let received = core.progress.received();
    if !ack.error.is_empty() {
        let code = match &ack.answer {
            Some(Answer { code, .. }) if !code.is_empty() => code.as_str(),
            _ => ack.error.split(':').next().unwrap_or_default(),
        };
        let error = Error::new(Status::reported(code), format!("the writer refuses this reader: {}", ack.error));
        return Err(End { error, refused: true });
    }
    if let Some(answer) = &ack.answer {
        adopt(core, answer, received)?;
    }
    if ack.current_sequence < received {
        let text = format!(
            "the writer is at {}, this reader already at {received}: it was restarted or restored without its log",
            ack.current_sequence
        );
        return Err(Error::new(Status::Regressed, text).into());
    }
    if ack.answer.is_none() && config.protocol == ProtocolChoice::Auto && received > 0 && core.lineage.lock().is_some()
    {
        let text = "the writer no longer names its stream; set the protocol to v1 to follow it all the same";
        return Err(Error::new(Status::Diverged, text).into());
    }
    match (&ack.answer, config.protocol) {
        (Some(_), ProtocolChoice::Auto | ProtocolChoice::V2) => Ok(Incoming::V2),
        (None, ProtocolChoice::V2) => {
            Err(Error::new(Status::InvalidMsg, "the writer does not speak v2, and nothing else is allowed here").into())
        }
        _ => Ok(Incoming::V1 { coordinator: config.coordinator_handshake }),
    }
}

/// Takes on the writer's lineage, if it is the one that was followed so far or there was none.
fn adopt(core: &Core, answer: &Answer, received: u64) -> Result<()> {
    if answer.version != STREAM_VERSION {
        let text = format!("the writer picked version {} of the stream, {STREAM_VERSION} was offered", answer.version);
        return Err(Error::new(Status::InvalidMsg, text));
    }
    let new = Lineage { stream_id: answer.stream_id, epoch: answer.epoch };
    let mut lineage = core.lineage.lock();
    if let Some(old) = *lineage
        && (received > 0 || core.config.lineage.is_some())
    {
        if old.stream_id != new.stream_id {
            let (old, new) = (hex(&old.stream_id), hex(&new.stream_id));
            let text = format!("the writer has stream {new}, position {received} belongs to stream {old}");
            return Err(Error::new(Status::Diverged, text));
        }
        if new.epoch < old.epoch {
            let text =
                format!("the writer has epoch {}, epoch {} was seen: it is no longer the writer", new.epoch, old.epoch);
            return Err(Error::new(Status::Diverged, text));
        }
    }
    *lineage = Some(new);
    Ok(())
}

fn pass_hole(core: &Core, first: u64, last: u64) {
    core.counters.holes_passed.fetch_add(1, Ordering::Relaxed);
    core.counters.entries_missing.fetch_add(last - first + 1, Ordering::Relaxed);
    let text = format!("entries {first} to {last} are missing; went on behind them");
    let mut event = Event::new(EventKind::HolePassed, Status::SequenceGap, text);
    event.sequence = first;
    event.detail = json!({ "first_missing": first, "last_missing": last });
    core.event(event);
}

/// Whether the writer is told of this error before the connection ends.
fn is_told(error: &Error) -> bool {
    matches!(error.status, Status::InvalidMsg | Status::SequenceGap | Status::MessageTooLarge | Status::MessageTooSmall)
}

fn lost(error: io::Error) -> Error {
    Error::new(Status::Io, format!("the connection failed: {error}"))
}

/// A connection after the handshake.
struct Session<'a> {
    core: &'a Arc<Core>,
    stream: &'a Stream,
    inbound: &'a mut Inbound,
    v2: bool,
    /// Bytes of an acknowledgement that the socket did not take yet.
    out: Vec<u8>,
    /// The stream still has to send some of what it took.
    unflushed: bool,
    acked: Positions,
    acked_at: Instant,
    heard_at: Instant,
    /// The sequences at which the writer wants to hear, by level.
    requests: [u64; 3],
    /// How often this side says something.
    heartbeat: Duration,
    /// Deliveries were passed on that the callback thread was not woken for.
    unannounced: bool,
}

impl Session<'_> {
    /// Receives until the connection ends, and says why it did.
    async fn run(&mut self) -> Error {
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
        self.acknowledge();
        let mut reads = 0;
        loop {
            if *stopping.borrow() {
                return self.say_good_bye();
            }
            let room = self.has_room();
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
                self.heard_at = Instant::now();
            }
            if self.v2 && self.heard_at.elapsed() > core.config.peer_timeout {
                let text = format!("nothing heard from the writer for {} ms", self.heard_at.elapsed().as_millis());
                return Error::new(Status::PeerTimeout, text);
            }
            self.acknowledge_if_due();
            if let Err(error) = self.flush() {
                return lost(error);
            }
            tokio::select! {
                readable = stream.readable(), if room => if let Err(error) = readable { return lost(error) },
                writable = stream.writable(), if !self.out.is_empty() || self.unflushed => {
                    if let Err(error) = writable { return lost(error) }
                }
                () = core.progress.moved.notified() => {}
                () = sleep(self.next_look()) => {}
                () = stopped(&mut stopping) => {}
            }
        }
    }

    /// Whether the callback thread keeps up.
    fn has_room(&mut self) -> bool {
        let full = |session: &mut Self| {
            let waiting = session.core.mailbox.lock().work.bytes as u64;
            waiting >= session.core.config.buffer_bytes || session.inbound.spare().is_none()
        };
        if full(self) {
            // Look again after asking to be told: it may have come free in between.
            self.core.progress.want_room();
            return !full(self);
        }
        true
    }

    /// Reads once and takes in what came. `false`: nothing came.
    fn receive(&mut self) -> Result<bool> {
        let Some(mut spare) = self.inbound.spare() else { return Ok(false) };
        let received = match self.stream.try_receive(&mut spare) {
            Ok(0) if self.inbound.is_unfinished() => {
                return Err(Error::new(Status::Truncated, "the writer closed the connection inside a frame"));
            }
            Ok(0) => return Err(Error::new(Status::Io, "the writer closed the connection")),
            Ok(received) => received,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(false);
            }
            Err(error) => return Err(lost(error)),
        };
        let counters = &self.core.counters;
        counters.bytes_received.fetch_add(received as u64, Ordering::Relaxed);
        counters.last_receive_us.store(unix_time_us(), Ordering::Relaxed);
        self.heard_at = Instant::now();
        self.take()?;
        Ok(true)
    }

    /// Passes on what is whole.
    fn take(&mut self) -> Result<()> {
        let core = self.core;
        let parsed = self.inbound.parse();
        if parsed.entries > 0 {
            core.counters.entries_received.fetch_add(parsed.entries, Ordering::Relaxed);
            core.progress.set_received(self.inbound.last());
        }
        for control in parsed.controls {
            match control {
                Control::Heartbeat(heartbeat) => core.progress.set_writer(heartbeat.last_sequence),
                Control::AckRequest(request) => {
                    let wanted = &mut self.requests[usize::from(request.level) - 1];
                    *wanted = request.sequence.max(*wanted);
                }
                Control::HolePassed { first, last } => pass_hole(core, first, last),
            }
        }
        // Who waits for the acknowledgement waits longer than the handler does.
        self.acknowledge_if_due();
        let flushed = self.flush().map_err(lost);
        if let Some(delivery) = parsed.delivery {
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
        parsed.error.map_or(flushed, Err)
    }

    /// Wakes the callback thread for what was passed on. While more arrives, once for many deliveries is enough.
    fn announce(&mut self) {
        if std::mem::take(&mut self.unannounced) {
            self.core.mailbox.notify();
        }
    }

    /// Acknowledges when the interval is over, when the writer's wish is reached, or to show that this side lives.
    fn acknowledge_if_due(&mut self) {
        let config = &self.core.config;
        let now = self.core.progress.positions();
        let reached = [now.received, now.durable, now.applied];
        let asked = self.requests.iter().zip(reached).any(|(wanted, reached)| *wanted > 0 && reached >= *wanted);
        let passed = self.acked_at.elapsed();
        let moved = if self.v2 { now != self.acked } else { now.applied != self.acked.applied };
        if asked || moved && passed >= config.ack_interval || self.v2 && passed >= self.heartbeat {
            self.acknowledge();
        }
        // A durable position moves with the applied one, or not at all.
        let durable = if config.handler_durable { self.requests[1] } else { 0 };
        let wanted = [durable, self.requests[2]].into_iter().filter(|wanted| *wanted > 0).min();
        if wanted.is_some_and(|wanted| !self.core.progress.report_at(wanted)) {
            // It was applied in this very moment.
            self.core.progress.moved.notify_one();
        }
    }

    fn acknowledge(&mut self) {
        // The one before is still on its way out: the next look sends fresh numbers.
        if !self.out.is_empty() {
            return;
        }
        let positions = self.core.progress.positions();
        if self.v2 {
            self.out.extend(StreamAck { positions, reply: false }.encode());
        } else if message::encode_ack(&mut self.out, positions.applied, &self.core.config.reader_id).is_err() {
            // An id of at most 255 bytes always fits a frame.
            return;
        }
        let reached = [positions.received, positions.durable, positions.applied];
        for (wanted, reached) in self.requests.iter_mut().zip(reached) {
            if reached >= *wanted {
                *wanted = 0;
            }
        }
        self.acked = positions;
        self.acked_at = Instant::now();
    }

    /// Sends what the socket takes of an acknowledgement.
    fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.try_send(&[io::IoSlice::new(&self.out)]) {
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match self.stream.try_flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            flushed => {
                self.unflushed = flushed.is_err();
                Ok(())
            }
        }
    }

    /// How long nothing is due, if nothing happens.
    fn next_look(&self) -> Duration {
        let config = &self.core.config;
        let positions = self.core.progress.positions();
        let ack = if positions != self.acked || positions.applied != positions.received {
            config.ack_interval.min(self.heartbeat)
        } else {
            self.heartbeat
        };
        let silence = if self.v2 { config.peer_timeout.saturating_sub(self.heard_at.elapsed()) } else { Duration::MAX };
        ack.saturating_sub(self.acked_at.elapsed()).min(silence).max(Duration::from_millis(1))
    }

    /// Tells the writer why this side ends the connection, if it does.
    fn end(&mut self, error: Error) -> Error {
        if is_told(&error) && self.out.is_empty() {
            // The text is short; a socket that takes nothing now is about to be closed anyway.
            let _ = message::encode_error(&mut self.out, error.status.name(), &error.message);
            let _ = self.flush();
            self.stream.finish();
        }
        error
    }

    /// The last words of a receiver that stops: how far it came, and why it stops if it had to.
    fn say_good_bye(&mut self) -> Error {
        self.acknowledge();
        let reason = self.core.progress.ended().filter(|reason| reason.status == Status::ApplyFailed);
        if let Some(reason) = &reason {
            let _ = message::encode_error(&mut self.out, reason.status.name(), &reason.message);
        }
        let _ = self.flush();
        self.stream.finish();
        reason.unwrap_or_else(|| Error::new(Status::Ok, "the receiver stops"))
    }
}
