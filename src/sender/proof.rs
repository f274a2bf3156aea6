//! The writer's side of a proof of a shared secret, on a connection whose first frame names one.

use super::config::SenderConfig;
use crate::engine::secrets::{Meeting, ProofRole, Secrets};
use crate::engine::writer::handshake::Opening;
use crate::error::{Error, Result, Status};
use crate::identity::{Origin, ProvenSecret};
use crate::protocol::secret::{
    Block, SecretError, SecretHello, TYPE_AUTHENTICATOR, TYPE_SECRET_CHALLENGE, TYPE_SECRET_PROOF, decode_block,
    encode_block,
};
use crate::random;
use crate::text::Escaped;
use crate::transport::{FrameReader, Stream, lost};

/// Proves and has proven what the payload of a hello names, then reads the reader's Sync. Where the peer may hear nothing of the
/// reason, that is [`Status::NotAuthorized`].
pub(super) async fn meet(
    frames: &mut FrameReader,
    stream: &Stream,
    config: &SenderConfig,
    hello: &[u8],
) -> Result<Opening> {
    let SecretHello { name, nonce: reader_nonce } = SecretHello::decode(hello).map_err(|why| invalid("hello", why))?;
    let denied = |why: &str| {
        let text = format!("it names the secret \"{}\", {why}", Escaped(&name));
        Error::new(Status::NotAuthorized, text)
    };
    if matches!(stream.origin(), Origin::Tcp(_)) && !stream.is_tls() && !config.plain_secrets_allowed {
        return Err(denied("and secrets over plain TCP are not allowed (sender_config_set_plain_secrets_allowed)"));
    }
    let mut writer_nonce = Block::default();
    random::fill(&mut writer_nonce)
        .map_err(|error| Error::new(Status::Io, format!("the system gives no random numbers: {error}")))?;
    send(stream, TYPE_SECRET_CHALLENGE, &writer_nonce).await?;
    let proof = read(frames, stream, TYPE_SECRET_PROOF).await?;
    let meeting = Meeting { name: &name, reader_nonce, writer_nonce, channel: stream.channel_binding() };
    let Some(key) = config.secrets.proven(&meeting, &proof) else {
        let known = config.secrets.has(&name);
        return Err(denied(if known {
            "and does not prove that it has it"
        } else {
            "and there is none with this name"
        }));
    };
    send(stream, TYPE_SECRET_PROOF, &meeting.proof(key, ProofRole::Writer)).await?;
    let session = meeting.session(key);
    let authenticator = read(frames, stream, TYPE_AUTHENTICATOR).await?;
    let (kind, payload) = frames.read(stream).await?;
    session.check(ProofRole::Reader, kind, &payload, &authenticator)?;
    let opening = Opening::read(kind, &payload)?;
    stream.has_proven(ProvenSecret { name, key: key.fingerprint() });
    Ok(opening.under(session))
}

/// Fails if a reader proved who it is by a secret that was removed.
pub(super) fn recheck(secrets: &Secrets, stream: &Stream) -> Result<()> {
    match stream.proven_secret() {
        Some(ProvenSecret { name, key }) if !secrets.has_key(key) => {
            let text = format!("its secret \"{}\" was removed", Escaped(name));
            Err(Error::new(Status::NotAuthorized, text))
        }
        _ => Ok(()),
    }
}

async fn send(stream: &Stream, kind: u8, block: &Block) -> Result<()> {
    let frame = encode_block(kind, block).map_err(|error| Error::new(error.status(), error.to_string()))?;
    stream.send_all(&frame).await.map_err(|error| lost(Status::Io, &error))
}

async fn read(frames: &mut FrameReader, stream: &Stream, expected: u8) -> Result<Block> {
    let (kind, payload) = frames.read(stream).await?;
    if kind != expected {
        let text = format!("a frame of type {kind:#04x} in a proof of a secret, not {expected:#04x}");
        return Err(Error::new(Status::InvalidMsg, text));
    }
    decode_block(&payload).map_err(|why| invalid("frame", why))
}

fn invalid(what: &str, why: SecretError) -> Error {
    Error::new(Status::InvalidMsg, format!("bad {what} in a proof of a secret: {why}"))
}
