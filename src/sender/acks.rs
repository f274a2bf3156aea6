//! Hosts that wait for acknowledgements, and what they wait for.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

use super::AckLevel;
use crate::sync::{Condvar, Mutex};

/// The notice board between connections that take in acknowledgements and hosts that wait for them.
#[derive(Default)]
pub(super) struct AckBoard {
    /// The highest sequence somebody waits for, by level.
    awaited: [AtomicU64; 3],
    waiting: AtomicUsize,
    lock: Mutex<bool>,
    changed: Condvar,
}

impl AckBoard {
    /// The highest sequence somebody waits for, by level; readers are asked to tell as soon as they reach it.
    pub(super) fn awaited(&self) -> [u64; 3] {
        [0, 1, 2].map(|level: usize| self.awaited[level].load(Ordering::Relaxed))
    }

    /// Has readers asked to tell as soon as they reach `sequence`.
    pub(super) fn ask(&self, level: AckLevel, sequence: u64) {
        self.awaited[level as usize - 1].fetch_max(sequence, Ordering::SeqCst);
    }

    /// Tells that an acknowledgement came in.
    pub(super) fn announce(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock());
            self.changed.notify_all();
        }
    }

    /// Ends every wait, now and later.
    pub(super) fn close(&self) {
        *self.lock.lock() = true;
        self.changed.notify_all();
    }

    /// Waits until `count` gives at least `wanted`, the time passes or the board is closed. Returns the last count and
    /// whether the board is closed.
    pub(super) fn wait(&self, wanted: usize, timeout: Duration, count: impl Fn() -> usize) -> (usize, bool) {
        let deadline = Instant::now().checked_add(timeout);
        let mut reached;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut closed = self.lock.lock();
        fence(Ordering::SeqCst);
        loop {
            reached = count();
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if reached >= wanted || *closed || late {
                break;
            }
            // Whoever announces from now on needs the lock, and so finds this thread waiting.
            closed = self.changed.wait(closed, deadline);
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        (reached, *closed)
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn waits_end_by_news_by_time_and_by_closing() {
        let board = AckBoard::default();
        let acked = AtomicUsize::new(0);
        let count = || acked.load(Ordering::SeqCst);
        assert_eq!(board.wait(1, Duration::from_millis(5), count), (0, false));
        assert_eq!(board.wait(0, Duration::ZERO, count), (0, false));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| board.wait(3, Duration::from_secs(60), count));
            for _ in 0..3 {
                acked.fetch_add(1, Ordering::SeqCst);
                board.announce();
            }
            assert_eq!(waiting.join().unwrap(), (3, false));
            let waiting = scope.spawn(|| board.wait(4, Duration::MAX, count));
            board.close();
            assert_eq!(waiting.join().unwrap(), (3, true));
        });
    }
}
