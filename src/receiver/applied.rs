//! The applied position, with the connection's task and the hosts that wait for it.
//!
//! A waiter first lowers `wake_at`, then fences, then reads the position. The callback thread first moves the position,
//! then fences, then reads `wake_at`. So at least one of them sees the other's write. The callback thread omits the
//! fence for single entries, and makes up for it with [`wake_missed`](Applied::wake_missed) before it looks for more
//! work.

use std::time::Instant;

use crate::sync::modelled::{AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, fence};

/// The applied position and its waiters.
pub(super) struct Applied {
    position: AtomicU64,
    /// The lowest position for which anybody waits; `u64::MAX` for none.
    wake_at: AtomicU64,
    /// The position at which the connection's task is to be woken; `u64::MAX` for none.
    report_at: AtomicU64,
    /// How many hosts wait.
    waiting: AtomicUsize,
    waiters: Mutex<()>,
    changed: Condvar,
}

impl Applied {
    pub(super) fn new(position: u64) -> Self {
        Self {
            position: AtomicU64::new(position),
            wake_at: AtomicU64::new(u64::MAX),
            report_at: AtomicU64::new(u64::MAX),
            waiting: AtomicUsize::new(0),
            waiters: Mutex::new(()),
            changed: Condvar::new(),
        }
    }

    #[inline]
    pub(super) fn get(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// Moves the position. Returns `true` if the caller must wake the connection's task. Only the callback thread calls
    /// this. It may miss a waiter that arrives at the same moment; [`Self::wake_missed`] finds it.
    #[inline]
    #[must_use]
    pub(super) fn set(&self, position: u64) -> bool {
        self.position.store(position, Ordering::Release);
        self.wake(position)
    }

    /// Wakes the waiters that [`Self::set`] missed. Returns `true` if the caller must wake the connection's task. Only
    /// the callback thread calls this.
    #[must_use]
    pub(super) fn wake_missed(&self) -> bool {
        fence(Ordering::SeqCst);
        self.wake(self.position.load(Ordering::Relaxed))
    }

    #[inline]
    fn wake(&self, position: u64) -> bool {
        position >= self.wake_at.load(Ordering::Relaxed) && self.wake_reached(position)
    }

    #[cold]
    fn wake_reached(&self, position: u64) -> bool {
        // Hosts that wait for a higher position register again when they wake.
        self.wake_at.swap(u64::MAX, Ordering::AcqRel);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.wake_waiters();
        }
        let report_at = self.report_at.load(Ordering::Relaxed);
        let reached = position >= report_at;
        if reached {
            // This may erase a request made meanwhile. The task makes it again when it wakes.
            self.report_at.store(u64::MAX, Ordering::Relaxed);
        } else {
            self.wake_at.fetch_min(report_at, Ordering::Relaxed);
        }
        reached
    }

    /// Requests that the connection's task be woken when `position` is reached, in place of an earlier request. Returns
    /// `true` if it is reached already, because then the wake-up may not come.
    #[must_use]
    pub(super) fn request_report(&self, position: u64) -> bool {
        self.report_at.store(position, Ordering::Relaxed);
        self.wait_for(position);
        self.position.load(Ordering::Relaxed) >= position
    }

    /// Registers a waiter for `position`. Read the position after this.
    fn wait_for(&self, position: u64) {
        self.wake_at.fetch_min(position, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Makes every waiting host check again.
    pub(super) fn wake_waiters(&self) {
        drop(self.waiters.lock());
        self.changed.notify_all();
    }

    /// Waits until `outcome` returns something for the position. It is called at once, when the position may have
    /// reached `target`, after [`Self::wake_waiters`] and at the deadline.
    pub(super) fn wait<T>(&self, target: u64, deadline: Option<Instant>, outcome: impl Fn(u64) -> Option<T>) -> T {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut waiters = self.waiters.lock();
        let outcome = loop {
            self.wait_for(target);
            if let Some(outcome) = outcome(self.get()) {
                break outcome;
            }
            waiters = self.changed.wait(waiters, deadline);
        };
        drop(waiters);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        outcome
    }
}

#[cfg(all(test, feature = "model"))]
mod model {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::sync::modelled::AtomicBool;

    /// The task wakes for its own reasons too, and requests the next position then.
    #[test]
    fn the_task_is_woken_for_its_last_request() {
        loom::model(|| {
            // The position, and whether the task is to wake.
            let shared = Arc::new((Applied::new(0), AtomicBool::new(false)));
            let callback_thread = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (applied, moved) = &*shared;
                    let wake_if = |reached: bool| {
                        if reached {
                            moved.swap(true, Ordering::AcqRel);
                        }
                    };
                    wake_if(applied.set(1));
                    wake_if(applied.set(2));
                    wake_if(applied.wake_missed());
                })
            };
            let (applied, moved) = &*shared;
            let mut is_reached = false;
            for position in [1, 2] {
                moved.swap(false, Ordering::AcqRel);
                is_reached = applied.request_report(position);
            }
            callback_thread.join().unwrap();
            assert!(is_reached || moved.load(Ordering::Acquire), "the task sleeps on");
        });
    }

    /// Loom reports a deadlock when nobody wakes the host.
    #[test]
    fn a_host_that_waits_is_woken_when_the_position_is_reached() {
        loom::model(|| {
            let applied = Arc::new(Applied::new(0));
            let callback_thread = {
                let applied = Arc::clone(&applied);
                thread::spawn(move || {
                    let reports = [applied.set(1), applied.set(2), applied.wake_missed()];
                    assert_eq!(reports, [false; 3], "no task requested a report");
                })
            };
            applied.wait(2, None, |position| (position >= 2).then_some(()));
            callback_thread.join().unwrap();
        });
    }

    /// The wake-up of one of them leaves the other registered, or makes it register again.
    #[test]
    fn a_host_and_the_task_are_woken_for_different_positions() {
        for (of_host, of_task) in [(1, 2), (2, 1)] {
            let mut model = loom::model::Builder::new();
            model.preemption_bound = Some(3);
            model.check(move || {
                let applied = Arc::new(Applied::new(0));
                let callback_thread = {
                    let applied = Arc::clone(&applied);
                    thread::spawn(move || [applied.set(1), applied.set(2), applied.wake_missed()])
                };
                let is_reached = applied.request_report(of_task);
                applied.wait(of_host, None, |position| (position >= of_host).then_some(()));
                let reports = callback_thread.join().unwrap();
                assert!(is_reached || reports.contains(&true), "the task sleeps on");
            });
        }
    }

    /// As when the receiver ends.
    #[test]
    fn a_host_that_waits_is_woken_for_another_reason() {
        loom::model(|| {
            let shared = Arc::new((Applied::new(0), AtomicBool::new(false)));
            let other = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (applied, is_over) = &*shared;
                    is_over.store(true, Ordering::Relaxed);
                    applied.wake_waiters();
                })
            };
            let (applied, is_over) = &*shared;
            applied.wait(1, None, |_| is_over.load(Ordering::Relaxed).then_some(()));
            other.join().unwrap();
        });
    }
}
