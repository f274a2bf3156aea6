//! The callback thread's side of the local log: entries are stored before they are applied, and synced as the policy says;
//! how far the handler came is stored after it. What retention gives up is removed on a thread of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::core::Core;
use super::delivery::Delivery;
use super::local_log::{LocalLog, token};
use crate::clock;
use crate::engine::disk::{Backlog, RETRY, Schedule, SyncPolicy, Wanted};
use crate::engine::stall::{DiskNews, Operation, Stall};
use crate::error::{Error, Result, Status};
use crate::log::disk::DiskLog;
use crate::log::disk::position::PositionFile;
use crate::log::{Mark, UpkeepNews};
use crate::protocol::lineage::Lineage;
use crate::threads;

/// How long a receiver that stops tries to note how far its handler came on a disk that refuses.
const LAST_TRIES: Duration = Duration::from_secs(1);

/// Stores what a receiver gets, for its callback thread.
pub(super) struct Keeper {
    core: Arc<Core>,
    position: PositionFile,
    schedule: Schedule,
    /// When to try a sync again that could not begin.
    sync_again_at: Option<Instant>,
    writing: Stall,
    syncing: Stall,
    reading_back: Stall,
    noting: Stall,
    /// What was here at the start; `None` when all of it has been applied.
    replay_to: Option<Mark>,
}

impl Keeper {
    pub(super) fn new(core: &Arc<Core>, position: PositionFile) -> Self {
        let disk = core.local.as_ref().and_then(LocalLog::disk);
        let policy = core.local.as_ref().map_or(SyncPolicy::Os, LocalLog::sync_policy);
        Self {
            core: Arc::clone(core),
            position,
            schedule: Schedule::new(policy, 0, clock::instant()),
            sync_again_at: None,
            writing: Stall::new(Operation::Write),
            syncing: Stall::new(Operation::Sync),
            reading_back: Stall::new(Operation::ReadBack),
            noting: Stall::new(Operation::StorePosition),
            replay_to: disk.map(DiskLog::written),
        }
    }

    fn log(&self) -> Result<&LocalLog> {
        self.core.local.as_ref().ok_or_else(|| Error::new(Status::InvalidState, "there is no local log"))
    }

    /// Why the log's directory is lost, if it is.
    pub(super) fn lost(&self) -> Option<Error> {
        self.log().ok()?.lost().cloned()
    }

    /// Whether a disk that was full has more room than a moment before.
    pub(super) fn has_room(&self) -> bool {
        self.log().is_ok_and(LocalLog::has_room)
    }

    /// What was received in an earlier life and is not applied yet. `DISK_FULL` or `STALLED`: it cannot be read for now.
    pub(super) fn replay(&mut self, applied: u64) -> Result<Option<Delivery>> {
        let next = self.read_back(applied);
        let news = self.reading_back.observe(&next);
        self.tell(news);
        next
    }

    fn read_back(&mut self, applied: u64) -> Result<Option<Delivery>> {
        let Some(end) = self.replay_to.filter(|end| end.sequence > applied) else {
            self.replay_to = None;
            return Ok(None);
        };
        // Reading changes nothing, so whatever is no damage may pass, a lack of memory as well.
        let next = self.log()?.read_behind(applied, end.position).map_err(|error| match error.status {
            Status::Damaged | Status::Diverged => error,
            _ => Error { status: Status::Stalled, ..error },
        })?;
        if next.is_none() {
            // The host stands before what the log still has: the writer sends what lies between, and the rest with it.
            self.replay_to = None;
        }
        Ok(next)
    }

    /// Stores the entries of these deliveries, with one sync for all if one is due. Gives how many deliveries are stored: not
    /// all when the disk refuses for now; then it may be tried again.
    pub(super) fn store(&mut self, deliveries: &[Delivery]) -> Result<usize> {
        let lineage = *self.core.lineage.lock();
        let stream_id = lineage.map_or([0; 16], |lineage| lineage.stream_id);
        let log = self.log()?;
        let written = deliveries.iter().map(|delivery| log.write(delivery, stream_id));
        let (stored, outcome) = match written.enumerate().find_map(|(n, written)| Some((n, written.err()?))) {
            None => (deliveries.len(), Ok(())),
            Some((n, error)) if error.status.is_passing() => (n, Err(error)),
            Some((_, error)) => return Err(error),
        };
        match outcome {
            // Room may come from retention, of what is applied by now.
            Err(_) => log.upkeep.hurry(),
            Ok(()) if self.writing.reason().is_some() => log.upkeep.relax(),
            Ok(()) => {}
        }
        let disk = log.disk().map(|disk| (disk.begun(), disk.written(), disk.synced()));
        let news = self.writing.observe(&outcome);
        self.tell(news);
        let Some((begun, written, durable)) = disk else { return Ok(stored) };
        self.schedule.wrote(clock::instant());
        let has_begun = self.schedule.has_begun(begun);
        // For the writer's wait, see `is_sync_wanted`: it comes when nothing is left to store.
        let bytes = written.position - durable.position;
        let backlog = Backlog { bytes, wanted: Wanted::Nothing, all_written: true };
        if self.schedule.is_sync_due(backlog, clock::instant()) {
            self.sync()?;
        } else if has_begun {
            // The segments before it are durable.
            self.core.progress.set_durable(durable.sequence);
        }
        if has_begun {
            self.log()?.upkeep.ring();
        }
        Ok(stored)
    }

    /// Tells the host when the disk begins to refuse something for now, and when it goes on.
    fn tell(&self, news: Option<DiskNews>) {
        news.into_iter().for_each(|news| report(&self.core, news));
    }

    /// When something written is to be synced, if nothing happens before.
    pub(super) fn sync_at(&self) -> Option<Instant> {
        self.sync_again_at.or_else(|| self.schedule.sync_at())
    }

    /// When [`Self::check_identity`] is due.
    pub(super) fn check_at(&self) -> Instant {
        self.schedule.check_at()
    }

    /// Fails if the directory is the log's no more, or if what is in it is not known: another thread may have found that
    /// out. What cannot be found out now stands in the way of the next sync.
    pub(super) fn check_identity(&mut self) -> Result<()> {
        self.schedule.checked(clock::instant());
        match self.position.check_identity() {
            Err(error) if !self.position.is_usable() => Err(error),
            _ => self.log()?.disk().map_or(Ok(()), DiskLog::check_usable),
        }
    }

    /// Whether the writer waits for something to be durable, and a sync would bring it nearer.
    pub(super) fn is_sync_wanted(&self) -> bool {
        if self.sync_again_at.is_some() {
            return false;
        }
        let durable = self.core.progress.durable();
        let is_behind = |disk: &DiskLog| disk.written().sequence > durable;
        self.log().is_ok_and(|log| log.sync_wanted() > durable && log.disk().is_some_and(is_behind))
    }

    /// Makes everything that was written durable, and tells the writer if it waits. A sync that could not even begin is
    /// tried again.
    pub(super) fn sync(&mut self) -> Result<()> {
        let Some(disk) = self.log()?.disk() else { return Ok(()) };
        let synced = disk.sync();
        let news = self.syncing.observe(&synced);
        self.tell(news);
        match synced {
            Ok(synced) => {
                self.schedule.synced();
                self.sync_again_at = None;
                self.core.progress.set_durable(synced.sequence);
                Ok(())
            }
            Err(error) if error.status.is_passing() => {
                self.sync_again_at = Some(clock::instant() + RETRY);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Notes how far the handler came. `DISK_FULL` or `STALLED`: not yet, it may be tried again.
    pub(super) fn applied(&mut self) -> Result<()> {
        let noted = self.note(false);
        let news = self.noting.observe(&noted);
        self.tell(news);
        noted?;
        if self.writing.reason().is_some() {
            // What was applied by now may go, and what comes waits for the room.
            self.log()?.upkeep.ring();
        }
        Ok(())
    }

    /// Takes on a lineage. It is durable when this returns, and every later note is of it. `DISK_FULL` or `STALLED`: not yet.
    pub(super) fn adopt(&mut self, lineage: Lineage) -> Result<()> {
        let token = token(lineage, self.core.progress.place());
        // In both places of the file: a later note that is torn leads back to the one before, which is of this lineage too.
        let stored = self.position.store(&token, true).and_then(|()| self.position.store(&token, true));
        let news = self.noting.observe(&stored);
        self.tell(news);
        stored?;
        self.log()?.bind(lineage);
        *self.core.lineage.lock() = Some(lineage);
        Ok(())
    }

    /// Stores how far the handler came. `durable`: for good.
    fn note(&mut self, durable: bool) -> Result<()> {
        let Some(lineage) = *self.core.lineage.lock() else { return Ok(()) };
        let place = self.core.progress.place();
        self.position.store(&token(lineage, place), durable)?;
        self.log()?.noted(place.sequence);
        Ok(())
    }

    /// Nothing more comes. What the disk refuses for now is tried again for a while.
    pub(super) fn finish(&mut self) {
        let until = clock::instant() + LAST_TRIES;
        let ended = loop {
            match self.end() {
                Err(error) if error.status.is_passing() && clock::instant() < until => threads::pause(RETRY),
                ended => break ended,
            }
        };
        if let Err(error) = ended {
            report(&self.core, DiskNews::Failed(error));
        }
    }

    fn end(&mut self) -> Result<()> {
        if let Some(disk) = self.log()?.disk() {
            self.core.progress.set_durable(disk.sync()?.sequence);
        }
        self.note(true)
    }
}

/// Keeps the log's directory, on a thread of its own, until the receiver ends.
pub(super) fn keep(core: &Core) {
    let Some(log) = &core.local else { return };
    let kept = log.keep(&mut |news| match news {
        UpkeepNews::Room => {
            log.made_room();
            core.wake();
        }
        UpkeepNews::Trimmed { .. } => {}
        UpkeepNews::Disk(news) => report(core, news),
    });
    if kept.is_err() {
        // The callback thread finds out why.
        core.wake();
    }
}

fn report(core: &Core, news: DiskNews) {
    let mut event = news.into_event();
    event.sequence = core.progress.applied();
    let dir = core.local.as_ref().and_then(LocalLog::disk).map(|disk| disk.dir().to_string_lossy());
    event.detail = json!({ "path": dir });
    core.event(event);
}
