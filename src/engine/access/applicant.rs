//! What is known of a connection when it asks to follow.

use crate::identity::{Origin, PeerIdentity};

/// A connection that asks to follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applicant<'a> {
    pub(crate) origin: Origin,
    /// Whether it is encrypted.
    pub(crate) tls: bool,
    /// Whether the host accepted it and handed it over.
    pub(crate) handed: bool,
    pub(crate) identity: PeerIdentity<'a>,
    /// Whether its process runs as the user of this one.
    pub(crate) same_user: bool,
    /// The id that it claims.
    pub(crate) reader_id: &'a str,
}
