//! Tasks and their timers: tokio's.

#[cfg(feature = "simulation")]
pub(crate) use crate::simulation::runtime::{
    Handle, Runtime, current, interval, interval_at, sleep, spawn, spawn_blocking, timeout,
};
#[cfg(not(feature = "simulation"))]
pub(crate) use tasks::{Handle, Runtime, current, interval, interval_at, sleep, spawn, spawn_blocking, timeout};

#[cfg(not(feature = "simulation"))]
mod tasks {
    use std::time::{Duration, Instant};

    use tokio::time::{Interval, MissedTickBehavior};

    pub(crate) use tokio::runtime::{Handle, Runtime};
    pub(crate) use tokio::time::{sleep, timeout};

    /// The runtime that the calling thread is within.
    pub(crate) fn current() -> Result<Handle, tokio::runtime::TryCurrentError> {
        Handle::try_current()
    }

    /// Runs a task on the runtime that the calling thread is within.
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(task));
    }

    /// Runs work that blocks; `None` when it panicked.
    pub(crate) async fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        tokio::task::spawn_blocking(work).await.ok()
    }

    /// Ticks now and once in each period; a tick that comes late delays those after it.
    pub(crate) fn interval(period: Duration) -> Interval {
        interval_at(Instant::now(), period)
    }

    /// The same from a time on.
    pub(crate) fn interval_at(first: Instant, period: Duration) -> Interval {
        let mut interval = tokio::time::interval_at(first.into(), period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    }
}
