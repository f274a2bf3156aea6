//! Counts the tasks that serve connections.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::sync::{Condvar, Mutex};

/// The number of tasks that serve connections. `stop` waits for it to become zero, up to its time-out.
#[derive(Default)]
pub(super) struct Tasks {
    running: Mutex<usize>,
    ended: Condvar,
}

/// Counts one task while it lives.
pub(super) struct Task(Arc<Tasks>);

impl Task {
    pub(super) fn begin(tasks: &Arc<Tasks>) -> Self {
        *tasks.running.lock() += 1;
        Self(Arc::clone(tasks))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.ended.notify_all();
    }
}

impl Tasks {
    /// Waits until no task is left. Returns `false` if the time passed first.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let deadline = clock::instant() + timeout;
        let mut running = self.running.lock();
        while *running > 0 && clock::instant() < deadline {
            running = self.ended.wait(running, Some(deadline));
        }
        *running == 0
    }
}
