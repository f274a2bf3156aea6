//! Locks: the standard library's, without its poisoning. What they guard is consistent between any two statements that
//! could panic, so the others may go on.
//!
//! They keep no state outside themselves, unlike others: a forked child can make handles of its own.

pub(crate) mod modelled;

#[cfg(feature = "simulation")]
pub(crate) use crate::simulation::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(feature = "simulation"))]
pub(crate) use locks::{Condvar, Mutex, MutexGuard};

#[cfg(not(feature = "simulation"))]
mod locks {
    use std::sync::{PoisonError, TryLockError};
    use std::time::Instant;

    pub(crate) use std::sync::MutexGuard;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        #[inline]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(guard) => Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            }
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(std::sync::Condvar);

    impl Condvar {
        pub(crate) const fn new() -> Self {
            Self(std::sync::Condvar::new())
        }

        #[inline]
        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }

        /// Waits for a notification, or until the deadline if there is one.
        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>, deadline: Option<Instant>) -> MutexGuard<'a, T> {
            match deadline {
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    self.0.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.0.wait(guard).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
