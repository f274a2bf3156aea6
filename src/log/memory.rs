//! The log in memory: the end where entries are appended, the buffer of chunks before it, and what cursors may see.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::buffer::Buffer;
use super::chunk::{ChunkRef, ChunkWriter};
use super::disk::Mark;
use super::end_signal::EndSignal;
use crate::error::{Error, Result, Status};
use crate::protocol::entry::{ENTRY_HEADER_SIZE, chain_hash, encode_header};
use crate::sync::{Condvar, Mutex};

/// The append side. The thread that holds its lock is the one writer.
pub(super) struct Appender {
    pub(super) writer: Option<ChunkWriter>,
    /// How many more entries the current chunk may take.
    pub(super) quota: usize,
    /// The boundary after the last entry.
    pub(super) end: Mark,
    pub(super) closed: bool,
    /// Why the disk side refuses entries now.
    pub(super) refused: Option<Error>,
}

/// The log in memory.
pub(super) struct MemoryLog {
    pub(super) appender: Mutex<Appender>,
    /// Signalled when a cursor has passed what a waiting append needs evicted. Used with the appender's lock.
    pub(super) room: Condvar,
    pub(super) buffer: Mutex<Buffer>,
    /// The end of what cursors may see.
    pub(super) end_signal: EndSignal,
    pub(super) last_sequence: AtomicU64,
    /// The last entry before `end_signal`'s end, or an earlier one, because it is stored after the end.
    pub(super) shown_sequence: AtomicU64,
    /// The lowest position that a waiting append needs passed, or needed; `u64::MAX` when none waits.
    pub(super) wanted: AtomicU64,
    /// Notified when the end moved while a cursor slept.
    pub(super) end_moved: Notify,
}

impl MemoryLog {
    /// An empty one that begins at `start`.
    pub(super) fn new(buffer: Buffer, start: Mark) -> Self {
        Self {
            appender: Mutex::new(Appender { writer: None, quota: 0, end: start, closed: false, refused: None }),
            room: Condvar::new(),
            buffer: Mutex::new(buffer),
            end_signal: EndSignal::new(start.position),
            last_sequence: start.sequence.into(),
            shown_sequence: start.sequence.into(),
            wanted: u64::MAX.into(),
            end_moved: Notify::new(),
        }
    }

    /// The sequence of the last entry.
    #[inline]
    pub(super) fn last_sequence(&self) -> u64 {
        self.last_sequence.load(Ordering::Acquire)
    }

    /// Makes the entries before `end` visible to cursors, and wakes those that sleep.
    pub(super) fn show(&self, end: &Mark) {
        if self.advance(end) {
            self.end_moved.notify_one();
        }
    }

    /// Moves the end that cursors see. Returns `true` if a sleeper must be woken.
    #[inline]
    pub(super) fn advance(&self, end: &Mark) -> bool {
        let wake = self.end_signal.advance(end.position);
        self.shown_sequence.store(end.sequence, Ordering::Release);
        wake
    }

    /// Refuses every append for this reason; with `None`, accepts appends again.
    pub(super) fn refuse_with(&self, reason: Option<Error>) {
        let mut appender = self.appender.lock();
        // Without a quota the next append takes the path that checks for a refusal.
        appender.quota = 0;
        appender.refused = reason;
        drop(appender);
        self.room.notify_all();
    }

    /// Wakes waiting appends if they need `position`, to which a cursor or the disk side has moved.
    pub(super) fn passed(&self, position: u64) {
        if position >= self.wanted.load(Ordering::SeqCst) {
            // With the lock held, an append has either not checked the cursors yet or is already waiting.
            let appender = self.appender.lock();
            self.wanted.store(u64::MAX, Ordering::SeqCst);
            drop(appender);
            self.room.notify_all();
        }
    }

    /// The chunk with the published entries after `position`, and the offset in it where they begin; `None` if there
    /// are none.
    pub(super) fn entries_from(&self, position: u64) -> Option<(ChunkRef, usize)> {
        let (chunk, start) = self.buffer.lock().chunk_at(position)?;
        chunk.bytes().get(start..).is_some_and(|bytes| !bytes.is_empty()).then_some((chunk, start))
    }
}

impl Appender {
    /// Writes one entry after the last one. The caller has made sure that the chunk has room.
    #[inline]
    pub(super) fn put(&mut self, crc: u32, timestamp_us: u64, payload: &[u8]) -> Result<u64> {
        let previous = self.end.sequence;
        let (Some(writer), Some(sequence)) = (&mut self.writer, previous.checked_add(1)) else {
            return Err(exhausted(previous));
        };
        let header = encode_header(crc, payload.len(), sequence, previous, timestamp_us);
        writer.write(&header);
        writer.write(payload);
        let position = self.end.position + (ENTRY_HEADER_SIZE + payload.len()) as u64;
        self.end = Mark { position, sequence, hash: chain_hash(self.end.hash, &header), timestamp_us };
        self.quota -= 1;
        Ok(sequence)
    }
}

#[cold]
pub(super) fn exhausted(last: u64) -> Error {
    Error::new(Status::InvalidState, format!("no sequence is left after {last}"))
}
