//! A log's directory, held by descriptor: every file in it is opened, renamed and removed relative to that, so what a
//! path leads to later (after `chdir`, `chroot`, a rename or a mount) does not matter.
//!
//! It does matter whether another directory has taken the log's name: [`Dir::check`] compares what the parent has under
//! that name, and the lock file, with what was opened.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, fstat, mkdirat};

use super::at::{FileIdentity, open_at, open_file, stat_at};
use super::fault::{Fault, failed};
use super::lock::Lock;
use super::op::pass;
use crate::error::{Error, Result, Status};
use crate::permissions::{self, Kind, Owned, Unprotected};

/// An open directory that holds, or is to hold, a log.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    parent: OwnedFd,
    parent_identity: FileIdentity,
    /// Its name in its parent.
    name: PathBuf,
    /// The absolute path, for texts only.
    path: PathBuf,
    /// The path as the kernel tells it.
    told: Option<PathBuf>,
    identity: FileIdentity,
    lock: OnceLock<Lock>,
    /// The error of a sync of it that failed.
    unsynced: OnceLock<Errno>,
    unprotected: Option<Unprotected>,
}

impl Dir {
    /// Opens an existing directory.
    pub fn open(path: &Path) -> Result<Self> {
        Self::at(path, false)
    }

    /// Opens the directory of a log for writing, and creates it if only its last component is missing. Fails with
    /// `INVALID_ARGUMENT` if other users may change it, unless `insecure_allowed`.
    pub(super) fn open_to_write(path: &Path, insecure_allowed: bool) -> Result<Self> {
        let mut dir = Self::at(path, true)?;
        let stat = fstat(&dir.fd).map_err(|errno| failed("cannot ask for the state of", &dir.path, &errno.into()))?;
        let owned = Owned { owner: stat.st_uid, mode: stat.st_mode };
        dir.unprotected = permissions::check(Kind::Directory, &dir.path, owned, insecure_allowed)?;
        Ok(dir)
    }

    /// A warning for the host about the directory's permissions, if there is one.
    pub(crate) fn unprotected(&self) -> Option<&Unprotected> {
        self.unprotected.as_ref()
    }

    fn at(path: &Path, make: bool) -> Result<Self> {
        let path = absolute(path)?;
        let unopened = |error: io::Error| failed("cannot open the directory", &path, &error);
        let (parent_path, name) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => (parent, Path::new(name)),
            // The root directory is its own parent.
            _ if path == Path::new("/") => (path.as_path(), Path::new(".")),
            _ => return Err(unopened(Errno::EINVAL.into())),
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let parent = open_at(nix::fcntl::AT_FDCWD, parent_path, flags, Mode::empty());
        let parent = parent.map_err(|error| failed("cannot open the parent of the directory", &path, &error))?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let open = || open_at(&parent, name, flags, Mode::empty());
        let fd = match open() {
            Err(error) if make && error.kind() == io::ErrorKind::NotFound => {
                match mkdirat(&parent, name, Mode::S_IRWXU) {
                    Ok(()) => sync_parent(&parent)
                        .map_err(|error| failed("cannot sync the directory", parent_path, &error))?,
                    Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(failed("cannot make the directory", &path, &errno.into())),
                }
                open()
            }
            opened => opened,
        };
        let fd = fd.map_err(unopened)?;
        let identity = |fd: &OwnedFd| -> Result<FileIdentity> {
            Ok(FileIdentity::of(&fstat(fd).map_err(|errno| unopened(errno.into()))?))
        };
        Ok(Self {
            told: told(&fd),
            identity: identity(&fd)?,
            parent_identity: identity(&parent)?,
            fd,
            name: name.into(),
            parent,
            lock: OnceLock::new(),
            unsynced: OnceLock::new(),
            unprotected: None,
            path: path.clone(),
        })
    }

    /// Its path when it was opened, for texts.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it then, for texts, and for the functions of [`super::file`], which use the last component
    /// only.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a file in it.
    pub(super) fn open_file(&self, name: &OsStr, flags: OFlag, mode: Mode) -> io::Result<File> {
        open_file(&self.fd, name, flags, mode)
    }

    /// The metadata of a file in it; `None` if there is none.
    pub(super) fn stat(&self, name: &OsStr) -> io::Result<Option<FileStat>> {
        stat_at(&self.fd, name)
    }

    /// The names in it.
    pub(super) fn names(&self) -> io::Result<Vec<PathBuf>> {
        // A new descriptor, because an offset belongs to its descriptor.
        let fd = open_at(&self.fd, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
        let mut opened = nix::dir::Dir::from_fd(fd)?;
        let names = opened.iter().map(|entry| Ok(PathBuf::from(OsStr::from_bytes(entry?.file_name().to_bytes()))));
        let dots = |name: &io::Result<PathBuf>| !matches!(name, Ok(name) if name.as_os_str() == "." || name.as_os_str() == "..");
        names.filter(dots).collect()
    }

    /// Makes the names in it durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        // The kernel reports a failure once only, and it may concern a name for which another thread syncs.
        if let Some(errno) = self.unsynced.get() {
            return Err((*errno).into());
        }
        loop {
            match nix::unistd::fsync(&self.fd) {
                Err(Errno::EINTR) => {}
                synced => return synced.map_err(|errno| (*self.unsynced.get_or_init(|| errno)).into()),
            }
        }
    }

    /// Takes its lock, which is held as long as this lives. Fails with the holder's name if another has it.
    pub(super) fn lock(&self) -> Result<()> {
        let lock = Lock::take(&self.fd, &self.path)?;
        // This handle opens the directory only once.
        let _ = self.lock.set(lock);
        Ok(())
    }

    /// Checks that the log is still where it was opened and still has only one writer. The fault is fatal if not; if
    /// that cannot be found out, it may be checked again.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let there = match pass("disk-identity").and_then(|()| stat_at(&self.parent, &self.name)) {
            // A process that dropped privileges may no longer search the parent.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return self.check_from_inside(),
            there => there.map_err(|error| unknown(&self.path, &error))?,
        };
        match there.as_ref().map(FileIdentity::of) {
            Some(identity) if identity == self.identity => self.check_lock(),
            Some(_) => {
                Err(self.gone(&format!("something else took the place of the log's directory {}", self.shown())))
            }
            None => Err(self.gone(&format!("there is no log directory {} any more", self.shown()))),
        }
    }

    /// The same for the directory itself: checks its parent and the name that the kernel reports. The rest of the path
    /// does not count, since it differs after a change of the root.
    fn check_from_inside(&self) -> Result<(), Fault> {
        let lost = || self.gone(&format!("the log's directory {} is not in its place any more", self.shown()));
        if self.is_removed() {
            return Err(lost());
        }
        if let (Some(then), Some(now)) = (&self.told, told(&self.fd))
            && let (Some(then), Some(now)) = (then.file_name(), now.file_name())
            && then != now
        {
            return Err(lost());
        }
        match stat_at(&self.fd, "..") {
            Ok(Some(parent)) => match FileIdentity::of(&parent) {
                parent if parent == self.parent_identity => self.check_lock(),
                // It is now this process's root, whose parent cannot be read.
                parent if parent == self.identity => self.check_lock(),
                _ => Err(lost()),
            },
            // Without the right to search the directory nothing can be done in it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && self.told == told(&self.fd) => {
                self.check_lock()
            }
            Ok(None) => Err(unknown(&self.path, &Errno::ENOENT.into())),
            Err(error) => Err(unknown(&self.path, &error)),
        }
    }

    fn shown(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// The fault of a directory that has lost its place; `what` describes it.
    fn gone(&self, what: &str) -> Fault {
        let rest = if self.is_removed() {
            "it was removed. Nothing more is confirmed; restore a copy, or let another node write".into()
        } else {
            let now = match told(&self.fd) {
                Some(now) if Some(&now) != self.told.as_ref() => {
                    format!("it was moved to {}", now.to_string_lossy().escape_debug())
                }
                _ => "it was moved away, or something was mounted over it".into(),
            };
            format!(
                "{now}. Nothing more is confirmed; what was confirmed before is there: put it back, and open the log again"
            )
        };
        lost(format!("{what}: {rest}"))
    }

    fn check_lock(&self) -> Result<(), Fault> {
        let Some(lock) = self.lock.get() else { return Ok(()) };
        let path = self.join(super::lock::NAME);
        let there = match self.stat(OsStr::new(super::lock::NAME)) {
            // A directory without a name is gone for everyone.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !lock.has_a_name() => None,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            there => there.map_err(|error| unknown(&path, &error))?,
        };
        match there.as_ref().map(FileIdentity::of) {
            Some(identity) if identity == lock.identity() => Ok(()),
            there => {
                let what = if there.is_some() { "replaced" } else { "removed" };
                Err(lost(format!(
                    "the lock file {} was {what}, so another process might have opened the log. Nothing more is confirmed; \
                     what was confirmed before is in the directory: open the log again",
                    path.display()
                )))
            }
        }
    }

    /// Whether nobody else can have opened a log in the directory that this one holds, wherever that is.
    pub(super) fn is_still_ours(&self) -> bool {
        let locked = |lock: &Lock| lock.is_whole() || self.check_lock().is_ok();
        !self.is_removed() && self.lock.get().is_some_and(locked)
    }

    fn is_removed(&self) -> bool {
        fstat(&self.fd).is_ok_and(|stat| stat.st_nlink == 0)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The path of an open directory as the kernel tells it.
fn told(fd: &OwnedFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
}

/// The log's place is lost for good.
fn lost(text: String) -> Fault {
    Fault { error: Error::new(Status::Io, text), fatal: true }
}

/// The fault of a check that cannot be made now.
fn unknown(path: &Path, error: &io::Error) -> Fault {
    Fault { error: failed("cannot ask for the state of", path, error), fatal: false }
}

/// The path from the root, its last component no symbolic link.
fn absolute(path: &Path) -> Result<PathBuf> {
    let unresolved = |error: io::Error| failed("cannot resolve the path", path, &error);
    let whole = std::path::absolute(path).map_err(unresolved)?;
    // The path of a directory may end in a slash, but after that the last component would be followed.
    let whole: PathBuf = whole.components().collect();
    if whole.file_name().is_none() {
        // It ends in `..`, or is the root.
        return std::fs::canonicalize(&whole).map_err(unresolved);
    }
    match std::fs::symlink_metadata(&whole) {
        Ok(metadata) if metadata.is_symlink() => std::fs::canonicalize(&whole).map_err(unresolved),
        _ => Ok(whole),
    }
}

fn sync_parent(parent: &OwnedFd) -> io::Result<()> {
    // A descriptor opened with O_PATH cannot be synced.
    let parent = open_at(parent, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
    Ok(nix::unistd::fsync(parent)?)
}
