//! The log's timeline, shared by the threads that add to it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Now;
use crate::engine::writer::timeline::{SPACING_US, Timeline};
use crate::sync::Mutex;

/// The timeline of a sender's log.
pub(super) struct Milestones {
    /// When the next mark is due.
    due_us: AtomicU64,
    timeline: Mutex<Timeline>,
}

impl Milestones {
    /// Begins at `sequence`, the last entry of the log.
    pub(super) fn new(boot_us: u64, sequence: u64) -> Self {
        let timeline = Mutex::new(Timeline::new(boot_us, sequence));
        Self { due_us: boot_us.saturating_add(SPACING_US).into(), timeline }
    }

    /// Notes that the log ends at `sequence`. Cheap unless a mark is due.
    pub(super) fn note(&self, boot_us: u64, sequence: u64) {
        if boot_us < self.due_us.load(Ordering::Relaxed) {
            return;
        }
        let mut timeline = self.timeline.lock();
        timeline.note(boot_us, sequence);
        self.due_us.store(boot_us.saturating_add(SPACING_US), Ordering::Relaxed);
    }

    /// See [`Timeline::age_us`].
    pub(super) fn age_us(&self, sequence: u64, timestamp_us: u64, now: Now) -> u64 {
        self.timeline.lock().age_us(sequence, timestamp_us, now)
    }
}
