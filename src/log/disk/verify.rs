//! Inspection and verification of a log's directory, for tools. Changes nothing and takes no lock, so it works while a
//! writer has the log open.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::beside::{find_all, is_gone};
use super::dir::Dir;
use super::fault::damaged;
use super::file::read_at;
use super::head;
use super::holder::{LockState, holder_of};
use super::mark::{Mark, be64};
use super::recover::{self, CheckedSegment, Cut, SegmentFile};
use super::scan::{Scanner, Step};
use crate::error::Result;
use crate::protocol::entry::ENTRY_HEADER_SIZE;
use crate::protocol::lineage::Lineage;

pub use super::entries::{OwnedEntry, StoredEntries, entries, entries_since};

/// The bytes and entries between two reports of progress.
const TOLD_EVERY: (u64, u64) = (4 << 20, 4096);

/// How often, and with what pauses, bytes at the end are read again before they count as torn, because a writer may be
/// writing them.
const LOOKS: usize = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// What a segment's file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The file.
    pub path: PathBuf,
    /// Its epoch.
    pub epoch: u64,
    /// The last sequence before the epoch.
    pub epoch_start: u64,
    /// The boundary before its first entry.
    pub base: Mark,
    /// The boundary up to which the head says that it is durable; the end of a sealed segment.
    pub synced: Mark,
    /// The length of the file.
    pub bytes: u64,
    /// Whether it is sealed: the file gets no more entries.
    pub sealed: bool,
    /// When it was created, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// The header of its first entry; `None` if it has none, or was removed meanwhile.
    pub first: Option<FirstEntry>,
}

/// The header of a segment's first entry, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstEntry {
    /// Its sequence.
    pub sequence: u64,
    /// Its timestamp.
    pub timestamp_us: u64,
}

/// The content of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Whose log it is, in the last segment's epoch.
    pub lineage: Lineage,
    /// The segments, oldest first.
    pub segments: Vec<SegmentInfo>,
    /// The boundary up to which the last segment's head says that it is durable. It may lag by one sync.
    pub durable: Mark,
    /// The end of the whole entries.
    pub end: Mark,
    /// The bytes after the end that are no whole entry: an entry that is being written, or a torn end left by a crash.
    pub torn: Option<Cut>,
}

/// The result of reading every byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Whose log it is.
    pub lineage: Lineage,
    /// The number of segments.
    pub segments: u64,
    /// The number of entries.
    pub entries: u64,
    /// The boundary before the oldest entry.
    pub oldest: Mark,
    /// The end of the whole entries.
    pub end: Mark,
    /// The torn end that a crash left: bytes after the end that are no whole entry and are not being written. The next
    /// opening cuts it off.
    pub torn: Option<Cut>,
    /// Segments that retention removed before they were read. The result is about the rest.
    pub trimmed: u64,
}

/// Lists the segments of a log. Reads only their heads, and of the last one the bytes after its durable mark.
pub fn inspect(dir: &Path) -> Result<Inspection> {
    let dir = &Dir::open(dir)?;
    let (sealed, last) = find_all(dir)?;
    let fixed = &last.head.fixed;
    let lineage = Lineage { stream_id: fixed.stream_id, epoch: fixed.epoch };
    let durable = last.head.commit.synced;
    let mut segments = Vec::with_capacity(sealed.len() + 1);
    for segment in &sealed {
        let first = match segment.reopen(dir) {
            Err(_) if is_gone(dir, &segment.path)? => None,
            found => first_entry(&found?)?,
        };
        segments.push(SegmentInfo::new(segment, first));
    }
    segments.push(SegmentInfo::new(&last, first_entry(&last)?));
    // The durable mark is a boundary; `verify` checks the entries before it.
    let mut scanner = Scanner::new(last.file.clone(), &last.path, last.head.fixed, durable, last.end());
    let reason = loop {
        match scanner.next()? {
            Step::Entry(_) => {}
            Step::End => break None,
            Step::Bad(reason) => break Some(reason),
        }
    };
    let torn = reason.map(|reason| cut(&last, &scanner, reason));
    Ok(Inspection { lineage, segments, durable, end: scanner.mark(), torn })
}

fn first_entry(found: &SegmentFile) -> Result<Option<FirstEntry>> {
    let mut header = [0; ENTRY_HEADER_SIZE];
    let read = read_at(&found.file, &found.path, head::HEAD_BYTES, &mut header)?;
    let (sequence, previous, timestamp_us) = (be64(&header, 8), be64(&header, 16), be64(&header, 24));
    let base = found.base().sequence;
    let is_one = read == ENTRY_HEADER_SIZE && previous == base && sequence > base;
    Ok(is_one.then_some(FirstEntry { sequence, timestamp_us }))
}

/// Reads a whole log and checks every entry, every index, and that the segments fit together. Calls `progress` with the
/// bytes read and all bytes. Fails with `DAMAGED` at the first error.
pub fn verify(dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Verification> {
    let dir = &Dir::open(dir)?;
    let (sealed, last) = find_all(dir)?;
    let first = sealed.first().unwrap_or(&last);
    let fixed = last.head.fixed;
    let mut report = Verification {
        lineage: Lineage { stream_id: fixed.stream_id, epoch: fixed.epoch },
        segments: 0,
        entries: 0,
        oldest: first.base(),
        end: first.base(),
        torn: None,
        trimmed: 0,
    };
    let total = sealed.iter().map(|segment| segment.size).sum::<u64>() + last.size;
    let mut done = 0;
    for (n, segment) in sealed.iter().enumerate() {
        let next = sealed.get(n + 1).unwrap_or(&last);
        let mut told = |within: u64| progress(done + within, total);
        match segment.reopen(dir) {
            // Those before it are gone as well, so the result begins here.
            Err(_) if is_gone(dir, &segment.path)? => {
                report.trimmed += report.segments + 1;
                (report.segments, report.entries, report.oldest) = (0, 0, next.base());
            }
            found => {
                check_segment(dir, &found?, false, &mut report, &mut told)?;
                report.segments += 1;
            }
        }
        done += segment.size;
    }
    check_segment(dir, &last, true, &mut report, &mut |within| progress(done + within, total))?;
    report.segments += 1;
    progress(total, total);
    Ok(report)
}

impl SegmentInfo {
    fn new(found: &CheckedSegment, first: Option<FirstEntry>) -> Self {
        let (fixed, commit) = (&found.head.fixed, &found.head.commit);
        Self {
            path: found.path.clone(),
            epoch: fixed.epoch,
            epoch_start: fixed.epoch_start,
            base: fixed.base,
            synced: commit.synced,
            bytes: found.size,
            sealed: commit.sealed,
            created_us: fixed.created_us,
            first,
        }
    }
}

/// Reads a whole segment. The last one need not be complete.
fn check_segment(
    dir: &Dir,
    found: &SegmentFile,
    last: bool,
    report: &mut Verification,
    told: &mut dyn FnMut(u64),
) -> Result<()> {
    let synced = found.head.commit.synced;
    let mut points = match last {
        false => VecDeque::from(head::read_index(&found.file, &found.path, &found.head)?),
        true => VecDeque::new(),
    };
    let mut scanner = Scanner::new(found.file.clone(), &found.path, found.head.fixed, found.base(), found.end());
    let mut met = found.base() == synced;
    let mut said = (0, report.entries);
    loop {
        let (before, offset) = (scanner.mark(), scanner.offset());
        let lost = |text: String| {
            let (first, end) = (before.sequence.saturating_add(1), synced.sequence);
            Err(damaged(&found.path, offset, format_args!("{text}; entries {first} to {end} are affected")))
        };
        match scanner.next()? {
            Step::Entry(..) => {}
            Step::End => break,
            Step::Bad(reason) if last && met => {
                report.torn = torn(dir, found, &mut scanner, reason, report)?;
                break;
            }
            Step::Bad(reason) => return lost(reason),
        }
        let mark = scanner.mark();
        report.entries += 1;
        met |= mark == synced;
        if mark.position >= synced.position && !met {
            return lost(format!("the entries end at {mark:?}, but the head says {synced:?}"));
        }
        if points.front().is_some_and(|point| point.position <= mark.position) && points.pop_front() != Some(mark) {
            return Err(damaged(&found.path, offset, "the index has a point that is no boundary between entries"));
        }
        if offset - said.0 >= TOLD_EVERY.0 || report.entries - said.1 >= TOLD_EVERY.1 {
            said = (offset, report.entries);
            told(offset);
        }
    }
    report.end = scanner.mark();
    if !met {
        // A segment that was too short was refused before, so this one became shorter meanwhile.
        let text = format!("the entries end at {:?}, but the head says {synced:?}", report.end);
        return Err(damaged(&found.path, scanner.offset(), text));
    }
    Ok(())
}

/// Whether the bytes at the end of the last segment are torn, and not an entry that is being written.
fn torn(
    dir: &Dir,
    found: &SegmentFile,
    scanner: &mut Scanner,
    mut reason: String,
    report: &mut Verification,
) -> Result<Option<Cut>> {
    let mut size = found.size;
    let nobody_writes = holder_of(dir).is_ok_and(|holder| holder.is_none_or(|holder| holder.held == LockState::No));
    let mut looks = if nobody_writes { LOOKS } else { 0 };
    while looks < LOOKS {
        std::thread::sleep(PAUSE);
        looks += 1;
        let now = recover::identity(&found.path, &found.file)?.1;
        if now != size {
            (size, looks) = (now, 0);
        }
        scanner.extend(found.base().position.saturating_add(size.saturating_sub(head::HEAD_BYTES)));
        match scanner.next()? {
            Step::Entry(..) => {
                report.entries += 1;
                return Ok(None);
            }
            Step::End => return Ok(None),
            Step::Bad(again) => reason = again,
        }
    }
    Ok(Some(Cut { bytes: size.saturating_sub(scanner.offset()), ..cut(found, scanner, reason) }))
}

/// The bytes after the scanner's position.
fn cut(found: &SegmentFile, scanner: &Scanner, reason: String) -> Cut {
    let (offset, after_sequence) = (scanner.offset(), scanner.mark().sequence);
    Cut { path: found.path.clone(), offset, bytes: found.size.saturating_sub(offset), after_sequence, reason }
}
