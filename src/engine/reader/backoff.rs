//! How long a reader waits between two attempts to connect.

use std::time::Duration;

use crate::error::Status;

/// The first pause.
const FIRST: Duration = Duration::from_millis(20);

/// The pauses so far.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// The next pause, before jitter.
    pause: Duration,
    interval: Duration,
}

impl Backoff {
    /// Pauses that grow up to `interval`.
    pub(crate) fn new(interval: Duration) -> Self {
        Self { pause: FIRST.min(interval), interval }
    }

    /// Pauses grow up to `interval` from now on.
    pub(crate) fn set_interval(&mut self, interval: Duration) {
        (self.pause, self.interval) = (self.pause.min(interval), interval);
    }

    /// Whether a connection lived long enough that the next attempt need not wait: longer than any pause, which is all that
    /// another receiver with the same reader id leaves between two of its attempts.
    pub(crate) fn is_stable(&self, lived: Duration) -> bool {
        lived >= self.interval * 2
    }

    /// The pause after a round of attempts that ended with this status. `lived`: how long its connection did, if there was
    /// one. `jitter`: from 0 to 1, so that many receivers do not come back at once.
    pub(crate) fn next(&mut self, status: Status, lived: Option<Duration>, jitter: f64) -> Duration {
        if status == Status::Replaced {
            // Never earlier than configured: whoever has the same id would be replaced in turn.
            self.pause = self.interval;
            return self.interval.mul_f64(1.0 + 0.5 * jitter);
        }
        if lived.is_some_and(|lived| self.is_stable(lived)) {
            self.pause = FIRST.min(self.interval);
        }
        let pause = self.pause.mul_f64(0.5 + 0.5 * jitter);
        // Whoever is replaced in the middle of a frame is not told. It comes back less often after a few connections.
        let growth = if lived.is_some() { 4 } else { 2 };
        self.pause = (self.pause * growth).min(self.interval);
        pause
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn pauses_grow_up_to_the_interval_and_only_a_long_life_shortens_them() {
        let mut backoff = Backoff::new(MS(100));
        let mut next = |lived| backoff.next(Status::Io, lived, 1.0).as_millis();
        assert_eq!([next(None), next(None), next(None), next(None), next(None)], [20, 40, 80, 100, 100]);
        // Connections that do not last lengthen them more than attempts that fail.
        let mut longer = Backoff::new(MS(1_000));
        let mut slow = |lived| longer.next(Status::Io, lived, 1.0).as_millis();
        assert_eq!([slow(Some(MS(5))), slow(Some(MS(5))), slow(None), slow(None)], [20, 80, 320, 640]);
        // An opponent that lets a connection live for a pause, and more, grants nothing.
        assert_eq!([next(Some(MS(1))), next(Some(MS(150))), next(Some(MS(199)))], [100, 100, 100]);
        assert_eq!([next(Some(MS(200))), next(None)], [20, 80]);
        assert_eq!(backoff.next(Status::Io, None, 0.0), MS(50));
        assert_eq!(Backoff::new(MS(3)).next(Status::Io, None, 1.0), MS(3));
    }

    #[test]
    fn whoever_was_replaced_waits_the_whole_interval() {
        let mut backoff = Backoff::new(MS(100));
        assert_eq!(backoff.next(Status::Replaced, None, 0.0), MS(100));
        assert_eq!(backoff.next(Status::Replaced, Some(MS(99_000)), 1.0), MS(150));
        // However the next attempt ends.
        assert_eq!(backoff.next(Status::Io, Some(MS(50)), 1.0), MS(100));
    }
}
