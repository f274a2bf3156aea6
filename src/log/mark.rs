//! A place between two entries of a log.

use crate::protocol::entry::{ENTRY_HEADER_SIZE, Entry, chain_hash};

/// A boundary between two entries: where it lies, and what is known of the last entry before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Bytes of entries before it, since the log of the lineage began.
    pub position: u64,
    /// The sequence of the last entry before it.
    pub sequence: u64,
    /// The chain hash of all entries before it; 0 when unknown.
    pub hash: u64,
    /// The timestamp of the last entry before it, in microseconds since the Unix epoch; 0 when unknown.
    pub timestamp_us: u64,
}

impl Mark {
    /// The boundary behind `entry`, which begins at this one; `bytes` are the encoded entry's.
    #[inline]
    pub fn behind(&self, entry: &Entry<'_>, bytes: &[u8]) -> Self {
        Self {
            position: self.position + entry.encoded_len() as u64,
            sequence: entry.sequence,
            hash: chain_hash(self.hash, &bytes[..ENTRY_HEADER_SIZE]),
            timestamp_us: entry.timestamp_us,
        }
    }
}
