//! What is left to do for a log that lost its directory: to save what was taken before.

use super::{DiskLog, Purpose};
use crate::error::Result;

/// Writes to the files that a log had before it lost its directory. Nothing of it is confirmed: it is for whoever finds
/// the directory.
#[derive(Debug)]
pub struct Rescue<'a>(&'a DiskLog);

impl DiskLog {
    /// After the log lost its directory: the way to write and sync once more what was taken before, to the files that the
    /// log had. `None` if it did not, or if they are gone or somebody else may have opened them.
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
