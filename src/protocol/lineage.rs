//! The identity of a log, to which its positions belong.

use crate::error::{Error, Result, Status};
use crate::random;

/// The identity of a log's lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// Random, one per history of entries.
    pub stream_id: [u8; 16],
    /// Rises with each promotion of a writer.
    pub epoch: u64,
}

impl Lineage {
    /// A new lineage, with a random stream id.
    pub fn random() -> Result<Self> {
        let mut stream_id = [0; 16];
        random::fill(&mut stream_id)
            .map_err(|e| Error::new(Status::Io, format!("no random stream id from the operating system: {e}")))?;
        Ok(Self { stream_id, epoch: 1 })
    }
}
