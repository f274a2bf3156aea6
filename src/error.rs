//! What went wrong: a stable code and a text that names the culprit.

use std::borrow::Cow;
use std::ffi::CStr;
use std::fmt::{self, Write as _};

use strum::IntoEnumIterator;

use crate::text;

/// The stable result code of every fallible operation. Numbers are part of the ABI and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumIter, strum::FromRepr, strum::IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE", suffix = "\0")]
#[repr(i32)]
pub enum Status {
    /// Success.
    Ok = 0,
    /// NULL where it is not allowed, a number out of range, text that is not UTF-8, an id that is too long.
    InvalidArgument = 1,
    /// The call does not fit the handle's state: before start, or started twice.
    InvalidState = 2,
    /// The handle was stopped.
    Closed = 3,
    /// A waiting call was made from inside a callback of the same handle.
    WrongThread = 4,
    /// The handle was made by another process: threads do not survive a fork.
    Forked = 5,
    /// An internal error was caught at the boundary; the handle is poisoned.
    Panic = 6,
    /// The given time passed.
    Timeout = 7,
    /// The operating system refused; the text has the errno and the address or path.
    Io = 8,
    /// An address that does not parse or does not resolve.
    BadAddress = 9,
    /// The address is taken by another socket.
    AddressInUse = 10,
    /// A descriptor that is closed or is no stream socket.
    BadDescriptor = 11,
    /// No such reader, row, key or stream.
    NotFound = 12,
    /// The value is of another type, or does not fit the type asked for.
    WrongType = 13,
    /// The caller's buffer is too small; the needed length was written.
    BufferTooSmall = 14,
    /// A frame that is not whole.
    Truncated = 15,
    /// A frame of length 0.
    MessageTooSmall = 16,
    /// A frame or payload over its limit.
    MessageTooLarge = 17,
    /// No memory.
    OutOfMemory = 18,
    /// A payload that is not an array of maps in msgpack.
    DecodeFailed = 19,
    /// Files on disk that are not what this library wrote there, or that a newer one wrote; nothing was changed.
    Damaged = 20,
    /// The log's directory is in use by another process, or opened twice in this one.
    Locked = 21,
    /// No room on the disk, or the quota is used up. It goes on when there is room.
    DiskFull = 22,
    /// Too few readers are near enough for another entry: the write gate is shut.
    Gated = 23,
    /// The log's disk refuses for another reason than room, which may pass. It goes on when the disk does.
    Stalled = 24,
    /// Protocol: the reader is too far behind to resume.
    SequenceGap = 100,
    /// Protocol: the log was rotated; a full resync is needed.
    WalRotated = 101,
    /// Protocol: a message that breaks the protocol.
    InvalidMsg = 102,
    /// Protocol: this node is not the writer.
    NotWriter = 103,
    /// Protocol: the buffer is full.
    BufferFull = 104,
    /// Protocol: writing to the peer failed.
    WriteFailed = 105,
    /// Protocol: applying an entry failed.
    ApplyFailed = 106,
    /// The writer belongs to another lineage: a foreign stream id or an older epoch.
    Diverged = 120,
    /// The writer of the same stream is behind this reader.
    Regressed = 121,
    /// Another connection took this reader's id.
    Replaced = 122,
    /// The peer was silent, or took no bytes, for too long.
    PeerTimeout = 123,
    /// The host removed this reader.
    Removed = 124,
    /// The writer changed while something of the one before was waited for.
    LineageChanged = 125,
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
    pub fn c_name(self) -> &'static CStr {
        let name: &str = self.into();
        CStr::from_bytes_with_nul(name.as_bytes()).unwrap_or(c"UNKNOWN")
    }

    /// The status that a number or a code's text stands for, if any.
    pub fn from_name(name: &str) -> Option<Status> {
        Self::iter().find(|status| status.name() == name)
    }

    /// What the code of a peer's error stands for. A peer that reports a success, or what nobody knows, breaks the
    /// protocol.
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
