//! The receiver itself: how it is made, started, changed and ended.

use std::ffi::c_char;

use super::args::{invalid, required, text};
use super::callbacks::{HostObserver, Ingest, IngestBatch, Muted, Owners, RecordIngest, RunningBatch, connect};
use super::guard::{Guarded, HandleState, boxed, guard, release, room_for_a_handle};
use super::reaper;
use super::receiver_config::{HandlerSlot, ReceiverConfigHandle, ReceiverConfigState};
use super::sender::wrong_thread;
use crate::error::{Error, Result, Status};
use crate::protocol::token::Token;
use crate::receiver::Receiver;
use crate::receiver::config::{Handler, ReceiverConfig, ReceiverHost};

/// A reader's end: passes the entries of one writer to a handler. Created by receiver_new().
pub struct ReceiverHandle {
    gate: HandleState,
    pub(super) core: Receiver,
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

    pub(super) fn may_wait(&self, what: &str) -> Result<()> {
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
