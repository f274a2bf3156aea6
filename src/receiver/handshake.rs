//! The beginning of a connection: dialling, saying who this reader is and where it stands, and deciding whether this writer
//! may be followed.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::apply::Dial;
use super::config::ProtocolChoice;
use super::core::Core;
use super::follow::End;
use super::inbound::Incoming;
use super::session::{lost, stopped};
use crate::error::{Error, Result, Status};
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::frame::{TYPE_ACK, TYPE_ERROR, TYPE_SYNC_ACK};
use crate::protocol::handshake::{Answer, MAX_HISTORY, Offer, Point, Sync, SyncAck, hex};
use crate::protocol::lineage::Lineage;
use crate::protocol::{STREAM_VERSION, message};
use crate::transport::{Address, Dialled, Dialler, Dialling, FrameReader, Stream};

/// A connection on which the writer has answered.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) frames: FrameReader,
    pub(super) ack: SyncAck,
}

/// Dials the next address of the round and shakes hands there. The address is known unless none could be dialled.
pub(super) async fn open(core: &Core, dialler: &mut Dialler, dialling: Dialling) -> (Option<Dialled>, Result<Opened>) {
    let mut stopping = core.stopping.subscribe();
    let stops = || Error::new(Status::Ok, "the receiver stops");
    let (stream, dialled) = match dialling {
        Dialling::Library => {
            let connected = tokio::select! {
                connected = dialler.connect() => connected,
                () = stopped(&mut stopping) => Err(stops()),
            };
            match connected {
                Ok((stream, dialled)) => (Some(stream), dialled),
                Err(error) => return (None, Err(error)),
            }
        }
        Dialling::Host => match dialler.next_for_host() {
            Ok(dialled) => (None, dialled),
            Err(error) => return (None, Err(error)),
        },
    };
    core.peer.lock().clone_from(&dialled.peer);
    let limit = dialled.deadline.saturating_duration_since(Instant::now());
    let meeting = async {
        let stream = match stream {
            Some(stream) => stream,
            None => dial(core, &dialled).await?,
        };
        greet(core, stream, &dialled.address).await
    };
    let met = tokio::select! {
        met = timeout(limit, meeting) => met.unwrap_or_else(|_| {
            let text = format!("no handshake with {} within {} ms", dialled.peer, limit.as_millis());
            Err(Error::new(Status::PeerTimeout, text))
        }),
        () = stopped(&mut stopping) => Err(stops()),
    };
    (Some(dialled), met)
}

/// Says who this reader is, and waits for the writer's answer.
async fn greet(core: &Core, stream: Stream, address: &Address) -> Result<Opened> {
    let config = &core.config;
    let stream = match &config.tls {
        Some(tls) => tls.connect(stream, address)?,
        None => stream,
    };
    stream.handshake().await.map_err(|e| Error::new(Status::Io, e.to_string()))?;
    let lineage = *core.lineage.lock();
    let received = core.progress.received_point();
    let sync = Sync {
        reader_id: config.reader_id.clone(),
        last_known_sequence: received.sequence,
        offer: (config.protocol != ProtocolChoice::V1).then(|| Offer {
            version: STREAM_VERSION,
            stream_id: lineage.map(|lineage| lineage.stream_id),
            epoch: lineage.map_or(0, |lineage| lineage.epoch),
            heartbeat_ms: config.heartbeat_interval.as_millis() as u64,
            hash: received.hash,
            history: history(core, received.sequence),
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
    Ok(Opened { stream, frames, ack })
}

/// Has the host dial, on its callback thread.
async fn dial(core: &Core, dialled: &Dialled) -> Result<Stream> {
    let (answer, socket) = oneshot::channel();
    let address = &dialled.peer;
    core.mailbox.lock().work.dial = Some(Dial { address: address.clone(), answer });
    core.attention.store(true, Ordering::SeqCst);
    core.mailbox.notify();
    let socket = match socket.await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => {
            return Err(Error::new(Status::Io, format!("the connect handler gave no socket to {address}: {error}")));
        }
        Err(_) => return Err(Error::new(Status::Closed, "the receiver is stopping")),
    };
    Stream::from_fd(socket)
}

/// Whether this writer may be followed, and in which protocol.
pub(super) fn agree(core: &Core, ack: &SyncAck) -> Result<Incoming, End> {
    let config = &core.config;
    let received = core.progress.received();
    if !ack.error.is_empty() {
        let code = match &ack.answer {
            Some(Answer { code, .. }) if !code.is_empty() => code.as_str(),
            _ => ack.error.split(':').next().unwrap_or_default(),
        };
        let error = Error::new(Status::reported(code), format!("the writer refuses this reader: {}", ack.error));
        if let Some(answer) = &ack.answer {
            part(core, answer, received);
        }
        return Err(End { error, refused: true });
    }
    if ack.answer.is_some() && config.protocol == ProtocolChoice::V1 {
        let text = "the writer takes an offer of v2 that was not made";
        return Err(Error::new(Status::InvalidMsg, text).into());
    }
    if let Some(answer) = &ack.answer {
        same_history(core, answer, received)?;
        adopt(core, answer, received)?;
    }
    // A host may stand ahead of what this receiver has.
    let held = received.max(core.progress.applied());
    if ack.current_sequence < held {
        let text = format!(
            "the writer is at {}, this reader already at {held}: it was restarted or restored without its log",
            ack.current_sequence
        );
        return Err(Error::new(Status::Regressed, text).into());
    }
    if ack.answer.is_none() && config.local_log.is_some() {
        let text = "the writer speaks v1, which names no stream: a local log cannot follow it";
        return Err(Error::new(Status::InvalidMsg, text).into());
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

/// Points of the history up to `received`, for a writer that has another one. Where the two part is narrowed down from one
/// refusal to the next, as far as the local log goes.
fn history(core: &Core, received: u64) -> Vec<Point> {
    let mut points = match (&core.local, *core.parting.lock()) {
        (Some(local), Some((common, differing))) => local.points(common, differing, MAX_HISTORY),
        (Some(local), None) => local.known_points(received, MAX_HISTORY),
        (None, _) => Vec::new(),
    };
    if points.is_empty() {
        points = core.history.lock().points().to_vec();
    }
    points.retain(|point| point.sequence < received);
    points
}

/// Notes where a writer that refuses this reader says that their histories part.
fn part(core: &Core, answer: &Answer, received: u64) {
    let Some(differing) = answer.differing_sequence.filter(|differing| *differing <= received) else { return };
    let mut parting = core.parting.lock();
    let (common_before, differing_before) = parting.unwrap_or((0, u64::MAX));
    let common = answer.common_sequence.unwrap_or(0).max(common_before);
    *parting = Some((common, differing.min(differing_before))).filter(|(common, differing)| common < differing);
}

/// Whether the writer has the history that was received, as far as both know it.
fn same_history(core: &Core, answer: &Answer, received: u64) -> Result<()> {
    let ours = core.progress.received_point().hash;
    if received > 0 && ours != UNKNOWN_HISTORY && answer.hash != UNKNOWN_HISTORY && ours != answer.hash {
        let text =
            format!("the writer has another history up to entry {received} than this reader: re-seed the reader");
        return Err(Error::new(Status::Diverged, text));
    }
    *core.parting.lock() = None;
    Ok(())
}

/// Takes on the writer's lineage, if it is the one that was followed so far or there was none.
fn adopt(core: &Core, answer: &Answer, received: u64) -> Result<()> {
    if answer.version != STREAM_VERSION {
        let text = format!("the writer picked version {} of the stream, {STREAM_VERSION} was offered", answer.version);
        return Err(Error::new(Status::InvalidMsg, text));
    }
    let new = Lineage { stream_id: answer.stream_id, epoch: answer.epoch };
    // A local log is one stream's, also when the host has nothing of it any more.
    let has_log = core.local.as_ref().is_some_and(|local| local.disk().is_some());
    let mut lineage = core.lineage.lock();
    if let Some(old) = *lineage
        && (received > 0 || has_log || core.config.lineage.is_some())
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
    // What the host configured may be long past; a change is one that this receiver sees.
    let changed = lineage.is_some_and(|old| old != new) && core.counters.connects.load(Ordering::Relaxed) > 0;
    *lineage = Some(new);
    drop(lineage);
    if changed {
        core.progress.lineage_changed();
    }
    Ok(())
}
