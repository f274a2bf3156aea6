//! From msgpack to values, with rmp-serde.
//!
//! A payload is hostile: nothing is allocated from a length in it, beyond what the bytes that were there already filled.

use super::value::Value;
use crate::error::{Error, Status};
use rmp_serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io;

/// How deep arrays, maps and extensions nest at most, the array of records included.
pub const MAX_DEPTH: usize = 128;

/// Values in one payload, at most, those in arrays and maps and their keys included. A value takes 32 bytes and more of memory,
/// and as little as one in the payload.
pub const MAX_VALUES: usize = 1 << 24;

/// Places that are allocated before the first element of an array or map was seen.
const FIRST_CAPACITY: usize = 16;

/// Why a payload is no records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("payload is not an array of maps: {reason} at byte {offset}")]
pub struct DecodeError {
    /// Where the value begins that is wrong or not whole.
    pub offset: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl DecodeError {
    /// The status that stands for it.
    pub fn status(&self) -> Status {
        Status::DecodeFailed
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Error::new(error.status(), error.to_string())
    }
}

/// Decodes the rows of a payload that has at most `max_values` values.
pub(super) fn rows(payload: &[u8], max_values: usize) -> Result<Vec<Value<'_>>, DecodeError> {
    let progress = Progress::new(max_values);
    let mut deserializer = Deserializer::from_read_ref(payload);
    deserializer.set_max_depth(MAX_DEPTH + 1);
    match Seed::top(&progress).deserialize(&mut deserializer) {
        Ok(Value::Array(rows)) if at_end(&mut deserializer) => Ok(rows),
        _ => Err(locate(payload, max_values)),
    }
}

/// Finds the error in a payload that has one. A deserializer that lends from a slice does not tell where it stands, so the
/// payload is read once more through a reader that does.
#[cold]
fn locate(payload: &[u8], max_values: usize) -> DecodeError {
    let progress = Progress::new(max_values);
    let mut deserializer = Deserializer::new(Counted { rest: payload, progress: &progress });
    deserializer.set_max_depth(MAX_DEPTH + 1);
    match Seed::top(&progress).deserialize(&mut deserializer) {
        Ok(_) => {
            let offset = progress.read.get();
            DecodeError { offset, reason: format!("{} more bytes after the array", payload.len() - offset) }
        }
        Err(error) => DecodeError { offset: progress.value.get(), reason: reason(error) },
    }
}

fn reason(error: rmp_serde::decode::Error) -> String {
    use rmp_serde::decode::Error as Rmp;
    match error {
        Rmp::InvalidMarkerRead(_) | Rmp::InvalidDataRead(_) => "the payload ends inside a value".to_string(),
        Rmp::TypeMismatch(_) => "a byte that begins no value".to_string(),
        Rmp::Utf8Error(_) => "a string where none may be".to_string(),
        Rmp::DepthLimitExceeded => format!("nested deeper than {MAX_DEPTH}"),
        other => other.to_string(),
    }
}

/// Whether nothing follows. An option is the one type of which no more than the first byte is read.
fn at_end<'de>(deserializer: impl de::Deserializer<'de>) -> bool {
    struct Probe;

    impl<'de> Visitor<'de> for Probe {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("anything")
        }

        fn visit_none<E>(self) -> Result<(), E> {
            Ok(())
        }

        fn visit_some<D: de::Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
            Ok(())
        }
    }

    deserializer.deserialize_option(Probe).is_err()
}

/// How far a reader is, in bytes.
struct Progress {
    /// All that was read.
    read: Cell<usize>,
    /// Where the latest value began.
    value: Cell<usize>,
    /// Values that may still come, and how many there may be in all.
    values_left: Cell<usize>,
    max_values: usize,
}

impl Progress {
    fn new(max_values: usize) -> Self {
        Self { read: Cell::new(0), value: Cell::new(0), values_left: Cell::new(max_values), max_values }
    }
}

/// A reader that counts.
struct Counted<'a> {
    rest: &'a [u8],
    progress: &'a Progress,
}

impl io::Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.rest.read(buffer)?;
        self.progress.read.set(self.progress.read.get() + count);
        Ok(count)
    }
}

/// What may stand where a value is read.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// The whole payload: an array.
    Top,
    /// An element of that: a map.
    Row,
    /// A map's key: neither array nor map. Their JSON text as a key would be escaped once more on each level of nesting,
    /// and so double in length each time.
    Key,
    /// Any value.
    Value,
}

/// Reads one value at a place.
#[derive(Clone, Copy)]
struct Seed<'p> {
    place: Place,
    progress: &'p Progress,
}

impl<'p> Seed<'p> {
    fn top(progress: &'p Progress) -> Self {
        Self { place: Place::Top, progress }
    }

    fn inside(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// `value` when a scalar may stand here.
    #[inline]
    fn scalar<'de, E: de::Error>(self, value: Value<'de>) -> Result<Value<'de>, E> {
        match self.place {
            Place::Key | Place::Value => Ok(value),
            Place::Top | Place::Row => Err(self.misplaced(&value)),
        }
    }

    #[cold]
    fn misplaced<E: de::Error>(self, value: &Value<'_>) -> E {
        let found = value.value_type().name();
        E::custom(match self.place {
            Place::Top => format!("it is {found}"),
            Place::Row => format!("a row is {found}"),
            Place::Key | Place::Value => format!("a map's key is {found}"),
        })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value<'de>;

    #[inline]
    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        let progress = self.progress;
        progress.value.set(progress.read.get());
        let Some(left) = progress.values_left.get().checked_sub(1) else {
            return Err(de::Error::custom(format_args!("more than {} values", progress.max_values)));
        };
        progress.values_left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a msgpack value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value<'de>, E> {
        self.scalar(Value::Nil)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value<'de>, E> {
        self.scalar(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value<'de>, E> {
        self.scalar(Value::I64(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value<'de>, E> {
        self.scalar(i64::try_from(value).map_or(Value::U64(value), Value::I64))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value<'de>, E> {
        self.scalar(Value::F64(value))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Value<'de>, E> {
        self.scalar(Value::String(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value<'de>, E> {
        self.scalar(Value::String(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Value<'de>, E> {
        self.scalar(Value::Bytes(Cow::Borrowed(bytes)))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Value<'de>, E> {
        self.scalar(Value::Bytes(Cow::Owned(bytes.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let inside = match self.place {
            Place::Top => self.inside(Place::Row),
            Place::Value => self.inside(Place::Value),
            Place::Row | Place::Key => return Err(self.misplaced(&Value::Array(Vec::new()))),
        };
        let mut elements = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(FIRST_CAPACITY));
        while let Some(element) = seq.next_element_seed(inside)? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        if !matches!(self.place, Place::Row | Place::Value) {
            return Err(self.misplaced(&Value::Map(Vec::new())));
        }
        let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(0).min(FIRST_CAPACITY));
        while let Some(key) = map.next_key_seed(self.inside(Place::Key))? {
            entries.push((key, map.next_value_seed(self.inside(Place::Value))?));
        }
        Ok(Value::Map(entries))
    }

    /// An extension: to serde, a pair of its type and its bytes.
    fn visit_newtype_struct<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        let (ext_type, bytes) = deserializer.deserialize_any(Extension(self))?;
        self.scalar(Value::Ext(ext_type, bytes))
    }
}

/// Reads the pair that an extension is.
struct Extension<'p>(Seed<'p>);

impl<'de> Visitor<'de> for Extension<'_> {
    type Value = (i8, Cow<'de, [u8]>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an extension's type and bytes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let part = Part(self.0.inside(Place::Value));
        match (seq.next_element::<i8>()?, seq.next_element_seed(part)?) {
            (Some(ext_type), Some(Value::Bytes(bytes))) => Ok((ext_type, bytes)),
            _ => Err(de::Error::custom("an extension without type or bytes")),
        }
    }
}

/// Reads what is no value of its own, and so is no progress.
struct Part<'p>(Seed<'p>);

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Value<'de>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self.0)
    }
}
