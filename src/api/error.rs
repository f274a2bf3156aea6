use std::fmt;

use crate::error;
use crate::error::Status;

/// An error: a [`Status`] for programs and a message for people that names the cause.
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

/// The result of every fallible function in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Creates an error for a handler to return. Its status decides what happens to the entry: with [`Status::Closed`]
    /// the entry is retried under every [`ApplyPolicy`](crate::ApplyPolicy).
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        error::Error::new(status, message).into()
    }

    /// Returns the status, for programs.
    pub fn status(&self) -> Status {
        self.inner.status
    }

    /// Returns the message, for people. It does not include the status name, which [`Display`](fmt::Display) adds in
    /// front.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Returns the sequence of the entry that [`Sender::replicate`](crate::Sender::replicate) appended although it
    /// failed; for [`Sender::replicate_batch`](crate::Sender::replicate_batch), the sequence of the first entry. Those
    /// entries are in the log and must not be written again, but are not known to be durable;
    /// [`Sender::wait_durable`](crate::Sender::wait_durable) reports later whether they are. Returns `None` for every
    /// other error: nothing was appended.
    pub fn taken(&self) -> Option<u64> {
        self.taken
    }

    /// Creates an error for entries that were appended; `sequence` is the first of them.
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
