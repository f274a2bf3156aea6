//! The v1 messages: JSON in frames, byte for byte as a Go peer writes them, and read as a Go peer reads them.
//!
//! Reading follows Go in what it forgives: unknown members are ignored, missing ones and `null` leave the zero value,
//! the last of several members of one name counts, names match whatever their case, `null` alone is a message of zero
//! values, and text that is not UTF-8 becomes U+FFFD. And in what it does not: a value that is wrong is an error also
//! when another one of its name follows. Numbers are whole and never go through a float. `tests/vectors/go-json.jsonl`
//! has what Go says of hundreds of texts.

use super::HEADER_SIZE;
use super::base64;
use super::frame::{self, FrameError};
use super::go_json::{self, Counter, Sink};
use super::handshake::{Answer, Offer, Sync, SyncAck, V2, V2Object};
use crate::error::{Error, Status};
use crate::text::{Escaped, Quoted};
use serde::Serialize;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The longest reason: it may quote what the peer sent.
const MAX_REASON_CHARS: usize = 200;

/// Why JSON is not the expected message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It is not JSON, or a member has the wrong type.
    #[error("{message} message: {}{reason} at byte {offset}", Member(*.field))]
    Json {
        /// The expected message.
        message: &'static str,
        /// The member that was being read, if any.
        field: Option<&'static str>,
        /// What is wrong.
        reason: String,
        /// How many bytes of the JSON were read.
        offset: usize,
    },
    /// A payload is not base64.
    #[error("Entry message: member \"payload\": illegal base64 at character {offset}")]
    Base64 {
        /// The offset of the first wrong character.
        offset: usize,
    },
}

struct Member(Option<&'static str>);

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |name| write!(f, "member \"{name}\": "))
    }
}

impl MessageError {
    /// The corresponding status.
    pub fn status(&self) -> Status {
        Status::InvalidMsg
    }
}

impl From<MessageError> for Error {
    fn from(error: MessageError) -> Self {
        Error::new(error.status(), error.to_string())
    }
}

/// The members of an Entry besides its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryFields {
    /// Its sequence.
    pub sequence: u64,
    /// Microseconds since the Unix epoch, as the writer's host gave it.
    pub timestamp_us: u64,
}

/// A reader's acknowledgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// The last entry that the reader acknowledges.
    pub last_sequence: u64,
    /// The reader's id.
    pub reader_id: String,
}

/// An error that a peer reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorMessage {
    /// A status name, such as `SEQUENCE_GAP`.
    pub code: String,
    /// A text for people.
    pub message: String,
}

impl ErrorMessage {
    /// Converts it to an error of this library. `who` is a subject and its verb, such as "the reader reports".
    pub fn to_error(&self, who: &str) -> Error {
        let text = format!("{who} {}: {}", Escaped(&self.code), Quoted(&self.message));
        Error::new(Status::reported(&self.code), text)
    }
}

/// Appends a whole frame to `out`, or nothing when it is too large or does not fit.
fn encode<S: Sink>(out: &mut S, kind: u8, text_len: usize, message: &impl Serialize) -> Result<(), FrameError> {
    // JSON is never shorter than its text: what is too large already need not be measured.
    frame::encode_header(kind, text_len)?;
    let mut length = Counter::default();
    go_json::write(&mut length, message);
    let header = frame::encode_header(kind, length.0)?;
    if out.begin(HEADER_SIZE + length.0) {
        out.put(&header);
        go_json::write(out, message);
    }
    Ok(())
}

/// Appends an Entry frame. No payload is written as `null`, as Go writes a nil slice.
#[inline]
pub fn encode_entry<S: Sink>(
    out: &mut S,
    sequence: u64,
    timestamp_us: u64,
    payload: Option<&[u8]>,
) -> Result<(), FrameError> {
    const MEMBERS: [&[u8]; 3] = [b"{\"seq\":", b",\"ts\":", b",\"payload\":"];
    const MEMBERS_LEN: usize = MEMBERS[0].len() + MEMBERS[1].len() + MEMBERS[2].len();

    // What is too large already has no base64 length either.
    frame::encode_header(frame::TYPE_ENTRY, payload.map_or(0, <[u8]>::len))?;
    let (mut sequence_digits, mut timestamp_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
    let sequence = sequence_digits.format(sequence).as_bytes();
    let timestamp = timestamp_digits.format(timestamp_us).as_bytes();
    let value_len = payload.map_or(4, |bytes| base64_simd::STANDARD.encoded_length(bytes.len()) + 2);
    let json_len = MEMBERS_LEN + sequence.len() + timestamp.len() + value_len + 1;
    let header = frame::encode_header(frame::TYPE_ENTRY, json_len)?;
    if !out.begin(HEADER_SIZE + json_len) {
        return Ok(());
    }
    out.put(&header);
    out.put(MEMBERS[0]);
    out.put(sequence);
    out.put(MEMBERS[1]);
    out.put(timestamp);
    out.put(MEMBERS[2]);
    match payload {
        Some(bytes) => {
            out.put(b"\"");
            out.put_base64(bytes);
            out.put(b"\"}");
        }
        None => out.put(b"null}"),
    }
    Ok(())
}

/// Appends an Ack frame.
pub fn encode_ack<S: Sink>(out: &mut S, last_sequence: u64, reader_id: &str) -> Result<(), FrameError> {
    #[derive(Serialize)]
    struct Ack<'a> {
        last_seq: u64,
        reader_id: &'a str,
    }
    encode(out, frame::TYPE_ACK, reader_id.len(), &Ack { last_seq: last_sequence, reader_id })
}

/// Appends a Sync frame, in the coordinator's form on request.
pub fn encode_sync<S: Sink>(out: &mut S, sync: &Sync, coordinator: bool) -> Result<(), FrameError> {
    let kind = if coordinator { frame::TYPE_ENTRY } else { frame::TYPE_SYNC };
    encode(out, kind, sync.reader_id.len(), sync)
}

/// Appends a SyncAck frame, in the coordinator's form on request.
pub fn encode_sync_ack<S: Sink>(out: &mut S, ack: &SyncAck, coordinator: bool) -> Result<(), FrameError> {
    let kind = if coordinator { frame::TYPE_ACK } else { frame::TYPE_SYNC_ACK };
    encode(out, kind, ack.error.len(), ack)
}

/// Appends an Error frame.
pub fn encode_error<S: Sink>(out: &mut S, code: &str, message: &str) -> Result<(), FrameError> {
    #[derive(Serialize)]
    struct Error<'a> {
        code: &'a str,
        message: &'a str,
    }
    let text_len = code.len().saturating_add(message.len());
    encode(out, frame::TYPE_ERROR, text_len, &Error { code, message })
}

/// A message that is read member by member.
trait Members<'de> {
    /// The message's name, for errors.
    const MESSAGE: &'static str;
    /// The members it has.
    const NAMES: &'static [&'static str];

    /// Reads the value of the member `NAMES[index]`.
    fn read<A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error>;
}

/// Reads a value into `slot`; `null` leaves it as it is, as in Go.
#[inline]
fn read_value<'de, A: MapAccess<'de>, T: Deserialize<'de>>(map: &mut A, slot: &mut T) -> Result<(), A::Error> {
    if let Some(value) = map.next_value::<Option<T>>()? {
        *slot = value;
    }
    Ok(())
}

#[derive(Default)]
struct EntryMembers<'de> {
    fields: EntryFields,
    payload: Payload<'de>,
}

impl<'de> Members<'de> for EntryMembers<'de> {
    const MESSAGE: &'static str = "Entry";
    const NAMES: &'static [&'static str] = &["seq", "ts", "payload"];

    #[inline]
    fn read<A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error> {
        match index {
            0 => read_value(map, &mut self.fields.sequence),
            1 => read_value(map, &mut self.fields.timestamp_us),
            _ => map.next_value_seed(&mut self.payload),
        }
    }
}

impl<'de> Members<'de> for Ack {
    const MESSAGE: &'static str = "Ack";
    const NAMES: &'static [&'static str] = &["last_seq", "reader_id"];

    fn read<A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error> {
        match index {
            0 => read_value(map, &mut self.last_sequence),
            _ => read_value(map, &mut self.reader_id),
        }
    }
}

impl<'de> Members<'de> for Sync {
    const MESSAGE: &'static str = "Sync";
    const NAMES: &'static [&'static str] = &["reader_id", "last_known_seq", V2];

    fn read<A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error> {
        match index {
            0 => read_value(map, &mut self.reader_id),
            1 => read_value(map, &mut self.last_known_sequence),
            _ => {
                self.offer = map.next_value::<Option<V2Object<Offer>>>()?.map(|object| object.0);
                Ok(())
            }
        }
    }
}

impl<'de> Members<'de> for SyncAck {
    const MESSAGE: &'static str = "SyncAck";
    const NAMES: &'static [&'static str] = &["current_seq", "can_resume", "error", V2];

    fn read<A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error> {
        match index {
            0 => read_value(map, &mut self.current_sequence),
            1 => read_value(map, &mut self.can_resume),
            2 => read_value(map, &mut self.error),
            _ => {
                self.answer = map.next_value::<Option<V2Object<Answer>>>()?.map(|object| object.0);
                Ok(())
            }
        }
    }
}

impl<'de> Members<'de> for ErrorMessage {
    const MESSAGE: &'static str = "Error";
    const NAMES: &'static [&'static str] = &["code", "message"];

    fn read<A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error> {
        match index {
            0 => read_value(map, &mut self.code),
            _ => read_value(map, &mut self.message),
        }
    }
}

/// A payload as it stands in the JSON: base64, or what Go reads as bytes as well, an array of numbers.
enum Payload<'de> {
    /// Base64, borrowed from the JSON unless it has escapes.
    Text(Cow<'de, str>),
    /// The bytes are the first `length` ones of `memory`. A `null` in an array leaves the byte that an earlier payload
    /// of the same message had there, as Go's does.
    Numbers { memory: Vec<u8>, length: usize },
}

impl Default for Payload<'_> {
    fn default() -> Self {
        Payload::Text(Cow::Borrowed(""))
    }
}

impl Payload<'_> {
    /// What an earlier payload of the same message leaves in memory. Go refuses a bad one even if another follows.
    #[cold]
    fn into_memory<E: de::Error>(self) -> Result<Vec<u8>, E> {
        match self {
            Payload::Numbers { memory, .. } => Ok(memory),
            Payload::Text(text) => {
                let mut memory = Vec::new();
                base64::decode_append(text.as_bytes(), &mut memory).map_err(|base64::Illegal(offset)| {
                    E::custom(format_args!("illegal base64 at character {offset}"))
                })?;
                Ok(memory)
            }
        }
    }

    /// Takes out the memory of an earlier payload, if there was one.
    #[inline]
    fn take_memory<E: de::Error>(&mut self) -> Result<Vec<u8>, E> {
        match self {
            Payload::Text(text) if text.is_empty() => Ok(Vec::new()),
            _ => std::mem::take(self).into_memory(),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Payload<'de> {
    type Value = ();

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Payload<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    #[inline]
    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<(), E> {
        self.take_memory()?;
        *self = Payload::Text(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.take_memory()?;
        *self = Payload::Text(Cow::Owned(text.to_owned()));
        Ok(())
    }

    /// A slice, unlike a number, is reset by `null`.
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.take_memory().map(drop)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<(), A::Error> {
        let (mut memory, mut length) = (self.take_memory()?, 0);
        while let Some(number) = numbers.next_element::<Option<u8>>()? {
            match (memory.get_mut(length), number) {
                (Some(byte), Some(number)) => *byte = number,
                (Some(_), None) => {}
                (None, number) => memory.push(number.unwrap_or(0)),
            }
            length += 1;
        }
        if length == 0 {
            memory.clear();
        }
        *self = Payload::Numbers { memory, length };
        Ok(())
    }
}

/// Finds a member's index; `None` for a name the message does not have.
struct Name(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<usize>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    #[inline]
    fn visit_str<E>(self, text: &str) -> Result<Option<usize>, E> {
        let exact = self.0.iter().position(|name| *name == text);
        Ok(exact.or_else(|| self.0.iter().position(|name| go_json::is_same_name(name, text))))
    }
}

/// Reads an object into `members` and keeps track of the member it is at.
struct ObjectReader<'m, M> {
    members: &'m mut M,
    progress: &'m mut ParsePosition,
}

/// The position of a reader in a message.
#[derive(Default)]
struct ParsePosition {
    /// The member that is being read.
    field: Option<&'static str>,
    /// Whether a value was skipped without a check of its nesting.
    passed_over: bool,
}

impl<'de, M: Members<'de>> Visitor<'de> for ObjectReader<'_, M> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(known) = map.next_key_seed(Name(M::NAMES))? {
            match known {
                Some(index) => {
                    self.progress.field = Some(M::NAMES[index]);
                    self.progress.passed_over |= M::NAMES[index] == V2;
                    self.members.read(index, &mut map)?;
                    self.progress.field = None;
                }
                None => {
                    self.progress.passed_over = true;
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads the message in `text`. The error's offset is one in `text`.
#[inline]
fn read_message<'de, M: Members<'de> + Default>(text: &'de str) -> Result<M, MessageError> {
    let mut members = M::default();
    if go_json::is_null(text) {
        return Ok(members);
    }
    let mut progress = ParsePosition::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer
        .deserialize_map(ObjectReader { members: &mut members, progress: &mut progress })
        .and_then(|()| deserializer.end())
        .map_err(|error| json_error(M::MESSAGE, progress.field, text, &error))?;
    if progress.passed_over
        && let Some(offset) = go_json::too_deep(text)
    {
        let reason = format!("nested deeper than {}", go_json::MAX_DEPTH);
        return Err(MessageError::Json { message: M::MESSAGE, field: None, reason, offset });
    }
    Ok(members)
}

#[cold]
fn json_error(
    message: &'static str,
    field: Option<&'static str>,
    text: &str,
    error: &serde_json::Error,
) -> MessageError {
    let lines_before = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let offset = lines_before.map(str::len).sum::<usize>() + error.column();
    let mut reason = error.to_string();
    if let Some(at) = reason.rfind(" at line ") {
        reason.truncate(at);
    }
    if let Some((end, _)) = reason.char_indices().nth(MAX_REASON_CHARS) {
        reason.truncate(end);
    }
    MessageError::Json { message, field, reason, offset }
}

/// Runs `read` on the JSON, or, if that is not all Unicode text, on the text that Go reads in its place.
#[inline]
fn decode<T>(json: &[u8], mut read: impl FnMut(&str) -> Result<T, MessageError>) -> Result<T, MessageError> {
    let first = match std::str::from_utf8(json) {
        Ok(text) => match read(text) {
            Ok(value) => return Ok(value),
            Err(error) => Some(error),
        },
        Err(_) => None,
    };
    decode_replaced(json, first, read)
}

#[cold]
fn decode_replaced<T>(
    json: &[u8],
    first: Option<MessageError>,
    mut read: impl FnMut(&str) -> Result<T, MessageError>,
) -> Result<T, MessageError> {
    let replaced = go_json::replace_invalid(json);
    match first {
        Some(error) if matches!(replaced, Cow::Borrowed(_)) => Err(error),
        _ => read(&replaced).map_err(|error| match error {
            MessageError::Json { message, field, reason, offset } => {
                MessageError::Json { message, field, reason, offset: go_json::original_offset(json, offset) }
            }
            other => other,
        }),
    }
}

/// Reads an Entry and appends its payload to `payload_out`, which is left as it was on an error.
pub fn decode_entry(json: &[u8], payload_out: &mut Vec<u8>) -> Result<EntryFields, MessageError> {
    decode(json, |text| {
        let entry: EntryMembers = read_message(text)?;
        match &entry.payload {
            Payload::Text(text) => base64::decode_append(text.as_bytes(), payload_out)
                .map_err(|base64::Illegal(offset)| MessageError::Base64 { offset })?,
            Payload::Numbers { memory, length } => payload_out.extend_from_slice(&memory[..*length]),
        }
        Ok(entry.fields)
    })
}

/// Reads an Entry, writes its payload to the start of `payload` when there is room for all of it, and returns the
/// payload's length in any case. After an error the content of `payload` is unspecified.
pub fn decode_entry_to_slice(json: &[u8], payload: &mut [u8]) -> Result<(EntryFields, usize), MessageError> {
    decode(json, |text| {
        let entry: EntryMembers = read_message(text)?;
        let length = match &entry.payload {
            Payload::Text(text) => base64::decode_to_slice(text.as_bytes(), payload)
                .map_err(|base64::Illegal(offset)| MessageError::Base64 { offset })?,
            Payload::Numbers { memory, length } => {
                if let Some(room) = payload.get_mut(..*length) {
                    room.copy_from_slice(&memory[..*length]);
                }
                *length
            }
        };
        Ok((entry.fields, length))
    })
}

/// Reads an Ack.
pub fn decode_ack(json: &[u8]) -> Result<Ack, MessageError> {
    decode(json, |text| read_message(text))
}

/// Reads a Sync.
pub fn decode_sync(json: &[u8]) -> Result<Sync, MessageError> {
    decode(json, |text| read_message(text))
}

/// Reads a SyncAck.
pub fn decode_sync_ack(json: &[u8]) -> Result<SyncAck, MessageError> {
    decode(json, |text| read_message(text))
}

/// Reads an Error.
pub fn decode_error(json: &[u8]) -> Result<ErrorMessage, MessageError> {
    decode(json, |text| read_message(text))
}

#[cfg(test)]
mod go_tests;
#[cfg(test)]
mod tests;
