//! # Receiver: following a writer
//!
//! Whom a receiver follows, how it connects, and what it takes from a writer.

use std::ffi::{c_char, c_void};

use super::args::{invalid, path, positive, positive_ms, reader_id as checked_reader_id, text};
use super::callbacks::{Callback, ConnectFn, FreeFn};
use super::guard::{guard, query};
use super::receiver::ReceiverHandle;
use super::receiver_config::{ReceiverConfigHandle, set};
use crate::error::{Result, Status};
pub use crate::protocol::MAX_READER_ID_BYTES;
use crate::receiver::config::{GapPolicy, ProtocolChoice};
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

/// Sets a function that connects to the writer instead of the library. It receives one address of the list, with a Unix
/// socket path absolute, and may take that address's share of the connect timeout, while no other callback runs.
/// Returns `OK`.
///
/// - `handler`: NULL for none, the default.
///
/// # When to change it
/// When connections need a proxy, a tunnel or credentials that the library does not know.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed. The functions may be called from other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_connect_handler(
    config: *mut ReceiverConfigHandle,
    handler: ConnectFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
) -> Status {
    let callback = Callback::<ConnectFn>::new(handler, user_data, user_data_free);
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            config.replace(|state| &mut state.connect, callback.into());
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
            let insecure = core.insecure_permissions_allowed;
            core.tls = Some(tls_client(ca_file, server_name, (certificate_chain_file, private_key_file), insecure)?);
            Ok(())
        })
    }
}

/// # Safety
/// The texts are NULL or end with a NUL.
pub(super) unsafe fn tls_client(
    ca_file: *const c_char,
    server_name: *const c_char,
    (certificate_chain_file, private_key_file): (*const c_char, *const c_char),
    insecure_permissions_allowed: bool,
) -> Result<TlsClient> {
    // SAFETY: the caller's promise.
    let (ca_file, server_name, identity) = unsafe {
        let ca_file = path(ca_file, "ca_file")?;
        let server_name = if server_name.is_null() { None } else { Some(text(server_name, "server_name")?) };
        let identity = match (certificate_chain_file.is_null(), private_key_file.is_null()) {
            (true, true) => None,
            _ => Some(IdentityFiles {
                certificate_chain_file: path(certificate_chain_file, "certificate_chain_file")?,
                private_key_file: path(private_key_file, "private_key_file")?,
                insecure_permissions_allowed,
            }),
        };
        (ca_file, server_name, identity)
    };
    TlsClient::from_files(ca_file, server_name, identity)
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

/// Sets by how much the writer's epoch may rise at once; a writer further above is refused with DIVERGED. It stops an
/// attacker from using up the epochs of a stream in one step, so fit it to yours, such as counters or times.
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

/// Sets the largest payload in bytes that the receiver accepts. A larger one is refused before memory is allocated: the
/// connection ends with status MESSAGE_TOO_LARGE and an event PROTOCOL_ERROR with the entry's sequence, at the writer
/// too. The receiver reconnects, but cannot pass the entry until the limit is raised; no entry is skipped. Returns
/// `OK`; `INVALID_ARGUMENT` for 0. Default: 78643104 (the largest payload). At least: 1.
///
/// # When to change it
/// Lower it to what your writer sends, which bounds the memory that a hostile writer can take.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_max_entry_bytes(
    config: *mut ReceiverConfigHandle,
    max_bytes: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            config.state().core.max_entry_bytes = positive(max_bytes, "max_bytes")?;
            Ok(())
        })
    }
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
