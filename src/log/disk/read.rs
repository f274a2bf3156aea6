//! Reading: finds entries and the bytes that follow a position.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::DiskLog;
use super::fault::damaged;
use super::file::read_at;
use super::head::Fixed;
use super::mark::Mark;
use super::scan::{Scanner, Step};
use super::segment::{OpenError, OpenSegment, Sealed};
use crate::error::{Error, Result, Status};
use crate::protocol::entry::Entry;

/// How many segment files are kept open for reading.
const KEPT_OPEN: usize = 64;

/// Consecutive whole entries of one file. They stay readable when their segment is trimmed.
///
/// The bytes were checked when they were written or recovered, but not since: the caller checks each entry.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The file.
    pub file: Arc<File>,
    /// Where in the file the first entry begins.
    pub offset: u64,
    /// Bytes of entries; 0 at the end of the log.
    pub len: u64,
    /// The position of the first entry.
    pub position: u64,
    /// The sequence of the last entry, where it is known without reading.
    pub last: Option<u64>,
    /// The file's path, for messages.
    pub path: PathBuf,
}

impl FileRange {
    /// Reads bytes of the range from `from` on, as many as `buffer` has.
    pub fn read_at(&self, from: u64, buffer: &mut [u8]) -> Result<()> {
        let fits = from.checked_add(buffer.len() as u64).is_some_and(|end| end <= self.len);
        if !fits {
            let text = format!("{} bytes from {from} on, of a range of {}", buffer.len(), self.len);
            return Err(Error::new(Status::InvalidArgument, text));
        }
        let offset = self.offset + from;
        match read_at(&self.file, &self.path, offset, buffer)? {
            read if read == buffer.len() => Ok(()),
            read => Err(damaged(&self.path, offset + read as u64, "the file became shorter")),
        }
    }

    /// Reads the range and checks each of its entries.
    pub fn load(&self) -> Result<Vec<u8>> {
        let no_memory = || Error::out_of_memory(format_args!("{} bytes of {}", self.len, self.path.display()));
        let length = usize::try_from(self.len).map_err(|_| no_memory())?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| no_memory())?;
        bytes.resize(length, 0);
        self.read_at(0, &mut bytes)?;
        let mut at = 0;
        while at < length {
            match Entry::decode_checked(&bytes[at..]) {
                Ok(entry) => at += entry.encoded_len(),
                Err(error) => return Err(damaged(&self.path, self.offset + at as u64, error)),
            }
        }
        Ok(bytes)
    }
}

/// The file of a segment that is being read, and the known boundaries around what is looked for.
struct View {
    file: Arc<File>,
    path: PathBuf,
    fixed: Fixed,
    /// The last known boundary at or before it.
    from: Mark,
    /// The next known boundary after `from`.
    until: Mark,
}

/// What is looked for in a segment.
#[derive(Clone, Copy)]
enum Key {
    Position(u64),
    Sequence(u64),
    /// The first boundary whose timestamp is at least this.
    Time(u64),
}

impl Key {
    /// True for a boundary that does not lie past what is looked for.
    fn allows(self, mark: &Mark) -> bool {
        match self {
            Key::Position(position) => mark.position <= position,
            Key::Sequence(sequence) => mark.sequence <= sequence,
            Key::Time(time) => mark.timestamp_us < time,
        }
    }

    /// How many of the marks, from the first on, are not past it.
    fn split(self, marks: &[Mark]) -> usize {
        match self {
            // Timestamps need not rise, so a binary search would not work.
            Key::Time(_) => marks.iter().position(|mark| !self.allows(mark)).unwrap_or(marks.len()),
            _ => marks.partition_point(|mark| self.allows(mark)),
        }
    }

    /// The part of a segment in which it lies.
    fn part(self, base: Mark, points: &[Mark], end: Mark) -> (Mark, Mark) {
        let n = self.split(points);
        let from = n.checked_sub(1).and_then(|before| points.get(before)).unwrap_or(&base);
        (*from, points.get(n).copied().unwrap_or(end))
    }
}

impl DiskLog {
    /// The boundary right after entry `sequence`. `None` if that lies before [`DiskLog::oldest`] or after
    /// [`DiskLog::written`], or if no entry has this number.
    pub fn locate(&self, sequence: u64) -> Result<Option<Mark>> {
        if sequence > self.written().sequence {
            return Ok(None);
        }
        let Some(view) = self.view(Key::Sequence(sequence))? else { return Ok(None) };
        let mut mark = view.from;
        if mark.sequence > sequence {
            return Ok(None);
        }
        let mut scanner = view.scan();
        while mark.sequence < sequence {
            if !advance(&mut scanner)? {
                return Ok(None);
            }
            mark = scanner.mark();
        }
        Ok((mark.sequence == sequence).then_some(mark))
    }

    /// The boundary before the first entry with the timestamp `timestamp_us` or a later one; the end if there is none.
    ///
    /// Timestamps are the host's. If they do not always rise, entries before that boundary may be late enough as well:
    /// of the entries between two points of the index, only the last is checked.
    pub fn locate_time(&self, timestamp_us: u64) -> Result<Mark> {
        loop {
            let Some(view) = self.view(Key::Time(timestamp_us))? else { continue };
            let mut scanner = view.scan();
            loop {
                let mark = scanner.mark();
                if !advance(&mut scanner)? || scanner.mark().timestamp_us >= timestamp_us {
                    return Ok(mark);
                }
            }
        }
    }

    /// Whole contiguous entries from the boundary at `position` to the next point of the index, the end of the segment,
    /// or `limit`, which is a boundary too. `None` if they were trimmed. Empty at the end and at the limit.
    ///
    /// Fails with `INVALID_ARGUMENT` for a position past the end.
    pub fn file_range(&self, position: u64, limit: u64) -> Result<Option<FileRange>> {
        let written = self.written().position;
        if position > written {
            let text = format!("position {position} lies past the end of the log, {written}");
            return Err(Error::new(Status::InvalidArgument, text));
        }
        let Some(view) = self.view(Key::Position(position))? else { return Ok(None) };
        if view.from.position > position {
            return Ok(None);
        }
        let end = view.until.position.min(limit).max(position);
        let View { file, path, fixed, until, .. } = view;
        let last = (end == until.position).then_some(until.sequence);
        Ok(Some(FileRange { offset: fixed.offset(position), len: end - position, file, path, position, last }))
    }

    /// The part of a segment in which `key` lies. `None` if it was trimmed meanwhile.
    fn view(&self, key: Key) -> Result<Option<View>> {
        let segment = {
            let state = self.state.lock();
            let active = &state.active;
            let bases = state.sealed.len();
            let chosen = match key {
                Key::Time(_) => state.sealed.iter().position(|segment| !key.allows(&segment.end())).unwrap_or(bases),
                _ if key.allows(&active.fixed.base) => bases,
                _ => state.sealed.partition_point(|segment| key.allows(&segment.base())).saturating_sub(1),
            };
            match state.sealed.get(chosen) {
                Some(segment) => segment.clone(),
                None => {
                    let (from, until) = key.part(active.fixed.base, &active.points.taken, state.written);
                    let (file, path, fixed) = (active.file.clone(), active.path.clone(), active.fixed);
                    return Ok(Some(View { file, path, fixed, from, until }));
                }
            }
        };
        let Some(opened) = self.open_sealed(&segment)? else { return Ok(None) };
        let (from, until) = key.part(segment.base(), &opened.points, segment.end());
        let (file, path, fixed) = (opened.file.clone(), segment.path.clone(), segment.head.fixed);
        Ok(Some(View { file, path, fixed, from, until }))
    }

    /// The file and index of a sealed segment; `None` if it was trimmed.
    fn open_sealed(&self, segment: &Arc<Sealed>) -> Result<Option<Arc<OpenSegment>>> {
        match segment.open(&self.dir) {
            Ok(opened) => {
                self.keep_open(segment, &opened);
                Ok(Some(opened))
            }
            // A trim removes the segment from the list before its file.
            Err(OpenError::Missing(_)) if self.is_trimmed(segment) => Ok(None),
            Err(OpenError::Missing(error)) => {
                // If the whole directory is gone, the segment is not damaged.
                self.check_identity()?;
                Err(missing(&segment.path, &error))
            }
            Err(OpenError::Other(error)) => Err(error),
        }
    }

    pub(super) fn keep_open(&self, segment: &Sealed, opened: &Arc<OpenSegment>) {
        let mut recent = self.recent.lock();
        if !recent.iter().any(|other| Arc::ptr_eq(other, opened)) {
            if recent.len() == KEPT_OPEN {
                recent.pop_front();
            }
            recent.push_back(opened.clone());
        }
        drop(recent);
        // If the segment was trimmed meanwhile, close it: an open file keeps its space on disk.
        if self.is_trimmed(segment) {
            self.forget(segment);
        }
    }

    /// Whether a segment was trimmed. The oldest ones are trimmed first.
    fn is_trimmed(&self, segment: &Sealed) -> bool {
        let state = self.state.lock();
        state.sealed.front().is_none_or(|first| first.base().position > segment.base().position)
    }

    /// Closes the kept file of a segment that was trimmed.
    pub(super) fn forget(&self, segment: &Sealed) {
        if let Some(opened) = segment.in_use() {
            self.recent.lock().retain(|other| !Arc::ptr_eq(other, &opened));
        }
    }
}

impl View {
    fn scan(&self) -> Scanner {
        Scanner::new(self.file.clone(), &self.path, self.fixed, self.from, self.until.position)
    }
}

/// Moves past the next entry; returns false at the end. The bytes were checked when they were written, so wrong ones
/// are damage.
fn advance(scanner: &mut Scanner) -> Result<bool> {
    let offset = scanner.offset();
    let after = scanner.mark().sequence;
    let reason = match scanner.next()? {
        Step::Entry(..) => return Ok(true),
        Step::End => return Ok(false),
        Step::Bad(reason) => reason,
    };
    Err(damaged(scanner.path(), offset, format_args!("{reason}; entries from {} on", after.saturating_add(1))))
}

fn missing(path: &Path, error: &Error) -> Error {
    damaged(path, 0, format_args!("somebody removed this segment: {}", error.message))
}
