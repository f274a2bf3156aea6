//! The log on disk: entries in segment files, in the form that is sent.
//!
//! One thread writes; any number of threads sync and read. A boundary between entries has the same position here as in
//! memory: the number of bytes of entries before it. `docs/log-format.md` describes the files byte by byte.
//!
//! - [`DiskLog::open`] finds the end of what is there, and refuses what cannot be right.
//! - [`DiskLog::write`] and [`DiskLog::sync`] are two steps: only what was synced survives a loss of power.
//! - [`DiskLog::locate`] finds a boundary, [`DiskLog::file_range`] the bytes after one, for `sendfile` or `pread`.
//! - [`DiskLog::trim_one`] removes old segments.
//!
//! A failed sync makes the log unusable until it is opened again, because it is not known then what is on disk. A write
//! that finds no space does not.
//!
//! A log that is synced often reserves space after its end by writing zeroes there: small writes over them change
//! neither the file's length nor its blocks, so `fdatasync` need not wait for the file system's journal. A complete
//! segment gives the rest of the space back.

mod at;
mod beside;
mod dir;
mod entries;
mod fault;
mod file;
mod head;
pub mod holder;
mod lock;
mod lookup;
mod mark;
mod next;
mod op;
pub mod position;
mod read;
mod recover;
mod rescue;
mod scan;
mod segment;
pub mod slots;
mod trim;
pub mod verify;
mod write;

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{self, Ages};
use crate::error::{Error, Result, Status};
use crate::protocol::lineage::Lineage;
use crate::sync::{Mutex, MutexGuard};
use fault::Fault;
use head::{Commit, Fixed};
use next::NextFile;
use recover::{CheckedSegment, SegmentFile};
use segment::{Active, OpenSegment, Sealed};

pub use dir::Dir;
pub use head::{FORMAT_VERSION, HEAD_BYTES};
pub use mark::Mark;
pub use op::CRASH_POINTS;
pub use read::FileRange;
pub use recover::Cut;
pub use rescue::Rescue;
pub use scan::MAX_RESERVED_BYTES;

/// The configuration of a log on disk.
#[derive(Clone, Debug)]
pub struct DiskConfig {
    /// The directory of this one log. It is created if only its last component is missing.
    pub dir: PathBuf,
    /// Bytes of entries in a segment file. One entry that is larger has a segment to itself.
    pub segment_bytes: u64,
    /// The bytes on disk beyond which the oldest segments are removed.
    pub retain_bytes: u64,
    /// The age beyond which entries are removed; [`Duration::MAX`] for none.
    pub retain_age: Duration,
    /// Bytes by which the last segment's file is longer than its entries after a small write, at least for a moment; at
    /// most [`MAX_RESERVED_BYTES`]. It makes syncs faster.
    pub reserve_bytes: u64,
    /// Accepts a directory that other users may change.
    pub insecure_permissions_allowed: bool,
}

impl DiskConfig {
    /// Segments of 64 MiB; 10 GiB are kept, of any age; no space is reserved.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            retain_bytes: 10 << 30,
            retain_age: Duration::MAX,
            reserve_bytes: 0,
            insecure_permissions_allowed: false,
        }
    }

    /// What a host may set as `segment_bytes`. The index of a longer segment would be too coarse to read it in small
    /// pieces.
    pub const SEGMENT_BYTES: RangeInclusive<u64> = 64 << 10..=1 << 30;

    /// Checks that the values are in the ranges that a host may set.
    pub fn check(&self) -> Result<()> {
        let invalid = |text: String| Err(Error::new(Status::InvalidArgument, text));
        Self::check_segment_bytes(self.segment_bytes)?;
        if self.retain_age.is_zero() {
            return invalid("wal_retain_ms must be at least 1".into());
        }
        Ok(())
    }

    /// Whether a host may set this.
    pub fn check_segment_bytes(bytes: u64) -> Result<()> {
        if Self::SEGMENT_BYTES.contains(&bytes) {
            return Ok(());
        }
        let (least, most) = Self::SEGMENT_BYTES.into_inner();
        Err(Error::new(Status::InvalidArgument, format!("wal_segment_bytes is {bytes}, it must be {least} to {most}")))
    }

    /// Bytes between two points of an index.
    fn spacing(&self) -> u64 {
        self.segment_bytes.div_ceil(head::MAX_POINTS as u64).max(256 << 10)
    }
}

/// Where a new log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStart {
    /// Whose log it is.
    pub lineage: Lineage,
    /// The boundary before its first entry.
    pub mark: Mark,
}

/// What the opening of a log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Whose log it is.
    pub lineage: Lineage,
    /// Its end. Everything before it is durable.
    pub mark: Mark,
    /// Its beginning.
    pub oldest: Mark,
    /// The torn end that was cut off, if there was one.
    pub cut: Option<Cut>,
}

/// The state that all threads share.
#[derive(Debug)]
struct State {
    sealed: VecDeque<Arc<Sealed>>,
    /// The bytes of their files and of `removing`.
    sealed_bytes: u64,
    /// The segment that retention removes, until the removal is durable. It is no longer read.
    removing: Option<Arc<Sealed>>,
    active: Active,
    /// How many segments have begun since the log was opened.
    begun: u64,
    /// The epochs of all segments, oldest first: each with the last sequence before it.
    epochs: VecDeque<(u64, u64)>,
    written: Mark,
    synced: Mark,
    /// Why nothing more may be written.
    broken: Option<Broken>,
    /// The bytes, and the age, beyond which entries are removed.
    retention: (u64, Duration),
}

/// The purpose of a write or a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To confirm entries as durable, as long as the log is usable.
    Confirm,
    /// To save entries that were accepted before the log lost its directory. Nothing is confirmed.
    Rescue,
}

/// Why a log ended for good.
#[derive(Clone, Debug)]
struct Broken {
    /// The error of later calls.
    text: String,
    /// It lost its directory, but it is known what is on disk.
    lost: bool,
}

/// A log on disk, opened.
///
/// Locks are taken in the order `trimming`, `writing`, `syncing`, `state`; `recent` is never held with another.
#[derive(Debug)]
pub struct DiskLog {
    config: DiskConfig,
    stream_id: [u8; 16],
    /// Held while entries are written or a segment is added.
    writing: Mutex<()>,
    /// Held while segments are removed. The ages of the segments.
    trimming: Mutex<Ages>,
    /// Held during a sync.
    syncing: Mutex<()>,
    state: Mutex<State>,
    /// The segments read last, so that their files stay open.
    recent: Mutex<VecDeque<Arc<OpenSegment>>>,
    next: NextFile,
    dir: Arc<Dir>,
}

/// A locked directory that has no log yet.
#[derive(Debug)]
pub struct Vacant {
    config: DiskConfig,
    dir: Arc<Dir>,
}

/// The content of a log's directory.
#[derive(Debug)]
pub enum Contents {
    /// A log, opened.
    Log(Box<DiskLog>, Recovery),
    /// No log.
    Vacant(Vacant),
}

impl Contents {
    /// The directory.
    pub fn directory(&self) -> &Arc<Dir> {
        match self {
            Contents::Log(log, _) => &log.dir,
            Contents::Vacant(vacant) => &vacant.dir,
        }
    }
}

impl Vacant {
    /// Creates a log here. Fails with `DISK_FULL` or `STALLED`, after which it may be tried again, or with `IO`.
    pub fn begin(&self, start: LogStart) -> Result<(DiskLog, Recovery)> {
        self.dir.check().map_err(Fault::while_open)?;
        let state = begin_log(&self.config, &self.dir, start).map_err(Fault::while_open)?;
        DiskLog::opened(self.config.clone(), self.dir.clone(), state, None)
    }
}

impl DiskLog {
    /// Opens the log in a directory, or creates one that begins at `start` if there is none.
    ///
    /// All segments' heads are read, and the entries of the last segment. Fails with `LOCKED`, with `DAMAGED` (then
    /// nothing was changed on disk), with `DISK_FULL`, with `IO`, with `INVALID_ARGUMENT` for a directory that others
    /// may change, or as `start` does.
    pub fn open(config: DiskConfig, start: impl FnOnce() -> Result<LogStart>) -> Result<(DiskLog, Recovery)> {
        match Self::find(config)? {
            Contents::Log(log, recovery) => Ok((*log, recovery)),
            Contents::Vacant(vacant) => vacant.begin(start()?).map_err(at_opening),
        }
    }

    /// The same, but creates none.
    pub fn find(config: DiskConfig) -> Result<Contents> {
        if config.segment_bytes == 0 {
            return Err(Error::new(Status::InvalidArgument, "segments of 0 bytes; a segment needs room for entries"));
        }
        let dir = Arc::new(Dir::open_to_write(&config.dir, config.insecure_permissions_allowed)?);
        dir.lock()?;
        let listing = recover::list(&dir)?;
        let continued = match recover::find_all(&dir, &listing, true)? {
            Some((sealed, last)) => Some(continue_log(&config, &sealed, &last)?),
            None => None,
        };
        for path in &listing.leftovers {
            file::unlink(&dir, path)?;
        }
        let Some((opened, cut)) = continued else { return Ok(Contents::Vacant(Vacant { config, dir })) };
        let (log, recovery) = Self::opened(config, dir, opened, cut)?;
        Ok(Contents::Log(Box::new(log), recovery))
    }

    fn opened(config: DiskConfig, dir: Arc<Dir>, opened: State, cut: Option<Cut>) -> Result<(DiskLog, Recovery)> {
        // A crash may have come after a segment got its name and before this sync.
        file::sync_dir(&dir)?;
        let fixed = opened.active.fixed;
        let lineage = Lineage { stream_id: fixed.stream_id, epoch: fixed.epoch };
        let oldest = opened.sealed.front().map_or(fixed.base, |segment| segment.head.fixed.base);
        let recovery = Recovery { lineage, mark: opened.written, oldest, cut };
        let log = DiskLog {
            config,
            stream_id: fixed.stream_id,
            writing: Mutex::new(()),
            trimming: Mutex::new(Ages::new(clock::now())),
            syncing: Mutex::new(()),
            state: Mutex::new(opened),
            recent: Mutex::default(),
            next: NextFile::default(),
            dir,
        };
        Ok((log, recovery))
    }

    /// The end of what was written.
    pub fn written(&self) -> Mark {
        self.state.lock().written
    }

    /// The end of the entries confirmed as durable. A rescue does not move it.
    pub fn synced(&self) -> Mark {
        self.state.lock().synced
    }

    /// The boundary before the oldest entry.
    pub fn oldest(&self) -> Mark {
        self.state.lock().oldest()
    }

    /// The log's lineage, with its present epoch.
    pub fn lineage(&self) -> Lineage {
        Lineage { stream_id: self.stream_id, epoch: self.state.lock().active.fixed.epoch }
    }

    /// The epochs that have entries here and the present one, oldest first, each with the last sequence before it.
    pub fn epochs(&self) -> Vec<(u64, u64)> {
        self.state.lock().epochs.iter().copied().collect()
    }

    /// The bytes of the segments on disk.
    pub fn bytes(&self) -> u64 {
        self.state.lock().bytes()
    }

    /// The age beyond which entries are removed.
    pub fn retain_age(&self) -> Duration {
        self.state.lock().retention.1
    }

    /// So much is kept from now on.
    pub fn set_retention(&self, bytes: u64, age: Duration) {
        self.state.lock().retention = (bytes, age);
    }

    /// The path of the directory when it was opened.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The directory.
    pub fn directory(&self) -> &Arc<Dir> {
        &self.dir
    }

    /// Fails if the directory is no longer where it was opened, or its lock file is not the one that was locked. Then
    /// the log becomes unusable, because another process may use the directory, or create another log under its name.
    /// If that cannot be found out, it fails too, but the log stays usable.
    ///
    /// [`DiskLog::sync`] checks this first, so that nothing is confirmed as durable that the host would not find again.
    pub fn check_identity(&self) -> Result<()> {
        self.check_usable()?;
        self.dir.check().map_err(|fault| {
            if fault.fatal {
                let broken = || Broken { text: fault.error.message.clone(), lost: true };
                self.state.lock().broken.get_or_insert_with(broken);
            }
            fault.while_open()
        })
    }

    /// The same, before a write or a sync with this purpose.
    fn check_place(&self, purpose: Purpose) -> Result<()> {
        match purpose {
            Purpose::Confirm => self.check_identity(),
            Purpose::Rescue => Ok(()),
        }
    }

    /// Fails after a failed sync or the loss of the directory.
    fn usable<'a>(&self, state: MutexGuard<'a, State>, purpose: Purpose) -> Result<MutexGuard<'a, State>> {
        match &state.broken {
            Some(broken) if purpose == Purpose::Confirm || !broken.lost => {
                Err(Error::new(Status::Io, broken.text.clone()))
            }
            _ => Ok(state),
        }
    }

    /// Whether the log is usable.
    pub fn is_usable(&self) -> bool {
        self.state.lock().broken.is_none()
    }

    /// Fails with the error that made the log unusable, if there was one.
    pub fn check_usable(&self) -> Result<()> {
        self.usable(self.state.lock(), Purpose::Confirm).map(drop)
    }

    /// Creates the next segment's file ahead of time. A failure here comes up again when the segment begins, unless its
    /// cause has passed by then.
    pub fn prepare_next(&self) -> Result<()> {
        self.check_usable()?;
        self.next.prepare(&self.dir).map_err(|fault| self.fault(fault))
    }

    /// How many segments have begun since the log was opened.
    pub fn begun(&self) -> u64 {
        self.state.lock().begun
    }

    /// The error of a change that failed. A fatal one makes the log unusable.
    fn fault(&self, fault: Fault) -> Error {
        if fault.fatal {
            return self.break_off(&fault.error);
        }
        // The cause may be that the directory is gone. Then trying again cannot help.
        match self.check_identity() {
            Err(lost) if !self.is_usable() => lost,
            _ => fault.while_open(),
        }
    }

    /// Makes the log unusable.
    fn break_off(&self, error: &Error) -> Error {
        let cause = &error.message;
        let text = || format!("an earlier failure left unknown what is on disk ({cause}); {UNUSABLE}");
        self.state.lock().broken.get_or_insert_with(|| Broken { text: text(), lost: false });
        Error::new(Status::Io, format!("{cause}; what is on disk is not known, {UNUSABLE}"))
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        let state = self.state.lock();
        let (active, end) = (&state.active, state.active.fixed.offset(state.written.position));
        if state.broken.is_none() && (active.length > end || active.torn) {
            // Gives the reserved space back. If that fails, its zeroes are no entries all the same.
            let _ = file::truncate(&active.file, &active.path, end);
        }
        self.next.discard(&self.dir);
    }
}

/// The error of a failed opening, which is not tried again.
pub fn at_opening(error: Error) -> Error {
    if error.status == Status::Stalled { Error::new(Status::Io, error.message) } else { error }
}

const UNUSABLE: &str = "the log is unusable until it is reopened";

impl State {
    fn oldest(&self) -> Mark {
        self.sealed.front().map_or(self.active.fixed.base, |segment| segment.head.fixed.base)
    }

    fn bytes(&self) -> u64 {
        self.sealed_bytes + self.active.fixed.offset(self.written.position)
    }

    fn new(config: &DiskConfig, sealed: VecDeque<Arc<Sealed>>, active: Active, end: Mark) -> Self {
        let sealed_bytes = sealed.iter().map(|segment| segment.size()).sum();
        let fixed = sealed.iter().map(|segment| &segment.head.fixed).chain([&active.fixed]);
        let mut epochs: Vec<_> = fixed.map(epoch_of).collect();
        epochs.dedup();
        let epochs = epochs.into();
        Self {
            sealed,
            sealed_bytes,
            removing: None,
            active,
            begun: 0,
            epochs,
            written: end,
            synced: end,
            broken: None,
            retention: (config.retain_bytes, config.retain_age),
        }
    }

    /// Makes this the segment that is written. The one before it is sealed, or replaced if it is empty.
    fn begin(&mut self, active: Active) {
        let epoch = epoch_of(&active.fixed);
        let old = std::mem::replace(&mut self.active, active);
        if self.active.fixed.base == old.fixed.base {
            if self.sealed.back().is_none_or(|last| epoch_of(&last.head.fixed) != epoch_of(&old.fixed)) {
                self.epochs.pop_back();
            }
        } else {
            let sealed = Sealed::from_active(&old);
            self.sealed_bytes += sealed.size();
            self.sealed.push_back(Arc::new(sealed));
        }
        if self.epochs.back() != Some(&epoch) {
            self.epochs.push_back(epoch);
        }
        self.begun += 1;
    }

    /// Removes the first segment from those that can be read.
    fn remove_first(&mut self) -> Option<Arc<Sealed>> {
        let first = self.sealed.pop_front()?;
        let next = self.sealed.front().map_or(&self.active.fixed, |next| &next.head.fixed);
        if epoch_of(next) != epoch_of(&first.head.fixed) {
            self.epochs.pop_front();
        }
        self.removing = Some(first.clone());
        Some(first)
    }

    /// The removal of `removing` is durable.
    fn removed(&mut self) {
        if let Some(segment) = self.removing.take() {
            self.sealed_bytes -= segment.size();
        }
    }
}

fn epoch_of(fixed: &Fixed) -> (u64, u64) {
    (fixed.epoch, fixed.epoch_start)
}

/// The state of a log that has segments.
fn continue_log(config: &DiskConfig, sealed: &[CheckedSegment], last: &SegmentFile) -> Result<(State, Option<Cut>)> {
    // Before the first write to it.
    let modified_us = last.modified_us()?;
    let tail = recover::scan_tail(last, config.spacing())?;
    // A seal counts only once another segment follows: before that a loss of power may have cost the index, and there
    // may be more bytes. So the segment is written on and sealed anew.
    let commit = Commit { sealed: false, ..recover::make_durable(last, &tail)? };
    let mut made = clock::noted_in_order();
    let sealed = sealed.iter().map(|seen| Arc::new(Sealed::new(seen, made(seen.head.fixed.created_us)))).collect();
    let mut active = Active {
        path: last.path.clone(),
        file: last.file.clone(),
        identity: last.identity,
        fixed: last.head.fixed,
        made: made(last.head.fixed.created_us),
        commit,
        points: tail.points,
        length: tail.torn.as_ref().map_or(last.size, |cut| cut.offset),
        torn: false,
        filled: None,
    };
    if tail.end != active.fixed.base {
        active.filled = Some((active.made, made(modified_us)));
    }
    Ok((State::new(config, sealed, active, tail.end), tail.torn))
}

/// The state of a new log.
fn begin_log(config: &DiskConfig, dir: &Dir, start: LogStart) -> Result<State, Fault> {
    let invalid = |text| Err(Fault { error: Error::new(Status::InvalidArgument, text), fatal: false });
    let LogStart { lineage: Lineage { stream_id, epoch }, mark } = start;
    if mark.sequence == u64::MAX {
        let text = format!("a log cannot begin after entry {}, no sequence is left", mark.sequence);
        return invalid(text);
    }
    if mark.position > Mark::MAX_POSITION {
        let text = format!("a log cannot begin at position {}, further than any log comes", mark.position);
        return invalid(text);
    }
    let now = clock::now();
    let fixed = Fixed { stream_id, epoch, base: mark, epoch_start: mark.sequence, created_us: now.wall_us };
    let active = Active::create(dir, &NextFile::default(), fixed, config.spacing(), now)?;
    Ok(State::new(config, VecDeque::new(), active, mark))
}

#[cfg(all(test, not(feature = "model")))]
pub(super) mod tests;
