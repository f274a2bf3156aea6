//! The frames by which two peers prove to each other that they have the same secret, before the Sync.
//!
//! The reader names the secret and gives a nonce; the writer gives its own; the reader proves that it has the secret, then the
//! writer does. The Sync and its answer follow, each after a frame with its authenticator.

use std::fmt;

use super::frame::{FrameError, encode_header};
use crate::text::first_control;

/// The name of the secret, and the reader's nonce.
pub const TYPE_SECRET_HELLO: u8 = 0x14;
/// The writer's nonce.
pub const TYPE_SECRET_CHALLENGE: u8 = 0x15;
/// A proof, first the reader's and then the writer's.
pub const TYPE_SECRET_PROOF: u8 = 0x16;
/// The authenticator of the frame after it.
pub const TYPE_AUTHENTICATOR: u8 = 0x17;

/// The version of this exchange.
pub const SECRET_VERSION: u8 = 1;

/// The longest name of a secret.
pub const MAX_SECRET_NAME_BYTES: usize = 64;

/// A number that is used once, and the result of HMAC-SHA-256.
pub type Block = [u8; 32];

/// A reader's first frame, when it has a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretHello {
    pub name: String,
    pub nonce: Block,
}

/// What is wrong with one of these frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// It has another length.
    Length(usize),
    /// It has another version.
    Version(u8),
    /// The name is no text, or none that a secret may have.
    Name,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(bytes) => write!(f, "it has {bytes} bytes, which is another number than its parts have"),
            Self::Version(version) => write!(f, "it has version {version}, this is version {SECRET_VERSION}"),
            Self::Name => f.write_str("the secret's name is empty, too long or no printable text"),
        }
    }
}

/// Whether a secret may have this name.
pub fn is_secret_name(name: &str) -> bool {
    (1..=MAX_SECRET_NAME_BYTES).contains(&name.len()) && first_control(name).is_none()
}

impl SecretHello {
    /// The frame. The name is one that [`is_secret_name`].
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let length = [u8::try_from(self.name.len()).unwrap_or(u8::MAX)];
        frame(TYPE_SECRET_HELLO, &[&[SECRET_VERSION], &length, self.name.as_bytes(), &self.nonce])
    }

    /// The reverse, from a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, SecretError> {
        let wrong = SecretError::Length(payload.len());
        let (version, rest) = payload.split_first().ok_or(wrong)?;
        if *version != SECRET_VERSION {
            return Err(SecretError::Version(*version));
        }
        let (length, rest) = rest.split_first().ok_or(wrong)?;
        let (name, nonce) = rest.split_at_checked(usize::from(*length)).ok_or(wrong)?;
        let nonce = nonce.try_into().map_err(|_| wrong)?;
        let name = std::str::from_utf8(name).ok().filter(|name| is_secret_name(name)).ok_or(SecretError::Name)?;
        Ok(Self { name: name.to_owned(), nonce })
    }
}

fn frame(kind: u8, parts: &[&[u8]]) -> Result<Vec<u8>, FrameError> {
    let mut frame = encode_header(kind, parts.iter().map(|part| part.len()).sum())?.to_vec();
    parts.iter().for_each(|part| frame.extend(*part));
    Ok(frame)
}

/// One of the frames that are a nonce, a proof or an authenticator.
pub fn encode_block(kind: u8, block: &Block) -> Result<Vec<u8>, FrameError> {
    frame(kind, &[block])
}

/// The reverse, from a payload.
pub fn decode_block(payload: &[u8]) -> Result<Block, SecretError> {
    payload.try_into().map_err(|_| SecretError::Length(payload.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::{MAX_HANDSHAKE_BYTES, frame};

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(name in "[^\\p{C}]{1,16}", nonce in any::<[u8; 32]>()) {
            let hello = SecretHello { name, nonce };
            let bytes = hello.encode().unwrap();
            let read = frame::decode(&bytes, MAX_HANDSHAKE_BYTES).unwrap();
            prop_assert_eq!((read.kind, read.encoded_len), (TYPE_SECRET_HELLO, bytes.len()));
            prop_assert_eq!(SecretHello::decode(read.payload), Ok(hello));
            for cut in 0..read.payload.len() {
                prop_assert!(SecretHello::decode(&read.payload[..cut]).is_err());
            }
        }

        #[test]
        fn p8_any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(hello) = SecretHello::decode(&bytes) {
                prop_assert_eq!(&hello.encode().unwrap()[5..], &bytes[..]);
            }
            prop_assert_eq!(decode_block(&bytes).is_ok(), bytes.len() == 32);
        }
    }

    #[test]
    fn what_is_wrong_with_a_hello_is_said() {
        let of = |name: &[u8]| [&[1, name.len() as u8], name, &[0; 32]].concat();
        assert!(SecretHello::decode(&of(b"name")).is_ok());
        for name in [&b""[..], b"a\x01", b"\xff", &[b'n'; 65]] {
            assert_eq!(SecretHello::decode(&of(name)), Err(SecretError::Name), "{name:?}");
        }
        let mut newer = of(b"name");
        newer[0] = 2;
        assert_eq!(SecretHello::decode(&newer), Err(SecretError::Version(2)));
        newer.push(0);
        newer[0] = 1;
        assert_eq!(SecretHello::decode(&newer), Err(SecretError::Length(newer.len())));
    }
}
