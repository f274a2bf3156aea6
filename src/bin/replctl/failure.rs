//! How a run ends: the exit statuses, and the errors that lead to them.

use std::io;
use std::process::ExitCode;

use replication::error::{Error, Status};

/// The exit statuses. They are part of the interface; `replctl --help` lists them.
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

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not come to its end.
#[derive(Debug)]
pub enum Failure {
    /// The arguments; `command` is empty or a space and the command, for the hint.
    Usage { command: &'static str, text: String },
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
