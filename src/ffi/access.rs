//! Rights and rules, and the answers to requests.

use std::ffi::{c_char, c_int, c_void};

use super::access_request::AuthorizeFn;
use super::args::{close, duplicate_socket, path, reader_id as checked_reader_id, text};
use super::callbacks::{Callback, FreeFn};
use super::guard::guard;
use super::receiver_config::{ReceiverConfigHandle, set as set_receiver};
use super::sender::SenderHandle;
use super::sender_config::{SenderConfigHandle, set};
use crate::error::{Result, Status};
use crate::receiver::config::WriterIdentity;
use crate::sender::config::AccessRules;
use crate::sender::{Rights, coherent};

/// What a connection may do. Rights are a sum of these numbers.
#[repr(u32)]
pub enum Right {
    /// It receives entries.
    Read = 1,
    /// What it acknowledges counts for waits, quorums and the write gate.
    Ack = 2,
    /// It has a slot, which keeps entries in the log on disk for it.
    Slot = 4,
    /// It may slow the writer down, where the full policy is to refuse or to wait.
    Hold = 8,
    /// It is believed that another node was promoted.
    Promote = 16,
    /// It learns where the writer is, even if it may not follow.
    Monitor = 32,
}

/// The rights in a number from C.
fn rights(number: u32) -> Result<Rights> {
    let unknown = || super::args::invalid(format!("rights is {number}, which has bits that are no rights"));
    coherent(Rights::from_bits(number).ok_or_else(unknown)?)
}

/// Lets everyone follow who reaches a listener, as without access rules no one may from another machine who has no
/// certificate. One with a certificate needs one that names its reader id nevertheless. With access rules it is an error
/// (sender_new()). Returns `OK`. Default: false.
///
/// # When to change it
/// Set it only on a network that no stranger reaches; rules are better, and TLS with certificates is best.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_trusted_network(config: *mut SenderConfigHandle, trusted: bool) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.trusted_network = trusted;
            Ok(())
        })
    }
}

/// Sets who may follow and what readers may do, as docs/access.md describes: a rule a line, the first one about a connection
/// decides, and one that no rule is about is refused (NOT_AUTHORIZED). The rules are checked now. Of several calls of this
/// and sender_config_set_access_file() the last one counts. Returns `OK`; `INVALID_ARGUMENT` for NULL, text that is not
/// UTF-8 or a mistake in it, whose line and column the text names. A failure changes nothing. Default: readers may follow
/// from this machine, as the same user over a Unix socket, with a certificate that names their id, and over connections that
/// the host hands over; each may read, acknowledge, have a slot and hold.
///
/// # When to change it
/// Set it when readers are on other machines, or when some of them are to count and others are not.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed; `rules` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_access_rules(
    config: *mut SenderConfigHandle,
    rules: *const c_char,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.access_rules = Some(AccessRules::parse(text(rules, "rules")?)?);
            Ok(())
        })
    }
}

/// The same from a file, which is read now, and again by sender_reload_access_file(). Other users must not be able to change
/// it, see sender_config_set_insecure_permissions_allowed(). Returns `OK`; `IO` for an unreadable file; `INVALID_ARGUMENT` as
/// sender_config_set_access_rules(), and for unprotected permissions. Default: none.
///
/// # When to change it
/// Use it when those who run the database are to change the rules.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed; `file` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_access_file(config: *mut SenderConfigHandle, file: *const c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            let file = super::args::absolute(path(file, "file")?)?;
            core.access_rules = Some(AccessRules::from_file(&file, core.insecure_permissions_allowed)?);
            Ok(())
        })
    }
}

/// Sets the function that decides about each connection after the access rules, on the callback thread; NULL for none. Where
/// no rules are set it decides alone. A connection waits for sender_authorize() within the time for handshakes, without
/// holding up others, and is refused if that passes. One handed over with rights is not asked about. `pending_authorizations`
/// in the statistics counts those that wait. Returns `OK`. Default: none.
///
/// # When to change it
/// Set it when the host knows its readers: in a table of its own, or by asking another service.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed. The functions may be called from other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_authorize_handler(
    config: *mut SenderConfigHandle,
    handler: AuthorizeFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
) -> Status {
    let callback = Callback::<AuthorizeFn>::new(handler, user_data, user_data_free);
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            // The old callback is dropped after the lock: its free function may use the configuration.
            let _old = std::mem::replace(&mut config.state().authorize, callback.into());
            Ok(())
        })
    }
}

/// Answers a request of the authorize handler, from any thread, in the handler too. Returns `OK`; `NOT_FOUND` if no
/// connection waits with that ticket any more; `INVALID_ARGUMENT` for rights that do not exist, or that mean nothing without
/// `REPLICATION_RIGHT_READ`; `INVALID_STATE` without a handler and before sender_start(); `CLOSED` after sender_stop().
///
/// - `rights`: a sum of replication_right numbers, of which the connection gets those that the request had; without
///   `REPLICATION_RIGHT_READ` it is refused.
/// - `reason`: why it is refused, for the REFUSED event and not for the peer; NULL for none.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `reason` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_authorize(
    sender: *mut SenderHandle,
    ticket: u64,
    rights: u32,
    reason: *const c_char,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let reason = if reason.is_null() { "no reason given" } else { text(reason, "reason")? };
            sender.core.authorize(ticket, self::rights(rights)?, reason)
        })
    }
}

/// Replaces the access rules. Connected readers that do not keep every right they have are disconnected with
/// NOT_AUTHORIZED, and may come back with those that they have now; those that get more have them once they reconnect.
/// Rights that the host gave with a connection stay. Returns `OK`; `INVALID_ARGUMENT` as
/// sender_config_set_access_rules(), which changes nothing; `CLOSED` after sender_stop().
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `rules` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_set_access_rules(sender: *mut SenderHandle, rules: *const c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core.set_access_rules(AccessRules::parse(text(rules, "rules")?)?)) }
}

/// Replaces the access rules with what their file has now, as sender_set_access_rules(). Returns `OK`; `INVALID_STATE` if
/// the rules in force are not from a file; `INVALID_ARGUMENT` for a mistake in it or unprotected permissions, and `IO` if it
/// cannot be read, which change nothing; `CLOSED` after sender_stop().
///
/// # Safety
/// `sender` came from sender_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_reload_access_file(sender: *mut SenderHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core.reload_access_file()) }
}

/// Sets whom the receiver takes for its writer, besides what TLS checks: identities with blanks between them, in the form of
/// docs/access.md, of which the peer must be one, such as "dns:db1.example.net" or "uid:0 uid:1000". Anyone else is told
/// nothing, not even the reader id, and reported as disconnected (NOT_AUTHORIZED). Returns `OK`; `INVALID_ARGUMENT` for NULL,
/// text that is not UTF-8 or a mistake in it, whose column the text names. Default: none, which takes whoever answers, under
/// TLS with a certificate for the host of the address.
///
/// # When to change it
/// Set it when readers and writers have certificates of one authority, or for a Unix socket whose directory others may write.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed; `identity` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_writer_identity(
    config: *mut ReceiverConfigHandle,
    identity: *const c_char,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set_receiver(config, |core| {
            core.writer_identity = Some(WriterIdentity::parse(text(identity, "identity")?)?);
            Ok(())
        })
    }
}

/// Serves a reader as sender_accept_reader(), with these rights, whatever the access rules say. Returns `OK` and otherwise
/// the same; `INVALID_ARGUMENT` also for rights that do not exist, or that mean nothing without `REPLICATION_RIGHT_READ`.
///
/// - `rights`: a sum of replication_right numbers.
///
/// # Safety
/// As for [`sender_accept_reader`](super::sender_readers::sender_accept_reader).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_accept_reader_with_rights(
    sender: *mut SenderHandle,
    fd: c_int,
    reader_id: *const c_char,
    last_known_sequence: u64,
    rights: u32,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let (reader_id, rights) = (checked_reader_id(reader_id)?, self::rights(rights)?);
            let socket = duplicate_socket(fd, "fd")?;
            sender.core.accept_reader(socket, reader_id, last_known_sequence, Some(rights))?;
            close(fd);
            Ok(())
        })
    }
}

/// Serves a connection as sender_accept_connection(), with these rights, whatever the access rules say. Returns `OK` and
/// otherwise the same; `INVALID_ARGUMENT` also as sender_accept_reader_with_rights().
///
/// # Safety
/// As for [`sender_accept_connection`](super::sender_readers::sender_accept_connection).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_accept_connection_with_rights(
    sender: *mut SenderHandle,
    fd: c_int,
    rights: u32,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let rights = self::rights(rights)?;
            sender.core.accept_connection(duplicate_socket(fd, "fd")?, Some(rights))?;
            close(fd);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_rights_are_those_of_the_core() {
        use Right::*;
        let numbers = [Read, Ack, Slot, Hold, Promote, Monitor].map(|right| right as u32);
        assert_eq!(numbers.to_vec(), Rights::all().iter().map(|right| right.bits()).collect::<Vec<_>>());
        assert_eq!(rights(15).unwrap(), Rights::READER);
        for wrong in [2, 4, 8, 64, 65, u32::MAX] {
            assert_eq!(rights(wrong).unwrap_err().status, Status::InvalidArgument, "{wrong}");
        }
    }
}
