//! When the log had reached which entry, by the boot clock. It bounds the age of an entry, which timestamps and the
//! wall clock alone do not tell reliably.

use std::collections::VecDeque;

use crate::clock::Now;

/// Time between two marks.
pub(crate) const SPACING_US: u64 = 100_000;

/// Beyond this many marks every second one is removed, so older marks lie further apart, in proportion to their age.
const MAX_MARKS: usize = 64;

/// Boot times at which the log was looked at, each with its last entry then. Both only rise.
pub(crate) struct Timeline {
    marks: VecDeque<(u64, u64)>,
}

impl Timeline {
    /// `sequence`: the last entry now.
    pub(crate) fn new(boot_us: u64, sequence: u64) -> Self {
        Self { marks: VecDeque::from([(boot_us, sequence)]) }
    }

    /// The log's last entry is `sequence` at `boot_us`.
    pub(crate) fn note(&mut self, boot_us: u64, sequence: u64) {
        let marks = &mut self.marks;
        if marks.back().is_some_and(|(at_us, last)| *at_us >= boot_us || *last > sequence) {
            return;
        }
        // Of a time in which nothing came, the two ends are enough.
        let same = |mark: Option<&(u64, u64)>| mark.is_some_and(|(_, last)| *last == sequence);
        if same(marks.back()) && same(marks.iter().rev().nth(1)) {
            marks.pop_back();
        }
        marks.push_back((boot_us, sequence));
        if marks.len() > MAX_MARKS {
            let mut index = 0;
            marks.retain(|_| {
                index += 1;
                index % 2 == 1 || index > MAX_MARKS
            });
        }
    }

    /// How long ago the entry `sequence` was appended, in microseconds: what its timestamp says, within what is known
    /// without it. Timestamps are the host's, and the wall clock may have been set since.
    pub(crate) fn age_us(&self, sequence: u64, timestamp_us: u64, now: Now) -> u64 {
        let (least_us, most_us) = self.bounds(sequence, now.boot_us);
        now.wall_us.saturating_sub(timestamp_us).clamp(least_us, most_us)
    }

    /// The least and the most time since the entry `sequence` was appended.
    fn bounds(&self, sequence: u64, boot_us: u64) -> (u64, u64) {
        let reached = self.marks.partition_point(|(_, last)| *last < sequence);
        let since = |mark: Option<&(u64, u64)>| mark.map(|(at_us, _)| boot_us.saturating_sub(*at_us));
        let least = since(self.marks.get(reached)).unwrap_or(0);
        let most = since(reached.checked_sub(1).and_then(|before| self.marks.get(before))).unwrap_or(u64::MAX);
        (least, most.max(least))
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000;
    const YEAR: u64 = 365 * 86_400 * SECOND;
    const WALL: u64 = 50 * YEAR;

    #[test]
    fn a_lag_is_what_the_timestamp_says_within_what_the_boot_clock_proves() {
        let mut timeline = Timeline::new(0, 0);
        for second in 1..=10 {
            timeline.note(second * SECOND, second * 100);
        }
        // Entry 450 was appended between the fourth and the fifth second.
        let timestamp_us = WALL + 4 * SECOND + SECOND / 2;
        let age = |set: i64| {
            let now = Now { wall_us: (WALL + 10 * SECOND).saturating_add_signed(set), boot_us: 10 * SECOND };
            timeline.age_us(450, timestamp_us, now)
        };
        assert_eq!(age(0), 5 * SECOND + SECOND / 2);
        assert_eq!(age(YEAR as i64), 6 * SECOND);
        assert_eq!(age(-(YEAR as i64)), 5 * SECOND);
        // Timestamps that are none.
        assert_eq!(timeline.age_us(450, 0, Now { wall_us: WALL, boot_us: 10 * SECOND }), 6 * SECOND);
        assert_eq!(timeline.age_us(450, u64::MAX, Now { wall_us: WALL, boot_us: 10 * SECOND }), 5 * SECOND);
        // Nothing is known of what lies before the first mark, and only the last mark of what lies after it.
        assert_eq!(timeline.bounds(0, 10 * SECOND), (10 * SECOND, u64::MAX));
        assert_eq!(timeline.bounds(1001, 11 * SECOND), (0, SECOND));
    }

    proptest! {
        /// P5: however long it goes on there are few marks, and they never exclude the truth.
        #[test]
        fn p5_marks_are_bounded_and_true(steps in prop::collection::vec((1..10 * SECOND, 0..1000_u64), 1..500)) {
            let mut timeline = Timeline::new(0, 0);
            let (mut boot_us, mut sequence) = (0, 0);
            let mut appended_us = vec![0];
            for (pause, count) in steps {
                boot_us += pause;
                sequence += count;
                appended_us.resize(sequence as usize + 1, boot_us);
                timeline.note(boot_us, sequence);
                prop_assert!(timeline.marks.len() <= MAX_MARKS);
            }
            for sequence in 1..=sequence {
                let age = boot_us - appended_us[sequence as usize];
                let (least, most) = timeline.bounds(sequence, boot_us);
                prop_assert!(least <= age && age <= most, "{} {} {}", least, age, most);
            }
        }
    }
}
