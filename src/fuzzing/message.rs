//! The v1 messages after the handshake. Input: which, then the JSON.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::split_flags;
use crate::protocol::frame::{self, Frame, FrameError};
use crate::protocol::message::{self, MessageError};
use crate::protocol::{FixedBuffer, MAX_MESSAGE_SIZE};

/// What is read is written, and read again as the same; a plain object means what any JSON reader says that it does.
pub fn message(data: &[u8]) -> bool {
    let (which, json) = split_flags(data);
    match which % 3 {
        0 => entry(json),
        1 => {
            let ack = decoded(json, message::decode_ack);
            let Some(ack) = ack else { return false };
            let text = encoded(
                |out| message::encode_ack(out, ack.last_sequence, &ack.reader_id),
                |out| message::encode_ack(out, ack.last_sequence, &ack.reader_id),
            );
            assert_eq!(message::decode_ack(only_frame(&text).payload), Ok(ack.clone()));
            if let Some(plain) = plain(json, &["last_seq", "reader_id"]) {
                assert_eq!(number(&plain[0]), ack.last_sequence);
                assert_eq!(string(&plain[1]), ack.reader_id);
            }
            true
        }
        _ => {
            let Some(error) = decoded(json, message::decode_error) else { return false };
            let text = encoded(
                |out| message::encode_error(out, &error.code, &error.message),
                |out| message::encode_error(out, &error.code, &error.message),
            );
            assert_eq!(message::decode_error(only_frame(&text).payload), Ok(error.clone()));
            if let Some(plain) = plain(json, &["code", "message"]) {
                assert_eq!([string(&plain[0]), string(&plain[1])], [error.code, error.message]);
            }
            true
        }
    }
}

fn entry(json: &[u8]) -> bool {
    let mut payload = b"before".to_vec();
    let decoded = message::decode_entry(json, &mut payload);
    let payload = payload.strip_prefix(b"before").expect("what was there stays");
    if let Err(error) = &decoded {
        check_error(json, error);
        assert!(payload.is_empty(), "a refused entry left bytes");
    }
    let to_slice = decoded.clone().map(|fields| (fields, payload.len()));
    for room in [0, payload.len().saturating_sub(1), payload.len(), payload.len() + 1] {
        let mut slice = vec![0; room];
        assert_eq!(message::decode_entry_to_slice(json, &mut slice), to_slice);
        assert!(to_slice.is_err() || room < payload.len() || slice[..payload.len()] == *payload);
    }
    let Ok(fields) = decoded else { return false };
    let (sequence, timestamp_us) = (fields.sequence, fields.timestamp_us);
    for sent in [Some(payload), None] {
        let text = encoded(
            |out| message::encode_entry(out, sequence, timestamp_us, sent),
            |out| message::encode_entry(out, sequence, timestamp_us, sent),
        );
        let mut again = Vec::new();
        assert_eq!(message::decode_entry(only_frame(&text).payload, &mut again), Ok(fields));
        assert_eq!(again, sent.unwrap_or_default());
    }
    if let Some(plain) = plain(json, &["seq", "ts", "payload"]) {
        assert_eq!([number(&plain[0]), number(&plain[1])], [sequence, timestamp_us]);
        match &plain[2] {
            Value::Array(numbers) => {
                let bytes = numbers.iter().map(|byte| byte.as_u64().unwrap_or(0));
                assert!(bytes.eq(payload.iter().copied().map(u64::from)));
            }
            text => {
                let strict = base64_simd::STANDARD.decode_to_vec(string(text));
                assert!(strict.is_err() || strict.is_ok_and(|strict| strict == payload));
            }
        }
    }
    true
}

/// What was decoded, after a look at the error if it was refused.
pub(super) fn decoded<T>(json: &[u8], decode: impl Fn(&[u8]) -> Result<T, MessageError>) -> Option<T> {
    decode(json).inspect_err(|error| check_error(json, error)).ok()
}

fn check_error(json: &[u8], error: &MessageError) {
    if let MessageError::Json { offset, .. } = error {
        assert!(*offset <= json.len(), "byte {offset} of {}", json.len());
    }
    let text = error.to_string();
    assert!(text.len() < 1024, "a text of {} bytes", text.len());
}

/// The frame, as it is written to memory that grows and to memory of just its size.
pub(super) fn encoded(
    growing: impl Fn(&mut Vec<u8>) -> Result<(), FrameError>,
    fixed: impl Fn(&mut FixedBuffer<'_>) -> Result<(), FrameError>,
) -> Vec<u8> {
    let mut out = Vec::new();
    growing(&mut out).expect("the message came from a shorter one");
    let mut memory = vec![0; out.len()];
    let mut buffer = FixedBuffer::new(&mut memory);
    fixed(&mut buffer).expect("it is the same message");
    assert_eq!(buffer.frames(), Some(&out[..]));
    let mut memory = vec![0; out.len() - 1];
    let mut buffer = FixedBuffer::new(&mut memory);
    fixed(&mut buffer).expect("it is the same message");
    assert_eq!((buffer.frames(), buffer.needed()), (None, out.len()));
    assert!(memory.iter().all(|byte| *byte == 0), "a part of a frame was written");
    out
}

pub(super) fn only_frame(bytes: &[u8]) -> Frame<'_> {
    let frame = frame::decode(bytes, MAX_MESSAGE_SIZE).expect("what was written is a frame");
    assert_eq!(frame.encoded_len, bytes.len());
    frame
}

/// The values of `names` in an object that has none but these members, each at most once and none `null`, so that there
/// is no question what it means. Members that are missing are `null`.
fn plain(json: &[u8], names: &[&str]) -> Option<Vec<Value>> {
    let members: Members = serde_json::from_slice(json).ok()?;
    let mut values = vec![Value::Null; names.len()];
    for (name, value) in members.0 {
        let slot = &mut values[names.iter().position(|known| *known == name)?];
        if !slot.is_null() || value.is_null() {
            return None;
        }
        *slot = value;
    }
    Some(values)
}

fn number(value: &Value) -> u64 {
    if value.is_null() { 0 } else { value.as_u64().expect("a number was accepted") }
}

fn string(value: &Value) -> &str {
    if value.is_null() { "" } else { value.as_str().expect("a string was accepted") }
}

/// The members of an object in their order, repeated ones too.
struct Members(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(All)
    }
}
