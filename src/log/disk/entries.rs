//! Reads the entries of a log's directory in order, while a writer may add and remove segments.

use std::path::Path;

use super::beside::{TRIES, find_all, is_gone};
use super::dir::Dir;
use super::fault::damaged;
use super::head;
use super::mark::Mark;
use super::recover::{self, Cut, SegmentFile};
use super::scan::{Scanner, Step};
use crate::error::{Error, Result, Status};

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
    /// The boundary right after it.
    pub mark: Mark,
    /// The epoch of its segment.
    pub epoch: u64,
}

/// The entries of a log, in order. At the end it returns `None`, and later the entries appended since.
///
/// If retention removes entries before they are read, it fails once with `SEQUENCE_GAP` and then continues after the
/// gap. Any other error ends it.
pub struct StoredEntries {
    dir: Dir,
    scanner: Scanner,
    current: SegmentFile,
    /// Entries up to this one are skipped.
    after: u64,
    /// Entries are skipped until the first one that is not before this time.
    since_us: Option<u64>,
    torn: Option<Cut>,
    failed: bool,
}

/// Where reading begins.
#[derive(Clone, Copy)]
enum From {
    After(u64),
    Time(u64),
}

/// The entries after entry `after` of the log in a directory, or from its oldest on if that is gone.
pub fn entries(dir: &Path, after: u64) -> Result<StoredEntries> {
    open(dir, From::After(after))
}

/// The entries from the first one on whose timestamp is `timestamp_us` or later.
///
/// Timestamps are the host's. If they do not always rise, entries before that one may be late enough as well: of the
/// segments and index intervals before it, only the last entry is checked.
pub fn entries_since(dir: &Path, timestamp_us: u64) -> Result<StoredEntries> {
    open(dir, From::Time(timestamp_us))
}

impl From {
    /// True for a boundary that is not past the first entry to read.
    fn allows(self, mark: &Mark) -> bool {
        match self {
            From::After(sequence) => mark.sequence <= sequence,
            From::Time(time) => mark.timestamp_us < time,
        }
    }
}

fn open(dir: &Path, from: From) -> Result<StoredEntries> {
    let dir = Dir::open(dir)?;
    let mut tries = 0;
    let (current, mark) = loop {
        let (sealed, last) = find_all(&dir)?;
        let first = sealed.iter().find(|segment| match from {
            From::After(after) => segment.head.commit.synced.sequence > after,
            From::Time(_) => !from.allows(&segment.head.commit.synced),
        });
        let Some(segment) = first else {
            let base = last.base();
            break (last, base);
        };
        tries += 1;
        let found = match segment.reopen(&dir) {
            Err(_) if tries < TRIES && is_gone(&dir, &segment.path)? => continue,
            found => found?,
        };
        let points = head::read_index(&found.file, &found.path, &found.head)?;
        let n = points.iter().position(|point| !from.allows(point)).unwrap_or(points.len());
        let mark = n.checked_sub(1).and_then(|n| points.get(n)).copied().unwrap_or(segment.base());
        break (found, mark);
    };
    let (after, since_us) = match from {
        From::After(after) => (after, None),
        From::Time(time) => (0, Some(time)),
    };
    Ok(StoredEntries { dir, scanner: scan(&current, mark), current, after, since_us, torn: None, failed: false })
}

fn scan(found: &SegmentFile, from: Mark) -> Scanner {
    Scanner::new(found.file.clone(), &found.path, found.head.fixed, from, found.end())
}

impl Iterator for StoredEntries {
    type Item = Result<OwnedEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.step().transpose();
        self.failed = matches!(&next, Some(Err(error)) if error.status != Status::SequenceGap);
        next
    }
}

impl StoredEntries {
    /// After `None`: the bytes after the last entry that are no whole entry. They are an entry that is being written,
    /// or a torn end left by a crash.
    pub fn torn(&self) -> Option<&Cut> {
        self.torn.as_ref()
    }

    /// The boundary after the last entry read; at the end, the end of the log.
    pub fn mark(&self) -> Mark {
        self.scanner.mark()
    }

    fn step(&mut self) -> Result<Option<OwnedEntry>> {
        loop {
            if let Some(entry) = self.next_here()? {
                return Ok(Some(entry));
            }
            // First, because nothing is added to this segment once the next one exists.
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
                match self.pass_gap(next)? {
                    Some(gap) => return Err(gap),
                    None => continue,
                }
            }
            self.scanner = scan(&next, mark);
            self.current = next;
        }
    }

    /// Continues in a segment that does not follow, if retention removed those between. Returns the error that reports
    /// the gap, unless no entry in it was wanted. Fails with `DAMAGED` otherwise.
    fn pass_gap(&mut self, next: SegmentFile) -> Result<Option<Error>> {
        let (mark, base) = (self.scanner.mark(), next.base());
        let ours = next.head.fixed.stream_id == self.current.head.fixed.stream_id;
        if !ours || base.sequence <= mark.sequence || !is_gone(&self.dir, &self.current.path)? {
            let text = format!("it begins at {base:?}, but the segment before it ends at {mark:?}");
            return Err(damaged(&next.path, 40, text));
        }
        self.scanner = scan(&next, base);
        self.current = next;
        let (first, last) = (mark.sequence.max(self.after).saturating_add(1), base.sequence);
        if first > last {
            return Ok(None);
        }
        let dir = self.dir.path().display();
        let text = format!("entries {first} to {last} of {dir} were removed by retention before they were read");
        Ok(Some(Error::new(Status::SequenceGap, text)))
    }

    /// The segment after this one, if there is one.
    fn next_segment(&self) -> Result<Option<SegmentFile>> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.look_for_next() {
                // Removed after the directory was listed.
                Err(_) if tries < TRIES && is_gone(&self.dir, &self.current.path)? => {}
                found => return found,
            }
        }
    }

    fn look_for_next(&self) -> Result<Option<SegmentFile>> {
        // Segments in another directory under the same name belong to another log.
        self.dir.check()?;
        let (here, segments) = (&self.current.path, recover::list(&self.dir)?.segments);
        // An empty segment is replaced by one of a later epoch with the same name.
        if self.scanner.mark() == self.current.base() && segments.contains(here) {
            let found = recover::find(&self.dir, here, false)?;
            if found.identity != self.current.identity {
                return Ok(Some(found));
            }
        }
        let next = segments.iter().find(|path| path.file_name() > here.file_name());
        next.map(|path| recover::find(&self.dir, path, false)).transpose()
    }

    /// The next wanted entry of this segment. After the synced mark, bytes that are no whole entry are the end.
    fn next_here(&mut self) -> Result<Option<OwnedEntry>> {
        self.torn = None;
        loop {
            let offset = self.scanner.offset();
            let synced = self.current.head.commit.synced;
            let gone = self.scanner.mark().position < synced.position;
            let reason = match self.scanner.next()? {
                Step::Entry(entry) if entry.sequence <= self.after => continue,
                Step::Entry(entry) if self.since_us.is_some_and(|since| entry.timestamp_us < since) => continue,
                Step::Entry(entry) => {
                    self.since_us = None;
                    let (sequence, previous, timestamp_us) = (entry.sequence, entry.previous, entry.timestamp_us);
                    let payload = entry.payload.to_vec();
                    let (mark, epoch) = (self.scanner.mark(), self.current.head.fixed.epoch);
                    return Ok(Some(OwnedEntry { sequence, previous, timestamp_us, payload, mark, epoch }));
                }
                Step::End if gone => "zeroes stand where entries were".into(),
                Step::End => return Ok(None),
                Step::Bad(reason) => reason,
            };
            let mark = self.scanner.mark();
            if gone {
                let (first, last) = (mark.sequence.saturating_add(1), synced.sequence);
                let text = format!("{reason}; entries {first} to {last} are affected");
                return Err(damaged(&self.current.path, offset, text));
            }
            let bytes = self.current.size.saturating_sub(offset);
            let path = self.current.path.clone();
            self.torn = Some(Cut { path, offset, bytes, after_sequence: mark.sequence, reason });
            return Ok(None);
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::super::tests::{config, encode, scratch, start, trim};
    use super::super::verify::{inspect, verify};
    use super::super::{DiskConfig, DiskLog};
    use super::*;
    use crate::clock::Now;

    fn sequences(entries: StoredEntries) -> Vec<u64> {
        entries.map(|entry| entry.unwrap().sequence).collect()
    }

    /// A log of small segments with entries of 100 bytes; the timestamp of each is ten times its sequence.
    fn log(dir: &Path, entries: u64, retain_bytes: u64) -> DiskLog {
        let (log, _) = DiskLog::open(DiskConfig { retain_bytes, ..config(dir, 1000) }, start).unwrap();
        append(&log, entries);
        log
    }

    fn append(log: &DiskLog, entries: u64) {
        for _ in 0..entries {
            log.write(&encode(log.written().sequence, &[100])).unwrap();
        }
        log.sync().unwrap();
    }

    #[test]
    fn entries_since_a_time_begin_at_the_first_that_is_late_enough() {
        let dir = scratch();
        let _log = log(dir.path(), 100, u64::MAX);
        for (time, first) in [(0, 1), (10, 1), (11, 2), (505, 51), (1000, 100)] {
            let found = sequences(entries_since(dir.path(), time).unwrap());
            assert!(found.iter().copied().eq(first..=100), "{time}: {found:?}");
        }
        assert!(sequences(entries_since(dir.path(), 1001).unwrap()).is_empty());
    }

    /// P2: retention that was faster than a reader is said, not passed over.
    #[test]
    fn p2_entries_that_were_removed_meanwhile_are_a_gap() {
        let dir = scratch();
        let log = log(dir.path(), 100, 1);
        let mut slow = entries(dir.path(), 0).unwrap();
        let mut ahead = entries(dir.path(), 0).unwrap();
        ahead.after = 99;
        assert_eq!(slow.next().unwrap().unwrap().sequence, 1);
        trim(&log, u64::MAX, Now::default()).unwrap();
        let oldest = log.oldest().sequence;
        assert!(oldest > 20);
        let mut seen = vec![1];
        let gap = loop {
            match slow.next().unwrap() {
                Ok(entry) => seen.push(entry.sequence),
                Err(error) => break error,
            }
        };
        // The file that it had open is read to its end.
        let last = *seen.last().unwrap();
        assert!(seen.iter().copied().eq(1..=last), "{seen:?}");
        assert_eq!(gap.status, Status::SequenceGap);
        assert!(gap.message.contains(&format!("entries {} to {oldest} of ", last + 1)), "{gap}");
        assert!(sequences(slow).into_iter().eq(oldest + 1..=100));
        // A gap in which nothing was wanted is none.
        assert_eq!(sequences(ahead), [100]);
    }

    /// An empty segment is replaced when an epoch begins; its file may have been opened before.
    #[test]
    fn p2_a_tail_in_a_replaced_segment_goes_on_in_the_one_that_took_its_place() {
        let dir = scratch();
        let log = log(dir.path(), 3, u64::MAX);
        log.begin_epoch(2).unwrap();
        let mut tail = entries(dir.path(), 0).unwrap();
        assert_eq!(tail.by_ref().count(), 3);
        assert_eq!(tail.current.head.fixed.epoch, 2);
        log.begin_epoch(3).unwrap();
        append(&log, 20);
        let epochs: Vec<_> =
            tail.by_ref().map(|entry| entry.unwrap()).map(|entry| (entry.sequence, entry.epoch)).collect();
        assert!(epochs.into_iter().eq((4..=23).map(|sequence| (sequence, 3))));
    }

    /// Between two looks at the directory segments go: nothing fails, and what is told begins after them.
    #[test]
    fn a_check_beside_retention_begins_after_what_it_removed() {
        // Large segments, so that progress is told in the first one.
        let large = scratch();
        let mut trimmed = false;
        let (log, _) = DiskLog::open(DiskConfig { retain_bytes: 1, ..config(large.path(), 5 << 20) }, start).unwrap();
        for _ in 0..200 {
            log.write(&encode(log.written().sequence, &[100_000])).unwrap();
        }
        log.sync().unwrap();
        let report = verify(large.path(), &mut |_, _| {
            if !std::mem::replace(&mut trimmed, true) {
                trim(&log, u64::MAX, Now::default()).unwrap();
            }
        });
        let report = report.unwrap();
        assert_eq!((report.segments, report.oldest, report.end), (1, log.oldest(), log.written()));
        assert_eq!(report.entries, 200 - log.oldest().sequence);
        assert!(report.trimmed >= 3, "{report:?}");
    }

    #[test]
    fn an_inspection_tells_what_is_durable_and_what_is_only_there() {
        let dir = scratch();
        let log = log(dir.path(), 25, u64::MAX);
        log.write(&encode(25, &[100, 100])).unwrap();
        let found = inspect(dir.path()).unwrap();
        assert_eq!((found.durable, found.end), (log.synced(), log.written()));
        assert_eq!((found.durable.sequence, found.end.sequence, found.torn), (25, 27, None));
        let firsts: Vec<_> = found.segments.iter().map(|segment| segment.first.unwrap().sequence).collect();
        let bases: Vec<_> = found.segments.iter().map(|segment| segment.base.sequence + 1).collect();
        assert_eq!(firsts, bases);
        assert!(
            found
                .segments
                .iter()
                .all(|segment| segment.first.unwrap().timestamp_us == (segment.base.sequence + 1) * 10)
        );

        drop(log);
        let path = &found.segments.last().unwrap().path;
        let file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        std::io::Write::write_all(&mut &file, &encode(27, &[50])[..40]).unwrap();
        let torn = inspect(dir.path()).unwrap().torn.unwrap();
        assert_eq!((torn.bytes, torn.after_sequence), (40, 27));
        assert_eq!(verify(dir.path(), &mut |_, _| {}).unwrap().torn, Some(torn.clone()));
        let mut all = entries(dir.path(), 26).unwrap();
        assert_eq!((all.next().unwrap().unwrap().sequence, all.next()), (27, None));
        assert_eq!(all.torn(), Some(&torn));
    }

    /// A writer in the middle of an entry leaves no torn end.
    #[test]
    fn an_entry_that_is_being_written_is_waited_for() {
        let dir = &scratch();
        let log = log(dir.path(), 3, u64::MAX);
        let path = inspect(dir.path()).unwrap().segments[0].path.clone();
        let file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        let next = encode(3, &[500]);
        std::io::Write::write_all(&mut &file, &next[..100]).unwrap();
        let report = std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let checked = scope.spawn(move || {
                tell.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
                verify(dir.path(), &mut |_, _| {}).unwrap()
            });
            // It sleeps between two looks at that entry, and nowhere else.
            let status = Path::new("/proc").join(told.recv().unwrap()).join("status");
            while !std::fs::read_to_string(&status).unwrap().contains("State:\tS") {
                std::thread::yield_now();
            }
            std::io::Write::write_all(&mut &file, &next[100..]).unwrap();
            checked.join().unwrap()
        });
        assert_eq!((report.torn, report.end.sequence, report.entries), (None, 4, 4));
        drop(log);
    }
}
