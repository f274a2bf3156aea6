use std::cell::Cell;
use std::fmt;
use std::ops::Deref;

use super::callbacks::{CallbackGate, caught};
use super::error::Error;
use super::token::Token;
use crate::error::Status;
use crate::protocol::entry;
use crate::protocol::entry::Entries;
use crate::protocol::token;
use crate::receiver::config;
use crate::receiver::config::{ApplyFailure, LocalWal, Place};

/// The result of a handler: `Ok` if it applied everything, or the reason why it failed.
pub type HandlerResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// An entry, as passed to a handler.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    entry: entry::Entry<'a>,
    /// The chain hash of the history up to and including this entry.
    hash: u64,
    place: Option<&'a Place<'a>>,
}

impl<'a> Entry<'a> {
    /// Returns the entry's sequence. Sequences rise from entry to entry.
    pub fn sequence(&self) -> u64 {
        self.entry.sequence
    }

    /// Returns the timestamp set by the writer's host, in microseconds since the Unix epoch.
    pub fn timestamp_us(&self) -> u64 {
        self.entry.timestamp_us
    }

    /// Returns the payload.
    pub fn payload(&self) -> &'a [u8] {
        self.entry.payload
    }

    /// Returns the token of the position after this entry. Store it in the transaction that applies the entry, so that
    /// each entry is applied exactly once, whatever crashes: see
    /// [`ReceiverBuilder::token`](crate::ReceiverBuilder::token). Returns `None` while the writer speaks only v1, whose
    /// streams have no id, and in the handler of [`ReceiverBuilder::local_wal`](crate::ReceiverBuilder::local_wal).
    pub fn token(&self) -> Option<Token> {
        let lineage = self.place?.lineage()?;
        let (stream_id, epoch) = (lineage.stream_id, lineage.epoch);
        Some(Token::of(token::Token { stream_id, epoch, sequence: self.entry.sequence, hash: self.hash }))
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("sequence", &self.sequence())
            .field("timestamp_us", &self.timestamp_us())
            .field("payload", &self.payload())
            .finish()
    }
}

/// Applies a receiver's entries one by one, in order. Closures implement it: `|entry: &Entry<'_>| { ...; Ok(()) }`.
///
/// A receiver calls its handler from a single thread. If the handler fails, the entry is not applied, and the
/// [`ApplyPolicy`](crate::ApplyPolicy) decides whether it is retried. A panic counts as a failure and is not
/// propagated.
///
/// ```
/// use replication::{Entry, Handler, HandlerResult};
///
/// #[derive(Default)]
/// struct Table {
///     rows: Vec<String>,
/// }
///
/// impl Handler for Table {
///     fn apply(&mut self, entry: &Entry<'_>) -> HandlerResult {
///         self.rows.push(std::str::from_utf8(entry.payload())?.to_owned());
///         Ok(())
///     }
/// }
///
/// let receiver = replication::Receiver::builder()
///     .reader_id("reader-1")
///     .writer_addr("writer.example:7700")
///     .handler(Table::default())
///     .build();
/// assert!(receiver.is_ok());
/// ```
pub trait Handler: Send {
    /// Applies one entry.
    fn apply(&mut self, entry: &Entry<'_>) -> HandlerResult;
}

impl<F: FnMut(&Entry<'_>) -> HandlerResult + Send> Handler for F {
    fn apply(&mut self, entry: &Entry<'_>) -> HandlerResult {
        self(entry)
    }
}

/// Entries in order, at least one, as passed to a [`BatchHandler`]. Dereferences to a slice.
pub struct Batch<'a> {
    entries: &'a [Entry<'a>],
    applied: Cell<usize>,
}

impl Batch<'_> {
    /// Records that the first `count` entries are applied. If the handler then fails, only the remaining entries are
    /// retried; without this call, all of them are.
    pub fn applied(&self, count: usize) {
        self.applied.set(count);
    }
}

impl<'a> Deref for Batch<'a> {
    type Target = [Entry<'a>];

    fn deref(&self) -> &[Entry<'a>] {
        self.entries
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries).finish()
    }
}

/// Applies a receiver's entries in batches, for example one transaction per batch. Closures implement it:
/// `|batch: &Batch<'_>| { ...; Ok(()) }`. Otherwise like [`Handler`].
///
/// ```
/// # use replication::{Batch, Receiver};
/// let receiver = Receiver::builder()
///     .reader_id("reader-1")
///     .writer_addr("writer.example:7700")
///     .batch_handler(1024, |batch: &Batch<'_>| {
///         // begin a transaction
///         for entry in batch.iter() {
///             println!("{}: {} bytes", entry.sequence(), entry.payload().len());
///         }
///         // store the token of the last entry, and commit
///         let _token = batch.last().and_then(|entry| entry.token());
///         Ok(())
///     })
///     .build();
/// # assert!(receiver.is_ok());
/// ```
pub trait BatchHandler: Send {
    /// Applies all entries of the batch, or fails. See [`Batch::applied`].
    fn apply(&mut self, batch: &Batch<'_>) -> HandlerResult;
}

impl<F: FnMut(&Batch<'_>) -> HandlerResult + Send> BatchHandler for F {
    fn apply(&mut self, batch: &Batch<'_>) -> HandlerResult {
        self(batch)
    }
}

/// Converts the outcome of a handler that applied `applied` entries into the core's result.
fn failure(applied: usize, outcome: Result<HandlerResult, String>) -> Result<(), ApplyFailure> {
    let (status, message) = match outcome {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => match error.downcast_ref::<Error>() {
            Some(ours) => (ours.status(), ours.message().to_owned()),
            None => (Status::ApplyFailed, error.to_string()),
        },
        Err(panic) => (Status::ApplyFailed, panic),
    };
    Err(ApplyFailure { applied, code: code_of(status), message })
}

/// Converts a status to a code that is never 0, since 0 means success.
fn code_of(status: Status) -> i32 {
    if status == Status::Ok { Status::ApplyFailed as i32 } else { status as i32 }
}

fn dropped(applied: usize) -> ApplyFailure {
    ApplyFailure { applied, code: Status::Closed as i32, message: "the receiver was dropped".into() }
}

/// Passes entries to a [`Handler`].
pub(super) struct EachEntry {
    pub(super) handler: Box<dyn Handler>,
    pub(super) gate: CallbackGate,
}

impl config::Handler for EachEntry {
    fn max_entries(&self) -> usize {
        1
    }

    fn apply(&mut self, entries: &mut Entries<'_>, place: &Place<'_>) -> Result<(), ApplyFailure> {
        let mut applied = 0;
        while let Some(entry) = entries.next() {
            if self.gate.is_shut() {
                return Err(dropped(applied));
            }
            let walked = entries.walked();
            place.reaches(&walked);
            let entry = Entry { entry, hash: walked.hash, place: Some(place) };
            failure(applied, caught(|| self.handler.apply(&entry)))?;
            applied += 1;
        }
        Ok(())
    }
}

/// Passes entries to a [`BatchHandler`].
pub(super) struct ManyEntries {
    pub(super) handler: Box<dyn BatchHandler>,
    pub(super) max_entries: usize,
    pub(super) gate: CallbackGate,
}

impl config::Handler for ManyEntries {
    fn max_entries(&self) -> usize {
        self.max_entries
    }

    fn apply(&mut self, entries: &mut Entries<'_>, place: &Place<'_>) -> Result<(), ApplyFailure> {
        if self.gate.is_shut() {
            return Err(dropped(0));
        }
        let mut call = Vec::new();
        while let Some(entry) = entries.next() {
            call.push(Entry { entry, hash: entries.walked().hash, place: Some(place) });
        }
        if call.is_empty() {
            return Ok(());
        }
        place.reaches(&entries.walked());
        let batch = Batch { entries: &call, applied: Cell::new(0) };
        let outcome = caught(|| self.handler.apply(&batch));
        let applied = batch.applied.get();
        // A handler that has applied every entry has not failed, however it returned.
        if applied >= call.len() { Ok(()) } else { failure(applied, outcome) }
    }
}

/// Wraps the handler that writes to the host's own log.
pub(super) fn local_wal(mut append: Box<dyn Handler>, gate: CallbackGate) -> LocalWal {
    Box::new(move |entry| {
        if gate.is_shut() {
            return Status::Closed as i32;
        }
        let entry = Entry { entry: *entry, hash: 0, place: None };
        failure(0, caught(|| append.apply(&entry))).map_or_else(|failure| failure.code, |()| 0)
    })
}
