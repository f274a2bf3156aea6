//! The life of a reader's connection around its stream: the Sync and its answer, the reader's registration, and the
//! error frame at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::Semaphore;

use super::access::{self, LiveAccess, Via};
use super::admission;
use super::authorizations::Authorizations;
use super::authorizer::AccessRequest;
use super::config::SenderConfig;
use super::doorway::HandshakePlace;
use super::followers::Followers;
use super::incoming::Incoming;
use super::life::Life;
use super::outgoing::OutgoingEntries;
use super::proof;
use super::reader::{Access, Reader};
use super::report::ReaderLabel;
use super::session::ReaderSession;
use super::slots::Slots;
use crate::clock;
use crate::engine::access::policy::Denied;
use crate::engine::access::rights::Rights;
use crate::engine::access::rules::Decision;
use crate::engine::writer::admit::Refusal;
use crate::engine::writer::handshake::{Opening, Reply, Writer, denial, error_frame};
use crate::engine::writer::life::Stage;
use crate::engine::writer::peer::{Backlog, PeerLimits};
use crate::engine::{farewell, heartbeat};
use crate::error::{Error, Status};
use crate::options::LiveConfig;
use crate::protocol::handshake::Sync;
use crate::protocol::lineage::Lineage;
use crate::protocol::secret::TYPE_SECRET_HELLO;
use crate::runtime::timeout;
use crate::text::Quoted;
use crate::transport::{FrameReader, Stream};

/// The parts of a sender that the tasks of connections use.
pub(super) struct ReaderService {
    pub(super) config: Arc<LiveConfig<SenderConfig>>,
    pub(super) access: LiveAccess,
    /// Those about which the host decides, if it has a handler for that.
    pub(super) authorizations: Option<Arc<Authorizations>>,
    lineage: Lineage,
    pub(super) followers: Arc<Followers>,
    /// The slots, when the log is on disk.
    slots: Option<Arc<Slots>>,
    /// Ended connections whose readers may still read the reason.
    farewells: Semaphore,
    max_farewells: AtomicUsize,
}

/// Enough for all connected readers at once, and for those that connect and are refused meanwhile.
fn max_farewells(config: &SenderConfig) -> usize {
    config.max_readers.saturating_add(config.crowd.handshakes).min(Semaphore::MAX_PERMITS)
}

impl ReaderService {
    pub(super) fn new(
        config: Arc<LiveConfig<SenderConfig>>,
        lineage: Lineage,
        followers: Arc<Followers>,
        slots: Option<Arc<Slots>>,
        authorizations: Option<Arc<Authorizations>>,
    ) -> Self {
        let now = config.get();
        let access = LiveAccess::new(now.access_rules.clone(), now.trusted_network, authorizations.is_some());
        let max_farewells = max_farewells(&now);
        let farewells = Semaphore::new(max_farewells);
        Self {
            config,
            access,
            authorizations,
            lineage,
            followers,
            slots,
            farewells,
            max_farewells: AtomicUsize::new(max_farewells),
        }
    }

    /// Other limits from now on. Only one thread at a time calls this.
    pub(super) fn set_limits(&self, config: &SenderConfig) {
        let most = max_farewells(config);
        let more = most.saturating_sub(self.max_farewells.fetch_max(most, Ordering::Relaxed));
        self.farewells.add_permits(more);
    }
}

/// Serves a connection whose handshake is still to come.
pub(super) async fn serve(service: Arc<ReaderService>, stream: Stream, via: Via, place: HandshakePlace) {
    let mut frames = FrameReader::default();
    let limit = place.time;
    let begun = clock::instant();
    let mut has_sent = false;
    // A sender that stops accepts no new readers, so it does not wait for a Sync.
    let hello = async {
        // A peer that closes without sending anything is no reader: a health check, or a reader that another address
        // served.
        if stream.is_spoken_on().await.is_ok_and(|speaks| !speaks) {
            return None;
        }
        has_sent = true;
        Some(read_opening(&mut frames, &stream, &service.config.get()).await)
    };
    let door = |place| Door { life: &service.followers.life, place: Some(place) };
    match door(&place).unless(Stage::Draining, timeout(limit, hello)).await {
        Some(Ok(Some(Ok(opening)))) => attach(service, stream, frames, opening, via, begun, Some(place)).await,
        Some(Ok(Some(Err(error)))) if error.status == Status::NotAuthorized => {
            service.followers.report.refused(stranger(&stream), &Sync::default(), &error);
            door(&place).unless(Stage::Closing, send_last(&stream, &error_frame(&denial()))).await;
        }
        Some(Ok(Some(Err(error)))) => {
            service.followers.report.protocol_error(stranger(&stream), &error);
            door(&place).unless(Stage::Closing, send_last(&stream, &error_frame(&error))).await;
        }
        // Nor is a peer that never sends anything.
        Some(Err(_)) if has_sent => {
            let error = Error::new(Status::PeerTimeout, format!("no Sync within {} ms", limit.as_millis()));
            service.followers.report.protocol_error(stranger(&stream), &error);
        }
        Some(Ok(None) | Err(_)) | None => {}
    }
}

/// A peer whose id is not known yet.
fn stranger(stream: &Stream) -> ReaderLabel<'_> {
    ReaderLabel::new("", stream)
}

/// Serves a connection whose Sync the host has read.
pub(super) async fn serve_known(
    service: Arc<ReaderService>,
    stream: Stream,
    via: Via,
    reader_id: String,
    last_known_sequence: u64,
) {
    let opening = Opening::known(reader_id, last_known_sequence);
    attach(service, stream, FrameReader::default(), opening, via, clock::instant(), None).await;
}

/// What ends a connection that is no reader's yet: its sender, or that its place is another one's.
#[derive(Clone, Copy)]
struct Door<'a> {
    life: &'a Life,
    place: Option<&'a HandshakePlace>,
}

impl Door<'_> {
    /// The result of `work`, unless the sender reaches that stage or the connection's place is lost first.
    async fn unless<T>(self, over: Stage, work: impl Future<Output = T>) -> Option<T> {
        let Some(place) = self.place else { return unless(self.life, over, work).await };
        tokio::select! {
            biased;
            done = unless(self.life, over, work) => done,
            () = place.lost() => None,
        }
    }
}

/// The result of `work`, unless the sender closes its connections first.
async fn unless_closed<T>(life: &Life, work: impl Future<Output = T>) -> Option<T> {
    unless(life, Stage::Closing, work).await
}

/// The result of `work`, unless the sender reaches that stage first.
async fn unless<T>(life: &Life, over: Stage, work: impl Future<Output = T>) -> Option<T> {
    let mut stage = life.subscribe();
    tokio::select! {
        biased;
        done = work => Some(done),
        _ = stage.wait_for(|stage| *stage >= over) => None,
    }
}

/// The TLS handshake and the proof of a secret, if there are any, then the reader's Sync.
async fn read_opening(frames: &mut FrameReader, stream: &Stream, config: &SenderConfig) -> Result<Opening, Error> {
    stream.handshake().await.map_err(|e| Error::new(Status::Io, e.to_string()))?;
    let (kind, payload) = frames.read(stream).await?;
    if kind == TYPE_SECRET_HELLO {
        return proof::meet(frames, stream, config, &payload).await;
    }
    Opening::read(kind, &payload)
}

/// Admits the reader or refuses it, and streams to it until the connection ends.
async fn attach(
    service: Arc<ReaderService>,
    stream: Stream,
    frames: FrameReader,
    opening: Opening,
    via: Via,
    begun: Instant,
    place: Option<HandshakePlace>,
) {
    let ReaderService { lineage, followers, slots, .. } = &*service;
    let config = service.config.get();
    let Followers { log, life, report, readers, .. } = &**followers;
    let door = Door { life, place: place.as_ref() };
    let (sync, v2) = (&opening.sync, opening.is_v2());
    let writer = Writer {
        lineage: *lineage,
        current_sequence: log.last_sequence(),
        first_sequence: log.first_sequence(),
        heartbeat: config.heartbeat_interval,
        min_heartbeat: config.min_heartbeat,
    };
    let judged = access::judge(&service.access.policy(), via, &stream, &sync.reader_id);
    let decision =
        match judged.and_then(|decision| service.access.count(&decision, clock::instant()).map(|()| decision)) {
            Ok(decision) => decision,
            Err(denied) => return deny(&service, door, &stream, &opening, &writer, denied).await,
        };
    let rights = match ask_host(&service, door, &stream, &opening, via, &decision, begun).await {
        Some(Ok(rights)) => rights,
        Some(Err(denied)) => return deny(&service, door, &stream, &opening, &writer, denied).await,
        None => return,
    };
    let decision = Decision { rights, ..decision };
    let admitted = admission::admit(life, log, *lineage, sync, rights.contains(Rights::PROMOTE)).await;
    let reply = opening.reply(&writer);
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(&service, door, &stream, sync, &reply, refusal).await,
    };
    let (start, claim) = (admitted.start, admitted.claim);
    let greeting = match reply.accept(admitted.disclosed_hash()) {
        Ok(greeting) => greeting,
        Err(error) => {
            return report.protocol_error(ReaderLabel::new(&sync.reader_id, &stream), &error);
        }
    };
    if !rights.contains(Rights::HOLD) && !mutant!("holds-without-right") {
        admitted.cursor.give_way();
    }
    let slots = slots.as_ref().filter(|_| rights.contains(Rights::SLOT) || mutant!("slots-without-right"));
    let known = sync.last_known_sequence;
    let outgoing = OutgoingEntries::new(Arc::clone(log), admitted.cursor, known, v2, greeting);
    let access = Access { via, rights, rule: decision.line };
    let reader = Reader::new(sync.reader_id.clone(), stream, access, v2, known, outgoing, Incoming::new(frames, v2));
    let held = slots.map_or(0, |slots| slots.vouched(&reader.id));
    let (before, entered) = match readers.enter(&reader, &decision, claim, held) {
        Ok(entered) => entered,
        Err(error) => {
            reader.release();
            if error.status == Status::NotAuthorized {
                let denied = Denied { error, may_monitor: rights.contains(Rights::MONITOR) };
                return deny(&service, door, &reader.stream, &opening, &writer, denied).await;
            }
            return refuse(&service, door, &reader.stream, sync, &reply, error.into()).await;
        }
    };
    // Now it is a reader, whose place is among those.
    drop(place);
    let door = Door { life, place: None };
    let mut registration = Registration { service: &service, reader: &reader, is_reported: false, ended: None };
    // What it proved counts from now on; whether it may follow it is told later.
    followers.reader_entered(before, &reader, entered);
    // If the node stopped being the writer meanwhile, only the readers that were registered then were closed.
    if let Err(error) = life.check_open() {
        drop(registration);
        return refuse(&service, door, &reader.stream, sync, &reply, error.into()).await;
    }
    // The same goes for the certificates and the access rules.
    let now = service.config.get();
    let certified = now.tls.as_ref().map_or(Ok(()), |tls| tls.check(&reader.stream));
    let certified = certified.and_then(|()| proof::recheck(&now.secrets, &reader.stream));
    let certified = certified.map_err(|error| Denied { error, may_monitor: false });
    if let Err(denied) = certified.and_then(|()| reader.recheck(&service.access.policy())) {
        drop(registration);
        return deny(&service, door, &reader.stream, &opening, &writer, denied).await;
    }
    if let Some(slots) = slots {
        let (version, events) = slots.enter(&reader, claim, &start);
        report.events(events);
        if let Some(version) = version.filter(|_| !mutant!("welcomed-before-slot-is-stored")) {
            let stored = async {
                tokio::select! {
                    biased;
                    () = slots.saved(version) => {}
                    () = reader.closed.notified() => {}
                }
            };
            unless_closed(life, stored).await;
        }
    }
    report.connected(reader.peer(), reader.started_after, if v2 { 2 } else { 1 }, rights);
    registration.is_reported = true;
    let limits = PeerLimits {
        v2,
        only_reads: !rights.intersects(Rights::ACK | Rights::SLOT | Rights::HOLD),
        heartbeat: heartbeat::interval(config.heartbeat_interval, opening.heartbeat(), config.min_heartbeat),
        write_timeout: config.write_timeout,
        peer_timeout: config.peer_timeout,
        backlog: match &config.storage {
            Some(storage) => Backlog { bytes: storage.slot_max_bytes, entries: u64::MAX },
            None => Backlog { bytes: config.buffer_bytes, entries: config.buffer_size as u64 },
        },
    };
    let ended = ReaderSession::new(followers, &reader, limits).run().await;
    registration.ended = Some(ended.clone());
    drop(registration);
    // The reader still receives what was sent to it, unless this side closes too early.
    let sends_reason = ended.status != Status::Ok && !reader.is_inside_frame();
    let frame = if sends_reason { error_frame(&ended) } else { Vec::new() };
    send_farewell(&service, &reader.stream, &frame).await;
}

/// The rights that the host leaves a connection of those that the rules give it, or why it may not follow. `None`: it ends
/// meanwhile.
async fn ask_host(
    service: &ReaderService,
    door: Door<'_>,
    stream: &Stream,
    opening: &Opening,
    via: Via,
    decision: &Decision,
    begun: Instant,
) -> Option<Result<Rights, Denied>> {
    let Some(authorizations) = service.authorizations.as_ref().filter(|_| !matches!(via, Via::Granted(_))) else {
        return Some(Ok(decision.rights));
    };
    let offer = opening.sync.offer.as_ref();
    let request = AccessRequest {
        ticket: 0,
        reader_id: opening.sync.reader_id.clone(),
        address: stream.peer().to_owned(),
        identity: stream.identity().to_string(),
        tls: stream.is_tls(),
        handed: matches!(via, Via::Host),
        stream_id: offer.and_then(|offer| offer.stream_id),
        epoch: offer.map_or(0, |offer| offer.epoch),
        sequence: opening.sync.last_known_sequence,
        rights: decision.rights,
    };
    let limit = service.config.get().handshake_timeout;
    let asked = timeout(limit.saturating_sub(clock::since(begun)), authorizations.ask(request));
    let answer = door.unless(Stage::Draining, asked).await?;
    let refused = |text: String, rights: Rights| {
        let error = Error::new(Status::NotAuthorized, text);
        Some(Err(Denied { error, may_monitor: rights.contains(Rights::MONITOR) }))
    };
    match answer {
        Ok(Some(answer)) => {
            let rights = answer.rights & decision.rights;
            if rights.contains(Rights::READ) {
                return Some(Ok(rights));
            }
            refused(format!("the authorize handler refuses it: {}", Quoted(&answer.reason)), rights)
        }
        Ok(None) | Err(_) => {
            refused(format!("the authorize handler gave no answer within {} ms", limit.as_millis()), Rights::empty())
        }
    }
}

/// Sends a reader that was connected the reason and waits until it closes. Beyond a bound the connection is closed at
/// once: a reader that reconnects again and again must not pile up connections that nothing else counts.
async fn send_farewell(service: &ReaderService, stream: &Stream, frame: &[u8]) {
    match service.farewells.try_acquire() {
        Ok(_permit) => drop(unless_closed(&service.followers.life, send_last(stream, frame)).await),
        Err(_) => service.followers.report.counters.farewell_left_out(),
    }
}

/// A reader's registration, which ends in every case.
struct Registration<'a> {
    service: &'a ReaderService,
    reader: &'a Arc<Reader>,
    /// The host was told that it is connected.
    is_reported: bool,
    ended: Option<Error>,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let lost = || Error::new(Status::Panic, "internal error in the reader's session");
        let ended = self.ended.take().unwrap_or_else(lost);
        let followers = &self.service.followers;
        self.service.slots.iter().for_each(|slots| slots.leave(self.reader));
        followers.readers.leave(self.reader, ended.status != Status::Ok);
        followers.readers_changed();
        let (bytes, sent) = (self.reader.bytes_sent(), self.reader.sent_whole());
        // The reader needs no more entries, so they must not be kept while it takes its time to close.
        self.reader.release();
        if self.is_reported {
            let entries = sent.saturating_sub(self.reader.started_after);
            followers.report.disconnected(self.reader.peer(), (entries, bytes), sent, &ended);
        }
    }
}

/// Answers a Sync with a refusal.
async fn refuse(
    service: &ReaderService,
    door: Door<'_>,
    stream: &Stream,
    sync: &Sync,
    reply: &Reply,
    refusal: Refusal,
) {
    service.followers.report.refused(ReaderLabel::new(&sync.reader_id, stream), sync, &refusal.error);
    // The texts are short, so encoding cannot fail.
    if let Ok(frame) = reply.refuse(&refusal) {
        door.unless(Stage::Closing, send_last(stream, &frame)).await;
    }
}

/// Answers a Sync of a peer that may not follow. The reason is for the host alone.
async fn deny(
    service: &ReaderService,
    door: Door<'_>,
    stream: &Stream,
    opening: &Opening,
    writer: &Writer,
    denied: Denied,
) {
    let report = &service.followers.report;
    report.refused(ReaderLabel::new(&opening.sync.reader_id, stream), &opening.sync, &denied.error);
    // The text is short, so encoding cannot fail.
    if let Ok(frame) = opening.deny(denied.may_monitor.then_some(writer)) {
        door.unless(Stage::Closing, send_last(stream, &frame)).await;
    }
}

/// Sends a final frame and gives the peer a moment to read it.
async fn send_last(stream: &Stream, frame: &[u8]) {
    let sent = async {
        let mut left = frame;
        while !left.is_empty() {
            match stream.try_send(&[std::io::IoSlice::new(left)]) {
                Ok(count) => left = &left[count..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => stream.writable().await?,
                // TLS may still have an alert to send.
                Err(_) => break,
            }
        }
        stream.finish();
        stream.discard().await;
        Ok::<(), std::io::Error>(())
    };
    // A peer that is gone or does not read gets no second chance.
    let _ = timeout(farewell::WRITER_WAITS, sent).await;
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use std::future::poll_fn;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::task::Poll;
    use std::time::Duration;

    use super::super::Sender;
    use super::super::config::StorageConfig;
    use super::*;
    use crate::host::Silent;
    use crate::protocol::message;
    use crate::protocol::{HEADER_SIZE, MAX_HANDSHAKE_BYTES, frame};

    /// P5: a reader that was connected waits for its end only while few do.
    #[tokio::test]
    async fn p5_readers_whose_connection_has_ended_are_bounded() {
        let sender = Sender::new(SenderConfig::default(), Box::new(Silent)).unwrap();
        let service = &sender.acceptor.service;
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let stream = Stream::from_fd(ours.into()).unwrap();
        let is_over = async || {
            let mut farewell = std::pin::pin!(send_farewell(service, &stream, b"why"));
            poll_fn(|task| Poll::Ready(farewell.as_mut().poll(task).is_ready())).await
        };
        let all = service.farewells.available_permits();
        let config = service.config.get();
        assert_eq!(all, config.max_readers + config.crowd.handshakes);
        let others = service.farewells.try_acquire_many(u32::try_from(all).unwrap()).unwrap();
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
        sender.life.move_to(Stage::Running);
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
            let mut serving =
                Box::pin(serve_known(Arc::clone(&sender.acceptor.service), stream, Via::Host, "r".into(), 0));
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
