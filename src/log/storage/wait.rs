//! Waiting for the disk side: until an entry is durable, and until its threads have ended.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Ended, Storage};
use crate::clock;
use crate::error::{Error, Result, Status};

impl Storage {
    /// Waits until the threads of the disk side have ended. A disk that still refuses at `deadline` is given up; a
    /// system call that does not return gets `patience` more.
    pub(super) fn wait_over(&self, deadline: Instant, patience: Duration) -> Ended {
        let mut state = self.state.lock();
        state.until = Some(deadline);
        self.work.notify_all();
        let deadline = deadline + patience;
        while (!state.over || state.syncing_ahead || state.keeping) && clock::instant() < deadline {
            state = self.durable.wait(state, Some(deadline));
        }
        match (state.over, state.syncing_ahead || state.keeping) {
            (true, false) => Ended::All,
            (true, true) => Ended::Stored,
            (false, _) => Ended::Not,
        }
    }

    /// Requests a sync of everything appended so far, before the policy's interval is over.
    pub(super) fn request_sync(&self) {
        let mut state = self.state.lock();
        state.wanted = self.appended.end();
        self.notify(&mut state);
    }

    /// The last entry confirmed as durable.
    pub(super) fn synced_sequence(&self) -> u64 {
        self.synced_sequence.load(Ordering::Acquire)
    }

    /// Waits until the entry `sequence` is durable, which it is when everything before `position` is. Unless `patient`,
    /// a disk that has refused an attempt made for this wait ends it.
    pub(in crate::log) fn wait_synced(
        &self,
        sequence: u64,
        position: u64,
        deadline: Option<Instant>,
        patient: bool,
    ) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            if self.synced_sequence() >= sequence {
                return Ok(());
            }
            if state.wanted < position {
                state.wanted = position;
                self.notify(&mut state);
            }
            let failed = state.failed.as_ref();
            let over = deadline.is_some_and(|deadline| clock::instant() >= deadline);
            let is_final = !state.stalled || !patient && (state.refused >= position || over);
            if let Some(error) = failed.filter(|_| is_final) {
                return Err(error.clone());
            }
            if state.over {
                return Err(Error::new(Status::Closed, "the log was closed before the entry was durable"));
            }
            if over {
                let why = failed.map(|error| format!(": {}", error.message)).unwrap_or_default();
                return Err(Error::new(Status::Timeout, format!("the entry is in the log, but not durable yet{why}")));
            }
            state = self.durable.wait(state, deadline);
        }
    }
}
