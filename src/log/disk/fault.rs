//! Errors of the log's files: what was tried with which file, and whether trying again may help.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::op::Op;
use crate::error::{Error, Status};

/// A change of the disk that failed.
///
/// Only a failed sync is final: the kernel may have dropped the bytes and reports that only once. Every other failure
/// may pass, and an open log tries again.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) error: Error,
    /// A sync failed, so it is no longer known what is on disk.
    pub(super) fatal: bool,
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        fault.error
    }
}

impl Fault {
    pub(super) fn new(op: Op, path: &Path, error: &io::Error, fatal: bool) -> Self {
        Self { error: failed(op.doing(), path, error), fatal }
    }

    /// The error for an open log: `DISK_FULL` or `STALLED` if it may pass, `IO` if it is final.
    pub(super) fn while_open(self) -> Error {
        if self.fatal { self.error } else { self.error.passing() }
    }
}

/// The error of a system call: what could not be done with which file, the errno, and what to do about it.
pub(super) fn failed(doing: &str, path: &Path, error: &io::Error) -> Error {
    let Some(errno) = error.raw_os_error() else {
        return Error::new(Status::Io, format!("{doing} {}: {error}", path.display()));
    };
    let (status, advice) = match errno {
        libc::ENOSPC => (Status::DiskFull, "; free some room on this file system"),
        libc::EDQUOT => (Status::DiskFull, "; free some room, or raise the quota"),
        libc::EFBIG => (Status::DiskFull, "; raise the limit of file sizes (ulimit -f), or choose smaller segments"),
        libc::EACCES | libc::EPERM => (Status::Io, "; let this user read and write it"),
        libc::EROFS => (Status::Io, "; the log needs a directory that can be written"),
        libc::EMFILE | libc::ENFILE => (Status::Io, "; raise the limit of open files"),
        _ => (Status::Io, ""),
    };
    let text = nix::errno::Errno::from_raw(errno).desc();
    Error::new(status, format!("{doing} {}: {text} (errno {errno}){advice}", path.display()))
}

/// The error of damaged bytes.
pub(super) fn damaged(path: &Path, offset: u64, what: impl std::fmt::Display) -> Error {
    let text = format!("{}: at byte {offset}: {what}. Nothing was changed on disk; {}", path.display(), remedy(path));
    Error::new(Status::Damaged, text)
}

/// The error of a format version that this library does not read.
pub(super) fn too_new(path: &Path, offset: u64, what: impl std::fmt::Display) -> Error {
    let text = format!("{}: at byte {offset}: {what}. Nothing was changed on disk", path.display());
    Error::new(Status::Damaged, text)
}

/// Advice on how to continue without a damaged file, and what that costs. Only segments hold entries.
fn remedy(path: &Path) -> &'static str {
    match path.file_name().and_then(OsStr::to_str) {
        Some("slots") => {
            "remove this file, which is enough: the log is then kept for no reader that is away, and one that comes back \
             after retention removed what it needs must be re-seeded"
        }
        Some("lock") => "remove this file while no process has the log open; nothing is kept in it",
        Some(name) if name.ends_with(".seg") => {
            "restore the directory from a copy, or move it away: a reader then begins anew, and another node takes the \
             place of a writer"
        }
        _ => {
            "remove this file, which is enough: unless the host sets its own position, the handler gets again what the log \
             in this directory still has, also what it has applied before"
        }
    }
}
