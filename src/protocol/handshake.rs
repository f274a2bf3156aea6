//! The handshake: the reader's Sync, the writer's SyncAck, and the optional object in both by which the peers agree on
//! v2. Peers that know only v1 ignore the object and never send it.

use super::entry::UNKNOWN_HISTORY;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::Serializer;
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;

/// The member of Sync and SyncAck that holds the v2 object.
pub(super) const V2: &str = "v2";

/// A reader's opening message.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sync {
    /// The reader's id.
    pub reader_id: String,
    /// The last entry that the reader has; 0 for none.
    #[serde(rename = "last_known_seq")]
    pub last_known_sequence: u64,
    /// Its offer to speak v2.
    #[serde(rename = "v2", skip_serializing_if = "Option::is_none")]
    pub offer: Option<Offer>,
}

/// A reader's offer to speak v2.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Offer {
    /// The highest version of the v2 stream that the reader speaks.
    #[serde(deserialize_with = "or_zero")]
    pub version: u32,
    /// The stream of its position, if it ever followed one.
    #[serde(default, deserialize_with = "optional_stream_id")]
    #[serde(serialize_with = "write_optional_stream_id", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<[u8; 16]>,
    /// The epoch of that stream; 0 without one.
    #[serde(deserialize_with = "or_zero")]
    pub epoch: u64,
    /// The reader's heartbeat interval.
    #[serde(deserialize_with = "or_zero")]
    pub heartbeat_ms: u64,
    /// The chain hash of the reader's history at its position; 0 when unknown.
    #[serde(default, deserialize_with = "chain_hash")]
    #[serde(serialize_with = "write_hash", skip_serializing_if = "is_unknown")]
    pub hash: u64,
    /// Earlier points of that history, oldest first, by which a writer with another history finds the fork.
    #[serde(default, deserialize_with = "history")]
    #[serde(serialize_with = "write_history", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Point>,
}

/// A point in a history: the chain hash through the entry `sequence`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// The sequence of the entry.
    pub sequence: u64,
    /// The chain hash through that entry.
    pub hash: u64,
}

/// The most points of a history in one offer.
pub const MAX_HISTORY: usize = 32;

/// A writer's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SyncAck {
    /// The last entry of the log.
    #[serde(rename = "current_seq")]
    pub current_sequence: u64,
    /// Whether the reader gets every entry after its position.
    pub can_resume: bool,
    /// The reason of a refusal; empty if there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The answer to the reader's offer, if the writer speaks v2.
    #[serde(rename = "v2", skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// A writer's answer to an [`Offer`].
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Answer {
    /// The version of the v2 stream that the writer picked.
    #[serde(deserialize_with = "or_zero")]
    pub version: u32,
    /// The writer's stream.
    #[serde(deserialize_with = "stream_id", serialize_with = "write_stream_id")]
    pub stream_id: [u8; 16],
    /// Its epoch.
    #[serde(deserialize_with = "or_zero")]
    pub epoch: u64,
    /// The oldest entry that the writer can still send; 0 when the log is empty.
    #[serde(deserialize_with = "or_zero")]
    pub first_sequence: u64,
    /// The writer's heartbeat interval.
    #[serde(deserialize_with = "or_zero")]
    pub heartbeat_ms: u64,
    /// The shortest heartbeat interval that the writer accepts, if the reader asked for a shorter one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_heartbeat_ms: Option<u64>,
    /// The status name of a refusal; empty if there is none.
    #[serde(default, deserialize_with = "or_zero", skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// The chain hash of the writer's history at the reader's position; 0 when unknown.
    #[serde(default, deserialize_with = "chain_hash")]
    #[serde(serialize_with = "write_hash", skip_serializing_if = "is_unknown")]
    pub hash: u64,
    /// In a refusal because the histories differ: the last entry up to which they are known to be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_sequence: Option<u64>,
    /// In such a refusal: the first entry that is known to differ. If it follows `common_sequence`, it is the first one
    /// that does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differing_sequence: Option<u64>,
}

/// Whether nothing is known of a history; then its hash is left out.
fn is_unknown(hash: &u64) -> bool {
    *hash == UNKNOWN_HISTORY
}

fn write_stream_id<S: Serializer>(stream_id: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(stream_id))
}

fn write_optional_stream_id<S: Serializer>(stream_id: &Option<[u8; 16]>, serializer: S) -> Result<S::Ok, S::Error> {
    match stream_id {
        Some(stream_id) => write_stream_id(stream_id, serializer),
        None => serializer.serialize_none(),
    }
}

fn write_hash<S: Serializer>(hash: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{hash:016x}"))
}

fn write_history<S: Serializer>(history: &[Point], serializer: S) -> Result<S::Ok, S::Error> {
    let digits = history.iter().map(|point| format!("{:016x}{:016x}", point.sequence, point.hash));
    serializer.serialize_str(&digits.collect::<String>())
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

/// Bytes as hexadecimal digits, two of each: a stream id as 32.
pub fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// The number in a text of a fixed count of digits; `None` for another text.
fn digits(text: &str, length: usize) -> Option<u128> {
    let legal = text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u128::from_str_radix(text, 16).ok().filter(|_| legal)
}

fn stream_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    let number =
        digits(&text, 32).ok_or_else(|| D::Error::custom("a stream id is 32 hexadecimal digits in lower case"))?;
    Ok(number.to_be_bytes())
}

fn optional_stream_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 16]>, D::Error> {
    #[derive(serde::Deserialize)]
    struct StreamId(#[serde(deserialize_with = "stream_id")] [u8; 16]);

    Ok(Option::<StreamId>::deserialize(deserializer)?.map(|id| id.0))
}

/// A value, or the zero value for `null`.
fn or_zero<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

fn chain_hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let Some(text) = Option::<Cow<'de, str>>::deserialize(deserializer)? else { return Ok(UNKNOWN_HISTORY) };
    let number = digits(&text, 16).and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| D::Error::custom("a chain hash is 16 hexadecimal digits in lower case"))
}

fn history<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Point>, D::Error> {
    let illegal =
        || D::Error::custom("a history is up to 32 points of 32 hexadecimal digits in lower case, in rising order");
    let Some(text) = Option::<Cow<'de, str>>::deserialize(deserializer)? else { return Ok(Vec::new()) };
    if text.len() > MAX_HISTORY * 32 || !text.is_ascii() || text.len() % 32 != 0 {
        return Err(illegal());
    }
    let points = (0..text.len()).step_by(32).map(|at| {
        let number = digits(&text[at..at + 32], 32)?;
        Some(Point { sequence: (number >> 64) as u64, hash: number as u64 })
    });
    let points: Option<Vec<_>> = points.collect();
    points.filter(|points| points.is_sorted_by(|a, b| a.sequence < b.sequence)).ok_or_else(illegal)
}
