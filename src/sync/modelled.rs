//! The locks and atomics of code that has a loom model: loom's when the models run, otherwise the usual ones.

#[cfg(not(all(test, feature = "model")))]
pub(crate) use std::hint::spin_loop;
#[cfg(not(all(test, feature = "model")))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(not(all(test, feature = "model")))]
pub(crate) use super::{Condvar, Mutex, MutexGuard};

#[cfg(all(test, feature = "model"))]
pub(crate) use loom::hint::spin_loop;
#[cfg(all(test, feature = "model"))]
pub(crate) use loom::sync::MutexGuard;
#[cfg(all(test, feature = "model"))]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(all(test, feature = "model"))]
pub(crate) use self::locks::{Condvar, Mutex};

/// Loom's locks, used as the others are. A model that panics has failed, so nobody meets a poisoned one.
#[cfg(all(test, feature = "model"))]
mod locks {
    use std::time::Instant;

    use super::MutexGuard;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }

        /// Waits for a notification. Loom has no time, so there is no deadline.
        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>, deadline: Option<Instant>) -> MutexGuard<'a, T> {
            assert_eq!(deadline, None, "a model waits without a deadline");
            self.0.wait(guard).unwrap()
        }
    }
}
