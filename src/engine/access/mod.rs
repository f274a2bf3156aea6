//! Who may connect, and with which rights. Rules decide, the first that matches a connection; a host that sets none has
//! the default ones.
//!
//! - `rights`: what a connection may do.
//! - `applicant`: what is known of a connection when it asks.
//! - `pattern`: what a rule compares an identity and a reader id with.
//! - `rule`: one line of a table.
//! - `words`: the words of a text, each with its place.
//! - `rules`: a table from text, and which line of it decides.
//! - `expected`: whom a reader takes for its writer.
//! - `policy`: what a host has set, rules or none.
//! - `crowd`: who gets a place for a handshake.
//! - `bucket`: how often something may happen.

pub(crate) mod applicant;
pub(crate) mod bucket;
pub(crate) mod crowd;
pub(crate) mod expected;
pub(crate) mod pattern;
pub(crate) mod policy;
pub(crate) mod rights;
pub(crate) mod rule;
pub(crate) mod rules;
mod words;
