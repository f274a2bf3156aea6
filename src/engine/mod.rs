//! The decisions of both ends, as pure state machines: no sockets, threads, locks, clocks, files or randomness.
//!
//! Every input is a value, and what depends on time carries `now`. Every output is a value that says what to do: send
//! this, ask for that, report this event, refuse for this reason. The same inputs give the same outputs. The engine
//! never owns payload bytes; it deals in lengths, positions, sequences and identities. `sender` and `receiver` are its
//! drivers: they hold the locks, read the clocks, move the bytes, and do what the engine says.
//!
//! - [`disk`]: when a log on disk is synced and its directory checked.
//! - [`stall`]: what a disk refuses for now, and what the host is told of it.
//! - [`writer`]: the writer's end.
//!
//! `tests/architecture.rs` keeps everything impure out.

pub(crate) mod disk;
pub(crate) mod stall;
pub(crate) mod writer;
