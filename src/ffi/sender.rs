//! The sender itself: how it is made, started, changed and ended.

use std::ffi::c_char;

use super::access_request::HostAuthorizer;
use super::args::{required, text};
use super::callbacks::{HostObserver, Muted, Owners};
use super::guard::{Guarded, HandleState, boxed, guard, guard_free, release, room_for_a_handle};
use super::reaper;
use super::sender_config::{SenderConfigHandle, SenderConfigState};
use crate::error::{Error, Result, Status};
use crate::host::Silent;
use crate::sender::config::SenderConfig;
use crate::sender::{Authorizer, Sender};

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
        let authorize = owners.keep(config.authorize.share("authorize handler")?);
        let authorizer = authorize
            .map(|callback| Box::new(HostAuthorizer { callback, muted: muted.clone() }) as Box<dyn Authorizer>);
        let storage = (!config.storage.dir.as_os_str().is_empty()).then(|| config.storage.clone());
        let core = SenderConfig { storage, ..config.core.clone() };
        let core = Sender::with_authorizer(core, Box::new(observer), authorizer)?;
        config.event.hand_over();
        config.authorize.hand_over();
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

/// Changes an option of a sender that lives, by its name in docs/options.md: a time limit, a bound, or what retention
/// and slots keep. A connection keeps the values with which it began. Returns `OK`; `NOT_FOUND` for any other name, with a
/// text that lists those that may change; `INVALID_ARGUMENT` for a value that sender_new() would refuse; `INVALID_STATE`
/// for an option of the log on disk without one; `CLOSED` after sender_stop().
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `name` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_set_option(sender: *mut SenderHandle, name: *const c_char, value: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core.set_option(text(name, "name")?, value)) }
}

/// Gets such an option. Returns `OK`; `NOT_FOUND` and `INVALID_STATE` as sender_set_option().
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
