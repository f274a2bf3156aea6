//! # Callbacks
//!
//! The host's functions, and the owners of their `user_data`.

use std::ffi::{c_char, c_int, c_void};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::args::{close, duplicate_socket, invalid};
use super::guard::boxed;
use super::records::RecordsHandle;
use super::status::c_string;
use crate::error::{Error, Status};
use crate::host::{Event, Observer};
pub use crate::host::{EventKind, LogLevel};
use crate::protocol::entry::{Entries, Entry, Walked};
use crate::protocol::handshake::Point;
use crate::receiver::config::{ApplyFailure, Connect, Handler, LocalWal, Place};
use crate::sender::{Acked, AckedCall};
use crate::text;

/// Bytes of the caller. The layout is frozen.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct SliceView {
    /// The first byte; not read if `len` is 0.
    pub data: *const u8,
    /// The number of bytes.
    pub len: usize,
}

/// An entry, as passed to a batch handler. The layout is frozen.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct EntryView {
    /// Its sequence; rises from entry to entry.
    pub sequence: u64,
    /// Microseconds since the Unix epoch, as set by the writer's host.
    pub timestamp_us: u64,
    /// The payload; never NULL.
    pub payload: *const u8,
    /// Its length in bytes; may be 0.
    pub payload_len: usize,
}

/// An event. New fields are only added at the end. Strings are never NULL, and "" if unknown. docs/embedding.md lists
/// the fields' contents for each kind.
#[repr(C)]
pub struct EventView {
    /// sizeof(replication_event) in the library; read no field beyond it.
    pub struct_size: usize,
    /// A replication_event_kind. Ignore unknown kinds.
    pub kind: i32,
    /// A replication_status, the reason; `REPLICATION_STATUS_OK` if nothing failed.
    pub status: i32,
    /// The entry concerned; 0 if none.
    pub sequence: u64,
    /// The exact reader id. It may contain invisible characters, which other texts escape.
    pub reader_id: *const c_char,
    /// The peer's address.
    pub address: *const c_char,
    /// A sentence for people.
    pub message: *const c_char,
    /// A JSON object for programs.
    pub detail_json: *const c_char,
    /// Who the peer is, as far as the connection proves it, or "none". See docs/events.md.
    pub identity: *const c_char,
}

/// Applies one entry. Return 0 if it is applied, any other number if not; the apply policy then decides. The number
/// `REPLICATION_STATUS_CLOSED` means that the host is shutting down: the entry is then always retried, never skipped.
/// `payload` is never NULL.
pub type IngestFn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        sequence: u64,
        timestamp_us: u64,
        payload: *const u8,
        payload_len: usize,
    ) -> i32,
>;

/// Applies `count` entries, at least one, in order. Return 0 if all are applied. If one fails, set `*applied`, which is
/// 0 before the call, to the number of entries applied before it and return another number, as for a
/// replication_ingest_fn. If `*applied` is `count`, the call succeeds.
pub type IngestBatchFn = Option<
    unsafe extern "C" fn(user_data: *mut c_void, entries: *const EntryView, count: usize, applied: *mut usize) -> i32,
>;

/// Applies one entry with its msgpack payload decoded. Return as for a replication_ingest_fn. It is not called for a
/// payload that replication_records_parse_within() would refuse with the limit of
/// receiver_config_set_records_max_bytes(): such an entry fails as if the handler had returned
/// `REPLICATION_STATUS_DECODE_FAILED`, or `REPLICATION_STATUS_OUT_OF_MEMORY` if memory runs out.
pub type RecordFn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        sequence: u64,
        timestamp_us: u64,
        records: *const RecordsHandle<'_>,
    ) -> i32,
>;

/// Connects to the writer. Return a connected stream socket, which the library owns, or -1.
pub type ConnectFn = Option<unsafe extern "C" fn(user_data: *mut c_void, writer_addr: *const c_char) -> c_int>;

/// Receives an event.
pub type EventFn = Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const EventView)>;

/// Receives a log record: a replication_log_level, a text, and a JSON object; never NULL.
pub type LogFn = Option<
    unsafe extern "C" fn(user_data: *mut c_void, level: i32, message: *const c_char, fields_json: *const c_char),
>;

/// Receives the result of a sender_on_acked() call: `REPLICATION_STATUS_OK`, `_TIMEOUT` or `_CLOSED`, and how many readers
/// have acknowledged the entry.
pub type AckedFn = Option<unsafe extern "C" fn(user_data: *mut c_void, status: i32, readers: usize)>;

/// Frees `user_data`. Called once, after the last call of the callback.
pub type FreeFn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// A nullable function of the host; `Call` is the same without NULL. The header generator understands `Option` around a
/// function type only where it is written out, so the aliases above include it, and this trait removes it.
pub(crate) trait Function {
    type Call: Copy;
}

impl<C: Copy> Function for Option<C> {
    type Call = C;
}

/// The host's data of one registration, and the duty to free it.
struct Foreign {
    user_data: *mut c_void,
    free: FreeFn,
}

impl Drop for Foreign {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the host registered both together, and this is the only place that frees.
            unsafe { free(self.user_data) };
        }
    }
}

/// A function of the host with its data.
pub(crate) struct Callback<F: Function> {
    call: F::Call,
    foreign: Foreign,
}

// SAFETY: the header tells the host that callbacks run on another thread than the one that registered them, and that
// `user_data` and `user_data_free` must bear that.
unsafe impl<F: Function> Send for Callback<F> {}
// SAFETY: shared owners only keep the callback alive; the one adapter made from it calls, from one thread at a time.
unsafe impl<F: Function> Sync for Callback<F> {}

impl<F: Function> Callback<F> {
    /// Takes ownership of `user_data`. Every function that registers a callback does this first, so that
    /// `user_data_free` runs whatever happens afterwards. Returns `None` if the host gave no function; then it has run
    /// already.
    pub(crate) fn new(call: Option<F::Call>, user_data: *mut c_void, free: FreeFn) -> Option<Arc<Self>> {
        Self::unshared(call, user_data, free).map(Arc::new)
    }

    /// Like [`new`](Self::new), for a callback with a single owner. Does not allocate.
    pub(crate) fn unshared(call: Option<F::Call>, user_data: *mut c_void, free: FreeFn) -> Option<Self> {
        let foreign = Foreign { user_data, free };
        call.map(|call| Self { call, foreign })
    }

    fn user_data(&self) -> *mut c_void {
        self.foreign.user_data
    }

    /// The function and its data, for whoever calls it elsewhere.
    pub(crate) fn parts(&self) -> (F::Call, *mut c_void) {
        (self.call, self.user_data())
    }
}

/// A callback in a configuration.
pub(crate) enum CallbackSlot<F: Function> {
    Empty,
    Set(Arc<Callback<F>>),
    /// It belongs to the object that was created from the configuration.
    Moved,
}

impl<F: Function> From<Option<Arc<Callback<F>>>> for CallbackSlot<F> {
    fn from(callback: Option<Arc<Callback<F>>>) -> Self {
        callback.map_or(CallbackSlot::Empty, CallbackSlot::Set)
    }
}

impl<F: Function> CallbackSlot<F> {
    /// The callback for a new object. Fails if another object has it. `name`: the subject of its setter, for the text.
    pub(crate) fn share(&self, name: &str) -> crate::error::Result<Option<Arc<Callback<F>>>> {
        match self {
            CallbackSlot::Empty => Ok(None),
            CallbackSlot::Set(callback) => Ok(Some(Arc::clone(callback))),
            CallbackSlot::Moved => Err(Error::new(
                Status::InvalidState,
                format!("the {name} of this configuration belongs to the object made from it before: set another"),
            )),
        }
    }

    /// Leaves the callback to the object that was created.
    pub(crate) fn hand_over(&mut self) {
        if matches!(self, CallbackSlot::Set(_)) {
            *self = CallbackSlot::Moved;
        }
    }
}

/// Keeps the callbacks of a handle until the handle itself is freed, so that `user_data_free` runs where and when the host
/// frees it, and not when some thread of the core happens to end.
#[derive(Default)]
pub(crate) struct Owners(Vec<Arc<dyn Send + Sync>>);

impl Owners {
    /// Keeps the callback, if there is one, and returns it.
    pub(crate) fn keep<F: Function + 'static>(
        &mut self,
        callback: Option<Arc<Callback<F>>>,
    ) -> Option<Arc<Callback<F>>> {
        if let Some(callback) = &callback {
            self.0.push(Arc::clone(callback) as Arc<dyn Send + Sync>);
        }
        callback
    }
}

/// Whether the host has freed the handle from inside a callback. No callback begins after that.
#[derive(Clone, Default)]
pub(crate) struct Muted(Arc<AtomicBool>);

impl Muted {
    pub(crate) fn mute(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_muted(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A JSON object as text; anything else as an empty one.
fn json_object(value: &Value) -> String {
    if value.is_object() { text::json(value) } else { "{}".into() }
}

/// Passes events and log records to the host.
pub(crate) struct HostObserver {
    pub(crate) event: Option<Arc<Callback<EventFn>>>,
    pub(crate) log: Option<Arc<Callback<LogFn>>>,
    pub(crate) max_level: LogLevel,
    pub(crate) muted: Muted,
}

impl Observer for HostObserver {
    fn event(&mut self, event: &Event) {
        let Some(callback) = self.event.as_ref().filter(|_| !self.muted.is_muted()) else { return };
        let reader_id = c_string(event.reader_id.as_str());
        let address = c_string(event.address.as_str());
        let identity = c_string(event.identity.as_str());
        let message = c_string(event.message.as_str());
        let detail_json = c_string(json_object(&event.detail));
        let view = EventView {
            struct_size: size_of::<EventView>(),
            kind: event.kind as i32,
            status: event.status as i32,
            sequence: event.sequence,
            reader_id: reader_id.as_ptr(),
            address: address.as_ptr(),
            message: message.as_ptr(),
            detail_json: detail_json.as_ptr(),
            identity: identity.as_ptr(),
        };
        // SAFETY: the function and its data were registered together; the view and its texts outlive the call.
        unsafe { (callback.call)(callback.user_data(), &view) };
    }

    fn log(&mut self, level: LogLevel, message: &str, fields: &Value) {
        let Some(callback) = self.log.as_ref().filter(|_| level <= self.max_level && !self.muted.is_muted()) else {
            return;
        };
        let message = c_string(message);
        let fields = c_string(json_object(fields));
        // SAFETY: the function and its data were registered together; the texts outlive the call.
        unsafe { (callback.call)(callback.user_data(), level as i32, message.as_ptr(), fields.as_ptr()) };
    }

    fn max_level(&self) -> Option<LogLevel> {
        self.log.as_ref().map(|_| self.max_level)
    }
}

/// Passes the end of one wait to the host. The host's data is freed with the call, whether or not it was made.
pub(crate) fn acked(callback: Callback<AckedFn>, muted: Muted) -> crate::error::Result<AckedCall> {
    let call = boxed(move |acked: Acked| {
        if !muted.is_muted() {
            // SAFETY: the function and its data were registered together.
            unsafe { (callback.call)(callback.user_data(), acked.status as i32, acked.readers) };
        }
    })?;
    Ok(call)
}

fn failure(applied: usize, code: i32, message: impl Into<String>) -> ApplyFailure {
    ApplyFailure { applied, code, message: message.into() }
}

fn freed(applied: usize) -> ApplyFailure {
    failure(applied, Status::Closed as i32, "the receiver was freed")
}

/// Passes entries to the host, one in each call.
pub(crate) struct Ingest {
    pub(crate) callback: Arc<Callback<IngestFn>>,
    pub(crate) muted: Muted,
}

impl Ingest {
    #[inline]
    fn call(&self, entry: &Entry<'_>) -> i32 {
        // SAFETY: the function and its data were registered together; the payload outlives the call.
        unsafe {
            (self.callback.call)(
                self.callback.user_data(),
                entry.sequence,
                entry.timestamp_us,
                entry.payload.as_ptr(),
                entry.payload.len(),
            )
        }
    }

    /// The same function as the host's own log.
    pub(crate) fn into_local_wal(self) -> LocalWal {
        Box::new(move |entry| if self.muted.is_muted() { Status::Closed as i32 } else { self.call(entry) })
    }
}

impl Handler for Ingest {
    fn max_entries(&self) -> usize {
        1
    }

    #[inline]
    fn apply(&mut self, entries: &mut Entries<'_>, place: &Place<'_>) -> Result<(), ApplyFailure> {
        let mut applied = 0;
        while let Some(entry) = entries.next() {
            if self.muted.is_muted() {
                return Err(freed(applied));
            }
            place.reaches(&entries.walked());
            match self.call(&entry) {
                0 => applied += 1,
                code => return Err(failure(applied, code, "")),
            }
        }
        Ok(())
    }
}

/// The entries of the call that a batch handler is in.
#[derive(Clone, Default)]
pub(crate) struct RunningBatch(Arc<Mutex<Option<BatchBytes>>>);

struct BatchBytes {
    bytes: *const [u8],
    /// The position before them.
    before: Point,
}

// SAFETY: the bytes are read by the thread of the call only; see `RunningBatch::position`.
unsafe impl Send for BatchBytes {}

impl RunningBatch {
    fn set(&self, batch: Option<BatchBytes>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = batch;
    }

    /// The position after the first `applied` entries; `None` outside of a call.
    ///
    /// # Safety
    /// The calling thread is the one that calls the handler.
    pub(crate) unsafe fn position(&self, applied: usize) -> Option<crate::error::Result<Point>> {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let BatchBytes { bytes, before } = running.as_ref()?;
        // SAFETY: this thread is inside of the call, for which the entries live, and which removes them when it ends.
        let bytes = unsafe { &**bytes };
        let mut entries = Entries::new(bytes).with_history(before.hash).limit(applied);
        let count = entries.by_ref().count();
        if count < applied {
            return Some(Err(invalid(format!("applied is {applied}, the call has {count} entries"))));
        }
        let Walked { sequence, hash, .. } = entries.walked();
        Some(Ok(if applied == 0 { *before } else { Point { sequence, hash } }))
    }
}

/// Passes entries to the host, several in each call.
pub(crate) struct IngestBatch {
    callback: Arc<Callback<IngestBatchFn>>,
    muted: Muted,
    max_entries: usize,
    running: RunningBatch,
    /// Refilled by each call, and kept to save allocations.
    views: Vec<EntryView>,
}

// SAFETY: the views point into the entries of the running call only, and are dead between calls.
unsafe impl Send for IngestBatch {}

impl IngestBatch {
    pub(crate) fn new(
        callback: Arc<Callback<IngestBatchFn>>,
        max_entries: usize,
        muted: Muted,
        running: RunningBatch,
    ) -> Self {
        Self { callback, muted, max_entries, running, views: Vec::new() }
    }
}

impl Handler for IngestBatch {
    fn max_entries(&self) -> usize {
        self.max_entries
    }

    fn apply(&mut self, entries: &mut Entries<'_>, place: &Place<'_>) -> Result<(), ApplyFailure> {
        if self.muted.is_muted() {
            return Err(freed(0));
        }
        let run = *entries;
        self.views.clear();
        self.views.extend(entries.by_ref().map(|entry| EntryView {
            sequence: entry.sequence,
            timestamp_us: entry.timestamp_us,
            payload: entry.payload.as_ptr(),
            payload_len: entry.payload.len(),
        }));
        let count = self.views.len();
        if count == 0 {
            return Ok(());
        }
        let before = Point { sequence: self.views[0].sequence.saturating_sub(1), hash: run.walked().hash };
        let bytes = &run.rest()[..entries.walked().bytes - run.walked().bytes];
        place.reaches(&entries.walked());
        self.running.set(Some(BatchBytes { bytes, before }));
        let mut applied = 0;
        // SAFETY: the function and its data were registered together; the views and payloads outlive the call.
        let code =
            unsafe { (self.callback.call)(self.callback.user_data(), self.views.as_ptr(), count, &raw mut applied) };
        self.running.set(None);
        match code {
            0 => Ok(()),
            // A handler that has applied all of them has refused none, whatever it returns.
            _ if applied >= count => Ok(()),
            code => Err(failure(applied, code, "")),
        }
    }
}

/// Passes entries to the host, decoded.
pub(crate) struct RecordIngest {
    pub(crate) callback: Arc<Callback<RecordFn>>,
    pub(crate) muted: Muted,
    /// Memory for the records of an entry.
    pub(crate) max_bytes: u64,
}

impl Handler for RecordIngest {
    fn max_entries(&self) -> usize {
        1
    }

    fn apply(&mut self, entries: &mut Entries<'_>, place: &Place<'_>) -> Result<(), ApplyFailure> {
        let mut applied = 0;
        while let Some(entry) = entries.next() {
            if self.muted.is_muted() {
                return Err(freed(applied));
            }
            place.reaches(&entries.walked());
            let records = RecordsHandle::parse(entry.payload, self.max_bytes)
                .map_err(|error| failure(applied, error.status as i32, error.message))?;
            // SAFETY: the function and its data were registered together; the records outlive the call.
            let code = unsafe {
                (self.callback.call)(self.callback.user_data(), entry.sequence, entry.timestamp_us, &raw const records)
            };
            if code != 0 {
                return Err(failure(applied, code, ""));
            }
            applied += 1;
        }
        Ok(())
    }
}

/// The host's connect handler.
pub(crate) fn connect(callback: Arc<Callback<ConnectFn>>, muted: Muted) -> Connect {
    Box::new(move |writer_addr| {
        if muted.is_muted() {
            return Err(io::Error::other("the receiver was freed"));
        }
        let writer_addr = c_string(writer_addr);
        // SAFETY: the function and its data were registered together; the address outlives the call.
        let fd = unsafe { (callback.call)(callback.user_data(), writer_addr.as_ptr()) };
        if fd < 0 {
            return Err(io::Error::other(format!("the connect handler gave no socket: it returned {fd}")));
        }
        take_socket(fd)
    })
}

/// Takes a descriptor that the host gave away. One that is no stream socket is closed, as the host no longer will.
fn take_socket(fd: c_int) -> io::Result<OwnedFd> {
    let socket =
        duplicate_socket(fd, "the connect handler's descriptor").map_err(|error| io::Error::other(error.message));
    // SAFETY: `fcntl` with F_GETFD only asks.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1 {
        // SAFETY: it is open and the host gave it away.
        unsafe { close(fd) };
    }
    socket
}

#[cfg(test)]
mod tests;
