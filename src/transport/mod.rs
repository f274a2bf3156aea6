//! Connections over TCP, Unix sockets and the host's descriptors, with or without TLS. This module moves bytes and does
//! not interpret them.

mod address;
mod certificate;
mod credentials;
mod der;
mod dial;
pub(crate) mod frames;
mod listener;
mod pem;
mod race;
mod socket;
mod stream;
#[cfg(test)]
pub(crate) mod test_files;
mod tls;
mod tls_errors;
mod unix;

pub use address::Address;
pub use credentials::{IdentityFiles, TlsClient, TlsServer};
pub use dial::{Dialled, Dialler, Dialling};
pub use frames::{FrameReader, ReadError};
pub use listener::{Accepted, Listener, Listening};
pub use stream::Stream;
pub(crate) use stream::lost;
