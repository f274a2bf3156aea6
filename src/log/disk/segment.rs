//! The segments of an open log: the active one, which grows, and those before it, which do not change.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use super::at::FileIdentity;
use super::dir::Dir;
use super::fault::{Fault, damaged, failed};
use super::file;
use super::head::{self, Commit, Fixed, Head};
use super::mark::Mark;
use super::next::NextFile;
use super::recover::{CheckedSegment, Points, identity, segment_path};
use crate::clock::{Now, Stamp};
use crate::error::{Error, Result};
use crate::sync::Mutex;

/// The segment to which entries are written.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) identity: FileIdentity,
    pub(super) fixed: Fixed,
    /// When it was created.
    pub(super) made: Stamp,
    /// The last commit that was written.
    pub(super) commit: Commit,
    pub(super) points: Points,
    /// The length of the file, with reserved space.
    pub(super) length: u64,
    /// A write failed and may have left bytes after the end.
    pub(super) torn: bool,
    /// When its first and its last entry were written; `None` while it is empty.
    pub(super) filled: Option<(Stamp, Stamp)>,
}

impl Active {
    /// Creates a new segment, empty and durable, at the time `now`. It replaces an empty one of the same name.
    pub(super) fn create(dir: &Dir, next: &NextFile, fixed: Fixed, spacing: u64, now: Now) -> Result<Self, Fault> {
        let path = segment_path(dir, fixed.base);
        let file = next.begin(dir, &path, &head::encode_new(&fixed))?;
        let (identity, _) = identity(&path, &file).map_err(|error| Fault { error, fatal: false })?;
        let commit = Commit::first(fixed.base);
        let points = Points::new(fixed.base, spacing);
        Ok(Self {
            path,
            file,
            identity,
            fixed,
            made: Stamp::here(now),
            commit,
            points,
            length: head::HEAD_BYTES,
            torn: false,
            filled: None,
        })
    }

    /// Entries were just written to it.
    pub(super) fn fill(&mut self, now: Stamp) {
        let first = self.filled.map_or(now, |(first, _)| first);
        self.filled = Some((first, now));
    }
}

/// A complete segment.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) path: PathBuf,
    pub(super) head: Head,
    /// When it was made.
    pub(super) made: Stamp,
    identity: FileIdentity,
    /// When its last entry was written, if this process wrote it.
    pub(super) ended: Option<Stamp>,
    /// Its file and index, while a thread uses them.
    opened: Mutex<Weak<OpenSegment>>,
}

/// The file and the index of a sealed segment.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) file: Arc<File>,
    pub(super) points: Vec<Mark>,
}

impl Sealed {
    pub(super) fn new(seen: &CheckedSegment, made: Stamp) -> Self {
        let (path, head, identity) = (seen.path.clone(), seen.head, seen.identity);
        Self { path, head, made, identity, ended: None, opened: Mutex::default() }
    }

    /// The sealed segment that the active one becomes when its commit is a seal.
    pub(super) fn from_active(active: &Active) -> Self {
        let head = Head { fixed: active.fixed, commit: active.commit };
        let (path, ended) = (active.path.clone(), active.filled.map(|(_, last)| last));
        Self { path, head, made: active.made, identity: active.identity, ended, opened: Mutex::default() }
    }

    pub(super) fn base(&self) -> Mark {
        self.head.fixed.base
    }

    pub(super) fn end(&self) -> Mark {
        self.head.commit.synced
    }

    /// The length of the file.
    pub(super) fn size(&self) -> u64 {
        self.head.fixed.offset(self.end().position)
    }

    /// Its file and index, if a thread uses them.
    pub(super) fn in_use(&self) -> Option<Arc<OpenSegment>> {
        self.opened.lock().upgrade()
    }

    /// Its file and index, which are opened and read unless a thread uses them already.
    pub(super) fn open(&self, dir: &Dir) -> Result<Arc<OpenSegment>, OpenError> {
        let mut slot = self.opened.lock();
        if let Some(opened) = slot.upgrade() {
            return Ok(opened);
        }
        let file = match file::open(dir, &self.path, false) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(OpenError::Missing(failed("cannot open", &self.path, &error)));
            }
            Err(_) => file::open_part(dir, &self.path, false)?,
        };
        let (identity, size) = identity(&self.path, &file)?;
        if identity != self.identity || size != self.size() {
            let text = format!("another file stands here than when the log was opened, or its size is not {}", size);
            return Err(damaged(&self.path, 0, text).into());
        }
        let points = head::read_index(&file, &self.path, &self.head)?;
        let opened = Arc::new(OpenSegment { file: Arc::new(file), points });
        *slot = Arc::downgrade(&opened);
        Ok(opened)
    }
}

/// Why a sealed segment cannot be read.
#[derive(Debug)]
pub(super) enum OpenError {
    /// There is no such file: it was trimmed, or removed by someone else.
    Missing(Error),
    Other(Error),
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        OpenError::Other(error)
    }
}
