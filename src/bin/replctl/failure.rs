//! How a run ends: the exit statuses, and the errors that lead to them.

use std::io;
use std::process::ExitCode;

use replication::error::{Error, Status};

/// The exit statuses. They are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Ok = 0,
    /// Something could not be read, written or reached.
    Failed = 1,
    /// The arguments make no sense.
    Usage = 2,
    /// The log ends with bytes that are no whole entry.
    Torn = 3,
    /// Files are not what a log's files are.
    Damaged = 4,
    /// Entries that were asked for are gone.
    Gap = 5,
    /// The writer refused this reader, or broke the protocol.
    Refused = 6,
    /// The writer has another history, or an older state.
    Diverged = 7,
}

impl Exit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Exit; 8] =
        [Exit::Ok, Exit::Failed, Exit::Usage, Exit::Torn, Exit::Damaged, Exit::Gap, Exit::Refused, Exit::Diverged];

    /// What it means, for the help and the manual page.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Ok => "all is well, the output has no reader any more, or a signal ended tail",
            Exit::Failed => "something cannot be read, written or reached",
            Exit::Usage => "the arguments make no sense",
            Exit::Torn => "verify: the log ends with bytes that are no whole entry (a torn tail)",
            Exit::Damaged => "files of the log are damaged",
            Exit::Gap => "entries that were asked for are gone (a gap); the others were printed",
            Exit::Refused => "the writer, or access rules, refused this reader, or the writer broke the protocol",
            Exit::Diverged => "the writer has another history, or is behind the given position",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not come to its end.
#[derive(Debug)]
pub enum Failure {
    /// Standard output was closed by its reader.
    Closed,
    /// Anything else.
    Failed { exit: Exit, text: String },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.status {
            Status::Damaged => Exit::Damaged,
            Status::SequenceGap | Status::WalRotated => Exit::Gap,
            Status::Regressed | Status::Diverged => Exit::Diverged,
            _ => Exit::Failed,
        };
        Failure::Failed { exit, text: error.message }
    }
}

/// Errors of the library carry a status; a plain one comes from writing the output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Failed { exit: Exit::Failed, text: format!("cannot write to standard output: {error}") },
        }
    }
}
