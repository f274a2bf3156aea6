//! From msgpack to values, with rmp-serde.
//!
//! A payload is hostile: nothing is allocated from a length in it, beyond what the bytes that were there already filled. A
//! few bytes of it may stand for a hundred times as many in memory, so what the values take is counted before it is
//! allocated, and an allocation that fails is an error.

use super::value::Value;
use crate::error::{Error, Status};
use rmp_serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::mem::size_of;

/// How deep arrays, maps and extensions nest at most, the array of records included.
pub const MAX_DEPTH: usize = 128;

/// Values in one payload, at most, those in arrays and maps and their keys included. A value takes 32 bytes and more of memory,
/// and as little as one in the payload.
pub const MAX_VALUES: usize = 1 << 24;

/// Bytes of memory that the values of one payload take at most, unless told otherwise.
pub const DEFAULT_MAX_BYTES: u64 = 256 << 20;

/// Places that are allocated before the first element of an array or map was seen.
const FIRST_CAPACITY: usize = 16;

/// Bytes that an allocator needs for an allocation beside what was asked for, about.
const ALLOCATION_BYTES: usize = 16;

/// How much a payload may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct DecodeLimits {
    /// Values in it.
    pub(super) values: usize,
    /// Bytes of memory that they take, besides those of the payload.
    pub(super) bytes: u64,
}

/// Why a payload is no records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is something else, or too much.
    #[error("payload is not an array of maps: {reason} at byte {offset}")]
    Payload {
        /// Where the value begins that is wrong or not whole.
        offset: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no memory for its values.
    #[error("no memory for the records of a payload of {payload_len} bytes")]
    OutOfMemory {
        /// The payload's length.
        payload_len: usize,
    },
}

impl DecodeError {
    /// The status that stands for it.
    pub fn status(&self) -> Status {
        match self {
            DecodeError::Payload { .. } => Status::DecodeFailed,
            DecodeError::OutOfMemory { .. } => Status::OutOfMemory,
        }
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Payload { .. } => Error::new(error.status(), error.to_string()),
            DecodeError::OutOfMemory { payload_len } => {
                Error::out_of_memory(format_args!("the records of a payload of {payload_len} bytes"))
            }
        }
    }
}

/// Decodes the rows of a payload within its limits.
pub(super) fn rows(payload: &[u8], limits: DecodeLimits) -> Result<Vec<Value<'_>>, DecodeError> {
    let progress = DecodeState::new(limits, false);
    let mut deserializer = Deserializer::from_read_ref(payload);
    deserializer.set_max_depth(MAX_DEPTH + 1);
    match Seed::top(&progress).deserialize(&mut deserializer) {
        Ok(Value::Array(rows)) if at_end(&mut deserializer) => Ok(rows),
        _ if progress.is_out_of_memory.get() => Err(DecodeError::OutOfMemory { payload_len: payload.len() }),
        _ => Err(locate(payload, limits)),
    }
}

/// Finds the error in a payload that has one. A deserializer that lends from a slice does not tell where it stands, so the
/// payload is read once more through a reader that does, and nothing is kept.
#[cold]
fn locate(payload: &[u8], limits: DecodeLimits) -> DecodeError {
    let progress = DecodeState::new(limits, true);
    let mut deserializer = Deserializer::new(CountingReader { rest: payload, progress: &progress });
    deserializer.set_max_depth(MAX_DEPTH + 1);
    match Seed::top(&progress).deserialize(&mut deserializer) {
        Ok(_) => {
            let offset = progress.read.get();
            DecodeError::Payload { offset, reason: format!("{} more bytes after the array", payload.len() - offset) }
        }
        Err(error) => DecodeError::Payload { offset: progress.value.get(), reason: reason(error) },
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
struct DecodeState {
    /// All that was read.
    read: Cell<usize>,
    /// Where the latest value began.
    value: Cell<usize>,
    /// Values that may still come, and bytes that they may still take.
    values_left: Cell<usize>,
    bytes_left: Cell<u64>,
    limits: DecodeLimits,
    /// Whether an allocation failed.
    is_out_of_memory: Cell<bool>,
    /// Nothing is kept: only the place of an error is wanted.
    locates: bool,
}

impl DecodeState {
    fn new(limits: DecodeLimits, locates: bool) -> Self {
        Self {
            read: Cell::new(0),
            value: Cell::new(0),
            values_left: Cell::new(limits.values),
            bytes_left: Cell::new(limits.bytes),
            limits,
            is_out_of_memory: Cell::new(false),
            locates,
        }
    }
}

/// The elements of an array or the entries of a map, as they come.
struct Elements<'p, T> {
    kept: Vec<T>,
    count: usize,
    capacity: usize,
    progress: &'p DecodeState,
}

impl<'p, T> Elements<'p, T> {
    fn new(progress: &'p DecodeState) -> Self {
        Self { kept: Vec::new(), count: 0, capacity: 0, progress }
    }

    /// Makes room for another one; `announced` is how many there are in all, if that is true.
    fn make_room<E: de::Error>(&mut self, announced: Option<usize>) -> Result<(), E> {
        if self.count < self.capacity {
            return Ok(());
        }
        let (more, overhead) = match self.capacity {
            0 => (announced.unwrap_or(1).clamp(1, FIRST_CAPACITY), ALLOCATION_BYTES),
            capacity => (capacity, 0),
        };
        let progress = self.progress;
        let bytes = more.saturating_mul(size_of::<T>()).saturating_add(overhead) as u64;
        let Some(left) = progress.bytes_left.get().checked_sub(bytes) else {
            let max = progress.limits.bytes;
            return Err(E::custom(format_args!("the values take more than {max} bytes of memory")));
        };
        progress.bytes_left.set(left);
        if !progress.locates && self.kept.try_reserve_exact(more).is_err() {
            progress.is_out_of_memory.set(true);
            // A text would take memory; it is not read.
            return Err(E::custom(""));
        }
        self.capacity += more;
        Ok(())
    }

    fn push(&mut self, element: T) {
        self.count += 1;
        if !self.progress.locates {
            self.kept.push(element);
        }
    }
}

/// A reader that counts.
struct CountingReader<'a> {
    rest: &'a [u8],
    progress: &'a DecodeState,
}

impl io::Read for CountingReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.rest.read(buffer)?;
        self.progress.read.set(self.progress.read.get() + count);
        Ok(count)
    }
}

/// What may stand where a value is read.
#[derive(Clone, Copy, PartialEq)]
enum Context {
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

/// Reads one value in its context.
#[derive(Clone, Copy)]
struct Seed<'p> {
    context: Context,
    progress: &'p DecodeState,
}

impl<'p> Seed<'p> {
    fn top(progress: &'p DecodeState) -> Self {
        Self { context: Context::Top, progress }
    }

    fn inside(self, context: Context) -> Self {
        Self { context, ..self }
    }

    /// `value` when a scalar may stand here.
    #[inline]
    fn scalar<'de, E: de::Error>(self, value: Value<'de>) -> Result<Value<'de>, E> {
        match self.context {
            Context::Key | Context::Value => Ok(value),
            Context::Top | Context::Row => Err(self.misplaced(&value)),
        }
    }

    /// A stand-in for a value that is not lent from the payload, as where only the place of an error is wanted.
    fn not_kept<'de, E: de::Error>(self, value: Value<'de>) -> Result<Value<'de>, E> {
        if self.progress.locates { self.scalar(value) } else { Err(E::custom("a value that is not lent")) }
    }

    #[cold]
    fn misplaced<E: de::Error>(self, value: &Value<'_>) -> E {
        let found = value.value_type().name();
        E::custom(match self.context {
            Context::Top => format!("it is {found}"),
            Context::Row => format!("a row is {found}"),
            Context::Key | Context::Value => format!("a map's key is {found}"),
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
            return Err(de::Error::custom(format_args!("more than {} values", progress.limits.values)));
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

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Value<'de>, E> {
        self.not_kept(Value::String(Cow::Borrowed("")))
    }

    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Value<'de>, E> {
        self.scalar(Value::Bytes(Cow::Borrowed(bytes)))
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Value<'de>, E> {
        self.not_kept(Value::Bytes(Cow::Borrowed(b"")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let inside = match self.context {
            Context::Top => self.inside(Context::Row),
            Context::Value => self.inside(Context::Value),
            Context::Row | Context::Key => return Err(self.misplaced(&Value::Array(Vec::new()))),
        };
        let mut elements = Elements::new(self.progress);
        let announced = seq.size_hint();
        while let Some(element) = seq.next_element_seed(inside)? {
            elements.make_room(announced)?;
            elements.push(element);
        }
        Ok(Value::Array(elements.kept))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        if !matches!(self.context, Context::Row | Context::Value) {
            return Err(self.misplaced(&Value::Map(Vec::new())));
        }
        let mut entries = Elements::new(self.progress);
        let announced = map.size_hint();
        while let Some(key) = map.next_key_seed(self.inside(Context::Key))? {
            let value = map.next_value_seed(self.inside(Context::Value))?;
            entries.make_room(announced)?;
            entries.push((key, value));
        }
        Ok(Value::Map(entries.kept))
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
        let part = NestedValue(self.0.inside(Context::Value));
        match (seq.next_element::<i8>()?, seq.next_element_seed(part)?) {
            (Some(ext_type), Some(Value::Bytes(bytes))) => Ok((ext_type, bytes)),
            _ => Err(de::Error::custom("an extension without type or bytes")),
        }
    }
}

/// Reads what is no value of its own, and so is no progress.
struct NestedValue<'p>(Seed<'p>);

impl<'de> DeserializeSeed<'de> for NestedValue<'_> {
    type Value = Value<'de>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self.0)
    }
}
