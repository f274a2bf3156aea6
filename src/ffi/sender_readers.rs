//! # Sender: accepting readers
//!
//! Where readers connect, how many may, and when one is given up.

use std::ffi::{c_char, c_int};
use std::time::Duration;

use super::args::{
    close, duplicate_socket, invalid, optional_path, path, positive, positive_ms, put_optional,
    reader_id as checked_reader_id, text,
};
use super::guard::{guard, query};
use super::sender::SenderHandle;
use super::sender_config::{SenderConfigHandle, set};
use crate::engine::heartbeat;
use crate::error::{Result, Status};
use crate::transport::{IdentityFiles, TlsServer};

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
            core.max_readers = positive(readers, "readers")?;
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
            let insecure = core.insecure_permissions_allowed;
            core.tls = Some(tls_server(certificate_chain_file, private_key_file, client_ca_file, insecure)?);
            Ok(())
        })
    }
}

/// # Safety
/// The texts are NULL or end with a NUL.
pub(super) unsafe fn tls_server(
    certificate_chain_file: *const c_char,
    private_key_file: *const c_char,
    client_ca_file: *const c_char,
    insecure_permissions_allowed: bool,
) -> Result<TlsServer> {
    // SAFETY: the caller's promise.
    let (identity, client_ca_file) = unsafe {
        let identity = IdentityFiles {
            certificate_chain_file: path(certificate_chain_file, "certificate_chain_file")?,
            private_key_file: path(private_key_file, "private_key_file")?,
            insecure_permissions_allowed,
        };
        (identity, optional_path(client_ca_file, "client_ca_file")?)
    };
    TlsServer::from_files(identity, client_ca_file)
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

/// Sets how many milliseconds a v2 reader may be silent before it is disconnected. A v1 reader may be silent forever, unless
/// it may do no more than read and does not acknowledge what it was sent. Returns `OK`; `INVALID_ARGUMENT` for 0.
/// Default: 10000 (10 s). At least: 1.
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
            sender.core.accept_reader(socket, reader_id, last_known_sequence, None)?;
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
            sender.core.accept_connection(duplicate_socket(fd, "fd")?, None)?;
            close(fd);
            Ok(())
        })
    }
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
