//! The log's calls that go to its disk side, if it has one.

use std::time::{Duration, Instant};

use super::{Ended, Storage};
use crate::clock;
use crate::engine::disk::SyncPolicy;
use crate::engine::stall::DiskNews;
use crate::error::{Error, Result, Status};
use crate::log::disk::DiskLog;
use crate::log::{Log, UpkeepNews};

impl Log {
    /// Stores appended entries until the log is closed or the disk fails. Needs a thread of its own; returns at once if
    /// the log is in memory only.
    pub fn store(&self, report: &mut dyn FnMut(DiskNews)) -> Result<()> {
        self.storage.as_ref().map_or(Ok(()), |storage| storage.run(&self.memory, report))
    }

    /// Whether [`Self::sync_ahead`] has anything to do.
    pub fn syncs_ahead(&self) -> bool {
        self.storage.as_ref().is_some_and(|storage| storage.policy == SyncPolicy::Os)
    }

    /// Under [`SyncPolicy::Os`], syncs what [`Self::store`] has written, until that ends. Needs a thread of its own.
    /// Without it, only the change from one segment to the next takes longer.
    pub fn sync_ahead(&self) {
        if let Some(storage) = self.storage.as_ref().filter(|_| self.syncs_ahead()) {
            storage.sync_ahead(&self.memory);
        }
    }

    /// Removes old segments and prepares the next segment's file, until [`Self::store`] ends. Needs a thread of its
    /// own.
    pub fn keep(&self, report: &mut dyn FnMut(UpkeepNews)) {
        if let Some(storage) = &self.storage {
            storage.keep(report);
        }
    }

    /// Waits until the entry `sequence` is durable on this node's disk. Fails with `InvalidState` for a log in memory.
    pub fn wait_durable(&self, sequence: u64, timeout: Duration) -> Result<()> {
        let Some(storage) = &self.storage else {
            return Err(Error::new(Status::InvalidState, "the log is in memory only: wal_dir is not set"));
        };
        let end = self.memory.appender.lock().end;
        if sequence > end.sequence {
            let text = format!("sequence {sequence} was not replicated yet, the last one is {}", end.sequence);
            return Err(Error::new(Status::InvalidArgument, text));
        }
        // Waits for the end of the log, which is a little more, but saves finding the entry's position.
        storage.wait_synced(sequence, end.position, clock::instant().checked_add(timeout), false)
    }

    /// The last entry confirmed as durable, if there is a disk side.
    pub fn durable_sequence(&self) -> Option<u64> {
        self.storage.as_ref().map(Storage::synced_sequence)
    }

    /// Keeps entries after `position` on disk, whatever retention says. `u64::MAX`: none are needed.
    pub fn hold_from(&self, position: u64) {
        if let Some(storage) = &self.storage {
            storage.hold_from(position);
        }
    }

    /// Requests a sync of everything appended so far, so that it is shown to readers, because a caller waits for them.
    pub fn request_sync(&self) {
        if let Some(storage) = self.storage.as_ref().filter(|storage| storage.policy != SyncPolicy::Os) {
            storage.request_sync();
        }
    }

    /// Waits until everything is stored after [`Self::close`]. A disk that still refuses at `deadline` is given up; a
    /// system call that does not return gets `patience` more.
    pub fn end_by(&self, deadline: Instant, patience: Duration) -> Ended {
        self.storage.as_ref().map_or(Ended::All, |storage| storage.wait_over(deadline, patience))
    }

    /// Why the disk refuses writes, if it does.
    pub fn storage_error(&self) -> Option<Error> {
        self.storage.as_ref().and_then(|storage| storage.state.lock().failed.clone())
    }

    /// Whether the disk side has failed for good. A disk that only refuses for now has not.
    pub fn is_storage_lost(&self) -> bool {
        self.storage.as_ref().is_some_and(|storage| {
            let state = storage.state.lock();
            state.failed.is_some() && !state.stalled
        })
    }

    /// The disk side, if there is one.
    pub fn disk(&self) -> Option<&DiskLog> {
        self.storage.as_ref().map(Storage::disk)
    }
}
