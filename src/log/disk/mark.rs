//! The form on disk of a boundary between two entries, and the rule by which entries follow one another.

use crate::protocol::entry::{ENTRY_HEADER_SIZE, Entry, chain_hash};

pub use crate::protocol::entry::Mark;

/// Bytes of a mark on disk.
pub(super) const MARK_BYTES: usize = 32;

impl Mark {
    /// The last position at which a segment may begin. No log grows so far, and sums with later positions cannot
    /// overflow.
    pub(super) const MAX_POSITION: u64 = u64::MAX >> 1;

    /// The mark after the entry at the start of `bytes`, whose checksum was checked, or why it does not follow.
    pub(super) fn after(&self, entry: &Entry<'_>, bytes: &[u8]) -> Result<Mark, String> {
        let Entry { sequence, previous, timestamp_us, .. } = *entry;
        if previous != self.sequence {
            return Err(format!(
                "entry {sequence} says that it follows entry {previous}, but stands after entry {}",
                self.sequence
            ));
        }
        if sequence <= previous {
            return Err(format!("entry {sequence} stands after entry {previous}; sequences rise"));
        }
        let Some(position) = self.position.checked_add(entry.encoded_len() as u64) else {
            return Err(format!("entry {sequence} ends past the last possible position"));
        };
        Ok(Mark { position, sequence, hash: chain_hash(self.hash, &bytes[..ENTRY_HEADER_SIZE]), timestamp_us })
    }

    /// The mark's 32 bytes.
    pub(super) fn encode(&self) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        for (field, value) in
            bytes.chunks_exact_mut(8).zip([self.position, self.sequence, self.hash, self.timestamp_us])
        {
            field.copy_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    /// The mark in 32 bytes whose checksum was checked.
    pub(super) fn decode(bytes: &[u8]) -> Mark {
        let field = |n: usize| be64(bytes, n * 8);
        Mark { position: field(0), sequence: field(1), hash: field(2), timestamp_us: field(3) }
    }
}

/// The big-endian number at `at`. The caller has made sure that there are enough bytes.
pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The big-endian number at `at`. The caller has made sure that there are enough bytes.
pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}
