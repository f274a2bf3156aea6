//! What a host is asked that decides about connections itself.

use crate::engine::access::rights::Rights;

/// A connection that asks to follow, about which the host decides.
#[derive(Clone, Debug)]
pub struct AccessRequest {
    /// What the answer names it by.
    pub ticket: u64,
    /// The id that it claims.
    pub reader_id: String,
    /// The peer's address.
    pub address: String,
    /// Who it is, as the events have it.
    pub identity: String,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Whether the host handed it over.
    pub handed: bool,
    /// The stream that its position belongs to, if it says so.
    pub stream_id: Option<[u8; 16]>,
    /// The latest epoch that it has seen; 0 if it does not say.
    pub epoch: u64,
    /// The last entry that it has.
    pub sequence: u64,
    /// What it may have at most, by the access rules.
    pub rights: Rights,
}

/// The host's handler. It may answer in the call or later, with [`Sender::authorize`](super::Sender::authorize).
pub trait Authorizer: Send {
    fn authorize(&mut self, request: &AccessRequest);
}
