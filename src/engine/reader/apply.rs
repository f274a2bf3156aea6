//! What the thread that calls the host does next, and what becomes of an entry that the handler does not take.
//!
//! The host's events come first, so that it hears why before it sees what follows; then everything that somebody waits for;
//! then the log on disk, because entries are stored whether or not they can be applied; entries last.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::policy::ApplyPolicy;
use crate::error::Status;

/// Pauses between two tries of an entry that the handler does not take, doubling.
const RETRY_PAUSES: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(1);

/// The code of a host that takes no more because it ends.
const CLOSED: i32 = Status::Closed as i32;

/// What waits for the thread.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PendingWork {
    pub(crate) events: bool,
    pub(crate) stop: bool,
    /// A connection that the host is to make.
    pub(crate) dial: bool,
    /// A lineage to be made durable.
    pub(crate) adopt: bool,
    /// The host wants no entries for now.
    pub(crate) paused: bool,
    /// An entry is at hand.
    pub(crate) entry: bool,
    /// The log on disk, if there is one.
    pub(crate) log: Option<LogWork>,
}

/// What the log on disk needs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogWork {
    /// Its directory is lost.
    pub(crate) lost: bool,
    /// Something received is not stored yet.
    pub(crate) unstored: bool,
    /// The writer waits for a sync.
    pub(crate) sync_requested: bool,
    /// When it is synced by its policy.
    pub(crate) sync_at: Option<Instant>,
    /// When its directory is looked at again.
    pub(crate) check_at: Option<Instant>,
}

/// What the thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    DeliverEvents,
    Stop,
    Dial,
    Adopt,
    /// Gives up, because the log's directory is lost.
    Lost,
    Store,
    Sync,
    Check,
    /// Stores the position that the handler has reached.
    StorePosition,
    /// Reads entries of an earlier process from the log.
    Replay,
    Apply,
    /// Nothing, until something comes or this time.
    Wait(Option<Instant>),
}

/// Work that a disk may refuse for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deferred {
    Store,
    StorePosition,
    Replay,
}

/// What becomes of an entry that the handler did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Retry,
    Stop,
    Skip,
}

/// The thread's deadlines, and how often the next entry was refused.
#[derive(Debug)]
pub(crate) struct ApplySchedule {
    policy: ApplyPolicy,
    failures: u32,
    retry_at: Option<Instant>,
    store_at: Option<Instant>,
    store_position_at: Option<Instant>,
    replay_at: Option<Instant>,
    over: bool,
}

impl ApplySchedule {
    pub(crate) fn new(policy: ApplyPolicy) -> Self {
        Self {
            policy,
            failures: 0,
            retry_at: None,
            store_at: None,
            store_position_at: None,
            replay_at: None,
            over: false,
        }
    }

    /// The next action for this work.
    pub(crate) fn next(&self, work: &PendingWork, now: Instant) -> Action {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let log = work.log.filter(|_| !self.over);
        let first = [
            (work.events, Action::DeliverEvents),
            (work.stop, Action::Stop),
            (work.dial, Action::Dial),
            (work.adopt, Action::Adopt),
        ];
        let of_log = log.map(|log| {
            [
                (log.lost, Action::Lost),
                (log.unstored && self.store_at.is_none_or(|at| at <= now), Action::Store),
                (is_due(log.sync_at) || log.sync_requested, Action::Sync),
                (is_due(log.check_at), Action::Check),
                (is_due(self.store_position_at), Action::StorePosition),
                (is_due(self.replay_at), Action::Replay),
            ]
        });
        let applies = !work.paused && !self.over;
        let entry = [(applies && work.entry && self.retry_at.is_none_or(|at| at <= now), Action::Apply)];
        let mut all = first.into_iter().chain(of_log.into_iter().flatten()).chain(entry);
        all.find(|(is_next, _)| *is_next).map_or_else(|| Action::Wait(self.deadline(log, applies)), |(_, next)| next)
    }

    /// When there may be something to do without anything new.
    fn deadline(&self, log: Option<LogWork>, applies: bool) -> Option<Instant> {
        let retry_at = self.retry_at.filter(|_| applies);
        let of_log = log.map(|log| [log.sync_at, log.check_at, self.store_at, self.store_position_at, self.replay_at]);
        of_log.into_iter().flatten().chain([retry_at]).flatten().min()
    }

    /// Tries this work again at `at`, because the disk refused it.
    pub(crate) fn defer(&mut self, work: Deferred, at: Instant) {
        *self.deferred(work) = Some(at);
    }

    /// This work is done, or is tried now.
    pub(crate) fn clear(&mut self, work: Deferred) {
        *self.deferred(work) = None;
    }

    fn deferred(&mut self, work: Deferred) -> &mut Option<Instant> {
        match work {
            Deferred::Store => &mut self.store_at,
            Deferred::StorePosition => &mut self.store_position_at,
            Deferred::Replay => &mut self.replay_at,
        }
    }

    /// Whether storing waits for the disk.
    pub(crate) fn is_store_deferred(&self) -> bool {
        self.store_at.is_some()
    }

    /// Whether entries of an earlier process are still to be read. They are applied before all others.
    pub(crate) fn is_replay_deferred(&self) -> bool {
        self.replay_at.is_some()
    }

    /// Nothing is applied any more.
    pub(crate) fn end(&mut self) {
        self.over = true;
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// The next entry is tried.
    pub(crate) fn begin_try(&mut self) {
        self.retry_at = None;
    }

    /// Whether the next entry may not be tried at once.
    pub(crate) fn holds_back(&self) -> bool {
        self.retry_at.is_some() || self.over
    }

    /// The handler took everything that it was given.
    pub(crate) fn applied(&mut self) {
        self.failures = 0;
    }

    /// The handler did not take an entry, and returned this code. `moved`: it took others before it. Gives how often the entry
    /// was tried by now, and what becomes of it.
    pub(crate) fn refused(&mut self, code: i32, moved: bool, now: Instant) -> (u32, Outcome) {
        if moved {
            self.failures = 0;
        }
        self.failures += 1;
        let tries = self.failures;
        let policy = match code {
            // The host ends and leaves the entry, which is nothing that a policy may give up.
            CLOSED => ApplyPolicy::Retry,
            _ => self.policy,
        };
        let outcome = match policy {
            ApplyPolicy::Stop(retries) if tries > retries => {
                self.over = true;
                Outcome::Stop
            }
            ApplyPolicy::Skip(retries) if tries > retries => {
                self.failures = 0;
                Outcome::Skip
            }
            _ => {
                let doubled = RETRY_PAUSES.start().saturating_mul(1 << (tries - 1).min(10));
                self.retry_at = Some(now + doubled.min(*RETRY_PAUSES.end()));
                Outcome::Retry
            }
        };
        (tries, outcome)
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::clock;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn p2_an_entry_that_is_refused_is_tried_again_with_growing_pauses_until_the_policy_ends_that() {
        let now = clock::instant();
        let outcomes = |policy, code, count: usize| {
            let mut schedule = ApplySchedule::new(policy);
            (0..count).map(|_| schedule.refused(code, false, now)).collect::<Vec<_>>()
        };
        use Outcome::{Retry, Skip, Stop};
        assert_eq!(outcomes(ApplyPolicy::Stop(2), 7, 3), [(1, Retry), (2, Retry), (3, Stop)]);
        assert_eq!(outcomes(ApplyPolicy::Skip(1), 7, 3), [(1, Retry), (2, Skip), (1, Retry)]);
        assert_eq!(outcomes(ApplyPolicy::Stop(0), CLOSED, 2), [(1, Retry), (2, Retry)]);

        let mut schedule = ApplySchedule::new(ApplyPolicy::Retry);
        let entry = PendingWork { entry: true, ..PendingWork::default() };
        for pause in [10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
            schedule.refused(7, false, now);
            assert_eq!(schedule.next(&entry, now), Action::Wait(Some(now + MS(pause))));
            assert_eq!(schedule.next(&entry, now + MS(pause)), Action::Apply);
            assert_eq!(schedule.next(&PendingWork { paused: true, ..entry }, now + MS(pause)), Action::Wait(None));
        }
        // Another entry begins anew.
        assert_eq!(schedule.refused(7, true, now), (1, Retry));
    }

    #[test]
    fn what_somebody_waits_for_comes_before_entries_and_storing_before_applying() {
        let now = clock::instant();
        let log = LogWork { unstored: true, sync_at: Some(now), check_at: Some(now), ..LogWork::default() };
        let mut work = PendingWork {
            events: true,
            stop: true,
            dial: true,
            adopt: true,
            paused: false,
            entry: true,
            log: Some(log),
        };
        let mut schedule = ApplySchedule::new(ApplyPolicy::Retry);
        schedule.defer(Deferred::StorePosition, now);
        schedule.defer(Deferred::Replay, now);
        let mut order = Vec::new();
        loop {
            let next = schedule.next(&work, now);
            order.push(next);
            let log = work.log.as_mut().unwrap();
            match next {
                Action::DeliverEvents => work.events = false,
                Action::Stop => work.stop = false,
                Action::Dial => work.dial = false,
                Action::Adopt => work.adopt = false,
                Action::Store => log.unstored = false,
                Action::Sync => log.sync_at = Some(now + MS(3)),
                Action::Check => log.check_at = Some(now + MS(2)),
                Action::StorePosition => schedule.clear(Deferred::StorePosition),
                Action::Replay => schedule.clear(Deferred::Replay),
                Action::Apply => work.entry = false,
                Action::Lost | Action::Wait(_) => break,
            }
        }
        use Action::{Adopt, Apply, Check, DeliverEvents, Dial, Replay, Stop, Store, StorePosition, Sync, Wait};
        let wait = Wait(Some(now + MS(2)));
        assert_eq!(order, [DeliverEvents, Stop, Dial, Adopt, Store, Sync, Check, StorePosition, Replay, Apply, wait]);
    }

    /// A full disk keeps entries from being stored, and with them from being applied; nothing else waits for it.
    #[test]
    fn a_disk_that_refuses_is_tried_again_at_its_time() {
        let now = clock::instant();
        let log = |log: LogWork| PendingWork { log: Some(LogWork { unstored: true, ..log }), ..PendingWork::default() };
        let mut schedule = ApplySchedule::new(ApplyPolicy::Retry);
        schedule.defer(Deferred::Store, now + MS(100));
        assert_eq!(schedule.next(&log(LogWork::default()), now), Action::Wait(Some(now + MS(100))));
        assert_eq!(schedule.next(&log(LogWork { sync_requested: true, ..LogWork::default() }), now), Action::Sync);
        assert_eq!(schedule.next(&log(LogWork { lost: true, ..LogWork::default() }), now), Action::Lost);
        assert_eq!(schedule.next(&log(LogWork::default()), now + MS(100)), Action::Store);
        schedule.clear(Deferred::Store);
        assert_eq!(schedule.next(&log(LogWork::default()), now), Action::Store);
        // Once nothing is applied any more, only what is waited for is done, and no deadline wakes the thread.
        schedule.defer(Deferred::StorePosition, now);
        schedule.end();
        assert_eq!(
            schedule.next(&log(LogWork { sync_requested: true, ..LogWork::default() }), now),
            Action::Wait(None)
        );
        assert_eq!(
            schedule.next(&PendingWork { adopt: true, entry: true, ..log(LogWork::default()) }, now),
            Action::Adopt
        );
    }
}
