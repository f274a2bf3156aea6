//! What a reader is sent next: a piece of the log in memory, or one on disk that is brought near first.
//!
//! Reading a disk takes time that other readers' tasks must not wait for. So a piece on disk is loaded by a thread that
//! may block; then it goes from the file to the socket, or through this process where that cannot be.

use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use crate::error::{Error, Result, Status};
use crate::log::disk::Stretch;
use crate::log::{Cursor, Next, Span};

/// Bytes of a file that are brought near at once.
const NEAR_BYTES: u64 = 4 << 20;

/// One byte in so many is read to bring all of them near: the system reads ahead.
const STRIDE: u64 = 64 << 10;

/// A piece of the log at a cursor.
pub(super) enum Piece {
    /// It lies in memory.
    Memory(Span),
    /// It was read into memory for this reader. With its last entry, where that is known.
    Loaded(Bytes, Option<u64>),
    /// It is sent from the file.
    File(Stretch),
}

/// What was loaded from disk for a reader.
pub(super) enum Loaded {
    /// The file's bytes before this position are in the page cache, or were a moment ago.
    Near(u64),
    /// The bytes from this position on, and the last entry in them, where that is known.
    Bytes(u64, Bytes, Option<u64>),
}

/// Work for a thread that may wait for a disk.
pub(super) struct Load {
    stretch: Stretch,
    position: u64,
    into_memory: bool,
}

/// Why there is no piece.
pub(super) enum NoPiece {
    /// The reader has all.
    AtEnd,
    /// The entries are gone.
    CutOff,
    /// This has to be loaded first.
    Far(Load),
    /// The log on disk cannot be read.
    Failed(Error),
}

impl Piece {
    /// The piece at the cursor. `from_file`: the connection takes files.
    pub(super) fn at(cursor: &Cursor, loaded: &mut Option<Loaded>, from_file: bool) -> Result<Self, NoPiece> {
        match cursor.next() {
            Next::Ready(span) => {
                *loaded = None;
                Ok(Self::Memory(span))
            }
            Next::AtEnd => Err(NoPiece::AtEnd),
            Next::CutOff => Err(NoPiece::CutOff),
            Next::Failed(error) => Err(NoPiece::Failed(error)),
            Next::Stored(stretch) => {
                let position = cursor.position();
                match loaded {
                    Some(Loaded::Near(until)) if from_file && position < *until => return Ok(Self::File(stretch)),
                    Some(Loaded::Bytes(at, bytes, last)) if !from_file => {
                        let skip = position.checked_sub(*at).filter(|skip| *skip < bytes.len() as u64);
                        if let Some(skip) = skip {
                            return Ok(Self::Loaded(bytes.slice(skip as usize..), *last));
                        }
                    }
                    _ => {}
                }
                Err(NoPiece::Far(Load { stretch, position, into_memory: !from_file }))
            }
        }
    }

    /// Its length.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Memory(span) => span.bytes().len(),
            Self::Loaded(bytes, _) => bytes.len(),
            Self::File(stretch) => usize::try_from(stretch.len).unwrap_or(usize::MAX),
        }
    }

    /// Its last entry, where that is known without reading.
    pub(super) fn last(&self) -> Option<u64> {
        match self {
            Self::Memory(_) => None,
            Self::Loaded(_, last) => *last,
            Self::File(stretch) => stretch.last,
        }
    }

    /// Its bytes, as far as they are in memory.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Memory(span) => span.bytes(),
            Self::Loaded(bytes, _) => bytes,
            Self::File(_) => &[],
        }
    }
}

impl Load {
    /// Does the work. Blocks.
    pub(super) fn run(self) -> Result<Loaded> {
        if self.into_memory {
            // What goes out as JSON has no checksum by which its reader could find damage.
            return Ok(Loaded::Bytes(self.position, self.stretch.load()?.into(), self.stretch.last));
        }
        self.bring_near().map_err(|error| {
            let text = format!("the log on disk cannot be read: {}: {error}", self.stretch.path.display());
            Error::new(Status::Io, text)
        })
    }

    fn bring_near(&self) -> io::Result<Loaded> {
        let end = self.near_end()?;
        self.touch(end)?;
        Ok(Loaded::Near(self.position + (end - self.stretch.offset)))
    }

    /// Where in the file ends what is brought near: the stretch, and what comes after it.
    fn near_end(&self) -> io::Result<u64> {
        let Stretch { file, offset, len, .. } = &self.stretch;
        Ok(file.metadata()?.len().min(offset + NEAR_BYTES).max(offset + len))
    }

    fn touch(&self, end: u64) -> io::Result<()> {
        let Stretch { file, offset, len, .. } = &self.stretch;
        let mut byte = [0];
        for at in (*offset..end).step_by(STRIDE as usize).chain([end - 1]) {
            match file.read_exact_at(&mut byte, at) {
                // Room after the entries, which a segment gives back when it is complete.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && at >= offset + len => break,
                read => read?,
            }
        }
        Ok(())
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Room that is given back while it is brought near is not missed; entries are.
    #[test]
    fn a_file_may_lose_its_room_but_not_its_entries() {
        let file = tempfile::tempfile().unwrap();
        let (offset, len) = (16 << 10, 100 << 10);
        file.set_len(offset + len + (1 << 20)).unwrap();
        let stretch = Stretch { file: Arc::new(file), offset, len, position: 0, last: None, path: "segment".into() };
        let load = Load { stretch, position: 0, into_memory: false };
        let end = load.near_end().unwrap();
        assert_eq!(end, offset + len + (1 << 20));
        load.touch(end).unwrap();
        load.stretch.file.set_len(offset + len).unwrap();
        load.touch(end).unwrap();
        load.stretch.file.set_len(offset + len / 2).unwrap();
        assert_eq!(load.touch(end).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
