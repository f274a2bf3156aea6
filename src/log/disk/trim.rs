//! Retention: whole segments go from the front.

use std::path::PathBuf;
use std::sync::Arc;

use super::segment::Sealed;
use super::{DiskLog, State, file};
use crate::clock::{Ages, Now};
use crate::error::Result;

/// A segment that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// Where it was.
    pub path: PathBuf,
    /// Its epoch.
    pub epoch: u64,
    /// The last sequence before its first entry.
    pub after_sequence: u64,
    /// Its last entry.
    pub last_sequence: u64,
    /// Bytes on disk that are free now.
    pub bytes: u64,
}

impl DiskLog {
    /// Removes segments from the front while the log is larger than `retain_bytes`, or while the first segment
    /// ended more than `retain_age` before `now`; but none that has something at or behind the position `keep_from`
    /// (`u64::MAX`: nobody needs anything), and never the last one. Segments of an earlier process are as old as the wall
    /// clock says only while that clock can be believed.
    ///
    /// Who has a [`Stretch`](super::Stretch) of a removed segment can still read it. A segment that cannot be removed is an
    /// error when it is the first one, and makes no log unusable: see [`DiskLog::is_usable`].
    pub fn trim(&self, keep_from: u64, now: Now) -> Result<Vec<Trimmed>> {
        let mut ages = self.trimming.lock();
        ages.observe(now);
        let mut trimmed = Vec::new();
        loop {
            let state = self.usable(self.state.lock())?;
            let Some(segment) = self.to_remove(&state, keep_from, &ages, now) else { return Ok(trimmed) };
            drop(state);
            match file::unlink(&self.dir, &segment.path) {
                Ok(()) => {}
                // The next call tells.
                Err(_) if !trimmed.is_empty() => return Ok(trimmed),
                Err(fault) => return Err(self.fault(fault)),
            }
            self.state.lock().sealed.pop_front();
            self.forget(&segment);
            // Each by itself: were two names removed and only the second one's removal survived a loss of power, a hole
            // would be left.
            file::sync_dir(&self.dir).map_err(|fault| self.fault(fault))?;
            trimmed.push(Trimmed {
                epoch: segment.head.fixed.epoch,
                after_sequence: segment.base().sequence,
                last_sequence: segment.end().sequence,
                bytes: segment.size(),
                path: segment.path.clone(),
            });
        }
    }

    fn to_remove(&self, state: &State, keep_from: u64, ages: &Ages, now: Now) -> Option<Arc<Sealed>> {
        let first = state.sealed.front()?;
        // The host's timestamps may be anything: the age is that of the segment behind it, which began when this one ended.
        let ended = state.sealed.get(1).map_or(state.active.made, |next| next.made);
        let old = ages.of(ended, now) > self.config.retain_age;
        let given_up = old || state.bytes() > self.config.retain_bytes;
        (given_up && first.end().position <= keep_from).then(|| first.clone())
    }
}
