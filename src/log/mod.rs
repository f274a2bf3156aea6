//! The ordered log: the only queue between the host's writers and the readers' connections.
//!
//! An entry gets its sequence and its place in one step under one short lock, and lies there as it travels. Readers
//! follow with cursors and take no part in that lock. The log knows nothing of networks, handles or protocol versions.

mod bell;
mod chunk;
mod cursor;
pub mod disk;
mod memory;
mod storage;
mod upkeep;
mod window;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::clock;
use crate::error::{Error, Result, Status};
use crate::protocol::MAX_MESSAGE_SIZE;
use crate::protocol::entry::{ENTRY_HEADER_SIZE, MAX_PAYLOAD_BYTES, payload_crc};
use crate::sync::MutexGuard;
use disk::DiskLog;
use memory::{Appender, MemoryLog, exhausted};
use storage::Storage;
use window::{Hold, NoRoom, Window};

pub use crate::engine::disk::{RETRY, SyncPolicy};
pub use crate::engine::stall::DiskNews;
pub use cursor::{Cursor, CutWatch, Next, Span};
pub use disk::Mark;
pub use storage::Ended;
pub use upkeep::{Upkeep, UpkeepNews};
pub use window::{AttachError, Occupancy};

/// What an append does when the window is full and a connected reader still needs its oldest entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullPolicy {
    /// Cut off the slowest readers; they are told `SEQUENCE_GAP`.
    CutOffSlowest,
    /// Refuse the new entry with `BUFFER_FULL`.
    Refuse,
    /// Wait for the slowest reader up to this time, then refuse.
    Wait(Duration),
}

/// The bounds of a log, and where it begins.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    /// Entries kept in memory, at most.
    pub max_entries: usize,
    /// Bytes kept in memory, at most.
    pub max_bytes: u64,
    /// What happens at the bound.
    pub full_policy: FullPolicy,
    /// Where the first entry goes; for a stored log, the disk knows.
    pub start: Mark,
    /// How long an append waits for the disk.
    pub disk_timeout: Duration,
}

impl LogConfig {
    /// A log that begins at the beginning, within these bounds.
    pub fn new(max_entries: usize, max_bytes: u64, full_policy: FullPolicy) -> Self {
        Self { max_entries, max_bytes, full_policy, start: Mark::default(), disk_timeout: Duration::from_secs(5) }
    }
}

/// How long an append that must wait waits for more room than it needs.
const MOMENT: Duration = Duration::from_millis(1);

/// The log. Appends may come from any thread.
pub struct Log {
    memory: MemoryLog,
    storage: Option<Storage>,
    full_policy: FullPolicy,
    max_bytes: u64,
    max_entries: usize,
    disk_timeout: Duration,
}

impl Log {
    /// An empty log within these bounds, in memory only.
    pub fn new(config: LogConfig) -> Self {
        Self::with(config, None)
    }

    /// A log within these bounds that goes on where the one on disk ended. A thread has to call [`Self::store`].
    pub fn stored(mut config: LogConfig, disk: DiskLog, policy: SyncPolicy) -> Self {
        config.start = disk.written();
        Self::with(config, Some(Storage::new(disk, policy)))
    }

    fn with(config: LogConfig, storage: Option<Storage>) -> Self {
        let window = Window::new(config.max_entries, config.max_bytes, config.start.sequence);
        Self {
            memory: MemoryLog::new(window, config.start),
            storage,
            full_policy: config.full_policy,
            max_bytes: config.max_bytes,
            max_entries: config.max_entries,
            disk_timeout: config.disk_timeout,
        }
    }

    /// Appends one entry and settles it; returns its sequence.
    #[inline]
    pub fn append(&self, timestamp_us: u64, payload: &[u8]) -> Result<u64> {
        let end = self.put(timestamp_us, payload)?;
        self.settle(&end)?;
        Ok(end.sequence)
    }

    /// Appends one entry and returns the boundary after it; [`Self::settle`] comes next. Copies the payload; never
    /// waits for a reader unless the policy says so.
    #[inline]
    pub fn put(&self, timestamp_us: u64, payload: &[u8]) -> Result<Mark> {
        let crc = payload_crc(payload);
        let size = ENTRY_HEADER_SIZE + payload.len();
        let mut appender = self.memory.appender.lock();
        if appender.quota == 0 || appender.closed || appender.writer.as_ref().is_none_or(|w| w.room() < size) {
            self.check_payload(payload.len())?;
            appender = self.next_chunk(appender, size, 1)?;
        }
        appender.put(crc, timestamp_us, payload)?;
        Ok(self.publish(appender))
    }

    /// Appends entries with consecutive sequences, all or none, and settles them; returns the first sequence (of the
    /// next entry when there are none).
    pub fn append_batch<'a>(
        &self,
        timestamp_us: u64,
        payloads: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> Result<u64> {
        let (first, end) = self.put_batch(timestamp_us, payloads)?;
        self.settle(&end)?;
        Ok(first)
    }

    /// Appends entries with consecutive sequences, all or none. Returns the first sequence (of the next entry when
    /// there are none), and the boundary after them; [`Self::settle`] comes next.
    pub fn put_batch<'a>(
        &self,
        timestamp_us: u64,
        payloads: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> Result<(u64, Mark)> {
        let count = payloads.len();
        let mut size = 0u64;
        for payload in payloads.clone() {
            self.check_payload(payload.len())?;
            size += (ENTRY_HEADER_SIZE + payload.len()) as u64;
        }
        if size > self.max_bytes.min(MAX_MESSAGE_SIZE as u64 - 1) || count > self.max_entries {
            return Err(Error::new(
                Status::MessageTooLarge,
                format!(
                    "batch too large: {count} entries, {size} bytes with headers; the buffer holds {} entries, {} bytes, a frame {MAX_MESSAGE_SIZE} bytes",
                    self.max_entries, self.max_bytes
                ),
            ));
        }
        let size = size as usize;
        let mut appender = self.memory.appender.lock();
        if appender.quota < count || appender.closed || appender.writer.as_ref().is_none_or(|w| w.room() < size) {
            appender = self.next_chunk(appender, size, count)?;
        }
        let last = appender.end.sequence;
        if last.checked_add(count as u64).is_none() {
            return Err(exhausted(last));
        }
        let first = last.wrapping_add(1);
        for payload in payloads {
            appender.put(payload_crc(payload), timestamp_us, payload)?;
        }
        Ok((first, self.publish(appender)))
    }

    /// The sequence of the last entry.
    #[inline]
    pub fn last_sequence(&self) -> u64 {
        self.memory.last_sequence()
    }

    /// The last entry that cursors may see, or, while the end is moving, an earlier one: a cursor that is at the end
    /// after this call has passed it.
    #[inline]
    pub fn shown_sequence(&self) -> u64 {
        self.memory.shown_sequence.load(Ordering::Acquire)
    }

    /// The boundary after the last entry.
    pub fn last_mark(&self) -> Mark {
        self.memory.appender.lock().end
    }

    /// The position after the last entry that cursors may see, in bytes since the log began.
    pub fn end(&self) -> u64 {
        self.memory.bell.end()
    }

    /// Places a cursor after the entry `last_known`, or says why it cannot.
    pub fn attach(self: &Arc<Self>, last_known: u64) -> std::result::Result<Cursor, AttachError> {
        let end = self.memory.appender.lock().end;
        let mut window = self.memory.window.lock();
        let start = match (window.locate(last_known, end), &self.storage) {
            (Err(AttachError::Gone { .. }), Some(storage)) => {
                drop(window);
                let start = storage.locate(last_known)?;
                window = self.memory.window.lock();
                start
            }
            (located, _) => located?,
        };
        // In the same lock: no append gives up what the cursor needs before it holds it.
        let place = window.register(start.position);
        drop(window);
        Ok(Cursor::new(Arc::clone(self), place, start))
    }

    /// The boundary after the entry `sequence`, if it is in memory.
    pub fn find_in_memory(&self, sequence: u64) -> std::result::Result<Mark, AttachError> {
        let end = self.memory.appender.lock().end;
        self.memory.window.lock().locate(sequence, end)
    }

    /// How full the window is.
    pub fn occupancy(&self) -> Occupancy {
        self.memory.window.lock().occupancy(self.last_sequence())
    }

    /// The sequence before the oldest retained entry: a reader has to be there or later to get all.
    pub fn oldest_known(&self) -> u64 {
        self.disk().map_or_else(|| self.occupancy().oldest_known, |disk| disk.oldest().sequence)
    }

    /// The oldest retained sequence; 0 when there is none.
    pub fn first_sequence(&self) -> u64 {
        let oldest_known = self.oldest_known();
        if oldest_known < self.last_sequence() { oldest_known + 1 } else { 0 }
    }

    /// The timestamp of the first retained entry after `sequence`, if there is one.
    pub fn timestamp_after(&self, sequence: u64) -> Option<u64> {
        self.memory.window.lock().timestamp_after(sequence)
    }

    /// Memory that is held from `position` on, of the `max_bytes` there may be.
    pub fn bytes_from(&self, position: u64) -> u64 {
        self.memory.window.lock().bytes_from(position)
    }

    /// The sequence of the last entry that ends at or before `position`, which must be an entry's boundary; `None` when
    /// that place is gone from memory.
    pub fn sequence_before(&self, position: u64) -> Option<u64> {
        // With the lock, no entry is between its sequence and its place.
        let appender = self.memory.appender.lock();
        self.memory.window.lock().sequence_before(position, &appender.end)
    }

    /// Refuses every later append, and ends the ones that wait.
    pub fn close(&self) {
        self.memory.appender.lock().closed = true;
        self.memory.room.notify_all();
        if let Some(storage) = &self.storage {
            storage.close();
        }
    }

    /// Resolves when the end moved while somebody slept at it. One task waits here and wakes the cursors' owners.
    pub async fn rung(&self) {
        self.memory.rung.notified().await;
    }

    /// Announces a sleeper at `position`. `true`: the log still ends there, and the next append will ring.
    pub fn sleep_at(&self, position: u64) -> bool {
        self.memory.bell.announce(position)
    }

    fn check_payload(&self, len: usize) -> Result<()> {
        let limit = (MAX_PAYLOAD_BYTES as u64).min(self.max_bytes - ENTRY_HEADER_SIZE as u64);
        if len as u64 <= limit {
            return Ok(());
        }
        Err(Error::new(
            Status::MessageTooLarge,
            format!("payload too large: {len} bytes, at most {limit} (buffer_bytes is {})", self.max_bytes),
        ))
    }

    /// Makes appended entries visible to cursors, or to the thread that stores them.
    #[inline]
    fn publish(&self, mut appender: MutexGuard<'_, Appender>) -> Mark {
        let end = appender.end;
        // In this order: a cursor sees entries as soon as they are published, and its reader may acknowledge them
        // before this thread runs on.
        self.memory.last_sequence.store(end.sequence, Ordering::Release);
        if let Some(writer) = &mut appender.writer {
            writer.publish();
        }
        // Under the lock, so that the end never goes back.
        let wake = match &self.storage {
            Some(storage) => storage.appended(end.position),
            None => self.memory.advance(&end),
        };
        drop(appender);
        if wake {
            match &self.storage {
                Some(storage) => storage.wake(),
                None => self.memory.rung.notify_one(),
            }
        }
        end
    }

    /// Waits until the entries before `end` are durable, if the policy has appends wait for that. After an error it is
    /// unknown whether they are.
    #[inline]
    pub fn settle(&self, end: &Mark) -> Result<()> {
        match &self.storage {
            Some(storage) if storage.waits_for_sync() => self.wait_stored(storage, end),
            _ => Ok(()),
        }
    }

    #[cold]
    fn wait_stored(&self, storage: &Storage, end: &Mark) -> Result<()> {
        let deadline = clock::instant().checked_add(self.disk_timeout);
        // Patient: `DISK_FULL` would say that the entry was not taken and may be offered again.
        storage.wait_synced(end.sequence, end.position, deadline, true).map_err(|error| {
            let text =
                format!("entry {} was taken, but whether it is durable is not known: {}", end.sequence, error.message);
            Error::new(error.status, text)
        })
    }

    /// Gives the appender a chunk with room for `size` bytes and `count` entries, as the policy allows.
    #[cold]
    fn next_chunk<'a>(
        &'a self,
        mut appender: MutexGuard<'a, Appender>,
        size: usize,
        count: usize,
    ) -> Result<MutexGuard<'a, Appender>> {
        // Readers of a stored log go on from the disk: only what is not written there holds the window.
        let patience = match (self.full_policy, &self.storage) {
            (FullPolicy::Wait(limit), _) => Some(limit),
            (FullPolicy::CutOffSlowest, Some(_)) => Some(self.disk_timeout),
            _ => None,
        };
        let deadline = patience.and_then(|patience| clock::instant().checked_add(patience));
        let cut_off = self.full_policy == FullPolicy::CutOffSlowest;
        loop {
            if appender.closed {
                return Err(Error::new(Status::Closed, "the sender was stopped"));
            }
            if let Some(reason) = &appender.refused {
                return Err(reason.clone());
            }
            // Another thread may have opened a chunk meanwhile.
            if appender.quota >= count && appender.writer.as_ref().is_some_and(|w| w.room() >= size) {
                return Ok(appender);
            }
            let hold = match &self.storage {
                Some(storage) => Hold::Until(storage.written()),
                None if cut_off => Hold::Nothing,
                None => Hold::Cursors,
            };
            let opened = self.memory.window.lock().open_chunk(size, count, &appender.end, hold);
            match opened {
                Ok((writer, quota)) => {
                    appender.writer = Some(writer);
                    appender.quota = quota;
                    return Ok(appender);
                }
                Err(NoRoom::NoMemory { bytes }) => {
                    return Err(Error::out_of_memory(format_args!("a chunk of {bytes} bytes")));
                }
                Err(NoRoom::Held { until, plenty }) => {
                    if patience.is_none() {
                        return Err(self.full(appender.end.sequence, false));
                    }
                    if deadline.is_some_and(|deadline| clock::instant() >= deadline) {
                        return Err(self.full(appender.end.sequence, true));
                    }
                    // For a moment it waits for room for several chunks: two threads that wake each other for every
                    // single one do little else.
                    let moment = clock::instant() + MOMENT;
                    let moment = deadline.map_or(moment, |deadline| deadline.min(moment));
                    appender = self.wait_for(appender, plenty, Some(moment));
                    if clock::instant() >= moment {
                        appender = self.wait_for(appender, until, deadline);
                    }
                }
            }
        }
    }

    /// Waits until nothing before `position` is needed in memory, the log closes, or the deadline passes.
    fn wait_for<'a>(
        &'a self,
        appender: MutexGuard<'a, Appender>,
        position: u64,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, Appender> {
        // From now on, whoever passes `position` takes the lock and signals. The least position counts: another append
        // may wait for less.
        self.memory.wanted.fetch_min(position, Ordering::SeqCst);
        let needed = self.storage.as_ref().map_or_else(|| self.memory.window.lock().slowest(), Storage::written);
        if appender.closed || appender.refused.is_some() || needed >= position {
            return appender;
        }
        self.memory.room.wait(appender, deadline)
    }

    fn full(&self, last_sequence: u64, waited: bool) -> Error {
        Error::new(
            Status::BufferFull,
            format!(
                "buffer full ({} entries, {} bytes) after sequence {last_sequence}: the {} its oldest entries{}",
                self.max_entries,
                self.max_bytes,
                if self.storage.is_some() { "disk has not taken" } else { "slowest reader still needs" },
                if waited { ", and the time to wait is over" } else { "" }
            ),
        )
    }
}

#[cfg(all(test, not(model)))]
mod tests;
