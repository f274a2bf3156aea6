//! Frames, the unit of both protocol versions: `[u32 big-endian length][u8 type][payload]`, where the length counts the
//! type and the payload.

use super::{HEADER_SIZE, MAX_MESSAGE_SIZE};
use crate::error::{Error, Status};
use std::fmt;

/// An entry, writer to reader. As a connection's first frame it is a Sync in the coordinator's form.
pub const TYPE_ENTRY: u8 = 0x10;
/// An acknowledgement, reader to writer. As the first answer it is a SyncAck in the coordinator's form.
pub const TYPE_ACK: u8 = 0x11;
/// The reader's opening message.
pub const TYPE_SYNC: u8 = 0x12;
/// The writer's answer to it.
pub const TYPE_SYNC_ACK: u8 = 0x13;
/// An error, in both directions.
pub const TYPE_ERROR: u8 = 0x1F;

/// Bytes of the length field.
const LENGTH_SIZE: usize = 4;

/// The part of a frame in which its bytes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The length field.
    Length,
    /// The type byte.
    Type,
    /// The payload.
    Payload,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Length => "length",
            Part::Type => "type",
            Part::Payload => "payload",
        })
    }
}

/// Why bytes are no frame, or a message fits in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end inside the frame.
    #[error("read {part}: needs {needed} bytes, {available} are there")]
    Truncated {
        /// What was being read.
        part: Part,
        /// The bytes that this part needs.
        needed: usize,
        /// The bytes of this part that there are.
        available: usize,
    },
    /// The length field is 0: not even a type.
    #[error("message too small: length 0, but a frame has at least its type")]
    TooSmall,
    /// The length is over the limit.
    #[error("message too large: length {length}, at most {limit}{}", foreign(*length))]
    TooLarge {
        /// The length of the type and the payload.
        length: usize,
        /// The limit in force.
        limit: usize,
    },
}

/// What the bytes of an impossible length look like, for a text that explains common mistakes of configuration.
fn foreign(length: usize) -> &'static str {
    match u32::try_from(length).map(u32::to_be_bytes) {
        Ok([0x14..=0x17, 0x03, 0x00..=0x04, _]) => {
            "; this is TLS, not a frame: one side speaks it and the other does not, give TLS to both ends or to none"
        }
        Ok(
            [b'G', b'E', b'T', b' '] | [b'P', b'O', b'S', b'T'] | [b'H', b'E', b'A', b'D'] | [b'P', b'R', b'I', b' '],
        ) => "; this is an HTTP request, not a frame",
        Ok([b'H', b'T', b'T', b'P']) => "; this is an HTTP response, not a frame: the address is that of a web server",
        Ok([b'S', b'S', b'H', b'-']) => "; this is SSH, not a frame",
        _ => "",
    }
}

impl FrameError {
    /// The corresponding status.
    pub fn status(&self) -> Status {
        match self {
            FrameError::Truncated { .. } => Status::Truncated,
            FrameError::TooSmall => Status::MessageTooSmall,
            FrameError::TooLarge { .. } => Status::MessageTooLarge,
        }
    }
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        Error::new(error.status(), error.to_string())
    }
}

/// A whole frame, borrowed from a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The type byte.
    pub kind: u8,
    /// The payload.
    pub payload: &'a [u8],
    /// The length of the whole frame in bytes.
    pub encoded_len: usize,
}

/// The fixed start of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type byte.
    pub kind: u8,
    /// The length of the payload.
    pub payload_len: usize,
}

/// The length field of `bytes`, checked; `None` while it is not whole.
#[inline]
fn decode_length(bytes: &[u8], limit: usize) -> Result<Option<usize>, FrameError> {
    let Some(field) = bytes.first_chunk::<LENGTH_SIZE>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*field) as usize;
    let limit = limit.min(MAX_MESSAGE_SIZE);
    if length == 0 {
        return Err(FrameError::TooSmall);
    }
    if length > limit {
        return Err(FrameError::TooLarge { length, limit });
    }
    Ok(Some(length))
}

/// Reads the header at the start of `bytes`; `None` when more bytes are needed.
///
/// A length of 0 or over `limit` is an error as soon as the four bytes of the length are there. `limit` bounds the
/// length field, and is itself bounded by [`MAX_MESSAGE_SIZE`].
#[inline]
pub fn decode_header(bytes: &[u8], limit: usize) -> Result<Option<Header>, FrameError> {
    let length = decode_length(bytes, limit)?;
    Ok(length.zip(bytes.get(LENGTH_SIZE)).map(|(length, &kind)| Header { kind, payload_len: length - 1 }))
}

/// Reads the whole frame at the start of `bytes`. `limit` is that of [`decode_header`].
#[inline]
pub fn decode(bytes: &[u8], limit: usize) -> Result<Frame<'_>, FrameError> {
    let Some(length) = decode_length(bytes, limit)? else {
        return Err(FrameError::Truncated { part: Part::Length, needed: LENGTH_SIZE, available: bytes.len() });
    };
    let Some((&kind, rest)) = bytes[LENGTH_SIZE..].split_first() else {
        return Err(FrameError::Truncated { part: Part::Type, needed: 1, available: 0 });
    };
    let needed = length - 1;
    let Some(payload) = rest.get(..needed) else {
        return Err(FrameError::Truncated { part: Part::Payload, needed, available: rest.len() });
    };
    Ok(Frame { kind, payload, encoded_len: HEADER_SIZE + needed })
}

/// The header of a frame with `payload_len` bytes of payload. Fails over [`MAX_MESSAGE_SIZE`].
#[inline]
pub fn encode_header(kind: u8, payload_len: usize) -> Result<[u8; HEADER_SIZE], FrameError> {
    let length = payload_len.saturating_add(1);
    if length > MAX_MESSAGE_SIZE {
        return Err(FrameError::TooLarge { length, limit: MAX_MESSAGE_SIZE });
    }
    let [a, b, c, d] = (length as u32).to_be_bytes();
    Ok([a, b, c, d, kind])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = encode_header(kind, payload.len()).unwrap().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn a_frame_cut_at_any_byte_names_the_missing_part() {
        let whole = frame(TYPE_ACK, b"abc");
        for cut in 0..whole.len() {
            let error = decode(&whole[..cut], MAX_MESSAGE_SIZE).unwrap_err();
            let (part, needed, available, text) = match cut {
                0..4 => (Part::Length, 4, cut, "read length"),
                4 => (Part::Type, 1, 0, "read type"),
                _ => (Part::Payload, 3, cut - 5, "read payload"),
            };
            assert_eq!(error, FrameError::Truncated { part, needed, available });
            assert!(error.to_string().starts_with(text), "{error}");
            assert_eq!(error.status(), Status::Truncated);
            let header = decode_header(&whole[..cut], MAX_MESSAGE_SIZE).unwrap();
            assert_eq!(header, (cut >= 5).then_some(Header { kind: TYPE_ACK, payload_len: 3 }));
        }
        assert_eq!(
            decode(&whole, MAX_MESSAGE_SIZE),
            Ok(Frame { kind: TYPE_ACK, payload: b"abc", encoded_len: whole.len() })
        );
    }

    #[test]
    fn a_length_of_zero_is_refused_with_its_fourth_byte() {
        for bytes in [&[0; 4][..], &[0, 0, 0, 0, TYPE_ENTRY, 1]] {
            assert_eq!(decode(bytes, MAX_MESSAGE_SIZE), Err(FrameError::TooSmall));
            assert_eq!(decode_header(bytes, MAX_MESSAGE_SIZE), Err(FrameError::TooSmall));
        }
        assert!(FrameError::TooSmall.to_string().contains("message too small"));
        assert_eq!(decode_header(&[0; 3], MAX_MESSAGE_SIZE), Ok(None));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_with_its_fourth_byte() {
        for (length, limit, in_force) in [
            (u32::MAX, MAX_MESSAGE_SIZE, MAX_MESSAGE_SIZE),
            (u32::MAX, usize::MAX, MAX_MESSAGE_SIZE),
            (MAX_MESSAGE_SIZE as u32 + 1, usize::MAX, MAX_MESSAGE_SIZE),
            (17, 16, 16),
        ] {
            let bytes = length.to_be_bytes();
            let error = FrameError::TooLarge { length: length as usize, limit: in_force };
            assert_eq!(decode(&bytes, limit), Err(error));
            assert_eq!(decode_header(&bytes, limit), Err(error));
            assert!(error.to_string().contains("message too large"));
            assert_eq!(error.status(), Status::MessageTooLarge);
        }
        let mut at_limit = (MAX_MESSAGE_SIZE as u32).to_be_bytes().to_vec();
        at_limit.push(TYPE_ENTRY);
        let header = Header { kind: TYPE_ENTRY, payload_len: MAX_MESSAGE_SIZE - 1 };
        assert_eq!(decode_header(&at_limit, usize::MAX), Ok(Some(header)));
    }

    #[test]
    fn a_writer_refuses_what_a_reader_would_refuse() {
        assert_eq!(encode_header(TYPE_ENTRY, 0), Ok([0, 0, 0, 1, TYPE_ENTRY]));
        assert_eq!(encode_header(TYPE_ERROR, MAX_MESSAGE_SIZE - 1), Ok([0x06, 0x40, 0, 0, TYPE_ERROR]));
        for payload_len in [MAX_MESSAGE_SIZE, usize::MAX] {
            assert!(matches!(encode_header(TYPE_ENTRY, payload_len), Err(FrameError::TooLarge { .. })));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(kind: u8, payload: Vec<u8>, next: Vec<u8>) {
            let mut bytes = frame(kind, &payload);
            let encoded_len = bytes.len();
            bytes.extend_from_slice(&next);
            prop_assert_eq!(
                decode(&bytes, MAX_MESSAGE_SIZE),
                Ok(Frame { kind, payload: &payload, encoded_len })
            );
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, limit in 0usize..64) {
            if let Ok(frame) = decode(&bytes, limit) {
                prop_assert!(frame.encoded_len <= bytes.len());
                prop_assert!(frame.payload.len() < limit);
                prop_assert_eq!(decode_header(&bytes, limit), Ok(Some(Header {
                    kind: frame.kind,
                    payload_len: frame.payload.len(),
                })));
            }
        }
    }
}
