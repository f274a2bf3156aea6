//! # Sender: continuing a history
//!
//! Where a sender goes on, after a restart or a promotion.

use super::args::{TokenRoom, invalid, token as checked_token};
use super::guard::guard;
use super::sender::SenderHandle;
use super::sender_config::{SenderConfigHandle, set};
use crate::error::Status;
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::lineage::Lineage;

/// Sets the position after which a new log begins, to continue a stream or to take over as its writer, in place of
/// sender_config_set_last_sequence(). Its hash lets readers recognise their history. A log on disk keeps its stream and its
/// position, and is only checked against them. Returns `OK`; `INVALID_ARGUMENT` for NULL, bytes that are no token, and a lower
/// epoch. Default: a new stream, with a random id and epoch 1.
///
/// - `token`, `token_len`: from receiver_token() or sender_token().
/// - `epoch`: the sender's, above the token's to take over from another writer; 0 for the token's.
///
/// # When to change it
/// When a node is promoted, or continues a history whose position the host stored.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed; `token` is NULL or points to `token_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_token(
    config: *mut SenderConfigHandle,
    token: *const u8,
    token_len: usize,
    epoch: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            let token = checked_token(token, token_len, "token")?;
            let epoch = if epoch == 0 { token.epoch } else { epoch };
            if epoch < token.epoch {
                return Err(invalid(format!("epoch {epoch} is below the token's, {}", token.epoch)));
            }
            let core = &mut config.state().core;
            core.lineage = Some(Lineage { stream_id: token.stream_id, epoch });
            (core.last_sequence, core.last_hash, core.last_epoch) = (token.sequence, token.hash, Some(token.epoch));
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

/// Gets the token of the position after the last entry. Returns `OK`; `INVALID_ARGUMENT` for NULL; `BUFFER_TOO_SMALL`.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `token` is NULL or has room for `token_size` bytes; `out_len` is NULL or
/// has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_token(
    sender: *const SenderHandle,
    token: *mut u8,
    token_size: usize,
    out_len: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            TokenRoom::new(token, token_size, out_len)?.put(&sender.core().token());
            Ok(())
        })
    }
}
