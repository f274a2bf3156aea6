//! # Receiver: configuration
//!
//! What a receiver is told before it is made.

use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::args::{invalid, lineage, path, positive_ms, reader_id as checked_reader_id, text};
use super::callbacks::{CallbackSlot, ConnectFn, EventFn, IngestBatchFn, IngestFn, LogFn, RecordFn};
use super::guard::{Guarded, HandleState, guard, make, release};
use crate::error::{Result, Status};
use crate::host::LogLevel;
pub use crate::protocol::MAX_READER_ID_BYTES;
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::receiver::config::{ApplyPolicy, GapPolicy, LocalLogConfig, ProtocolChoice, ReceiverConfig};
use crate::records::DEFAULT_MAX_BYTES;
use crate::transport::{Address, IdentityFiles, TlsClient};

/// Which protocol versions a receiver speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ProtocolNumber {
    /// Offer v2, accept v1.
    Auto = 0,
    /// Speak v1 only.
    V1 = 1,
    /// Refuse a writer that does not speak v2.
    V2 = 2,
}

/// What a receiver does when the writer's entries have a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum GapPolicyNumber {
    /// Report it and do not go on.
    Refuse = 0,
    /// Report it, count it and go on after it: entries are lost to this reader.
    Continue = 1,
}

/// What a receiver does with an entry that the handler does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ApplyPolicyNumber {
    /// Try for ever, with growing pauses; the position stays.
    Retry = 0,
    /// Try again the given number of times, then stop applying.
    Stop = 1,
    /// Try again the given number of times, then skip the entry, reported and counted.
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

/// Options of a receiver, each at its default until it is set. Made by receiver_config_new().
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

/// Makes a configuration with every option at its default. A reader id, a writer address and one of the three handlers
/// must be set before receiver_new().
///
/// Returns the configuration, to be freed with receiver_config_free(); NULL without memory, and then
/// replication_last_error_message() has the reason.
#[unsafe(no_mangle)]
pub extern "C" fn receiver_config_new() -> *mut ReceiverConfigHandle {
    make(ReceiverConfigHandle::new)
}

/// Frees a configuration, and the `user_data` of callbacks that no receiver was made with. NULL is ignored. Receivers
/// made from it live on.
///
/// # Safety
/// `config` is NULL or came from receiver_config_new(), and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_free(config: *mut ReceiverConfigHandle) {
    // SAFETY: the caller's promise.
    unsafe { release(config, drop) };
}

/// Sets the name under which the writer knows this reader: 1 to `REPLICATION_MAX_READER_ID_BYTES` bytes of UTF-8
/// without control characters (ASCII's and C1's, line and paragraph separators, marks that override the direction of text).
/// Required.
/// A second connection with the same name replaces the first.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL, "", text that is too long, not UTF-8 or has a control character.
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

/// Sets where the writer is: "host:port", where an IPv6 address is in brackets; "unix:/path"; or "unix:@name" for a Unix
/// socket in the abstract namespace. Several of them, separated by commas, are tried in turn: which of the nodes is the writer
/// shows when one of them accepts this reader. Required, also with a connect handler, which gets one of them at a time.
///
/// A host name is resolved at each attempt. Connects race over all addresses of all names as RFC 8305 describes: the next one
/// begins after 250 ms, or when one has failed, and the first that connects is used alone. When TLS or the handshake fails
/// there, or takes longer than its share of the connect timeout, the next address has its turn at once; after the last one
/// comes a pause. A connection that ends later is tried again at the same address first if it lived for long, unless the node
/// says that it is not the writer.
///
/// A relative path is made absolute now: a later change of the working directory does not matter. Write "unix:./@name" for a
/// file whose name begins with "@". With TLS, the certificate must have the name of the address in the list that is dialled,
/// unless a server name is set.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL, "" or text that is not UTF-8; `IO` when a path cannot be made absolute. Whether it
/// parses is checked by receiver_new().
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

/// Sets the last sequence that the host has applied; the writer goes on after it. Default 0: everything from the first
/// entry. For exactly-once, store the sequence in the same transaction as the entry and set it here after a restart.
///
/// A bare number proves nothing: the writer counts this reader for waits and its write gate only when it acknowledges
/// something new, and its history stays unknown, so that a fork may not be noticed. receiver_config_set_token() has both.
///
/// Returns `OK`.
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

/// Sets the lineage that the last sequence belongs to, as receiver_get_stream() gave it. Default: the lineage of the first
/// writer is adopted. A writer of another stream or of an older epoch is then refused and reported as diverged.
///
/// - `stream_id`: `REPLICATION_STREAM_ID_BYTES` bytes.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed. `stream_id` is NULL or points to 16 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_stream(
    config: *mut ReceiverConfigHandle,
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

/// Sets which protocol versions to speak, a replication_protocol. Default `REPLICATION_PROTOCOL_AUTO`.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a number that is no protocol.
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

/// Sets whether the handshake uses the message types of a cluster coordinator (0x10 and 0x11 instead of 0x12 and 0x13).
/// Default false.
///
/// Returns `OK`.
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

/// Sets what happens when the writer's entries have a gap, a replication_gap_policy. Default `REPLICATION_GAP_POLICY_REFUSE`.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a number that is no policy.
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

/// Sets what happens to an entry that the handler does not take. Default `REPLICATION_APPLY_POLICY_RETRY`, which also holds
/// for an entry for which the handler returns `REPLICATION_STATUS_CLOSED`.
///
/// - `policy`: a replication_apply_policy.
/// - `retries`: how often `REPLICATION_APPLY_POLICY_STOP` and `REPLICATION_APPLY_POLICY_SKIP` try again before they stop or
///   skip; ignored for the other.
///
/// Returns `OK`; `INVALID_ARGUMENT` for a number that is no policy.
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

/// Sets whether the handler makes an entry durable before it returns. Default false. If true, what is applied is also
/// acknowledged to the writer as durable.
///
/// Returns `OK`.
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

/// Sets the longest pause between two attempts to connect, in milliseconds. Default 5000. Pauses begin much shorter and grow
/// up to it, with jitter. A connection that lived for twice this time makes them short again. A receiver that another one with
/// the same reader id has replaced waits this long, or up to half as long again.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
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

/// Sets how often a moving position is acknowledged, in milliseconds. Default 100.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
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

/// Sets how long connecting and the handshake may take together, in milliseconds. Default 5000.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
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

/// Sets how often an idle connection to a v2 writer says that it lives, in milliseconds. Default 1000. Must be
/// below the peer timeout.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
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

/// Sets how long a v2 writer may be silent before the connection is given up, in milliseconds. Default 10000.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
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

/// Sets how many bytes may be received and not yet applied. Default 4194304 (4 MiB), at least 65536. One entry that is
/// larger is still taken.
///
/// Returns `OK`; `INVALID_ARGUMENT` for less than 65536.
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

/// Sets by how much the writer's epoch may rise at once. Default 1152921504606846976 (2^60), at least 1. A writer whose epoch is
/// further above the last one that was followed is refused with `DIVERGED`, and the text names both. So nobody can use up the
/// epochs of a stream in one step: the true writer could never have a higher one. The first epoch that a receiver meets may
/// be any; where a token, receiver_config_set_stream() or its log on disk names one, it counts from there.
///
/// Call it with what your epochs are made of: a counter rises by one, a time in microseconds by more.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0.
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

/// Takes files and directories whose permissions are refused otherwise. Default false. Call it before the setters that name them:
/// receiver_config_set_tls() looks at its key file at once, receiver_new() at the log's directory.
///
/// Refused, with `INVALID_ARGUMENT` and a text that names the path, its owner and mode and what to do, are: a log's directory that
/// belongs neither to this process's user nor to root, or that every user may write to; a private key that belongs to neither, that
/// its group or others may write to, that others may read, or that its group may read unless root owns it. With true they are used,
/// and each is reported with the event `UNPROTECTED`, as a log's directory is that only its group may write to.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL.
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

/// Encrypts connections with TLS 1.3 and checks the writer's certificate. Default: no TLS. Counts for every connection, also
/// those of a connect handler, which gives the plain socket. A writer without TLS, or with a certificate that does not fit,
/// is not followed; nothing turns this check off. The TLS handshake is part of what
/// receiver_config_set_connect_timeout_ms() bounds.
///
/// The files are read now, each in PEM; later changes of them are not seen. Others may neither read nor change the
/// key's: see receiver_config_set_insecure_permissions_allowed().
///
/// - `ca_file`: the writer must have a certificate of one of these authorities.
/// - `server_name`: the DNS name or IP address that the writer's certificate must be for; NULL: the host in the writer
///   address. With a Unix socket it must be given.
/// - `certificate_chain_file`: this reader's certificate, then those that lead to an authority of the writer. NULL: none is
///   shown, which a writer may refuse.
/// - `private_key_file`: the key of the first certificate, not encrypted; NULL together with `certificate_chain_file`.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL where it is not allowed, "", text that is not UTF-8, a name that is none, or a
/// file that cannot be used; `IO` for one that cannot be read. The text names the file. After an error the configuration is
/// as it was.
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
