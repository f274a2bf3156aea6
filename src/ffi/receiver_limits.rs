//! How much of what a writer sends a receiver takes into memory.

use super::args::invalid;
use super::guard::guard;
use super::receiver_config::ReceiverConfigHandle;
use crate::error::{Result, Status};

fn positive(bytes: u64, name: &str) -> Result<u64> {
    if bytes == 0 { Err(invalid(format!("{name} is 0, at least 1 is needed"))) } else { Ok(bytes) }
}

/// Sets the largest payload of an entry that the receiver takes, in bytes. Default 78643104, the largest that an entry can
/// have.
///
/// A larger entry is refused before memory is taken for it: the connection ends with `MESSAGE_TOO_LARGE`, a `PROTOCOL_ERROR`
/// event whose sequence is the entry's, and an error that the writer reports too. The receiver connects again, and goes no
/// further until the limit is raised: no entry is left out.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL and for 0.
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

/// Sets how much memory the records of one entry may take, in bytes, beside the entry itself. Default 268435456 (256 MiB).
/// Of use with receiver_config_set_record_handler() only: few bytes of a payload may become a hundred times as many.
///
/// An entry whose records would take more fails as if the handler had returned `REPLICATION_STATUS_DECODE_FAILED`; one for
/// whose records there is no memory, as if it had returned `REPLICATION_STATUS_OUT_OF_MEMORY`.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL and for 0.
///
/// # Safety
/// `config` came from receiver_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn receiver_config_set_records_max_bytes(
    config: *mut ReceiverConfigHandle,
    max_bytes: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(config, |config| {
            config.state().records_max_bytes = positive(max_bytes, "max_bytes")?;
            Ok(())
        })
    }
}
