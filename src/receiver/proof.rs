//! A reader's side of a proof of a shared secret, before its Sync.

use super::config::ReceiverConfig;
use crate::engine::secrets::{HandshakeKey, Meeting, ProofRole, Secret};
use crate::error::{Error, Result, Status};
use crate::identity::{Origin, ProvenSecret};
use crate::protocol::frame::TYPE_ERROR;
use crate::protocol::message;
use crate::protocol::secret::{
    Block, SecretHello, TYPE_AUTHENTICATOR, TYPE_SECRET_CHALLENGE, TYPE_SECRET_PROOF, decode_block, encode_block,
};
use crate::random;
use crate::text::Escaped;
use crate::transport::{FrameReader, Stream, lost};

/// Proves that this reader has the secret, and has the writer prove the same. Gives what authenticates the Sync and its answer.
pub(super) async fn prove(
    frames: &mut FrameReader,
    stream: &Stream,
    config: &ReceiverConfig,
    secret: &Secret,
) -> Result<HandshakeKey> {
    let (name, key) = (secret.name(), secret.key());
    let denied = |why: &str| Error::new(Status::NotAuthorized, format!("secret \"{}\": {why}", Escaped(name)));
    if matches!(stream.origin(), Origin::Tcp(_)) && !stream.is_tls() && !config.plain_secrets_allowed {
        return Err(denied("over plain TCP it is not used (receiver_config_set_plain_secrets_allowed)"));
    }
    let mut reader_nonce = Block::default();
    random::fill(&mut reader_nonce)
        .map_err(|error| Error::new(Status::Io, format!("the system gives no random numbers: {error}")))?;
    let hello = SecretHello { name: name.to_owned(), nonce: reader_nonce }.encode();
    send(stream, &hello.map_err(|error| Error::new(error.status(), error.to_string()))?).await?;
    let writer_nonce = read(frames, stream, TYPE_SECRET_CHALLENGE).await?;
    if writer_nonce == reader_nonce {
        return Err(denied("the writer sent back what this reader had sent"));
    }
    let meeting = Meeting { name, reader_nonce, writer_nonce, channel: stream.channel_binding() };
    let proof = encode_block(TYPE_SECRET_PROOF, &meeting.proof(key, ProofRole::Reader));
    send(stream, &proof.map_err(|error| Error::new(error.status(), error.to_string()))?).await?;
    let proof = read(frames, stream, TYPE_SECRET_PROOF).await?;
    if !meeting.is_proven(key, ProofRole::Writer, &proof) {
        return Err(denied("who answers does not prove that it has it, and is not followed"));
    }
    stream.has_proven(ProvenSecret { name: name.to_owned(), key: key.fingerprint() });
    Ok(meeting.session(key))
}

/// The next frame, which the writer has authenticated.
pub(super) async fn read_authenticated(
    frames: &mut FrameReader,
    stream: &Stream,
    session: &HandshakeKey,
) -> Result<(u8, bytes::Bytes)> {
    let authenticator = read(frames, stream, TYPE_AUTHENTICATOR).await?;
    let (kind, payload) = frames.read(stream).await?;
    session.check(ProofRole::Writer, kind, &payload, &authenticator)?;
    Ok((kind, payload))
}

async fn send(stream: &Stream, frame: &[u8]) -> Result<()> {
    stream.send_all(frame).await.map_err(|error| lost(Status::Io, &error))
}

async fn read(frames: &mut FrameReader, stream: &Stream, expected: u8) -> Result<Block> {
    let (kind, payload) = frames.read(stream).await?;
    let invalid = |text: String| Error::new(Status::InvalidMsg, text);
    if kind == TYPE_ERROR {
        let error = message::decode_error(&payload).map_err(|error| invalid(error.to_string()))?;
        return Err(error.to_error("the writer answers"));
    }
    if kind != expected {
        return Err(invalid(format!(
            "the writer answered the proof of a secret with a frame of type {kind:#04x}, not {expected:#04x}"
        )));
    }
    decode_block(&payload).map_err(|why| invalid(format!("bad frame in a proof of a secret: {why}")))
}
