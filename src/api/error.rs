use std::fmt;

use crate::error;
use crate::error::Status;

/// What went wrong: a [`Status`] for programs, and a text for people that names the culprit.
///
/// ```
/// let error = replication::Receiver::builder().reader_id("reader-1").build().unwrap_err();
/// assert_eq!(error.status(), replication::Status::InvalidArgument);
/// assert_eq!(error.to_string(), "INVALID_ARGUMENT: no handler is set: one of handler and batch_handler is needed");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    inner: error::Error,
    taken: Option<u64>,
}

/// The result of whatever can fail in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error for a handler to return, whose status decides what becomes of the entry: with [`Status::Closed`] it is
    /// tried again whatever the [`ApplyPolicy`](crate::ApplyPolicy).
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        error::Error::new(status, message).into()
    }

    /// What went wrong, for programs.
    pub fn status(&self) -> Status {
        self.inner.status
    }

    /// What went wrong, for people: without the name of the status, which [`Display`](fmt::Display) puts before it.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The entry that [`Sender::replicate`](crate::Sender::replicate) took although it failed, and of
    /// [`Sender::replicate_batch`](crate::Sender::replicate_batch) the first one: they are in the log and must not be
    /// written again, but are not known to be durable. [`Sender::wait_durable`](crate::Sender::wait_durable) tells later
    /// what became of them. `None` everywhere else: nothing was taken.
    pub fn taken(&self) -> Option<u64> {
        self.taken
    }

    /// The same for entries that were taken, the first of them `sequence`.
    pub(super) fn of_taken(error: error::Error, sequence: u64) -> Self {
        Self { inner: error, taken: Some(sequence) }
    }
}

impl From<error::Error> for Error {
    fn from(inner: error::Error) -> Self {
        Self { inner, taken: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Error");
        shown.field("status", &self.inner.status).field("message", &self.inner.message);
        if let Some(taken) = self.taken {
            shown.field("taken", &taken);
        }
        shown.finish()
    }
}

impl std::error::Error for Error {}
