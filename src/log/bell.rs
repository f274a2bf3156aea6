//! The end of the log, and how an appender learns that somebody sleeps there.
//!
//! An append costs no system call unless a cursor went to sleep since the last one. Both sides first write, then fence,
//! then read, so at least one of them sees the other: either the sleeper sees the new end and stays awake, or the
//! appender sees the sleeper and wakes it.

use crate::sync::modelled::{AtomicBool, AtomicU64, Ordering, fence};

#[derive(Debug)]
pub(super) struct Bell {
    end: AtomicU64,
    asleep: AtomicBool,
}

impl Bell {
    pub(super) fn new(end: u64) -> Self {
        Self { end: AtomicU64::new(end), asleep: AtomicBool::new(false) }
    }

    /// The position behind the last published entry.
    #[inline]
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Moves the end. `true`: somebody sleeps and must be woken by the caller.
    #[inline]
    pub(super) fn advance(&self, end: u64) -> bool {
        debug_assert!(self.end.load(Ordering::Relaxed) <= end, "the end went back: two advance it at once");
        self.end.store(end, Ordering::Release);
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }

    /// Announces a sleeper. `true`: the end is still at `position`, the caller may sleep and will be woken.
    pub(super) fn announce(&self, position: u64) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.end.load(Ordering::Acquire) <= position
    }
}

#[cfg(all(test, model))]
mod model {
    use super::*;
    use loom::sync::Arc;

    #[test]
    fn no_sleeper_is_forgotten() {
        loom::model(|| {
            let bell = Arc::new(Bell::new(0));
            let appender = {
                let bell = Arc::clone(&bell);
                loom::thread::spawn(move || bell.advance(1) | bell.advance(2))
            };
            let slept_at = (0..2).find(|position| bell.announce(*position));
            let woken = appender.join().unwrap();
            if slept_at.is_some() {
                assert!(woken, "the end moved past a sleeper that nobody wakes");
            }
        });
    }
}
