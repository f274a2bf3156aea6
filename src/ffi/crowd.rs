//! # Strangers at the door
//!
//! In `replication_access.h`.
//!
//! Limits for connections that are in their handshake, so that who says nothing keeps nobody else outside.
//! docs/security.md has the rest.

use super::sender_config::{SenderConfigHandle, set};
use crate::error::Status;
use crate::sender::config::CrowdLimits;

/// Sets how many connections may be in their handshake at once. Where this limit or one of the two below is reached, the
/// connection that has waited longest there is closed for the one that comes (BUFFER_FULL); only while all have come within a
/// quarter of a second, the one that comes is closed. The more there are, the less time each has. Returns `OK`;
/// `INVALID_ARGUMENT` outside the range. Default: 256. At least: 1. At most: 65536.
///
/// # When to change it
/// Set it to how many readers come at once, after a restart of the writer for instance; each takes some ten KiB, and with TLS up
/// to 200.
/// It may change while the sender lives.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_max_handshakes(
    config: *mut SenderConfigHandle,
    handshakes: usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            let crowd = CrowdLimits { handshakes, ..core.crowd };
            crowd.check()?;
            core.crowd = crowd;
            Ok(())
        })
    }
}

/// Sets how many of them may come from one address; of IPv6, from one network of 64 bits. Returns `OK`;
/// `INVALID_ARGUMENT` outside the range. Default: 128. At least: 1. At most: 65536.
///
/// # When to change it
/// Raise it when most readers come from behind one address, as with a proxy; lower it when readers have addresses of their own.
/// It may change while the sender lives.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_max_handshakes_per_address(
    config: *mut SenderConfigHandle,
    handshakes: usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            let crowd = CrowdLimits { per_address: handshakes, ..core.crowd };
            crowd.check()?;
            core.crowd = crowd;
            Ok(())
        })
    }
}

/// Sets how many of them may come from one network: 24 bits of an IPv4 address, 48 of an IPv6 address. Returns `OK`;
/// `INVALID_ARGUMENT` outside the range. Default: 192. At least: 1. At most: 65536.
///
/// # When to change it
/// Raise it to the limit for all when all readers are in one network.
/// It may change while the sender lives.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_max_handshakes_per_network(
    config: *mut SenderConfigHandle,
    handshakes: usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            let crowd = CrowdLimits { per_network: handshakes, ..core.crowd };
            crowd.check()?;
            core.crowd = crowd;
            Ok(())
        })
    }
}

/// Sets how many times in a second one address may connect, on average; as many may come at once. Further connections are
/// closed and reported. Returns `OK`. Default: 0, any number.
///
/// # When to change it
/// Set it where strangers reach the sender, to more than the readers behind one address need.
/// It may change while the sender lives.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_max_connection_rate_per_address(
    config: *mut SenderConfigHandle,
    connections_per_second: u32,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.crowd.per_second = connections_per_second;
            Ok(())
        })
    }
}
