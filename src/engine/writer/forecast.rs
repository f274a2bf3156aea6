//! When a slot will be lost if the log grows and its reader advances as they do now.

use std::time::Duration;

/// Measurements after which a rate is taken for what it is: by then less than a twentieth is left of where it began.
const SETTLED_AFTER: u32 = 9;

/// A slot that holds back no more than the log grew in this time has no lag: it follows its reader once a second.
const NO_LAG: Duration = Duration::from_secs(3);

/// Bytes a second, smoothed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rate {
    bytes_per_s: f64,
    measured: u32,
}

impl Rate {
    /// Nothing moves, and that is known.
    pub(crate) const STILL: Self = Self { bytes_per_s: 0.0, measured: SETTLED_AFTER };

    /// Adds a measurement.
    pub(crate) fn measure(&mut self, bytes: u64, passed: Duration) {
        let now = bytes as f64 / passed.as_secs_f64().max(0.001);
        self.bytes_per_s = if self.measured == 0 { now } else { self.bytes_per_s * 0.7 + now * 0.3 };
        self.measured = self.measured.saturating_add(1);
    }

    fn is_settled(self) -> bool {
        self.measured >= SETTLED_AFTER
    }
}

/// After which time a slot will be lost that holds back `held` bytes and may hold back `left` more. `None`: never, or
/// it is too early to tell.
pub(crate) fn lost_in(growth: Rate, pace: Rate, held: u64, left: u64) -> Option<Duration> {
    let closing_in = growth.bytes_per_s - pace.bytes_per_s;
    let has_lag = held as f64 > growth.bytes_per_s * NO_LAG.as_secs_f64();
    let known = growth.is_settled() && pace.is_settled() && has_lag && closing_in >= 1.0;
    known.then(|| Duration::try_from_secs_f64(left as f64 / closing_in).unwrap_or(Duration::MAX))
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(bytes_per_s: u64, rounds: u32) -> Rate {
        let mut rate = Rate::default();
        (0..rounds).for_each(|_| rate.measure(bytes_per_s, SECOND));
        rate
    }

    #[test]
    fn no_forecast_comes_before_both_rates_have_settled() {
        let (long, short) = (SETTLED_AFTER, SETTLED_AFTER - 1);
        let table = [
            // The log's growth, the reader's pace, bytes held back, bytes left, and when the slot is lost.
            (rate(60_000_000, long), rate(0, long), 600_000_000, 6_000_000_000, Some(100)),
            (rate(60_000_000, long), Rate::STILL, 600_000_000, 6_000_000_000, Some(100)),
            (rate(60_000_000, long), rate(30_000_000, long), 600_000_000, 6_000_000_000, Some(200)),
            // One of them is not known yet.
            (rate(60_000_000, long), rate(0, short), 600_000_000, 6_000_000_000, None),
            (rate(60_000_000, short), rate(0, long), 600_000_000, 6_000_000_000, None),
            (rate(60_000_000, long), Rate::default(), 600_000_000, 6_000_000_000, None),
            // The reader keeps up, or has no lag whatever its pace seems to be.
            (rate(60_000_000, long), rate(60_000_000, long), 600_000_000, 6_000_000_000, None),
            (rate(60_000_000, long), rate(0, long), 100_000_000, 6_000_000_000, None),
            (Rate::STILL, Rate::STILL, 600_000_000, 6_000_000_000, None),
        ];
        for (growth, pace, held, left, seconds) in table {
            let forecast = lost_in(growth, pace, held, left);
            assert_eq!(forecast.map(|time| time.as_secs()), seconds, "{growth:?} {pace:?} {held}");
        }
    }

    #[test]
    fn a_reader_without_lag_is_never_forecast_to_lose_its_slot() {
        // It connects while the log grows steadily, and its slot takes a few rounds to follow.
        let growth = rate(60_000_000, 100);
        for late in 0..5 {
            let mut pace = Rate::default();
            for round in 0..60 {
                pace.measure(if round < late { 0 } else { 60_000_000 }, SECOND);
                assert_eq!(lost_in(growth, pace, 120_000_000, 8_000_000_000), None, "{late} {round}");
            }
        }
    }
}
