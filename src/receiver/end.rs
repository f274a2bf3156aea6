//! Why a connection ends, or the attempt at one.

use std::io;

use super::plan::Plan;
use crate::error::{Error, Status};

/// Why a connection, or the attempt at one, ended.
pub(super) struct End {
    pub(super) error: Error,
    /// The writer's answer to the Sync was a no.
    pub(super) refused: bool,
    /// What that suggests for the next Sync.
    pub(super) plan: Option<Plan>,
}

impl End {
    /// Whether the next Sync asks to be let in behind a hole, as the host decided.
    pub(super) fn passes_hole(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.hole_end().is_some())
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self { error, refused: false, plan: None }
    }
}

/// Whether the writer is told of this error before the connection ends.
pub(super) fn is_told(error: &Error) -> bool {
    matches!(error.status, Status::InvalidMsg | Status::SequenceGap | Status::MessageTooLarge | Status::MessageTooSmall)
}

/// A connection that failed.
pub(super) fn lost(error: io::Error) -> Error {
    Error::new(Status::Io, format!("the connection failed: {error}"))
}
