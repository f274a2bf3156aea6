//! Clocks: wall time for people, the wire and the disk; boot time for whatever is measured inside a process.
//!
//! The wall clock can be set, and is: by NTP after a boot without a clock battery, by an administrator, by a hypervisor.
//! Nothing may expire or go because of that. The boot clock only moves forward, at its pace, also while the machine is
//! suspended; but it says nothing about what an earlier process left on disk. `Ages` joins the two.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Both clocks at one moment, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Since the Unix epoch.
    pub wall_us: u64,
    /// Since the machine booted, suspended time included.
    pub boot_us: u64,
}

/// Reads both clocks.
pub fn now() -> Now {
    Now { wall_us: unix_time_us(), boot_us: boot_us() }
}

/// Reads the monotonic clock, by which deadlines go.
#[inline]
pub(crate) fn instant() -> Instant {
    #[cfg(feature = "simulation")]
    if let Some(instant) = crate::simulation::instant() {
        return instant;
    }
    Instant::now()
}

/// Time since `then` by the monotonic clock.
#[inline]
pub(crate) fn since(then: Instant) -> Duration {
    instant().saturating_duration_since(then)
}

/// Microseconds since the Unix epoch; 0 on a machine whose clock stands before it.
pub(crate) fn unix_time_us() -> u64 {
    #[cfg(feature = "simulation")]
    if let Some(wall_us) = crate::simulation::wall_us() {
        return wall_us;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds since the machine booted, suspended time included.
pub(crate) fn boot_us() -> u64 {
    #[cfg(feature = "simulation")]
    if let Some(boot_us) = crate::simulation::boot_us() {
        return boot_us;
    }
    // A sandbox may refuse the boot clock. The monotonic clock differs from it by suspended time only.
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).or_else(|_| clock_gettime(ClockId::CLOCK_MONOTONIC));
    time.map_or(0, |time| u64::try_from(Duration::from(time).as_micros()).unwrap_or(u64::MAX))
}

/// When something happened, by the clock that can tell how long ago that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// In this process: on the boot clock.
    Here {
        /// Microseconds since boot.
        boot_us: u64,
    },
    /// In an earlier process, which noted the wall clock on disk.
    Noted {
        /// Microseconds since the Unix epoch.
        wall_us: u64,
    },
}

impl Stamp {
    /// The stamp of something that happens now.
    pub(crate) fn here(now: Now) -> Self {
        Self::Here { boot_us: now.boot_us }
    }

    /// The same moment by the wall clock as it goes now: what is noted on disk and shown to people.
    pub(crate) fn wall_us(self, now: Now) -> u64 {
        match self {
            Self::Here { boot_us } => now.wall_us.saturating_sub(now.boot_us.saturating_sub(boot_us)),
            Self::Noted { wall_us } => wall_us,
        }
    }
}

/// Gives the stamps of things that earlier processes made one after the other, from their notes. A clock may have stood too
/// early for a while: none of them is older than one before it.
pub(crate) fn noted_in_order() -> impl FnMut(u64) -> Stamp {
    let mut latest_us = 0;
    move |wall_us| {
        latest_us = wall_us.max(latest_us);
        Stamp::Noted { wall_us: latest_us }
    }
}

/// The wall clock was set when it has moved this much more or less than the boot clock. Leap seconds are no reason.
const STEP_US: i128 = 5_000_000;

/// For how long the wall clock proves nothing after it was set, or seen for the first time: it may be about to be set
/// right, and whoever was kept away by that has time to come back.
const GRACE_US: u64 = 600_000_000;

/// The start of 2025, before there was a library that notes times. An older note was made before a clock was set.
const FIRST_NOTE_US: u64 = 1_735_689_600_000_000;

/// Tells how old things are, some of which are only known by notes of the wall clock.
///
/// What happened in this process ages by the boot clock alone. What was noted before is at least as old as this value;
/// more than that is believed of the wall clock only while it goes along with the boot clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    opened_us: u64,
    /// Wall minus boot time, when they were last found to have parted.
    offset_us: i128,
    /// The boot time at which the wall clock is believed.
    believed_from_us: u64,
}

impl Ages {
    /// For what is opened now.
    pub(crate) fn new(now: Now) -> Self {
        Self {
            opened_us: now.boot_us,
            offset_us: offset_us(now),
            believed_from_us: now.boot_us.saturating_add(GRACE_US),
        }
    }

    /// Looks at the clocks, before ages at `now` are asked for. `true`: the wall clock was set since the last look.
    pub(crate) fn observe(&mut self, now: Now) -> bool {
        let offset_us = offset_us(now);
        let set = (offset_us - self.offset_us).abs() > STEP_US;
        if set {
            self.offset_us = offset_us;
            self.believed_from_us = now.boot_us.saturating_add(GRACE_US);
        }
        set
    }

    /// How long ago something was, as far as is known for sure.
    pub(crate) fn of(&self, stamp: Stamp, now: Now) -> Duration {
        Duration::from_micros(match stamp {
            Stamp::Here { boot_us } => now.boot_us.saturating_sub(boot_us),
            Stamp::Noted { wall_us } => {
                let known_us = now.boot_us.saturating_sub(self.opened_us);
                let believed = now.boot_us >= self.believed_from_us && wall_us >= FIRST_NOTE_US;
                if believed { known_us.max(now.wall_us.saturating_sub(wall_us)) } else { known_us }
            }
        })
    }
}

fn offset_us(now: Now) -> i128 {
    i128::from(now.wall_us) - i128::from(now.boot_us)
}

/// The last microsecond that RFC 3339 has a form for, at the end of the year 9999.
const LAST_US: u64 = 253_402_300_799_999_999;

/// The time as RFC 3339 in UTC, such as `2026-01-31T12:00:00.000000Z`; the last possible one for times after it, which only
/// hosts and hostile files have.
pub(crate) fn rfc3339(unix_time_us: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_micros(unix_time_us.min(LAST_US));
    humantime::format_rfc3339_micros(time).to_string()
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000;
    const MINUTE: u64 = 60 * SECOND;
    const DAY: u64 = 86_400 * SECOND;
    const YEAR: u64 = 365 * DAY;

    /// Some day in 2026, two days after boot.
    const OPENED: Now = Now { wall_us: 1_770_000_000 * SECOND, boot_us: 2 * DAY };

    /// Clocks as they stand `passed` after OPENED when the wall clock was meanwhile set by `set`.
    fn at(passed: u64, set: i64) -> Now {
        Now { wall_us: (OPENED.wall_us + passed).saturating_add_signed(set), boot_us: OPENED.boot_us + passed }
    }

    fn noted(before: u64) -> Stamp {
        Stamp::Noted { wall_us: OPENED.wall_us - before }
    }

    fn us(age: Duration) -> u64 {
        age.as_micros() as u64
    }

    #[test]
    fn p8_every_number_is_some_time() {
        assert_eq!(rfc3339(1), "1970-01-01T00:00:00.000001Z");
        assert_eq!(rfc3339(LAST_US), "9999-12-31T23:59:59.999999Z");
        assert_eq!(rfc3339(u64::MAX), rfc3339(LAST_US));
    }

    #[test]
    fn the_clocks_of_this_machine_go() {
        let (first, second) = (now(), now());
        assert!(first.boot_us > 0 && first.wall_us > FIRST_NOTE_US, "{first:?}");
        assert!(second.boot_us >= first.boot_us);
    }

    /// Whatever the wall clock does, what happened in this process is as old as the boot clock says.
    #[test]
    fn p2_an_age_inside_the_process_is_that_of_the_boot_clock() {
        let mut ages = Ages::new(OPENED);
        let stamp = Stamp::here(at(MINUTE, 0));
        for set in [0, 1, -1, 10, -10, YEAR as i64, -(YEAR as i64), i64::MIN, i64::MAX] {
            let now = at(3 * MINUTE, set);
            ages.observe(now);
            assert_eq!(us(ages.of(stamp, now)), 2 * MINUTE, "{set}");
        }
    }

    /// Time in which the machine was suspended counts: both clocks show it.
    #[test]
    fn suspended_time_counts() {
        let mut ages = Ages::new(OPENED);
        let now = at(3 * DAY, 0);
        assert!(!ages.observe(now));
        assert_eq!(us(ages.of(Stamp::here(OPENED), now)), 3 * DAY);
        assert_eq!(us(ages.of(noted(DAY), now)), 4 * DAY);
    }

    /// After opening, a note is as old as the process for ten minutes; then the wall clock is believed.
    #[test]
    fn p2_a_note_is_believed_ten_minutes_after_opening() {
        let mut ages = Ages::new(OPENED);
        for (passed, age) in [(0, 0), (9 * MINUTE, 9 * MINUTE), (10 * MINUTE, DAY + 10 * MINUTE)] {
            assert!(!ages.observe(at(passed, 0)));
            assert_eq!(us(ages.of(noted(DAY), at(passed, 0))), age);
        }
    }

    /// What steps do to the age of a note of yesterday, long after opening.
    #[test]
    fn p2_a_step_of_the_wall_clock_gives_ten_minutes_of_grace() {
        // Microseconds by which the clock is set; whether that is seen as a step.
        let table = [
            (0, false),
            (SECOND as i64, false),
            (-(SECOND as i64), false),
            (5 * SECOND as i64, false),
            (-5 * SECOND as i64, false),
            (5 * SECOND as i64 + 1, true),
            (-5 * SECOND as i64 - 1, true),
            (10 * SECOND as i64, true),
            (-10 * SECOND as i64, true),
            (YEAR as i64, true),
            (-(YEAR as i64), true),
            (-(50 * YEAR as i64), true),
        ];
        for (set, is_step) in table {
            let mut ages = Ages::new(OPENED);
            assert!(!ages.observe(at(DAY, 0)));
            assert_eq!(us(ages.of(noted(DAY), at(DAY, 0))), 2 * DAY);
            let now = at(DAY + SECOND, set);
            assert_eq!(ages.observe(now), is_step, "{set}");
            let known = us(ages.of(noted(DAY), now));
            if is_step {
                assert_eq!(known, DAY + SECOND, "{set}: as old as the process");
            } else {
                assert_eq!(known as i64, (2 * DAY + SECOND) as i64 + set);
            }
            let late = at(DAY + SECOND + 10 * MINUTE, set);
            assert!(!ages.observe(late), "the relation was taken anew");
            let believed = (2 * DAY + SECOND + 10 * MINUTE) as i64 + set;
            assert_eq!(
                us(ages.of(noted(DAY), late)) as i64,
                believed.max((DAY + SECOND + 10 * MINUTE) as i64),
                "{set}"
            );
        }
    }

    /// A wrong second does no harm, and neither does its end.
    #[test]
    fn p2_a_glitch_of_a_second_makes_nothing_older() {
        for set in [30 * DAY as i64, -(30 * DAY as i64)] {
            let mut ages = Ages::new(OPENED);
            let mut now = at(DAY, 0);
            ages.observe(now);
            now = at(DAY + SECOND, set);
            assert!(ages.observe(now));
            assert_eq!(us(ages.of(noted(DAY), now)), DAY + SECOND);
            now = at(DAY + 2 * SECOND, 0);
            assert!(ages.observe(now));
            assert_eq!(us(ages.of(noted(DAY), now)), DAY + 2 * SECOND);
            now = at(DAY + 2 * SECOND + 10 * MINUTE, 0);
            assert!(!ages.observe(now));
            assert_eq!(us(ages.of(noted(DAY), now)), 2 * DAY + 2 * SECOND + 10 * MINUTE);
        }
    }

    /// Small steps that add up are a step too; drift within the bound is none, however long it takes.
    #[test]
    fn p2_small_steps_add_up() {
        let mut ages = Ages::new(OPENED);
        let seen: Vec<bool> = (1..=4).map(|n| ages.observe(at(n * SECOND, n as i64 * 2 * SECOND as i64))).collect();
        assert_eq!(seen, [false, false, true, false]);
        let mut ages = Ages::new(OPENED);
        assert!((1..=1000).all(|n| !ages.observe(at(n * DAY, n as i64 * 5000))));
    }

    /// A machine that boots in 1970 opens a log of 2026, and NTP sets its clock: nothing expires by that. What was noted
    /// in 1970 counts from when it was found.
    #[test]
    fn p2_a_boot_without_a_clock_expires_nothing() {
        let booted = Now { wall_us: 30 * SECOND, boot_us: 30 * SECOND };
        let mut ages = Ages::new(booted);
        let used = Stamp::Noted { wall_us: OPENED.wall_us - MINUTE };
        let lost = Stamp::Noted { wall_us: 10 * SECOND };
        let set = Now { wall_us: OPENED.wall_us, boot_us: 20 * MINUTE };
        assert!(ages.observe(set));
        assert_eq!(us(ages.of(used, set)), 20 * MINUTE - 30 * SECOND);
        let late = Now { wall_us: OPENED.wall_us + DAY, boot_us: 20 * MINUTE + DAY };
        assert!(!ages.observe(late));
        assert_eq!(us(ages.of(used, late)), DAY + 20 * MINUTE - 30 * SECOND);
        assert_eq!(us(ages.of(lost, late)), DAY + 20 * MINUTE - 30 * SECOND);
    }

    /// A note of the future, made while the clock was wrong, ages with the process.
    #[test]
    fn a_note_of_the_future_ages_with_the_process() {
        let mut ages = Ages::new(OPENED);
        let now = at(3 * DAY, 0);
        ages.observe(now);
        assert_eq!(us(ages.of(Stamp::Noted { wall_us: OPENED.wall_us + 50 * YEAR }, now)), 3 * DAY);
    }

    #[test]
    fn what_came_later_is_not_older() {
        let stamps = [5, 3, 9, 0, 9].map(noted_in_order()).map(|stamp| stamp.wall_us(OPENED));
        assert_eq!(stamps, [5, 5, 9, 9, 9]);
    }

    /// What is written on disk again after a step fits the clock that goes then.
    #[test]
    fn a_stamp_is_noted_by_the_clock_that_goes() {
        let stamp = Stamp::here(OPENED);
        assert_eq!(stamp.wall_us(at(MINUTE, 0)), OPENED.wall_us);
        assert_eq!(stamp.wall_us(at(MINUTE, DAY as i64)), OPENED.wall_us + DAY);
        assert_eq!(noted(DAY).wall_us(at(MINUTE, DAY as i64)), OPENED.wall_us - DAY);
    }

    proptest! {
        /// However the wall clock is set, no age is less than the boot clock proves, and for ten minutes after a step none
        /// is more.
        #[test]
        fn p2_no_age_is_more_than_the_clocks_prove(
            looks in prop::collection::vec((1..20 * MINUTE, prop_oneof![
                5 => Just(0_i64),
                2 => -4_000_000..4_000_000_i64,
                1 => any::<i32>().prop_map(|seconds| i64::from(seconds) * 1_000_000),
            ]), 1..60),
            before in 0..YEAR,
        ) {
            let mut ages = Ages::new(OPENED);
            let (mut passed, mut set, mut stepped_at) = (0, 0_i64, 0);
            let mut relation = offset_us(OPENED);
            for (pause, step) in looks {
                passed += pause;
                set += step;
                let now = at(passed, set);
                let expected = (offset_us(now) - relation).abs() > 5_000_000;
                prop_assert_eq!(ages.observe(now), expected);
                if expected {
                    (relation, stepped_at) = (offset_us(now), passed);
                }
                let age = us(ages.of(noted(before), now));
                prop_assert!(age >= passed);
                if passed < stepped_at + 10 * MINUTE {
                    prop_assert_eq!(age, passed);
                }
                prop_assert_eq!(us(ages.of(Stamp::here(OPENED), now)), passed);
            }
        }
    }
}
