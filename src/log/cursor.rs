//! One reader's cursor in the log.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::buffer::CursorState;
use super::chunk::ChunkRef;
use super::disk::FileRange;
use super::{Log, Mark};
use crate::error::Error;

/// A reader's position in the log. The log counts the entries after it as needed until the cursor is dropped.
pub struct Cursor {
    log: Arc<Log>,
    state: Arc<CursorState>,
    start: Mark,
    position: u64,
}

/// What lies after a cursor.
pub enum Next {
    /// Bytes in memory that can be sent.
    Ready(MemoryRange),
    /// Bytes on disk that can be sent.
    Stored(FileRange),
    /// Nothing yet.
    AtEnd,
    /// The bytes after the cursor are gone.
    CutOff,
    /// The disk failed.
    Failed(Error),
}

/// A range of the log in memory. Hold it for one write only, never while waiting: it keeps its chunk's memory from
/// being reused.
pub struct MemoryRange {
    chunk: ChunkRef,
    range: Range<usize>,
}

impl MemoryRange {
    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.chunk.bytes()[self.range.clone()]
    }
}

impl Cursor {
    pub(super) fn new(log: Arc<Log>, state: Arc<CursorState>, start: Mark) -> Self {
        Self { log, state, start, position: start.position }
    }

    /// The boundary at which it was placed.
    pub fn start(&self) -> Mark {
        self.start
    }

    /// The position in bytes since the log began.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The longest contiguous range after the cursor. If the cursor is at a boundary between entries, it is whole
    /// entries.
    pub fn next(&self) -> Next {
        if self.is_cut_off() {
            return Next::CutOff;
        }
        let shown = self.log.end();
        if shown <= self.position {
            return Next::AtEnd;
        }
        let Some((chunk, start)) = self.log.memory.buffer.lock().chunk_at(self.position) else {
            return self.stored(shown);
        };
        let end = chunk.bytes().len().min(start.saturating_add((shown - self.position) as usize));
        if start < end { Next::Ready(MemoryRange { chunk, range: start..end }) } else { Next::AtEnd }
    }

    /// The same from disk, for entries that memory no longer has.
    #[cold]
    fn stored(&self, shown: u64) -> Next {
        match self.log.storage.as_ref().map(|storage| storage.file_range(self.position, shown)) {
            Some(Ok(Some(range))) => Next::Stored(range),
            Some(Err(error)) => Next::Failed(error),
            Some(Ok(None)) | None => Next::CutOff,
        }
    }

    /// Moves the cursor forward by `bytes`.
    pub fn advance(&mut self, bytes: usize) {
        self.position += bytes as u64;
        self.state.position.store(self.position, Ordering::SeqCst);
        self.log.memory.passed(self.position);
    }

    /// Whether the log has evicted, or may evict, entries that this cursor needs.
    pub fn is_cut_off(&self) -> bool {
        self.state.cut_off.load(Ordering::Relaxed)
    }

    /// Holds no entries back from now on: where appends wait for the slowest cursor or are refused, it is cut off.
    pub fn give_way(&self) {
        self.state.holds.store(false, Ordering::Relaxed);
        self.log.memory.passed(u64::MAX);
    }

    /// Releases the entries after this cursor. The cursor is cut off from then on.
    pub fn release(&self) {
        self.state.cut_off.store(true, Ordering::Relaxed);
        self.log.memory.buffer.lock().unregister(&self.state);
        self.log.memory.passed(u64::MAX);
    }

    /// A handle that resolves when this cursor is cut off.
    pub fn watch(&self) -> CutWatch {
        CutWatch(Arc::clone(&self.state))
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.release();
    }
}

/// Waits until a cursor is cut off.
pub struct CutWatch(Arc<CursorState>);

impl CutWatch {
    /// Resolves when the cursor is cut off.
    pub async fn cut(&self) {
        if !self.0.cut_off.load(Ordering::Relaxed) {
            self.0.cut.notified().await;
        }
    }
}
