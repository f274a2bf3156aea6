//! Retention: whole segments go from the front.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::segment::Sealed;
use super::{DiskConfig, DiskLog, Mark, State, file};
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
    /// Removes segments from the front while the log is larger than `retain_bytes`, or while the last entry of the first
    /// segment was written more than `retain_age` before `now`; but none that has something at or behind the position
    /// `keep_from` (`u64::MAX`: nobody needs anything), and never the last one. Segments of an earlier process are as old
    /// as the wall clock says only while that clock can be believed.
    ///
    /// Who has a [`Stretch`](super::Stretch) of a removed segment can still read it. A segment that cannot be removed is an
    /// error when it is the first one, and makes no log unusable: see [`DiskLog::is_usable`].
    pub fn trim(&self, keep_from: u64, now: Now) -> Result<Vec<Trimmed>> {
        let mut trimmed = Vec::new();
        loop {
            match self.trim_one(keep_from, now) {
                Ok(Some(segment)) => trimmed.push(segment),
                Ok(None) => return Ok(trimmed),
                // The next call tells.
                Err(_) if !trimmed.is_empty() && self.is_usable() => return Ok(trimmed),
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the first segment if [`DiskLog::trim`] would. It is not read any more from the moment at which this begins;
    /// if it fails, the next call tries to remove the same one.
    pub fn trim_one(&self, keep_from: u64, now: Now) -> Result<Option<Trimmed>> {
        let mut ages = self.trimming.lock();
        ages.observe(now);
        let mut state = self.usable(self.state.lock())?;
        if state.going.is_none() {
            match given_up(&self.config, &state, &ages, now) {
                Some(first) if first.end().position <= keep_from => drop(state.let_go()),
                _ => return Ok(None),
            }
        }
        let Some(segment) = state.going.clone() else { return Ok(None) };
        drop(state);
        self.forget(&segment);
        file::unlink(&self.dir, &segment.path).map_err(|fault| self.fault(fault))?;
        // Each by itself: were two names removed and only the second one's removal survived a loss of power, a hole
        // would be left.
        file::sync_dir(&self.dir).map_err(|fault| self.fault(fault))?;
        self.state.lock().gone();
        Ok(Some(Trimmed {
            epoch: segment.head.fixed.epoch,
            after_sequence: segment.base().sequence,
            last_sequence: segment.end().sequence,
            bytes: segment.size(),
            path: segment.path.clone(),
        }))
    }

    /// The end of the first segment, if retention gives it up at `now`, whoever needs it.
    pub fn first_given_up(&self, now: Now) -> Option<Mark> {
        let mut ages = self.trimming.lock();
        ages.observe(now);
        let state = self.state.lock();
        match &state.going {
            Some(going) => Some(going.end()),
            None => given_up(&self.config, &state, &ages, now).map(|first| first.end()),
        }
    }

    /// Completes the active segment if its first entry was written `age` before `now` or earlier, so that retention by age
    /// reaches a segment that is not full. True if it did.
    pub fn roll_older_than(&self, age: Duration, now: Now) -> Result<bool> {
        let mut ages = self.trimming.lock();
        ages.observe(now);
        let _writing = self.writing.lock();
        let filled = self.usable(self.state.lock())?.active.filled;
        if filled.is_none_or(|(first, _)| ages.of(first, now) < age) {
            return Ok(false);
        }
        self.roll(None).map(|()| true)
    }
}

/// The first segment, if it goes for the log's size or its own age.
fn given_up<'a>(config: &DiskConfig, state: &'a State, ages: &Ages, now: Now) -> Option<&'a Arc<Sealed>> {
    let first = state.sealed.front()?;
    // The host's timestamps may be anything. Where it is not known when the last entry was written, it was before the
    // segment behind it was made.
    let next = state.sealed.get(1).map_or(state.active.made, |next| next.made);
    let old = ages.of(first.ended.unwrap_or(next), now) > config.retain_age;
    (old || state.bytes() > config.retain_bytes).then_some(first)
}
