//! When a log on disk is synced, and when its directory is checked. The logs of both ends go by it.

use std::time::{Duration, Instant};

use crate::error::{Error, Result, Status};

/// How often an operation that the disk refuses is tried again.
pub const RETRY: Duration = Duration::from_millis(100);

/// How often the directory is checked to be still the log's, also while nothing is written.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Unsynced bytes at which [`SyncPolicy::Always`] syncs although there is more to write.
const MAX_SHARED_BYTES: u64 = 1 << 20;

/// When what is written is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before an append returns. Callers at the same time share one sync.
    Always,
    /// After so much time, or so many bytes, whichever comes first; at once when somebody waits for it.
    Group {
        /// The longest time between an append and its sync.
        interval: Duration,
        /// The most bytes between two syncs.
        bytes: u64,
    },
    /// When the operating system likes, or somebody waits for it.
    Os,
}

impl SyncPolicy {
    /// Bytes that a log on disk reserves. Without frequent syncs they are of no use.
    #[doc(hidden)]
    pub fn reserve_bytes(&self) -> u64 {
        match self {
            Self::Always | Self::Group { .. } => 1 << 20,
            Self::Os => 0,
        }
    }

    /// Whether its values are within what a host may set.
    #[doc(hidden)]
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Group { interval, bytes } if interval.is_zero() || *bytes == 0 => Err(Error::new(
                Status::InvalidArgument,
                "group sync needs an interval and a number of bytes of at least 1",
            )),
            _ => Ok(()),
        }
    }
}

/// Whether a caller waits for more to be durable than is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Nothing,
    /// All that is waited for is written.
    Written,
    /// Part of what is waited for is not written yet.
    Unwritten,
}

/// What a sync would do now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingSync {
    /// Bytes that are written and not durable.
    pub(crate) bytes: u64,
    pub(crate) wanted: Wanted,
    /// Nothing is left to write.
    pub(crate) all_written: bool,
}

/// When the thread that writes a log syncs it, checks its directory, and tells the upkeep of a new segment.
#[derive(Debug)]
pub(crate) struct SyncSchedule {
    policy: SyncPolicy,
    /// When the first of the unsynced entries was written.
    unsynced_since: Option<Instant>,
    checked_at: Instant,
    /// How many segments had begun when this was last looked at.
    begun: u64,
}

impl SyncSchedule {
    /// For a log in which `begun` segments have begun, and whose directory was checked just now.
    pub(crate) fn new(policy: SyncPolicy, begun: u64, now: Instant) -> Self {
        Self { policy, unsynced_since: None, checked_at: now, begun }
    }

    /// Entries were written.
    pub(crate) fn wrote(&mut self, now: Instant) {
        self.unsynced_since.get_or_insert(now);
    }

    /// Everything that was written is durable.
    pub(crate) fn synced(&mut self) {
        self.unsynced_since = None;
    }

    pub(crate) fn is_sync_due(&self, backlog: PendingSync, now: Instant) -> bool {
        let PendingSync { bytes, wanted, all_written } = backlog;
        if bytes == 0 {
            return false;
        }
        match self.policy {
            // Whoever appended until now shares this sync.
            SyncPolicy::Always => all_written || bytes >= MAX_SHARED_BYTES,
            SyncPolicy::Group { bytes: most, .. } => {
                bytes >= most
                    || wanted != Wanted::Nothing && all_written
                    || self.sync_at().is_some_and(|due_at| due_at <= now)
            }
            // No time ends this wait, and there may always be something left to write.
            SyncPolicy::Os => match wanted {
                Wanted::Nothing => false,
                Wanted::Written => true,
                Wanted::Unwritten => all_written,
            },
        }
    }

    /// Whether what is written is to be synced while the disk refuses what follows, for nobody knows how long.
    pub(crate) fn is_sync_due_in_stall(&self, backlog: PendingSync) -> bool {
        backlog.bytes > 0 && (self.policy != SyncPolicy::Os || backlog.wanted != Wanted::Nothing)
    }

    /// When a sync is due although nothing more is written and nobody waits.
    pub(crate) fn sync_at(&self) -> Option<Instant> {
        match self.policy {
            // An interval beyond the clock's end never ends.
            SyncPolicy::Group { interval, .. } => self.unsynced_since.and_then(|since| since.checked_add(interval)),
            SyncPolicy::Always | SyncPolicy::Os => None,
        }
    }

    /// When the directory is to be checked next.
    pub(crate) fn check_at(&self) -> Instant {
        self.checked_at + CHECK_EVERY
    }

    /// The directory was checked.
    pub(crate) fn checked(&mut self, now: Instant) {
        self.checked_at = now;
    }

    /// Whether a segment has begun since the last call, now that `begun` have. All segments before it are durable, and
    /// retention may give up the oldest.
    pub(crate) fn has_begun(&mut self, begun: u64) -> bool {
        std::mem::replace(&mut self.begun, begun) != begun
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(20);

    fn backlog(bytes: u64, wanted: Wanted, all_written: bool) -> PendingSync {
        PendingSync { bytes, wanted, all_written }
    }

    fn written(policy: SyncPolicy, now: Instant) -> SyncSchedule {
        let mut schedule = SyncSchedule::new(policy, 0, now);
        schedule.wrote(now);
        schedule
    }

    #[test]
    fn nothing_is_synced_when_all_is_durable() {
        let now = Instant::now();
        for policy in [SyncPolicy::Always, SyncPolicy::Group { interval: INTERVAL, bytes: 1 }, SyncPolicy::Os] {
            assert!(!written(policy, now).is_sync_due(backlog(0, Wanted::Written, true), now + INTERVAL));
        }
    }

    /// P5: appends that never cease do not put off the sync for those that wait.
    #[test]
    fn p5_always_syncs_when_all_is_written_or_it_is_much() {
        let now = Instant::now();
        let schedule = written(SyncPolicy::Always, now);
        assert!(schedule.is_sync_due(backlog(1, Wanted::Nothing, true), now));
        assert!(!schedule.is_sync_due(backlog(MAX_SHARED_BYTES - 1, Wanted::Written, false), now));
        assert!(schedule.is_sync_due(backlog(MAX_SHARED_BYTES, Wanted::Nothing, false), now));
        assert_eq!(schedule.sync_at(), None);
    }

    #[test]
    fn group_syncs_after_its_bytes_its_interval_or_for_whoever_waits() {
        let now = Instant::now();
        let mut schedule = written(SyncPolicy::Group { interval: INTERVAL, bytes: 100 }, now);
        schedule.wrote(now + INTERVAL / 2);
        assert_eq!(schedule.sync_at(), Some(now + INTERVAL), "the first of the unsynced entries counts");
        assert!(!schedule.is_sync_due(backlog(99, Wanted::Nothing, true), now));
        assert!(schedule.is_sync_due(backlog(100, Wanted::Nothing, false), now));
        assert!(schedule.is_sync_due(backlog(1, Wanted::Nothing, false), now + INTERVAL));
        assert!(!schedule.is_sync_due(backlog(1, Wanted::Written, false), now));
        assert!(schedule.is_sync_due(backlog(1, Wanted::Written, true), now));
        schedule.synced();
        assert_eq!(schedule.sync_at(), None);
    }

    /// P5: who waits for what is written does not wait for those that never cease to append.
    #[test]
    fn p5_os_syncs_only_for_whoever_waits() {
        let now = Instant::now();
        let schedule = written(SyncPolicy::Os, now);
        assert!(!schedule.is_sync_due(backlog(u64::MAX, Wanted::Nothing, true), now + Duration::from_secs(3600)));
        assert!(schedule.is_sync_due(backlog(1, Wanted::Written, false), now));
        assert!(!schedule.is_sync_due(backlog(1, Wanted::Unwritten, false), now));
        assert!(schedule.is_sync_due(backlog(1, Wanted::Unwritten, true), now));
    }

    #[test]
    fn what_is_written_does_not_wait_for_a_disk_that_refuses_the_rest() {
        let now = Instant::now();
        let group = SyncPolicy::Group { interval: INTERVAL, bytes: 100 };
        for (policy, without_wait) in [(SyncPolicy::Always, true), (group, true), (SyncPolicy::Os, false)] {
            let schedule = written(policy, now);
            assert!(!schedule.is_sync_due_in_stall(backlog(0, Wanted::Unwritten, false)));
            assert!(schedule.is_sync_due_in_stall(backlog(1, Wanted::Unwritten, false)));
            assert_eq!(schedule.is_sync_due_in_stall(backlog(1, Wanted::Nothing, false)), without_wait);
        }
    }

    #[test]
    fn the_directory_is_checked_each_second_and_each_segment_is_told_once() {
        let now = Instant::now();
        let mut schedule = SyncSchedule::new(SyncPolicy::Os, 3, now);
        assert_eq!(schedule.check_at(), now + CHECK_EVERY);
        schedule.checked(now + CHECK_EVERY);
        assert_eq!(schedule.check_at(), now + 2 * CHECK_EVERY);
        assert_eq!([3, 4, 4, 6].map(|begun| schedule.has_begun(begun)), [false, true, false, true]);
    }
}
