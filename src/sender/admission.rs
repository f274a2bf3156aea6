//! Asks the log whether a reader may follow.

use std::sync::Arc;

use super::life::Life;
use crate::engine::writer::admit::{self, LogView, Medium, Missing, Refusal};
use crate::error::{Error, Status};
use crate::log::{AttachError, Cursor, Log, Mark};
use crate::protocol::handshake::Sync;
use crate::protocol::lineage::Lineage;
use crate::runtime;

pub(super) type Admitted = admit::Admitted<Cursor>;

/// Whether the log keeps its entries in memory or on disk.
pub(super) fn medium(log: &Log) -> Medium {
    if log.disk().is_some() { Medium::Disk } else { Medium::Memory }
}

/// Whether the reader may follow this log, or why not.
/// `believed`: what it says of later epochs is.
pub(super) async fn admit(
    life: &Life,
    log: &Arc<Log>,
    lineage: Lineage,
    sync: &Sync,
    believed: bool,
) -> Result<Admitted, Refusal> {
    life.check_open()?;
    if medium(log) == Medium::Memory {
        return admit::admit(log, Medium::Memory, &lineage, sync, believed);
    }
    // The log's files may have to be read, which must not keep this thread from the other readers.
    let (log, sync) = (Arc::clone(log), sync.clone());
    let admitting = move || admit::admit(&log, Medium::Disk, &lineage, &sync, believed);
    let decided = runtime::spawn_blocking(admitting).await;
    decided.unwrap_or_else(|| Err(Error::new(Status::Panic, "internal error while a reader was admitted").into()))
}

impl LogView for Arc<Log> {
    type Cursor = Cursor;

    fn attach(&self, sequence: u64) -> Result<(Cursor, Mark), Missing> {
        let cursor = Log::attach(self, sequence)?;
        let start = cursor.start();
        Ok((cursor, start))
    }

    fn oldest_known(&self) -> u64 {
        Log::oldest_known(self)
    }

    fn epochs(&self) -> Vec<(u64, u64)> {
        self.disk().map(|disk| disk.epochs()).unwrap_or_default()
    }
}

impl From<AttachError> for Missing {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Gone { oldest_known } => Self::Gone { oldest_known },
            AttachError::Ahead { last } => Self::Ahead { last },
            AttachError::Failed(error) => Self::Failed(error),
        }
    }
}
