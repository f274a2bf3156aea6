//! System calls relative to an open directory.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstatat};

use crate::fd::above_stdio;

/// The identity of a file, whatever its name. It tells when another file has taken the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    #[allow(clippy::useless_conversion, reason = "on 32 bits they are narrower")]
    pub(super) fn of(stat: &FileStat) -> Self {
        Self { device: stat.st_dev.into(), inode: stat.st_ino.into() }
    }

    pub(super) fn of_file(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Opens a file, with a descriptor that may be kept open.
pub(super) fn open_at<P: ?Sized + NixPath>(dir: impl AsFd, name: &P, flags: OFlag, mode: Mode) -> io::Result<OwnedFd> {
    loop {
        match openat(&dir, name, flags | OFlag::O_CLOEXEC | OFlag::O_LARGEFILE, mode) {
            Err(Errno::EINTR) => {}
            opened => return above_stdio(opened?),
        }
    }
}

/// The metadata of what has this name; `None` if there is nothing. A symbolic link is not followed.
pub(super) fn stat_at<P: ?Sized + NixPath>(dir: impl AsFd, name: &P) -> io::Result<Option<FileStat>> {
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(None),
        stat => Ok(Some(stat?)),
    }
}

/// Opens a file of the log. Does not follow a symbolic link, and does not block on a FIFO.
pub(super) fn open_file<P: ?Sized + NixPath>(dir: impl AsFd, name: &P, flags: OFlag, mode: Mode) -> io::Result<File> {
    Ok(open_at(dir, name, flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK, mode)?.into())
}
