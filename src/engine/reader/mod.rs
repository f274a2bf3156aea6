//! A reader's end of a connection: what it says to the writer, whether it follows it, and what it does when that ends.
//!
//! - `handshake`: the Sync, and whether a writer may be followed by its answer.
//! - `stream`: the bytes that a connection brings, as checked entries.
//! - `plan`: what a refusal suggests for the next Sync to the same node.
//! - `end`: why a connection ended.
//! - `reconnect`: which node is dialled next, and what the host hears of an end.
//! - `backoff`: the pauses between connections.
//! - `acks`: when and what it acknowledges.
//! - `apply`: what the thread that calls the host does next, and what becomes of a refused entry.
//! - `requests`: the sequences whose acknowledgement the writer asked for.
//! - `history`: points of the received history, by which a fork is found.
//! - `life`: from its start to its end.
//! - `policy`: the host's choices.

pub(crate) mod acks;
pub(crate) mod apply;
pub(crate) mod backoff;
pub(crate) mod end;
pub(crate) mod handshake;
pub(crate) mod history;
pub(crate) mod life;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod reconnect;
pub(crate) mod requests;
pub(crate) mod stream;
