//! Locks on which the tasks of an environment wait for each other, and elsewhere the system's threads.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, TryLockError};
use std::time::Instant;

use super::{TaskId, environment};

#[derive(Debug, Default)]
pub(crate) struct Mutex<T> {
    lock: std::sync::Mutex<T>,
    waiting: std::sync::Mutex<Vec<TaskId>>,
}

/// A lock that is held.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    /// `None` while it is given back.
    guard: Option<std::sync::MutexGuard<'a, T>>,
    mutex: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { lock: std::sync::Mutex::new(value), waiting: std::sync::Mutex::new(Vec::new()) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let Some(environment) = environment() else {
            let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            return MutexGuard { guard: Some(guard), mutex: self };
        };
        environment.pass();
        loop {
            if let Some(guard) = self.take() {
                return guard;
            }
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(environment.task());
            environment.park(None);
        }
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        if let Some(environment) = environment() {
            environment.pass();
        }
        self.take()
    }

    fn take(&self) -> Option<MutexGuard<'_, T>> {
        match self.lock.try_lock() {
            Ok(guard) => Some(MutexGuard { guard: Some(guard), mutex: self }),
            Err(TryLockError::Poisoned(poisoned)) => {
                Some(MutexGuard { guard: Some(poisoned.into_inner()), mutex: self })
            }
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        wake(&self.mutex.waiting);
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect("the lock is held")
    }
}

impl<T: fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.deref().fmt(f)
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("the lock is held")
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar {
    condvar: std::sync::Condvar,
    waiting: std::sync::Mutex<Vec<TaskId>>,
}

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self { condvar: std::sync::Condvar::new(), waiting: std::sync::Mutex::new(Vec::new()) }
    }

    pub(crate) fn notify_all(&self) {
        self.condvar.notify_all();
        wake(&self.waiting);
    }

    /// Waits for a notification, or until the deadline if there is one.
    pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>, deadline: Option<Instant>) -> MutexGuard<'a, T> {
        if let Some(environment) = environment() {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(environment.task());
            let mutex = guard.mutex;
            drop(guard);
            environment.park(deadline);
            return mutex.lock();
        }
        let held = guard.guard.take().expect("the lock is held");
        guard.guard = Some(match deadline {
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.condvar.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.condvar.wait(held).unwrap_or_else(PoisonError::into_inner),
        });
        guard
    }
}

/// Wakes those that wait, in the order in which they came.
fn wake(waiting: &std::sync::Mutex<Vec<TaskId>>) {
    let waiting = std::mem::take(&mut *waiting.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(environment) = environment().filter(|_| !waiting.is_empty()) {
        waiting.into_iter().for_each(|task| environment.wake(task));
    }
}
