//! One reader's cursor in the log.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::chunk::ChunkRef;
use super::disk::FileRange;
use super::window::CursorState;
use super::{Log, Mark};
use crate::error::Error;

/// A reader's cursor. While it lives, the log knows what the reader still needs; dropping it lets go.
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

/// A range of the log that stays where it is while this lives. Hold it for one write, not while waiting: it keeps
/// its chunk's memory from being used again.
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

    /// Where it was placed.
    pub fn start(&self) -> Mark {
        self.start
    }

    /// The position in bytes since the log began.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The longest range after the cursor that lies in one piece. From an entry's boundary it holds whole entries.
    pub fn next(&self) -> Next {
        if self.is_cut_off() {
            return Next::CutOff;
        }
        let shown = self.log.end();
        if shown <= self.position {
            return Next::AtEnd;
        }
        let Some((chunk, start)) = self.log.memory.window.lock().chunk_at(self.position) else {
            return self.stored(shown);
        };
        let end = chunk.bytes().len().min(start.saturating_add((shown - self.position) as usize));
        if start < end { Next::Ready(MemoryRange { chunk, range: start..end }) } else { Next::AtEnd }
    }

    /// The same from the disk, where it goes on when memory has forgotten.
    #[cold]
    fn stored(&self, shown: u64) -> Next {
        match self.log.storage.as_ref().map(|storage| storage.file_range(self.position, shown)) {
            Some(Ok(Some(range))) => Next::Stored(range),
            Some(Err(error)) => Next::Failed(error),
            Some(Ok(None)) | None => Next::CutOff,
        }
    }

    /// Moves on by `bytes` that were taken care of.
    pub fn advance(&mut self, bytes: usize) {
        self.position += bytes as u64;
        self.state.position.store(self.position, Ordering::SeqCst);
        self.log.memory.passed(self.position);
    }

    /// Whether the log gave up what this cursor needed.
    pub fn is_cut_off(&self) -> bool {
        self.state.cut_off.load(Ordering::Relaxed)
    }

    /// Says that nothing after it is needed any more. From then on it is cut off.
    pub fn let_go(&self) {
        self.state.cut_off.store(true, Ordering::Relaxed);
        self.log.memory.window.lock().unregister(&self.state);
        self.log.memory.passed(u64::MAX);
    }

    /// A handle to wait on for being cut off, apart from the cursor itself.
    pub fn watch(&self) -> CutWatch {
        CutWatch(Arc::clone(&self.state))
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Tells when the log gave up what a cursor needed.
pub struct CutWatch(Arc<CursorState>);

impl CutWatch {
    /// Resolves when the cursor is cut off.
    pub async fn cut(&self) {
        if !self.0.cut_off.load(Ordering::Relaxed) {
            self.0.cut.notified().await;
        }
    }
}
