//! The lowest sequence that a host waits for. An acknowledgement is compared with it before it takes a lock.
//!
//! Both sides first write, then fence, then read, so at least one sees the other's write: either a host that begins to
//! wait sees the new position, or the thread that received the acknowledgement sees the wait.

use crate::sync::modelled::{AtomicU64, Ordering, fence};

/// The lowest awaited sequence.
#[derive(Debug)]
pub(super) struct LowestAwaited(AtomicU64);

impl Default for LowestAwaited {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl LowestAwaited {
    /// Sets the sequence; `None` if no host waits. Read positions after this. Called by one thread at a time.
    pub(super) fn set(&self, lowest: Option<u64>) {
        self.0.store(lowest.unwrap_or(u64::MAX), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Whether a host may wait for an entry up to `position`, which was stored before this call.
    #[inline]
    pub(super) fn is_at(&self, position: u64) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) <= position
    }
}
