//! The upkeep of a log's directory, for a thread of its own: retention, and the next segment's file. What takes as long
//! as the past is (thousands of old segments, each removed for good before the next) is done here, so that nobody who
//! stores or delivers entries waits for it.

use std::time::{Duration, Instant};

use super::Mark;
use super::disk::DiskLog;
use crate::clock;
use crate::engine::stall::{DiskNews, Operation, Stall};
use crate::error::Result;
use crate::sync::{Condvar, Mutex};

/// How often retention looks at the age of segments, at least and at most.
const LOOK_EVERY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(5);

/// A segment is completed when its first entry has this part of the age at which entries go.
const ROLLS_PER_AGE: u32 = 4;

/// How often a segment that cannot be removed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How much time passes between two reports of a long removal.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What the upkeep has to tell.
#[derive(Debug)]
pub enum UpkeepNews {
    /// A segment went while somebody waits for room.
    Room,
    /// So many segments went, with all entries up to this one.
    Trimmed {
        /// How many.
        segments: usize,
        /// The last entry of the last one.
        last_sequence: u64,
    },
    /// A segment that retention gives up could not be removed, or can be again.
    Disk(DiskNews),
}

/// What a thread that keeps a directory is told.
#[derive(Debug, Default)]
pub struct Upkeep {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rung: bool,
    /// Somebody waits for room.
    hurried: bool,
    over: bool,
}

impl Upkeep {
    /// Another segment has begun.
    pub fn ring(&self) {
        self.state.lock().rung = true;
        self.rung.notify_all();
    }

    /// The disk is full: what may go is to go as fast as it can, until [`Self::relax`].
    pub fn hurry(&self) {
        let mut state = self.state.lock();
        (state.rung, state.hurried) = (true, true);
        drop(state);
        self.rung.notify_all();
    }

    /// There is room again.
    pub fn relax(&self) {
        self.state.lock().hurried = false;
    }

    /// Ends [`Self::run`], at the latest after one removal.
    pub fn close(&self) {
        self.state.lock().over = true;
        self.rung.notify_all();
    }

    fn is_over(&self) -> bool {
        self.state.lock().over
    }

    /// Waits until there is a log, which is told by [`Self::ring`]. `None`: it is over before.
    pub fn wait_for<'a>(&self, log: impl Fn() -> Option<&'a DiskLog>) -> Option<&'a DiskLog> {
        let mut state = self.state.lock();
        loop {
            if state.over {
                return None;
            }
            if let Some(log) = log() {
                return Some(log);
            }
            state = self.rung.wait(state, None);
        }
    }

    /// Keeps the directory of `disk` until [`Self::close`], or until what is on disk is not known any more.
    ///
    /// `kept_from` is asked before each removal, with the end of the segment that would go, for the position from which on
    /// entries are needed; what it answers must hold after a loss of power as well.
    pub fn run(
        &self,
        disk: &DiskLog,
        kept_from: &mut dyn FnMut(Mark) -> Result<u64>,
        report: &mut dyn FnMut(UpkeepNews),
    ) -> Result<()> {
        let age = disk.retain_age();
        let look_every = (age / ROLLS_PER_AGE).clamp(*LOOK_EVERY.start(), *LOOK_EVERY.end());
        let (mut stall, mut rolled_at) = (Stall::new(Operation::Trim), None::<Instant>);
        while !self.is_over() {
            // Nobody waits for these two. What fails here and does not pass stalls whoever needs it.
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

    /// Removes what retention gives up and nobody needs.
    fn trim(
        &self,
        disk: &DiskLog,
        kept_from: &mut dyn FnMut(Mark) -> Result<u64>,
        report: &mut dyn FnMut(UpkeepNews),
    ) -> Result<()> {
        let (mut segments, mut last_sequence, mut reported_at) = (0, 0, clock::instant());
        let mut begun = disk.begun();
        let tell = |report: &mut dyn FnMut(UpkeepNews), segments: &mut usize, last_sequence| {
            if *segments > 0 {
                report(UpkeepNews::Trimmed { segments: std::mem::take(segments), last_sequence });
            }
        };
        let trimmed = loop {
            let (started, now) = (clock::instant(), clock::now());
            let Some(end) = disk.first_given_up(now) else { break Ok(()) };
            match kept_from(end).and_then(|keep_from| disk.trim_one(keep_from, now)) {
                Ok(Some(end)) => (segments, last_sequence) = (segments + 1, end.sequence),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
            if self.state.lock().hurried {
                report(UpkeepNews::Room);
            }
            if clock::since(reported_at) >= REPORT_EVERY {
                tell(report, &mut segments, last_sequence);
                reported_at = clock::instant();
            }
            // At least one goes for each that begins, so that what is to go does not grow.
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
        tell(report, &mut segments, last_sequence);
        trimmed
    }

    /// Leaves the disk to others for as long as it was used, unless there is a hurry.
    fn pause(&self, time: Duration) {
        let until = clock::instant() + time;
        let mut state = self.state.lock();
        while !state.hurried && !state.over && clock::instant() < until {
            state = self.rung.wait(state, Some(until));
        }
    }

    fn sleep(&self, time: Duration) {
        let until = clock::instant() + time;
        let mut state = self.state.lock();
        while !state.rung && !state.over && clock::instant() < until {
            state = self.rung.wait(state, Some(until));
        }
        state.rung = false;
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;
    use crate::log::disk::DiskConfig;
    use crate::log::disk::tests::{encode, scratch, start};

    /// P5: however small the age at which entries go is, segments are not completed one after the other.
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
                upkeep.ring();
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
