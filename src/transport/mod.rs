//! Connections: TCP, Unix, and descriptors that the host gives, plain or under TLS. Bytes go in and out; their meaning is
//! not known here.

mod address;
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
