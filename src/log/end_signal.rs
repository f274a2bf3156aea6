//! The end of the log, and whether a cursor sleeps there: an event count.
//!
//! An append makes a system call only if a cursor went to sleep since the last one. Both sides write, then fence, then
//! read, so at least one sees the other's write: either the cursor sees the new end and stays awake, or the appender
//! sees the sleeper and wakes it.

use crate::sync::modelled::{AtomicBool, AtomicU64, Ordering, fence};

#[derive(Debug)]
pub(super) struct EndSignal {
    end: AtomicU64,
    asleep: AtomicBool,
}

impl EndSignal {
    pub(super) fn new(end: u64) -> Self {
        Self { end: AtomicU64::new(end), asleep: AtomicBool::new(false) }
    }

    /// The position after the last published entry.
    #[inline]
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Moves the end. Returns `true` if a sleeper must be woken, which is up to the caller.
    #[inline]
    pub(super) fn advance(&self, end: u64) -> bool {
        debug_assert!(self.end.load(Ordering::Relaxed) <= end, "the end went back: two advance it at once");
        self.end.store(end, Ordering::Release);
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }

    /// Registers a sleeper. Returns `true` if the end is still at `position`: then the caller may sleep and will be
    /// woken.
    pub(super) fn announce(&self, position: u64) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.end.load(Ordering::Acquire) <= position
    }
}

#[cfg(all(test, feature = "model"))]
mod model {
    use super::*;
    use loom::sync::Arc;

    #[test]
    fn no_sleeper_is_forgotten() {
        loom::model(|| {
            let signal = Arc::new(EndSignal::new(0));
            let appender = {
                let signal = Arc::clone(&signal);
                loom::thread::spawn(move || signal.advance(1) | signal.advance(2))
            };
            let slept_at = (0..2).find(|position| signal.announce(*position));
            let woken = appender.join().unwrap();
            if slept_at.is_some() {
                assert!(woken, "the end moved past a sleeper that nobody wakes");
            }
        });
    }
}
