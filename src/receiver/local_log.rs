//! The receiver's own log on disk: received entries, stored before the handler sees them, and the handler's position.
//!
//! Only the callback thread writes. The connection's task looks up points of the history.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::config::LocalLogConfig;
use super::delivery::{Before, Delivery};
use crate::clock;
use crate::engine::lineage::{Follower, Source, Verdict, judge};
use crate::error::{Error, Result, Status};
use crate::log::disk::position::{PositionFile, PositionSync};
use crate::log::disk::{Contents, Dir, DiskLog, LogStart, Vacant};
use crate::log::{Mark, SyncPolicy, Upkeep, UpkeepNews};
use crate::protocol::entry::{Entries, UNKNOWN_HISTORY, Walked};
use crate::protocol::handshake::{Point, hex};
use crate::protocol::lineage::Lineage;
use crate::protocol::token::Token;
use crate::sync::Mutex;

/// The name of the file with the handler's position, in the log's directory.
const POSITION: &str = "applied";

/// The log. Its files are created when the stream is known.
pub(super) struct LocalLog {
    config: LocalLogConfig,
    disk: OnceLock<DiskLog>,
    /// The bytes and the age beyond which entries are removed, once they are applied.
    retention: Mutex<(u64, Duration)>,
    /// The directory, until there is a log in it.
    vacant: Option<Vacant>,
    /// The handler's position in the position file.
    stored_position: AtomicU64,
    /// Makes the position file durable, for the upkeep's thread.
    position: PositionSync,
    /// The lineage in the position file, if it is durable.
    lineage: Mutex<Option<Lineage>>,
    pub(super) upkeep: Upkeep,
    /// The last entry that the writer waits for to be durable; 0 if it does not wait.
    requested_sync: AtomicU64,
    /// Retention has removed a segment while the disk was full.
    room: AtomicBool,
    /// Why the upkeep has ended: the directory must be opened anew.
    lost: OnceLock<Error>,
}

/// Where a receiver with a local log resumes.
pub(super) struct Resumed {
    /// Up to where the handler has applied entries.
    pub(super) applied: Point,
    /// Up to where entries are here, applied or not.
    pub(super) received: Point,
    pub(super) lineage: Option<Lineage>,
    pub(super) position: PositionFile,
    pub(super) dir: Arc<Dir>,
}

impl LocalLog {
    /// Opens the directory and what is in it. `host`: the position that the host gives, if it gives one.
    pub(super) fn open(
        config: &LocalLogConfig,
        insecure_permissions_allowed: bool,
        host: Option<(Point, Option<Lineage>)>,
    ) -> Result<(Self, Resumed)> {
        let place = DiskLog::find(config.disk(insecure_permissions_allowed))?;
        let dir = Arc::clone(place.directory());
        let (mut position, stored) = PositionFile::open_in(Arc::clone(&dir), POSITION)?;
        let durable = stored.map_or(Ok(None), |token| match position.store(&token, true) {
            // It is made durable again when a writer is followed.
            Err(error) if error.status.is_passing() => Ok(None),
            stored => stored.map(|()| Some(lineage_of(&token))),
        })?;
        let (disk, vacant) = match place {
            Contents::Log(disk, _) => (Some(*disk), None),
            Contents::Vacant(vacant) => (None, Some(vacant)),
        };
        let applied = match (&host, stored, &disk) {
            (Some((point, _)), ..) => *point,
            (None, Some(token), _) => Point { sequence: token.sequence, hash: token.hash },
            (None, None, Some(disk)) => point(disk.oldest()),
            (None, None, None) => Point::default(),
        };
        // The stored epoch counts even if the host gives a position: this receiver has followed it since.
        let stored_lineage = stored.as_ref().map(lineage_of);
        let named = host.and_then(|(_, lineage)| lineage);
        let lineage = named.map_or(stored_lineage, |lineage| Some(later(lineage, stored_lineage)));
        let log = Self {
            config: config.clone(),
            retention: Mutex::new((config.retain_bytes, config.retain_age)),
            disk: OnceLock::new(),
            vacant,
            stored_position: AtomicU64::new(0),
            position: position.syncing(),
            lineage: Mutex::new(durable),
            upkeep: Upkeep::default(),
            requested_sync: AtomicU64::new(0),
            room: AtomicBool::new(false),
            lost: OnceLock::new(),
        };
        let mut resumed = Resumed { applied, received: applied, lineage, position, dir };
        if let Some(disk) = disk {
            log.resume(&disk, &mut resumed, stored_lineage)?;
            let _ = log.disk.set(disk);
        }
        Ok((log, resumed))
    }

    /// Compares the host's position with the log, and derives where to resume.
    fn resume(&self, disk: &DiskLog, resumed: &mut Resumed, stored_lineage: Option<Lineage>) -> Result<()> {
        let (found, applied) = (disk.lineage(), resumed.applied);
        // The position may belong to any epoch.
        let lineage = resumed.lineage.filter(|_| applied.sequence > 0).map(|wanted| Lineage { epoch: 0, ..wanted });
        let (host, log) = (Follower { lineage, ..Follower::at(applied) }, Source::new(Some(found), UNKNOWN_HISTORY));
        // A position in another stream is refused without reading the log.
        self.check(&host, &log, "host's position")?;
        let wanted_epoch = resumed.lineage.map_or(0, |lineage| lineage.epoch);
        let wanted = Lineage { epoch: found.epoch.max(wanted_epoch), ..found };
        resumed.lineage = Some(later(wanted, stored_lineage));
        let (oldest, end) = (disk.oldest(), disk.written());
        if applied.sequence < oldest.sequence {
            // The writer sends the entries from there on; those that are here already are not written again.
            return Ok(());
        }
        resumed.received = point(end);
        let ours = match applied.sequence.cmp(&end.sequence) {
            std::cmp::Ordering::Greater => return Ok(()),
            std::cmp::Ordering::Equal => Some(end),
            std::cmp::Ordering::Less => disk.locate(applied.sequence)?,
        };
        let hash = ours.map_or(UNKNOWN_HISTORY, |mark| mark.hash);
        self.check(&host, &Source { hash, ..log }, "host's position")?;
        resumed.applied.hash = hash;
        Ok(())
    }

    pub(super) fn disk(&self) -> Option<&DiskLog> {
        self.disk.get()
    }

    /// The lineage that this directory is bound to durably.
    pub(super) fn lineage(&self) -> Option<Lineage> {
        *self.lineage.lock()
    }

    /// The position file names this lineage durably now.
    pub(super) fn bind(&self, lineage: Lineage) {
        *self.lineage.lock() = Some(lineage);
    }

    /// The position file now holds this position of the handler, perhaps not durably.
    pub(super) fn position_stored(&self, sequence: u64) {
        self.stored_position.store(sequence, Ordering::SeqCst);
    }

    /// Runs the directory's upkeep until [`Upkeep::close`]. If it fails, the directory is lost, and [`Self::lost`]
    /// returns the reason.
    pub(super) fn keep(&self, report: &mut dyn FnMut(UpkeepNews)) -> Result<()> {
        let Some(disk) = self.upkeep.wait_for(|| self.disk()) else { return Ok(()) };
        let mut applied = 0;
        let mut kept_from = |end: Mark| {
            if applied < end.sequence {
                // After a loss of power the position must not be before the oldest entry.
                let stored = self.stored_position.load(Ordering::SeqCst);
                self.position.sync()?;
                applied = stored;
            }
            Ok(disk.floor(applied).position)
        };
        let kept = self.upkeep.run(disk, &mut kept_from, report);
        kept.inspect_err(|error| drop(self.lost.set(error.clone())))
    }

    /// Requests a sync through `sequence`, because the writer waits for that entry to be durable.
    pub(super) fn request_sync(&self, sequence: u64) {
        self.requested_sync.fetch_max(sequence, Ordering::SeqCst);
    }

    /// Clears the request, because the writer does not wait any more.
    pub(super) fn clear_sync_request(&self) {
        self.requested_sync.store(0, Ordering::SeqCst);
    }

    /// The entry that the writer waits for to be durable; 0 if it does not wait.
    pub(super) fn requested_sync(&self) -> u64 {
        self.requested_sync.load(Ordering::SeqCst)
    }

    /// Retention has freed space while the disk was full.
    pub(super) fn made_room(&self) {
        self.room.store(true, Ordering::SeqCst);
    }

    /// Whether retention has freed space since the last call.
    pub(super) fn has_room(&self) -> bool {
        self.room.swap(false, Ordering::SeqCst)
    }

    /// Why the directory was lost, if it was.
    pub(super) fn lost(&self) -> Option<&Error> {
        self.lost.get()
    }

    /// So much is kept from now on.
    pub(super) fn set_retention(&self, bytes: u64, age: Duration) {
        // Under the lock, so that a log that begins meanwhile gets the later values.
        let mut retention = self.retention.lock();
        *retention = (bytes, age);
        self.disk().inspect(|disk| disk.set_retention(bytes, age));
    }

    pub(super) fn sync_policy(&self) -> SyncPolicy {
        self.config.sync
    }

    /// Writes the entries of a delivery, except those that are here already. Returns `true` if the delivery reached the log's
    /// end, where the histories are compared.
    pub(super) fn write(&self, delivery: &Delivery, stream_id: [u8; 16]) -> Result<bool> {
        let before = delivery.before();
        let disk = self.disk_for(before, stream_id)?;
        let (mut delivery, mut hash, mut compared) = (delivery.clone(), before.hash, false);
        loop {
            let run = delivery.entries();
            if run.is_empty() {
                return Ok(compared);
            }
            let (length, end) = (run.len(), disk.written());
            let new = entries_after(Entries::new(run).with_history(hash), end.sequence);
            let Walked { sequence, hash: hash_there, .. } = new.walked();
            hash = hash_there;
            if !new.is_over() || sequence == end.sequence {
                let received = Point { sequence: end.sequence, hash };
                self.check(&Follower::at(received), &Source::new(None, end.hash), "writer")?;
                compared = true;
            }
            if !new.is_over() {
                if before.epoch > disk.lineage().epoch {
                    disk.begin_epoch(before.epoch)?;
                }
                // The connection's task has verified them.
                hash = disk.write_verified(new.rest())?.hash;
            }
            delivery.advance(length);
        }
    }

    /// Fails if the position of `whose` does not lie in the history of this log.
    fn check(&self, follower: &Follower, log: &Source<'_>, whose: &str) -> Result<()> {
        let (dir, verdict) = (self.config.dir.display(), judge(follower, log));
        let text = match verdict {
            Verdict::Same { .. } => return Ok(()),
            Verdict::OtherStream => {
                let hex = |lineage: Option<Lineage>| lineage.map(|lineage| hex(&lineage.stream_id)).unwrap_or_default();
                let (found, wanted) = (hex(log.lineage), hex(follower.lineage));
                format!(
                    "{dir} holds stream {found}, the {whose} belongs to stream {wanted}: re-seed with an \
                     empty directory"
                )
            }
            // Epochs and lengths are not compared, so it is a fork.
            _ => format!(
                "{dir} has another history up to entry {} than the {whose}: re-seed with an empty directory",
                follower.at.sequence
            ),
        };
        Err(Error::new(verdict.status(), text))
    }

    /// The log's files, created if these are the first entries of the stream.
    fn disk_for(&self, before: Before, stream_id: [u8; 16]) -> Result<&DiskLog> {
        if let Some(disk) = self.disk.get() {
            return Ok(disk);
        }
        let Before { epoch, sequence, hash } = before;
        let start =
            LogStart { lineage: Lineage { stream_id, epoch }, mark: Mark { sequence, hash, ..Mark::default() } };
        let vacant =
            self.vacant.as_ref().ok_or_else(|| Error::new(Status::InvalidState, "the log is there already"))?;
        let (disk, _) = vacant.begin(start)?;
        let retention = self.retention.lock();
        disk.set_retention(retention.0, retention.1);
        let disk = self.disk.get_or_init(|| disk);
        drop(retention);
        self.upkeep.notify();
        Ok(disk)
    }

    /// Verified entries after `sequence` and before the position `end`; `None` if they are not here.
    pub(super) fn read_after(&self, sequence: u64, end: u64) -> Result<Option<Delivery>> {
        let Some(disk) = self.disk.get() else { return Ok(None) };
        let Some(mark) = disk.locate(sequence)? else { return Ok(None) };
        let Some(range) = disk.file_range(mark.position, end)?.filter(|range| range.len > 0) else {
            return Ok(None);
        };
        let bytes = range.load()?;
        let before = Before { epoch: disk.lineage().epoch, sequence: mark.sequence, hash: mark.hash };
        Ok(Some(Delivery::of_entries(bytes.into(), before, clock::now())))
    }

    /// At most `max` points of the history, at or before evenly spread sequences up to `last`, that are known without
    /// reading the log. They suffice for a writer with the same history, and for the first step with another.
    pub(super) fn known_points(&self, last: u64, max: usize) -> Vec<Point> {
        let Some(disk) = self.disk.get() else { return Vec::new() };
        let first = disk.oldest().sequence;
        let span = u128::from(last.saturating_sub(first));
        let at = |n: usize| first + (span * n as u128 / max as u128) as u64;
        let mut points: Vec<_> = (0..max).map(|n| point(disk.floor(at(n)))).collect();
        points.dedup();
        points
    }

    /// At most `max` points of the history, evenly spread from `first` to `last`, both included. Reads the log.
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

/// The lineage, in the epoch of `other` if that is of the same stream and higher.
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

/// The entries of the run after `sequence`.
pub(super) fn entries_after(mut run: Entries<'_>, sequence: u64) -> Entries<'_> {
    let mut rest = run;
    while run.next().is_some_and(|entry| entry.sequence <= sequence) {
        rest = run;
    }
    rest
}

/// The token of a point in a stream.
pub(super) fn token(lineage: Lineage, at: Point) -> Token {
    Token { stream_id: lineage.stream_id, epoch: lineage.epoch, sequence: at.sequence, hash: at.hash }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::protocol::entry::{Entry, chain_start};

    const OURS: Lineage = Lineage { stream_id: [7; 16], epoch: 5 };

    /// Entries from 1 on, each with one byte of these, as a writer of our stream sends them.
    fn delivery(payloads: &[u8]) -> Delivery {
        let before = Before { epoch: OURS.epoch, sequence: 0, hash: chain_start(&OURS.stream_id) };
        Delivery::of_entries(encoded(payloads).into(), before, clock::now())
    }

    fn encoded(payloads: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (previous, payload) in (0..).zip(payloads.chunks(1)) {
            Entry { sequence: previous + 1, previous, timestamp_us: 0, payload }.encode_into(&mut bytes);
        }
        bytes
    }

    /// P7: a local log goes on with its own stream and history only, whether the host or the writer has another.
    #[test]
    fn p7_a_local_log_goes_on_with_its_own_history_only() {
        let dir = tempfile::tempdir().unwrap();
        let open = |host| LocalLog::open(&LocalLogConfig::new(dir.path()), false, host);
        let (log, _) = open(None).unwrap();
        log.write(&delivery(b"abcde"), OURS.stream_id).unwrap();
        let refused = |error: Error, text: &str| {
            assert_eq!(error.status, Status::Diverged, "{error}");
            assert!(error.message.contains(text), "{error}");
        };
        refused(log.write(&delivery(b"axcdef"), OURS.stream_id).unwrap_err(), "up to entry 5 than the writer");
        // At the log's end they are compared, and before it nothing is known.
        refused(log.write(&delivery(b"axcde"), OURS.stream_id).unwrap_err(), "up to entry 5 than the writer");
        assert!(!log.write(&delivery(b"axc"), OURS.stream_id).unwrap());
        assert!(log.write(&delivery(b"abcde"), OURS.stream_id).unwrap());
        assert!(log.write(&delivery(b"abcdef"), OURS.stream_id).unwrap());
        drop(log);

        let entries = encoded(b"abc");
        let hash = entries_after(Entries::new(&entries).with_history(chain_start(&OURS.stream_id)), 3).walked().hash;
        let at = |sequence, hash| Point { sequence, hash };
        let (other, newer) = (Lineage { stream_id: [8; 16], ..OURS }, Lineage { epoch: 9, ..OURS });
        let resumed = |point, lineage| {
            let (log, resumed) = open(Some((point, lineage))).unwrap();
            assert_eq!(log.disk().unwrap().written().sequence, 6);
            (resumed.applied, resumed.received.sequence, resumed.lineage)
        };
        let not_resumed = |point, lineage, text| refused(open(Some((point, lineage))).map(drop).unwrap_err(), text);
        assert_eq!(resumed(at(3, hash), Some(newer)), (at(3, hash), 6, Some(newer)));
        assert_eq!(resumed(at(3, UNKNOWN_HISTORY), None), (at(3, hash), 6, Some(OURS)));
        not_resumed(at(3, hash + 1), None, "up to entry 3 than the host's position");
        not_resumed(at(3, hash), Some(other), "the host's position belongs to stream 0808");
        // After the log's end only the stream is compared, and before the first entry nothing.
        assert_eq!(resumed(at(8, 1), Some(OURS)), (at(8, 1), 6, Some(OURS)));
        not_resumed(at(8, 1), Some(other), "belongs to stream");
        assert_eq!(resumed(at(0, 0), Some(other)).1, 6);
    }
}
