//! Bytes on the wire: frames, the v1 messages, the v2 frames and entries, the handshake. No I/O.

pub(crate) mod base64;
pub mod control;
mod crc;
pub mod entry;
pub mod frame;
mod go_json;
pub mod handshake;
pub mod lineage;
pub mod message;
pub mod secret;
pub mod token;

pub use go_json::{FixedBuffer, Sink};

use crate::text::{Escaped, first_control};

/// The bytes before a message's payload: a big-endian u32 length, of type and payload, and the type.
pub const HEADER_SIZE: usize = 5;

/// The largest length of type and payload: 100 MiB.
pub const MAX_MESSAGE_SIZE: usize = 104_857_600;

/// The longest reader id in bytes, without the NUL.
pub const MAX_READER_ID_BYTES: usize = 255;

/// Whether readers may have this id; otherwise why not, for a text that begins with what the id is.
pub fn check_reader_id(id: &str) -> Result<(), String> {
    match id.len() {
        0 => return Err("is empty".into()),
        1..=MAX_READER_ID_BYTES => {}
        length => return Err(format!("is {length} bytes, at most {MAX_READER_ID_BYTES} are allowed")),
    }
    match first_control(id) {
        None => Ok(()),
        Some((at, c)) => {
            let code = u32::from(c);
            Err(format!("\"{}\" has the control character U+{code:04X} at byte {at}; an id has none", Escaped(id)))
        }
    }
}

/// The largest frame before a peer is known, whatever its length field says.
pub const MAX_HANDSHAKE_BYTES: usize = 16 * 1024;

/// The version of the v2 stream spoken here.
pub const STREAM_VERSION: u32 = 1;
