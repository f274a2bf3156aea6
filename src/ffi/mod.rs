//! The C ABI, the only place that exports functions. Each export checks its arguments, calls the core and converts.
//!
//! `include/replication.h` is generated from this module in this order, its comments included; they are written for
//! readers of C. `docs/abi.md` holds the rules for changing it.
//!
//! - `guard`: what stands around every call: NULL, fork and panic.
//! - `args`: pointers from C to checked references.
//! - `status`: status names, the error text of the thread.
//! - `version`: what the library is, for hosts that load it at run time.
//! - `callbacks`: the host's functions and what owns their `user_data`.
//! - `sender_config`, `sender`, `receiver_config`, `receiver_callbacks`, `receiver`: one C object each, the callbacks of
//!   a receiver in a file of their own, and its limits (`receiver_limits`).
//! - `sender_storage`, `receiver_storage`: the logs on disk, and tokens; `token`: what tokens say.
//! - `sender_config_acks`, `write_gate`, `acks`: who is waited for, when entries are taken, and waiting.
//! - `reaper`: how an object ends that is freed on its own callback thread.
//! - `codec`: the messages of the v1 protocol over the caller's buffers.
//! - `records`: the msgpack payload, decoded.

// The order is that of the header's sections; blank lines keep it.

mod args;
mod guard;
mod reaper;

pub mod status;
pub mod version;

pub mod callbacks;

pub mod sender_config;

pub mod sender_config_acks;

pub mod write_gate;

pub mod sender;

pub mod acks;

pub mod sender_storage;

pub mod receiver_config;

pub mod receiver_callbacks;

pub mod receiver_limits;

pub mod receiver;

pub mod receiver_storage;

pub mod token;

pub mod codec;

pub mod records;
