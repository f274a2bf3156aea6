//! How often the two sides of a v2 connection send something when they have nothing else to send, and how long a reader
//! waits for a silent writer.
//!
//! Each side names the interval at which it wants to send and to hear. A side sends at the shorter of its own and the
//! peer's, except that a peer's interval below a floor counts as the floor: heartbeats cost the side that sends them, and a
//! writer has many readers. A writer that raises an interval says so in its answer, so that the reader's patience fits.

use std::time::{Duration, Instant};

use crate::error::{Error, Result, Status};
use crate::protocol::handshake::Answer;

/// The floor of a receiver, which has one writer, and the lowest one that a sender can be given.
pub(crate) const SHORTEST: Duration = Duration::from_millis(10);

/// A sender's floor unless its host sets another one.
pub(crate) const DEFAULT_MIN: Duration = Duration::from_millis(100);

/// The highest floor of a sender. What a writer claims beyond it is not believed.
pub(crate) const MAX_MIN: Duration = Duration::from_secs(60);

/// Heartbeats that may be missed before a peer counts as silent, at least.
const MISSED: u32 = 3;

/// How often a side sends whose own interval is `own`, to a peer that wants to hear it every `wanted`.
pub(crate) fn interval(own: Duration, wanted: Duration, floor: Duration) -> Duration {
    own.min(wanted.max(floor))
}

/// How long a reader waits for a writer that answered with `heartbeat_ms` and `min_heartbeat_ms`. `timeout` is for
/// heartbeats every `own`; it is extended where the writer does not send as often as that.
fn patience(timeout: Duration, own: Duration, heartbeat_ms: u64, min_heartbeat_ms: Option<u64>) -> Duration {
    let floor = min_heartbeat_ms.map_or(SHORTEST, Duration::from_millis).clamp(SHORTEST, MAX_MIN);
    let theirs = interval(Duration::from_millis(heartbeat_ms), own, floor);
    if theirs > own { timeout.max(theirs * MISSED) } else { timeout }
}

/// What a reader agrees on with a v2 writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    /// How often the reader sends something.
    pub(crate) interval: Duration,
    /// How long the writer may be silent.
    patience: Duration,
}

impl Pulse {
    /// For a reader with these settings, and a writer with this answer.
    pub(crate) fn of_reader(own: Duration, timeout: Duration, answer: &Answer) -> Self {
        Self {
            interval: interval(own, Duration::from_millis(answer.heartbeat_ms), SHORTEST),
            patience: patience(timeout, own, answer.heartbeat_ms, answer.min_heartbeat_ms),
        }
    }

    /// When the writer has been silent for too long, if it was last heard at `heard_at`.
    pub(crate) fn deadline(&self, heard_at: Instant) -> Option<Instant> {
        heard_at.checked_add(self.patience)
    }

    /// Fails when the writer has been silent for too long.
    pub(crate) fn check(&self, heard_at: Instant, now: Instant) -> Result<()> {
        let silent = now.saturating_duration_since(heard_at);
        if silent <= self.patience {
            return Ok(());
        }
        let text = format!("nothing heard from the writer for {} ms", silent.as_millis());
        Err(Error::new(Status::PeerTimeout, text))
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn p5_a_wish_below_the_floor_is_raised_and_the_own_interval_is_not() {
        for (own, wanted, floor, spoken) in [
            (1000, 1000, 100, 1000),
            (1000, 300, 100, 300),
            (1000, 100, 100, 100),
            (1000, 99, 100, 100),
            (1000, 0, 100, 100),
            (1000, 20, 10, 20),
            (50, 20, 100, 50),
            (50, 1000, 100, 50),
            (1000, 0, 60_000, 1000),
            (300_000, u64::MAX, 100, 300_000),
        ] {
            assert_eq!(interval(ms(own), ms(wanted), ms(floor)), ms(spoken), "{own} {wanted} {floor}");
        }
    }

    #[test]
    fn p5_patience_fits_what_the_writer_really_does() {
        for (timeout, own, heartbeat, min, expected) in [
            // A writer that does as the reader wants, or says nothing of a floor, as older ones do.
            (10_000, 1000, 1000, None, 10_000),
            (60, 20, 1000, None, 60),
            (60, 20, 5, Some(100), 60),
            // The request was raised.
            (60, 20, 1000, Some(100), 300),
            (500, 20, 1000, Some(100), 500),
            (60, 20, 50, Some(100), 150),
            // Every version takes a request below 10 ms as 10 ms.
            (8, 2, 1000, None, 30),
            // A writer cannot talk its readers into waiting for ever.
            (60, 20, u64::MAX, Some(u64::MAX), 180_000),
        ] {
            assert_eq!(
                patience(ms(timeout), ms(own), heartbeat, min),
                ms(expected),
                "{timeout} {own} {heartbeat} {min:?}"
            );
        }
    }

    #[test]
    fn p5_a_writer_is_given_up_after_the_patience_and_not_before() {
        let answer = Answer { heartbeat_ms: 1000, ..Answer::default() };
        let pulse = Pulse::of_reader(ms(20), ms(60), &answer);
        let heard_at = crate::clock::instant();
        assert_eq!((pulse.interval, pulse.deadline(heard_at)), (ms(20), Some(heard_at + ms(60))));
        assert_eq!(pulse.check(heard_at, heard_at + ms(60)), Ok(()));
        let error = pulse.check(heard_at, heard_at + ms(61)).unwrap_err();
        assert_eq!((error.status, error.message.contains("61 ms")), (Status::PeerTimeout, true));
    }

    /// Whatever versions meet, nobody waits for less than three of the other's intervals, if its own time-out does not.
    #[test]
    fn p5_no_mixture_of_versions_and_intervals_times_out() {
        let times = [5, 10, 20, 99, 100, 101, 1000, 5000];
        for own in times {
            for theirs in times {
                for floor in [10, 100, 1000, 60_000] {
                    let min = (own < floor).then_some(floor);
                    let spoken = interval(ms(theirs), ms(own), ms(floor));
                    assert!(patience(ms(own * 3), ms(own), theirs, min) >= spoken * 3, "{own} {theirs} {floor}");
                    // The reader's side: it obeys the writer down to the lowest floor, as the writer's time-out expects.
                    assert!(interval(ms(own), ms(theirs), SHORTEST) <= ms(theirs).max(SHORTEST));
                }
            }
        }
    }
}
