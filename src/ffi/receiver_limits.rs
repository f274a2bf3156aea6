//! How much of what a writer sends a receiver takes into memory.

use super::args::invalid;
use super::guard::guard;
use super::receiver_config::ReceiverConfigHandle;
use crate::error::{Result, Status};

fn positive(bytes: u64, name: &str) -> Result<u64> {
    if bytes == 0 { Err(invalid(format!("{name} is 0, at least 1 is needed"))) } else { Ok(bytes) }
}

/// Sets the largest payload in bytes that the receiver accepts. A larger one is refused before memory is allocated: the
/// connection ends with status MESSAGE_TOO_LARGE and an event PROTOCOL_ERROR with the entry's sequence, at the writer
/// too. The receiver reconnects, but cannot pass the entry until the limit is raised; no entry is skipped. Returns
/// `OK`; `INVALID_ARGUMENT` for NULL and for 0. Default: 78643104 (the largest payload). At least: 1.
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

/// Sets how many bytes of memory the decoded records of an entry may take besides its payload, which may be a hundred
/// times smaller. An entry that exceeds it fails, see replication_record_fn. Returns `OK`; `INVALID_ARGUMENT` for NULL
/// and for 0. Default: 268435456 (256 MiB). At least: 1.
///
/// # When to change it
/// Raise it for entries with more records than fit; lower it when the writer is not trusted.
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
