//! Sockets: TCP, Unix, and descriptors that the host gives. Bytes go in and out; their meaning is not known here.

mod address;
mod frames;
mod listener;
mod stream;

pub use address::Address;
pub use frames::{FrameReader, ReadError};
pub use listener::Listener;
pub use stream::Stream;
