//! Unix sockets: their addresses, the files of those with a path, and the permissions of those without one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::fs::MetadataExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

use super::address::MAX_PATH_BYTES;
use crate::fd::above_stdio;

/// How long another process may take to create its socket at the same path.
const PATIENCE: Duration = Duration::from_secs(2);

/// A new non-blocking socket.
pub(super) fn socket() -> io::Result<Socket> {
    let socket = Socket::from(above_stdio(Socket::new(Domain::UNIX, Type::STREAM, None)?.into())?);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Calls `with` with the address of the socket at `path`. A path that is too long is reached through a descriptor of
/// its directory.
pub(super) fn with_path<T>(path: &Path, with: impl FnOnce(&SockAddr) -> io::Result<T>) -> io::Result<T> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
    };
    if path.as_os_str().len() <= MAX_PATH_BYTES {
        return with(&SockAddr::unix(path)?);
    }
    let dir = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(dir)?;
    with(&SockAddr::unix(Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name))?)
}

/// The address of this name in the abstract namespace.
pub(super) fn abstract_address(name: &str) -> io::Result<SockAddr> {
    SockAddr::unix(format!("\0{name}"))
}

/// Listens at `path`. The file has exactly these permissions, whatever the umask, and never had wider ones.
pub(super) fn listen(path: &Path, mode: u32, backlog: i32) -> io::Result<(Socket, SocketFile)> {
    let socket = socket()?;
    // The file gets the socket's permissions, less the umask.
    let permissions = Mode::from_bits_truncate(mode);
    fchmod(&socket, permissions)?;
    let starting = Starting::begin(path)?;
    match with_path(path, |address| socket.bind(address)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            std::fs::remove_file(path)?;
            with_path(path, |address| socket.bind(address))?;
        }
        bound => bound?,
    }
    let file = SocketFile::new(path)?;
    let made = std::fs::symlink_metadata(path)?;
    if made.permissions().mode() & 0o7777 != permissions.bits() && made.file_type().is_socket() {
        std::fs::set_permissions(path, PermissionsExt::from_mode(permissions.bits()))?;
    }
    // Before the lock is released, because a socket that does not listen seems stale to another process that starts.
    socket.listen(backlog)?;
    drop(starting);
    Ok((socket, file))
}

/// Whether a killed process left this socket behind, so that nobody accepts there.
fn is_stale(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let refused = || with_path(path, |address| socket()?.connect(address));
    is_socket && refused().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The identity of a file: device and inode.
fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.st_dev(), metadata.st_ino())
}

fn identity_at(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|metadata| identity(&metadata))
}

/// The file of a listening socket. Drop removes it, unless another file has its name by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Takes the file that was just bound.
    fn new(path: &Path) -> io::Result<Self> {
        let identity = identity_at(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { path: path.to_owned(), identity })
    }

    /// Whether its name still leads to it.
    pub(super) fn is_there(&self) -> bool {
        identity_at(&self.path) == Some(self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_there() {
            // Another process may remove it at this moment.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A lock for a path, so that of several processes one at a time checks whether a socket is stale, removes it and
/// creates its own. The file is removed at the end; one that a killed process left behind is not locked and bars
/// nobody.
struct Starting {
    path: PathBuf,
    is_ours: bool,
    _locked: Flock<File>,
}

impl Starting {
    fn begin(socket: &Path) -> io::Result<Self> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".replication-lock");
        let path = PathBuf::from(path);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (mut file, is_ours) = open_lock(&path).map_err(named)?;
            let locked = loop {
                match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                    Ok(locked) => break locked,
                    Err((unlocked, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() < deadline => file = unlocked,
                    Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                        let text = format!("another process is starting there, {} is locked", path.display());
                        return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
                    }
                    Err((_, errno)) => return Err(named(errno.into())),
                }
                // There is no lock call with a time limit.
                std::thread::sleep(Duration::from_millis(1));
            };
            // The holder may have removed the file, and a third process may have created another.
            if identity_at(&path) == Some(identity(&locked.metadata()?)) {
                return Ok(Self { path, is_ours, _locked: locked });
            }
        }
    }
}

/// Opens the lock file. Returns whether it was created, because only its creator removes it.
fn open_lock(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    loop {
        match options.clone().create_new(true).open(path) {
            Ok(file) => return Ok((raised(file)?, true)),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {}
        }
        match options.open(path) {
            Ok(file) => return Ok((raised(file)?, false)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // It was removed in between.
            Err(_) => {}
        }
    }
}

/// The file with a descriptor above the standard streams.
fn raised(file: File) -> io::Result<File> {
    above_stdio(file.into()).map(File::from)
}

impl Drop for Starting {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether a peer may connect to a socket without a file, as if it had one with these permissions that this process
/// owns. Compares effective users and groups. Root may connect.
pub(super) fn lets_in(mode: u32, own: (u32, u32), peer: (u32, u32)) -> bool {
    let bit = match peer {
        (0, _) => return true,
        (user, _) if user == own.0 => 0o200,
        (_, group) if group == own.1 => 0o020,
        _ => 0o002,
    };
    mode & bit != 0
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_socket_has_the_mode_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        // Whatever the umask is: tests that run beside this one are not to find another one.
        for mode in [0o600, 0o660, 0o666, 0o777, 0o000] {
            let path = dir.path().join(format!("{mode:o}"));
            let (_socket, file) = listen(&path, mode, 1).unwrap();
            assert_eq!(mode_of(&path), mode);
            assert!(file.is_there());
        }
    }

    /// Of many that start at once where a killed process left its socket, one gets it, and no file is left beside it.
    #[test]
    fn a_stale_socket_has_one_heir() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        for _ in 0..20 {
            // Closed without its file: stale.
            std::os::unix::net::UnixListener::bind(&path).unwrap();
            assert!(is_stale(&path));
            let barrier = std::sync::Barrier::new(8);
            let heirs: Vec<_> = std::thread::scope(|scope| {
                let start = || {
                    barrier.wait();
                    listen(&path, 0o600, 16)
                };
                let starting: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
                starting.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            for refused in heirs.iter().filter_map(|heir| heir.as_ref().err()) {
                assert_eq!(refused.kind(), io::ErrorKind::AddrInUse, "{refused}");
            }
            assert_eq!(heirs.iter().filter(|heir| heir.is_ok()).count(), 1);
            assert!(!is_stale(&path));
            let files = std::fs::read_dir(dir.path()).unwrap().count();
            assert_eq!(files, 1);
            drop(heirs);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_lock_that_was_left_behind_bars_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        std::fs::write(dir.path().join("socket.replication-lock"), "").unwrap();
        listen(&path, 0o600, 1).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(listen(&path, 0o600, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_long_path_is_reached_through_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("socket");
        let (_listening, file) = listen(&path, 0o600, 1).unwrap();
        assert!(path.exists());
        with_path(&path, |address| socket()?.connect(address)).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn peers_of_sockets_without_a_file_are_judged_by_mode() {
        let own = (1000, 100);
        for (mode, peer, may) in [
            (0o600, (1000, 100), true),
            (0o600, (1000, 7), true),
            (0o600, (0, 0), true),
            (0o000, (0, 0), true),
            (0o600, (1001, 100), false),
            (0o600, (1001, 7), false),
            (0o660, (1001, 100), true),
            (0o660, (1001, 7), false),
            (0o666, (1001, 7), true),
            (0o066, (1000, 100), false),
            (0o606, (1001, 100), false),
        ] {
            assert_eq!(lets_in(mode, own, peer), may, "{mode:o} {peer:?}");
        }
    }
}
