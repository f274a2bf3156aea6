//! The callback thread's side of the local log: entries are stored before they are applied, and synced as the policy says;
//! how far the handler came is stored after it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use super::core::Core;
use super::inbound::Delivery;
use super::local_log::{LocalLog, token};
use crate::error::{Error, Result, Status};
use crate::host::{Event, EventKind};
use crate::log::disk::DiskLog;
use crate::log::disk::position::PositionFile;
use crate::log::{Mark, SyncPolicy};

/// How often a full disk is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(100);

/// How often retention looks at the segments' age.
const TRIM_EVERY: Duration = Duration::from_secs(5);

/// How often it is made sure that the directory is still the log's, also when nothing is received.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Stores what a receiver gets, for its callback thread.
pub(super) struct Keeper {
    core: Arc<Core>,
    position: PositionFile,
    /// Since when something written is not synced.
    unsynced_since: Option<Instant>,
    stalled: bool,
    /// The position found no room.
    unnoted: bool,
    /// A segment could not be removed.
    untrimmed: bool,
    /// What was here at the start; `None` when all of it has been applied.
    replay_to: Option<Mark>,
    checked_at: Instant,
    trimmed_at: Instant,
    /// How many segments there were then.
    segments: usize,
}

impl Keeper {
    pub(super) fn new(core: &Arc<Core>, position: PositionFile) -> Self {
        let replay_to = core.local.as_ref().and_then(LocalLog::disk).map(|disk| disk.written());
        Self {
            core: Arc::clone(core),
            position,
            unsynced_since: None,
            stalled: false,
            unnoted: false,
            untrimmed: false,
            replay_to,
            checked_at: Instant::now(),
            trimmed_at: Instant::now(),
            segments: 0,
        }
    }

    fn log(&self) -> Result<&LocalLog> {
        self.core.local.as_ref().ok_or_else(|| Error::new(Status::InvalidState, "there is no local log"))
    }

    /// What was received in an earlier life and is not applied yet.
    pub(super) fn replay(&mut self, applied: u64) -> Result<Option<Delivery>> {
        let Some(end) = self.replay_to.filter(|end| end.sequence > applied) else {
            self.replay_to = None;
            return Ok(None);
        };
        let next = self.log()?.read_behind(applied, end.position)?;
        if next.is_none() {
            // The host stands before what the log still has: the writer sends what lies between, and the rest with it.
            self.replay_to = None;
        }
        Ok(next)
    }

    /// Stores the entries of these deliveries, with one sync for all if one is due. Gives how many deliveries are stored: not
    /// all when the disk is full, which may be tried again.
    pub(super) fn store(&mut self, deliveries: &[Delivery]) -> Result<usize> {
        let lineage = *self.core.lineage.lock();
        let stream_id = lineage.map_or([0; 16], |lineage| lineage.stream_id);
        let log = self.log()?;
        let written = deliveries.iter().map(|delivery| log.write(delivery, stream_id));
        let (stored, full) = match written.enumerate().find_map(|(n, written)| Some((n, written.err()?))) {
            None => (deliveries.len(), None),
            Some((n, error)) if error.status == Status::DiskFull => (n, Some(error)),
            Some((_, error)) => return Err(error),
        };
        match full {
            Some(error) if !self.stalled => {
                self.stalled = true;
                self.report(EventKind::LogStalled, error.status, error.message);
            }
            None if std::mem::take(&mut self.stalled) => {
                self.report(EventKind::LogResumed, Status::Ok, "the disk takes entries again".into());
            }
            _ => {}
        }
        self.unsynced_since.get_or_insert_with(Instant::now);
        let due = match self.log()?.sync_policy() {
            SyncPolicy::Always => true,
            SyncPolicy::Group { interval, bytes } => {
                let unsynced = self.log()?.disk().map_or(0, |disk| disk.written().position - disk.synced().position);
                unsynced >= bytes || self.unsynced_since.is_some_and(|since| since.elapsed() >= interval)
            }
            SyncPolicy::Os => false,
        };
        if due {
            self.sync()?;
        }
        if self.stalled {
            // Room may come from retention, of what is applied by now.
            match self.trim() {
                Err(error) if error.status == Status::DiskFull => {}
                trimmed => trimmed?,
            }
        }
        Ok(stored)
    }

    /// When something written is to be synced, if nothing happens before.
    pub(super) fn sync_at(&self) -> Option<Instant> {
        match self.log().map(LocalLog::sync_policy) {
            Ok(SyncPolicy::Group { interval, .. }) => self.unsynced_since.map(|since| since + interval),
            _ => None,
        }
    }

    /// When [`Self::check_identity`] is due.
    pub(super) fn check_at(&self) -> Instant {
        self.checked_at + CHECK_EVERY
    }

    /// Fails if the directory is the log's no more. What cannot be found out now stands in the way of the next sync.
    pub(super) fn check_identity(&mut self) -> Result<()> {
        self.checked_at = Instant::now();
        match self.position.check_identity() {
            Err(error) if !self.position.is_usable() => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the writer waits for something to be durable, and a sync would bring it nearer.
    pub(super) fn is_sync_wanted(&self) -> bool {
        let durable = self.core.progress.durable();
        self.core.sync_wanted.load(Ordering::SeqCst) > durable
            && self.log().is_ok_and(|log| log.disk().is_some_and(|disk| disk.written().sequence > durable))
    }

    /// Makes everything that was written durable, and tells the writer if it waits.
    pub(super) fn sync(&mut self) -> Result<()> {
        let Some(disk) = self.log()?.disk() else { return Ok(()) };
        let synced = disk.sync()?.sequence;
        self.unsynced_since = None;
        self.core.progress.set_durable(synced);
        Ok(())
    }

    /// Notes how far the handler came. `DiskFull`: not yet, it may be tried again.
    pub(super) fn applied(&mut self) -> Result<()> {
        if let Err(error) = self.note(false) {
            if error.status == Status::DiskFull && !std::mem::replace(&mut self.unnoted, true) {
                self.report(EventKind::LogStalled, error.status, error.message.clone());
            }
            return Err(error);
        }
        if std::mem::take(&mut self.unnoted) {
            self.report(EventKind::LogResumed, Status::Ok, "the disk takes positions again".into());
        }
        let segments = self.log()?.disk().map_or(0, DiskLog::segments);
        if segments != self.segments || self.trimmed_at.elapsed() >= TRIM_EVERY {
            self.trim()?;
        }
        Ok(())
    }

    /// Stores how far the handler came. `durable`: for good.
    fn note(&mut self, durable: bool) -> Result<()> {
        let Some(lineage) = *self.core.lineage.lock() else { return Ok(()) };
        self.position.store(&token(lineage, self.core.progress.place()), durable)
    }

    /// Lets go what the handler has and retention does not keep.
    fn trim(&mut self) -> Result<()> {
        // A loss of power must not bring back a position before what is gone.
        self.note(true)?;
        let Some(disk) = self.log()?.disk() else { return Ok(()) };
        let trimmed = disk.trim(disk.floor(self.core.progress.applied()).position, crate::clock::now());
        let (segments, is_usable) = (disk.segments(), disk.is_usable());
        (self.trimmed_at, self.segments) = (Instant::now(), segments);
        match trimmed {
            Ok(_) if std::mem::take(&mut self.untrimmed) => {
                self.report(EventKind::LogResumed, Status::Ok, "the log keeps no more than it is to".into());
            }
            Ok(_) => {}
            // What cannot be removed costs room, and no entry.
            Err(error) if is_usable => {
                if !std::mem::replace(&mut self.untrimmed, true) {
                    let text = format!("the log keeps more than it is to, and goes on: {}", error.message);
                    self.report(EventKind::LogStalled, error.status, text);
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self) {
        let ended = self.sync().and_then(|()| self.note(true));
        if let Err(error) = ended {
            self.report(EventKind::LogFailed, error.status, error.message);
        }
    }

    fn report(&self, kind: EventKind, status: Status, text: String) {
        let mut event = Event::new(kind, status, text);
        event.sequence = self.core.progress.applied();
        event.detail = json!({ "path": self.log().ok().and_then(LocalLog::disk).map(|disk| disk.dir().to_owned()) });
        self.core.event(event);
    }
}
