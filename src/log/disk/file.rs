//! Every change of the disk goes through here: each has a name at which tests let it fail or end the process, and an
//! error that says what was tried with which file.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::dir::Dir;
use super::lock;
use crate::error::{Error, Result, Status};

macro_rules! ops {
    ($($(#[$doc:meta])* $id:ident = $name:literal, $doing:literal;)*) => {
        /// What is done to the disk.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Op { $($(#[$doc])* $id),* }

        /// The names of the places just before and just after each change of the disk. With the feature `failpoints`,
        /// the crate `fail` can end the process there, or make the change fail: `return(28)` before a change with
        /// errno 28 instead of it, after a change in spite of it.
        pub const CRASH_POINTS: &[&str] = &[$(concat!("disk-", $name, "-before"), concat!("disk-", $name, "-after")),*];

        impl Op {
            fn doing(self) -> &'static str {
                match self { $(Op::$id => $doing),* }
            }

            #[cfg(feature = "failpoints")]
            fn before(self) -> &'static str {
                match self { $(Op::$id => concat!("disk-", $name, "-before")),* }
            }

            #[cfg(feature = "failpoints")]
            fn after(self) -> &'static str {
                match self { $(Op::$id => concat!("disk-", $name, "-after")),* }
            }
        }
    };
}

ops! {
    /// Entries behind the end.
    WriteEntries = "entries-write", "cannot write entries to";
    /// Room for entries to come.
    Reserve = "reserve", "cannot write zeroes behind the end of";
    /// Entries become durable.
    SyncEntries = "entries-sync", "cannot sync";
    /// A commit slot.
    WriteCommit = "commit-write", "cannot write the commit slot of";
    /// The index of a segment that is full.
    WriteIndex = "index-write", "cannot write the index of";
    /// The index and the seal become durable.
    SyncSeal = "seal-sync", "cannot sync";
    /// A file that is not yet there under its name.
    Create = "new-create", "cannot create";
    /// Its bytes.
    WriteNew = "new-write", "cannot write";
    /// They become durable.
    SyncNew = "new-sync", "cannot sync";
    /// A new file gets its name.
    Rename = "rename", "cannot rename a new file to";
    /// Names in a directory become durable.
    SyncDir = "dir-sync", "cannot sync the directory";
    /// A file goes.
    Unlink = "unlink", "cannot remove";
    /// A torn end goes, or room that was reserved.
    Truncate = "truncate", "cannot cut off the end of";
    /// What was cut stays cut.
    SyncTruncate = "truncate-sync", "cannot sync";
    /// Entries that recovery found behind the synced mark are written once more.
    Rewrite = "rewrite-write", "cannot write to";
    /// A slot of a position file.
    WritePosition = "position-write", "cannot write a position to";
    /// A position becomes durable.
    SyncPosition = "position-sync", "cannot sync";
}

/// A change of the disk that failed.
///
/// Only a failed sync is final: the kernel may have dropped the bytes and will not say so again. Everything else may pass,
/// and is tried again by whoever works on an open log.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) error: Error,
    /// A sync failed: what is on disk is not known any more.
    pub(super) fatal: bool,
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        fault.error
    }
}

impl Fault {
    fn new(op: Op, path: &Path, error: &io::Error, fatal: bool) -> Self {
        Self { error: failed(op.doing(), path, error), fatal }
    }

    /// The error of a log that is open: what may pass is `DISK_FULL` or `STALLED`, and `IO` is final.
    pub(super) fn while_open(self) -> Error {
        if self.fatal { self.error } else { passing(self.error) }
    }
}

/// The error of something that may succeed later.
pub(super) fn passing(error: Error) -> Error {
    if error.status == Status::Io { Error::new(Status::Stalled, error.message) } else { error }
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

/// Bytes that are not what belongs there.
pub(super) fn damaged(path: &Path, offset: u64, what: impl std::fmt::Display) -> Error {
    let text = format!("{}: at byte {offset}: {what}. Nothing was changed on disk; {}", path.display(), remedy(path));
    Error::new(Status::Damaged, text)
}

/// Bytes of a version that this library does not read.
pub(super) fn too_new(path: &Path, offset: u64, what: impl std::fmt::Display) -> Error {
    let text = format!("{}: at byte {offset}: {what}. Nothing was changed on disk", path.display());
    Error::new(Status::Damaged, text)
}

/// What is enough to go on without a file that is damaged, and what that costs. Only segments hold entries.
fn remedy(path: &Path) -> &'static str {
    match name(path).to_str() {
        Some("slots") => {
            "remove this file, which is enough: the log is then kept for no reader that is away, and one that comes back \
             after retention removed what it needs must be re-seeded"
        }
        Some(lock::NAME) => "remove this file while no process has the log open; nothing is kept in it",
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

#[cfg(feature = "failpoints")]
fn pass(point: &'static str) -> io::Result<()> {
    fail::fail_point!(point, |errno| {
        let errno = errno.and_then(|text| text.parse().ok()).unwrap_or(libc::EIO);
        Err(io::Error::from_raw_os_error(errno))
    });
    Ok(())
}

/// Does `change`, between its two named points.
fn at_points<T>(op: Op, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    #[cfg(feature = "failpoints")]
    pass(op.before())?;
    #[cfg(not(feature = "failpoints"))]
    let _ = op;
    let value = change()?;
    #[cfg(feature = "failpoints")]
    pass(op.after())?;
    Ok(value)
}

/// What was changed on disk, for tests that build every disk that a loss of power may leave.
#[cfg(all(test, not(model)))]
#[derive(Clone, Debug)]
pub(super) enum Change {
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    Truncate(PathBuf, u64),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
    SyncDir,
    /// A test's note that everything up to this sequence was reported durable.
    Durable(u64),
}

#[cfg(all(test, not(model)))]
thread_local! {
    pub(super) static CHANGES: std::cell::RefCell<Option<Vec<Change>>> = const { std::cell::RefCell::new(None) };
}

#[cfg(all(test, not(model)))]
pub(super) fn note(change: impl FnOnce() -> Change) {
    CHANGES.with_borrow_mut(|changes| {
        if let Some(changes) = changes {
            changes.push(change());
        }
    });
}

macro_rules! note {
    ($change:expr) => {
        #[cfg(all(test, not(model)))]
        note(|| {
            use Change::*;
            $change
        });
    };
}

/// The name in its directory of a file.
fn name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

/// Opens a regular file that is there. A symbolic link is not followed, and a FIFO does not make it wait.
pub(super) fn open(dir: &Dir, path: &Path, writable: bool) -> io::Result<File> {
    let flags = if writable { OFlag::O_RDWR } else { OFlag::O_RDONLY };
    let file = dir.open_file(name(path), flags, Mode::empty())?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    Ok(file)
}

/// The same, with the errors that belong to a file of the log: what is no regular file is damage.
pub(super) fn open_part(dir: &Dir, path: &Path, writable: bool) -> Result<File> {
    open(dir, path, writable).map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => damaged(path, 0, "a symbolic link stands in the place of a file of the log"),
        Some(libc::EISDIR) | None => damaged(path, 0, "what stands there is no regular file"),
        _ => failed("cannot open", path, &error),
    })
}

/// The same for a file that need not be there.
pub(super) fn open_if_there(dir: &Dir, path: &Path, writable: bool) -> Result<Option<File>> {
    match dir.stat(name(path)) {
        Ok(None) => Ok(None),
        _ => open_part(dir, path, writable).map(Some),
    }
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_at(op: Op, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
    note!(Write(path.into(), offset, bytes.to_vec()));
    at_points(op, || file.write_all_at(bytes, offset)).map_err(|error| {
        let mut fault = Fault::new(op, path, &error, false);
        fault.error.message = format!("{} bytes at byte {offset}: {}", bytes.len(), fault.error.message);
        fault
    })
}

/// Makes a file that has `length` bytes longer, by zeroes. They are written: blocks that were only allocated would each
/// cost the sync after their first write a commit of the file system's journal.
pub(super) fn reserve(file: &File, path: &Path, length: u64, more: u64) -> Result<(), Fault> {
    static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
    let end = length + more;
    let mut at = length;
    while at < end {
        let piece = &ZEROES[..(end - at).min(ZEROES.len() as u64) as usize];
        write_at(Op::Reserve, file, path, at, piece)?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// Makes the bytes of a file, and its length, durable.
pub(super) fn sync(op: Op, file: &File, path: &Path) -> Result<(), Fault> {
    at_points(op, || file.sync_data()).map_err(|error| Fault::new(op, path, &error, true))?;
    note!(Sync(path.into()));
    Ok(())
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Dir) -> Result<(), Fault> {
    at_points(Op::SyncDir, || dir.sync()).map_err(|error| Fault::new(Op::SyncDir, dir.path(), &error, true))?;
    note!(SyncDir);
    Ok(())
}

/// Cuts a file to `length` bytes.
pub(super) fn truncate(file: &File, path: &Path, length: u64) -> Result<(), Fault> {
    note!(Truncate(path.into(), length));
    at_points(Op::Truncate, || file.set_len(length)).map_err(|error| Fault::new(Op::Truncate, path, &error, false))
}

/// Removes a file, if it is there. It is gone for good after the next [`sync_dir`].
pub(super) fn unlink(dir: &Dir, path: &Path) -> Result<(), Fault> {
    note!(Unlink(path.into()));
    at_points(Op::Unlink, || remove(dir, path)).map_err(|error| Fault::new(Op::Unlink, path, &error, false))
}

fn remove(dir: &Dir, path: &Path) -> io::Result<()> {
    match unlinkat(dir, name(path), UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        result => Ok(result?),
    }
}

/// Where a file lies before it gets its name.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Puts a file with these bytes in the place of `path`: after a crash there is either the old file, or none, or the new
/// one as a whole. When it returns, the new one is durable.
pub(super) fn replace(dir: &Dir, path: &Path, bytes: &[u8]) -> Result<File, Fault> {
    let new = temporary(path);
    match replace_with(dir, path, &new, bytes) {
        Ok(file) => Ok(file),
        Err(fault) => {
            // What is left of it would be removed at the next opening anyway.
            let _ = remove(dir, &new);
            Err(fault)
        }
    }
}

fn replace_with(dir: &Dir, path: &Path, new: &Path, bytes: &[u8]) -> Result<File, Fault> {
    let file = create(dir, new)?;
    write_at(Op::WriteNew, &file, new, 0, bytes)?;
    sync(Op::SyncNew, &file, new)?;
    rename(dir, new, path)?;
    Ok(file)
}

/// Makes an empty file. A leftover of that name is removed, not opened: it may be a link to elsewhere.
pub(super) fn create(dir: &Dir, new: &Path) -> Result<File, Fault> {
    let created = at_points(Op::Create, || {
        remove(dir, new)?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        dir.open_file(name(new), flags, Mode::S_IRUSR | Mode::S_IWUSR)
    });
    let file = created.map_err(|error| Fault::new(Op::Create, new, &error, false))?;
    note!(Create(new.into()));
    Ok(file)
}

/// Gives a new file, whose bytes are durable, its name, which is durable when this returns.
pub(super) fn rename(dir: &Dir, new: &Path, path: &Path) -> Result<(), Fault> {
    note!(Rename(new.into(), path.into()));
    at_points(Op::Rename, || Ok(renameat(dir, name(new), dir, name(path))?))
        .map_err(|error| Fault::new(Op::Rename, path, &error, false))?;
    sync_dir(dir)
}

/// Reads exactly `length` bytes at `offset`, or as many as there are.
pub(super) fn read_at(file: &File, path: &Path, offset: u64, buffer: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let doing = format!("cannot read {} bytes at byte {offset} of", buffer.len());
                return Err(failed(&doing, path, &error));
            }
        }
    }
    Ok(done)
}

/// Reads a small file as a whole: `None` when there is none, an error when it has more than `limit` bytes.
pub(super) fn read_small(dir: &Dir, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some(file) = open_if_there(dir, path, false)? else { return Ok(None) };
    let size = file.metadata().map_err(|error| failed("cannot ask for the size of", path, &error))?.len();
    if size > limit {
        return Err(damaged(path, limit, format_args!("the file has {size} bytes, at most {limit} are possible")));
    }
    let mut bytes = vec![0; size as usize];
    let read = read_at(&file, path, 0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}
