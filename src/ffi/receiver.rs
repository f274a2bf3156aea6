//! # Receiver
//!
//! A reader's end.

use std::ffi::c_char;
use std::time::Duration;

use super::args::{invalid, put_lineage, required};
use super::callbacks::{HostObserver, Ingest, IngestBatch, Muted, Owners, RecordIngest, connect};
use super::guard::{Guarded, HandleState, boxed, guard, query, release, room_for_a_handle};
use super::reaper;
use super::receiver_config::{HandlerSlot, ReceiverConfigHandle, ReceiverConfigState};
use super::sender::wrong_thread;
use super::status::c_string;
use crate::error::{Error, Result, Status};
use crate::receiver::Receiver;
use crate::receiver::config::ReceiverConfig;
use crate::receiver::config::{Handler, ReceiverHost};

/// A reader's end: follows one writer and hands its entries to a handler. Made by receiver_new(). Any thread may call any
/// function on it at any time, until receiver_free().
pub struct ReceiverHandle {
    gate: HandleState,
    core: Receiver,
    muted: Muted,
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
        let muted = Muted::default();
        let mut owners = Owners::default();
        let local_wal = owners.keep(config.local_wal.share("local WAL function")?);
        let host = ReceiverHost {
            handler: handler(&config.handler, config.records_max_bytes, &muted, &mut owners)?,
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
        Ok(Self { gate, core, muted, _owners: owners })
    }

    fn may_wait(&self, what: &str) -> Result<()> {
        if self.core.on_callback_thread() { Err(wrong_thread(what)) } else { Ok(()) }
    }

    fn stop(&self) {
        // There is nobody left to tell; the position the host stored says what was applied.
        let _ = self.core.stop();
    }
}

fn handler(slot: &HandlerSlot, records_max_bytes: u64, muted: &Muted, owners: &mut Owners) -> Result<Box<dyn Handler>> {
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
            Box::new(IngestBatch::new(callback, *max_entries, muted))
        }
        HandlerSlot::Record(slot) => {
            let callback = owners.keep(slot.share(NAME)?).ok_or_else(none)?;
            Box::new(RecordIngest { callback, muted, max_bytes: records_max_bytes })
        }
    })
}

/// Makes a receiver that does not run yet.
///
/// - `config`: copied. Its callbacks move to the receiver, so a second receiver needs a configuration with callbacks of
///   its own.
/// - `out`: the receiver, to be freed with receiver_free().
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL, when the reader id, the writer address or the handler is not set, or when
/// options contradict each other; `BAD_ADDRESS` when the writer address does not parse; `INVALID_STATE` when the
/// callbacks of `config` belong to an earlier receiver; `OUT_OF_MEMORY` when the system does not give 256 KiB, which
/// are asked for first and given back. With receiver_config_set_wal_dir() also: `LOCKED` when another process has the
/// directory; `DAMAGED` for files that are not as this library wrote them (nothing is changed then); `DIVERGED` when
/// they have another history than the host's token; `IO` and `DISK_FULL`. After a failure the callbacks still belong to
/// `config`.
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

/// Starts a receiver. Connecting, and connecting again after a failure, happens in the background and is told in events.
///
/// Returns `OK`; `INVALID_STATE` when it was started before; `CLOSED` after receiver_stop(); `IO` when the system gives
/// no threads; if some had begun, the receiver is stopped: free it and make another.
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_start(receiver: *mut ReceiverHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(receiver, |receiver| receiver.core.start()) }
}

/// Returns whether a handshake has succeeded and its connection lives; false for NULL and where another function would
/// fail.
///
/// # Safety
/// `receiver` is NULL or came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_is_connected(receiver: *const ReceiverHandle) -> bool {
    // SAFETY: the caller's promise.
    unsafe { query(receiver, false, |receiver| receiver.core.is_connected()) }
}

/// Returns the last sequence that was applied; 0 for NULL and where another function would fail.
///
/// # Safety
/// `receiver` is NULL or came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_last_sequence(receiver: *const ReceiverHandle) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { query(receiver, 0, |receiver| receiver.core.last_sequence()) }
}

/// Tells the lineage that the receiver follows, for a host to store with its position.
///
/// - `out_stream_id`: room for `REPLICATION_STREAM_ID_BYTES` bytes.
/// - `out_epoch`: the epoch.
///
/// Returns `OK`; `NOT_FOUND` while it is unknown: before the first connection, and as long as the writer speaks v1
/// only; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed; `out_stream_id` is NULL or has room for 16 bytes; `out_epoch` is
/// NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_get_stream(
    receiver: *const ReceiverHandle,
    out_stream_id: *mut u8,
    out_epoch: *mut u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(receiver, |receiver| {
            let (out_stream_id, out_epoch) =
                (required(out_stream_id, "out_stream_id")?, required(out_epoch, "out_epoch")?);
            let lineage = receiver.core.lineage().ok_or_else(|| {
                Error::new(Status::NotFound, "the stream is not known: no v2 writer has been connected")
            })?;
            put_lineage(lineage, out_stream_id, out_epoch);
            Ok(())
        })
    }
}

/// Waits until an entry is applied, so that a reader sees what was written before.
///
/// - `sequence`: the entry, and with it all before.
/// - `timeout_ms`: how long, in milliseconds; 0 only looks.
///
/// Returns `OK`, also after receiver_stop() if it is applied; `TIMEOUT`; `INVALID_STATE` before receiver_start();
/// `WRONG_THREAD` in a callback of this receiver; `APPLY_FAILED` when the apply policy has stopped it before that entry;
/// `LINEAGE_CHANGED` when another writer took over meanwhile, in whose history the sequence may be another entry; `IO` or
/// `DAMAGED` when the receiver's log on disk has failed; `CLOSED` when the receiver is or gets stopped before it. Any other
/// thread.
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

/// Pauses a receiver: no entry is handed to the handler until receiver_resume(). When it returns no handler runs, unless
/// it was called from one. The connection stays up until the buffer is full and the writer's patience ends. Pausing twice
/// is allowed.
///
/// Returns `OK`; `INVALID_STATE` before receiver_start(); `CLOSED` after receiver_stop().
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_pause(receiver: *mut ReceiverHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(receiver, |receiver| receiver.core.pause()) }
}

/// Goes on after receiver_pause(). Allowed also when it is not paused.
///
/// Returns `OK`; `INVALID_STATE` before receiver_start(); `CLOSED` after receiver_stop().
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_resume(receiver: *mut ReceiverHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(receiver, |receiver| receiver.core.resume()) }
}

/// Gives the statistics as a JSON object, to which keys are only ever added.
///
/// - `out_json`: the text, to be freed with replication_string_free().
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL.
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

/// Stops a receiver: ends the connection and waits for its threads; a running call of the handler is waited for. What
/// was applied before is acknowledged if that can still be sent. When it returns no callback runs. Every later call returns
/// `CLOSED`, except those that only ask. Stopping twice is allowed.
///
/// Returns `OK`; `WRONG_THREAD` in a callback of this receiver, and then it goes on running. Any other thread.
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

/// Frees a receiver; one that runs is stopped first, as by receiver_stop(). NULL is ignored. When it returns no callback
/// runs and the `user_data` of its callbacks is freed.
///
/// In a callback of this receiver, another thread ends it soon after: no other callback begins, and `user_data` is freed
/// on that thread. In a process forked from the one that made the receiver this does nothing, and its memory is not given
/// back.
///
/// No other call on the receiver may run or follow.
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
