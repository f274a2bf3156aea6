//! Where the bytes come from that a reader is sent next: the log's memory, its file, or a copy of the file's bytes.
//!
//! A task must not wait for a disk, because other readers' tasks share its thread. So a thread that may block first
//! reads a range of the file into the page cache, from where it goes to the socket with `sendfile`. A connection that
//! cannot send from files gets a copy in memory.

use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use crate::error::{Error, Result, Status};
use crate::log::disk::FileRange;
use crate::log::{Cursor, MemoryRange, Next};

/// Bytes of a file that are read into the page cache at once.
const PREFETCH_BYTES: u64 = 4 << 20;

/// One byte is read of each so many: the kernel's read-ahead brings in the rest.
const STRIDE: u64 = 64 << 10;

/// The bytes after a cursor.
pub(super) enum SendSource {
    /// In the log's memory.
    Memory(MemoryRange),
    /// A copy of the file's bytes, made for this reader, and the last entry in it if that is known.
    Loaded(Bytes, Option<u64>),
    /// In the file, from which it is sent.
    File(FileRange),
}

/// What was loaded from disk for a reader.
pub(super) enum Loaded {
    /// The file's bytes before this position were just read into the page cache.
    Prefetched(u64),
    /// A copy of the bytes from this position on, and the last entry in it if that is known.
    Bytes(u64, Bytes, Option<u64>),
}

/// A read from disk, for a thread that may block.
pub(super) struct Load {
    range: FileRange,
    position: u64,
    into_memory: bool,
}

/// Why there is nothing to send now.
pub(super) enum NoSource {
    /// All entries were sent.
    AtEnd,
    /// The log no longer has the entries.
    CutOff,
    /// The entries are on disk and have to be loaded first.
    NotLoaded(Load),
    /// The log on disk cannot be read.
    Failed(Error),
}

impl SendSource {
    /// The source at the cursor. `from_file`: the connection can send from files.
    pub(super) fn at(cursor: &Cursor, loaded: &mut Option<Loaded>, from_file: bool) -> Result<Self, NoSource> {
        match cursor.next() {
            Next::Ready(range) => {
                *loaded = None;
                Ok(Self::Memory(range))
            }
            Next::AtEnd => Err(NoSource::AtEnd),
            Next::CutOff => Err(NoSource::CutOff),
            Next::Failed(error) => Err(NoSource::Failed(error)),
            Next::Stored(range) => {
                let position = cursor.position();
                match loaded {
                    Some(Loaded::Prefetched(until)) if from_file && position < *until => return Ok(Self::File(range)),
                    Some(Loaded::Bytes(at, bytes, last)) if !from_file => {
                        let skip = position.checked_sub(*at).filter(|skip| *skip < bytes.len() as u64);
                        if let Some(skip) = skip {
                            return Ok(Self::Loaded(bytes.slice(skip as usize..), *last));
                        }
                    }
                    _ => {}
                }
                Err(NoSource::NotLoaded(Load { range, position, into_memory: !from_file }))
            }
        }
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Memory(range) => range.bytes().len(),
            Self::Loaded(bytes, _) => bytes.len(),
            Self::File(range) => usize::try_from(range.len).unwrap_or(usize::MAX),
        }
    }

    /// The sequence of its last entry, if that is known without reading.
    pub(super) fn last(&self) -> Option<u64> {
        match self {
            Self::Memory(_) => None,
            Self::Loaded(_, last) => *last,
            Self::File(range) => range.last,
        }
    }

    /// Its bytes; none of those in a file.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Memory(range) => range.bytes(),
            Self::Loaded(bytes, _) => bytes,
            Self::File(_) => &[],
        }
    }
}

impl Load {
    /// Reads from disk. Blocks.
    pub(super) fn run(self) -> Result<Loaded> {
        if self.into_memory {
            // The entries are checked here: JSON carries no checksum by which the reader could find damage.
            return Ok(Loaded::Bytes(self.position, self.range.load()?.into(), self.range.last));
        }
        self.prefetch().map_err(|error| {
            let text = format!("the log on disk cannot be read: {}: {error}", self.range.path.display());
            Error::new(Status::Io, text)
        })
    }

    fn prefetch(&self) -> io::Result<Loaded> {
        let end = self.prefetch_end()?;
        self.touch(end)?;
        Ok(Loaded::Prefetched(self.position + (end - self.range.offset)))
    }

    /// The end, in the file, of what is read into the page cache: the range, and some of what follows it.
    fn prefetch_end(&self) -> io::Result<u64> {
        let FileRange { file, offset, len, .. } = &self.range;
        Ok(file.metadata()?.len().min(offset + PREFETCH_BYTES).max(offset + len))
    }

    fn touch(&self, end: u64) -> io::Result<()> {
        let FileRange { file, offset, len, .. } = &self.range;
        let mut byte = [0];
        for at in (*offset..end).step_by(STRIDE as usize).chain([end - 1]) {
            match file.read_exact_at(&mut byte, at) {
                // The space reserved after the entries, which is given back when the segment is complete.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && at >= offset + len => break,
                read => read?,
            }
        }
        Ok(())
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Reserved space may be given back while it is read ahead; entries may not disappear.
    #[test]
    fn a_file_may_lose_its_reserved_space_but_not_its_entries() {
        let file = tempfile::tempfile().unwrap();
        let (offset, len) = (16 << 10, 100 << 10);
        file.set_len(offset + len + (1 << 20)).unwrap();
        let range = FileRange { file: Arc::new(file), offset, len, position: 0, last: None, path: "segment".into() };
        let load = Load { range, position: 0, into_memory: false };
        let end = load.prefetch_end().unwrap();
        assert_eq!(end, offset + len + (1 << 20));
        load.touch(end).unwrap();
        load.range.file.set_len(offset + len).unwrap();
        load.touch(end).unwrap();
        load.range.file.set_len(offset + len / 2).unwrap();
        assert_eq!(load.touch(end).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
