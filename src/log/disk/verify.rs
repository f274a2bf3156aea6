//! For tools: what there is in a log's directory, whether it is whole, and its entries. Nothing is changed and no lock
//! is taken, so this works beside a writer.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::file::damaged;
use super::head;
use super::mark::Mark;
use super::recover::{self, All, Cut, Found, Listing, Seen};
use super::scan::{Scanner, Step};
use crate::error::{Error, Result};
use crate::protocol::lineage::Lineage;

/// How often a directory that changes while it is read is read again.
const TRIES: usize = 8;

/// A segment as it was found.
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
    /// The boundary through which it is noted as durable. Of a sealed segment that is its end.
    pub synced: Mark,
    /// Bytes of the file.
    pub bytes: u64,
    /// Nothing follows in this file.
    pub sealed: bool,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_us: u64,
}

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Whose log it is, in the last segment's epoch.
    pub lineage: Lineage,
    /// The segments, oldest first.
    pub segments: Vec<SegmentInfo>,
}

/// What was found when every byte was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whose log it is.
    pub lineage: Lineage,
    /// The number of segments.
    pub segments: u64,
    /// The number of entries.
    pub entries: u64,
    /// The beginning.
    pub oldest: Mark,
    /// The end of the whole entries.
    pub end: Mark,
    /// Bytes behind the end that are no whole entry: an entry that is being written now, or what a crash left. The next
    /// opening cuts it off.
    pub torn: Option<Cut>,
}

/// An entry with its own payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedEntry {
    /// Its place in the stream.
    pub sequence: u64,
    /// The sequence of the entry before it.
    pub previous: u64,
    /// Microseconds since the Unix epoch, as the host gave it.
    pub timestamp_us: u64,
    /// The host's bytes.
    pub payload: Vec<u8>,
    /// The boundary right behind it.
    pub mark: Mark,
    /// The epoch of its segment.
    pub epoch: u64,
}

/// Lists the segments of a log. Only their heads are read.
pub fn inspect(dir: &Path) -> Result<Inspection> {
    let (sealed, last) = find_all(dir)?;
    let fixed = &last.head.fixed;
    let lineage = Lineage { stream_id: fixed.stream_id, epoch: fixed.epoch };
    Ok(Inspection { lineage, segments: sealed.iter().chain([&last.seen]).map(SegmentInfo::new).collect() })
}

/// Reads a whole log and checks every entry, every index and that all fits together. `progress` is told how many of how
/// many bytes are done. Fails with `DAMAGED` at the first thing that is wrong.
pub fn verify(dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Report> {
    let (sealed, last) = find_all(dir)?;
    let first = sealed.first().unwrap_or(&last);
    let fixed = last.head.fixed;
    let mut report = Report {
        lineage: Lineage { stream_id: fixed.stream_id, epoch: fixed.epoch },
        segments: sealed.len() as u64 + 1,
        entries: 0,
        oldest: first.base(),
        end: first.base(),
        torn: None,
    };
    let total = sealed.iter().map(|segment| segment.size).sum::<u64>() + last.size;
    let mut done = 0;
    for segment in &sealed {
        let mut told = |within: u64| progress(done + within, total);
        check_segment(&segment.reopen()?, false, &mut report, &mut told)?;
        done += segment.size;
    }
    check_segment(&last, true, &mut report, &mut |within| progress(done + within, total))?;
    progress(total, total);
    Ok(report)
}

/// All segments of a directory that others may write to. A listing is not one moment: when something does not fit and
/// the directory has changed meanwhile, it is read again.
fn find_all(dir: &Path) -> Result<All> {
    let mut listing = recover::list(dir)?;
    for _ in 0..TRIES {
        let error = match recover::find_all(&listing, false) {
            Ok(found) => return found.ok_or_else(|| recover::empty(dir)),
            Err(error) => error,
        };
        let again = recover::list(dir)?;
        if again.segments == listing.segments {
            return retry_last(dir, &again, error);
        }
        listing = again;
    }
    recover::find_all(&listing, false)?.ok_or_else(|| recover::empty(dir))
}

/// The last segment may have been completed between the look at its head and the look at the next file's.
fn retry_last(dir: &Path, listing: &Listing, error: Error) -> Result<All> {
    recover::find_all(listing, false).map_err(|_| error)?.ok_or_else(|| recover::empty(dir))
}

impl SegmentInfo {
    fn new(found: &Seen) -> Self {
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
        }
    }
}

fn check_segment(found: &Found, last: bool, report: &mut Report, told: &mut dyn FnMut(u64)) -> Result<()> {
    let commit = found.head.commit;
    let complete = !last;
    let mut points = match complete {
        true => VecDeque::from(head::read_index(&found.file, &found.path, &found.head)?),
        false => VecDeque::new(),
    };
    if last {
        let tail = recover::scan_tail(found, u64::MAX)?;
        report.torn = tail.torn;
    }
    let end = if last { report.torn.as_ref().map_or(found.size, |cut| cut.offset) } else { found.size };
    let end = found.base().position + (end - head::HEAD_BYTES);
    let mut scanner = Scanner::new(found.file.clone(), &found.path, found.head.fixed, found.base(), end);
    loop {
        let offset = scanner.offset();
        let bad = match scanner.next()? {
            Step::Entry(..) => None,
            Step::End => break,
            Step::Bad(reason) => Some(reason),
        };
        let mark = scanner.mark();
        if let Some(reason) = bad {
            let (first, last) = (mark.sequence.saturating_add(1), commit.synced.sequence);
            return Err(damaged(&found.path, offset, format_args!("{reason}; entries {first} to {last} are affected")));
        }
        if points.front().is_some_and(|point| point.position <= mark.position) && points.pop_front() != Some(mark) {
            return Err(damaged(&found.path, offset, "the index has a point that is no boundary between entries"));
        }
        report.entries += 1;
        if report.entries.is_multiple_of(1024) {
            told(offset);
        }
    }
    report.end = scanner.mark();
    if complete && report.end != commit.synced {
        let text = format!("the entries end at {:?}, but the head says {:?}", report.end, commit.synced);
        return Err(damaged(&found.path, scanner.offset(), text));
    }
    Ok(())
}

/// The entries of a log, in order. At the end it gives `None`, and later those that came since.
pub struct Entries {
    dir: PathBuf,
    scanner: Scanner,
    current: Found,
    /// Entries up to this one are passed over.
    after: u64,
    failed: bool,
}

/// The entries behind entry `after` of the log in a directory, or from its oldest on if that is gone.
pub fn entries(dir: &Path, after: u64) -> Result<Entries> {
    let (sealed, last) = find_all(dir)?;
    let n = sealed.partition_point(|segment| segment.base().sequence <= after).saturating_sub(1);
    let (current, from) = match sealed.get(n) {
        Some(segment) if last.base().sequence > after => {
            let found = segment.reopen()?;
            let points = head::read_index(&found.file, &found.path, &found.head)?;
            let n = points.partition_point(|point| point.sequence <= after);
            let from = n.checked_sub(1).and_then(|n| points.get(n)).copied();
            (found, from.unwrap_or(segment.base()))
        }
        _ => {
            let base = last.base();
            (last, base)
        }
    };
    Ok(Entries { dir: dir.into(), scanner: scan(&current, from), current, after, failed: false })
}

fn scan(found: &Found, from: Mark) -> Scanner {
    Scanner::new(found.file.clone(), &found.path, found.head.fixed, from, found.end())
}

impl Iterator for Entries {
    type Item = Result<OwnedEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.step().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

impl Entries {
    fn step(&mut self) -> Result<Option<OwnedEntry>> {
        loop {
            if let Some(entry) = self.next_here()? {
                return Ok(Some(entry));
            }
            // In this order: when the next segment is there, nothing is added to this one any more.
            let next = self.next_segment()?;
            let (_, size) = recover::identity(&self.current.path, &self.current.file)?;
            self.current.seen.size = size;
            self.scanner.extend(self.current.end());
            if let Some(entry) = self.next_here()? {
                return Ok(Some(entry));
            }
            let Some(next) = next else { return Ok(None) };
            let mark = self.scanner.mark();
            if next.base() != mark || next.head.fixed.stream_id != self.current.head.fixed.stream_id {
                let text = format!("it begins at {:?}, but the segment before it ends at {mark:?}", next.base());
                return Err(damaged(&next.path, 40, text));
            }
            self.scanner = scan(&next, mark);
            self.current = next;
        }
    }

    /// The segment behind this one, if there is one.
    fn next_segment(&self) -> Result<Option<Found>> {
        let listing = recover::list(&self.dir)?;
        let here = self.current.path.file_name();
        let next = listing.segments.iter().find(|path| path.file_name() > here);
        match next {
            // The same name with another head: an epoch began before there was an entry.
            None if self.scanner.mark() == self.current.base() => self.replaced(),
            None => Ok(None),
            Some(path) => recover::find(path, false).map(Some),
        }
    }

    fn replaced(&self) -> Result<Option<Found>> {
        let found = recover::find(&self.current.path, false)?;
        Ok((found.identity != self.current.identity).then_some(found))
    }

    /// The next entry of this segment that is wanted. What is not whole is the end, behind the synced mark.
    fn next_here(&mut self) -> Result<Option<OwnedEntry>> {
        loop {
            let offset = self.scanner.offset();
            let reason = match self.scanner.next()? {
                Step::Entry(entry) if entry.sequence <= self.after => continue,
                Step::Entry(entry) => {
                    let (sequence, previous, timestamp_us) = (entry.sequence, entry.previous, entry.timestamp_us);
                    let payload = entry.payload.to_vec();
                    let (mark, epoch) = (self.scanner.mark(), self.current.head.fixed.epoch);
                    return Ok(Some(OwnedEntry { sequence, previous, timestamp_us, payload, mark, epoch }));
                }
                Step::End => return Ok(None),
                Step::Bad(reason) => reason,
            };
            let synced = self.current.head.commit.synced;
            if self.scanner.mark().position < synced.position {
                let (first, last) = (self.scanner.mark().sequence.saturating_add(1), synced.sequence);
                let text = format!("{reason}; entries {first} to {last} are affected");
                return Err(damaged(&self.current.path, offset, text));
            }
            return Ok(None);
        }
    }
}
