//! # Sender: configuration
//!
//! What a sender is told before it is made.

use std::ffi::{c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::args::{invalid, lineage, optional_path, path, positive_ms};
use super::callbacks::{Callback, CallbackSlot, EventFn, FreeFn, LogFn};
use super::guard::{Guarded, HandleState, guard, make, release};
use crate::engine::heartbeat;
use crate::error::{Result, Status};
use crate::host::LogLevel;
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::sender::config::{FullPolicy, SenderConfig, StorageConfig};
use crate::transport::{IdentityFiles, TlsServer};

/// The size of a stream id.
pub const STREAM_ID_BYTES: usize = 16;

/// What sender_replicate() does when a bound of the window is reached and a connected reader still needs its oldest
/// entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FullPolicyNumber {
    /// Cut off the slowest readers; each is told `SEQUENCE_GAP`. Never waits for one, never refuses for one. With a log on disk
    /// readers go on from there, and the disk is waited for, as sender_config_set_wal_timeout_ms() says, before it refuses.
    CutOffSlowest = 0,
    /// Refuse the new entry with `REPLICATION_STATUS_BUFFER_FULL`.
    Refuse = 1,
    /// Wait for the slowest reader up to a given time, then refuse.
    Wait = 2,
}

/// The most threads for the network that are taken for a real wish.
const MAX_IO_THREADS: u32 = 256;

/// What the setters fill.
pub(crate) struct SenderConfigState {
    pub(crate) core: SenderConfig,
    /// Used when it has a directory.
    pub(crate) storage: StorageConfig,
    pub(crate) event: CallbackSlot<EventFn>,
    pub(crate) log: CallbackSlot<LogFn>,
    pub(crate) max_level: LogLevel,
}

/// Options of a sender, each at its default until it is set. Made by sender_config_new().
pub struct SenderConfigHandle {
    gate: HandleState,
    state: Mutex<SenderConfigState>,
}

impl Guarded for SenderConfigHandle {
    const NAME: &'static str = "config";
    fn gate(&self) -> &HandleState {
        &self.gate
    }
}

impl SenderConfigHandle {
    fn new() -> Result<Self> {
        Ok(Self {
            gate: HandleState::new()?,
            state: Mutex::new(SenderConfigState {
                core: SenderConfig::default(),
                storage: StorageConfig::new(""),
                event: CallbackSlot::Empty,
                log: CallbackSlot::Empty,
                max_level: LogLevel::Error,
            }),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, SenderConfigState> {
        // A panic while it was locked has poisoned the gate, which lets nobody in any more.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// # Safety
/// As for [`guard`].
pub(super) unsafe fn set(
    config: *mut SenderConfigHandle,
    change: impl FnOnce(&mut SenderConfig) -> Result<()>,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(config, |config| change(&mut config.state().core)) }
}

/// The log level with this number.
pub(crate) fn log_level(number: i32) -> Result<LogLevel> {
    [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug]
        .into_iter()
        .find(|level| *level as i32 == number)
        .ok_or_else(|| invalid(format!("max_level {number} is no replication_log_level")))
}

/// Makes a configuration with every option at its default.
///
/// Returns the configuration, to be freed with sender_config_free(); NULL without memory, and then
/// replication_last_error_message() has the reason.
#[unsafe(no_mangle)]
pub extern "C" fn sender_config_new() -> *mut SenderConfigHandle {
    make(SenderConfigHandle::new)
}

/// Frees a configuration, and the `user_data` of callbacks that no sender was made with. NULL is ignored. Senders made
/// from it live on.
///
/// # Safety
/// `config` is NULL or came from sender_config_new(), and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_free(config: *mut SenderConfigHandle) {
    // SAFETY: the caller's promise.
    unsafe { release(config, drop) };
}

/// Sets how many entries the memory window holds at most. Default 10000. Whichever bound comes first counts, this one or
/// sender_config_set_buffer_bytes().
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_buffer_size(config: *mut SenderConfigHandle, entries: usize) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            if entries == 0 {
                return Err(invalid("entries is 0, at least 1 is needed"));
            }
            core.buffer_size = entries;
            Ok(())
        })
    }
}

/// Sets how many bytes the memory window holds at most. Default 67108864 (64 MiB), at least 65536.
///
/// Returns `OK`; `INVALID_ARGUMENT` for less than 65536.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_buffer_bytes(config: *mut SenderConfigHandle, bytes: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            if bytes < SenderConfig::MIN_BUFFER_BYTES {
                return Err(invalid(format!(
                    "bytes is {bytes}, at least {} are needed",
                    SenderConfig::MIN_BUFFER_BYTES
                )));
            }
            core.buffer_bytes = bytes;
            Ok(())
        })
    }
}

/// Sets what sender_replicate() does when a bound of the window is reached. Default `REPLICATION_FULL_POLICY_CUT_OFF_SLOWEST`.
///
/// - `policy`: a replication_full_policy.
/// - `wait_ms`: how long `REPLICATION_FULL_POLICY_WAIT` waits, in milliseconds; ignored for the others.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a number that is no policy.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_full_policy(
    config: *mut SenderConfigHandle,
    policy: u32,
    wait_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.full_policy = match policy {
                p if p == FullPolicyNumber::CutOffSlowest as u32 => FullPolicy::CutOffSlowest,
                p if p == FullPolicyNumber::Refuse as u32 => FullPolicy::Refuse,
                p if p == FullPolicyNumber::Wait as u32 => FullPolicy::Wait(Duration::from_millis(wait_ms)),
                _ => return Err(invalid(format!("policy {policy} is no replication_full_policy"))),
            };
            Ok(())
        })
    }
}

/// Sets how long a reader may take no byte before its connection is closed, in milliseconds. Default 5000.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_write_timeout_ms(
    config: *mut SenderConfigHandle,
    timeout_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.write_timeout = positive_ms(timeout_ms, "timeout_ms")?;
            Ok(())
        })
    }
}

/// Sets how long the handshake of a new connection may take in all, in milliseconds. Default 5000.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_handshake_timeout_ms(
    config: *mut SenderConfigHandle,
    timeout_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.handshake_timeout = positive_ms(timeout_ms, "timeout_ms")?;
            Ok(())
        })
    }
}

/// Sets how often an idle connection to a v2 reader says that it lives, in milliseconds. Default 1000. Must be
/// below the peer timeout.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_heartbeat_interval_ms(
    config: *mut SenderConfigHandle,
    interval_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.heartbeat_interval = positive_ms(interval_ms, "interval_ms")?;
            Ok(())
        })
    }
}

/// Sets how often v2 readers may want to hear from this sender when there is nothing to send, at most, in milliseconds.
/// Default 100, from 10 to 60000. A reader whose own heartbeat interval is shorter hears this often and is told so. It does
/// not limit sender_config_set_heartbeat_interval_ms().
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL or another number.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_min_heartbeat_ms(
    config: *mut SenderConfigHandle,
    interval_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            let (low, high) = (heartbeat::SHORTEST.as_millis() as u64, heartbeat::MAX_MIN.as_millis() as u64);
            if !(low..=high).contains(&interval_ms) {
                return Err(invalid(format!("interval_ms is {interval_ms}, it must be {low} to {high}")));
            }
            core.min_heartbeat = Duration::from_millis(interval_ms);
            Ok(())
        })
    }
}

/// Sets how long a v2 reader may be silent before its connection is closed, in milliseconds. Default 10000. v1 readers,
/// which have no heartbeat, may be silent for ever.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_peer_timeout_ms(config: *mut SenderConfigHandle, timeout_ms: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.peer_timeout = positive_ms(timeout_ms, "timeout_ms")?;
            Ok(())
        })
    }
}

/// Sets how long sender_stop() lets readers catch up, in milliseconds; 0 closes at once. Default 5000.
///
/// Returns `OK`.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_stop_timeout_ms(config: *mut SenderConfigHandle, timeout_ms: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.stop_timeout = Duration::from_millis(timeout_ms);
            Ok(())
        })
    }
}

/// Sets how many readers may be connected at once. Default 1024. Further ones are refused and reported.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_max_readers(config: *mut SenderConfigHandle, readers: usize) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            if readers == 0 {
                return Err(invalid("readers is 0, at least 1 is needed"));
            }
            core.max_readers = readers;
            Ok(())
        })
    }
}

/// Sets the permissions of the files of Unix sockets that this sender listens on. Default 0600: this process's user only. To
/// connect takes the permission to write. The umask does not matter, and the file never has wider permissions for a moment.
///
/// A socket in the abstract namespace ("unix:@name") has no file. There the same permissions count as if it had one that
/// belongs to this process's effective user and group: 0600 lets in peers of the same user, 0660 those of the same group
/// too, 0666 everybody; root always. Others are disconnected, with an event REFUSED.
///
/// - `mode`: permission bits, at most 0777.
///
/// Returns `OK`; `INVALID_ARGUMENT` for other bits.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_unix_socket_mode(config: *mut SenderConfigHandle, mode: u32) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            if mode > 0o777 {
                return Err(invalid(format!("mode is {mode:#o}, it has permission bits only, at most 0o777")));
            }
            core.unix_socket_mode = mode;
            Ok(())
        })
    }
}

/// Sets how many threads serve the network. Default 0: one for each two processors, at least one and at most four.
///
/// Returns `OK`; `INVALID_ARGUMENT` for more than 256.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_io_threads(config: *mut SenderConfigHandle, threads: u32) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            if threads > MAX_IO_THREADS {
                return Err(invalid(format!("threads is {threads}, at most {MAX_IO_THREADS} are allowed")));
            }
            core.io_threads = threads as usize;
            Ok(())
        })
    }
}

/// Sets the lineage that this writer continues. Default: a random stream id and epoch 1, which begins a new lineage, so
/// that readers with a position in another one are refused.
///
/// A host whose log outlives the process stores what sender_get_stream() gives and sets it again after a restart, together
/// with sender_config_set_last_sequence(). When another node is promoted it takes the stream id over with a higher epoch.
///
/// - `stream_id`: `REPLICATION_STREAM_ID_BYTES` bytes.
/// - `epoch`: rises with each promotion.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed. `stream_id` is NULL or points to 16 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_stream(
    config: *mut SenderConfigHandle,
    stream_id: *const u8,
    epoch: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.lineage = Some(lineage(stream_id, epoch)?);
            Ok(())
        })
    }
}

/// Sets the sequence of the last entry before this process; the first entry gets the next one. Default 0. A log on disk knows
/// it: there it is only checked. A bare number says nothing of the history before it: see sender_acked(), and
/// sender_config_set_token(), which has both.
///
/// Returns `OK`.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_last_sequence(config: *mut SenderConfigHandle, sequence: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            if sequence != core.last_sequence {
                // That of a token, and of another place.
                core.last_hash = UNKNOWN_HISTORY;
            }
            core.last_sequence = sequence;
            Ok(())
        })
    }
}

/// Takes files and directories whose permissions are refused otherwise. Default false. Call it before the setters that name them:
/// sender_config_set_tls() looks at its key file at once, sender_new() at the log's directory.
///
/// Refused, with `INVALID_ARGUMENT` and a text that names the path, its owner and mode and what to do, are: a log's directory that
/// belongs neither to this process's user nor to root, or that every user may write to; a private key that belongs to neither, that
/// its group or others may write to, that others may read, or that its group may read unless root owns it. With true they are used,
/// and each is reported with the event `UNPROTECTED`, as a log's directory is that only its group may write to.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_insecure_permissions_allowed(
    config: *mut SenderConfigHandle,
    allowed: bool,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.insecure_permissions_allowed = allowed;
            Ok(())
        })
    }
}

/// Encrypts connections with TLS 1.3 and shows readers a certificate. Default: no TLS. Counts for every connection whose
/// handshake is the library's: listening sockets and sender_accept_connection(), not sender_accept_reader(). Readers without
/// TLS are then refused. The TLS handshake is part of what sender_config_set_handshake_timeout_ms() bounds.
///
/// The files are read now, each in PEM; later changes of them are not seen. Others may neither read nor change the
/// key's: see sender_config_set_insecure_permissions_allowed().
///
/// - `certificate_chain_file`: this writer's certificate, then those that lead to an authority of the readers.
/// - `private_key_file`: the key of the first certificate, not encrypted.
/// - `client_ca_file`: readers must have a certificate of one of these authorities; NULL: they need none.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL, "", text that is not UTF-8, or a file that cannot be used; `IO` for one that
/// cannot be read. The text names the file. After an error the configuration is as it was.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed. The texts are NULL or end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_tls(
    config: *mut SenderConfigHandle,
    certificate_chain_file: *const c_char,
    private_key_file: *const c_char,
    client_ca_file: *const c_char,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            let identity = IdentityFiles {
                certificate_chain_file: path(certificate_chain_file, "certificate_chain_file")?,
                private_key_file: path(private_key_file, "private_key_file")?,
                insecure_permissions_allowed: core.insecure_permissions_allowed,
            };
            core.tls = Some(TlsServer::from_files(identity, optional_path(client_ca_file, "client_ca_file")?)?);
            Ok(())
        })
    }
}

/// Sets who hears of events. NULL: nobody, the default.
///
/// The handler is called from one thread of the sender, one call at a time, together with the log handler. `user_data` and
/// `user_data_free` move to the first sender made from the configuration; `user_data_free` (may be NULL) runs once, after
/// the last call, and also when this function fails or another handler replaces this one.
///
/// Returns `OK`.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed. The functions may be called from other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_event_handler(
    config: *mut SenderConfigHandle,
    handler: EventFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
) -> Status {
    let callback = Callback::<EventFn>::new(handler, user_data, user_data_free);
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            // The old callback is dropped after the lock: its free function may use the configuration.
            let _old = std::mem::replace(&mut config.state().event, callback.into());
            Ok(())
        })
    }
}

/// Sets who gets log records. NULL: nobody, the default.
///
/// - `max_level`: the least important replication_log_level to hand over; ignored when `handler` is NULL.
///
/// The handler is called from one thread of the sender, one call at a time, together with the event handler. `user_data` and
/// `user_data_free` move to the first sender made from the configuration; `user_data_free` (may be NULL) runs once, after
/// the last call, and also when this function fails or another handler replaces this one.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a number that is no level.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed. The functions may be called from other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_log_handler(
    config: *mut SenderConfigHandle,
    max_level: i32,
    handler: LogFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
) -> Status {
    let callback = Callback::<LogFn>::new(handler, user_data, user_data_free);
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            let level = if callback.is_some() { log_level(max_level)? } else { LogLevel::Error };
            let _old = {
                let mut state = config.state();
                state.max_level = level;
                std::mem::replace(&mut state.log, callback.into())
            };
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
