//! Finds out who holds the lock of a log's directory without taking it: an attempt could make a writer fail that opens
//! the log at that moment.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::{major, minor};

use super::dir::Dir;
use super::fault::failed;
use super::file::{open_if_there, read_at};
use super::lock;
use crate::error::Result;

/// The most bytes of a lock file that are read.
const MAX_TEXT_BYTES: usize = 4096;

/// Whether the lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockState {
    /// A process of this machine holds it.
    Yes,
    /// No process that this one can see holds it.
    No,
    /// The kernel does not tell.
    Unknown,
}

/// The content of a lock file, and whether the kernel reports the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Whether the lock is held now.
    pub held: LockState,
    /// The process that holds it, or else the last one that did.
    pub pid: Option<u32>,
    /// That process's host; empty when unknown.
    pub host: String,
}

/// The process that holds a directory's lock, or held it last. `None` without a lock file: no writer ever used the
/// directory.
///
/// Reads `/proc/locks`, which lists only processes that this one can see: the lock of a writer in another container or
/// on another host seems free.
pub fn holder(dir: &Path) -> Result<Option<Holder>> {
    holder_of(&Dir::open(dir)?)
}

pub(super) fn holder_of(dir: &Dir) -> Result<Option<Holder>> {
    let path = dir.join(lock::NAME);
    let Some(file) = open_if_there(dir, &path, false)? else { return Ok(None) };
    let mut bytes = [0; MAX_TEXT_BYTES];
    let read = read_at(&file, &path, 0, &mut bytes)?;
    let bytes = &bytes[..read];
    let text = String::from_utf8_lossy(bytes);
    let mut words = text.split_ascii_whitespace();
    let named = words.next().and_then(|word| word.parse().ok());
    let host = words.next().unwrap_or_default().to_owned();
    let metadata = file.metadata().map_err(|error| failed("cannot ask for the state of", &path, &error))?;
    let Ok(locks) = std::fs::read_to_string("/proc/locks") else {
        return Ok(Some(Holder { held: LockState::Unknown, pid: named, host }));
    };
    let (major, minor) = (major(metadata.dev()), minor(metadata.dev()));
    let file = format!("{major:02x}:{minor:02x}:{}", metadata.ino());
    let inode = format!(":{}", metadata.ino());
    // Some file systems show programs another device number than the kernel uses. Then the process must be the one that
    // the lock file names.
    let of_this_file = |lock: &LockLine<'_>| lock.file == file || (lock.file.ends_with(&inode) && lock.pid == named);
    let holding = locks.lines().filter_map(LockLine::parse).find(of_this_file);
    let held = if holding.is_some() { LockState::Yes } else { LockState::No };
    let pid = holding.and_then(|lock| lock.pid).or(named);
    Ok(Some(Holder { held, pid, host }))
}

/// A line of `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`.
struct LockLine<'a> {
    /// The process id, if this process can see it.
    pid: Option<u32>,
    file: &'a str,
}

impl<'a> LockLine<'a> {
    /// The lock in a line; `None` for one that is waited for, is of another kind, or is shared.
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let is_ours = words.next()? == "FLOCK" && words.next().is_some() && words.next()? == "WRITE";
        let pid = words.next()?.parse().ok().filter(|pid| *pid > 0);
        is_ours.then_some(LockLine { pid, file: words.next()? })
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_named_while_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(holder(dir.path()).unwrap(), None);
        let take = || {
            let dir = Dir::open(dir.path()).unwrap();
            dir.lock().map(|()| dir)
        };
        let lock = take().unwrap();
        let held = holder(dir.path()).unwrap().unwrap();
        assert_eq!(held.pid, Some(std::process::id()));
        assert_ne!(held.held, LockState::No);
        // It did not get into the way of anybody.
        assert_eq!(take().unwrap_err().status, crate::error::Status::Locked);
        drop(lock);
        let free = holder(dir.path()).unwrap().unwrap();
        assert_eq!(free.pid, Some(std::process::id()));
        assert_ne!(free.held, LockState::Yes);
        take().unwrap();
    }

    #[test]
    fn other_locks_and_odd_texts_are_nobody() {
        for line in [
            "",
            "1:",
            "1: POSIX  ADVISORY  WRITE 12 fe:00:7 0 EOF",
            "1: FLOCK  ADVISORY  READ 12 fe:00:7 0 EOF",
            "1: -> FLOCK  ADVISORY  WRITE 12 fe:00:7 0 EOF",
            "1: FLOCK  ADVISORY  WRITE",
        ] {
            assert!(LockLine::parse(line).is_none(), "{line}");
        }
        let lock = LockLine::parse("33: FLOCK  ADVISORY  WRITE 12 fe:00:7 0 EOF").unwrap();
        assert_eq!((lock.pid, lock.file), (Some(12), "fe:00:7"));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("lock"), [0xff, b' ', 0, b'\n']).unwrap();
        assert_eq!(holder(dir.path()).unwrap().unwrap().pid, None);
    }
}
