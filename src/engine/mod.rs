//! The decisions of both ends, as pure state machines: no sockets, threads, locks, clocks, files or randomness.
//!
//! Every input is a value, and what depends on time carries `now`. Every output is a value that says what to do: send
//! this, ask for that, report this event, refuse for this reason. The same inputs give the same outputs. The engine
//! never owns payload bytes; it deals in lengths, positions, sequences and identities. `sender` and `receiver` are its
//! drivers: they hold the locks, read the clocks, move the bytes, and do what the engine says.
//!
//! - [`access`]: who may connect, and what with.
//! - [`secrets`]: how two peers prove that they have the same secret.
//! - [`heartbeat`]: how often each end sends something, and how long silence is allowed.
//! - [`farewell`]: how long each end waits for the peer to read its last word.
//! - [`lineage`]: whether a position lies in the history of a log.
//! - [`version`]: which form of the protocol a connection speaks.
//! - [`disk`]: when a log on disk is synced and its directory checked.
//! - [`stall`]: what a disk refuses for now, and what the host is told of it.
//! - [`writer`]: the writer's end.
//! - [`reader`]: a reader's end of a connection, and what follows when one ends.
//!
//! `tests/it/architecture.rs` keeps everything impure out.

#![forbid(unsafe_code)]

pub(crate) mod access;
pub(crate) mod disk;
pub(crate) mod farewell;
pub(crate) mod heartbeat;
pub(crate) mod lineage;
pub(crate) mod reader;
pub(crate) mod secrets;
pub(crate) mod stall;
pub(crate) mod version;
pub(crate) mod writer;
