//! The entries that a connection brings.

/// The place before an entry: the lineage and the history it goes on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Before {
    /// The epoch of the writer that sent what follows.
    pub(crate) epoch: u64,
    /// The last entry before.
    pub(crate) sequence: u64,
    /// The chain hash of all entries before; 0 when unknown.
    pub(crate) hash: u64,
}
