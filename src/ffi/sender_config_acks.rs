//! Groups of readers that a sender's host waits for, and how many waits there may be.

use std::ffi::c_char;

use super::args::{invalid, text, texts};
use super::sender_config::{SenderConfigHandle, set};
use crate::error::Status;
use crate::sender::config::Group;

/// Adds a group of readers for quorums to name: a site, a rack, a role. A reader may be in many groups and need not be
/// connected.
///
/// - `name`: 1 to 255 bytes without control characters.
/// - `reader_ids`, `count`: at least one reader id; an id that ends with `*` stands for all ids with that prefix.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL, a name or id that is empty or too long, text that is not UTF-8, a count of 0,
/// a name that exists already, and a 65th group.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed. `name` is NULL or ends with a NUL; `reader_ids` is NULL or
/// points to `count` texts, each of which is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_add_group(
    config: *mut SenderConfigHandle,
    name: *const c_char,
    reader_ids: *const *const c_char,
    count: usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| core.groups.add(Group::new(text(name, "name")?, texts(reader_ids, count, "reader_ids")?)?))
    }
}

/// Sets how many calls of sender_on_acked() may be outstanding; further ones are refused with BUFFER_FULL.
/// Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 65536. At least: 1.
///
/// # When to change it
/// Raise it when more appends than that wait for acknowledgements at once.
/// It may change while the sender lives.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_max_pending_acks(config: *mut SenderConfigHandle, calls: usize) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            if calls == 0 {
                return Err(invalid("calls is 0, at least 1 is needed"));
            }
            core.max_pending_acks = calls;
            Ok(())
        })
    }
}
