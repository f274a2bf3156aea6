//! Opening: lists the segments, checks that they fit together, and finds the end of the log.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::at::FileIdentity;
use super::dir::Dir;
use super::fault::{damaged, failed};
use super::file::{self, open_part, read_at};
use super::head::{self, Commit, FORMAT_VERSION, HEAD_BYTES, Head};
use super::mark::Mark;
use super::op::Op;
use super::scan::{Scanner, Step};
use crate::error::{Error, Result, Status};

/// The torn end of the last segment, which a crash may leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub path: PathBuf,
    /// Where in the file it was cut.
    pub offset: u64,
    /// The number of bytes cut off.
    pub bytes: u64,
    /// The last whole entry before it.
    pub after_sequence: u64,
    /// Why the bytes there are no entry.
    pub reason: String,
}

/// A segment file whose head was checked. It is not kept open, because there may be more segments than a process may
/// have open files.
#[derive(Clone, Debug)]
pub(super) struct CheckedSegment {
    pub(super) path: PathBuf,
    pub(super) identity: FileIdentity,
    pub(super) head: Head,
    pub(super) size: u64,
}

/// The same, with its file.
#[derive(Clone, Debug)]
pub(super) struct SegmentFile {
    pub(super) seen: CheckedSegment,
    pub(super) file: Arc<File>,
}

impl std::ops::Deref for SegmentFile {
    type Target = CheckedSegment;

    fn deref(&self) -> &CheckedSegment {
        &self.seen
    }
}

/// The files of a log in its directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) segments: Vec<PathBuf>,
    pub(super) leftovers: Vec<PathBuf>,
}

/// The name of the segment that begins after `base`.
pub(super) fn segment_path(dir: &Dir, base: Mark) -> PathBuf {
    dir.join(&segment_name(base))
}

fn segment_name(base: Mark) -> String {
    format!("{:020}.seg", base.sequence.saturating_add(1))
}

pub(super) fn identity(path: &Path, file: &File) -> Result<(FileIdentity, u64)> {
    let metadata = file.metadata().map_err(|error| failed("cannot ask for the size of", path, &error))?;
    Ok((FileIdentity::of_file(&metadata), metadata.len()))
}

/// Lists a directory: the segments in order, and unfinished files that a crash left.
pub(super) fn list(dir: &Dir) -> Result<Listing> {
    let mut listing = Listing::default();
    for name in dir.names().map_err(|error| failed("cannot read the directory", dir.path(), &error))? {
        let Some(name) = name.to_str() else { continue };
        let path = dir.join(name);
        if let Some(stem) = name.strip_suffix(".seg") {
            if stem.len() != 20 || !stem.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(damaged(
                    &path,
                    0,
                    "a segment's name is a number of 20 digits: give this file its name back, or move it elsewhere",
                ));
            }
            listing.segments.push(path);
        } else if name.ends_with(".seg.tmp") || name == "slots.tmp" {
            listing.leftovers.push(path);
        }
    }
    listing.segments.sort();
    Ok(listing)
}

/// Opens a segment and checks its head and its name.
pub(super) fn find(dir: &Dir, path: &Path, writable: bool) -> Result<SegmentFile> {
    let file = open_part(dir, path, writable)?;
    // The commit copy before the size: the bytes that it claims were in the file before it was written.
    let head = head::read(&file, path)?;
    let (identity, size) = identity(path, &file)?;
    let base = head.fixed.base;
    if path.file_name() != Some(OsStr::new(&segment_name(base))) {
        let text = format!("the head belongs to a segment that begins after entry {}", base.sequence);
        return Err(damaged(path, 48, format_args!("{text}: the file was renamed or swapped")));
    }
    let seen = CheckedSegment { path: path.into(), identity, head, size };
    seen.check_size()?;
    Ok(SegmentFile { seen, file: Arc::new(file) })
}

impl SegmentFile {
    /// When it was last written to, in microseconds since the Unix epoch.
    pub(super) fn modified_us(&self) -> Result<u64> {
        #[cfg(feature = "simulation")]
        if let Some(environment) = crate::simulation::environment() {
            return Ok(environment.modified_us(&self.path));
        }
        let metadata =
            self.file.metadata().map_err(|error| failed("cannot ask for the time of", &self.path, &error))?;
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        let seconds_us = u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000);
        Ok(seconds_us.saturating_add(u64::try_from(nanoseconds).unwrap_or(0) / 1000))
    }
}

impl CheckedSegment {
    /// Opens its file again. Fails with `DAMAGED` if another one has its name.
    pub(super) fn reopen(&self, dir: &Dir) -> Result<SegmentFile> {
        let file = open_part(dir, &self.path, false)?;
        if identity(&self.path, &file)?.0 != self.identity {
            return Err(damaged(&self.path, 0, "another file stands here than a moment before"));
        }
        Ok(SegmentFile { seen: self.clone(), file: Arc::new(file) })
    }

    pub(super) fn base(&self) -> Mark {
        self.head.fixed.base
    }

    /// The position after the last byte of the file.
    pub(super) fn end(&self) -> u64 {
        self.base().position.saturating_add(self.size.saturating_sub(HEAD_BYTES))
    }

    fn check_size(&self) -> Result<()> {
        let (base, synced) = (self.base(), self.head.commit.synced);
        if self.size < HEAD_BYTES || base.position.checked_add(self.size - HEAD_BYTES).is_none() {
            let text = format!("a segment of {} bytes; its head alone has {HEAD_BYTES}", self.size);
            return Err(damaged(&self.path, self.size, text));
        }
        if synced.position > self.end() {
            let (first, last) = (base.sequence + 1, synced.sequence);
            let expected = self.head.fixed.offset(synced.position);
            let text = format!(
                "the file ends here, but entries through {last} were durable, to byte {expected}: entries are missing \
                 between {first} and {last}"
            );
            return Err(damaged(&self.path, self.size, text));
        }
        Ok(())
    }

    /// Checks that `next` begins exactly where this segment ends.
    pub(super) fn check_next(&self, next: &CheckedSegment) -> Result<()> {
        let (mine, fixed) = (&self.head.fixed, &next.head.fixed);
        let bad = |at, text: String| Err(damaged(&next.path, at, text));
        if fixed.stream_id != mine.stream_id {
            return bad(16, format!("it belongs to another stream than {}", self.path.display()));
        }
        let (end, base) = (self.head.commit.synced, fixed.base);
        if !self.head.commit.sealed {
            let text = format!("segment {} follows, but this one was never completed", next.path.display());
            return Err(damaged(&self.path, 512, text));
        }
        if end.sequence < base.sequence && end.position < base.position {
            let (first, last) = (end.sequence + 1, base.sequence);
            return bad(40, format!("entries {first} to {last} are missing before this segment"));
        }
        if end != base {
            let path = self.path.display();
            return bad(40, format!("it begins at {base:?}, but the segment before it, {path}, ends at {end:?}"));
        }
        if self.end() != base.position {
            let (size, expected) = (self.size, mine.offset(base.position));
            let text = format!("the file has {size} bytes; with entries through {} it has {expected}", base.sequence);
            return Err(damaged(&self.path, size.min(expected), text));
        }
        let same = fixed.epoch == mine.epoch && fixed.epoch_start == mine.epoch_start;
        let later = fixed.epoch > mine.epoch && fixed.epoch_start == base.sequence;
        if !same && !later {
            let text = format!("epoch {} from entry {}", fixed.epoch, fixed.epoch_start);
            let before = format!("epoch {} from entry {}", mine.epoch, mine.epoch_start);
            return bad(32, format!("{text} on, after a segment of {before} on"));
        }
        Ok(())
    }
}

/// The segments of a log: those before the last one, and the last one.
pub(super) type All = (Vec<CheckedSegment>, SegmentFile);

/// Opens and checks all segments of a listing, the last one for writing if it is to be continued. `None` if there are
/// none.
pub(super) fn find_all(dir: &Dir, listing: &Listing, continued: bool) -> Result<Option<All>> {
    let Some((last, others)) = listing.segments.split_last() else { return Ok(None) };
    let mut all: Vec<CheckedSegment> = Vec::with_capacity(others.len());
    for path in others {
        let found = find(dir, path, false)?;
        if let Some(before) = all.last() {
            before.check_next(&found)?;
        }
        all.push(found.seen);
    }
    let last = find(dir, last, continued)?;
    if let Some(before) = all.last() {
        before.check_next(&last)?;
    }
    Ok(Some((all, last)))
}

/// The end of the last segment, as found on disk.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) end: Mark,
    pub(super) points: Points,
    /// The bytes after the end.
    pub(super) torn: Option<Cut>,
}

/// Walks over a segment that is not complete. Wrong bytes are damage before the synced mark and a torn end after it.
pub(super) fn scan_tail(found: &SegmentFile, spacing: u64) -> Result<Tail> {
    let synced = found.head.commit.synced;
    let mut scanner = Scanner::new(found.file.clone(), &found.path, found.head.fixed, found.base(), found.end());
    let mut points = Points::new(found.base(), spacing);
    let mut met = found.base() == synced;
    let reason = loop {
        let before = scanner.mark();
        match scanner.next()? {
            Step::Entry(..) if met && mutant!("recovery-stops-at-commit") => {
                break Some("it lies after the commit".into());
            }
            Step::Entry(..) => {}
            Step::End if !met => break Some("zeroes stand where entries were".into()),
            Step::End => break None,
            Step::Bad(reason) => break Some(reason),
        }
        let mark = scanner.mark();
        met |= mark == synced;
        if mark.position >= synced.position && !met {
            let offset = found.head.fixed.offset(before.position);
            return Err(lost(found, offset, before, &format!("the entries end at {mark:?}, not at {synced:?}")));
        }
        points.pass(mark);
    };
    let (end, offset) = (scanner.mark(), scanner.offset());
    let torn = match reason {
        Some(reason) if !met => return Err(lost(found, offset, end, &reason)),
        None => None,
        Some(reason) => Some(Cut {
            path: found.path.clone(),
            offset,
            bytes: found.size - offset,
            after_sequence: end.sequence,
            reason,
        }),
    };
    Ok(Tail { end, points, torn })
}

fn lost(found: &SegmentFile, offset: u64, last_good: Mark, reason: &str) -> Error {
    let (first, last) = (last_good.sequence.saturating_add(1), found.head.commit.synced.sequence);
    damaged(&found.path, offset, format_args!("{reason}; entries {first} to {last} were durable and are lost"))
}

/// Chooses the boundaries of an index.
#[derive(Clone, Debug)]
pub(super) struct Points {
    pub(super) taken: Vec<Mark>,
    last: u64,
    spacing: u64,
}

impl Points {
    pub(super) fn new(base: Mark, spacing: u64) -> Self {
        Self { taken: Vec::new(), last: base.position, spacing }
    }

    /// Chooses for entries that are not written yet.
    pub(super) fn ahead(&self) -> Self {
        Self { taken: Vec::new(), ..*self }
    }

    /// Adds boundaries that were chosen ahead.
    pub(super) fn join(&mut self, ahead: Points) {
        self.taken.extend(ahead.taken);
        self.last = ahead.last;
    }

    pub(super) fn pass(&mut self, mark: Mark) {
        if mark.position - self.last >= self.spacing {
            self.last = mark.position;
            self.taken.push(mark);
        }
    }
}

/// Makes the last segment end exactly at `tail.end`, durably, and returns its commit.
pub(super) fn make_durable(found: &SegmentFile, tail: &Tail) -> Result<Commit> {
    let SegmentFile { seen: CheckedSegment { path, head, .. }, file } = found;
    if let Some(cut) = &tail.torn {
        file::truncate(file, path, cut.offset)?;
        file::sync(Op::SyncTruncate, file, path)?;
    }
    if tail.end == head.commit.synced {
        return Ok(head.commit);
    }
    rewrite(found, head.commit.synced.position, tail.end.position)?;
    file::sync(Op::SyncEntries, file, path)?;
    let commit = head.commit.next(tail.end);
    head::write_commit(file, path, &head.fixed, &commit)?;
    Ok(commit)
}

/// Writes the entries after the synced mark again. They may be in the page cache only, in pages marked as clean: after
/// a failed sync the kernel does not write them again, and the next sync would succeed without them.
fn rewrite(found: &SegmentFile, from: u64, to: u64) -> Result<()> {
    let mut block = vec![0; (to - from).min(1 << 20) as usize];
    let (mut at, end) = (found.head.fixed.offset(from), found.head.fixed.offset(to));
    while at < end {
        let piece = &mut block[..(end - at).min(1 << 20) as usize];
        if read_at(&found.file, &found.path, at, piece)? < piece.len() {
            let text =
                format!("{} became shorter while it was opened; somebody else writes to it", found.path.display());
            return Err(Error::new(Status::Io, text));
        }
        file::write_at(Op::Rewrite, &found.file, &found.path, at, piece)?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// The error of a directory that has no log.
pub(super) fn empty(dir: &Dir) -> Error {
    let text = format!("{} holds no segment of a log (format version {FORMAT_VERSION})", dir.path().display());
    Error::new(Status::NotFound, text)
}
