//! # Sender: configuration
//!
//! What a sender is told before it is made.

use std::ffi::{c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::args::{invalid, optional_path, path, positive_ms};
use super::callbacks::{Callback, CallbackSlot, EventFn, FreeFn, LogFn};
use super::guard::{Guarded, HandleState, guard, make, release};
use crate::engine::heartbeat;
use crate::error::{Result, Status};
use crate::host::LogLevel;
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::sender::config::{FullPolicy, SenderConfig, StorageConfig};
use crate::transport::{IdentityFiles, TlsServer};

/// What happens to a new entry if the buffer is full of entries that a reader still needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FullPolicyNumber {
    /// Accept it and cut off the slowest readers with `SEQUENCE_GAP`. With a log on disk they continue from there, and
    /// only a slow disk delays the entry or refuses it.
    CutOffSlowest = 0,
    /// Refuse it with `BUFFER_FULL`.
    Refuse = 1,
    /// Wait for the slowest reader, then refuse.
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

/// The options of a sender. Created by sender_config_new().
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

/// Creates a configuration with default options. Returns NULL if out of memory.
#[unsafe(no_mangle)]
pub extern "C" fn sender_config_new() -> *mut SenderConfigHandle {
    make(SenderConfigHandle::new)
}

/// Frees a configuration, and the `user_data` of callbacks that no sender has taken over.
///
/// # Safety
/// `config` is NULL or came from sender_config_new(), and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_free(config: *mut SenderConfigHandle) {
    // SAFETY: the caller's promise.
    unsafe { release(config, drop) };
}

/// Sets the capacity, in entries, of the buffer of entries in memory. Returns `OK`; `INVALID_ARGUMENT` for 0. Default:
/// 10000. At least: 1.
///
/// # When to change it
/// Raise it when readers without a log on disk to fall back on are cut off during bursts of small entries.
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

/// Sets the capacity of the buffer in bytes; the limit that is reached first applies. Returns `OK`; `INVALID_ARGUMENT`
/// for less than 65536. Default: 67108864 (64 MiB). At least: 65536.
///
/// # When to change it
/// Raise it when readers fall behind for longer than the buffer lasts at your rate of bytes; lower it when memory is
/// short. It must hold the largest entry.
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

/// Sets what happens to new entries if the buffer is full. Returns `OK`; `INVALID_ARGUMENT` for an unknown policy.
///
/// - `policy`: a replication_full_policy. Default: `REPLICATION_FULL_POLICY_CUT_OFF_SLOWEST`.
/// - `wait_ms`: how many milliseconds `REPLICATION_FULL_POLICY_WAIT` waits.
///
/// # When to change it
/// Choose refusing or waiting when no reader may ever miss an entry and the log is in memory only. With a log on disk
/// the default serves lagging readers from there.
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

/// Sets how many milliseconds a reader may accept no bytes before it is disconnected. Returns `OK`; `INVALID_ARGUMENT`
/// for 0. Default: 5000 (5 s). At least: 1.
///
/// # When to change it
/// Raise it for links that stall for seconds; lower it to free the resources of dead readers sooner.
/// It may change while the sender lives.
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

/// Sets how many milliseconds the handshake of a connection may take, TLS included. Returns `OK`; `INVALID_ARGUMENT`
/// for 0. Default: 5000 (5 s). At least: 1.
///
/// # When to change it
/// Raise it when readers connect over slow links or with slow TLS clients.
/// It may change while the sender lives.
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

/// Sets the heartbeat interval of idle v2 connections in milliseconds, below the peer timeout. Returns `OK`;
/// `INVALID_ARGUMENT` for 0. Default: 1000 (1 s). At least: 1.
///
/// # When to change it
/// Lower it, together with the peer time-outs, to notice dead connections sooner; raise it for metered links.
/// It may change while the sender lives.
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

/// Sets the shortest heartbeat interval in milliseconds that a v2 reader may request; shorter requests get this one.
/// The sender's own interval may be shorter. Returns `OK`; `INVALID_ARGUMENT` for NULL or a value out of range.
/// Default: 100. Range: 10 to 60000.
///
/// # When to change it
/// Lower it when readers need faster failure detection than it allows; raise it with thousands of readers.
/// It may change while the sender lives.
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

/// Sets how many milliseconds a v2 reader may be silent before it is disconnected; a v1 reader may be silent forever.
/// Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 10000 (10 s). At least: 1.
///
/// # When to change it
/// Lower it to notice dead readers sooner; raise it when readers pause for long, as under a debugger or on overloaded
/// hosts.
/// It may change while the sender lives.
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

/// Sets for how many milliseconds sender_stop() lets readers catch up; 0: it closes their connections at once. Returns
/// `OK`. Default: 5000 (5 s).
///
/// # When to change it
/// Raise it when readers must have everything before the writer ends; 0 for an immediate end.
/// It may change while the sender lives.
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

/// Sets how many readers may be connected at once; more are refused and reported. Returns `OK`; `INVALID_ARGUMENT` for
/// 0. Default: 1024. At least: 1.
///
/// # When to change it
/// Set it to what you expect and some reserve: it bounds memory, descriptors and slots.
/// It may change while the sender lives.
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

/// Sets the permissions of Unix socket files, from their creation on and whatever the umask. Connecting takes write
/// permission. In the abstract namespace ("unix:@name"), the bits are applied to the peer's user and group as if this
/// process owned a file; others are disconnected (REFUSED). Returns `OK`; `INVALID_ARGUMENT` for other bits. Default:
/// 0600. At most: 0777.
///
/// # When to change it
/// Widen it when readers run as another user of the machine.
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

/// Sets the number of network threads; 0: one per two processors, from one to four. Returns `OK`; `INVALID_ARGUMENT`
/// for more than 256. Default: 0. At most: 256.
///
/// # When to change it
/// Raise it when one thread cannot send to all readers: above some GB/s, or with TLS and many readers.
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

/// Sets the sequence after which the log begins; a log on disk is only checked against it. Unlike
/// sender_config_set_token(), it proves nothing about the history before. Returns `OK`. Default: 0.
///
/// # When to change it
/// Only when the host numbers entries across restarts itself, without a log on disk and without tokens.
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

/// Allows permissions of a log directory or private key that are otherwise refused, and reports them with the event
/// UNPROTECTED. Call it before sender_config_set_tls(). Returns `OK`; `INVALID_ARGUMENT` for NULL. Default: false.
///
/// The function that opens them returns `INVALID_ARGUMENT` for a directory that everyone may write to, for a key that
/// its group or others may write to, that others may read, or that its group may read unless root owns it, and for
/// either if another user (not root) owns it. The text names the remedy. A directory that its group may write to is
/// only reported.
///
/// # When to change it
/// Only in tests, and where another mechanism than file permissions protects the files.
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

/// Encrypts connections with TLS 1.3, those of sender_listen() and sender_accept_connection(), not those of
/// sender_accept_reader(). Readers without TLS are then refused. The PEM files are read now. The key must be protected,
/// see sender_config_set_insecure_permissions_allowed(). See docs/tls.md. Returns `OK`; `INVALID_ARGUMENT` for NULL,
/// "", text that is not UTF-8 or an unusable file; `IO` for an unreadable file. The text names it. A failure changes
/// nothing. Default: none.
///
/// - `certificate_chain_file`: this writer's certificate, then those up to the readers' authority.
/// - `private_key_file`: the key of the first certificate, not encrypted.
/// - `client_ca_file`: readers need a certificate of one of these authorities; NULL: they need none.
///
/// # When to change it
/// Always, unless connections stay on the machine, on a trusted network or in a tunnel.
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

/// Sets the function that receives events. Returns `OK`.
///
/// - `handler`: NULL for none, the default.
///
/// # When to change it
/// Always in production: failures in the background are reported here.
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

/// Sets the function that receives log records. Returns `OK`; `INVALID_ARGUMENT` for a wrong level.
///
/// - `max_level`: the least severe replication_log_level to pass on; ignored if `handler` is NULL.
/// - `handler`: NULL for none, the default.
///
/// # When to change it
/// When the library is to write into the log of the host.
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
