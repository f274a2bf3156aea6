//! The decisions of both ends, as pure state machines: no sockets, threads, locks, clocks, files or randomness.
//!
//! Every input is a value, and what depends on time carries `now`. Every output is a value that says what to do.
//!
//! - [`disk`]: when a log on disk is synced and its directory checked.
//! - [`stall`]: what a disk refuses for now, and what the host is told of it.

pub(crate) mod disk;
pub(crate) mod stall;
