//! Retention: removes whole segments, the oldest first.

use std::sync::Arc;
use std::time::Duration;

use super::segment::Sealed;
use super::{DiskLog, Mark, Purpose, State, file};
use crate::clock::{Ages, Now};
use crate::error::Result;

impl DiskLog {
    /// Removes the first segment and returns its end, if the log is larger than `retain_bytes` or the segment's last
    /// entry was written more than `retain_age` before `now`. Keeps it if it has entries after the position `keep_from`
    /// (`u64::MAX`: none are needed), and never removes the last one. The age of segments of an earlier process follows
    /// the wall clock, as far as that can be trusted.
    ///
    /// From the beginning of this call the segment is no longer read, but an existing [`FileRange`](super::FileRange)
    /// of it can still be. If it cannot be removed, the next call tries again; that alone does not make the log
    /// unusable, see [`DiskLog::is_usable`].
    pub fn trim_one(&self, keep_from: u64, now: Now) -> Result<Option<Mark>> {
        let mut ages = self.trimming.lock();
        ages.observe(now);
        let mut state = self.usable(self.state.lock(), Purpose::Confirm)?;
        if state.removing.is_none() {
            match expired(&state, &ages, now) {
                Some(first) if first.end().position <= keep_from => drop(state.remove_first()),
                _ => return Ok(None),
            }
        }
        let Some(segment) = state.removing.clone() else { return Ok(None) };
        drop(state);
        self.forget(&segment);
        file::unlink(&self.dir, &segment.path).map_err(|fault| self.fault(fault))?;
        // One sync for each removal: if only the second of two survived a loss of power, there would be a gap.
        file::sync_dir(&self.dir).map_err(|fault| self.fault(fault))?;
        self.state.lock().removed();
        Ok(Some(segment.end()))
    }

    /// The end of the first segment, if it exceeds the retention at `now`, whether or not its entries are needed.
    pub fn first_expired(&self, now: Now) -> Option<Mark> {
        let mut ages = self.trimming.lock();
        ages.observe(now);
        let state = self.state.lock();
        match &state.removing {
            Some(segment) => Some(segment.end()),
            None => expired(&state, &ages, now).map(|first| first.end()),
        }
    }

    /// Completes the active segment if its first entry was written `age` before `now` or earlier, so that retention by
    /// age reaches a segment that does not fill up. Returns whether it did.
    pub fn roll_older_than(&self, age: Duration, now: Now) -> Result<bool> {
        let mut ages = self.trimming.lock();
        ages.observe(now);
        let _writing = self.writing.lock();
        let filled = self.usable(self.state.lock(), Purpose::Confirm)?.active.filled;
        if filled.is_none_or(|(first, _)| ages.of(first, now) < age) {
            return Ok(false);
        }
        self.roll(None, Purpose::Confirm).map(|()| true)
    }
}

/// The first segment, if it exceeds the retention by the log's size or its own age.
fn expired<'a>(state: &'a State, ages: &Ages, now: Now) -> Option<&'a Arc<Sealed>> {
    let first = state.sealed.front()?;
    // The host's timestamps may be anything. If it is not known when the last entry was written, the creation of the
    // next segment is a bound.
    let next = state.sealed.get(1).map_or(state.active.made, |next| next.made);
    let (retain_bytes, retain_age) = state.retention;
    let old = ages.of(first.ended.unwrap_or(next), now) > retain_age;
    (old || state.bytes() > retain_bytes).then_some(first)
}
