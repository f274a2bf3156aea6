//! The fuzzer's target for frames. Input: how the stream is cut into pieces, then the stream.

use super::{FrameReader, ReadError};
use crate::fuzzing::{pieces, split_flags};
use crate::protocol::frame::{self, FrameError};
use crate::protocol::{HEADER_SIZE, MAX_HANDSHAKE_BYTES};

/// A stream gives the same frames and the same error however it arrives, and each frame encodes to its bytes.
pub fn frames(data: &[u8]) -> bool {
    let (seed, stream) = split_flags(data);
    let (whole, error) = split(stream);
    let (mut reader, mut arrived, mut refused) = (FrameReader::default(), 0, None);
    'stream: for piece in pieces(stream, seed) {
        reader.bytes.extend_from_slice(piece);
        loop {
            match reader.next_frame() {
                Ok(Some((kind, payload))) => {
                    assert_eq!(whole.get(arrived), Some(&(kind, &payload[..])), "frame {arrived}");
                    arrived += 1;
                }
                Ok(None) => break,
                Err(error) => {
                    refused = Some(error);
                    break 'stream;
                }
            }
        }
        assert_eq!(reader.unfinished_since().is_some(), !reader.bytes.is_empty());
    }
    assert_eq!(arrived, whole.len());
    // What is not whole is an error once the stream ends, and the reader names the part that is missing.
    let refused = refused.unwrap_or_else(|| reader.end());
    match (&refused, error) {
        (ReadError::Closed, None) => true,
        (ReadError::Frame(theirs), Some(ours)) => {
            assert_eq!(*theirs, ours);
            false
        }
        (theirs, ours) => panic!("{theirs:?} in pieces, {ours:?} as a whole"),
    }
}

/// The frames of a stream, and why what is after the last one is none.
fn split(stream: &[u8]) -> (Vec<(u8, &[u8])>, Option<FrameError>) {
    let (mut frames, mut rest) = (Vec::new(), stream);
    while !rest.is_empty() {
        let header = frame::decode_header(rest, MAX_HANDSHAKE_BYTES);
        match frame::decode(rest, MAX_HANDSHAKE_BYTES) {
            Ok(frame) => {
                let encoded = frame::encode_header(frame.kind, frame.payload.len()).expect("it is below the limit");
                assert_eq!(rest[..HEADER_SIZE], encoded);
                assert_eq!(frame.encoded_len, HEADER_SIZE + frame.payload.len());
                assert!(frame.payload.len() < MAX_HANDSHAKE_BYTES);
                let header = header.expect("the frame is good").expect("and whole");
                assert_eq!((header.kind, header.payload_len), (frame.kind, frame.payload.len()));
                frames.push((frame.kind, frame.payload));
                rest = &rest[frame.encoded_len..];
            }
            Err(error) => {
                match error {
                    FrameError::Truncated { available, needed, .. } => {
                        assert!(available < needed && header.is_ok(), "{error}");
                    }
                    _ => assert_eq!(header, Err(error)),
                }
                return (frames, Some(error));
            }
        }
    }
    (frames, None)
}
