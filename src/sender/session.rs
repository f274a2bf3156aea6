//! One connection of a reader, from its first byte to its last: the handshake, then entries out and
//! acknowledgements in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, watch};

use super::admission::{self, Refusal};
use super::core::Core;
use super::incoming::{Incoming, lost};
use super::intake::{self, say_heartbeat};
use super::outgoing::{Outgoing, Pumped};
use super::phase::Phase;
use super::reader::Reader;
use super::report::Peer;
use crate::clock;
use crate::engine::heartbeat;
use crate::error::{Error, Status};
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::frame::{TYPE_ENTRY, TYPE_SYNC};
use crate::protocol::handshake::{Answer, Sync, SyncAck};
use crate::protocol::{STREAM_VERSION, check_reader_id, message};
use crate::runtime::{self, interval, timeout};
use crate::transport::{FrameReader, Stream};

/// How long a peer may take to read a last word and close its end.
const LINGER: Duration = Duration::from_secs(1);

/// Serves a connection whose peer has said nothing yet.
pub(super) async fn serve(core: Arc<Core>, stream: Stream, handshake: OwnedSemaphorePermit) {
    let mut frames = FrameReader::default();
    let limit = core.config.handshake_timeout;
    let mut spoken = false;
    // A sender that stops takes no new readers: it waits for none to say that it is one.
    let hello = async {
        // Who closes without a word is no reader: a health check, say, or one that another address served.
        if stream.is_spoken_on().await.is_ok_and(|speaks| !speaks) {
            return None;
        }
        spoken = true;
        Some(read_sync(&mut frames, &stream).await)
    };
    match unless(&core, |phase| phase != Phase::Running, timeout(limit, hello)).await {
        Some(Ok(Some(Ok((sync, coordinator))))) => {
            attach(core, stream, frames, sync, coordinator, Some(handshake)).await;
        }
        Some(Ok(Some(Err(error)))) => {
            core.report.protocol_error(stranger(&stream), &error);
            unless_closed(&core, say_last(&stream, &error_frame(&error))).await;
        }
        // Nor is who says nothing at all.
        Some(Err(_)) if spoken => {
            let error = Error::new(Status::PeerTimeout, format!("no Sync within {} ms", limit.as_millis()));
            core.report.protocol_error(stranger(&stream), &error);
        }
        Some(Ok(None) | Err(_)) | None => {}
    }
}

/// A peer that has not said who it is.
fn stranger(stream: &Stream) -> Peer<'_> {
    Peer { reader_id: "", address: stream.peer() }
}

/// Serves a connection whose Sync the host has read.
pub(super) async fn serve_known(core: Arc<Core>, stream: Stream, reader_id: String, last_known_sequence: u64) {
    let sync = Sync { reader_id, last_known_sequence, offer: None };
    attach(core, stream, FrameReader::default(), sync, false, None).await;
}

/// What `work` gives, unless the sender closes its connections first.
async fn unless_closed<T>(core: &Core, work: impl Future<Output = T>) -> Option<T> {
    unless(core, |phase| phase == Phase::Closing, work).await
}

/// What `work` gives, if it can before the sender comes to such a phase.
async fn unless<T>(core: &Core, is_over: impl Fn(Phase) -> bool, work: impl Future<Output = T>) -> Option<T> {
    let mut phase = core.phase.subscribe();
    tokio::select! {
        biased;
        done = work => Some(done),
        _ = phase.wait_for(|phase| is_over(*phase)) => None,
    }
}

/// What the transport has to agree on, then the first frame: a Sync, and whether it came in the coordinator's form.
async fn read_sync(frames: &mut FrameReader, stream: &Stream) -> Result<(Sync, bool), Error> {
    stream.handshake().await.map_err(|e| Error::new(Status::Io, e.to_string()))?;
    let (kind, payload) = frames.read(stream).await?;
    // The coordinator's Sync has the type that is an Entry's later on.
    let coordinator = match kind {
        TYPE_SYNC => false,
        TYPE_ENTRY => true,
        _ => return Err(Error::new(Status::InvalidMsg, format!("the first frame has type {kind:#04x}, not Sync"))),
    };
    let sync = message::decode_sync(&payload).map_err(|e| Error::new(Status::InvalidMsg, format!("bad Sync: {e}")))?;
    check_reader_id(&sync.reader_id).map_err(|why| Error::new(Status::InvalidMsg, format!("the reader id {why}")))?;
    Ok((sync, coordinator))
}

/// Admits the reader or refuses it, and streams to it until the connection ends.
async fn attach(
    core: Arc<Core>,
    stream: Stream,
    frames: FrameReader,
    mut sync: Sync,
    coordinator: bool,
    handshake: Option<OwnedSemaphorePermit>,
) {
    // Version 0 does not exist: whoever offers it is served as if it had offered nothing.
    sync.offer = sync.offer.filter(|offer| offer.version >= STREAM_VERSION);
    let mut ack = SyncAck { current_sequence: core.log.last_sequence(), ..SyncAck::default() };
    let admitted = admission::admit(&core, &sync).await;
    let v2 = sync.offer.is_some();
    if let Some(offer) = &sync.offer {
        let floor = core.config.min_heartbeat.as_millis() as u64;
        ack.answer = Some(Answer {
            version: STREAM_VERSION,
            stream_id: core.lineage.stream_id,
            epoch: core.lineage.epoch,
            first_sequence: core.log.first_sequence(),
            heartbeat_ms: core.config.heartbeat_interval.as_millis() as u64,
            min_heartbeat_ms: Some(floor).filter(|floor| offer.heartbeat_ms < *floor),
            ..Answer::default()
        });
    }
    let mut greeting = Vec::new();
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(Refusal { error, common_sequence, differing_sequence }) => {
            if let Some(answer) = &mut ack.answer {
                (answer.common_sequence, answer.differing_sequence) = (common_sequence, differing_sequence);
            }
            return refuse(&core, &stream, &sync, ack, &error, coordinator).await;
        }
    };
    let (start, claim) = (admitted.cursor.start(), admitted.claim);
    ack.can_resume = true;
    if let Some(answer) = &mut ack.answer {
        answer.hash = admitted.told_hash();
    }
    if let Err(error) = message::encode_sync_ack(&mut greeting, &ack, coordinator) {
        let peer = Peer { reader_id: &sync.reader_id, address: stream.peer() };
        return core.report.protocol_error(peer, &Error::new(error.status(), error.to_string()));
    }
    let outgoing = Outgoing::new(Arc::clone(&core.log), admitted.cursor, sync.last_known_sequence, v2, greeting);
    let reader =
        Reader::new(sync.reader_id.clone(), stream, v2, sync.last_known_sequence, outgoing, Incoming::new(frames, v2));
    let held = core.slots.as_ref().map_or(0, |slots| slots.vouched(&reader.id));
    let Some((before, entered)) = core.readers.enter(&reader, claim, held) else {
        reader.let_go();
        let error =
            Error::new(Status::BufferFull, format!("all {} places for readers are taken", core.config.max_readers));
        return refuse(&core, &reader.stream, &sync, ack, &error, coordinator).await;
    };
    // Who said meanwhile that this node is not the writer has told those that were entered then.
    if let Err(error) = core.gate.check() {
        core.readers.leave(&reader, true);
        reader.let_go();
        return refuse(&core, &reader.stream, &sync, ack, &error, coordinator).await;
    }
    if let Some(slots) = &core.slots {
        let (version, events) = slots.enter(core.around_slots(), &reader, claim, &start);
        core.report.events(events);
        if let Some(version) = version {
            let stored = async {
                tokio::select! {
                    biased;
                    () = slots.saved(version) => {}
                    () = reader.closed.notified() => {}
                }
            };
            unless_closed(&core, stored).await;
        }
    }
    drop(handshake);
    core.report.connected(reader.peer(), reader.started_after, if v2 { 2 } else { 1 });
    core.reader_came(before, &reader, entered);
    let mut place = Place { core: &core, reader: &reader, ended: None };
    let wanted = sync.offer.map_or(Duration::MAX, |offer| Duration::from_millis(offer.heartbeat_ms));
    let heartbeat = heartbeat::interval(core.config.heartbeat_interval, wanted, core.config.min_heartbeat);
    let now = clock::instant();
    let mut session = Session { core: &core, reader: &reader, heartbeat, sent: 0, idle_since: now, lagging: false };
    let ended = session.run().await;
    place.ended = Some(ended.clone());
    drop(place);
    // Even without a last word the reader gets what is under way to it, unless this side closes too early.
    let says_why = ended.status != Status::Ok && !reader.is_inside_frame();
    let last_word = if says_why { error_frame(&ended) } else { Vec::new() };
    say_farewell(&core, &reader.stream, &last_word).await;
}

/// Says a last word to a reader that was connected. One too many is closed without it: who comes again and again could pile up
/// connections that nothing else counts any more.
async fn say_farewell(core: &Core, stream: &Stream, last_word: &[u8]) {
    match core.farewells.try_acquire() {
        Ok(_permit) => drop(unless_closed(core, say_last(stream, last_word)).await),
        Err(_) => core.report.counters.farewell_left_out(),
    }
}

/// A reader's place among the connected ones, given up however its session ends.
struct Place<'a> {
    core: &'a Core,
    reader: &'a Arc<Reader>,
    ended: Option<Error>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let lost = || Error::new(Status::Panic, "internal error in the reader's session");
        let ended = self.ended.take().unwrap_or_else(lost);
        self.core.readers.leave(self.reader, ended.status != Status::Ok);
        self.core.readers_changed();
        let (bytes, sent) = (self.reader.bytes_sent(), self.reader.sent_whole());
        // That is known now. What the reader did not get holds nobody up, while it takes its time to close.
        self.reader.let_go();
        let entries = sent.saturating_sub(self.reader.started_after);
        self.core.report.disconnected(self.reader.peer(), (entries, bytes), sent, &ended);
    }
}

/// Answers a Sync with the reason why there is no stream.
async fn refuse(core: &Core, stream: &Stream, sync: &Sync, mut ack: SyncAck, error: &Error, coordinator: bool) {
    core.report.refused(stream.peer(), sync, error);
    ack.can_resume = false;
    ack.error = error.to_string();
    if let Some(answer) = &mut ack.answer {
        error.status.name().clone_into(&mut answer.code);
        answer.hash = UNKNOWN_HISTORY;
    }
    let mut refusal = Vec::new();
    // The texts are ours and short.
    if message::encode_sync_ack(&mut refusal, &ack, coordinator).is_ok() {
        unless_closed(core, say_last(stream, &refusal)).await;
    }
}

fn error_frame(error: &Error) -> Vec<u8> {
    let mut frame = Vec::new();
    // A text that fits no frame is not sent; the connection ends all the same.
    let _ = message::encode_error(&mut frame, error.status.name(), &error.message);
    frame
}

/// Says a last word and gives the peer a moment to read it.
async fn say_last(stream: &Stream, last_word: &[u8]) {
    let said = async {
        let mut left = last_word;
        while !left.is_empty() {
            match stream.try_send(&[std::io::IoSlice::new(left)]) {
                Ok(sent) => left = &left[sent..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => stream.writable().await?,
                // TLS may have had a last word of its own.
                Err(_) => break,
            }
        }
        stream.finish();
        stream.discard().await;
        Ok::<(), std::io::Error>(())
    };
    // A peer that is gone, or does not want to hear, has had its chance.
    let _ = timeout(LINGER, said).await;
}

/// A reader's connection after the handshake.
struct Session<'a> {
    core: &'a Arc<Core>,
    reader: &'a Arc<Reader>,
    /// How often this side says something.
    heartbeat: Duration,
    /// Bytes sent when this was last looked at, and since when there were no more.
    sent: u64,
    idle_since: Instant,
    lagging: bool,
}

impl Session<'_> {
    /// Streams until the connection ends, and says why it did.
    async fn run(&mut self) -> Error {
        let (core, reader) = (self.core, self.reader);
        let mut phase = core.phase.subscribe();
        let config = &core.config;
        let shortest = (self.heartbeat / 2).min(config.write_timeout / 4).min(config.peer_timeout / 4);
        let mut tick = interval(shortest.max(Duration::from_millis(5)));
        let mut blocked_since: Option<(Instant, (u64, u64))> = None;
        // It is told that it may follow before it is told that another one took its place meanwhile.
        let _ = reader.pump(&core.acks, true);
        loop {
            match intake::take(core, reader) {
                Ok(true) => {}
                // A reader that never pauses must not keep this thread from the others.
                Ok(false) => tokio::task::yield_now().await,
                Err(error) => return self.conclude(error),
            }
            if let Some(error) = reader.closing() {
                return error;
            }
            let end_moved = core.end_moved.notified();
            tokio::pin!(end_moved);
            end_moved.as_mut().enable();
            let pumped = reader.pump(&core.acks, true);
            if let Err(error) = intake::decide(core, reader) {
                return error;
            }
            match pumped {
                Pumped::More => {
                    blocked_since = None;
                    if *phase.borrow() == Phase::Closing {
                        return stopped();
                    }
                    tokio::task::yield_now().await;
                }
                Pumped::AtEnd => {
                    blocked_since = None;
                    self.lagging = false;
                    if *phase.borrow() != Phase::Running && self.is_drained() {
                        return self.drain(&mut phase).await;
                    }
                    if !core.log.sleep_at(reader.position()) {
                        continue;
                    }
                    // What comes seldom first: neither entries nor a reader that never pauses keep it waiting.
                    tokio::select! {
                        biased;
                        _ = tick.tick() => if let Some(error) = self.look_after(None) { return error },
                        _ = phase.changed() => if *phase.borrow() == Phase::Closing { return stopped() },
                        () = reader.closed.notified() => {}
                        () = &mut end_moved => {}
                        () = reader.poked.notified() => {}
                        readable = reader.stream.readable() => if let Err(error) = readable { return lost(&error) },
                    }
                }
                Pumped::Blocked => {
                    let sent = (reader.bytes_sent(), reader.stream.flushed());
                    let since = match blocked_since {
                        Some((since, before)) if before == sent => since,
                        _ => clock::instant(),
                    };
                    blocked_since = Some((since, sent));
                    tokio::select! {
                        biased;
                        _ = tick.tick() => if let Some(error) = self.look_after(Some(since)) { return error },
                        _ = phase.changed() => if *phase.borrow() == Phase::Closing { return stopped() },
                        () = reader.closed.notified() => {}
                        () = reader.cut.cut() => {}
                        writable = reader.stream.writable() => if let Err(error) = writable { return lost(&error) },
                        readable = reader.stream.readable() => if let Err(error) = readable { return lost(&error) },
                    }
                }
                Pumped::Far(load) => {
                    blocked_since = None;
                    tokio::select! {
                        biased;
                        loaded = runtime::spawn_blocking(move || load.run()) => match loaded {
                            Some(Ok(loaded)) => reader.supply(loaded),
                            Some(Err(error)) => return error,
                            None => return Error::new(Status::Panic, "internal error while the log was read"),
                        },
                        _ = phase.wait_for(|phase| *phase == Phase::Closing) => return stopped(),
                    }
                    if let Some(error) = self.look_after(None) {
                        return error;
                    }
                }
                Pumped::CutOff => return self.cut_off(),
                Pumped::Failed(error) => return lost(&error),
                Pumped::LogFailed(error) => return error,
            }
        }
    }

    /// Why the connection ends, when reading from it ended so: what the reader said before it closed is judged first.
    fn conclude(&self, error: Error) -> Error {
        let (core, reader) = (self.core, self.reader);
        if !matches!(error.status, Status::Ok | Status::WriteFailed) || !reader.is_undecided() {
            return error;
        }
        let _ = reader.pump(&core.acks, true);
        intake::decide(core, reader).err().unwrap_or(error)
    }

    /// What time alone brings: heartbeats, a warning, and the end of peers that are silent or stuck.
    fn look_after(&mut self, blocked_since: Option<Instant>) -> Option<Error> {
        let (core, reader, config) = (self.core, self.reader, &self.core.config);
        let (silent, unfinished) = reader.heard();
        let ms = |duration: Duration| duration.as_millis();
        if reader.v2 && silent > config.peer_timeout {
            let text = format!("nothing heard from the reader for {} ms", ms(silent));
            return Some(Error::new(Status::PeerTimeout, text));
        }
        if let Some(unfinished) = unfinished.filter(|unfinished| *unfinished > config.peer_timeout) {
            let text = format!("a frame of the reader's is unfinished for {} ms", ms(unfinished));
            return Some(Error::new(Status::PeerTimeout, text));
        }
        match blocked_since {
            // A v2 reader that talks but does not read is slow, not dead: it may use up the window.
            Some(since) if clock::since(since) > config.write_timeout && (!reader.v2 || silent > config.write_timeout) => {
                let text = format!("the reader took no byte for {} ms", ms(clock::since(since)));
                return Some(Error::new(Status::PeerTimeout, text));
            }
            Some(_) => {}
            None => {
                let sent = reader.bytes_sent();
                if sent != self.sent {
                    (self.sent, self.idle_since) = (sent, clock::instant());
                } else if reader.v2 && clock::since(self.idle_since) >= self.heartbeat / 2 {
                    say_heartbeat(core, reader);
                }
            }
        }
        if !self.lagging && core.is_lagging(reader) {
            self.lagging = true;
            let sent = reader.sent_whole();
            core.report.lagging(reader.peer(), sent, core.log.last_sequence().saturating_sub(sent));
        }
        None
    }

    fn cut_off(&self) -> Error {
        let (core, reader) = (self.core, self.reader);
        let at = reader.sent_whole();
        let (oldest, current) = (core.log.oldest_known(), core.log.last_sequence());
        let text =
            format!("the reader got entries up to {at}; those up to {oldest} are no longer {}", core.gone_from());
        let error = Error::new(core.gone(), text);
        core.report.cut_off(reader.peer(), at, (oldest, current), &error);
        error
    }

    /// Whether a stopping sender has nothing left to do for this reader but to end the stream.
    fn is_drained(&self) -> bool {
        !self.reader.v2 || self.reader.stands_at() >= self.core.log.last_sequence()
    }

    /// Ends the stream behind the last entry and waits for the reader to close, or for the end of the drain's time.
    async fn drain(&mut self, phase: &mut watch::Receiver<Phase>) -> Error {
        self.reader.stream.finish();
        loop {
            let taken = intake::take(self.core, self.reader);
            // A waiting thread may have come upon the end first.
            let decided = taken.and_then(|all| intake::decide(self.core, self.reader).map(|()| all));
            match decided.and_then(|all| self.reader.closing().map_or(Ok(all), Err)) {
                Ok(true) => {}
                Ok(false) => tokio::task::yield_now().await,
                // However it went away, it was told that this is the end.
                Err(error) if matches!(error.status, Status::Ok | Status::WriteFailed) => return stopped(),
                Err(error) => return error,
            }
            tokio::select! {
                biased;
                () = self.reader.closed.notified() => {}
                changed = phase.wait_for(|phase| *phase == Phase::Closing) => {
                    drop(changed);
                    return stopped();
                }
                readable = self.reader.stream.readable() => if readable.is_err() { return stopped() },
            }
        }
    }
}

fn stopped() -> Error {
    Error::new(Status::Ok, "the sender was stopped")
}

#[cfg(all(test, not(model)))]
mod tests {
    use std::future::poll_fn;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::task::Poll;

    use super::super::Sender;
    use super::super::config::{SenderConfig, StorageConfig};
    use super::super::core::MAX_HANDSHAKES;
    use super::super::phase::Gate;
    use super::*;
    use crate::host::Silent;
    use crate::protocol::{HEADER_SIZE, MAX_HANDSHAKE_BYTES, frame};

    /// P5: a reader that was connected waits for its end only while few do.
    #[tokio::test]
    async fn p5_readers_whose_connection_has_ended_are_bounded() {
        let sender = Sender::new(SenderConfig::default(), Box::new(Silent)).unwrap();
        let core = &sender.core;
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let stream = Stream::from_fd(ours.into()).unwrap();
        let is_over = async || {
            let mut farewell = std::pin::pin!(say_farewell(core, &stream, b"why"));
            poll_fn(|task| Poll::Ready(farewell.as_mut().poll(task).is_ready())).await
        };
        let all = core.farewells.available_permits();
        assert_eq!(all, core.config.max_readers + MAX_HANDSHAKES);
        let others = core.farewells.try_acquire_many(u32::try_from(all).unwrap()).unwrap();
        assert!(is_over().await);
        drop(others);
        assert!(!is_over().await);
    }

    /// Go failure 11: a reader that is being admitted when this node ceases to be the writer is told, as those that are
    /// connected are.
    #[test]
    fn p7_go11_a_reader_that_is_being_admitted_is_told_that_this_is_not_the_writer() {
        let dir = tempfile::tempdir().unwrap();
        let config = SenderConfig { storage: Some(StorageConfig::new(dir.path())), ..SenderConfig::default() };
        let sender = Sender::new(config, Box::new(Silent)).unwrap();
        sender.core.gate.set(Gate::NotStarted, Gate::Open);
        let runtime =
            tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // The one thread on which readers are admitted is busy.
        let (release, held) = mpsc::channel::<()>();
        runtime.spawn_blocking(move || held.recv());
        let heard = std::thread::spawn(move || {
            let mut heard = Vec::new();
            // An end, or nothing more for too long.
            let _ = theirs.read_to_end(&mut heard);
            heard
        });
        runtime.block_on(async {
            let stream = Stream::from_fd(ours.into()).unwrap();
            let mut serving = Box::pin(serve_known(Arc::clone(&sender.core), stream, "r".into(), 0));
            assert!(poll_fn(|task| Poll::Ready(serving.as_mut().poll(task).is_pending())).await);
            sender.set_writable(false).unwrap();
            drop(release);
            serving.await;
        });
        let heard = heard.join().unwrap();
        let frame = frame::decode(&heard, MAX_HANDSHAKE_BYTES).unwrap();
        let ack = message::decode_sync_ack(frame.payload).unwrap();
        assert!(!ack.can_resume && ack.error.starts_with("NOT_WRITER"), "{ack:?}");
        assert_eq!(heard.len(), HEADER_SIZE + frame.payload.len());
        assert_eq!(sender.reader_count(), 0);
    }
}
