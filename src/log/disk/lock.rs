//! Ensures that one handle of one process writes to a log's directory.
//!
//! There are two locks: one on the file `lock`, which names the holder, and one on the directory itself, because that
//! cannot be replaced while the log is open.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::Mode;

use super::at::{FileIdentity, open_file};
use super::fault::{damaged, failed};
use crate::error::{Error, Result, Status};

/// The lock file's name.
pub(super) const NAME: &str = "lock";

/// The locks of a directory, held as long as this lives. The kernel releases them when the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    identity: FileIdentity,
    file: Flock<File>,
    /// `None` where the file system cannot lock directories.
    dir: Option<Flock<OwnedFd>>,
}

impl Lock {
    /// Takes the locks. Fails with the holder's name if another has them.
    pub(super) fn take(dir: &OwnedFd, dir_path: &Path) -> Result<Self> {
        let path = dir_path.join(NAME);
        let whole = dir.try_clone().map_err(|error| failed("cannot lock", dir_path, &error))?;
        // First, so that nothing is created in a directory that belongs to another log.
        let whole = match Flock::lock(whole, FlockArg::LockExclusiveNonblock) {
            Ok(whole) => Some(whole),
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(held(&path, open_file(dir, NAME, OFlag::O_RDONLY, Mode::empty()).ok()));
            }
            Err(_) => None,
        };
        let flags = OFlag::O_RDWR | OFlag::O_CREAT;
        let file = open_file(dir, NAME, flags, Mode::S_IRUSR | Mode::S_IWUSR);
        let file = file.map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP | libc::EISDIR) => damaged(&path, 0, "what stands there is no regular file"),
            _ => failed("cannot open", &path, &error),
        })?;
        let metadata = file.metadata().map_err(|error| failed("cannot ask for the state of", &path, &error))?;
        if !metadata.is_file() {
            return Err(damaged(&path, 0, "what stands there is no regular file"));
        }
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((file, Errno::EWOULDBLOCK)) => return Err(held(&path, Some(file))),
            Err((_, errno)) => return Err(failed("cannot lock", &path, &errno.into())),
        };
        // The text is for people only, so a full disk does not prevent the log from being opened. A file with a second
        // name may belong to somebody else and is not written.
        if metadata.nlink() == 1 {
            let text = format!("{} {}\n", std::process::id(), host_name());
            let _ = file.set_len(0).and_then(|()| file.write_all_at(text.as_bytes(), 0));
        }
        Ok(Self { identity: FileIdentity::of_file(&metadata), file, dir: whole })
    }

    /// Whether the lock file still has a name, which may have changed.
    pub(super) fn has_a_name(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
    }

    /// Whether the directory itself is locked.
    pub(super) fn is_whole(&self) -> bool {
        self.dir.is_some()
    }

    /// The lock file.
    pub(super) fn identity(&self) -> FileIdentity {
        self.identity
    }
}

fn host_name() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn held(path: &Path, file: Option<File>) -> Error {
    let mut bytes = [0; 300];
    let read = file.and_then(|file| file.read_at(&mut bytes, 0).ok()).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..read]);
    let mut words = text.split_ascii_whitespace();
    let holder = match (words.next(), words.next()) {
        (Some(pid), Some(host)) => format!("process {pid} on host {host}"),
        (Some(pid), None) => format!("process {pid}"),
        _ => "another process".into(),
    };
    Error::new(
        Status::Locked,
        format!(
            "{} is held by {holder}: one handle at a time opens a log. Stop that one, or give this one a directory of \
             its own",
            path.display()
        ),
    )
}
