//! The part of the log in memory: its chunks, oldest first, and the position of each cursor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::Mark;
use super::chunk::{ChunkRef, ChunkWriter, Memory};
use crate::error::Error;
use crate::protocol::entry::{ENTRY_HEADER_SIZE, Entries, Entry, chain_hash};

/// The usual size of a chunk, and so the most that one write to a socket carries. Four entries of 64 KiB fit, with
/// headers.
const CHUNK_BYTES: u64 = 264 * 1024;

/// The fewest chunks in a full buffer. Evicting one gives up this fraction of the buffer.
const MIN_CHUNKS: u64 = 16;

/// The most chunks for which a waiting append waits to have room.
const SEVERAL: usize = 8;

/// A cursor's position, from which the buffer knows which chunks it may evict.
#[derive(Debug)]
pub(super) struct CursorState {
    pub(super) position: AtomicU64,
    /// It may hold entries back where appends wait or are refused.
    pub(super) holds: AtomicBool,
    pub(super) cut_off: AtomicBool,
    pub(super) cut: Notify,
}

/// A chunk of the buffer, and which part of the log it holds.
struct BufferedChunk {
    data: ChunkRef,
    /// The position of its first byte.
    base: u64,
    /// The sequence before its first entry.
    previous: u64,
    /// The chain hash before its first entry.
    hash: u64,
}

/// How full the buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Entries in memory.
    pub entries: u64,
    /// Bytes of memory in chunks.
    pub bytes: u64,
    /// The sequence before the oldest entry in memory.
    pub oldest_known: u64,
}

/// Why a cursor cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// The entries after it are gone. A reader that has `oldest_known` or a later entry could continue.
    Gone {
        /// The sequence before the oldest entry of the log.
        oldest_known: u64,
    },
    /// The log ends before it.
    Ahead {
        /// The sequence of the last entry.
        last: u64,
    },
    /// The log on disk could not be read.
    Failed(Error),
}

/// Which chunks may not be evicted to make room.
#[derive(Clone, Copy)]
pub(super) enum Retain {
    /// None: cursors that need an evicted chunk are cut off.
    Nothing,
    /// Those that a cursor still needs which holds entries back. Others are cut off.
    Cursors,
    /// Those with entries after this position.
    Until(u64),
}

/// Why there is no new chunk.
pub(super) enum NoRoom {
    /// The oldest chunk is needed until everything passes `until`. Past `plenty` there is room for several chunks.
    Held { until: u64, plenty: u64 },
    /// The allocator refused.
    NoMemory { bytes: usize },
}

pub(super) struct Buffer {
    chunks: VecDeque<BufferedChunk>,
    cursors: Vec<Arc<CursorState>>,
    spare: Vec<Memory>,
    max_entries: usize,
    max_bytes: u64,
    chunk_bytes: u64,
    chunk_entries: usize,
    /// Capacity of all chunks.
    bytes: u64,
    /// The sequence before the oldest retained entry.
    oldest_known: u64,
}

impl Buffer {
    pub(super) fn new(max_entries: usize, max_bytes: u64, last_sequence: u64) -> Self {
        Self {
            chunks: VecDeque::new(),
            cursors: Vec::new(),
            spare: Vec::new(),
            max_entries,
            max_bytes,
            chunk_bytes: (max_bytes / MIN_CHUNKS).clamp(ENTRY_HEADER_SIZE as u64, CHUNK_BYTES),
            chunk_entries: max_entries.div_ceil(MIN_CHUNKS as usize),
            bytes: 0,
            oldest_known: last_sequence,
        }
    }

    /// Adds a chunk at `end` for at least `size` bytes and `count` entries, and evicts the oldest chunks if it must.
    /// Returns the chunk's writer and how many entries it may take.
    pub(super) fn open_chunk(
        &mut self,
        size: usize,
        count: usize,
        end: &Mark,
        hold: Retain,
    ) -> Result<(ChunkWriter, usize), NoRoom> {
        let last_sequence = end.sequence;
        let capacity = self.chunk_bytes.max(size as u64);
        // Room for as many entries as the last chunk took: with large entries a chunk is full long before its share.
        let last_took =
            self.chunks.back().map_or(self.chunk_entries, |chunk| (last_sequence - chunk.previous) as usize);
        let reserve = count.max(last_took.clamp(1, self.chunk_entries)) as u64;
        while let Some(oldest) = self.chunks.front() {
            let retained = last_sequence - oldest.previous;
            if self.bytes + capacity <= self.max_bytes && retained + reserve <= self.max_entries as u64 {
                break;
            }
            let (until, known) =
                self.chunks.get(1).map_or((end.position, last_sequence), |next| (next.base, next.previous));
            let held_from = match hold {
                Retain::Nothing => u64::MAX,
                Retain::Cursors => self.slowest(),
                Retain::Until(position) => position,
            };
            if held_from < until {
                let several = self.chunks.len().div_ceil(4).min(SEVERAL);
                let plenty = self.chunks.get(several).map_or(until, |chunk| chunk.base.max(until));
                return Err(NoRoom::Held { until, plenty });
            }
            if matches!(hold, Retain::Nothing | Retain::Cursors) {
                self.cut_off_before(until);
            }
            self.evict(known);
        }
        let without = || NoRoom::NoMemory { bytes: capacity as usize };
        let fitting = self.spare.iter().position(|memory| memory.capacity() as u64 == capacity);
        let memory = match fitting {
            Some(index) => self.spare.swap_remove(index),
            None => {
                self.spare.clear();
                Memory::new(capacity as usize).ok_or_else(without)?
            }
        };
        self.chunks.try_reserve(1).map_err(|_| without())?;
        let (writer, chunk) = ChunkWriter::new(memory).ok_or_else(without)?;
        let retained = self.chunks.front().map_or(0, |oldest| last_sequence - oldest.previous) as usize;
        let quota = self.chunk_entries.max(count).min(self.max_entries - retained);
        self.bytes += capacity;
        self.chunks.push_back(BufferedChunk {
            data: chunk,
            base: end.position,
            previous: last_sequence,
            hash: end.hash,
        });
        Ok((writer, quota))
    }

    fn evict(&mut self, oldest_known: u64) {
        self.oldest_known = oldest_known;
        let Some(chunk) = self.chunks.pop_front() else { return };
        self.bytes -= chunk.data.capacity() as u64;
        // While a reader sends from the chunk it cannot be reused: then its memory is freed after the send.
        if let (Some(chunk), Ok(())) = (chunk.data.into_inner(), self.spare.try_reserve(1)) {
            self.spare.push(chunk.into_memory());
        }
    }

    /// The lowest position of all cursors that hold entries back and are not cut off.
    pub(super) fn slowest(&self) -> u64 {
        let holds = |cursor: &&Arc<CursorState>| {
            cursor.holds.load(Ordering::Relaxed) && !cursor.cut_off.load(Ordering::Relaxed)
        };
        let cursors = self.cursors.iter().filter(holds);
        cursors.map(|cursor| cursor.position.load(Ordering::SeqCst)).min().unwrap_or(u64::MAX)
    }

    fn cut_off_before(&self, position: u64) {
        for cursor in &self.cursors {
            if cursor.position.load(Ordering::SeqCst) < position && !cursor.cut_off.swap(true, Ordering::Relaxed) {
                cursor.cut.notify_one();
            }
        }
    }

    /// The boundary after the entry `last_known`, in a log that ends at `end`.
    pub(super) fn locate(&self, last_known: u64, end: Mark) -> Result<Mark, AttachError> {
        if last_known < self.oldest_known {
            return Err(AttachError::Gone { oldest_known: self.oldest_known });
        }
        let Some(chunk) = self.chunk_after(last_known) else {
            return if last_known == end.sequence { Ok(end) } else { Err(AttachError::Ahead { last: end.sequence }) };
        };
        let mut at = Mark { position: chunk.base, sequence: chunk.previous, hash: chunk.hash, timestamp_us: 0 };
        let mut entries = Entries::new(chunk.data.bytes());
        while at.sequence < last_known {
            let bytes = entries.rest();
            let Some(entry) = entries.next() else { return Err(AttachError::Ahead { last: end.sequence }) };
            let position = at.position + entry.encoded_len() as u64;
            at = Mark {
                position,
                sequence: entry.sequence,
                hash: chain_hash(at.hash, bytes),
                timestamp_us: entry.timestamp_us,
            };
        }
        Ok(at)
    }

    /// The last chunk that begins at or before the entry after `sequence`.
    fn chunk_after(&self, sequence: u64) -> Option<&BufferedChunk> {
        let after = self.chunks.partition_point(|chunk| chunk.previous <= sequence);
        self.chunks.get(after.checked_sub(1)?)
    }

    pub(super) fn register(&mut self, position: u64) -> Arc<CursorState> {
        let cursor = Arc::new(CursorState {
            position: position.into(),
            holds: AtomicBool::new(true),
            cut_off: AtomicBool::new(false),
            cut: Notify::new(),
        });
        self.cursors.push(Arc::clone(&cursor));
        cursor
    }

    pub(super) fn unregister(&mut self, cursor: &Arc<CursorState>) {
        self.cursors.retain(|other| !Arc::ptr_eq(other, cursor));
    }

    /// The chunk that holds `position`, and the offset in it; `None` when it is gone or not there yet.
    pub(super) fn chunk_at(&self, position: u64) -> Option<(ChunkRef, usize)> {
        let after = self.chunks.partition_point(|chunk| chunk.base <= position);
        let chunk = self.chunks.get(after.checked_sub(1)?)?;
        Some((chunk.data.clone(), (position - chunk.base) as usize))
    }

    /// Memory of the chunks from the one that holds `position` to the newest.
    pub(super) fn bytes_from(&self, position: u64) -> u64 {
        let first = self.chunks.partition_point(|chunk| chunk.base <= position).saturating_sub(1);
        self.chunks.range(first..).map(|chunk| chunk.data.capacity() as u64).sum()
    }

    pub(super) fn occupancy(&self, last_sequence: u64) -> Occupancy {
        Occupancy { entries: last_sequence - self.oldest_known, bytes: self.bytes, oldest_known: self.oldest_known }
    }

    pub(super) fn timestamp_after(&self, sequence: u64) -> Option<u64> {
        let chunk = self.chunk_after(sequence.max(self.oldest_known))?;
        Entries::new(chunk.data.bytes()).find(|entry| entry.sequence > sequence).map(|entry| entry.timestamp_us)
    }

    /// The sequence before `position`, in a log that ends at `end`.
    pub(super) fn sequence_before(&self, position: u64, end: &Mark) -> Option<u64> {
        if self.chunks.is_empty() {
            // A stored log that was just opened has all of its entries on disk.
            return (position >= end.position).then_some(end.sequence);
        }
        let (chunk, offset) = self.chunk_at(position)?;
        Some(match chunk.bytes().get(offset..).map(Entry::decode) {
            Some(Ok(entry)) => entry.previous,
            _ => {
                let next = self.chunks.partition_point(|chunk| chunk.base <= position);
                self.chunks.get(next).map_or(end.sequence, |chunk| chunk.previous)
            }
        })
    }
}
