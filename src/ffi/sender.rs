//! # Sender
//!
//! The writer's end.

use std::ffi::{c_char, c_int};

use super::args::{
    close, duplicate_socket, invalid, payload as checked_payload, put_lineage, put_optional,
    reader_id as checked_reader_id, required, text,
};
use super::callbacks::{HostObserver, Muted, Owners, SliceView};
use super::guard::{Guarded, HandleState, boxed, guard, guard_free, is_null, query, release, room_for_a_handle};
use super::reaper;
use super::sender_config::{SenderConfigHandle, SenderConfigState};
use super::status::c_string;
use crate::error::{Error, Result, Status};
use crate::host::Silent;
use crate::sender::Sender;
use crate::sender::config::SenderConfig;

/// The writer's end: takes entries and serves them to readers. Made by sender_new(). Any thread may call any function on
/// it at any time, until sender_free().
pub struct SenderHandle {
    gate: HandleState,
    pub(super) core: Sender,
    pub(super) muted: Muted,
    /// Dropped after the core.
    _owners: Owners,
}

const _: () = {
    const fn shared_between_threads<T: Send + Sync>() {}
    shared_between_threads::<SenderHandle>();
};

impl Guarded for SenderHandle {
    const NAME: &'static str = "sender";
    fn gate(&self) -> &HandleState {
        &self.gate
    }
}

impl SenderHandle {
    fn with_defaults() -> Result<Self> {
        let gate = HandleState::new()?;
        let core = Sender::new(SenderConfig::default(), Box::new(Silent))?;
        Ok(Self { gate, core, muted: Muted::default(), _owners: Owners::default() })
    }

    fn configured(config: &mut SenderConfigState) -> Result<Self> {
        let gate = HandleState::new()?;
        let muted = Muted::default();
        let mut owners = Owners::default();
        let observer = HostObserver {
            event: owners.keep(config.event.share("event handler")?),
            log: owners.keep(config.log.share("log handler")?),
            max_level: config.max_level,
            muted: muted.clone(),
        };
        let storage = (!config.storage.dir.as_os_str().is_empty()).then(|| config.storage.clone());
        let core = Sender::new(SenderConfig { storage, ..config.core.clone() }, Box::new(observer))?;
        config.event.hand_over();
        config.log.hand_over();
        Ok(Self { gate, core, muted, _owners: owners })
    }

    pub(crate) fn core(&self) -> &Sender {
        &self.core
    }

    pub(crate) fn may_wait(&self, what: &str) -> Result<()> {
        if self.core.on_callback_thread() { Err(wrong_thread(what)) } else { Ok(()) }
    }

    fn stop(&self) {
        // There is nobody left to tell; what was not delivered was reported as an event.
        let _ = self.core.stop();
    }
}

#[cold]
pub(crate) fn wrong_thread(what: &str) -> Error {
    Error::new(
        Status::WrongThread,
        format!("{what} waits for the thread it was called from: a callback of this handle"),
    )
}

/// Makes a sender that does not run yet.
///
/// - `config`: copied; NULL means all defaults. Its callbacks move to the sender, so a second sender needs a
///   configuration with callbacks of its own, or none.
/// - `out`: the sender, to be freed with sender_free().
///
/// Returns `OK`; `INVALID_ARGUMENT` for a NULL `out` or options that contradict each other; `INVALID_STATE` when the
/// callbacks of `config` belong to an earlier sender; `OUT_OF_MEMORY` when the system does not give 256 KiB, which are
/// asked for first and given back; `IO` when it has no random bytes. With sender_config_set_wal_dir() also: `LOCKED`
/// when another process has the directory; `DAMAGED` for files that are not as this library wrote them (nothing is
/// changed then); `DIVERGED` when they belong to another stream than the one that is set, or to a later epoch of it;
/// `REGRESSED` when they end before the sequence that is set with it (`INVALID_ARGUMENT` for one without a stream);
/// `IO` and `DISK_FULL`. After a failure the callbacks still belong to `config`.
///
/// # Safety
/// `config` is NULL or came from sender_config_new() and is not freed; `out` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_new(config: *const SenderConfigHandle, out: *mut *mut SenderHandle) -> Status {
    let give = |sender: SenderHandle| {
        let sender = boxed(sender)?;
        // SAFETY: checked to be not NULL before the sender is made, and the caller promises the room.
        unsafe { out.write(Box::into_raw(sender)) };
        Ok(())
    };
    if config.is_null() {
        return guard_free(|| {
            required(out, "out")?;
            room_for_a_handle()?;
            give(SenderHandle::with_defaults()?)
        });
    }
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            required(out, "out")?;
            room_for_a_handle()?;
            give(SenderHandle::configured(&mut config.state())?)
        })
    }
}

/// Starts the threads of a sender. Entries and readers can be given to it from now on.
///
/// Returns `OK`; `INVALID_STATE` when it was started before; `CLOSED` after sender_stop(); `IO` when the system gives
/// no threads; if some had begun, the sender is stopped: free it and make another.
///
/// # Safety
/// `sender` came from sender_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_start(sender: *mut SenderHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core.start()) }
}

/// Accepts readers at an address. May be called for many addresses.
///
/// - `address`: "host:port", where port 0 takes any free one and an IPv6 address is in brackets; "unix:/path"; or "unix:@name"
///   for a Unix socket in the abstract namespace.
/// - `out_port`: the port, 0 for a Unix socket; may be NULL.
///
/// Every address that a host name has is bound, all to one port. One that this machine does not have is reported in an event
/// LISTEN_INCOMPLETE. "[::]:port" takes IPv4 as well, unless the system is set up otherwise (net.ipv6.bindv6only).
///
/// A path is made absolute now. The file of a Unix socket has the permissions of sender_config_set_unix_socket_mode(). One that
/// a killed process left behind is replaced; of several processes that start there at once, one gets it. It is removed with
/// the sender, unless it is another one by then. While it is removed or replaced, which an event LISTEN_INCOMPLETE tells, no
/// reader finds this sender by it.
///
/// A connection that takes one of the last 16 descriptors below the process's limit (RLIMIT_NOFILE) is closed again, with an
/// event DESCRIPTORS_LOW, at most one a second.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL or text that is not UTF-8; `BAD_ADDRESS` when it does not parse or
/// resolve, or when this machine has none of its addresses; `ADDRESS_IN_USE`; `IO` with the errno for anything else
/// that the system refuses; `INVALID_STATE` before sender_start(); `CLOSED` after sender_stop(). Resolving a host name
/// may take time.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `address` is NULL or ends with a NUL; `out_port` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_listen(
    sender: *mut SenderHandle,
    address: *const c_char,
    out_port: *mut u16,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let port = sender.core.listen(text(address, "address")?)?;
            put_optional(out_port, port);
            Ok(())
        })
    }
}

/// Serves a reader whose Sync message the host has read: the library answers it and streams. An earlier connection of
/// the same reader is closed, with status `REPLACED`.
///
/// - `fd`: a connected stream socket. With `OK` it belongs to the library; otherwise it stays the caller's, open, but its
///   non-blocking mode may have changed.
/// - `reader_id`: from the Sync message; 1 to `REPLICATION_MAX_READER_ID_BYTES` bytes without control characters.
/// - `last_known_sequence`: from the Sync message.
///
/// Returns `OK`, after which a refusal of this reader arrives as an event; `INVALID_ARGUMENT` for a wrong reader id;
/// `BAD_DESCRIPTOR` for a descriptor that is closed or no stream socket; `INVALID_STATE` before sender_start();
/// `CLOSED` after sender_stop(); `IO`. Does not wait for the peer.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `reader_id` is NULL or ends with a NUL; nobody else closes `fd`
/// during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_accept_reader(
    sender: *mut SenderHandle,
    fd: c_int,
    reader_id: *const c_char,
    last_known_sequence: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let reader_id = checked_reader_id(reader_id)?;
            let socket = duplicate_socket(fd, "fd")?;
            sender.core.accept_reader(socket, reader_id, last_known_sequence)?;
            close(fd);
            Ok(())
        })
    }
}

/// Serves a new connection: the library does the handshake.
///
/// - `fd`: a connected stream socket. With `OK` it belongs to the library; otherwise it stays the caller's, open, but its
///   non-blocking mode may have changed.
///
/// Returns `OK`, after which a handshake that fails arrives as an event; `BAD_DESCRIPTOR` for a descriptor that is
/// closed or no stream socket; `BUFFER_FULL` while too many handshakes are under way; `INVALID_STATE` before
/// sender_start(); `CLOSED` after sender_stop(); `IO`. Does not wait for the peer.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; nobody else closes `fd` during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_accept_connection(sender: *mut SenderHandle, fd: c_int) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            sender.core.accept_connection(duplicate_socket(fd, "fd")?)?;
            close(fd);
            Ok(())
        })
    }
}

/// Puts an entry into the log and gives it the next sequence. Entries of concurrent calls get different sequences and
/// reach every reader in their order. Does not wait for the network or a reader, except under
/// `REPLICATION_FULL_POLICY_WAIT` and `REPLICATION_GATE_POLICY_SLOW`.
///
/// - `timestamp_us`: microseconds since the Unix epoch; handed on as it is.
/// - `payload`, `payload_len`: any bytes, also none; copied.
/// - `out_sequence`: the sequence; may be NULL. The one output that may be written although the call fails, see below.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a NULL payload with a length; `MESSAGE_TOO_LARGE` for a payload that no message
/// or the window cannot hold; `BUFFER_FULL` under the policies that refuse, and when a log on disk is too slow; `GATED`
/// while the write gate is shut (see sender_config_set_write_gate()); `NOT_WRITER` after sender_set_writable() with
/// false; `INVALID_STATE` before sender_start(); `CLOSED` after sender_stop(); `OUT_OF_MEMORY`; with a log on disk
/// `DISK_FULL` and `STALLED` while the disk refuses for now (see the event `WAL_STALLED`), and `IO` when it failed.
/// Unless it returns `OK`, no sequence is used up, but for one case: under `REPLICATION_SYNC_POLICY_ALWAYS` the entry
/// was taken and its sync failed (`IO`), took too long (`TIMEOUT`) or was cut short by sender_stop() (`CLOSED`). Then
/// `*out_sequence` is the entry's, and sender_wait_durable() tells later what became of it.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `payload` points to `payload_len` bytes; `out_sequence` is NULL or
/// has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_replicate(
    sender: *mut SenderHandle,
    timestamp_us: u64,
    payload: *const u8,
    payload_len: usize,
    out_sequence: *mut u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let end = sender.core.put(timestamp_us, checked_payload(payload, payload_len)?)?;
            put_optional(out_sequence, end.sequence);
            sender.core.wait_synced(&end)
        })
    }
}

/// Puts many entries into the log with consecutive sequences: all of them or, unless it returns `OK`, none. Otherwise
/// like sender_replicate().
///
/// - `timestamp_us`: of all of them.
/// - `payloads`, `count`: at least one.
/// - `out_first_sequence`: the sequence of the first; may be NULL.
///
/// Returns what sender_replicate() returns; `INVALID_ARGUMENT` also for a `count` of 0, `MESSAGE_TOO_LARGE` also for a
/// batch that is larger than the window.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `payloads` points to `count` slices, each of which points to its
/// bytes; `out_first_sequence` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_replicate_batch(
    sender: *mut SenderHandle,
    timestamp_us: u64,
    payloads: *const SliceView,
    count: usize,
    out_first_sequence: *mut u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let payloads = checked_payloads(payloads, count)?;
            // Every slice was checked just now, and the caller promises its bytes.
            let payloads = payloads.iter().map(|payload| unchecked_bytes(*payload));
            let (first, end) = sender.core.put_batch(timestamp_us, payloads)?;
            put_optional(out_first_sequence, first);
            sender.core.wait_synced(&end)
        })
    }
}

/// The slices of a batch, each fit for [`unchecked_bytes`].
///
/// # Safety
/// `payloads` is NULL or points to `count` slices, each of which is empty, NULL or points to its bytes.
unsafe fn checked_payloads<'a>(payloads: *const SliceView, count: usize) -> Result<&'a [SliceView]> {
    if count == 0 {
        return Err(invalid("count is 0, at least 1 is needed"));
    }
    if payloads.is_null() {
        return Err(is_null("payloads"));
    }
    if count > isize::MAX as usize / size_of::<SliceView>() {
        return Err(invalid(format!("count is {count}, more than memory can hold")));
    }
    // SAFETY: not NULL, short enough for a slice, and the caller promises the slices.
    let payloads = unsafe { std::slice::from_raw_parts(payloads, count) };
    for (at, payload) in payloads.iter().enumerate() {
        // SAFETY: the caller's promise.
        if let Err(error) = unsafe { checked_payload(payload.data, payload.len) } {
            return Err(Error::new(error.status, format!("payloads[{at}]: {}", error.message)));
        }
    }
    Ok(payloads)
}

/// # Safety
/// `slice` is empty or points to its bytes, which are fewer than `isize::MAX` and stay unchanged for `'a`.
unsafe fn unchecked_bytes<'a>(slice: SliceView) -> &'a [u8] {
    if slice.len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(slice.data, slice.len) }
}

/// Closes the connection of a reader, with status `REMOVED`. It may connect again.
///
/// Returns `OK`; `NOT_FOUND` when no such reader is connected; `INVALID_ARGUMENT` for a wrong id; `INVALID_STATE`
/// before sender_start(); `CLOSED` after sender_stop().
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `reader_id` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_remove_reader(sender: *mut SenderHandle, reader_id: *const c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core.remove_reader(checked_reader_id(reader_id)?)) }
}

/// Returns how many readers are connected; 0 for NULL and where another function would fail.
///
/// # Safety
/// `sender` is NULL or came from sender_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_reader_count(sender: *const SenderHandle) -> usize {
    // SAFETY: the caller's promise.
    unsafe { query(sender, 0, |sender| sender.core.reader_count()) }
}

/// Returns the sequence of the last entry, 0 when there was none; 0 for NULL and where another function would fail.
///
/// # Safety
/// `sender` is NULL or came from sender_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_current_sequence(sender: *const SenderHandle) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { query(sender, 0, |sender| sender.core.current_sequence()) }
}

/// Tells the lineage of the log, for a host to store and to set after a restart.
///
/// - `out_stream_id`: room for `REPLICATION_STREAM_ID_BYTES` bytes.
/// - `out_epoch`: the epoch.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `out_stream_id` is NULL or has room for 16 bytes; `out_epoch` is NULL
/// or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_get_stream(
    sender: *const SenderHandle,
    out_stream_id: *mut u8,
    out_epoch: *mut u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let (out_stream_id, out_epoch) =
                (required(out_stream_id, "out_stream_id")?, required(out_epoch, "out_epoch")?);
            put_lineage(sender.core.lineage(), out_stream_id, out_epoch);
            Ok(())
        })
    }
}

/// Says whether this node is the writer; a new sender's is. While it is not, readers are disconnected and refused, and
/// entries refused, with `NOT_WRITER`. May be called before sender_start().
///
/// Returns `OK`; `CLOSED` after sender_stop().
///
/// # Safety
/// `sender` came from sender_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_set_writable(sender: *mut SenderHandle, writable: bool) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core.set_writable(writable)) }
}

/// Gives the statistics as a JSON object, to which keys are only ever added.
///
/// - `out_json`: the text, to be freed with replication_string_free().
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `out_json` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_stats_json(sender: *const SenderHandle, out_json: *mut *mut c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let out_json = required(out_json, "out_json")?;
            out_json.write(c_string(sender.core.stats_json()?).into_raw());
            Ok(())
        })
    }
}

/// Stops a sender: refuses new entries, lets the readers catch up for the stop timeout, closes everything and waits for
/// its threads. When it returns no callback runs. Every later call returns `CLOSED`, except those that only ask.
/// Stopping twice is allowed.
///
/// A reader has caught up when it has received the last entry; whether it has applied it is asked with
/// sender_wait_acked() before. Returns `OK`; `TIMEOUT` when the sender is stopped now but some connected readers did not get
/// everything in time (the text names them), or the disk is still busy with the last entries; `IO`, `DISK_FULL` or `STALLED` when it is stopped
/// but the log on disk lacks the last entries (the text names them), or its slots could not be stored: a disk that refuses for
/// now is tried again until the stop timeout is over; `WRONG_THREAD` in a callback of
/// this sender, and then it goes on running. Any other thread.
///
/// # Safety
/// `sender` came from sender_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_stop(sender: *mut SenderHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            sender.may_wait("sender_stop")?;
            sender.core.stop()
        })
    }
}

/// Frees a sender; one that runs is stopped first, as by sender_stop(). NULL is ignored. When it returns no callback runs
/// and the `user_data` of its callbacks is freed.
///
/// In a callback of this sender, another thread ends it soon after: no other callback begins, and `user_data` is freed on
/// that thread. In a process forked from the one that made the sender this does nothing, and its memory is not given back.
///
/// No other call on the sender may run or follow.
///
/// # Safety
/// `sender` is NULL or came from sender_new(), and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_free(sender: *mut SenderHandle) {
    // SAFETY: the caller's promise.
    unsafe {
        release(sender, |sender| {
            let on_callback_thread = sender.core.on_callback_thread();
            let muted = sender.muted.clone();
            reaper::end(sender, on_callback_thread, &muted, SenderHandle::stop);
        });
    }
}

#[cfg(test)]
mod tests;
