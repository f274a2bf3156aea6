//! # Receiver
//!
//! A reader's end.

use std::ffi::c_char;
use std::time::Duration;

use super::args::{invalid, required, text, token as checked_token};
use super::callbacks::{HostObserver, Ingest, IngestBatch, Muted, Owners, RecordIngest, RunningBatch, connect};
use super::guard::{Guarded, HandleState, boxed, guard, query, release, room_for_a_handle};
use super::reaper;
use super::receiver_config::{HandlerSlot, ReceiverConfigHandle, ReceiverConfigState};
use super::sender::wrong_thread;
use super::status::c_string;
use crate::error::{Error, Result, Status};
use crate::protocol::token::Token;
use crate::receiver::Receiver;
use crate::receiver::config::ReceiverConfig;
use crate::receiver::config::{Handler, ReceiverHost};

/// A reader's end: passes the entries of one writer to a handler. Created by receiver_new().
pub struct ReceiverHandle {
    gate: HandleState,
    core: Receiver,
    muted: Muted,
    batch: RunningBatch,
    /// Dropped after the core.
    _owners: Owners,
}

const _: () = {
    const fn shared_between_threads<T: Send + Sync>() {}
    shared_between_threads::<ReceiverHandle>();
};

impl Guarded for ReceiverHandle {
    const NAME: &'static str = "receiver";
    fn gate(&self) -> &HandleState {
        &self.gate
    }
}

impl ReceiverHandle {
    pub(crate) fn core(&self) -> &Receiver {
        &self.core
    }

    fn configured(config: &mut ReceiverConfigState) -> Result<Self> {
        let gate = HandleState::new()?;
        let (muted, batch) = (Muted::default(), RunningBatch::default());
        let mut owners = Owners::default();
        let local_wal = owners.keep(config.local_wal.share("local WAL function")?);
        let host = ReceiverHost {
            handler: handler(&config.handler, config.records_max_bytes, &muted, &batch, &mut owners)?,
            local_wal: local_wal.map(|callback| Ingest { callback, muted: muted.clone() }.into_local_wal()),
            connect: owners
                .keep(config.connect.share("connect handler")?)
                .map(|callback| connect(callback, muted.clone())),
            observer: Box::new(HostObserver {
                event: owners.keep(config.event.share("event handler")?),
                log: owners.keep(config.log.share("log handler")?),
                max_level: config.max_level,
                muted: muted.clone(),
            }),
        };
        let local_log = (!config.local_log.dir.as_os_str().is_empty()).then(|| config.local_log.clone());
        let core = Receiver::new(ReceiverConfig { local_log, ..config.core.clone() }, host)?;
        match &mut config.handler {
            HandlerSlot::None => {}
            HandlerSlot::Ingest(slot) => slot.hand_over(),
            HandlerSlot::Batch(slot, _) => slot.hand_over(),
            HandlerSlot::Record(slot) => slot.hand_over(),
        }
        config.local_wal.hand_over();
        config.connect.hand_over();
        config.event.hand_over();
        config.log.hand_over();
        Ok(Self { gate, core, muted, batch, _owners: owners })
    }

    fn may_wait(&self, what: &str) -> Result<()> {
        if self.core.on_callback_thread() { Err(wrong_thread(what)) } else { Ok(()) }
    }

    /// The position after the first `applied` entries of the call that the batch handler is in.
    pub(crate) fn batch_token(&self, applied: usize) -> Result<Token> {
        // SAFETY: this is the thread that calls the handler.
        let position = self.core.on_callback_thread().then(|| unsafe { self.batch.position(applied) }).flatten();
        let outside = "receiver_batch_token() is for the batch handler of this receiver, and only during its call";
        self.core.token_at(position.ok_or_else(|| Error::new(Status::InvalidState, outside))??)
    }

    fn stop(&self) {
        // There is nobody left to tell; the position the host stored says what was applied.
        let _ = self.core.stop();
    }
}

fn handler(
    slot: &HandlerSlot,
    records_max_bytes: u64,
    muted: &Muted,
    batch: &RunningBatch,
    owners: &mut Owners,
) -> Result<Box<dyn Handler>> {
    const NAME: &str = "handler";
    let none = || invalid("no handler is set: one of ingest, ingest batch and record is needed");
    let muted = muted.clone();
    Ok(match slot {
        HandlerSlot::None => return Err(none()),
        HandlerSlot::Ingest(slot) => {
            let callback = owners.keep(slot.share(NAME)?).ok_or_else(none)?;
            Box::new(Ingest { callback, muted })
        }
        HandlerSlot::Batch(slot, max_entries) => {
            let callback = owners.keep(slot.share(NAME)?).ok_or_else(none)?;
            Box::new(IngestBatch::new(callback, *max_entries, muted, batch.clone()))
        }
        HandlerSlot::Record(slot) => {
            let callback = owners.keep(slot.share(NAME)?).ok_or_else(none)?;
            Box::new(RecordIngest { callback, muted, max_bytes: records_max_bytes })
        }
    })
}

/// Creates a receiver, which receiver_start() starts.
///
/// - `config`: copied. Its callbacks move to the receiver, unless the call fails: set them again before creating
///   another receiver.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL, without a reader id, writer address or handler, or for contradictory
/// options; `BAD_ADDRESS` if the writer address does not parse; `INVALID_STATE` if an earlier receiver has the
/// callbacks; `OUT_OF_MEMORY`. With receiver_config_set_wal_dir() also `LOCKED`, `DAMAGED`, `IO` and `DISK_FULL` as
/// sender_new(), and `DIVERGED` if the files have another history than the configured token.
///
/// # Safety
/// `config` is NULL or came from receiver_config_new() and is not freed; `out` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_new(config: *const ReceiverConfigHandle, out: *mut *mut ReceiverHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            let out = required(out, "out")?;
            room_for_a_handle()?;
            out.write(Box::into_raw(boxed(ReceiverHandle::configured(&mut config.state())?)?));
            Ok(())
        })
    }
}

/// Starts a receiver. It connects, and reconnects, in the background and reports this as events. Returns `OK`; `IO` as
/// sender_start(); `INVALID_STATE` if started before; `CLOSED` after receiver_stop().
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_start(receiver: *mut ReceiverHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(receiver, |receiver| receiver.core.start()) }
}

/// Returns whether a connection is established; false for a NULL or unusable handle.
///
/// # Safety
/// `receiver` is NULL or came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_is_connected(receiver: *const ReceiverHandle) -> bool {
    // SAFETY: the caller's promise.
    unsafe { query(receiver, false, |receiver| receiver.core.is_connected()) }
}

/// Returns the last applied sequence; 0 for a NULL or unusable handle.
///
/// # Safety
/// `receiver` is NULL or came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_last_sequence(receiver: *const ReceiverHandle) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { query(receiver, 0, |receiver| receiver.core.last_sequence()) }
}

/// Waits until an entry, and so every entry before it, is applied.
///
/// - `sequence`: the entry, which need not have arrived.
/// - `timeout_ms`: the time limit in milliseconds; 0 only checks.
///
/// Returns `OK`, even after receiver_stop(); `TIMEOUT`; `INVALID_STATE` before receiver_start(); `WRONG_THREAD` in a
/// callback of this receiver; `APPLY_FAILED` if the apply policy stopped before the entry; `LINEAGE_CHANGED` if another
/// writer took over, in whose history the sequence may be another entry; `IO` or `DAMAGED` if the receiver's log on
/// disk failed; `CLOSED` once stopped.
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_wait_sequence(
    receiver: *mut ReceiverHandle,
    sequence: u64,
    timeout_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(receiver, |receiver| {
            receiver.may_wait("receiver_wait_sequence")?;
            receiver.core.wait_sequence(sequence, Duration::from_millis(timeout_ms))
        })
    }
}

/// As receiver_wait_sequence(), for the entry of a token of this stream: a host that got the token at the writer reads its
/// writes here.
///
/// Returns `OK`; `LOST` if the entry is not in the history that was applied: it is of another stream, or another entry took
/// its place at a fail-over; `LINEAGE_CHANGED` if that cannot be told, because the receiver without a log on disk had passed
/// the entry, and follows another epoch than the token's; `NOT_FOUND` if the entry is applied and no v2 writer has named its
/// stream; `TIMEOUT`, `INVALID_STATE`, `WRONG_THREAD`, `APPLY_FAILED`, `IO`, `DAMAGED` and `CLOSED` as
/// receiver_wait_sequence().
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed; `token` is NULL or points to `token_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_wait_token(
    receiver: *mut ReceiverHandle,
    token: *const u8,
    token_len: usize,
    timeout_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(receiver, |receiver| {
            receiver.may_wait("receiver_wait_token")?;
            let token = checked_token(token, token_len, "token")?;
            receiver.core.wait_token(&token, Duration::from_millis(timeout_ms))
        })
    }
}

/// Pauses a receiver until receiver_resume(): on return no handler runs, unless it made the call. The connection lasts
/// until the buffer is full and the writer's time limit ends. Pausing twice is allowed. Returns `OK`; `INVALID_STATE`
/// before receiver_start(); `CLOSED` after receiver_stop().
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_pause(receiver: *mut ReceiverHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(receiver, |receiver| receiver.core.pause()) }
}

/// Ends a pause, if there is one. Returns `OK`; `INVALID_STATE` before receiver_start(); `CLOSED` after
/// receiver_stop().
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_resume(receiver: *mut ReceiverHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(receiver, |receiver| receiver.core.resume()) }
}

/// As sender_set_option(), for a receiver. Returns `OK`, or what that returns.
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed; `name` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_set_option(receiver: *mut ReceiverHandle, name: *const c_char, value: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(receiver, |receiver| receiver.core.set_option(text(name, "name")?, value)) }
}

/// As sender_option(), for a receiver. Returns `OK`, or what that returns.
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed; `name` is NULL or ends with a NUL; `out_value` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_option(
    receiver: *const ReceiverHandle,
    name: *const c_char,
    out_value: *mut u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(receiver, |receiver| {
            let out_value = required(out_value, "out_value")?;
            out_value.write(receiver.core.option(text(name, "name")?)?);
            Ok(())
        })
    }
}

/// As sender_stats_json(). Returns `OK`; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed; `out_json` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_stats_json(receiver: *const ReceiverHandle, out_json: *mut *mut c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(receiver, |receiver| {
            let out_json = required(out_json, "out_json")?;
            out_json.write(c_string(receiver.core.stats_json()?).into_raw());
            Ok(())
        })
    }
}

/// Stops a receiver: waits for a running handler, acknowledges what was applied if the connection allows it,
/// disconnects and waits for its threads. Later calls return CLOSED, except queries and a second stop. Returns `OK`;
/// `WRONG_THREAD` in a callback of this receiver, which continues to run.
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_stop(receiver: *mut ReceiverHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(receiver, |receiver| {
            receiver.may_wait("receiver_stop")?;
            receiver.core.stop()
        })
    }
}

/// Stops a receiver if it runs, and frees it, as sender_free() does.
///
/// # Safety
/// `receiver` is NULL or came from receiver_new(), and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_free(receiver: *mut ReceiverHandle) {
    // SAFETY: the caller's promise.
    unsafe {
        release(receiver, |receiver| {
            let on_callback_thread = receiver.core.on_callback_thread();
            let muted = receiver.muted.clone();
            reaper::end(receiver, on_callback_thread, &muted, ReceiverHandle::stop);
        });
    }
}

#[cfg(test)]
mod tests;
