//! Walks over the entries of a segment and checks each: its checksum, and that it follows the one before it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::read_at;
use super::head::Fixed;
use super::mark::{Mark, be32};
use crate::error::{Error, Result, Status};
use crate::protocol::entry::{ENTRY_HEADER_SIZE, Entry, MAX_PAYLOAD_BYTES};

/// Bytes read at once, unless one entry is larger.
const BLOCK_BYTES: usize = 1 << 20;

/// The most zeroes at the end of a file that count as reserved space. More were left by a crash.
pub const MAX_RESERVED_BYTES: u64 = 4 << 20;

/// What a scanner finds at its position.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// A whole entry. The scanner has moved past it.
    Entry(Entry<'a>),
    /// The given end, or only reserved space before it.
    End,
    /// Bytes that are not the next entry. The scanner stays before them.
    Bad(String),
}

/// A walk over entries.
pub(super) struct Scanner {
    file: Arc<File>,
    path: PathBuf,
    fixed: Fixed,
    /// The boundary before the next entry.
    mark: Mark,
    /// The position it does not go past.
    end: u64,
    buffer: Vec<u8>,
    /// The unread part of the buffer; it begins at `mark`.
    from: usize,
    filled: usize,
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

impl Scanner {
    /// A walk from a boundary of this segment on. Nothing is read at or after the position `end`.
    pub(super) fn new(file: Arc<File>, path: &Path, fixed: Fixed, mark: Mark, end: u64) -> Self {
        Self { file, path: path.into(), fixed, mark, end, buffer: Vec::new(), from: 0, filled: 0 }
    }

    /// The boundary before the next entry.
    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    /// The segment.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The offset in the file of the next entry.
    pub(super) fn offset(&self) -> u64 {
        self.fixed.offset(self.mark.position)
    }

    /// Moves the end further, and checks bad bytes again.
    pub(super) fn extend(&mut self, end: u64) {
        self.end = end;
        self.from = 0;
        self.filled = 0;
    }

    /// The next entry.
    pub(super) fn next(&mut self) -> Result<Step<'_>> {
        let left = self.end.saturating_sub(self.mark.position);
        if left == 0 {
            return Ok(Step::End);
        }
        let header = left.min(ENTRY_HEADER_SIZE as u64) as usize;
        let filled = self.fill(header, left)?;
        if filled && is_zero(&self.buffer[self.from..self.from + header]) && self.is_reserved(left)? {
            return Ok(Step::End);
        }
        if !filled || header < ENTRY_HEADER_SIZE {
            return Ok(Step::Bad(format!("{left} bytes are left, too few for the header of an entry")));
        }
        let length = be32(&self.buffer[self.from..], 4) as usize;
        if length > MAX_PAYLOAD_BYTES {
            return Ok(Step::Bad(format!("a payload of {length} bytes; at most {MAX_PAYLOAD_BYTES} are possible")));
        }
        let whole = ENTRY_HEADER_SIZE + length;
        if whole as u64 > left || !self.fill(whole, left)? {
            return Ok(Step::Bad(format!("an entry of {whole} bytes, of which {left} are there")));
        }
        let bytes = &self.buffer[self.from..self.from + whole];
        let entry = match Entry::decode_checked(bytes) {
            Ok(entry) => entry,
            Err(error) => return Ok(Step::Bad(error.to_string())),
        };
        match self.mark.after(&entry, bytes) {
            Ok(mark) => self.mark = mark,
            Err(text) => return Ok(Step::Bad(text)),
        }
        self.from += whole;
        Ok(Step::Entry(entry))
    }

    /// Whether all of the `left` bytes are zeroes in the present file; the first ones are.
    fn is_reserved(&mut self, left: u64) -> Result<bool> {
        if left > MAX_RESERVED_BYTES {
            return Ok(false);
        }
        let (mut at, end) = (self.offset(), self.offset() + left);
        let mut block = [0; 16 << 10];
        while at < end {
            let want = (end - at).min(block.len() as u64) as usize;
            let read = read_at(&self.file, &self.path, at, &mut block[..want])?;
            if !is_zero(&block[..read]) {
                return Ok(false);
            }
            if read < want {
                break;
            }
            at += read as u64;
        }
        Ok(true)
    }

    /// Makes sure that `needed` bytes of the `left` ones are in the buffer: false when the file has become shorter.
    fn fill(&mut self, needed: usize, left: u64) -> Result<bool> {
        let have = self.filled - self.from;
        if have >= needed {
            return Ok(true);
        }
        self.buffer.copy_within(self.from..self.filled, 0);
        (self.from, self.filled) = (0, have);
        let want = left.min(needed.max(BLOCK_BYTES) as u64) as usize;
        self.take_memory(want)?;
        let offset = self.fixed.offset(self.mark.position) + have as u64;
        self.filled += read_at(&self.file, &self.path, offset, &mut self.buffer[have..want])?;
        Ok(self.filled >= needed)
    }

    /// Makes room for `want` bytes of the file. Memory that one large entry needed is freed after it.
    fn take_memory(&mut self, want: usize) -> Result<()> {
        if self.buffer.len() > 2 * BLOCK_BYTES && want <= BLOCK_BYTES {
            self.buffer.truncate(BLOCK_BYTES);
            self.buffer.shrink_to_fit();
        }
        if want > self.buffer.len() {
            self.buffer.try_reserve_exact(want - self.buffer.len()).map_err(|_| {
                let text = format!("no memory to read {want} bytes of {}", self.path.display());
                Error::new(Status::OutOfMemory, text)
            })?;
            self.buffer.resize(want, 0);
        }
        Ok(())
    }
}
