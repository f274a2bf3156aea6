//! How long each end waits, after its last word, for the peer to read it and to close.

use std::time::Duration;

/// How long a writer waits. Meanwhile it serves its other readers; how many it waits for is bounded.
pub(crate) const WRITER_WAITS: Duration = Duration::from_secs(1);

/// How long a reader waits. Meanwhile it follows no writer.
pub(crate) const READER_WAITS: Duration = Duration::from_millis(250);
