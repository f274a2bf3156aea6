//! Saves the entries that a log accepted before it lost its directory.

use super::{DiskLog, Purpose};
use crate::error::Result;

/// Writes to the files that a log had before it lost its directory, for whoever finds that directory. Nothing is
/// confirmed as durable.
#[derive(Debug)]
pub struct Rescue<'a>(&'a DiskLog);

impl DiskLog {
    /// Returns the means to write and sync to the log's files after it lost its directory. `None` if it did not lose
    /// it, or if the files are gone or another process may have opened them.
    pub fn rescue(&self) -> Option<Rescue<'_>> {
        let is_lost = self.state.lock().broken.as_ref().is_some_and(|broken| broken.lost);
        (is_lost && self.dir.is_still_ours()).then_some(Rescue(self))
    }
}

impl Rescue<'_> {
    /// As [`DiskLog::write_verified`].
    pub fn write_verified(&self, bytes: &[u8]) -> Result<()> {
        self.0.write_parts(bytes, true, Purpose::Rescue)
    }

    /// As [`DiskLog::sync`], but [`DiskLog::synced`] stays where it is.
    pub fn sync(&self) -> Result<()> {
        self.0.sync_for(Purpose::Rescue).map(drop)
    }
}
