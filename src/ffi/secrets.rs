//! # Secrets
//!
//! In `replication_access.h`.
//!
//! What a reader and a writer share without certificates, and by which each proves to the other who it is.
//! docs/secrets.md has the rest.

use std::ffi::c_char;

use super::args::{bytes, path, required, text};
use super::guard::{Guarded, HandleState, boxed, guard, guard_free, is_null, release};
use super::receiver::ReceiverHandle;
use super::receiver_config::{ReceiverConfigHandle, set as set_receiver};
use super::sender::SenderHandle;
use super::sender_config::{SenderConfigHandle, set};
use crate::error::{Result, Status};
use crate::secret_file::SecretFile;
use crate::sender::config::Secret;

/// A secret that nodes share under a name. Created by replication_secret_from_bytes(), replication_secret_from_passphrase()
/// and replication_secret_from_file(). Any thread may use it; it does not change.
pub struct SecretHandle {
    gate: HandleState,
    secret: Secret,
}

impl Guarded for SecretHandle {
    const NAME: &'static str = "secret";
    fn gate(&self) -> &HandleState {
        &self.gate
    }
}

/// Puts what `make` gives at `out`.
///
/// # Safety
/// `out` is NULL or has room for a pointer.
unsafe fn create(out: *mut *mut SecretHandle, make: impl FnOnce() -> Result<Secret>) -> Status {
    guard_free(|| {
        let out = required(out, "out")?;
        let handle = boxed(SecretHandle { gate: HandleState::new()?, secret: make()? })?;
        // SAFETY: not NULL, and the caller promises the room.
        unsafe { out.write(Box::into_raw(handle)) };
        Ok(())
    })
}

/// The secret that is an argument of a call on another object.
///
/// # Safety
/// `secret` is NULL or came from one of the functions that create secrets, and is not freed for `'a`.
unsafe fn given<'a>(secret: *const SecretHandle) -> Result<Option<&'a Secret>> {
    // SAFETY: the caller's promise.
    let Some(secret) = (unsafe { secret.as_ref() }) else { return Ok(None) };
    secret.gate.check()?;
    Ok(Some(&secret.secret))
}

/// Makes a secret from bytes that nobody can guess, as random ones are. Returns `OK`; `INVALID_ARGUMENT` for NULL, text that
/// is not UTF-8, a name or a length outside the range; `OUT_OF_MEMORY`.
///
/// - `cluster`: what tells the secrets of this cluster from those of another, the same at all nodes; may be "".
/// - `name`: the same at both ends, 1 to 64 bytes without control characters. Access rules call it `secret:NAME`.
/// - `secret`, `len`: 32 to 4096 bytes.
/// - `out`: the secret, to be freed with replication_secret_free().
///
/// # Safety
/// The texts are NULL or end with a NUL; `secret` is NULL or points to `len` bytes; `out` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_secret_from_bytes(
    cluster: *const c_char,
    name: *const c_char,
    secret: *const u8,
    len: usize,
    out: *mut *mut SecretHandle,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        create(out, || {
            Secret::from_bytes(text(cluster, "cluster")?, text(name, "name")?, bytes(secret, len, "secret")?)
        })
    }
}

/// Makes a secret from what people can remember or have written down. Its key is derived here, by Argon2id with 64 MiB of
/// memory, salted with the cluster and the name, which takes some tenths of a second. Returns
/// `OK`, or what replication_secret_from_bytes() does.
///
/// - `passphrase`, `len`: 12 to 4096 bytes.
///
/// # Safety
/// The texts are NULL or end with a NUL; `passphrase` is NULL or points to `len` bytes; `out` is NULL or has room for a
/// pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_secret_from_passphrase(
    cluster: *const c_char,
    name: *const c_char,
    passphrase: *const u8,
    len: usize,
    out: *mut *mut SecretHandle,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        create(out, || {
            let passphrase = bytes(passphrase, len, "passphrase")?;
            Secret::from_passphrase(text(cluster, "cluster")?, text(name, "name")?, passphrase)
        })
    }
}

/// Makes a secret from a file, which is read now. A line end at its end is not part of the secret. As with private keys, other
/// users must not be able to read or change it. Returns `OK`, or what replication_secret_from_bytes() does; `IO` for an
/// unreadable file; `INVALID_ARGUMENT` also for unprotected permissions.
///
/// - `is_passphrase`: the file has a passphrase in it, as for replication_secret_from_passphrase(); otherwise bytes that nobody
///   can guess, such as `openssl rand -base64 32` prints.
/// - `insecure_permissions_allowed`: takes a file that others may read or change.
///
/// # Safety
/// The texts are NULL or end with a NUL; `out` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_secret_from_file(
    cluster: *const c_char,
    name: *const c_char,
    file: *const c_char,
    is_passphrase: bool,
    insecure_permissions_allowed: bool,
    out: *mut *mut SecretHandle,
) -> Status {
    let kind = if is_passphrase { SecretFile::Passphrase } else { SecretFile::Bytes };
    // SAFETY: the caller's promise.
    unsafe {
        create(out, || {
            let (cluster, name) = (text(cluster, "cluster")?, text(name, "name")?);
            Secret::from_file(cluster, name, path(file, "file")?, kind, insecure_permissions_allowed)
        })
    }
}

/// Frees a secret. NULL is ignored. Configurations, senders and receivers that it was given to keep their copy.
///
/// # Safety
/// `secret` is NULL or came from one of the functions that create secrets, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_secret_free(secret: *mut SecretHandle) {
    // SAFETY: the caller's promise.
    unsafe { release(secret, drop) };
}

/// Adds a secret by which readers may prove who they are. A name may have two, so that one can take the other's place. A
/// reader without a secret is what it was before; access rules say whether it may follow. Returns `OK`; `INVALID_ARGUMENT` for
/// NULL; `INVALID_STATE` for a third secret with one name, and for more than 2048. Default: none.
///
/// - `secret`: copied.
///
/// # When to change it
/// Set it when readers are on other machines and certificates are too much. TLS beside it keeps what follows secret and whole.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed; `secret` is NULL or came from one of the functions that create
/// secrets and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_add_secret(
    config: *mut SenderConfigHandle,
    secret: *const SecretHandle,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { set(config, |core| core.secrets.add(given(secret)?.ok_or_else(|| is_null("secret"))?.clone())) }
}

/// Also takes proofs of secrets on TCP connections without TLS. There a secret proves who connected, and nothing of what
/// follows: whoever is between the two can read the stream, change it, and try out passphrases against what he read.
/// Returns `OK`. Default: false.
///
/// # When to change it
/// Set it where only the two machines are on the network between them.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_plain_secrets_allowed(
    config: *mut SenderConfigHandle,
    allowed: bool,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.plain_secrets_allowed = allowed;
            Ok(())
        })
    }
}

/// Adds a secret to those of a sender. To replace one, add the new one, give it to the readers, and remove the old one. Returns
/// `OK`, or what sender_config_add_secret() does; `CLOSED` after sender_stop().
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `secret` is NULL or came from one of the functions that create secrets and
/// is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_add_secret(sender: *mut SenderHandle, secret: *const SecretHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core.add_secret(given(secret)?.ok_or_else(|| is_null("secret"))?.clone())) }
}

/// Removes the older secret with a name, or the only one. Readers that proved who they are by it are disconnected
/// (NOT_AUTHORIZED). Returns `OK`; `NOT_FOUND` if there is none with that name; `INVALID_ARGUMENT` for NULL and text that is not
/// UTF-8; `CLOSED` after sender_stop().
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `name` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_remove_secret(sender: *mut SenderHandle, name: *const c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(sender, |sender| sender.core.remove_secret(text(name, "name")?)) }
}

/// Has this receiver prove to its writer that it has a secret, and the writer prove the same. A writer that does not is not
/// followed (NOT_AUTHORIZED), and is not told the reader's id. Returns `OK`. Default: none.
///
/// - `secret`: copied; NULL for none.
///
/// # When to change it
/// Set it when the writer asks for a secret.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed; `secret` is NULL or came from one of the functions that create
/// secrets and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_secret(
    config: *mut ReceiverConfigHandle,
    secret: *const SecretHandle,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set_receiver(config, |core| {
            core.secret = given(secret)?.cloned();
            Ok(())
        })
    }
}

/// Also uses the secret on TCP connections without TLS; see sender_config_set_plain_secrets_allowed(). Returns `OK`. Default:
/// false.
///
/// # When to change it
/// Set it where only the two machines are on the network between them.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_plain_secrets_allowed(
    config: *mut ReceiverConfigHandle,
    allowed: bool,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set_receiver(config, |core| {
            core.plain_secrets_allowed = allowed;
            Ok(())
        })
    }
}

/// Replaces the secret of a receiver, for its next connection; NULL for none. Returns `OK`; `CLOSED` after
/// receiver_stop().
///
/// # Safety
/// `receiver` came from receiver_new() and is not freed; `secret` is NULL or came from one of the functions that create secrets
/// and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_set_secret(receiver: *mut ReceiverHandle, secret: *const SecretHandle) -> Status {
    // SAFETY: the caller's promise.
    unsafe { guard(receiver, |receiver| receiver.core.set_secret(given(secret)?.cloned())) }
}
