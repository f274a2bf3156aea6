//! The ordered log: the only queue between the host's writers and the readers' connections.
//!
//! An append takes one short lock, in which it numbers the entry and copies it into a chunk in the form that is sent.
//! Readers follow with cursors, which do not take that lock. The log knows nothing of networks, handles or protocol
//! versions.

mod buffer;
mod chunk;
mod cursor;
pub mod disk;
mod end_signal;
mod memory;
mod storage;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::clock;
use crate::error::{Error, Result, Status};
use crate::protocol::MAX_MESSAGE_SIZE;
use crate::protocol::entry::{ENTRY_HEADER_SIZE, MAX_PAYLOAD_BYTES, UNKNOWN_HISTORY, payload_crc};
use crate::sync::{Mutex, MutexGuard};
use buffer::{Buffer, NoRoom, Retain};
use disk::DiskLog;
use memory::{Appender, MemoryLog, exhausted};
use storage::Storage;

pub use crate::engine::disk::{RETRY, SyncPolicy};
pub use crate::engine::stall::DiskNews;
pub use buffer::{AttachError, Occupancy};
pub use cursor::{Cursor, CutWatch, MemoryRange, Next};
pub use disk::Mark;
pub use storage::Ended;
pub use upkeep::{Upkeep, UpkeepNews};

/// What an append does when the buffer is full and a connected reader still needs its oldest entries. With a log on disk
/// it is the disk that needs them: readers go on from the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullPolicy {
    /// Cut off the slowest readers: their connections end with `SEQUENCE_GAP`. A disk is waited for, up to
    /// `wal_timeout`.
    CutOffSlowest,
    /// Refuse the new entry with `BUFFER_FULL`.
    Refuse,
    /// Wait up to this time for the slowest reader or the disk, then refuse.
    Wait(Duration),
}

/// The bounds of a log, and where it begins.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    /// The most entries that memory keeps.
    pub max_entries: usize,
    /// The most bytes that memory keeps.
    pub max_bytes: u64,
    /// What an append does when a bound is reached.
    pub full_policy: FullPolicy,
    /// The boundary before the first entry. A stored log continues at the end of the log on disk instead.
    pub start: Mark,
    /// How long an append waits for the disk.
    pub disk_timeout: Duration,
}

impl LogConfig {
    /// An empty log with these bounds.
    pub fn new(max_entries: usize, max_bytes: u64, full_policy: FullPolicy) -> Self {
        Self { max_entries, max_bytes, full_policy, start: Mark::default(), disk_timeout: Duration::from_secs(5) }
    }
}

/// How long a waiting append waits for room for several chunks, before it is content with one.
const MOMENT: Duration = Duration::from_millis(1);

/// The log. Appends may come from any thread.
pub struct Log {
    memory: MemoryLog,
    storage: Option<Storage>,
    full_policy: FullPolicy,
    max_bytes: u64,
    max_entries: usize,
    disk_timeout: Mutex<Duration>,
}

impl Log {
    /// An empty log in memory.
    pub fn new(config: LogConfig) -> Self {
        Self::with(config, None)
    }

    /// A log that continues the one on disk. A thread has to call [`Self::store`].
    pub fn stored(mut config: LogConfig, disk: DiskLog, policy: SyncPolicy) -> Self {
        config.start = disk.written();
        Self::with(config, Some(Storage::new(disk, policy)))
    }

    fn with(config: LogConfig, storage: Option<Storage>) -> Self {
        let buffer = Buffer::new(config.max_entries, config.max_bytes, config.start.sequence);
        Self {
            memory: MemoryLog::new(buffer, config.start),
            storage,
            full_policy: config.full_policy,
            max_bytes: config.max_bytes,
            max_entries: config.max_entries,
            disk_timeout: Mutex::new(config.disk_timeout),
        }
    }

    /// Appends one entry and returns its sequence. Waits until the entry is durable if the sync policy says so.
    #[inline]
    pub fn append(&self, timestamp_us: u64, payload: &[u8]) -> Result<u64> {
        let end = self.put(timestamp_us, payload)?;
        self.wait_synced(&end)?;
        Ok(end.sequence)
    }

    /// Appends one entry and returns the boundary after it, which must be passed to [`Self::wait_synced`]. Copies the
    /// payload. Waits for a reader only under [`FullPolicy::Wait`], and for the disk also under
    /// [`FullPolicy::CutOffSlowest`].
    // In each caller: a call that returns this result costs a tenth of an entry.
    #[inline(always)]
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

    /// Appends entries with consecutive sequences, all or none, and returns the first sequence (without entries, the
    /// next one). Waits until they are durable if the sync policy says so.
    pub fn append_batch<'a>(
        &self,
        timestamp_us: u64,
        payloads: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> Result<u64> {
        let (first, end) = self.put_batch(timestamp_us, payloads)?;
        self.wait_synced(&end)?;
        Ok(first)
    }

    /// Appends entries with consecutive sequences, all or none. Returns the first sequence (without entries, the next
    /// one) and the boundary after them, which must be passed to [`Self::wait_synced`].
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

    /// The last entry that cursors may see. While the end moves this may be an earlier one, but never a later one: a
    /// cursor that is at the end after this call has passed it.
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
        self.memory.end_signal.end()
    }

    /// Places a cursor after the entry `last_known`, or says why it cannot.
    pub fn attach(self: &Arc<Self>, last_known: u64) -> std::result::Result<Cursor, AttachError> {
        let end = self.memory.appender.lock().end;
        let mut buffer = self.memory.buffer.lock();
        let start = match (buffer.locate(last_known, end), &self.storage) {
            (Err(AttachError::Gone { .. }), Some(storage)) => {
                drop(buffer);
                let start = storage.locate(last_known)?;
                buffer = self.memory.buffer.lock();
                start
            }
            (located, _) => located?,
        };
        // Under the same lock, so that no append evicts a chunk between the search and the registration.
        let state = buffer.register(start.position);
        drop(buffer);
        Ok(Cursor::new(Arc::clone(self), state, start))
    }

    /// The boundary after the entry `sequence`, if it is in memory.
    pub fn find_in_memory(&self, sequence: u64) -> std::result::Result<Mark, AttachError> {
        let end = self.memory.appender.lock().end;
        self.memory.buffer.lock().locate(sequence, end)
    }

    /// The chain hash through the entry `sequence`; `None` if the log no longer has that entry, or not yet. Reads from
    /// disk if the entry is no longer in memory.
    pub fn hash_at(&self, sequence: u64) -> Result<Option<u64>> {
        let found = match (self.find_in_memory(sequence), &self.storage) {
            (Err(AttachError::Gone { .. }), Some(storage)) => storage.locate(sequence),
            (found, _) => found,
        };
        match found {
            Ok(mark) => Ok(Some(mark.hash).filter(|hash| *hash != UNKNOWN_HISTORY)),
            Err(AttachError::Gone { .. } | AttachError::Ahead { .. }) => Ok(None),
            Err(AttachError::Failed(error)) => Err(error),
        }
    }

    /// So long may an append wait for the disk from now on.
    pub fn set_disk_timeout(&self, timeout: Duration) {
        *self.disk_timeout.lock() = timeout;
    }

    /// So much of a log on disk is kept from now on, unless a slot holds more.
    pub fn set_retention(&self, bytes: u64, age: Duration) {
        if let Some(disk) = self.disk() {
            disk.set_retention(bytes, age);
        }
    }

    /// How full the buffer is.
    pub fn occupancy(&self) -> Occupancy {
        self.memory.buffer.lock().occupancy(self.last_sequence())
    }

    /// The sequence before the oldest retained entry. A reader must have at least this entry to get all later ones.
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
        self.memory.buffer.lock().timestamp_after(sequence)
    }

    /// Bytes of the chunks from `position` on, which count towards `max_bytes`.
    pub fn bytes_from(&self, position: u64) -> u64 {
        self.memory.buffer.lock().bytes_from(position)
    }

    /// The sequence of the last entry that ends at or before `position`, which must be an entry's boundary; `None` when
    /// memory no longer has that position.
    pub fn sequence_before(&self, position: u64) -> Option<u64> {
        // With the lock held, no append is half done.
        let appender = self.memory.appender.lock();
        self.memory.buffer.lock().sequence_before(position, &appender.end)
    }

    /// Refuses every later append. Appends that wait return an error.
    pub fn close(&self) {
        self.memory.appender.lock().closed = true;
        self.memory.room.notify_all();
        if let Some(storage) = &self.storage {
            storage.close();
        }
    }

    /// Resolves when the end has moved while a cursor slept there. One task awaits this and wakes the owners of all
    /// cursors.
    pub async fn end_moved(&self) {
        self.memory.end_moved.notified().await;
    }

    /// Registers a sleeper at `position`. Returns `true` if the log still ends there: the next append will resolve
    /// [`Self::end_moved`].
    pub fn sleep_at(&self, position: u64) -> bool {
        self.memory.end_signal.announce(position)
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
        // First, because a reader may acknowledge an entry as soon as it is published.
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
                None => self.memory.end_moved.notify_one(),
            }
        }
        end
    }

    /// Waits until the entries before `end` are durable, if the sync policy says so. After an error it is not known
    /// whether they are.
    #[inline]
    pub fn wait_synced(&self, end: &Mark) -> Result<()> {
        match &self.storage {
            Some(storage) if storage.waits_for_sync() && !mutant!("append-before-sync") => {
                self.wait_stored(storage, end)
            }
            _ => Ok(()),
        }
    }

    #[cold]
    fn wait_stored(&self, storage: &Storage, end: &Mark) -> Result<()> {
        let deadline = clock::instant().checked_add(*self.disk_timeout.lock());
        // Patient: `DISK_FULL` would tell the host that the entry was not taken and may be appended again.
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
        // Readers of a stored log continue from disk, so only entries that are not written yet keep their chunks in
        // memory.
        let patience = match (self.full_policy, &self.storage) {
            (FullPolicy::Wait(limit), _) => Some(limit),
            (FullPolicy::CutOffSlowest, Some(_)) => Some(*self.disk_timeout.lock()),
            _ => None,
        };
        let deadline = patience.and_then(|patience| clock::instant().checked_add(patience));
        let cut_off = self.full_policy == FullPolicy::CutOffSlowest && !mutant!("slowest-reader-holds-all");
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
                Some(storage) => Retain::Until(storage.written()),
                None if cut_off => Retain::Nothing,
                None => Retain::Cursors,
            };
            let opened = self.memory.buffer.lock().open_chunk(size, count, &appender.end, hold);
            match opened {
                Ok((writer, quota)) => {
                    appender.writer = Some(writer);
                    appender.quota = quota;
                    return Ok(appender);
                }
                Err(NoRoom::NoMemory { bytes }) => {
                    // The buffer may have let go of the chunk that was written to, so nothing more may come into it.
                    (appender.writer, appender.quota) = (None, 0);
                    return Err(Error::out_of_memory(format_args!("a chunk of {bytes} bytes")));
                }
                Err(NoRoom::Held { until, plenty }) => {
                    if patience.is_none() {
                        if mutant!("refused-entry-takes-a-sequence") {
                            appender.end.sequence += 1;
                        }
                        return Err(self.full(appender.end.sequence, false));
                    }
                    if deadline.is_some_and(|deadline| clock::instant() >= deadline) {
                        return Err(self.full(appender.end.sequence, true));
                    }
                    // First for room for several chunks: an append and a reader that wake each other for every chunk do
                    // little else.
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
        // From now on, a cursor that passes `position` takes the lock and signals. The lowest position counts, because
        // another append may wait for less.
        self.memory.wanted.fetch_min(position, Ordering::SeqCst);
        let needed = self.storage.as_ref().map_or_else(|| self.memory.buffer.lock().slowest(), Storage::written);
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

#[cfg(all(test, not(feature = "model")))]
mod tests;
