//! The lowest sequence that somebody waits for: what an acknowledgement is compared with before it takes a lock.
//!
//! Both sides first write, then fence, then read, so at least one sees the other: either who begins to wait sees the
//! new position, or who took the acknowledgement in sees that somebody waits.

use crate::sync::modelled::{AtomicU64, Ordering, fence};

#[derive(Debug)]
pub(super) struct Watermark(AtomicU64);

impl Default for Watermark {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Watermark {
    /// Says what is waited for, `None` for nothing. Positions are to be read after this. One thread at a time.
    pub(super) fn set(&self, lowest: Option<u64>) {
        self.0.store(lowest.unwrap_or(u64::MAX), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Whether somebody may wait for an entry up to `position`, which was stored before this.
    #[inline]
    pub(super) fn is_at(&self, position: u64) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) <= position
    }
}
