//! Writing: appends entries, syncs, and begins new segments.

use super::fault::Fault;
use super::file;
use super::head::{self, Fixed};
use super::mark::Mark;
use super::op::Op;
use super::recover::{self, Points};
use super::segment::Active;
use super::{DiskLog, Purpose};
use crate::clock::{self, Stamp};
use crate::error::{Error, Result, Status};
use crate::protocol::entry::Entry;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// Writes of at least this size reserve no space: writing that much twice takes longer than it spares the sync.
const LARGE_WRITE: u64 = 32 << 10;

/// The part of a write that goes to one segment.
struct SegmentPart {
    bytes: Range<usize>,
    points: Points,
    end: Mark,
}

impl DiskLog {
    /// Appends whole entries and returns the new end. They are durable after the next [`DiskLog::sync`].
    ///
    /// Checks each entry as a read does, and writes nothing if one is wrong (`INVALID_ARGUMENT`). After another failure
    /// the log may have the first of the entries, those that went to an earlier segment: continue at
    /// [`DiskLog::written`]. `DISK_FULL` and `STALLED` may pass: try again. After `IO` the log must be opened again.
    pub fn write(&self, bytes: &[u8]) -> Result<Mark> {
        self.write_parts(bytes, false, Purpose::Confirm)?;
        Ok(self.written())
    }

    /// The same for entries whose checksums this process has computed or checked. Checks only that they follow one
    /// another.
    pub fn write_verified(&self, bytes: &[u8]) -> Result<Mark> {
        self.write_parts(bytes, true, Purpose::Confirm)?;
        Ok(self.written())
    }

    pub(super) fn write_parts(&self, bytes: &[u8], verified: bool, purpose: Purpose) -> Result<()> {
        let _writing = self.writing.lock();
        drop(self.usable(self.state.lock(), purpose)?);
        let (parts, mut rolls) = self.plan(bytes, verified)?;
        for part in parts {
            if std::mem::replace(&mut rolls, true) {
                self.roll(None, purpose)?;
            }
            self.put(&bytes[part.bytes.clone()], part)?;
        }
        Ok(())
    }

    /// Divides a write among segments. Also returns whether a new segment is needed before the first part.
    fn plan(&self, bytes: &[u8], verified: bool) -> Result<(Vec<SegmentPart>, bool)> {
        let state = self.state.lock();
        let (mut base, mut end, sealed) = (state.active.fixed.base, state.written, state.active.commit.sealed);
        let mut points = state.active.points.ahead();
        drop(state);
        let (mut parts, mut begun, mut at) = (Vec::new(), 0, 0);
        let mut rolls = sealed && !bytes.is_empty();
        if rolls {
            (base, points) = (end, Points::new(end, self.config.spacing()));
        }
        while at < bytes.len() {
            let (mark, length) = next_entry(end, &bytes[at..], at, verified)?;
            let used = end.position - base.position;
            if used > 0 && used.saturating_add(length as u64) > self.config.segment_bytes {
                let next = Points::new(end, self.config.spacing());
                let points = std::mem::replace(&mut points, next);
                if at > begun {
                    parts.push(SegmentPart { bytes: begun..at, points, end });
                } else {
                    rolls = true;
                }
                (base, begun) = (end, at);
            }
            points.pass(mark);
            (end, at) = (mark, at + length);
        }
        if at > begun {
            parts.push(SegmentPart { bytes: begun..at, points, end });
        }
        Ok((parts, rolls))
    }

    /// Writes one part to the active segment.
    fn put(&self, bytes: &[u8], part: SegmentPart) -> Result<()> {
        self.cut_torn().map_err(|fault| self.fault(fault))?;
        let (file, path, offset, length) = {
            let state = self.state.lock();
            let active = &state.active;
            (active.file.clone(), active.path.clone(), active.fixed.offset(state.written.position), active.length)
        };
        let end = offset + bytes.len() as u64;
        let length = if end <= length { length } else { self.reserve(&file, &path, length, (bytes.len() as u64, end)) };
        if let Err(fault) = file::write_at(Op::WriteEntries, &file, &path, offset, bytes) {
            let last = self.written().sequence;
            let mut error = self.fault(fault);
            error.message = format!("entries {} to {}: {}", last.saturating_add(1), part.end.sequence, error.message);
            self.state.lock().active.torn = true;
            if let Err(fault) = self.cut_torn() {
                error.message = format!("{}; then: {}", error.message, fault.error.message);
            }
            return Err(error);
        }
        let mut state = self.state.lock();
        state.active.points.join(part.points);
        state.active.length = length;
        state.active.fill(Stamp::Here { boot_us: clock::boot_us() });
        state.written = part.end;
        Ok(())
    }

    /// Cuts off the bytes that a failed write left after the end. They may be whole entries, in place of which others
    /// may come.
    fn cut_torn(&self) -> Result<(), Fault> {
        let state = self.state.lock();
        if !state.active.torn {
            return Ok(());
        }
        let offset = state.active.fixed.offset(state.written.position);
        let (file, path) = (state.active.file.clone(), state.active.path.clone());
        drop(state);
        file::truncate(&file, &path, offset)?;
        let mut state = self.state.lock();
        (state.active.length, state.active.torn) = (offset, false);
        Ok(())
    }

    /// Reserves space for `bytes` of entries that will end at `end`, and for more. Returns the file's length after they
    /// are written.
    fn reserve(&self, file: &File, path: &Path, length: u64, (bytes, end): (u64, u64)) -> u64 {
        if bytes > LARGE_WRITE {
            return end;
        }
        let full = head::HEAD_BYTES.saturating_add(self.config.segment_bytes);
        let wanted = end.saturating_add(self.config.reserve_bytes).min(full);
        // If this fails, so does the write, which reports why.
        if wanted > end && file::reserve(file, path, length, wanted - length).is_ok() { wanted } else { end }
    }

    /// Makes everything durable that was written before the call, and returns its end.
    ///
    /// Other threads may write and read meanwhile. After `IO` the log must be opened again.
    pub fn sync(&self) -> Result<Mark> {
        self.sync_for(Purpose::Confirm)
    }

    pub(super) fn sync_for(&self, purpose: Purpose) -> Result<Mark> {
        let _syncing = self.syncing.lock();
        self.check_place(purpose)?;
        let state = self.usable(self.state.lock(), purpose)?;
        let (written, active) = (state.written, &state.active);
        if written == state.synced {
            return Ok(written);
        }
        let (file, path, fixed, commit) = (active.file.clone(), active.path.clone(), active.fixed, active.commit);
        drop(state);

        if mutant!("commit-before-sync") {
            let _ = head::write_commit(&file, &path, &fixed, &commit.next(written));
        }
        file::sync(Op::SyncEntries, &file, &path).map_err(|fault| self.fault(fault))?;
        let commit = commit.next(written);
        // The entries are durable. If only the commit cannot be written, the next sync writes another.
        if head::write_commit(&file, &path, &fixed, &commit).is_ok() {
            self.state.lock().active.commit = commit;
        }
        self.confirm(written, purpose)?;
        Ok(written)
    }

    /// Confirms everything before `end` as durable, unless the log has become unusable meanwhile.
    fn confirm(&self, end: Mark, purpose: Purpose) -> Result<()> {
        let mut state = self.usable(self.state.lock(), purpose)?;
        if purpose == Purpose::Confirm {
            state.synced = end;
        }
        Ok(())
    }

    /// Begins a higher epoch of the same stream after the last entry. It is durable when this returns.
    pub fn begin_epoch(&self, epoch: u64) -> Result<()> {
        let _writing = self.writing.lock();
        let present = self.usable(self.state.lock(), Purpose::Confirm)?.active.fixed.epoch;
        if epoch <= present {
            let text = format!("epoch {epoch} cannot begin in epoch {present}; epochs rise");
            return Err(Error::new(Status::InvalidArgument, text));
        }
        self.roll(Some(epoch), Purpose::Confirm)
    }

    /// Completes the active segment and begins another, in a new epoch if one is given. An empty segment is replaced.
    ///
    /// After a failure the next call repeats whatever is not known to be done.
    pub(super) fn roll(&self, epoch: Option<u64>, purpose: Purpose) -> Result<()> {
        let _syncing = self.syncing.lock();
        self.check_place(purpose)?;
        let state = self.usable(self.state.lock(), purpose)?;
        let (end, old) = (state.written, state.active.fixed);
        drop(state);
        if end.sequence == u64::MAX {
            let text = format!("no sequence is left after {}", end.sequence);
            return Err(Error::new(Status::InvalidState, text));
        }
        let (epoch, epoch_start) = epoch.map_or((old.epoch, old.epoch_start), |epoch| (epoch, end.sequence));
        let now = clock::now();
        let fixed = Fixed { epoch, epoch_start, base: end, created_us: now.wall_us, ..old };
        let not_begun = |fault: Fault| {
            let mut error = self.fault(fault);
            error.message = format!("a segment for entries from {} on: {}", end.sequence + 1, error.message);
            error
        };
        // Nothing may be written after a seal, so the active segment is not sealed before the next one has its
        // descriptor and its space.
        self.next.complete(&self.dir, &head::encode_new(&fixed)).map_err(not_begun)?;
        if end == old.base {
            // The replacement may have happened in spite of a failure. Then nothing is written to the file that was
            // replaced.
            self.state.lock().active.commit.sealed = true;
        } else {
            self.seal(purpose)?;
        }
        let active = Active::create(&self.dir, &self.next, fixed, self.config.spacing(), now).map_err(not_begun)?;
        self.state.lock().begin(active);
        Ok(())
    }

    /// Completes the active segment: syncs its entries, then writes its index and seals it.
    fn seal(&self, purpose: Purpose) -> Result<()> {
        let state = self.usable(self.state.lock(), purpose)?;
        let (active, end, synced) = (&state.active, state.written, state.synced);
        if active.commit.sealed {
            return Ok(());
        }
        let (file, path, fixed, commit) = (active.file.clone(), active.path.clone(), active.fixed, active.commit);
        let points = head::thin(&active.points.taken);
        drop(state);

        // This also gives back space from a reservation that failed half way.
        let (offset, length) = (fixed.offset(end.position), recover::identity(&path, &file).map_err(Error::passing)?.1);
        if length > offset {
            file::truncate(&file, &path, offset).map_err(|fault| self.fault(fault))?;
            let mut state = self.state.lock();
            (state.active.length, state.active.torn) = (offset, false);
        }
        if mutant!("sealed-before-sync") {
            self.confirm(end, purpose)?;
        } else if synced != end {
            file::sync(Op::SyncEntries, &file, &path).map_err(|fault| self.fault(fault))?;
            self.confirm(end, purpose)?;
        } else {
            // The last commit was written after the last sync, and the seal overwrites the one before it.
            file::sync(Op::SyncTruncate, &file, &path).map_err(|fault| self.fault(fault))?;
        }
        let write = || {
            let commit = head::write_index(&file, &path, &commit, &points, end)?;
            head::write_commit(&file, &path, &fixed, &commit)?;
            file::sync(Op::SyncSeal, &file, &path)?;
            Ok(commit)
        };
        let commit = write().map_err(|fault| self.fault(fault))?;
        self.state.lock().active.commit = commit;
        Ok(())
    }
}

/// The mark after the first entry of `bytes`, and that entry's length.
fn next_entry(end: Mark, bytes: &[u8], at: usize, verified: bool) -> Result<(Mark, usize)> {
    let wrong = |text: String| {
        let text = format!("byte {at} of what is to be written after entry {}: {text}", end.sequence);
        Error::new(Status::InvalidArgument, text)
    };
    let entry = if verified { Entry::decode(bytes) } else { Entry::decode_checked(bytes) };
    let entry = entry.map_err(|error| wrong(error.to_string()))?;
    let mark = end.after(&entry, bytes).map_err(wrong)?;
    Ok((mark, entry.encoded_len()))
}
