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
//! - `sender_config` and `sender` are the writer's end, by task: `sender_writing`, `sender_readers`, `acks` (who is waited
//!   for), `write_gate`, `sender_storage`, `sender_position`, `sender_events`.
//! - `receiver_config` and `receiver` are a reader's end, by task: `receiver_connecting`, `receiver_applying`,
//!   `receiver_waiting`, `receiver_storage`, `receiver_position`, `receiver_events`.
//! - `token`: what tokens say by themselves.
//! - `access_request` and `access`: who may follow, and what readers may do; `secrets`: what both ends prove without
//!   certificates; `tls`: certificates on live handles; `crowd`: limits for strangers.
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

pub mod sender;

pub mod sender_writing;

pub mod sender_readers;

pub mod acks;

pub mod write_gate;

pub mod sender_storage;

pub mod sender_position;

pub mod sender_events;

pub mod receiver_config;

pub mod receiver;

pub mod receiver_connecting;

pub mod receiver_applying;

pub mod receiver_waiting;

pub mod receiver_storage;

pub mod receiver_position;

pub mod receiver_events;

pub mod token;

pub mod access_request;

pub mod access;

pub mod secrets;

pub mod tls;

pub mod crowd;

pub mod codec;

pub mod records;
