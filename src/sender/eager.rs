//! Looking for acknowledgements before sleeping for them.
//!
//! On a fast network an answer is there sooner than a sleeping thread is awake. So a thread that waits takes in what
//! arrives itself for a moment: one thread at a time, where there is another processor for the rest, and while it pays.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{available_parallelism, yield_now};
use std::time::{Duration, Instant};

/// How long a thread looks.
const MOMENT: Duration = Duration::from_micros(50);

/// After so many moments in a row that were not enough it is left off, but for one of [`RETRY_EVERY`].
const PATIENCE: u32 = 8;

/// How often it is tried again then.
const RETRY_EVERY: u32 = 64;

/// In a simulation no other processor answers while this one looks.
fn is_simulated() -> bool {
    #[cfg(feature = "simulation")]
    return crate::simulation::environment().is_some();
    #[cfg(not(feature = "simulation"))]
    false
}

/// Whether it pays to look.
pub(super) struct Eager {
    possible: bool,
    moment: Duration,
    busy: AtomicBool,
    /// Waits in a row that a moment was not enough for, or would not have been.
    missed: AtomicU32,
}

impl Eager {
    pub(super) fn new() -> Self {
        let possible = !is_simulated() && available_parallelism().is_ok_and(|processors| processors.get() > 1);
        Self { possible, moment: MOMENT, busy: AtomicBool::new(false), missed: AtomicU32::new(0) }
    }

    /// Calls `look` for a moment, until it says that what was waited for is there, if that is likely.
    pub(super) fn look(&self, mut look: impl FnMut() -> bool) {
        if !self.possible || self.busy.swap(true, Ordering::Acquire) {
            return;
        }
        let missed = self.missed.load(Ordering::Relaxed);
        let mut found = false;
        if missed < PATIENCE || missed.is_multiple_of(RETRY_EVERY) {
            let begun = Instant::now();
            loop {
                yield_now();
                found = look();
                if found || begun.elapsed() >= self.moment {
                    break;
                }
            }
        }
        self.missed.store(if found { 0 } else { missed.wrapping_add(1) }, Ordering::Relaxed);
        self.busy.store(false, Ordering::Release);
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    /// What it costs when it never pays: one moment of many waits.
    #[test]
    fn it_is_left_off_where_it_does_not_pay_and_taken_up_where_it_does() {
        let eager = Eager { possible: true, moment: Duration::ZERO, ..Eager::new() };
        let mut waits_looked = 0;
        for _ in 0..PATIENCE + 2 * RETRY_EVERY {
            let mut looked = false;
            eager.look(|| {
                looked = true;
                false
            });
            waits_looked += u32::from(looked);
        }
        assert_eq!(waits_looked, PATIENCE + 2);
        let mut looks = 0;
        for _ in 0..RETRY_EVERY {
            eager.look(|| {
                looks += 1;
                true
            });
        }
        assert!(looks > 1, "{looks}");
        let (eager, before) = (Eager { moment: Duration::MAX, ..eager }, looks);
        eager.look(|| {
            looks += 1;
            looks == before + 3
        });
        assert_eq!(looks, before + 3);
    }

    #[test]
    fn one_thread_looks_at_a_time_and_none_on_a_single_processor() {
        let eager = Eager { possible: true, ..Eager::new() };
        let mut looks = 0;
        eager.look(|| {
            looks += 1;
            eager.look(|| panic!("a second one"));
            true
        });
        assert_eq!(looks, 1);
        Eager { possible: false, ..Eager::new() }.look(|| panic!("nobody else could answer"));
    }
}
