//! When a log on disk is synced.

use std::time::Duration;

use crate::error::{Error, Result, Status};

/// When what is written is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before an append returns. Callers at the same time share one sync.
    Always,
    /// After so much time, or so many bytes, whichever comes first; at once when somebody waits for it.
    Group {
        /// The longest time between an append and its sync.
        interval: Duration,
        /// The most bytes between two syncs.
        bytes: u64,
    },
    /// When the operating system likes, or somebody waits for it.
    Os,
}

impl SyncPolicy {
    /// Bytes that a log on disk reserves. Without frequent syncs they are of no use.
    pub fn reserve_bytes(&self) -> u64 {
        match self {
            Self::Always | Self::Group { .. } => 1 << 20,
            Self::Os => 0,
        }
    }

    /// Whether its values are within what a host may set.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Group { interval, bytes } if interval.is_zero() || *bytes == 0 => Err(Error::new(
                Status::InvalidArgument,
                "group sync needs an interval and a number of bytes of at least 1",
            )),
            _ => Ok(()),
        }
    }
}
