//! libreplication: single-writer, many-readers replication of a write-ahead log.
#![warn(missing_docs)]

pub mod error;
pub mod host;
pub mod protocol;
pub mod receiver;
pub mod records;
pub mod sender;
