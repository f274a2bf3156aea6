//! When the log had reached which entry, by the boot clock: what limits the lag that timestamps and the wall clock tell of.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Now;
use crate::sync::Mutex;

/// Time between two marks.
const SPACING_US: u64 = 100_000;

/// So many marks; then every second one goes. So the older ones lie further apart, in proportion to their age.
const MAX_MARKS: usize = 64;

/// Marks of a sender's log.
pub(super) struct Milestones {
    /// When the next mark is due.
    due_us: AtomicU64,
    marks: Mutex<Marks>,
}

impl Milestones {
    /// `sequence`: the last entry now.
    pub(super) fn new(boot_us: u64, sequence: u64) -> Self {
        let marks = Marks(VecDeque::from([(boot_us, sequence)]));
        Self { due_us: boot_us.saturating_add(SPACING_US).into(), marks: Mutex::new(marks) }
    }

    /// The log's last entry is `sequence` now. Called often.
    pub(super) fn note(&self, boot_us: u64, sequence: u64) {
        if boot_us < self.due_us.load(Ordering::Relaxed) {
            return;
        }
        let mut marks = self.marks.lock();
        marks.note(boot_us, sequence);
        self.due_us.store(boot_us.saturating_add(SPACING_US), Ordering::Relaxed);
    }

    /// How long ago the entry `sequence` was appended, in microseconds: what its timestamp says, within what is known
    /// without it. Timestamps are the host's, and the wall clock may have been set since.
    pub(super) fn age_us(&self, sequence: u64, timestamp_us: u64, now: Now) -> u64 {
        let (least_us, most_us) = self.marks.lock().bounds(sequence, now.boot_us);
        now.wall_us.saturating_sub(timestamp_us).clamp(least_us, most_us)
    }
}

/// Boot times at which the log was seen, and its last entry then. Both only rise.
struct Marks(VecDeque<(u64, u64)>);

impl Marks {
    fn note(&mut self, boot_us: u64, sequence: u64) {
        let marks = &mut self.0;
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

    /// The least and the most time since the entry `sequence` was appended.
    fn bounds(&self, sequence: u64, boot_us: u64) -> (u64, u64) {
        let reached = self.0.partition_point(|(_, last)| *last < sequence);
        let since = |mark: Option<&(u64, u64)>| mark.map(|(at_us, _)| boot_us.saturating_sub(*at_us));
        let least = since(self.0.get(reached)).unwrap_or(0);
        let most = since(reached.checked_sub(1).and_then(|before| self.0.get(before))).unwrap_or(u64::MAX);
        (least, most.max(least))
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000;
    const YEAR: u64 = 365 * 86_400 * SECOND;
    const WALL: u64 = 50 * YEAR;

    #[test]
    fn a_lag_is_what_the_timestamp_says_within_what_the_boot_clock_proves() {
        let milestones = Milestones::new(0, 0);
        for second in 1..=10 {
            milestones.note(second * SECOND, second * 100);
        }
        // Entry 450 was appended between the fourth and the fifth second.
        let timestamp_us = WALL + 4 * SECOND + SECOND / 2;
        let age = |set: i64| {
            let now = Now { wall_us: (WALL + 10 * SECOND).saturating_add_signed(set), boot_us: 10 * SECOND };
            milestones.age_us(450, timestamp_us, now)
        };
        assert_eq!(age(0), 5 * SECOND + SECOND / 2);
        assert_eq!(age(YEAR as i64), 6 * SECOND);
        assert_eq!(age(-(YEAR as i64)), 5 * SECOND);
        // Timestamps that are none.
        assert_eq!(milestones.age_us(450, 0, Now { wall_us: WALL, boot_us: 10 * SECOND }), 6 * SECOND);
        assert_eq!(milestones.age_us(450, u64::MAX, Now { wall_us: WALL, boot_us: 10 * SECOND }), 5 * SECOND);
        // Nothing is known of what lies before the first mark, and only the last mark of what lies behind it.
        assert_eq!(milestones.marks.lock().bounds(0, 10 * SECOND), (10 * SECOND, u64::MAX));
        assert_eq!(milestones.marks.lock().bounds(1001, 11 * SECOND), (0, SECOND));
    }

    proptest! {
        /// P5: however long it goes on there are few marks, and they never exclude the truth.
        #[test]
        fn p5_marks_are_bounded_and_true(steps in prop::collection::vec((1..10 * SECOND, 0..1000_u64), 1..500)) {
            let mut marks = Marks(VecDeque::from([(0, 0)]));
            let (mut boot_us, mut sequence) = (0, 0);
            let mut appended_us = vec![0];
            for (pause, count) in steps {
                boot_us += pause;
                sequence += count;
                appended_us.resize(sequence as usize + 1, boot_us);
                marks.note(boot_us, sequence);
                prop_assert!(marks.0.len() <= MAX_MARKS);
            }
            for sequence in 1..=sequence {
                let age = boot_us - appended_us[sequence as usize];
                let (least, most) = marks.bounds(sequence, boot_us);
                prop_assert!(least <= age && age <= most, "{} {} {}", least, age, most);
            }
        }
    }
}
