//! The receiver's own log on disk: what was received, before the handler sees it, and how far the handler came.
//!
//! Only the callback thread writes. The connection's task looks up points of the history.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::config::LocalLogConfig;
use super::delivery::{Before, Delivery};
use crate::clock;
use crate::error::{Error, Result, Status};
use crate::log::disk::position::{PositionFile, PositionSync};
use crate::log::disk::{Dir, DiskLog, Place, Start, Vacant};
use crate::log::{Mark, SyncPolicy, Upkeep, UpkeepNews};
use crate::protocol::entry::{Entries, UNKNOWN_HISTORY};
use crate::protocol::handshake::{Point, hex};
use crate::protocol::lineage::Lineage;
use crate::protocol::token::Token;
use crate::sync::Mutex;

/// The file in the log's directory that says how far the handler came.
const POSITION: &str = "applied";

/// The log. Its files are there as soon as the stream is known.
pub(super) struct LocalLog {
    config: LocalLogConfig,
    disk: OnceLock<DiskLog>,
    /// The directory, as long as there is no log in it.
    vacant: Option<Vacant>,
    /// How far the handler came, as the file says; and what makes that durable.
    noted: AtomicU64,
    position: PositionSync,
    /// The lineage that the file names for good; `None` if none is sure to be there after a loss of power.
    lineage: Mutex<Option<Lineage>>,
    pub(super) upkeep: Upkeep,
    /// The writer waits until the log is durable up to here; 0: it does not.
    sync_wanted: AtomicU64,
    /// A segment went while the disk was full.
    room: AtomicBool,
    /// Why the directory cannot be kept any more: it has to be opened anew.
    lost: OnceLock<Error>,
}

/// Where a receiver with a local log begins.
pub(super) struct Resumed {
    /// What the handler has applied.
    pub(super) applied: Point,
    /// What is here, applied or not.
    pub(super) received: Point,
    pub(super) lineage: Option<Lineage>,
    pub(super) position: PositionFile,
    pub(super) dir: Arc<Dir>,
}

impl LocalLog {
    /// Opens what is there. `host` is where the host says that it stands, if it does.
    pub(super) fn open(
        config: &LocalLogConfig,
        insecure_permissions_allowed: bool,
        host: Option<(Point, Option<Lineage>)>,
    ) -> Result<(Self, Resumed)> {
        let place = DiskLog::find(config.disk(insecure_permissions_allowed))?;
        let dir = Arc::clone(place.directory());
        let (mut position, stored) = PositionFile::open_in(Arc::clone(&dir), POSITION)?;
        let durable = stored.map_or(Ok(None), |token| match position.store(&token, true) {
            // It is made durable when a writer is followed.
            Err(error) if error.status.is_passing() => Ok(None),
            stored => stored.map(|()| Some(lineage_of(&token))),
        })?;
        let (disk, vacant) = match place {
            Place::Log(disk, _) => (Some(*disk), None),
            Place::Vacant(vacant) => (None, Some(vacant)),
        };
        let applied = match (&host, stored, &disk) {
            (Some((point, _)), ..) => *point,
            (None, Some(token), _) => Point { sequence: token.sequence, hash: token.hash },
            (None, None, Some(disk)) => point(disk.oldest()),
            (None, None, None) => Point::default(),
        };
        // The epoch that was noted here counts also where the host's position does: it was followed since.
        let noted = stored.as_ref().map(lineage_of);
        let named = host.and_then(|(_, lineage)| lineage);
        let lineage = named.map_or(noted, |lineage| Some(later(lineage, noted)));
        let log = Self {
            config: config.clone(),
            disk: OnceLock::new(),
            vacant,
            noted: AtomicU64::new(0),
            position: position.syncing(),
            lineage: Mutex::new(durable),
            upkeep: Upkeep::default(),
            sync_wanted: AtomicU64::new(0),
            room: AtomicBool::new(false),
            lost: OnceLock::new(),
        };
        let mut resumed = Resumed { applied, received: applied, lineage, position, dir };
        if let Some(disk) = disk {
            log.resume(&disk, &mut resumed, noted)?;
            let _ = log.disk.set(disk);
        }
        Ok((log, resumed))
    }

    /// Finds out how the host's position and the log's lie to each other.
    fn resume(&self, disk: &DiskLog, resumed: &mut Resumed, noted: Option<Lineage>) -> Result<()> {
        let (found, applied, dir) = (disk.lineage(), resumed.applied, self.config.dir.display());
        if let Some(wanted) =
            resumed.lineage.filter(|wanted| wanted.stream_id != found.stream_id && applied.sequence > 0)
        {
            let (found, wanted) = (hex(&found.stream_id), hex(&wanted.stream_id));
            let text = format!(
                "{dir} holds stream {found}, the host's position belongs to stream {wanted}: re-seed with an empty directory"
            );
            return Err(Error::new(Status::Diverged, text));
        }
        let wanted_epoch = resumed.lineage.map_or(0, |lineage| lineage.epoch);
        let wanted = Lineage { epoch: found.epoch.max(wanted_epoch), ..found };
        resumed.lineage = Some(later(wanted, noted));
        let (oldest, end) = (disk.oldest(), disk.written());
        if applied.sequence < oldest.sequence {
            // The network brings what lies between; the log ignores what it has.
            return Ok(());
        }
        resumed.received = point(end);
        let ours = match applied.sequence.cmp(&end.sequence) {
            std::cmp::Ordering::Greater => return Ok(()),
            std::cmp::Ordering::Equal => Some(end),
            std::cmp::Ordering::Less => disk.locate(applied.sequence)?,
        };
        let ours = ours.unwrap_or(Mark { sequence: applied.sequence, ..Mark::default() });
        self.same_history(ours, applied.hash, "host's position")?;
        resumed.applied.hash = ours.hash;
        Ok(())
    }

    pub(super) fn disk(&self) -> Option<&DiskLog> {
        self.disk.get()
    }

    /// The lineage that this directory is bound to, also after a loss of power.
    pub(super) fn lineage(&self) -> Option<Lineage> {
        *self.lineage.lock()
    }

    /// The file names this lineage now, for good.
    pub(super) fn bind(&self, lineage: Lineage) {
        *self.lineage.lock() = Some(lineage);
    }

    /// The file says now that the handler has everything up to this entry.
    pub(super) fn noted(&self, sequence: u64) {
        self.noted.store(sequence, Ordering::SeqCst);
    }

    /// Keeps the directory until [`Upkeep::close`]. Fails when it is lost, and notes why.
    pub(super) fn keep(&self, report: &mut dyn FnMut(UpkeepNews)) -> Result<()> {
        let Some(disk) = self.upkeep.wait_for(|| self.disk()) else { return Ok(()) };
        let mut applied = 0;
        let mut kept_from = |end: Mark| {
            if applied < end.sequence {
                // A loss of power must not bring back a position before what is gone.
                let noted = self.noted.load(Ordering::SeqCst);
                self.position.sync()?;
                applied = noted;
            }
            Ok(disk.floor(applied).position)
        };
        let kept = self.upkeep.run(disk, &mut kept_from, report);
        kept.inspect_err(|error| drop(self.lost.set(error.clone())))
    }

    /// The writer waits until this is durable.
    pub(super) fn want_sync(&self, sequence: u64) {
        self.sync_wanted.fetch_max(sequence, Ordering::SeqCst);
    }

    /// The writer waits for nothing.
    pub(super) fn want_no_sync(&self) {
        self.sync_wanted.store(0, Ordering::SeqCst);
    }

    /// What the writer waits for to be durable.
    pub(super) fn sync_wanted(&self) -> u64 {
        self.sync_wanted.load(Ordering::SeqCst)
    }

    /// There is more room on the disk.
    pub(super) fn made_room(&self) {
        self.room.store(true, Ordering::SeqCst);
    }

    /// Whether there was more room on the disk since the last call.
    pub(super) fn has_room(&self) -> bool {
        self.room.swap(false, Ordering::SeqCst)
    }

    /// Why the directory is lost, if it is.
    pub(super) fn lost(&self) -> Option<&Error> {
        self.lost.get()
    }

    pub(super) fn sync_policy(&self) -> SyncPolicy {
        self.config.sync
    }

    /// Writes the entries of a delivery that are not here yet.
    pub(super) fn write(&self, delivery: &Delivery, stream_id: [u8; 16]) -> Result<()> {
        let before = delivery.before();
        let disk = self.disk_for(before, stream_id)?;
        if before.epoch > disk.lineage().epoch {
            disk.begin_epoch(before.epoch)?;
        }
        let (mut delivery, mut hash) = (delivery.clone(), before.hash);
        loop {
            let run = delivery.entries();
            if run.is_empty() {
                return Ok(());
            }
            let (length, end) = (run.len(), disk.written());
            let new = behind(Entries::new(run).behind(hash), end.sequence);
            hash = new.walked().hash;
            if !new.is_over() {
                self.same_history(end, hash, "writer")?;
                // The connection's task has checked them.
                hash = disk.write_verified(new.rest())?.hash;
            }
            delivery.advance(length);
        }
    }

    /// Whether somebody whose history has this hash at `ours` has the one that is here, as far as both know it.
    fn same_history(&self, ours: Mark, theirs: u64, whose: &str) -> Result<()> {
        if ours.hash == UNKNOWN_HISTORY || theirs == UNKNOWN_HISTORY || ours.hash == theirs {
            return Ok(());
        }
        let text = format!(
            "{} has another history up to entry {} than the {whose}: re-seed with an empty directory",
            self.config.dir.display(),
            ours.sequence
        );
        Err(Error::new(Status::Diverged, text))
    }

    /// The files, made if this is the first that is known of the stream.
    fn disk_for(&self, before: Before, stream_id: [u8; 16]) -> Result<&DiskLog> {
        if let Some(disk) = self.disk.get() {
            return Ok(disk);
        }
        let Before { epoch, sequence, hash } = before;
        let start = Start { lineage: Lineage { stream_id, epoch }, mark: Mark { sequence, hash, ..Mark::default() } };
        let vacant =
            self.vacant.as_ref().ok_or_else(|| Error::new(Status::InvalidState, "the log is there already"))?;
        let (disk, _) = vacant.begin(start)?;
        let disk = self.disk.get_or_init(|| disk);
        self.upkeep.ring();
        Ok(disk)
    }

    /// Entries behind `sequence` and before the position `end`, checked; `None` when they are not here.
    pub(super) fn read_behind(&self, sequence: u64, end: u64) -> Result<Option<Delivery>> {
        let Some(disk) = self.disk.get() else { return Ok(None) };
        let Some(mark) = disk.locate(sequence)? else { return Ok(None) };
        let Some(stretch) = disk.stretch(mark.position, end)?.filter(|stretch| stretch.len > 0) else {
            return Ok(None);
        };
        let bytes = stretch.load()?;
        let before = Before { epoch: disk.lineage().epoch, sequence: mark.sequence, hash: mark.hash };
        Ok(Some(Delivery::of_entries(bytes.into(), before, clock::now())))
    }

    /// Points of the history that are known without reading, at or before evenly spread places up to a sequence, at most
    /// `max`: enough for a writer that has the same history, and for the first step with one that has not.
    pub(super) fn known_points(&self, last: u64, max: usize) -> Vec<Point> {
        let Some(disk) = self.disk.get() else { return Vec::new() };
        let first = disk.oldest().sequence;
        let span = u128::from(last.saturating_sub(first));
        let at = |n: usize| first + (span * n as u128 / max as u128) as u64;
        let mut points: Vec<_> = (0..max).map(|n| point(disk.floor(at(n)))).collect();
        points.dedup();
        points
    }

    /// Points of the history from one sequence to another, both included, evenly and at most `max`. Reads the log.
    pub(super) fn points(&self, first: u64, last: u64, max: usize) -> Vec<Point> {
        let Some(disk) = self.disk.get() else { return Vec::new() };
        let first = first.max(disk.oldest().sequence);
        let Some(span) = last.min(disk.written().sequence).checked_sub(first) else { return Vec::new() };
        let steps = span.min(max as u64 - 1).max(1);
        let at = |n: u64| first + (u128::from(span) * u128::from(n) / u128::from(steps)) as u64;
        let mut points: Vec<_> = (0..=steps).filter_map(|n| disk.locate(at(n)).ok().flatten()).map(point).collect();
        points.dedup();
        points
    }
}

/// A lineage in the higher one of its epoch and that of `other`, if that is of the same stream.
fn later(lineage: Lineage, other: Option<Lineage>) -> Lineage {
    match other.filter(|other| other.stream_id == lineage.stream_id && other.epoch > lineage.epoch) {
        Some(other) => other,
        None => lineage,
    }
}

fn lineage_of(token: &Token) -> Lineage {
    Lineage { stream_id: token.stream_id, epoch: token.epoch }
}

fn point(mark: Mark) -> Point {
    Point { sequence: mark.sequence, hash: mark.hash }
}

/// The part of a run of entries that lies behind `sequence`.
pub(super) fn behind(mut run: Entries<'_>, sequence: u64) -> Entries<'_> {
    let mut rest = run;
    while run.next().is_some_and(|entry| entry.sequence <= sequence) {
        rest = run;
    }
    rest
}

/// The token of a place in a stream.
pub(super) fn token(lineage: Lineage, at: Point) -> Token {
    Token { stream_id: lineage.stream_id, epoch: lineage.epoch, sequence: at.sequence, hash: at.hash }
}
