//! # Receiver: configuration
//!
//! What a receiver is told before it is made.

use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::args::{invalid, path, positive_ms, reader_id as checked_reader_id, text};
use super::callbacks::{CallbackSlot, ConnectFn, EventFn, IngestBatchFn, IngestFn, LogFn, RecordFn};
use super::guard::{Guarded, HandleState, guard, make, release};
use crate::error::{Result, Status};
use crate::host::LogLevel;
pub use crate::protocol::MAX_READER_ID_BYTES;
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::receiver::config::{ApplyPolicy, GapPolicy, LocalLogConfig, ProtocolChoice, ReceiverConfig};
use crate::records::DEFAULT_MAX_BYTES;
use crate::transport::{Address, IdentityFiles, TlsClient};

/// The protocol versions that a receiver speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ProtocolNumber {
    /// Offer v2, accept v1.
    Auto = 0,
    /// Speak v1 only.
    V1 = 1,
    /// Refuse a writer without v2.
    V2 = 2,
}

/// What a receiver does if the writer's entries have a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum GapPolicyNumber {
    /// Report it and do not continue.
    Refuse = 0,
    /// Report it, count it and lose the entries.
    Continue = 1,
}

/// What a receiver does if its handler fails on an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ApplyPolicyNumber {
    /// Retry forever, with growing pauses.
    Retry = 0,
    /// Retry some times, then stop applying.
    Stop = 1,
    /// Retry some times, then skip and report it.
    Skip = 2,
}

/// Which of the three kinds of handler is set.
pub(crate) enum HandlerSlot {
    None,
    Ingest(CallbackSlot<IngestFn>),
    Batch(CallbackSlot<IngestBatchFn>, usize),
    Record(CallbackSlot<RecordFn>),
}

/// What the setters fill.
pub(crate) struct ReceiverConfigState {
    pub(crate) core: ReceiverConfig,
    /// Used when it has a directory.
    pub(crate) local_log: LocalLogConfig,
    pub(crate) handler: HandlerSlot,
    /// For the records of one entry.
    pub(crate) records_max_bytes: u64,
    pub(crate) local_wal: CallbackSlot<IngestFn>,
    pub(crate) connect: CallbackSlot<ConnectFn>,
    pub(crate) event: CallbackSlot<EventFn>,
    pub(crate) log: CallbackSlot<LogFn>,
    pub(crate) max_level: LogLevel,
}

/// The options of a receiver. Created by receiver_config_new().
pub struct ReceiverConfigHandle {
    gate: HandleState,
    state: Mutex<ReceiverConfigState>,
}

impl Guarded for ReceiverConfigHandle {
    const NAME: &'static str = "config";
    fn gate(&self) -> &HandleState {
        &self.gate
    }
}

impl ReceiverConfigHandle {
    fn new() -> Result<Self> {
        Ok(Self {
            gate: HandleState::new()?,
            state: Mutex::new(ReceiverConfigState {
                core: ReceiverConfig::default(),
                local_log: LocalLogConfig::new(""),
                handler: HandlerSlot::None,
                records_max_bytes: DEFAULT_MAX_BYTES,
                local_wal: CallbackSlot::Empty,
                connect: CallbackSlot::Empty,
                event: CallbackSlot::Empty,
                log: CallbackSlot::Empty,
                max_level: LogLevel::Error,
            }),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, ReceiverConfigState> {
        // A panic while it was locked has poisoned the gate, which lets nobody in any more.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `new` in its place. What was there is dropped after the lock: its free function may use the configuration.
    pub(crate) fn replace<T>(&self, place: impl FnOnce(&mut ReceiverConfigState) -> &mut T, new: T) {
        let _old = std::mem::replace(place(&mut self.state()), new);
    }
}

/// # Safety
/// As for [`guard`].
unsafe fn set(config: *mut ReceiverConfigHandle, change: impl FnOnce(&mut ReceiverConfig) -> Result<()>) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(config, |config| change(&mut config.state().core)) }
}

/// Creates a configuration with default options. Returns NULL if out of memory.
#[unsafe(no_mangle)]
pub extern "C" fn receiver_config_new() -> *mut ReceiverConfigHandle {
    make(ReceiverConfigHandle::new)
}

/// Frees a configuration, and the `user_data` of callbacks that no receiver has taken over.
///
/// # Safety
/// `config` is NULL or came from receiver_config_new(), and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_free(config: *mut ReceiverConfigHandle) {
    // SAFETY: the caller's promise.
    unsafe { release(config, drop) };
}

/// Sets the name by which the writer knows this reader. A second connection with the same name replaces the first.
/// Required. Returns `OK`; `INVALID_ARGUMENT` for NULL or an invalid id.
///
/// - `reader_id`: 1 to `REPLICATION_MAX_READER_ID_BYTES` bytes of UTF-8 without control characters (of ASCII and C1,
///   line and paragraph separators, marks that override the text direction).
///
/// # When to change it
/// Always: each reader needs an id of its own that stays the same across restarts.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed. `reader_id` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_reader_id(
    config: *mut ReceiverConfigHandle,
    reader_id: *const c_char,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.reader_id = checked_reader_id(reader_id)?.to_owned();
            Ok(())
        })
    }
}

/// Sets the address of the writer, or several separated by commas, which are tried in turn until one accepts this
/// reader. Required, also with a connect handler. docs/embedding.md describes the order and the pauses. Returns `OK`;
/// `INVALID_ARGUMENT` for NULL, "" or text that is not UTF-8; `IO` if a path cannot be made absolute. receiver_new()
/// checks whether it parses.
///
/// - `writer_addr`: each "host:port", with an IPv6 address in brackets; "unix:/path", made absolute now; or
///   "unix:@name" for a Unix socket in the abstract namespace ("unix:./@name" is a file). Host names are resolved at
///   each attempt. With TLS the certificate must be for the dialled host, unless a server name is set.
///
/// # When to change it
/// Always, unless the host connects by itself; list several addresses when the writer may move.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed. `writer_addr` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_writer_addr(
    config: *mut ReceiverConfigHandle,
    writer_addr: *const c_char,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            let writer_addr = text(writer_addr, "writer_addr")?;
            if writer_addr.is_empty() {
                return Err(invalid("writer_addr is empty"));
            }
            core.writer_addr = Address::absolute_list(writer_addr)?;
            Ok(())
        })
    }
}

/// Sets the sequence of the last applied entry, after which the writer continues; 0: with the first entry. For
/// exactly-once delivery, store it in the transaction that applies the entry. Unlike receiver_config_set_token() it
/// proves nothing about the history before it: a forked writer may not be noticed, and waits and the write gate count
/// this reader only when it acknowledges new entries. Returns `OK`. Default: 0.
///
/// # When to change it
/// When the host stores sequences only; prefer a token, which also identifies the history.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_last_sequence(config: *mut ReceiverConfigHandle, sequence: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            if sequence != core.last_sequence {
                // That of a token, and of another place.
                core.last_hash = UNKNOWN_HISTORY;
            }
            (core.last_sequence, core.has_position) = (sequence, true);
            Ok(())
        })
    }
}

/// Sets the protocol versions to speak, a replication_protocol. Returns `OK`; `INVALID_ARGUMENT` for another number.
/// Default: `REPLICATION_PROTOCOL_AUTO`.
///
/// # When to change it
/// V2 to refuse writers without checksums and lineage; V1 for writers of the documented Go system that refuse the offer
/// of v2.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_protocol(config: *mut ReceiverConfigHandle, protocol: u32) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.protocol = match protocol {
                p if p == ProtocolNumber::Auto as u32 => ProtocolChoice::Auto,
                p if p == ProtocolNumber::V1 as u32 => ProtocolChoice::V1,
                p if p == ProtocolNumber::V2 as u32 => ProtocolChoice::V2,
                _ => return Err(invalid(format!("protocol {protocol} is no replication_protocol"))),
            };
            Ok(())
        })
    }
}

/// Sets whether the handshake uses the message types of a cluster coordinator, 0x10 and 0x11 instead of 0x12 and 0x13.
/// Returns `OK`. Default: false.
///
/// # When to change it
/// When the writer is behind a coordinator of the documented Go system.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_coordinator_handshake(
    config: *mut ReceiverConfigHandle,
    enabled: bool,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.coordinator_handshake = enabled;
            Ok(())
        })
    }
}

/// Sets what happens if the writer's entries have a gap, a replication_gap_policy. Returns `OK`; `INVALID_ARGUMENT` for
/// an unknown policy. Default: `REPLICATION_GAP_POLICY_REFUSE`.
///
/// # When to change it
/// CONTINUE only for data whose gaps do no harm, such as metrics.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_gap_policy(config: *mut ReceiverConfigHandle, policy: u32) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.gap_policy = match policy {
                p if p == GapPolicyNumber::Refuse as u32 => GapPolicy::Refuse,
                p if p == GapPolicyNumber::Continue as u32 => GapPolicy::Continue,
                _ => return Err(invalid(format!("policy {policy} is no replication_gap_policy"))),
            };
            Ok(())
        })
    }
}

/// Sets what happens if the handler fails on an entry. A failure with `REPLICATION_STATUS_CLOSED` is always retried.
/// Returns `OK`; `INVALID_ARGUMENT` for an unknown policy.
///
/// - `policy`: a replication_apply_policy. Default: `REPLICATION_APPLY_POLICY_RETRY`.
/// - `retries`: how often the other two policies retry before they stop or skip.
///
/// # When to change it
/// STOP when an operator must look at a failing entry; SKIP only for data of which entries may be lost.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_apply_policy(
    config: *mut ReceiverConfigHandle,
    policy: u32,
    retries: u32,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.apply_policy = match policy {
                p if p == ApplyPolicyNumber::Retry as u32 => ApplyPolicy::Retry,
                p if p == ApplyPolicyNumber::Stop as u32 => ApplyPolicy::Stop(retries),
                p if p == ApplyPolicyNumber::Skip as u32 => ApplyPolicy::Skip(retries),
                _ => return Err(invalid(format!("policy {policy} is no replication_apply_policy"))),
            };
            Ok(())
        })
    }
}

/// Sets whether the handler makes entries durable before it returns, so that applied entries are also acknowledged as
/// durable. Returns `OK`. Default: false.
///
/// # When to change it
/// When the handler commits to durable storage before it returns, so that the writer can count on it.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_handler_durable(
    config: *mut ReceiverConfigHandle,
    durable: bool,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.handler_durable = durable;
            Ok(())
        })
    }
}

/// Sets the longest pause in milliseconds between attempts to connect. Pauses start shorter and grow, with jitter; a
/// connection that lasted twice this time resets them. A receiver that another one with its reader id replaced waits up
/// to one and a half times this. Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 5000 (5 s). At least: 1.
///
/// # When to change it
/// Lower it when a reader must follow a new writer quickly; raise it with thousands of readers.
/// It may change while the receiver lives.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_reconnect_interval_ms(
    config: *mut ReceiverConfigHandle,
    interval_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.reconnect_interval = positive_ms(interval_ms, "interval_ms")?;
            Ok(())
        })
    }
}

/// Sets the interval in milliseconds at which a moving position is acknowledged. Returns `OK`; `INVALID_ARGUMENT` for
/// 0. Default: 100. At least: 1.
///
/// # When to change it
/// Lower it for fresher statistics and faster release of the log; waits for acknowledgements do not depend on it.
/// It may change while the receiver lives.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_ack_interval_ms(
    config: *mut ReceiverConfigHandle,
    interval_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.ack_interval = positive_ms(interval_ms, "interval_ms")?;
            Ok(())
        })
    }
}

/// Sets how many milliseconds connecting and the handshake, TLS included, may take together. Returns `OK`;
/// `INVALID_ARGUMENT` for 0. Default: 5000 (5 s). At least: 1.
///
/// # When to change it
/// Raise it for slow links; lower it when several addresses are tried in turn.
/// It may change while the receiver lives.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_connect_timeout_ms(
    config: *mut ReceiverConfigHandle,
    timeout_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.connect_timeout = positive_ms(timeout_ms, "timeout_ms")?;
            Ok(())
        })
    }
}

/// As sender_config_set_heartbeat_interval_ms(). Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 1000 (1 s). At least:
/// 1.
///
/// # When to change it
/// Lower it, together with the peer time-outs, to notice dead connections sooner.
/// It may change while the receiver lives.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_heartbeat_interval_ms(
    config: *mut ReceiverConfigHandle,
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

/// Sets how many milliseconds a v2 writer may be silent before it is disconnected. Returns `OK`; `INVALID_ARGUMENT` for
/// 0. Default: 10000 (10 s). At least: 1.
///
/// # When to change it
/// Lower it to look for a new writer sooner; raise it when the writer pauses for long.
/// It may change while the receiver lives.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_peer_timeout_ms(
    config: *mut ReceiverConfigHandle,
    timeout_ms: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.peer_timeout = positive_ms(timeout_ms, "timeout_ms")?;
            Ok(())
        })
    }
}

/// Sets how many bytes may be received and not yet applied; a single entry may be larger. Returns `OK`;
/// `INVALID_ARGUMENT` for less than 65536. Default: 4194304 (4 MiB). At least: 65536.
///
/// # When to change it
/// Raise it when the handler is slower than the network in bursts; lower it when memory is short.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_buffer_bytes(config: *mut ReceiverConfigHandle, bytes: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            if bytes < ReceiverConfig::MIN_BUFFER_BYTES {
                return Err(invalid(format!(
                    "bytes is {bytes}, at least {} are needed",
                    ReceiverConfig::MIN_BUFFER_BYTES
                )));
            }
            core.buffer_bytes = bytes;
            Ok(())
        })
    }
}

/// Sets by how much the writer's epoch may rise at once; a writer further above is refused with DIVERGED. It stops an
/// attacker from using up the epochs of a stream in one step, so set it to fit your epochs, such as counters or times.
/// The first epoch is not limited, unless a token or the log on disk sets one. Returns
/// `OK`; `INVALID_ARGUMENT` for 0. Default: 1152921504606846976 (2^60). At least: 1.
///
/// # When to change it
/// Lower it when epochs come from a trusted counter, so that a hostile writer cannot use them up.
/// It may change while the receiver lives.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_max_epoch_jump(config: *mut ReceiverConfigHandle, jump: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            if jump == 0 {
                return Err(invalid("jump is 0, at least 1 is needed: an epoch rises with each promotion"));
            }
            core.max_epoch_jump = jump;
            Ok(())
        })
    }
}

/// As sender_config_set_insecure_permissions_allowed(); call it before receiver_config_set_tls(). Returns `OK`;
/// `INVALID_ARGUMENT` for NULL. Default: false.
///
/// # When to change it
/// Only in tests, and where another mechanism than file permissions protects the files.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_insecure_permissions_allowed(
    config: *mut ReceiverConfigHandle,
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

/// Encrypts all connections with TLS 1.3, also those of a connect handler, which returns a plain socket. A writer
/// without TLS or with an unsuitable certificate is not followed; nothing turns this check off. Files are treated as by
/// sender_config_set_tls(). Returns `OK`; `INVALID_ARGUMENT` and `IO` as sender_config_set_tls(), and for an invalid
/// server name. Default: none.
///
/// - `ca_file`: the writer must have a certificate of one of these authorities.
/// - `server_name`: the DNS name or IP address in the writer's certificate; NULL for the host in the writer address. It
///   must be given with a Unix socket.
/// - `certificate_chain_file`, `private_key_file`: this reader's certificate, then those up to the writer's authority,
///   and its unencrypted key; both NULL for none, which a writer may refuse.
///
/// # When to change it
/// Always, unless connections stay on the machine, on a trusted network or in a tunnel.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed. The texts are NULL or end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_tls(
    config: *mut ReceiverConfigHandle,
    ca_file: *const c_char,
    server_name: *const c_char,
    certificate_chain_file: *const c_char,
    private_key_file: *const c_char,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            let ca_file = path(ca_file, "ca_file")?;
            let server_name = if server_name.is_null() { None } else { Some(text(server_name, "server_name")?) };
            let identity = match (certificate_chain_file.is_null(), private_key_file.is_null()) {
                (true, true) => None,
                _ => Some(IdentityFiles {
                    certificate_chain_file: path(certificate_chain_file, "certificate_chain_file")?,
                    private_key_file: path(private_key_file, "private_key_file")?,
                    insecure_permissions_allowed: core.insecure_permissions_allowed,
                }),
            };
            core.tls = Some(TlsClient::from_files(ca_file, server_name, identity)?);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
