//! Why a connection, or the attempt at one, ended.

use super::plan::Plan;
use crate::error::{Error, Status};

/// Why a connection, or the attempt at one, ended.
#[derive(Debug)]
pub(crate) struct ConnectionEnd {
    pub(crate) error: Error,
    /// The writer refused the Sync.
    pub(crate) refused: bool,
    /// What the next Sync to that node should ask for.
    pub(crate) plan: Option<Plan>,
}

impl ConnectionEnd {
    /// Whether the next Sync asks to go on after a gap, as the host's policy allows.
    pub(crate) fn passes_gap(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.gap_end().is_some())
    }
}

impl From<Error> for ConnectionEnd {
    fn from(error: Error) -> Self {
        Self { error, refused: false, plan: None }
    }
}

/// Whether the writer gets an Error frame with this error before the connection ends.
pub(crate) fn is_sent_to_writer(error: &Error) -> bool {
    matches!(error.status, Status::InvalidMsg | Status::SequenceGap | Status::MessageTooLarge | Status::MessageTooSmall)
}
