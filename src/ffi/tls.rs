//! # Certificates
//!
//! In `replication_access.h`.
//!
//! Certificates that are revoked, and others on a live handle. docs/tls.md has the rest.

use std::ffi::c_char;

use super::args::{optional_path, path};
use super::guard::guard;
use super::receiver::ReceiverHandle;
use super::receiver_connecting::tls_client;
use super::sender::SenderHandle;
use super::sender_config::{SenderConfigHandle, set};
use super::sender_readers::tls_server;
use crate::error::{Error, Status};

/// Refuses readers whose certificate is in a revocation list. Call it after sender_config_set_tls() with a `client_ca_file`.
/// Each authority of a reader's certificate must have a list in the file. Returns `OK`; `INVALID_STATE` before that;
/// `INVALID_ARGUMENT` for NULL, "", text that is not UTF-8 or an unusable file; `IO` for an unreadable file. A failure changes
/// nothing. Default: none.
///
/// - `crl_file`: lists in PEM (X509 CRL).
///
/// # When to change it
/// Set it when certificates live long enough to be lost.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed; `crl_file` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_tls_crl_file(
    config: *mut SenderConfigHandle,
    crl_file: *const c_char,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            let tls = core
                .tls
                .as_ref()
                .ok_or_else(|| Error::new(Status::InvalidState, "sender_config_set_tls() comes first"))?;
            core.tls = Some(tls.with_crl_file(path(crl_file, "crl_file")?)?);
            Ok(())
        })
    }
}

/// Replaces the certificates of a sender that has TLS. The files are read now; in the place of a path the PEM itself may
/// stand, a text with a line "-----BEGIN", as in sender_config_set_tls() and receiver_config_set_tls(). Connections that come use the new ones;
/// connected readers stay. Returns `OK`; `INVALID_STATE` for a sender that was made without TLS; `INVALID_ARGUMENT` and `IO`
/// as sender_config_set_tls(), which change nothing; `CLOSED` after sender_stop().
///
/// - `certificate_chain_file`, `private_key_file`, `client_ca_file`: as for sender_config_set_tls().
/// - `crl_file`: as for sender_config_set_tls_crl_file(), or NULL.
/// - `recheck`: disconnects readers whose certificate would not be accepted any more (NOT_AUTHORIZED).
///
/// # Safety
/// `sender` came from sender_new() and is not freed. The texts are NULL or end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_set_tls(
    sender: *mut SenderHandle,
    certificate_chain_file: *const c_char,
    private_key_file: *const c_char,
    client_ca_file: *const c_char,
    crl_file: *const c_char,
    recheck: bool,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let insecure = sender.core.insecure_permissions_allowed();
            let tls = tls_server(certificate_chain_file, private_key_file, client_ca_file, insecure)?;
            let tls = match optional_path(crl_file, "crl_file")? {
                None => tls,
                Some(crl_file) => tls.with_crl_file(crl_file)?,
            };
            sender.core.set_tls(tls, recheck)
        })
    }
}

/// Reads the files of a sender's certificates, key and revocation lists again, when the host knows or suspects that they
/// changed. Returns `OK`, or what sender_set_tls() does.
///
/// - `recheck`: as for sender_set_tls(); it also finds certificates that have expired meanwhile.
///
/// # Safety
/// `sender` came from sender_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_reload_tls(sender: *mut SenderHandle, recheck: bool) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core.reload_tls(recheck)) }
}

/// Replaces the certificates of a receiver that has TLS, for its next connection. The files are read now. Returns `OK`;
/// `INVALID_STATE` for a receiver that was made without TLS; `INVALID_ARGUMENT` and `IO` as receiver_config_set_tls(), which
/// change nothing; `CLOSED` after receiver_stop().
///
/// - `ca_file`, `server_name`, `certificate_chain_file`, `private_key_file`: as for receiver_config_set_tls().
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed. The texts are NULL or end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_set_tls(
    receiver: *mut ReceiverHandle,
    ca_file: *const c_char,
    server_name: *const c_char,
    certificate_chain_file: *const c_char,
    private_key_file: *const c_char,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(receiver, |receiver| {
            let insecure = receiver.core.insecure_permissions_allowed();
            let tls = tls_client(ca_file, server_name, (certificate_chain_file, private_key_file), insecure)?;
            receiver.core.set_tls(tls)
        })
    }
}

/// Reads the files of a receiver's authorities, certificate and key again, for its next connection. Returns
/// `OK`, or what receiver_set_tls() does.
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_reload_tls(receiver: *mut ReceiverHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(receiver, |receiver| receiver.core.reload_tls()) }
}
