//! The callback thread's side of the local log. It stores entries before they are applied, syncs them as the policy
//! says, and then stores the position up to which the handler has applied them. Retention runs on a thread of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::delivery::Delivery;
use super::local_log::{LocalLog, token};
use super::progress::Progress;
use super::queue::Inbox;
use super::report::ReceiverReport;
use crate::clock;
use crate::engine::disk::{PendingSync, RETRY, SyncSchedule, Wanted};
use crate::engine::stall::{DiskNews, Operation, Stall};
use crate::error::{Error, Result, Status};
use crate::log::disk::DiskLog;
use crate::log::disk::position::PositionFile;
use crate::log::{Mark, UpkeepNews};
use crate::protocol::lineage::Lineage;
use crate::threads;

/// How long a receiver that stops keeps trying to store its position on a disk that refuses.
const LAST_TRIES: Duration = Duration::from_secs(1);

/// The local log's writer, owned by the callback thread.
pub(super) struct LocalLogWriter {
    log: Arc<LocalLog>,
    progress: Arc<Progress>,
    report: Arc<ReceiverReport>,
    position: PositionFile,
    schedule: SyncSchedule,
    /// When to retry a sync that the disk refused.
    sync_again_at: Option<Instant>,
    writing: Stall,
    syncing: Stall,
    reading_back: Stall,
    storing_position: Stall,
    /// The end of the entries that were in the log at the start; `None` once all of them are applied.
    replay_to: Option<Mark>,
}

impl LocalLogWriter {
    pub(super) fn new(
        log: Arc<LocalLog>,
        progress: Arc<Progress>,
        report: Arc<ReceiverReport>,
        position: PositionFile,
    ) -> Self {
        Self {
            schedule: SyncSchedule::new(log.sync_policy(), 0, clock::instant()),
            replay_to: log.disk().map(DiskLog::written),
            log,
            progress,
            report,
            position,
            sync_again_at: None,
            writing: Stall::new(Operation::Write),
            syncing: Stall::new(Operation::Sync),
            reading_back: Stall::new(Operation::ReadBack),
            storing_position: Stall::new(Operation::StorePosition),
        }
    }

    /// Why the log's directory was lost, if it was.
    pub(super) fn lost(&self) -> Option<Error> {
        self.log.lost().cloned()
    }

    /// Whether retention has freed space on a full disk since the last call.
    pub(super) fn has_room(&self) -> bool {
        self.log.has_room()
    }

    /// The next entries that an earlier process received and that are not applied yet. After `DISK_FULL` or `STALLED`,
    /// try again.
    pub(super) fn replay(&mut self, applied: u64) -> Result<Option<Delivery>> {
        let next = self.read_back(applied);
        self.report.disk_news(self.reading_back.observe(&next), self.log.disk(), self.progress.applied());
        next
    }

    fn read_back(&mut self, applied: u64) -> Result<Option<Delivery>> {
        let Some(end) = self.replay_to.filter(|end| end.sequence > applied && !mutant!("replay-left-out")) else {
            self.replay_to = None;
            return Ok(None);
        };
        // Reading changes nothing, so every failure but damage may pass, even a lack of memory.
        let next = self.log.read_after(applied, end.position).map_err(|error| match error.status {
            Status::Damaged | Status::Diverged => error,
            _ => Error { status: Status::Stalled, ..error },
        })?;
        if next.is_none() {
            // The host's position is before the oldest entry here: the writer sends all entries from there on.
            self.replay_to = None;
        }
        Ok(next)
    }

    /// Stores the entries of these deliveries, with one sync for all of them if one is due. Returns how many deliveries
    /// are stored; fewer than all if the disk refuses for now, and the rest may be tried again.
    pub(super) fn store(&mut self, deliveries: &[Delivery]) -> Result<usize> {
        let lineage = self.progress.lineage();
        let stream_id = lineage.map_or([0; 16], |lineage| lineage.stream_id);
        let log = &self.log;
        let write = |delivery: &Delivery| -> Result<()> {
            if log.write(delivery, stream_id)? {
                self.progress.prove_log();
            }
            Ok(())
        };
        let written = deliveries.iter().map(write);
        let (stored, outcome) = match written.enumerate().find_map(|(n, written)| Some((n, written.err()?))) {
            None => (deliveries.len(), Ok(())),
            Some((n, error)) if error.status.is_passing() => (n, Err(error)),
            Some((_, error)) => return Err(error),
        };
        match outcome {
            // Retention may free space: entries that are applied may go.
            Err(_) => log.upkeep.hurry(),
            Ok(()) if self.writing.reason().is_some() => log.upkeep.relax(),
            Ok(()) => {}
        }
        let disk = log.disk().map(|disk| (disk.begun(), disk.written(), disk.synced()));
        self.report.disk_news(self.writing.observe(&outcome), self.log.disk(), self.progress.applied());
        let Some((begun, written, durable)) = disk else { return Ok(stored) };
        self.schedule.wrote(clock::instant());
        let has_begun = self.schedule.has_begun(begun);
        // A sync that the writer requested follows when nothing is left to store; see `is_sync_requested`.
        let bytes = written.position - durable.position;
        let backlog = PendingSync { bytes, wanted: Wanted::Nothing, all_written: true };
        if self.schedule.is_sync_due(backlog, clock::instant()) {
            self.sync()?;
        } else if has_begun {
            // The segments before it are durable.
            self.progress.set_durable(durable.sequence);
        }
        if has_begun {
            self.log.upkeep.notify();
        }
        Ok(stored)
    }

    /// When a sync is due if no more entries arrive.
    pub(super) fn sync_at(&self) -> Option<Instant> {
        self.sync_again_at.or_else(|| self.schedule.sync_at())
    }

    /// When [`Self::check_identity`] is due.
    pub(super) fn check_at(&self) -> Instant {
        self.schedule.check_at()
    }

    /// Fails if the directory is no longer the log's, or if the log is unusable, which another thread may have found. A
    /// check that cannot be made now is made again before the next sync.
    pub(super) fn check_identity(&mut self) -> Result<()> {
        self.schedule.checked(clock::instant());
        match self.position.check_identity() {
            Err(error) if !self.position.is_usable() => Err(error),
            _ => self.log.disk().map_or(Ok(()), DiskLog::check_usable),
        }
    }

    /// Whether the writer waits for entries to be durable, and a sync would make more of them so.
    pub(super) fn is_sync_requested(&self) -> bool {
        if self.sync_again_at.is_some() {
            return false;
        }
        let durable = self.progress.durable();
        let has_unsynced = |disk: &DiskLog| disk.written().sequence > durable;
        self.log.requested_sync() > durable && self.log.disk().is_some_and(has_unsynced)
    }

    /// Makes all written entries durable, and acknowledges them if the writer waits for that. A sync that the disk
    /// refuses is retried later.
    pub(super) fn sync(&mut self) -> Result<()> {
        let Some(disk) = self.log.disk() else { return Ok(()) };
        if mutant!("ack-before-sync") {
            self.progress.set_durable(disk.written().sequence);
        }
        let synced = disk.sync();
        self.report.disk_news(self.syncing.observe(&synced), self.log.disk(), self.progress.applied());
        match synced {
            Ok(synced) => {
                self.schedule.synced();
                self.sync_again_at = None;
                self.progress.set_durable(synced.sequence);
                Ok(())
            }
            Err(error) if error.status.is_passing() => {
                self.sync_again_at = Some(clock::instant() + RETRY);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Stores the handler's position after entries were applied. After `DISK_FULL` or `STALLED`, try again.
    pub(super) fn store_applied(&mut self) -> Result<()> {
        // Without a lineage there is no position to store, and nothing is learned about the disk.
        let Some(lineage) = self.progress.lineage() else { return Ok(()) };
        let stored = self.store_position(lineage, false);
        self.report.disk_news(self.storing_position.observe(&stored), self.log.disk(), self.progress.applied());
        stored?;
        if self.writing.reason().is_some() {
            // New entries wait for space, and retention may now remove those that were applied.
            self.log.upkeep.notify();
        }
        Ok(())
    }

    /// Adopts a lineage durably; every position stored later belongs to it. After `DISK_FULL` or `STALLED`, try again.
    pub(super) fn adopt(&mut self, lineage: Lineage) -> Result<()> {
        let token = token(lineage, self.progress.place());
        // To both copies in the file: if a later write is torn, the copy that is left is of this lineage too.
        let stored = match mutant!("epoch-not-stored") {
            false => self.position.store(&token, true).and_then(|()| self.position.store(&token, true)),
            true => Ok(()),
        };
        self.report.disk_news(self.storing_position.observe(&stored), self.log.disk(), self.progress.applied());
        stored?;
        self.log.bind(lineage);
        self.progress.set_lineage(Some(lineage));
        Ok(())
    }

    /// Stores the handler's position, durably if `durable`.
    fn store_position(&mut self, lineage: Lineage, durable: bool) -> Result<()> {
        let place = match mutant!("position-ahead-of-handler") {
            false => self.progress.place(),
            true => self.progress.received_point(),
        };
        self.position.store(&token(lineage, place), durable)?;
        self.log.position_stored(place.sequence);
        Ok(())
    }

    /// Syncs the log and stores the position when the receiver stops. While the disk refuses, it retries for a moment.
    pub(super) fn finish(&mut self) {
        let until = clock::instant() + LAST_TRIES;
        let ended = loop {
            match self.end() {
                Err(error) if error.status.is_passing() && clock::instant() < until => threads::pause(RETRY),
                ended => break ended,
            }
        };
        if let Err(error) = ended {
            self.report.disk_news(Some(DiskNews::Failed(error)), self.log.disk(), self.progress.applied());
        }
    }

    fn end(&mut self) -> Result<()> {
        if let Some(disk) = self.log.disk() {
            self.progress.set_durable(disk.sync()?.sequence);
        }
        self.progress.lineage().map_or(Ok(()), |lineage| self.store_position(lineage, true))
    }
}

/// Runs the upkeep of the log's directory, on a thread of its own, until the receiver ends.
pub(super) fn run_upkeep(log: &LocalLog, progress: &Progress, inbox: &Inbox, report: &ReceiverReport) {
    let kept = log.keep(&mut |news| match news {
        UpkeepNews::Room => {
            log.made_room();
            inbox.wake();
        }
        UpkeepNews::Trimmed { .. } => {}
        UpkeepNews::Disk(news) => report.disk_news(Some(news), log.disk(), progress.applied()),
    });
    if kept.is_err() {
        // The callback thread finds the cause.
        inbox.wake();
    }
}
