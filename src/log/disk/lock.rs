//! One process writes to a log's directory, and in it one handle.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::file::{failed, read_at};
use crate::error::{Error, Result, Status};

/// The lock on a directory, held as long as this lives. The kernel gives it back when the process ends, however it does.
#[derive(Debug)]
pub(super) struct DirLock {
    _file: Flock<File>,
}

impl DirLock {
    /// Takes the lock, or says who holds it.
    pub(super) fn take(dir: &Path) -> Result<Self> {
        let path = dir.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path)
            .map_err(|error| failed("cannot open", &path, &error))?;
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((file, Errno::EWOULDBLOCK)) => return Err(held(&path, &file)),
            Err((_, errno)) => return Err(failed("cannot lock", &path, &io::Error::from(errno))),
        };
        // The text serves people only, so a disk that is full does not keep the log from being opened.
        let text = format!("{} {}\n", std::process::id(), host_name());
        let _ = file.set_len(0).and_then(|()| file.write_all_at(text.as_bytes(), 0));
        Ok(Self { _file: file })
    }
}

fn host_name() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn held(path: &Path, file: &File) -> Error {
    let mut bytes = [0; 300];
    let read = read_at(file, path, 0, &mut bytes).unwrap_or(0);
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
