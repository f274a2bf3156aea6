//! Which form of the protocol a connection speaks.

/// The protocol of a connection after its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireVersion {
    /// JSON frames. A coordinator has message types of its own in the handshake, and may repeat its SyncAck.
    V1 { coordinator: bool },
    /// Binary frames, with lineage, heartbeats and requested acknowledgements.
    V2,
}

impl WireVersion {
    /// The number of the protocol's version, as statistics and events show it.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::V1 { .. } => 1,
            Self::V2 => 2,
        }
    }
}
