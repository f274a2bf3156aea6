//! The ordered log: the only queue between the host's writers and the readers' connections.
//!
//! An entry gets its sequence and its place in one step under one short lock, and lies there as it travels. Readers
//! follow with cursors and take no part in that lock. The log knows nothing of networks, handles or protocol versions.

mod bell;
mod chunk;
mod cursor;
pub mod disk;
mod sync;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::error::{Error, Result, Status};
use crate::protocol::MAX_MESSAGE_SIZE;
use crate::protocol::entry::{ENTRY_HEADER_SIZE, MAX_PAYLOAD_BYTES, encode_header, payload_crc};
use crate::sync::{Condvar, Mutex, MutexGuard};
use bell::Bell;
use chunk::ChunkWriter;
use window::{NoRoom, Window};

pub use cursor::{Cursor, CutWatch, Next, Span};
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
    /// The sequence before the first entry.
    pub last_sequence: u64,
}

/// How long an append that has to wait waits for more room than it needs.
const MOMENT: Duration = Duration::from_millis(1);

/// The append side. Whoever holds the lock is the writer.
struct Appender {
    writer: Option<ChunkWriter>,
    /// Entries the current chunk may still take.
    quota: usize,
    last_sequence: u64,
    /// The position behind the last entry.
    end: u64,
    closed: bool,
}

/// The log. Appends may come from any thread.
pub struct Log {
    appender: Mutex<Appender>,
    /// Signalled, with the appender's lock, when a cursor left what an append waits for.
    room: Condvar,
    window: Mutex<Window>,
    shared: Shared,
    full_policy: FullPolicy,
    max_bytes: u64,
    max_entries: usize,
}

/// What appends and cursors share without a lock.
struct Shared {
    bell: Bell,
    last_sequence: AtomicU64,
    /// The position an append waits for the slowest cursor to pass; `u64::MAX` when none waits.
    wanted: AtomicU64,
    /// Rung when the end moved while a cursor slept.
    rung: Notify,
}

impl Log {
    /// An empty log within these bounds.
    pub fn new(config: LogConfig) -> Self {
        Self {
            appender: Mutex::new(Appender {
                writer: None,
                quota: 0,
                last_sequence: config.last_sequence,
                end: 0,
                closed: false,
            }),
            room: Condvar::new(),
            window: Mutex::new(Window::new(config.max_entries, config.max_bytes, config.last_sequence)),
            shared: Shared {
                bell: Bell::new(0),
                last_sequence: config.last_sequence.into(),
                wanted: u64::MAX.into(),
                rung: Notify::new(),
            },
            full_policy: config.full_policy,
            max_bytes: config.max_bytes,
            max_entries: config.max_entries,
        }
    }

    /// Appends one entry and returns its sequence. Copies the payload; never waits for a reader unless the policy says
    /// so.
    #[inline]
    pub fn append(&self, timestamp_us: u64, payload: &[u8]) -> Result<u64> {
        let crc = payload_crc(payload);
        let size = ENTRY_HEADER_SIZE + payload.len();
        let mut appender = self.appender.lock();
        if appender.quota == 0 || appender.closed || appender.writer.as_ref().is_none_or(|w| w.room() < size) {
            self.check_payload(payload.len())?;
            appender = self.next_chunk(appender, size, 1)?;
        }
        let sequence = appender.put(crc, timestamp_us, payload)?;
        let wake = self.publish(&mut appender);
        drop(appender);
        if wake {
            self.shared.rung.notify_one();
        }
        Ok(sequence)
    }

    /// Appends entries with consecutive sequences, all or none, and returns the first sequence (of the next entry when
    /// there are none).
    pub fn append_batch<'a>(
        &self,
        timestamp_us: u64,
        payloads: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> Result<u64> {
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
        let mut appender = self.appender.lock();
        if appender.quota < count || appender.closed || appender.writer.as_ref().is_none_or(|w| w.room() < size) {
            appender = self.next_chunk(appender, size, count)?;
        }
        let first = appender.last_sequence.wrapping_add(1);
        for payload in payloads {
            appender.put(payload_crc(payload), timestamp_us, payload)?;
        }
        let wake = self.publish(&mut appender);
        drop(appender);
        if wake {
            self.shared.rung.notify_one();
        }
        Ok(first)
    }

    /// The sequence of the last entry.
    #[inline]
    pub fn last_sequence(&self) -> u64 {
        self.shared.last_sequence.load(Ordering::Acquire)
    }

    /// The position behind the last entry, in bytes since the log began.
    pub fn end(&self) -> u64 {
        self.shared.bell.end()
    }

    /// Places a cursor behind the entry `last_known`, so that it gives every entry after it; or says why it cannot.
    pub fn attach(self: &Arc<Self>, last_known: u64) -> std::result::Result<Cursor, AttachError> {
        let mut window = self.window.lock();
        let place = window.locate(last_known, self.last_sequence(), self.end())?;
        Ok(Cursor::new(Arc::clone(self), window.register(place)))
    }

    /// How full the window is.
    pub fn occupancy(&self) -> Occupancy {
        self.window.lock().occupancy(self.last_sequence())
    }

    /// The oldest retained sequence; 0 when there is none.
    pub fn first_sequence(&self) -> u64 {
        let occupancy = self.occupancy();
        if occupancy.entries > 0 { occupancy.oldest_known + 1 } else { 0 }
    }

    /// The timestamp of the first retained entry after `sequence`, if there is one.
    pub fn timestamp_after(&self, sequence: u64) -> Option<u64> {
        self.window.lock().timestamp_after(sequence)
    }

    /// Memory that is held from `position` on, of the `max_bytes` there may be.
    pub fn bytes_from(&self, position: u64) -> u64 {
        self.window.lock().bytes_from(position)
    }

    /// The sequence of the last entry that ends at or before `position`, which must be an entry's boundary; `None` when
    /// that place is gone from memory.
    pub fn sequence_before(&self, position: u64) -> Option<u64> {
        // With the lock, no entry is between its sequence and its place.
        let appender = self.appender.lock();
        self.window.lock().sequence_before(position, appender.last_sequence)
    }

    /// Refuses every later append, and ends the ones that wait.
    pub fn close(&self) {
        self.appender.lock().closed = true;
        self.room.notify_all();
    }

    /// Resolves when the end moved while somebody slept at it. One task waits here and wakes the cursors' owners.
    pub async fn rung(&self) {
        self.shared.rung.notified().await;
    }

    /// Announces a sleeper at `position`. `true`: nothing lies behind it yet, and the next append will ring.
    pub fn sleep_at(&self, position: u64) -> bool {
        self.shared.bell.announce(position)
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

    #[inline]
    fn publish(&self, appender: &mut Appender) -> bool {
        // In this order: a cursor sees entries as soon as they are published, and its reader may acknowledge them before
        // this thread runs on.
        self.shared.last_sequence.store(appender.last_sequence, Ordering::Release);
        if let Some(writer) = &mut appender.writer {
            writer.publish();
        }
        self.shared.bell.advance(appender.end)
    }

    /// Gives the appender a chunk with room for `size` bytes and `count` entries, as the policy allows.
    #[cold]
    fn next_chunk<'a>(
        &'a self,
        mut appender: MutexGuard<'a, Appender>,
        size: usize,
        count: usize,
    ) -> Result<MutexGuard<'a, Appender>> {
        let deadline = match self.full_policy {
            FullPolicy::Wait(limit) => Instant::now().checked_add(limit),
            _ => None,
        };
        let cut_off = self.full_policy == FullPolicy::CutOffSlowest;
        loop {
            if appender.closed {
                return Err(Error::new(Status::Closed, "the sender was stopped"));
            }
            // Another thread may have opened a chunk while this one waited.
            if appender.quota >= count && appender.writer.as_ref().is_some_and(|w| w.room() >= size) {
                return Ok(appender);
            }
            let opened = self.window.lock().open_chunk(size, count, appender.end, appender.last_sequence, cut_off);
            match opened {
                Ok((writer, quota)) => {
                    appender.writer = Some(writer);
                    appender.quota = quota;
                    return Ok(appender);
                }
                Err(NoRoom::NoMemory { bytes }) => {
                    return Err(Error::new(Status::OutOfMemory, format!("no memory for a chunk of {bytes} bytes")));
                }
                Err(NoRoom::Held { until, plenty }) => {
                    let FullPolicy::Wait(_) = self.full_policy else {
                        return Err(self.full(appender.last_sequence, false));
                    };
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Err(self.full(appender.last_sequence, true));
                    }
                    // For a moment it waits for room for several chunks: two threads that wake each other for every
                    // single one do little else.
                    let moment = Instant::now() + MOMENT;
                    let moment = deadline.map_or(moment, |deadline| deadline.min(moment));
                    appender = self.wait_for(appender, plenty, Some(moment));
                    if Instant::now() >= moment {
                        appender = self.wait_for(appender, until, deadline);
                    }
                }
            }
        }
    }

    /// Waits until no cursor is before `position`, the log closes or the time is over.
    fn wait_for<'a>(
        &'a self,
        appender: MutexGuard<'a, Appender>,
        position: u64,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, Appender> {
        // From here on the cursors look: the one that passes `position` takes the lock and signals.
        self.shared.wanted.store(position, Ordering::SeqCst);
        if appender.closed || self.window.lock().slowest() >= position {
            return appender;
        }
        self.room.wait(appender, deadline)
    }

    fn full(&self, last_sequence: u64, waited: bool) -> Error {
        Error::new(
            Status::BufferFull,
            format!(
                "buffer full ({} entries, {} bytes) after sequence {last_sequence}: the slowest reader still needs its oldest entries{}",
                self.max_entries,
                self.max_bytes,
                if waited { ", and the time to wait is over" } else { "" }
            ),
        )
    }

    /// Called by a cursor that moved to `position`.
    fn passed(&self, position: u64) {
        if position >= self.shared.wanted.load(Ordering::SeqCst) {
            // With the lock, the append is either before its look at the cursors or already waiting.
            let appender = self.appender.lock();
            self.shared.wanted.store(u64::MAX, Ordering::SeqCst);
            drop(appender);
            self.room.notify_all();
        }
    }
}

impl Appender {
    /// Writes one entry behind the last one. The chunk was made to have room.
    #[inline]
    fn put(&mut self, crc: u32, timestamp_us: u64, payload: &[u8]) -> Result<u64> {
        let previous = self.last_sequence;
        let (Some(writer), Some(sequence)) = (&mut self.writer, previous.checked_add(1)) else {
            return Err(Error::new(Status::InvalidState, format!("no sequence is left after {previous}")));
        };
        writer.write(&encode_header(crc, payload.len(), sequence, previous, timestamp_us));
        writer.write(payload);
        self.end += (ENTRY_HEADER_SIZE + payload.len()) as u64;
        self.quota -= 1;
        self.last_sequence = sequence;
        Ok(sequence)
    }
}

#[cfg(all(test, not(model)))]
mod tests;
