//! Adaptive spinning before a thread sleeps for acknowledgements.
//!
//! On a fast network the acknowledgement arrives sooner than a sleeping thread can be woken. So a waiting thread first
//! polls the connections itself for a moment. Only one thread does so at a time, only on a machine with more than one
//! processor, and only as long as spinning keeps succeeding.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{available_parallelism, yield_now};
use std::time::{Duration, Instant};

/// How long a thread spins.
const MOMENT: Duration = Duration::from_micros(50);

/// After this many failures in a row, only one wait in [`RETRY_EVERY`] spins.
const PATIENCE: u32 = 8;

/// How rarely spinning is tried while it fails.
const RETRY_EVERY: u32 = 64;

/// In a simulation nothing happens while this thread spins.
fn is_simulated() -> bool {
    #[cfg(feature = "simulation")]
    return crate::simulation::environment().is_some();
    #[cfg(not(feature = "simulation"))]
    false
}

/// Spins for as long as that has paid off lately.
pub(super) struct SpinWait {
    possible: bool,
    moment: Duration,
    busy: AtomicBool,
    /// Waits in a row that spinning did not end.
    missed: AtomicU32,
}

impl SpinWait {
    pub(super) fn new() -> Self {
        let possible = !is_simulated() && available_parallelism().is_ok_and(|processors| processors.get() > 1);
        Self { possible, moment: MOMENT, busy: AtomicBool::new(false), missed: AtomicU32::new(0) }
    }

    /// Calls `poll` again and again, until it returns `true` or the moment is over. Does not call it when success is
    /// unlikely.
    pub(super) fn spin(&self, mut poll: impl FnMut() -> bool) {
        if !self.possible || self.busy.swap(true, Ordering::Acquire) {
            return;
        }
        let missed = self.missed.load(Ordering::Relaxed);
        let mut found = false;
        if missed < PATIENCE || missed.is_multiple_of(RETRY_EVERY) {
            let begun = Instant::now();
            loop {
                yield_now();
                found = poll();
                if found || begun.elapsed() >= self.moment {
                    break;
                }
            }
        }
        self.missed.store(if found { 0 } else { missed.wrapping_add(1) }, Ordering::Relaxed);
        self.busy.store(false, Ordering::Release);
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    /// Where spinning never succeeds, only one wait of many pays for it.
    #[test]
    fn it_is_left_off_where_it_does_not_pay_and_taken_up_where_it_does() {
        let spin_wait = SpinWait { possible: true, moment: Duration::ZERO, ..SpinWait::new() };
        let mut waits_looked = 0;
        for _ in 0..PATIENCE + 2 * RETRY_EVERY {
            let mut looked = false;
            spin_wait.spin(|| {
                looked = true;
                false
            });
            waits_looked += u32::from(looked);
        }
        assert_eq!(waits_looked, PATIENCE + 2);
        let mut looks = 0;
        for _ in 0..RETRY_EVERY {
            spin_wait.spin(|| {
                looks += 1;
                true
            });
        }
        assert!(looks > 1, "{looks}");
        let (spin_wait, before) = (SpinWait { moment: Duration::MAX, ..spin_wait }, looks);
        spin_wait.spin(|| {
            looks += 1;
            looks == before + 3
        });
        assert_eq!(looks, before + 3);
    }

    #[test]
    fn one_thread_spins_at_a_time_and_none_on_a_single_processor() {
        let spin_wait = SpinWait { possible: true, ..SpinWait::new() };
        let mut looks = 0;
        spin_wait.spin(|| {
            looks += 1;
            spin_wait.spin(|| panic!("a second one"));
            true
        });
        assert_eq!(looks, 1);
        SpinWait { possible: false, ..SpinWait::new() }.spin(|| panic!("nobody else could answer"));
    }
}
