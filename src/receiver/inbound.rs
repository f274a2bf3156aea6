//! From bytes off the socket to runs of checked entries.
//!
//! Bytes are read into blocks and stay there until the handler has seen them: a v2 entry is never copied on its way.
//! v1 entries are decoded from their JSON into the same shape.

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::config::GapPolicy;
use super::delivery::{Before, Delivery};
use crate::clock::Now;
use crate::engine::version::WireVersion;
use crate::error::{Error, Status};
use crate::protocol::control::{AckRequest, Heartbeat, TYPE_ACK_REQUEST, TYPE_BATCH, TYPE_HEARTBEAT, is_optional};
use crate::protocol::entry::{
    ENTRY_HEADER_SIZE, Entry, EntryError, UNKNOWN_HISTORY, chain_hash, encode_header, payload_crc,
};
use crate::protocol::frame::{self, TYPE_ENTRY, TYPE_ERROR, TYPE_SYNC_ACK};
use crate::protocol::{HEADER_SIZE, MAX_HANDSHAKE_BYTES, MAX_MESSAGE_SIZE, message};

/// The usual size of a block: a little more than four times what a writer of this library sends at once. TCP answers each
/// read, and within a host sends what the answer makes room for in the reader's time: the fewer reads, the better.
const BLOCK_BYTES: usize = 4 * 264 * 1024;

/// The size at which a delivery takes no further entry. It is stored as a whole before any of it is applied, and only what
/// is applied makes room on a disk that is full.
const DELIVERY_BYTES: usize = 256 * 1024;

/// What a parse found, besides entries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Control {
    Heartbeat(Heartbeat),
    AckRequest(AckRequest),
    /// Entries are missing up to and including this sequence, and the policy is to go on.
    HolePassed {
        first: u64,
        last: u64,
    },
}

/// What a parse gave. Entries and controls before an error are good.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) delivery: Option<Delivery>,
    pub(super) entries: u64,
    pub(super) controls: Vec<Control>,
    pub(super) error: Option<Error>,
    /// As much was looked at as a delivery may hold: more may lie here.
    pub(super) full: bool,
}

/// The receiving side of a connection.
pub(super) struct Inbound {
    block: BytesMut,
    /// Blocks whose entries may still be with the handler.
    retired: Vec<BytesMut>,
    block_size: usize,
    block_bytes: usize,
    max_blocks: usize,
    /// Bytes the element at the front of the block takes, as far as known.
    needed: usize,
    batch_left: usize,
    version: WireVersion,
    gap_policy: GapPolicy,
    /// The largest payload that is taken.
    max_entry_bytes: u64,
    /// The last sequence that was received.
    last: u64,
    /// The chain hash of what was received.
    hash: u64,
    /// The writer's epoch.
    epoch: u64,
    /// When the last bytes came.
    received: Now,
}

impl Inbound {
    /// Blocks for about `buffer_bytes`, used by one connection after the other.
    pub(super) fn new(buffer_bytes: u64, max_entry_bytes: u64, gap_policy: GapPolicy) -> Self {
        let block_bytes = usize::try_from(buffer_bytes / 4).unwrap_or(usize::MAX).clamp(4096, BLOCK_BYTES);
        Self {
            block: BytesMut::new(),
            retired: Vec::new(),
            block_size: block_bytes,
            block_bytes,
            max_blocks: usize::try_from(buffer_bytes).unwrap_or(usize::MAX) / block_bytes,
            needed: 0,
            batch_left: 0,
            version: WireVersion::V2,
            gap_policy,
            max_entry_bytes,
            last: 0,
            hash: UNKNOWN_HISTORY,
            epoch: 0,
            received: Now::default(),
        }
    }

    /// What comes is received now.
    pub(super) fn receives_at(&mut self, now: Now) {
        self.received = now;
    }

    /// Begins a new connection's stream at `before`; `rest` came with the handshake. Fails without memory.
    pub(super) fn begin(&mut self, version: WireVersion, before: Before, rest: &[u8]) -> Result<(), Error> {
        (self.version, self.batch_left, self.needed) = (version, 0, 0);
        (self.epoch, self.last, self.hash) = (before.epoch, before.sequence, before.hash);
        self.block.clear();
        if self.spare()?.is_none() {
            (self.block, self.block_size) = (self.new_block(self.block_bytes)?, self.block_bytes);
        }
        self.block.extend_from_slice(rest);
        Ok(())
    }

    /// Free space to receive into; `None` while the handler still has all blocks. Fails without memory for more.
    pub(super) fn spare(&mut self) -> Result<Option<Limit<&mut BytesMut>>, Error> {
        let free = self.block.capacity() - self.block.len();
        let missing = self.needed.saturating_sub(self.block.len());
        // A usual element moves to a block that holds all of it, before it grows; a larger one when it must.
        let wanted = if self.needed <= self.block_bytes { missing.max(self.block_bytes / 16) } else { 1 };
        if free < wanted && !self.next_block()? {
            return Ok(None);
        }
        let free = self.block.capacity() - self.block.len();
        Ok(Some((&mut self.block).limit(free)))
    }

    /// Memory of which a writer decides how much is needed: having none ends the connection, not the process.
    fn new_block(&self, size: usize) -> Result<BytesMut, Error> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(size).map_err(|_| self.no_memory(size))?;
        // The same memory, which nobody else holds.
        Ok(BytesMut::from(Bytes::from(memory)))
    }

    #[cold]
    fn no_memory(&self, bytes: usize) -> Error {
        let next = self.last.saturating_add(1);
        Error::new(Status::OutOfMemory, format!("no memory for {bytes} bytes with the entries from {next} on"))
    }

    /// Goes on in another block, taking the unfinished element along. `false`: none is free.
    fn next_block(&mut self) -> Result<bool, Error> {
        // A large element's block grows with what has really arrived, whatever its header says.
        let size = self.needed.min(self.block.len() * 2).max(self.block_bytes);
        let usual = size == self.block_bytes;
        let reclaimed = self.retired.iter_mut().rposition(|block| usual && block.try_reclaim(size));
        let mut next = match reclaimed {
            Some(index) => self.retired.remove(index),
            None if usual && self.retired.len() >= self.max_blocks => return Ok(false),
            None => self.new_block(size)?,
        };
        next.extend_from_slice(&self.block);
        let mut full = std::mem::replace(&mut self.block, next);
        if self.block_size == self.block_bytes {
            full.clear();
            self.retired.push(full);
        }
        self.block_size = size;
        Ok(true)
    }

    /// Takes out whole, good entries of what was received: all, unless the delivery becomes full.
    pub(super) fn parse(&mut self) -> Parsed {
        match self.version {
            WireVersion::V2 => self.parse_v2(),
            WireVersion::V1 { coordinator } => self.parse_v1(coordinator),
        }
    }

    fn parse_v2(&mut self) -> Parsed {
        let mut parsed = Parsed::default();
        let (batch_left, before) = (self.batch_left, self.before());
        let mut at = 0;
        while at < DELIVERY_BYTES {
            match self.step_v2(at, &mut parsed) {
                Ok(0) => break,
                Ok(taken) => at += taken,
                Err(error) => {
                    parsed.error = Some(error);
                    break;
                }
            }
        }
        parsed.full = at >= DELIVERY_BYTES;
        let bytes = self.block.split_to(at).freeze();
        let before = self.known_before(before);
        if parsed.entries > 0 {
            parsed.delivery = Some(Delivery::of_frames(bytes, batch_left, before, self.received));
        }
        parsed
    }

    /// Checks what lies at `at`: an entry, a batch's header or another frame. Returns its size, or 0 when it is not
    /// whole yet.
    #[inline]
    fn step_v2(&mut self, at: usize, parsed: &mut Parsed) -> Result<usize, Error> {
        let bytes = &self.block[at..];
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

    fn parse_v1(&mut self, coordinator: bool) -> Parsed {
        let mut parsed = Parsed::default();
        let before = self.before();
        let mut entries = Vec::new();
        while entries.len() < DELIVERY_BYTES {
            match self.step_v1(coordinator, &mut entries, &mut parsed) {
                Ok(0) => break,
                Ok(taken) => self.block.advance(taken),
                Err(error) => {
                    parsed.error = Some(error);
                    break;
                }
            }
        }
        parsed.full = entries.len() >= DELIVERY_BYTES;
        if parsed.entries > 0 {
            let before = self.known_before(before);
            parsed.delivery = Some(Delivery::of_entries(entries.into(), before, self.received));
        }
        parsed
    }

    /// Decodes the frame at the front. Returns its size, or 0 when it is not whole yet.
    fn step_v1(&mut self, coordinator: bool, out: &mut Vec<u8>, parsed: &mut Parsed) -> Result<usize, Error> {
        let header = frame::decode_header(&self.block, MAX_MESSAGE_SIZE).map_err(|e| invalid(e.to_string()))?;
        let Some(header) = header else {
            self.needed = HEADER_SIZE;
            return Ok(0);
        };
        let size = HEADER_SIZE + header.payload_len;
        if header.kind == TYPE_ENTRY && header.payload_len as u64 > longest_json(self.max_entry_bytes) {
            return Err(self.too_large(None, header.payload_len / 4 * 3));
        }
        let Some(payload) = self.block.get(HEADER_SIZE..size) else {
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
                    .and_then(|fields| self.follow(fields.sequence, parsed).map(|previous| (fields, previous)));
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
    fn follow(&self, sequence: u64, parsed: &mut Parsed) -> Result<u64, Error> {
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
        parsed.controls.push(Control::HolePassed { first: last + 1, last: previous });
        Ok(())
    }

    /// Where it is: the last sequence that was received, and the history up to it.
    pub(super) fn before(&self) -> Before {
        Before { epoch: self.epoch, sequence: self.last, hash: self.hash }
    }

    /// What lay before entries that were received since: where the history behind them is unknown because some are missing, it
    /// counts as unknown before them too.
    fn known_before(&self, before: Before) -> Before {
        if self.hash == UNKNOWN_HISTORY { Before { hash: UNKNOWN_HISTORY, ..before } } else { before }
    }

    /// Whether something unfinished lies here.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.block.is_empty() || self.batch_left > 0
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

#[cfg(all(any(test, feature = "fuzzing"), not(model)))]
pub(crate) mod fuzz;
#[cfg(all(test, not(model)))]
mod tests;
