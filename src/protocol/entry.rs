//! One entry, in the form of the log and of v2 batches: a 32-byte header, then the payload.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | CRC-32C over these 32 bytes, with the payload's own CRC-32C in place of this field |
//! | 4 | 4 | payload length in bytes |
//! | 8 | 8 | sequence |
//! | 16 | 8 | sequence of the entry before it, 0 for the first of a lineage |
//! | 24 | 8 | timestamp in microseconds since the Unix epoch, as the host gave it |
//!
//! All numbers are big-endian. The payload's checksum does not depend on the sequence, so a writer computes it before
//! it takes the log's lock.

use super::MAX_MESSAGE_SIZE;
use super::crc::{crc32c, crc32c_of};

/// Bytes of an entry before its payload.
pub const ENTRY_HEADER_SIZE: usize = 32;

/// The longest payload that fits the frames of both protocol versions: v1 carries it as base64 inside JSON.
pub const MAX_PAYLOAD_BYTES: usize = (MAX_MESSAGE_SIZE - 128) / 4 * 3;

/// One entry, borrowed from a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its sequence.
    pub sequence: u64,
    /// The sequence of the entry before it.
    pub previous: u64,
    /// Microseconds since the Unix epoch, as the host gave it.
    pub timestamp_us: u64,
    /// The host's bytes.
    pub payload: &'a [u8],
}

/// A boundary between two entries of a lineage, or the boundary before the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The position: the bytes of all entries before it.
    pub position: u64,
    /// The last entry before it, 0 at the beginning.
    pub sequence: u64,
    /// The chain hash through that entry.
    pub hash: u64,
    /// The timestamp of that entry, 0 if there is none.
    pub timestamp_us: u64,
}

/// Why bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Fewer bytes than the header has, or than it says.
    #[error("entry needs {needed} bytes, {available} are there")]
    Short {
        /// The bytes that the entry needs.
        needed: usize,
        /// The bytes that there are.
        available: usize,
    },
    /// A payload length over the limit.
    #[error("entry {sequence} is too large: {length} bytes, at most {MAX_PAYLOAD_BYTES}")]
    TooLarge {
        /// The sequence in the header.
        sequence: u64,
        /// The length in the header.
        length: usize,
    },
    /// The checksum does not match.
    #[error("entry {sequence} is damaged: CRC-32C is {computed:08x}, its header says {stored:08x}")]
    Damaged {
        /// The sequence in the header.
        sequence: u64,
        /// The checksum of the bytes.
        computed: u32,
        /// The checksum in the header.
        stored: u32,
    },
}

/// The checksum of a payload, which does not depend on the entry's header.
#[inline]
pub fn payload_crc(payload: &[u8]) -> u32 {
    crc32c(payload)
}

/// The checksum of an entry, from its payload's checksum and the other fields of its header.
#[inline]
fn entry_crc(payload_crc: u32, payload_len: usize, sequence: u64, previous: u64, timestamp_us: u64) -> u32 {
    crc32c_of([u64::from(payload_crc) << 32 | payload_len as u64, sequence, previous, timestamp_us])
}

/// The header of an entry whose payload has the checksum `payload_crc`.
#[inline]
pub fn encode_header(
    payload_crc: u32,
    payload_len: usize,
    sequence: u64,
    previous: u64,
    timestamp_us: u64,
) -> [u8; ENTRY_HEADER_SIZE] {
    let crc = entry_crc(payload_crc, payload_len, sequence, previous, timestamp_us);
    let mut header = [0; ENTRY_HEADER_SIZE];
    header[0..4].copy_from_slice(&crc.to_be_bytes());
    header[4..8].copy_from_slice(&(payload_len as u32).to_be_bytes());
    header[8..16].copy_from_slice(&sequence.to_be_bytes());
    header[16..24].copy_from_slice(&previous.to_be_bytes());
    header[24..32].copy_from_slice(&timestamp_us.to_be_bytes());
    header
}

/// The chain hash of an unknown history. It stays unknown with every entry that follows.
pub const UNKNOWN_HISTORY: u64 = 0;

/// The chain hash of an empty history, before the first entry of the stream.
pub fn chain_start(stream_id: &[u8; 16]) -> u64 {
    (be64(stream_id, 0) ^ be64(stream_id, 8)).max(1)
}

/// The chain hash of a history, computed from the hash before its last entry and that entry's header. Two histories
/// with the same hash at the same sequence have the same entries, except with a probability of one in 2^32 or less: the
/// hash covers the checksum and the length of each entry. It does not protect against forgery.
#[inline(always)]
pub fn chain_hash(before: u64, header: &[u8]) -> u64 {
    if before == UNKNOWN_HISTORY {
        return UNKNOWN_HISTORY;
    }
    let product = u128::from(be64(header, 0) ^ 0x9e37_79b9_7f4a_7c15) * u128::from(before ^ 0xd6e8_feb8_6659_fd93);
    (product as u64 ^ (product >> 64) as u64).max(1)
}

#[inline]
fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline]
fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

impl<'a> Entry<'a> {
    /// Reads the entry at the start of `bytes` without verifying its checksum, for bytes that were checked before.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EntryError> {
        if bytes.len() < ENTRY_HEADER_SIZE {
            return Err(EntryError::Short { needed: ENTRY_HEADER_SIZE, available: bytes.len() });
        }
        let (header, rest) = bytes.split_at(ENTRY_HEADER_SIZE);
        let length = be32(header, 4) as usize;
        let sequence = be64(header, 8);
        if length > MAX_PAYLOAD_BYTES {
            return Err(EntryError::TooLarge { sequence, length });
        }
        let Some(payload) = rest.get(..length) else {
            return Err(EntryError::Short { needed: ENTRY_HEADER_SIZE + length, available: bytes.len() });
        };
        Ok(Self { sequence, previous: be64(header, 16), timestamp_us: be64(header, 24), payload })
    }

    /// Reads the entry at the start of `bytes` and checks it.
    #[inline]
    pub fn decode_checked(bytes: &'a [u8]) -> Result<Self, EntryError> {
        let entry = Self::decode(bytes)?;
        let stored = be32(bytes, 0);
        let Entry { sequence, previous, timestamp_us, payload } = entry;
        let computed = entry_crc(payload_crc(payload), payload.len(), sequence, previous, timestamp_us);
        if stored != computed {
            return Err(EntryError::Damaged { sequence: entry.sequence, computed, stored });
        }
        Ok(entry)
    }

    /// Its bytes in the log and on the wire.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        ENTRY_HEADER_SIZE + self.payload.len()
    }

    /// Appends the encoded entry to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let crc = payload_crc(self.payload);
        out.extend_from_slice(&encode_header(crc, self.payload.len(), self.sequence, self.previous, self.timestamp_us));
        out.extend_from_slice(self.payload);
    }
}

/// An iterator over the entries of a run of bytes that was checked before.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    left: usize,
    walked: Walked,
}

/// What an iterator has gone past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// The number of entries.
    pub count: u64,
    /// Their length in bytes.
    pub bytes: usize,
    /// The sequence of the last one.
    pub sequence: u64,
    /// The timestamp of the last one.
    pub timestamp_us: u64,
    /// The chain hash after it, if the one before the run is known.
    pub hash: u64,
}

impl<'a> Entries<'a> {
    /// All entries of `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, left: usize::MAX, walked: Walked::default() }
    }

    /// The same run as the continuation of a history whose chain hash before it is `before`.
    #[inline]
    pub fn with_history(mut self, before: u64) -> Self {
        self.walked.hash = before;
        self
    }

    /// The same run, ended after `count` entries.
    #[inline]
    pub fn limit(self, count: usize) -> Self {
        Self { left: count.min(self.left), ..self }
    }

    /// Moves to the position of `part`, a copy of this run that was iterated over separately.
    #[inline]
    pub fn follow(&mut self, part: Self) {
        let left = self.left - (part.walked.count - self.walked.count) as usize;
        *self = Self { left, ..part };
    }

    /// Whether there are no more entries.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.left == 0 || self.bytes.is_empty()
    }

    /// The bytes of the entries that are left.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// What it has gone past so far.
    #[inline]
    pub fn walked(&self) -> Walked {
        self.walked
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        if self.left == 0 {
            return None;
        }
        let entry = Entry::decode(self.bytes).ok()?;
        let size = entry.encoded_len();
        self.left -= 1;
        self.walked = Walked {
            count: self.walked.count + 1,
            bytes: self.walked.bytes + size,
            sequence: entry.sequence,
            timestamp_us: entry.timestamp_us,
            hash: chain_hash(self.walked.hash, self.bytes),
        };
        self.bytes = &self.bytes[size..];
        Some(entry)
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_described() {
        // The check value of CRC-32C (iSCSI) for "123456789".
        assert_eq!(payload_crc(b"123456789"), 0xe306_9283);
        let mut header = encode_header(0xe306_9283, 9, 2, 1, 3);
        let stored = be32(&header, 0);
        header[0..4].copy_from_slice(&0xe306_9283u32.to_be_bytes());
        assert_eq!(stored, crc_fast::crc32_iscsi(&header));
    }

    /// P7: a history with any other entry, order or length has another hash; an unknown one stays unknown.
    #[test]
    fn p7_the_chain_hash_tells_histories_apart() {
        let hash = |payloads: &[&str]| {
            let mut bytes = Vec::new();
            (1..).zip(payloads).fold(chain_start(&[7; 16]), |before, (sequence, payload)| {
                bytes.clear();
                let payload = payload.as_bytes();
                Entry { sequence, previous: sequence - 1, timestamp_us: 0, payload }.encode_into(&mut bytes);
                chain_hash(before, &bytes)
            })
        };
        let histories = [&[][..], &["a"], &["b"], &["a", "b"], &["b", "a"], &["a", "b", ""], &["ab"]];
        let hashes: std::collections::HashSet<u64> = histories.iter().map(|history| hash(history)).collect();
        assert_eq!(hashes.len(), histories.len());
        assert_eq!(hash(&["a", "b"]), hash(&["a", "b"]));
        assert_eq!(chain_hash(UNKNOWN_HISTORY, &[1; 32]), UNKNOWN_HISTORY);
    }

    /// P8: whatever bit flips, the entry is not taken.
    #[test]
    fn p8_every_flipped_bit_is_found() {
        let mut bytes = Vec::new();
        Entry { sequence: 7, previous: 6, timestamp_us: 9, payload: b"payload" }.encode_into(&mut bytes);
        assert_eq!(Entry::decode_checked(&bytes).unwrap().payload, b"payload");
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Entry::decode_checked(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for end in 0..bytes.len() {
            assert!(matches!(Entry::decode_checked(&bytes[..end]), Err(EntryError::Short { .. })));
        }
    }
}
