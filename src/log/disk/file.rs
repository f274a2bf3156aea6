//! Every change that the log makes on disk.

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
use super::fault::{Fault, damaged, failed};
use super::op::{Op, at_points};
use crate::error::Result;

/// A change on disk, for tests that build every state that a loss of power may leave.
#[cfg(all(test, not(feature = "model")))]
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

#[cfg(all(test, not(feature = "model")))]
thread_local! {
    pub(super) static CHANGES: std::cell::RefCell<Option<Vec<Change>>> = const { std::cell::RefCell::new(None) };
}

#[cfg(all(test, not(feature = "model")))]
pub(super) fn note(change: impl FnOnce() -> Change) {
    CHANGES.with_borrow_mut(|changes| {
        if let Some(changes) = changes {
            changes.push(change());
        }
    });
}

macro_rules! note {
    ($change:expr) => {
        #[cfg(all(test, not(feature = "model")))]
        note(|| {
            use Change::*;
            $change
        });
    };
}

/// Tells a simulator of a change that is about to be made, which may have it fail.
macro_rules! simulated {
    ($change:expr) => {
        #[cfg(feature = "simulation")]
        {
            use crate::simulation::Change::*;
            crate::simulation::disk($change)?;
        }
    };
}

/// Does what costs time on a real disk alone, and nothing in a simulation.
fn on_real_disk(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    #[cfg(feature = "simulation")]
    if crate::simulation::environment().is_some() {
        return Ok(());
    }
    work()
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
    at_points(op, || {
        simulated!(Write(path, offset, bytes));
        file.write_all_at(bytes, offset)
    })
    .map_err(|error| {
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
    at_points(op, || {
        simulated!(Sync(path));
        on_real_disk(|| file.sync_data())
    })
    .or_else(|error| if mutant!("failed-syncs-ignored") { Ok(()) } else { Err(error) })
    .map_err(|error| Fault::new(op, path, &error, true))?;
    note!(Sync(path.into()));
    Ok(())
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Dir) -> Result<(), Fault> {
    at_points(Op::SyncDir, || {
        simulated!(SyncDir(dir.path()));
        on_real_disk(|| dir.sync())
    })
    .map_err(|error| Fault::new(Op::SyncDir, dir.path(), &error, true))?;
    note!(SyncDir);
    Ok(())
}

/// Cuts a file to `length` bytes.
pub(super) fn truncate(file: &File, path: &Path, length: u64) -> Result<(), Fault> {
    note!(Truncate(path.into(), length));
    at_points(Op::Truncate, || {
        simulated!(Truncate(path, length));
        file.set_len(length)
    })
    .map_err(|error| Fault::new(Op::Truncate, path, &error, false))
}

/// Removes a file, if it is there. It is gone for good after the next [`sync_dir`].
pub(super) fn unlink(dir: &Dir, path: &Path) -> Result<(), Fault> {
    note!(Unlink(path.into()));
    at_points(Op::Unlink, || {
        simulated!(Unlink(path));
        remove(dir, path)
    })
    .map_err(|error| Fault::new(Op::Unlink, path, &error, false))
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
        simulated!(Create(new));
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
    let rename = || {
        simulated!(Rename(new, path));
        Ok(renameat(dir, name(new), dir, name(path))?)
    };
    at_points(Op::Rename, rename).map_err(|error| Fault::new(Op::Rename, path, &error, false))?;
    if mutant!("names-not-synced") {
        return Ok(());
    }
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
    #[cfg(feature = "simulation")]
    crate::simulation::read(path, offset, &mut buffer[..done])
        .map_err(|error| failed(&format!("cannot read {done} bytes at byte {offset} of"), path, &error))?;
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
