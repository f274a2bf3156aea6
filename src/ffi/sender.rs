//! # Sender
//!
//! The writer's end.

use std::ffi::{c_char, c_int};

use super::args::{
    TokenRoom, close, duplicate_socket, invalid, payload as checked_payload, put_optional,
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

/// The writer's end: accepts entries and streams them to readers. Created by sender_new().
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

/// Creates a sender, which sender_start() starts.
///
/// - `config`: copied; NULL for default options. Its callbacks move to the sender, unless the call fails: set them
///   again before creating another sender.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a NULL `out` or contradictory options; `INVALID_STATE` if an earlier sender has
/// the callbacks; `OUT_OF_MEMORY`; `IO` if the system has no random bytes. With sender_config_set_wal_dir() also
/// `LOCKED` if the directory is in use; `DAMAGED` for corrupt files or those of a newer version, without changing them;
/// `DIVERGED` if they belong to another stream or a later epoch than configured; `REGRESSED` if they end before the
/// configured last sequence, `INVALID_ARGUMENT` if that is set without a stream; `IO` and `DISK_FULL`.
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

/// Starts a sender's threads. From then on it accepts entries and readers. Returns `OK`; `INVALID_STATE` if it was
/// started before; `CLOSED` after sender_stop(); `IO` if the system provides too few threads, which may leave the
/// sender stopped: free it and create another.
///
/// # Safety
/// `sender` came from sender_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_start(sender: *mut SenderHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core.start()) }
}

/// Accepts readers at an address. May be called for several addresses. docs/embedding.md describes addresses, socket
/// files and the descriptors that are kept free for the host.
///
/// - `address`: "host:port", with port 0 for any free port and an IPv6 address in brackets; "unix:/path", made absolute
///   now; or "unix:@name" for a Unix socket in the abstract namespace. Every address of a host name is bound; those
///   that this machine does not have are reported (LISTEN_INCOMPLETE). A killed process's socket file is replaced; of
///   several processes that start at once, one gets it.
/// - `out_port`: the port, 0 for a Unix socket; may be NULL.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL or text that is not UTF-8; `BAD_ADDRESS` if it does not parse or resolve,
/// which may take time, or if this machine does not have it; `ADDRESS_IN_USE`; `IO` for other system errors;
/// `INVALID_STATE` before sender_start(); `CLOSED` after sender_stop().
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

/// Streams to a reader whose Sync message the host has read; the library sends the reply. An earlier connection of the
/// reader is closed (REPLACED). A refusal is reported as an event. The call does not wait for the peer.
///
/// - `fd`: a connected stream socket. On `OK` the library owns it; otherwise the caller keeps it, but its non-blocking
///   mode may have changed.
/// - `reader_id`, `last_known_sequence`: from the Sync message. The id has 1 to `REPLICATION_MAX_READER_ID_BYTES` bytes
///   without control characters.
///
/// Returns `OK`; `INVALID_ARGUMENT` for an invalid id; `BAD_DESCRIPTOR` if `fd` is closed or no stream socket; `IO`;
/// `INVALID_STATE` before sender_start(); `CLOSED` after sender_stop().
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

/// Serves a new connection, handshake included, otherwise as sender_accept_reader(). A failed handshake is reported as
/// an event. Returns `OK`; `BUFFER_FULL` while too many handshakes are in progress; `BAD_DESCRIPTOR`, `INVALID_STATE`,
/// `CLOSED` and `IO` as sender_accept_reader().
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

/// Appends an entry to the log and assigns it the next sequence. Every reader receives entries in the order of their
/// sequences. The call does not wait for the network or a reader, except under `REPLICATION_FULL_POLICY_WAIT` and
/// `REPLICATION_GATE_POLICY_SLOW`; see sender_config_set_wal_timeout_ms() for waiting for the disk.
///
/// - `timestamp_us`: microseconds since the Unix epoch, passed on unchanged.
/// - `payload`, `payload_len`: any bytes, or none.
/// - `out_sequence`: the entry's sequence, also in the exception below; may be NULL.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a NULL payload with a length; `MESSAGE_TOO_LARGE` for a payload that does not
/// fit a message or the buffer; `BUFFER_FULL` if the full policy refuses the entry or the disk is too slow; `GATED`
/// while the write gate is closed; `NOT_WRITER` after sender_set_writable() with false; `INVALID_STATE` before
/// sender_start(); `CLOSED` after sender_stop(); `OUT_OF_MEMORY`; with a log on disk `DISK_FULL` and `STALLED` while
/// the disk refuses writes, and `IO` after it failed.
///
/// On failure no sequence is used, with one exception: under `REPLICATION_SYNC_POLICY_ALWAYS` the entry may be appended
/// but its sync may fail (`IO`), take too long (`TIMEOUT`) or be cut short by sender_stop() (`CLOSED`). Then
/// `*out_sequence` is set; set it to 0 before to recognise this. Do not append the entry again: sender_wait_durable()
/// tells its outcome.
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

/// As sender_replicate(), and gives the entry's token, which identifies it also after a restart and at another node. It is
/// given, too, where sender_replicate() sets `*out_sequence` and fails.
///
/// Returns what sender_replicate() returns; `INVALID_ARGUMENT` also for a NULL `token` or `out_len`, and `BUFFER_TOO_SMALL`:
/// then nothing is appended.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `payload` points to `payload_len` bytes; `token` is NULL or has room for
/// `token_size` bytes; `out_len` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_replicate_token(
    sender: *mut SenderHandle,
    timestamp_us: u64,
    payload: *const u8,
    payload_len: usize,
    token: *mut u8,
    token_size: usize,
    out_len: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let room = TokenRoom::new(token, token_size, out_len)?;
            let end = sender.core.put(timestamp_us, checked_payload(payload, payload_len)?)?;
            room.put(&sender.core.token_at(&end));
            sender.core.wait_synced(&end)
        })
    }
}

/// Appends entries with consecutive sequences, all of them or none, as sender_replicate() does.
///
/// - `timestamp_us`: for all entries.
/// - `payloads`, `count`: the entries, at least one.
/// - `out_first_sequence`: the sequence of the first; may be NULL.
///
/// Returns what sender_replicate() returns; `INVALID_ARGUMENT` also for a `count` of 0, `MESSAGE_TOO_LARGE` also for a
/// batch that exceeds the buffer.
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

/// Disconnects a reader with status REMOVED. It may connect again. Returns `OK`; `NOT_FOUND` if it is not connected;
/// `INVALID_ARGUMENT` for an invalid id; `INVALID_STATE` before sender_start(); `CLOSED` after sender_stop().
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `reader_id` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_remove_reader(sender: *mut SenderHandle, reader_id: *const c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core.remove_reader(checked_reader_id(reader_id)?)) }
}

/// Returns how many readers are connected; 0 for a NULL or unusable handle.
///
/// # Safety
/// `sender` is NULL or came from sender_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_reader_count(sender: *const SenderHandle) -> usize {
    // SAFETY: the caller's promise.
    unsafe { query(sender, 0, |sender| sender.core.reader_count()) }
}

/// Returns the last entry's sequence; 0 if there is none, and for a NULL or unusable handle.
///
/// # Safety
/// `sender` is NULL or came from sender_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_current_sequence(sender: *const SenderHandle) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { query(sender, 0, |sender| sender.core.current_sequence()) }
}

/// Sets whether this node is the writer, as a new sender is. Otherwise it refuses entries and readers, and disconnects
/// readers, with status NOT_WRITER. Allowed before sender_start(). Returns `OK`; `CLOSED` after sender_stop().
///
/// # Safety
/// `sender` came from sender_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_set_writable(sender: *mut SenderHandle, writable: bool) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core.set_writable(writable)) }
}

/// Changes an option of a sender that lives, by its name in docs/options.md: a time limit, a bound, or what retention and
/// slots keep. A connection keeps the values with which it began.
///
/// Returns `OK`; `NOT_FOUND` for any other name, with a text that lists those that may change; `INVALID_ARGUMENT` for a value
/// that sender_new() would refuse; `INVALID_STATE` for an option of the log on disk without one; `CLOSED` after sender_stop().
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `name` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_set_option(sender: *mut SenderHandle, name: *const c_char, value: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core.set_option(text(name, "name")?, value)) }
}

/// Gets the value of an option that sender_set_option() takes. Returns `OK`; `NOT_FOUND` and `INVALID_STATE` as that.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `name` is NULL or ends with a NUL; `out_value` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_option(
    sender: *const SenderHandle,
    name: *const c_char,
    out_value: *mut u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let out_value = required(out_value, "out_value")?;
            out_value.write(sender.core.option(text(name, "name")?)?);
            Ok(())
        })
    }
}

/// Gets the statistics as a JSON object, to be freed with replication_string_free(). Later versions only add keys.
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

/// Stops a sender: refuses new entries, lets readers receive the last entry until the stop timeout ends, closes
/// everything and waits for its threads. To wait until readers have applied it, use sender_wait_acked() before. Later
/// calls return `CLOSED`, except queries and a second stop.
///
/// Returns `OK`; `WRONG_THREAD` in a callback of this sender, which continues to run. With any other status it is
/// stopped: `TIMEOUT` if some readers, which the text names, lack entries or the disk is still busy; `IO`, `DISK_FULL`
/// or `STALLED` if the log on disk lacks the last entries, which the text names, or the slots. A disk that refuses
/// writes is retried until the stop timeout ends.
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

/// Frees a sender; one that runs is stopped first, as by sender_stop(). On return no callback runs and the `user_data`
/// of its callbacks is freed. Called in a callback of this sender, it leaves this to another thread; no other callback
/// begins.
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
