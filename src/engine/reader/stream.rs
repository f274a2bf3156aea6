//! From the bytes of a connection to checked entries: where each ends, and whether it goes on from the one before.
//!
//! The bytes stay where they are. A v2 entry is checked in place; a v1 entry is decoded from its JSON into a buffer of the
//! caller's, in the form that v2 entries have.

use super::policy::GapPolicy;
use crate::engine::version::WireVersion;
use crate::error::{Error, Status};
use crate::protocol::control::{AckRequest, Heartbeat, TYPE_ACK_REQUEST, TYPE_BATCH, TYPE_HEARTBEAT, is_optional};
use crate::protocol::entry::{
    ENTRY_HEADER_SIZE, Entry, EntryError, UNKNOWN_HISTORY, chain_hash, encode_header, payload_crc,
};
use crate::protocol::frame::{self, TYPE_ENTRY, TYPE_ERROR, TYPE_SYNC_ACK};
use crate::protocol::{HEADER_SIZE, MAX_HANDSHAKE_BYTES, MAX_MESSAGE_SIZE, message};

/// The size at which a delivery takes no further entry. It is stored as a whole before any of it is applied, and only
/// applied entries make room on a full disk.
pub(crate) const DELIVERY_BYTES: usize = 256 * 1024;

/// The place before an entry: the lineage and the history it goes on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Before {
    /// The epoch of the writer that sent what follows.
    pub(crate) epoch: u64,
    /// The last entry before.
    pub(crate) sequence: u64,
    /// The chain hash of all entries before; 0 when unknown.
    pub(crate) hash: u64,
}

/// What a parse found, besides entries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Heartbeat(Heartbeat),
    AckRequest(AckRequest),
    /// These entries are missing, and the policy is to go on after them.
    GapPassed {
        first: u64,
        last: u64,
    },
}

/// What a parse gave. Entries and controls before an error are good.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// Bytes at the front that are dealt with.
    pub(crate) taken: usize,
    /// Bytes at the front that belong to a batch that was begun earlier.
    pub(crate) batch_left: usize,
    /// What lies before the first entry.
    pub(crate) before: Before,
    pub(crate) entries: u64,
    pub(crate) controls: Vec<Control>,
    pub(crate) error: Option<Error>,
    /// A delivery is full: there may be more.
    pub(crate) full: bool,
}

/// Where a connection's stream is.
pub(crate) struct Parser {
    version: WireVersion,
    gap_policy: GapPolicy,
    /// The largest payload that is taken.
    max_entry_bytes: u64,
    /// Bytes that the element at the front takes, as far as known.
    needed: usize,
    /// Bytes left of the batch that was begun.
    batch_left: usize,
    /// The last sequence that was received.
    last: u64,
    /// The chain hash of what was received.
    hash: u64,
    /// The writer's epoch.
    epoch: u64,
}

impl Parser {
    pub(crate) fn new(gap_policy: GapPolicy, max_entry_bytes: u64) -> Self {
        Self {
            version: WireVersion::V2,
            gap_policy,
            max_entry_bytes,
            needed: 0,
            batch_left: 0,
            last: 0,
            hash: UNKNOWN_HISTORY,
            epoch: 0,
        }
    }

    /// Begins a new connection's stream at `before`.
    pub(crate) fn begin(&mut self, version: WireVersion, before: Before) {
        (self.version, self.batch_left, self.needed) = (version, 0, 0);
        (self.epoch, self.last, self.hash) = (before.epoch, before.sequence, before.hash);
    }

    pub(crate) fn version(&self) -> WireVersion {
        self.version
    }

    /// Bytes that the element at the front takes, as far as known.
    pub(crate) fn needed(&self) -> usize {
        self.needed
    }

    /// Whether it is inside a batch.
    pub(crate) fn is_in_batch(&self) -> bool {
        self.batch_left > 0
    }

    /// Where the stream is: the last sequence that was received, and the history up to it.
    pub(crate) fn before(&self) -> Before {
        Before { epoch: self.epoch, sequence: self.last, hash: self.hash }
    }

    /// Checks the whole elements at the front of `bytes`: all, unless the delivery becomes full. v1 entries go to `decoded`.
    pub(crate) fn parse(&mut self, bytes: &[u8], decoded: &mut Vec<u8>) -> Parsed {
        let before = self.before();
        let mut parsed = match self.version {
            WireVersion::V2 => self.parse_v2(bytes),
            WireVersion::V1 { coordinator } => self.parse_v1(bytes, coordinator, decoded),
        };
        // Where some are missing, the history after them is unknown, and counts as unknown before them too.
        parsed.before = if self.hash == UNKNOWN_HISTORY { Before { hash: UNKNOWN_HISTORY, ..before } } else { before };
        parsed
    }

    fn parse_v2(&mut self, bytes: &[u8]) -> Parsed {
        let mut parsed = Parsed { batch_left: self.batch_left, ..Parsed::default() };
        let mut at = 0;
        while at < DELIVERY_BYTES {
            match self.step_v2(&bytes[at..], &mut parsed) {
                Ok(0) => break,
                Ok(taken) => at += taken,
                Err(error) => {
                    parsed.error = Some(error);
                    break;
                }
            }
        }
        (parsed.taken, parsed.full) = (at, at >= DELIVERY_BYTES);
        parsed
    }

    /// Checks the element at the front: an entry, a batch's header or another frame. Returns its size, or 0 when it is not
    /// whole yet.
    #[inline]
    fn step_v2(&mut self, bytes: &[u8], parsed: &mut Parsed) -> Result<usize, Error> {
        if self.batch_left > 0 {
            let within = &bytes[..bytes.len().min(self.batch_left)];
            let entry = match Entry::decode_checked(within) {
                Ok(entry) => entry,
                Err(EntryError::Short { needed, .. }) if needed <= self.batch_left => {
                    let length = needed - ENTRY_HEADER_SIZE;
                    if length as u64 > self.max_entry_bytes {
                        return Err(self.too_large(claimed_sequence(within), length));
                    }
                    self.needed = needed;
                    return Ok(0);
                }
                Err(error) => return Err(invalid(format!("after entry {}: {error}", self.last))),
            };
            let size = entry.encoded_len();
            let (sequence, previous) = (entry.sequence, entry.previous);
            if entry.payload.len() as u64 > self.max_entry_bytes {
                return Err(self.too_large(Some(sequence), entry.payload.len()));
            }
            if previous != self.last || sequence <= previous {
                self.out_of_order(sequence, previous, parsed)?;
                self.hash = UNKNOWN_HISTORY;
            }
            self.hash = chain_hash(self.hash, within);
            self.last = sequence;
            self.batch_left -= size;
            parsed.entries += 1;
            return Ok(size);
        }
        let Some(header) = frame::decode_header(bytes, MAX_MESSAGE_SIZE).map_err(|e| invalid(e.to_string()))? else {
            self.needed = HEADER_SIZE;
            return Ok(0);
        };
        if header.kind == TYPE_BATCH {
            self.batch_left = header.payload_len;
            return Ok(HEADER_SIZE);
        }
        if header.payload_len > MAX_HANDSHAKE_BYTES {
            return Err(invalid(format!("frame of type {:#04x} has {} bytes", header.kind, header.payload_len)));
        }
        let size = HEADER_SIZE + header.payload_len;
        let Some(payload) = bytes.get(HEADER_SIZE..size) else {
            self.needed = size;
            return Ok(0);
        };
        let short = || invalid(format!("frame of type {:#04x} is too short", header.kind));
        match header.kind {
            TYPE_HEARTBEAT => {
                parsed.controls.push(Control::Heartbeat(Heartbeat::decode(payload).ok_or_else(short)?));
            }
            TYPE_ACK_REQUEST => {
                parsed.controls.push(Control::AckRequest(AckRequest::decode(payload).ok_or_else(short)?));
            }
            TYPE_ERROR => return Err(reported(payload)),
            kind if is_optional(kind) => {}
            kind => return Err(invalid(format!("unknown frame of type {kind:#04x}"))),
        }
        Ok(size)
    }

    fn parse_v1(&mut self, bytes: &[u8], coordinator: bool, decoded: &mut Vec<u8>) -> Parsed {
        let mut parsed = Parsed::default();
        while decoded.len() < DELIVERY_BYTES {
            match self.step_v1(&bytes[parsed.taken..], coordinator, decoded, &mut parsed) {
                Ok(0) => break,
                Ok(taken) => parsed.taken += taken,
                Err(error) => {
                    parsed.error = Some(error);
                    break;
                }
            }
        }
        parsed.full = decoded.len() >= DELIVERY_BYTES;
        parsed
    }

    /// Decodes the frame at the front. Returns its size, or 0 when it is not whole yet.
    fn step_v1(
        &mut self,
        bytes: &[u8],
        coordinator: bool,
        out: &mut Vec<u8>,
        parsed: &mut Parsed,
    ) -> Result<usize, Error> {
        let header = frame::decode_header(bytes, MAX_MESSAGE_SIZE).map_err(|e| invalid(e.to_string()))?;
        let Some(header) = header else {
            self.needed = HEADER_SIZE;
            return Ok(0);
        };
        let size = HEADER_SIZE + header.payload_len;
        if header.kind == TYPE_ENTRY && header.payload_len as u64 > longest_json(self.max_entry_bytes) {
            return Err(self.too_large(None, header.payload_len / 4 * 3));
        }
        let Some(payload) = bytes.get(HEADER_SIZE..size) else {
            self.needed = size;
            return Ok(0);
        };
        match header.kind {
            TYPE_ENTRY => {
                reserve_for_json(out, payload).map_err(|bytes| self.no_memory(bytes))?;
                let start = out.len();
                out.extend_from_slice(&[0; ENTRY_HEADER_SIZE]);
                let decoded = message::decode_entry(payload, out);
                let body = start + ENTRY_HEADER_SIZE;
                let length = out.len().saturating_sub(body);
                let checked = decoded
                    .map_err(|e| invalid(format!("bad Entry after {}: {e}", self.last)))
                    .and_then(|fields| match length as u64 > self.max_entry_bytes {
                        true => Err(self.too_large(Some(fields.sequence), length)),
                        false => Ok(fields),
                    })
                    .and_then(|fields| self.predecessor(fields.sequence, parsed).map(|previous| (fields, previous)));
                let (fields, previous) = match checked {
                    Ok(checked) => checked,
                    Err(error) => {
                        out.truncate(start);
                        return Err(error);
                    }
                };
                if previous != self.last {
                    self.hash = UNKNOWN_HISTORY;
                }
                let crc = payload_crc(&out[body..]);
                let header = encode_header(crc, length, fields.sequence, previous, fields.timestamp_us);
                out[start..body].copy_from_slice(&header);
                self.hash = chain_hash(self.hash, &header);
                self.last = fields.sequence;
                parsed.entries += 1;
            }
            TYPE_ERROR => return Err(reported(payload)),
            TYPE_SYNC_ACK if coordinator => {}
            kind => return Err(invalid(format!("unexpected frame of type {kind:#04x}"))),
        }
        Ok(size)
    }

    /// An entry over the limit. Its sequence is what the writer claims, or else the next one: it is not checked.
    #[cold]
    fn too_large(&self, sequence: Option<u64>, length: usize) -> Error {
        let sequence = sequence.unwrap_or_else(|| self.last.saturating_add(1));
        let max = self.max_entry_bytes;
        let text = format!(
            "entry {sequence} has {length} bytes, this receiver takes at most {max}: raise it with \
             receiver_config_set_max_entry_bytes()"
        );
        Error::new(Status::MessageTooLarge, text)
    }

    /// The predecessor of a v1 entry, whose sequences are contiguous.
    fn predecessor(&self, sequence: u64, parsed: &mut Parsed) -> Result<u64, Error> {
        if self.last.checked_add(1) != Some(sequence) {
            self.out_of_order(sequence, sequence.saturating_sub(1), parsed)?;
        }
        Ok(sequence.saturating_sub(1))
    }

    #[cold]
    fn out_of_order(&self, sequence: u64, previous: u64, parsed: &mut Parsed) -> Result<(), Error> {
        let last = self.last;
        if sequence <= last {
            return Err(invalid(format!("entry {sequence} came after entry {last}: twice, or out of order")));
        }
        if previous >= sequence || previous < last {
            return Err(invalid(format!("entry {sequence} names {previous} as its predecessor, it came after {last}")));
        }
        if self.gap_policy == GapPolicy::Refuse {
            let text = format!("entries after {last} up to {previous} are missing");
            return Err(Error::new(Status::SequenceGap, text));
        }
        parsed.controls.push(Control::GapPassed { first: last + 1, last: previous });
        Ok(())
    }

    #[cold]
    pub(crate) fn no_memory(&self, bytes: usize) -> Error {
        let next = self.last.saturating_add(1);
        Error::new(Status::OutOfMemory, format!("no memory for {bytes} bytes with the entries from {next} on"))
    }
}

/// The sequence in an entry's header that is there, of an entry that is not.
fn claimed_sequence(entry: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*entry.get(8..16)?.first_chunk()?))
}

/// Bytes of JSON around a payload's base64, at most, in which a peer may have white space and members of its own.
const JSON_BESIDE_PAYLOAD: u64 = 64 << 10;

/// The longest v1 Entry that may have a payload of up to `bytes`.
fn longest_json(bytes: u64) -> u64 {
    bytes.div_ceil(3).saturating_mul(4).saturating_add(JSON_BESIDE_PAYLOAD)
}

/// A frame that is worth asking for memory before it is decoded.
const LARGE_JSON: usize = 256 << 10;

/// Makes room for what an Entry decodes to. Decoding JSON with escapes takes as much again, for which there is no way to
/// ask but beforehand. Fails with the number of bytes that were not there.
fn reserve_for_json(out: &mut Vec<u8>, json: &[u8]) -> Result<(), usize> {
    let room = ENTRY_HEADER_SIZE + json.len() / 4 * 3 + 3;
    out.try_reserve(room).map_err(|_| room)?;
    if json.len() >= LARGE_JSON {
        let scratch = json.len().saturating_mul(2);
        Vec::<u8>::new().try_reserve_exact(scratch).map_err(|_| scratch)?;
    }
    Ok(())
}

fn invalid(text: String) -> Error {
    Error::new(Status::InvalidMsg, text)
}

/// The error that the writer reports in an Error frame.
fn reported(payload: &[u8]) -> Error {
    match message::decode_error(payload) {
        Ok(said) => said.to_error("the writer reports"),
        Err(error) => invalid(format!("bad Error frame: {error}")),
    }
}
