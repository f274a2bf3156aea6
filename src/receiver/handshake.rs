//! The beginning of a connection: dials, sends the Sync and reads the writer's answer.

use tokio::sync::oneshot;

use super::adopt::held;
use super::context::ConnectionContext;
use super::progress::ending;
use super::proof;
use super::queue::Dial;
use crate::engine::reader::handshake::sync;
use crate::engine::reader::history::History;
use crate::engine::reader::plan::{Plan, sync_position};
use crate::engine::secrets::ProofRole;
use crate::error::{Error, Result, Status};
use crate::protocol::frame::{TYPE_ACK, TYPE_ERROR, TYPE_SYNC_ACK};
use crate::protocol::handshake::{MAX_HISTORY, Point, SyncAck};
use crate::protocol::message;
use crate::runtime::timeout;
use crate::transport::{Address, Dialled, Dialler, Dialling, FrameReader, Stream, lost};
use crate::{clock, permissions};

/// A connection on which the writer has answered.
pub(super) struct Handshaken {
    pub(super) stream: Stream,
    pub(super) frames: FrameReader,
    pub(super) ack: SyncAck,
    /// What its Sync requested.
    pub(super) plan: Option<Plan>,
}

/// Dials the next address of the round and does the handshake there. Returns the address too, unless none could be
/// dialled. `plan`: what the last refusal suggests. `history`: points in what was received.
pub(super) async fn open(
    context: &ConnectionContext,
    dialler: &mut Dialler,
    dialling: Dialling,
    plan: &mut Option<Plan>,
    history: &History,
) -> (Option<Dialled>, Result<Handshaken>) {
    let mut life = context.progress.life.subscribe();
    let stops = || Error::new(Status::Ok, "the receiver stops");
    let (stream, dialled) = match dialling {
        Dialling::Library => {
            let connected = tokio::select! {
                biased;
                connected = dialler.connect() => connected,
                () = ending(&mut life) => Err(stops()),
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
    context.report.dials(&dialled.peer);
    // The plan is for the node whose refusal suggested it, and for no other.
    let plan = plan.take().filter(|plan| plan.peer == dialled.peer);
    let limit = dialled.deadline.saturating_duration_since(clock::instant());
    let meeting = async {
        let stream = match stream {
            Some(stream) => stream,
            None => dial(context, &dialled).await?,
        };
        greet(context, stream, &dialled.address, plan, history).await
    };
    let met = tokio::select! {
        biased;
        met = timeout(limit, meeting) => met.unwrap_or_else(|_| {
            let text = format!("no handshake with {} within {} ms", dialled.peer, limit.as_millis());
            Err(Error::new(Status::PeerTimeout, text))
        }),
        () = ending(&mut life) => Err(stops()),
    };
    (Some(dialled), met)
}

/// Sends the Sync and waits for the writer's answer.
async fn greet(
    context: &ConnectionContext,
    stream: Stream,
    address: &Address,
    plan: Option<Plan>,
    history: &History,
) -> Result<Handshaken> {
    let config = &context.config;
    let stream = match &config.tls {
        Some(tls) => tls.connect(stream, address)?,
        None => stream,
    };
    stream.handshake().await.map_err(|e| Error::new(Status::Io, e.to_string()))?;
    let mut frames = FrameReader::default();
    let session = match &config.secret {
        Some(secret) => Some(proof::prove(&mut frames, &stream, config, secret).await?),
        None => None,
    };
    let identity = stream.identity();
    context.report.meets(identity);
    if let Some(expected) = &config.writer_identity {
        let same_user = identity.process.is_some_and(|process| permissions::is_this_user(process.uid));
        expected.check(identity, same_user, &config.reader_id)?;
    }
    let held = held(context);
    let logged = logged_points(context, plan.as_ref());
    let sync = sync(&held, plan.as_ref(), &config.reader_id, config.heartbeat_interval, logged, history);
    let mut hello = Vec::new();
    message::encode_sync(&mut hello, &sync, config.coordinator_handshake)
        .map_err(|e| Error::new(e.status(), e.to_string()))?;
    if let Some(session) = &session {
        hello = session.authenticated(ProofRole::Reader, &hello)?;
    }
    stream.send_all(&hello).await.map_err(|error| lost(Status::Io, &error))?;
    let (kind, payload) = match &session {
        Some(session) => proof::read_authenticated(&mut frames, &stream, session).await?,
        None => frames.read(&stream).await?,
    };
    let expected = if config.coordinator_handshake { TYPE_ACK } else { TYPE_SYNC_ACK };
    if kind == TYPE_ERROR {
        let error = message::decode_error(&payload).map_err(|e| Error::new(Status::InvalidMsg, e.to_string()))?;
        return Err(error.to_error("the writer answers"));
    }
    if kind != expected {
        let text = format!("the writer answered the Sync with a frame of type {kind:#04x}, not {expected:#04x}");
        return Err(Error::new(Status::InvalidMsg, text));
    }
    let ack = message::decode_sync_ack(&payload);
    let ack = ack.map_err(|e| Error::new(Status::InvalidMsg, format!("bad SyncAck: {e}")))?;
    Ok(Handshaken { stream, frames, ack, plan })
}

/// Has the host dial, on the callback thread.
async fn dial(context: &ConnectionContext, dialled: &Dialled) -> Result<Stream> {
    let (answer, socket) = oneshot::channel();
    let address = &dialled.peer;
    context.inbox.enqueue(|queue| queue.dial = Some(Dial { address: address.clone(), answer }));
    let socket = match socket.await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => {
            return Err(Error::new(Status::Io, format!("the connect handler gave no socket to {address}: {error}")));
        }
        Err(_) => return Err(Error::new(Status::Closed, "the receiver is stopping")),
    };
    Stream::from_fd(socket)
}

/// Points in the history of the log on disk, if there is one. From one refusal to the next they narrow down where the
/// histories fork, as far back as that log goes.
fn logged_points(context: &ConnectionContext, plan: Option<&Plan>) -> Vec<Point> {
    let Some(local) = &context.local else { return Vec::new() };
    match plan.and_then(Plan::fork_range) {
        Some((common, differing)) => local.points(common, differing, MAX_HISTORY),
        None => local.known_points(sync_position(plan, context.progress.received_point()).sequence, MAX_HISTORY),
    }
}
