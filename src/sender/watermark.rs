//! The lowest sequence that somebody waits for: what an acknowledgement is compared with before it takes a lock.
//!
//! Both sides first write, then fence, then read, so at least one sees the other: either who begins to wait sees the
//! new position, or who took the acknowledgement in sees that somebody waits.

#[cfg(all(test, model))]
use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(all(test, model)))]
use std::sync::atomic::{AtomicU64, Ordering, fence};

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

#[cfg(all(test, model))]
mod model {
    use loom::sync::{Arc, Mutex};

    use super::*;

    /// A reader that reaches 1, then 2, and hosts that wait for 2 and for 1, as the board does it: the waits and the
    /// watermark under a lock, the positions without.
    #[test]
    fn no_wait_misses_its_acknowledgement() {
        loom::model(|| {
            let board = Arc::new((Watermark::default(), AtomicU64::new(0), Mutex::new(Vec::<u64>::new())));
            let reader = {
                let board = Arc::clone(&board);
                loom::thread::spawn(move || {
                    let (watermark, position, waits) = &*board;
                    for reached in 1..=2 {
                        position.store(reached, Ordering::Release);
                        if watermark.is_at(reached) {
                            let mut waits = waits.lock().unwrap();
                            waits.retain(|wait| *wait > position.load(Ordering::Acquire));
                            watermark.set(waits.iter().min().copied());
                        }
                    }
                })
            };
            let (watermark, position, waits) = &*board;
            for wanted in [2, 1] {
                let mut waits = waits.lock().unwrap();
                waits.push(wanted);
                watermark.set(waits.iter().min().copied());
                if position.load(Ordering::Acquire) >= wanted {
                    waits.retain(|wait| *wait != wanted);
                    watermark.set(waits.iter().min().copied());
                }
            }
            reader.join().unwrap();
            assert!(waits.lock().unwrap().is_empty(), "a wait was forgotten");
        });
    }
}
