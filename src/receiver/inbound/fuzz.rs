//! The fuzzer's target for what a receiver gets after the handshake. Input: flags, how the stream is cut into pieces,
//! how much of it came with the handshake, then the stream.

use super::*;
use crate::engine::reader::stream::Control;
use crate::error::Status;
use crate::fuzzing::pieces;
use crate::protocol::control::TYPE_BATCH;
use crate::protocol::entry::{
    ENTRY_HEADER_SIZE, Entries, Entry, MAX_PAYLOAD_BYTES, UNKNOWN_HISTORY, chain_hash, encode_header, payload_crc,
};
use crate::protocol::{HEADER_SIZE, MAX_MESSAGE_SIZE, frame};

/// Speak v1, and as the coordinator does.
const V1: u8 = 1;
const COORDINATOR: u8 = 2;
/// Go on after gaps.
const CONTINUE: u8 = 4;
/// Take checksums as they are; otherwise those of entries are made right.
const AS_IS: u8 = 8;
/// Let each entry follow the one before it.
const LINK: u8 = 16;
/// Let no frame and no entry reach past the end of the stream.
const CLAMP: u8 = 32;
/// Begin shortly before the last sequence of all.
const NEAR_END: u8 = 64;
/// Begin where the history is unknown.
const UNKNOWN: u8 = 128;

/// The smallest buffer that a receiver may have, so that blocks run full.
const BUFFER_BYTES: u64 = 64 << 10;

/// A stream gives the same entries, controls and verdict however it arrives; entries follow one another, from where the
/// connection began to where it says that it is; and memory grows with what has arrived.
pub fn inbound(data: &[u8]) -> bool {
    let [flags, seed, with_handshake, stream @ ..] = data else { return false };
    let version = match flags & V1 {
        0 => WireVersion::V2,
        _ => WireVersion::V1 { coordinator: flags & COORDINATOR != 0 },
    };
    let policy = if flags & CONTINUE == 0 { GapPolicy::Refuse } else { GapPolicy::Continue };
    let before = Before {
        epoch: 3,
        sequence: if flags & NEAR_END == 0 { 0 } else { u64::MAX - 3 },
        hash: if flags & UNKNOWN == 0 { 7 } else { UNKNOWN_HISTORY },
    };
    let mut stream = stream.to_vec();
    if version == WireVersion::V2 {
        repair(&mut stream, *flags, before.sequence);
    }
    let (with_handshake, rest) = stream.split_at(usize::from(*with_handshake).min(stream.len()));
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut run = Run::new(version, policy, before, with_handshake);
        for piece in pieces {
            if !run.take(piece) {
                break;
            }
        }
        run
    };
    let whole = run(&mut std::iter::once(rest));
    let in_pieces = run(&mut pieces(rest, *seed));
    assert!(whole.entries == in_pieces.entries, "{:?}\n{:?}", whole.entries, in_pieces.entries);
    assert_eq!(whole.controls, in_pieces.controls);
    assert_eq!(whole.refused, in_pieces.refused);
    assert_eq!(whole.inbound.before(), in_pieces.inbound.before());
    assert_eq!(whole.inbound.is_unfinished(), in_pieces.inbound.is_unfinished());
    whole.refused.is_none() && !whole.inbound.is_unfinished() && !whole.entries.is_empty()
}

/// One connection.
struct Run {
    inbound: Inbound,
    policy: GapPolicy,
    /// After the last entry that was delivered.
    at: Before,
    entries: Vec<(u64, u64, Vec<u8>)>,
    controls: Vec<Control>,
    refused: Option<Status>,
    received: usize,
}

impl Run {
    fn new(version: WireVersion, policy: GapPolicy, before: Before, with_handshake: &[u8]) -> Self {
        let mut inbound = Inbound::new(BUFFER_BYTES, MAX_PAYLOAD_BYTES as u64, policy);
        inbound.begin(version, before, with_handshake).expect("memory");
        let received = with_handshake.len();
        let (entries, controls, refused) = (Vec::new(), Vec::new(), None);
        let mut run = Self { inbound, policy, at: before, entries, controls, refused, received };
        run.parse();
        run
    }

    /// Receives a piece. `false`: the connection is over.
    fn take(&mut self, mut piece: &[u8]) -> bool {
        while self.refused.is_none() && !piece.is_empty() {
            let mut spare = self.inbound.spare().expect("memory").expect("room, as nothing is held");
            let count = spare.remaining_mut().min(piece.len());
            assert!(count > 0, "no room, though nothing is held");
            spare.put_slice(&piece[..count]);
            self.received += count;
            piece = &piece[count..];
            let (held, block) = (self.inbound.block.capacity(), self.inbound.block_bytes);
            assert!(held <= 2 * self.received.max(block), "{held} bytes for {}", self.received);
            self.parse();
        }
        self.refused.is_none()
    }

    fn parse(&mut self) {
        loop {
            let (parsed, delivery) = self.inbound.parse();
            assert_eq!(parsed.entries > 0, delivery.is_some());
            self.controls.extend(parsed.controls);
            let count = delivery.map_or(0, |delivery| self.apply(delivery));
            assert_eq!(count, parsed.entries);
            // Whatever was refused, what came before it counts and nothing else does.
            let now = self.inbound.before();
            assert_eq!((now.epoch, now.sequence), (self.at.epoch, self.at.sequence));
            if now.hash != UNKNOWN_HISTORY {
                assert_eq!(now.hash, self.at.hash);
            }
            if let Some(error) = parsed.error {
                assert!(!error.message.is_empty() && error.status != Status::Ok);
                self.refused = Some(error.status);
                return;
            }
            if !parsed.full {
                return;
            }
        }
    }

    fn apply(&mut self, mut delivery: Delivery) -> u64 {
        let before = delivery.before();
        assert_eq!((before.epoch, before.sequence), (self.at.epoch, self.at.sequence));
        assert!(before.hash == UNKNOWN_HISTORY || before.hash == self.at.hash, "{before:?} is not {:?}", self.at);
        let begun = self.entries.len();
        loop {
            let mut entries = Entries::new(delivery.entries());
            let all = entries.rest().len();
            if all == 0 {
                return (self.entries.len() - begun) as u64;
            }
            for entry in entries.by_ref() {
                self.follow(&entry);
            }
            let taken = all - entries.rest().len();
            assert!(taken > 0, "entries that were delivered are whole");
            delivery.advance(taken);
        }
    }

    fn follow(&mut self, entry: &Entry<'_>) {
        let Entry { sequence, previous, timestamp_us, payload } = *entry;
        let last = self.at.sequence;
        assert!(sequence > last, "entry {sequence} after {last}");
        assert!(previous == last || self.policy == GapPolicy::Continue && previous > last, "a gap before {sequence}");
        assert!(previous < sequence);
        let header = encode_header(payload_crc(payload), payload.len(), sequence, previous, timestamp_us);
        self.at.hash = if previous == last { chain_hash(self.at.hash, &header) } else { UNKNOWN_HISTORY };
        self.at.sequence = sequence;
        self.entries.push((sequence, timestamp_us, payload.to_vec()));
    }
}

/// Makes right what a fuzzer cannot guess.
fn repair(stream: &mut [u8], flags: u8, mut last: u64) {
    let mut at = 0;
    while let Some(left) = stream.len().checked_sub(at).filter(|left| *left >= HEADER_SIZE) {
        if flags & CLAMP != 0 {
            clamp(&mut stream[at..at + 4], left - 4);
        }
        let Ok(Some(header)) = frame::decode_header(&stream[at..], MAX_MESSAGE_SIZE) else { return };
        at += HEADER_SIZE;
        let end = stream.len().min(at + header.payload_len);
        if header.kind == TYPE_BATCH {
            repair_entries(&mut stream[at..end], flags, &mut last);
        }
        at = end;
    }
}

fn repair_entries(mut bytes: &mut [u8], flags: u8, last: &mut u64) {
    while let Some(room) = bytes.len().checked_sub(ENTRY_HEADER_SIZE) {
        if flags & CLAMP != 0 {
            clamp(&mut bytes[4..8], room);
        }
        if flags & LINK != 0 {
            bytes[16..24].copy_from_slice(&last.to_be_bytes());
            bytes[8..16].copy_from_slice(&last.saturating_add(1).to_be_bytes());
        }
        let Ok(Entry { sequence, previous, timestamp_us, payload }) = Entry::decode(bytes) else { return };
        let size = ENTRY_HEADER_SIZE + payload.len();
        if flags & AS_IS == 0 {
            let header = encode_header(payload_crc(payload), payload.len(), sequence, previous, timestamp_us);
            bytes[..ENTRY_HEADER_SIZE].copy_from_slice(&header);
        }
        *last = sequence;
        bytes = &mut bytes[size..];
    }
}

/// Lets the length in `field` be at most `most`.
fn clamp(field: &mut [u8], most: usize) {
    let length = field.iter().fold(0, |value, byte| value << 8 | usize::from(*byte));
    field.copy_from_slice(&(length.min(most) as u32).to_be_bytes());
}
