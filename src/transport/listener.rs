//! Listening sockets.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::stream::unpaced;
use super::{Address, Stream};
use crate::error::{Error, Result, Status};

const BACKLOG: i32 = 1024;

/// A listening socket. A Unix socket's file goes away with it.
#[derive(Debug)]
pub struct Listener {
    /// Goes before the socket does: until then no other file can have its identity.
    _file: Option<SocketFile>,
    socket: Family,
    address: String,
}

#[derive(Debug)]
enum Family {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The file of a Unix socket, removed on drop unless another one has its name by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    /// The file that was just bound.
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), identity: identity(path) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // Somebody else may remove it at this moment.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// What tells a file from every other one that is there.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Listener {
    /// Binds the address and listens; returns the port too (0 for a Unix socket). Must be called within a runtime.
    /// Resolving a name blocks the caller.
    pub fn bind(address: &Address) -> Result<(Self, u16)> {
        match address {
            Address::Unix(path) => {
                let listener = bind_unix(path).map_err(|e| binding(address, &e))?;
                let file = Some(SocketFile::new(path));
                Ok((Self { socket: Family::Unix(listener), address: address.to_string(), _file: file }, 0))
            }
            Address::Tcp { host, port } => {
                let unresolved = |why: &dyn std::fmt::Display| {
                    Error::new(Status::BadAddress, format!("address \"{address}\" does not resolve: {why}"))
                };
                let resolved = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), *port));
                let resolved = resolved.map_err(|e| unresolved(&e))?.next().ok_or_else(|| unresolved(&"no address"))?;
                let listener = bind_tcp(resolved).map_err(|e| binding(address, &e))?;
                let local = listener.local_addr().map_err(|e| binding(address, &e))?;
                Ok((Self { socket: Family::Tcp(listener), address: local.to_string(), _file: None }, local.port()))
            }
        }
    }

    /// The bound address.
    pub fn address(&self) -> &str {
        &self.address
    }

    #[cfg(all(test, not(model)))]
    pub(super) fn tcp(&self) -> Option<SockRef<'_>> {
        match &self.socket {
            Family::Tcp(listener) => Some(SockRef::from(listener)),
            Family::Unix(_) => None,
        }
    }

    /// The next connection. Cancel-safe.
    pub async fn accept(&self) -> io::Result<Result<Stream>> {
        match &self.socket {
            Family::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::from_tcp(stream)),
            Family::Unix(listener) => {
                listener.accept().await.map(|(stream, _)| Stream::from_unix(stream, &self.address))
            }
        }
    }
}

fn bind_tcp(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted writer gets its port back although old connections linger; two live ones still exclude each other.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.ip().is_loopback() {
        unpaced(SockRef::from(&socket));
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

/// Whether a killed process left this socket behind: nobody accepts there any more.
fn is_stale(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let refused = || -> io::Result<()> {
        let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        probe.set_nonblocking(true)?;
        probe.connect(&SockAddr::unix(path)?)
    };
    is_socket && refused().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn binding(address: &Address, error: &io::Error) -> Error {
    let status = match error.kind() {
        io::ErrorKind::AddrInUse => Status::AddressInUse,
        io::ErrorKind::AddrNotAvailable => Status::BadAddress,
        _ => Status::Io,
    };
    Error::new(status, format!("cannot listen on {address}: {error}"))
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    /// A listener that ends takes its own file away, not that of another one which was bound there meanwhile.
    #[tokio::test]
    async fn a_sockets_file_goes_with_its_listener_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let address = Address::Unix(path.clone());
        let (first, _) = Listener::bind(&address).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (second, _) = Listener::bind(&address).unwrap();
        drop(first);
        Stream::connect(&address).await.unwrap();
        drop(second);
        assert!(!path.exists());
    }
}
