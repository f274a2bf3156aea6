//! The safe Rust interface, re-exported by the crate root. Like `ffi`, it sits on top of the core. Handlers are
//! closures and traits, options are set with builders, and dropping an object ends it.

mod callbacks;
mod end;
mod error;
mod handler;
mod quorum;
mod receiver;
mod receiver_builder;
mod secret;
mod sender;
mod sender_builder;
mod token;

pub use error::{Error, Result};
pub use handler::{Batch, BatchHandler, Entry, Handler, HandlerResult};
pub use quorum::Quorum;
pub use receiver::Receiver;
pub use receiver_builder::ReceiverBuilder;
pub use secret::Secret;
pub use sender::Sender;
pub use sender_builder::SenderBuilder;
pub use token::Token;

pub use crate::error::Status;
pub use crate::host::{Event, EventKind, LogLevel};
pub use crate::protocol::token::TokenOrder;
pub use crate::receiver::config::{ApplyPolicy, GapPolicy, ProtocolChoice as Protocol, SyncPolicy};
pub use crate::sender::config::{FullPolicy, GatePolicy, WriteGateConfig as WriteGate};
pub use crate::sender::{AccessRequest, AckLevel, Rights};
