//! libreplication: single-writer, many-readers replication of a write-ahead log.
#![warn(missing_docs)]

mod clock;
pub mod error;
pub mod ffi;
pub mod host;
pub mod log;
pub mod protocol;
pub mod receiver;
pub mod records;
pub mod sender;
mod threads;
pub mod transport;
