//! Every decision of the two ends, apart from the threads, sockets and files that act on it.
//!
//! An engine gets values and events, and `now` where time matters; it returns what to send, what to report and when to
//! look again. It reads no clock, takes no lock and does no I/O, so the same inputs give the same outputs. It never owns
//! payloads, only lengths, positions and verdicts. [`receiver`](crate::receiver) drives `reader`.
//!
//! - `reader`: a reader's end of a connection, and what follows when one ends.
//! - `heartbeat`: how often each end sends something, and how long silence is allowed.
//! - `lineage`: whether a position lies in the history of a log.
//! - `version`: which form of the protocol a connection speaks.

#![forbid(unsafe_code)]

pub(crate) mod heartbeat;
pub(crate) mod lineage;
pub(crate) mod reader;
pub(crate) mod version;
