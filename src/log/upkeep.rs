//! The upkeep of a log's directory, on a thread of its own: retention, and preparing the next segment's file. Removing
//! thousands of old segments, each durably before the next, can take minutes; here, no thread that stores or delivers
//! entries waits for it.

use std::time::{Duration, Instant};

use super::Mark;
use super::disk::DiskLog;
use crate::clock;
use crate::engine::stall::{DiskNews, Operation, Stall};
use crate::error::Result;
use crate::sync::{Condvar, Mutex};

/// The bounds of the interval at which retention checks the age of segments.
const LOOK_EVERY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(5);

/// A segment is completed when its first entry has reached this fraction of the age at which entries are removed.
const ROLLS_PER_AGE: u32 = 4;

/// How often the removal of a segment is retried.
const RETRY: Duration = Duration::from_secs(1);

/// The interval between reports during a long removal.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// News of the upkeep.
#[derive(Debug)]
pub enum UpkeepNews {
    /// A segment was removed while a write waits for space.
    Room,
    /// Segments were removed, with all entries up to this one.
    Trimmed {
        /// How many.
        segments: usize,
        /// The last entry of the last one.
        last_sequence: u64,
    },
    /// The disk refuses to remove a segment, or accepts the removal after all.
    Disk(DiskNews),
}

/// The state that other threads share with the thread that does the upkeep.
#[derive(Debug, Default)]
pub struct Upkeep {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    notified: bool,
    /// A write waits for space.
    hurried: bool,
    over: bool,
}

impl Upkeep {
    /// Another segment has begun.
    pub fn notify(&self) {
        self.state.lock().notified = true;
        self.changed.notify_all();
    }

    /// The disk is full: segments are removed without pauses until [`Self::relax`].
    pub fn hurry(&self) {
        let mut state = self.state.lock();
        (state.notified, state.hurried) = (true, true);
        drop(state);
        self.changed.notify_all();
    }

    /// There is space again.
    pub fn relax(&self) {
        self.state.lock().hurried = false;
    }

    /// Ends [`Self::run`], at the latest after one removal.
    pub fn close(&self) {
        self.state.lock().over = true;
        self.changed.notify_all();
    }

    fn is_over(&self) -> bool {
        self.state.lock().over
    }

    /// Waits until there is a log, which [`Self::notify`] announces. `None` if [`Self::close`] comes first.
    pub fn wait_for<'a>(&self, log: impl Fn() -> Option<&'a DiskLog>) -> Option<&'a DiskLog> {
        let mut state = self.state.lock();
        loop {
            if state.over {
                return None;
            }
            if let Some(log) = log() {
                return Some(log);
            }
            state = self.changed.wait(state, None);
        }
    }

    /// Runs the upkeep of the directory until [`Self::close`], or until the log is unusable.
    ///
    /// `kept_from` is called before each removal, with the end of the segment to be removed. It returns the position
    /// from which on entries are needed, which must still hold after a loss of power.
    pub fn run(
        &self,
        disk: &DiskLog,
        kept_from: &mut dyn FnMut(Mark) -> Result<u64>,
        report: &mut dyn FnMut(UpkeepNews),
    ) -> Result<()> {
        let (mut stall, mut rolled_at) = (Stall::new(Operation::Trim), None::<Instant>);
        while !self.is_over() {
            let age = disk.retain_age();
            let look_every = (age / ROLLS_PER_AGE).clamp(*LOOK_EVERY.start(), *LOOK_EVERY.end());
            // No thread waits for these two. A failure that lasts is met again by the thread that needs the next
            // segment.
            let prepared = disk.prepare_next();
            let rolled_lately = rolled_at.is_some_and(|at| clock::since(at) < *LOOK_EVERY.start());
            if prepared.is_ok()
                && !rolled_lately
                && matches!(disk.roll_older_than(age / ROLLS_PER_AGE, clock::now()), Ok(true))
            {
                rolled_at = Some(clock::instant());
            }
            disk.check_usable()?;
            match self.trim(disk, kept_from, report) {
                Err(error) if !disk.is_usable() || !error.status.is_passing() => return Err(error),
                trimmed => {
                    if let Some(news) = stall.observe(&trimmed) {
                        report(UpkeepNews::Disk(news));
                    }
                }
            }
            self.sleep(if stall.reason().is_some() { RETRY } else { look_every });
        }
        Ok(())
    }

    /// Removes the segments that exceed the retention and that no reader needs.
    fn trim(
        &self,
        disk: &DiskLog,
        kept_from: &mut dyn FnMut(Mark) -> Result<u64>,
        report: &mut dyn FnMut(UpkeepNews),
    ) -> Result<()> {
        let (mut segments, mut last_sequence, mut reported_at) = (0, 0, clock::instant());
        let mut begun = disk.begun();
        let report_trimmed = |report: &mut dyn FnMut(UpkeepNews), segments: &mut usize, last_sequence| {
            if *segments > 0 {
                report(UpkeepNews::Trimmed { segments: std::mem::take(segments), last_sequence });
            }
        };
        let trimmed = loop {
            let (started, now) = (clock::instant(), clock::now());
            let Some(end) = disk.first_expired(now) else { break Ok(()) };
            match kept_from(end).and_then(|keep_from| disk.trim_one(keep_from, now)) {
                Ok(Some(end)) => (segments, last_sequence) = (segments + 1, end.sequence),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
            if self.state.lock().hurried {
                report(UpkeepNews::Room);
            }
            if clock::since(reported_at) >= REPORT_EVERY {
                report_trimmed(report, &mut segments, last_sequence);
                reported_at = clock::instant();
            }
            // At least one segment is removed for each that begins, so that the log does not grow.
            if begun < disk.begun() {
                begun += 1;
                let _ = disk.prepare_next();
            } else {
                self.pause(clock::since(started));
            }
            if self.is_over() {
                break Ok(());
            }
        };
        report_trimmed(report, &mut segments, last_sequence);
        trimmed
    }

    /// Leaves the disk to other threads for `time`, unless a write waits for space.
    fn pause(&self, time: Duration) {
        let until = clock::instant() + time;
        let mut state = self.state.lock();
        while !state.hurried && !state.over && clock::instant() < until {
            state = self.changed.wait(state, Some(until));
        }
    }

    fn sleep(&self, time: Duration) {
        let until = clock::instant() + time;
        let mut state = self.state.lock();
        while !state.notified && !state.over && clock::instant() < until {
            state = self.changed.wait(state, Some(until));
        }
        state.notified = false;
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::log::disk::DiskConfig;
    use crate::log::disk::tests::{encode, scratch, start};

    /// P5: however small the retained age is, at most one segment is completed in a second.
    #[test]
    fn p5_a_small_age_completes_no_more_than_a_segment_in_a_second() {
        let dir = scratch();
        let config = DiskConfig { retain_age: Duration::from_millis(1), ..DiskConfig::new(dir.path()) };
        let (disk, _) = DiskLog::open(config, start).unwrap();
        let upkeep = Upkeep::default();
        let first_at = std::thread::scope(|scope| {
            scope.spawn(|| upkeep.run(&disk, &mut |_| Ok(u64::MAX), &mut |_| ()));
            let mut first_at = None;
            while disk.begun() < 3 {
                disk.write(&encode(disk.written().sequence, &[10])).unwrap();
                upkeep.notify();
                let now = Instant::now();
                if disk.begun() == 0 {
                    first_at = Some(now);
                }
            }
            upkeep.close();
            first_at
        });
        // The second and the third come a second after the one before.
        assert!(first_at.unwrap().elapsed() >= 2 * *LOOK_EVERY.start());
    }
}
