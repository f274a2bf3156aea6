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
pub mod token;

pub use go_json::{FixedBuffer, Sink};

/// Bytes of a frame before its payload: a big-endian u32 length, which counts the type and the payload, and the type.
pub const HEADER_SIZE: usize = 5;

/// The largest length a frame may name: 100 MiB.
pub const MAX_MESSAGE_SIZE: usize = 104_857_600;

/// The longest reader id in bytes.
pub const MAX_READER_ID_BYTES: usize = 255;

/// The largest frame before a peer is known, whatever its length field says.
pub const MAX_HANDSHAKE_BYTES: usize = 16 * 1024;

/// The version of the v2 stream spoken here.
pub const STREAM_VERSION: u32 = 1;
