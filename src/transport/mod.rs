//! Connections: TCP, Unix, and descriptors that the host gives, plain or under TLS. Bytes go in and out; their meaning is
//! not known here.

mod address;
mod credentials;
pub(crate) mod frames;
mod listener;
mod socket;
mod stream;
#[cfg(test)]
pub(crate) mod test_files;
mod tls;

pub use address::Address;
pub use credentials::{IdentityFiles, TlsClient, TlsServer};
pub use frames::{FrameReader, ReadError};
pub use listener::Listener;
pub use stream::Stream;
