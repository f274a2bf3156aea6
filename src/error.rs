//! What went wrong: a stable code and a text that names the culprit.

use std::borrow::Cow;
use std::ffi::CStr;
use std::fmt::{self, Write as _};

use strum::IntoEnumIterator;

use crate::text;

/// The result of a call or event. The numbers are part of the ABI and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumIter, strum::FromRepr, strum::IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE", suffix = "\0")]
#[repr(i32)]
#[non_exhaustive]
pub enum Status {
    /// Success.
    Ok = 0,
    /// A NULL, malformed or out-of-range argument.
    InvalidArgument = 1,
    /// The call does not fit the handle's state.
    InvalidState = 2,
    /// The handle was stopped.
    Closed = 3,
    /// A waiting call in a callback of the same handle.
    WrongThread = 4,
    /// The handle was created before a fork.
    Forked = 5,
    /// Internal error; the handle can only be freed.
    Panic = 6,
    /// The time limit has passed.
    Timeout = 7,
    /// A system call failed; the text names the errno.
    Io = 8,
    /// The address does not parse or resolve.
    BadAddress = 9,
    /// Another socket uses the address.
    AddressInUse = 10,
    /// The descriptor is closed or no stream socket.
    BadDescriptor = 11,
    /// No such reader, slot, row, key or stream.
    NotFound = 12,
    /// The value has another type or does not fit.
    WrongType = 13,
    /// Buffer too small; the needed length was set.
    BufferTooSmall = 14,
    /// The frame is incomplete.
    Truncated = 15,
    /// The frame has length 0.
    MessageTooSmall = 16,
    /// The frame or payload exceeds its limit.
    MessageTooLarge = 17,
    /// The system has no memory.
    OutOfMemory = 18,
    /// Not a msgpack array of maps, or over a limit.
    DecodeFailed = 19,
    /// Corrupt or newer log files; nothing was changed.
    Damaged = 20,
    /// Another handle or process uses the directory.
    Locked = 21,
    /// No disk space left, or the quota is used up.
    DiskFull = 22,
    /// The write gate is closed: readers lag too far.
    Gated = 23,
    /// The disk refuses writes for another reason.
    Stalled = 24,
    /// The entries that the reader needs are gone.
    SequenceGap = 100,
    /// The log on disk no longer has the entries.
    WalRotated = 101,
    /// A message violates the protocol.
    InvalidMsg = 102,
    /// This node is not the writer.
    NotWriter = 103,
    /// The buffer or another bounded table is full.
    BufferFull = 104,
    /// Writing to the peer failed.
    WriteFailed = 105,
    /// Applying an entry failed.
    ApplyFailed = 106,
    /// Other stream, older epoch or different history.
    Diverged = 120,
    /// The writer is behind this reader.
    Regressed = 121,
    /// Another connection took this reader's id.
    Replaced = 122,
    /// The peer was silent or blocked for too long.
    PeerTimeout = 123,
    /// The host removed this reader.
    Removed = 124,
    /// The writer changed during the wait.
    LineageChanged = 125,
    /// The entry is not in this history.
    Lost = 126,
    /// The writer's rules do not let this connection in.
    NotAuthorized = 127,
}

impl Status {
    /// Whether it says that the log's disk refuses for now, and is tried again.
    pub fn is_passing(self) -> bool {
        matches!(self, Status::DiskFull | Status::Stalled)
    }

    /// The code as text, which is also the code that travels in Error frames, such as `SEQUENCE_GAP`.
    pub fn name(self) -> &'static str {
        let name: &str = self.into();
        &name[..name.len() - 1]
    }

    /// The same for C.
    #[doc(hidden)]
    pub fn c_name(self) -> &'static CStr {
        let name: &str = self.into();
        CStr::from_bytes_with_nul(name.as_bytes()).unwrap_or(c"UNKNOWN")
    }

    /// The status with this name, if any.
    pub fn from_name(name: &str) -> Option<Status> {
        Self::iter().find(|status| status.name() == name)
    }

    /// What the code of a peer's error stands for. A peer that reports a success, or what nobody knows, breaks the
    /// protocol.
    #[doc(hidden)]
    pub fn reported(code: &str) -> Status {
        Self::from_name(code).filter(|status| *status != Status::Ok).unwrap_or(Status::InvalidMsg)
    }

    /// The status with this number, if any.
    pub fn from_number(number: i32) -> Option<Status> {
        Self::from_repr(number)
    }
}

/// An error of this library: `status` for programs, `message` for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", status.name())]
pub struct Error {
    /// The stable code.
    pub status: Status,
    /// What happened, to which sequence, address, path or reader, and what to do.
    pub message: String,
}

/// A text that ends where memory does.
struct FallibleText(String);

impl fmt::Write for FallibleText {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.0.try_reserve(part.len()).map_err(|_| fmt::Error)?;
        self.0.push_str(part);
        Ok(())
    }
}

/// The result of a fallible operation of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `status` with its text, in which control characters are escaped.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: text::printable(Cow::Owned(message.into())).into_owned() }
    }

    /// The error of work with a disk that may be tried again: `IO`, which is final, becomes `STALLED`.
    pub(crate) fn passing(self) -> Self {
        if self.status == Status::Io { Self { status: Status::Stalled, ..self } } else { self }
    }

    /// The memory for `what` is not to be had. If there is none for this text either, the text is empty.
    #[cold]
    pub fn out_of_memory(what: fmt::Arguments<'_>) -> Self {
        let mut text = FallibleText(String::new());
        let message = if write!(text, "no memory for {what}").is_ok() { text.0 } else { String::new() };
        Self { status: Status::OutOfMemory, message }
    }
}
