//! The handshake: what a reader asks for, what a writer answers, and the optional object by which both sides agree on the
//! v2 stream. Peers that know only v1 ignore the object, and never send it.

use super::go_json::Object;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// The member of Sync and SyncAck that holds the v2 object.
pub(super) const V2: &str = "v2";

/// A reader's opening message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sync {
    /// Who asks.
    pub reader_id: String,
    /// The last entry the reader has; 0 for none.
    pub last_known_sequence: u64,
    /// What it can do beyond v1.
    pub offer: Option<Offer>,
}

/// A reader's offer to speak v2.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Offer {
    /// The highest version of the v2 stream that the reader speaks.
    pub version: u32,
    /// The stream that its position belongs to, if it ever followed one.
    #[serde(default, deserialize_with = "optional_stream_id")]
    pub stream_id: Option<[u8; 16]>,
    /// The epoch of that stream; 0 without one.
    pub epoch: u64,
    /// How often the reader sends at least something.
    pub heartbeat_ms: u64,
}

/// A writer's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncAck {
    /// The last entry of the log.
    pub current_sequence: u64,
    /// Whether the reader gets every entry after its position.
    pub can_resume: bool,
    /// Why the reader is refused; empty when it is not.
    pub error: String,
    /// The stream that begins now, when the reader offered v2 and the writer takes it.
    pub answer: Option<Answer>,
}

/// A writer's answer to an [`Offer`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Answer {
    /// The version of the v2 stream that the writer picked.
    pub version: u32,
    /// The writer's stream.
    #[serde(deserialize_with = "stream_id")]
    pub stream_id: [u8; 16],
    /// Its epoch.
    pub epoch: u64,
    /// The oldest entry that the writer can still send; 0 when the log is empty.
    pub first_sequence: u64,
    /// How often the writer sends at least something.
    pub heartbeat_ms: u64,
    /// The status name of a refusal; empty when there is none.
    #[serde(default)]
    pub code: String,
}

impl Offer {
    pub(super) fn write(&self, object: &mut Object<'_>) {
        object.number("version", self.version.into());
        if let Some(stream_id) = &self.stream_id {
            object.string("stream_id", &hex(stream_id));
        }
        object.number("epoch", self.epoch);
        object.number("heartbeat_ms", self.heartbeat_ms);
    }
}

impl Answer {
    pub(super) fn write(&self, object: &mut Object<'_>) {
        object.number("version", self.version.into());
        object.string("stream_id", &hex(&self.stream_id));
        object.number("epoch", self.epoch);
        object.number("first_sequence", self.first_sequence);
        object.number("heartbeat_ms", self.heartbeat_ms);
        if !self.code.is_empty() {
            object.string("code", &self.code);
        }
    }
}

/// A v2 object. Derived structs would also take an array of their members' values; this takes an object only.
pub(super) struct V2Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for V2Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectOnly<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectOnly<T> {
            type Value = V2Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(V2Object)
            }
        }

        deserializer.deserialize_map(ObjectOnly(PhantomData))
    }
}

/// A stream id as 32 digits.
pub fn hex(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}

struct StreamId([u8; 16]);

impl<'de> Deserialize<'de> for StreamId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;

        impl Visitor<'_> for Digits {
            type Value = StreamId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("32 hexadecimal digits in lower case")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<StreamId, E> {
                let legal = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                match u128::from_str_radix(text, 16) {
                    Ok(number) if legal => Ok(StreamId(number.to_be_bytes())),
                    _ => Err(E::custom("a stream id is 32 hexadecimal digits in lower case")),
                }
            }
        }

        deserializer.deserialize_str(Digits)
    }
}

fn stream_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
    StreamId::deserialize(deserializer).map(|id| id.0)
}

fn optional_stream_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 16]>, D::Error> {
    Option::<StreamId>::deserialize(deserializer).map(|id| id.map(|id| id.0))
}
