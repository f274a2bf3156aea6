//! What the fuzzer runs and the tests replay. Each target takes any bytes as what a peer, a disk or a host gave, and
//! panics when something does not hold that must hold of all bytes. It returns whether the bytes were accepted as a
//! whole, so that tests can tell that a target reaches past the checks it begins with.
//!
//! Targets of private code lie beside that code, in a file `fuzz.rs`. `fuzz/README.md` tells how to run them.

mod control;
mod handshake;
mod message;
mod pem;
mod position;
mod receiver;
mod records;
#[cfg(test)]
mod replay;
mod rules;
mod secret;
#[cfg(test)]
mod seeds;
mod segment;
mod sender;
mod slots;
mod token;

pub use self::control::control;
pub use self::handshake::handshake;
pub use self::message::message;
pub use self::pem::pem;
pub use self::position::position;
pub use self::receiver::receiver;
pub use self::records::records;
pub use self::rules::rules;
pub use self::secret::secret;
pub use self::segment::segment;
pub use self::sender::sender;
pub use self::slots::slots;
pub use self::token::token;
pub use crate::protocol::base64::fuzz::base64;
pub use crate::receiver::inbound::fuzz::inbound;
pub use crate::transport::frames::fuzz::frames;

/// A target: whether it accepts the bytes as a whole.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by the name of their seeds' directory.
pub const TARGETS: &[(&str, Target)] = &[
    ("base64", base64),
    ("control", control),
    ("frames", frames),
    ("handshake", handshake),
    ("inbound", inbound),
    ("message", message),
    ("pem", pem),
    ("position", position),
    ("receiver", receiver),
    ("records", records),
    ("rules", rules),
    ("secret", secret),
    ("segment", segment),
    ("sender", sender),
    ("slots", slots),
    ("token", token),
];

/// Splits off the byte that says how the rest is taken; 0 when there is none.
pub(crate) fn split_flags(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(flags, rest)| (*flags, rest))
}

/// Cuts `bytes` into pieces whose sizes follow from `seed`: single bytes, a few, or many at a time.
pub(crate) fn pieces(bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    // A long input byte by byte would take the time of many others.
    let shortest = bytes.len() / 1024 + 1;
    let longest = shortest << (seed % 8);
    let (mut rest, mut state) = (bytes, u32::from(seed) + 1);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let size = (shortest + (state >> 16) as usize % longest).min(rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        Some(piece)
    })
}

/// Stores the CRC-32C of `bytes[covered]` at `at`, if the bytes go so far.
pub(crate) fn fix_crc(bytes: &mut [u8], covered: std::ops::Range<usize>, at: usize) {
    let Some(crc) = bytes.get(covered).map(crc_fast::crc32_iscsi) else { return };
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.copy_from_slice(&crc.to_be_bytes());
    }
}

/// A directory for one input, in memory where there is some for files.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}
