//! Listening sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Gid, Uid};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::stream::unpaced;
use super::unix::{self, SocketFile};
use super::{Address, Stream};
use crate::error::{Error, Result, Status};
use crate::fd::above_stdio;

const BACKLOG: i32 = 1024;

/// What readers send, Syncs and acknowledgements, is little. The kernel doubles it for what it needs itself.
const RECEIVE_BUFFER_BYTES: usize = 64 << 10;

/// How many descriptors below the process's limit are kept from peers, because the log's files and the host need some.
const RESERVE: u64 = 16;

/// How often another port is chosen when an address of the name does not have the first one free.
const PORT_ATTEMPTS: u32 = 64;

/// A listening socket. It removes the file of a Unix socket when it is dropped.
#[derive(Debug)]
pub struct Listener {
    /// Dropped before the socket: while the socket exists, no other file can have the same identity.
    file: Option<SocketFile>,
    socket: Family,
    address: String,
}

#[derive(Debug)]
enum Family {
    Tcp(TcpListener),
    Unix(UnixListener),
    /// A socket in the abstract namespace, with the permissions that its file would have.
    Abstract(UnixListener, u32),
}

/// The listeners of an address.
#[derive(Debug)]
pub struct Listening {
    /// One socket for each address of a name.
    pub listeners: Vec<Listener>,
    /// Their common port, 0 for a Unix socket.
    pub port: u16,
    /// One text for each address of the name that this machine does not have.
    pub missing: Vec<Error>,
}

/// The result of an accept.
#[derive(Debug)]
pub enum Accepted {
    /// A connection.
    Stream(Stream),
    /// The peer was gone before its connection was accepted.
    Gone,
    /// Closed again, because the process is about to reach its limit of descriptors, which is this.
    Scarce(u64),
    /// Closed again, and why: this peer may not connect here.
    Stranger(Error),
}

impl Listener {
    /// Binds the address, for a name each of its addresses, and listens. `mode`: the permissions of a Unix socket. Must
    /// be called within a runtime. Resolving a name blocks.
    pub fn bind(address: &Address, mode: u32) -> Result<Listening> {
        let failed = |e: io::Error| binding(&address.to_string(), &e);
        let one = |socket, file| {
            let listener = Self { socket, address: address.to_string(), file };
            Ok(Listening { listeners: vec![listener], port: 0, missing: Vec::new() })
        };
        match address {
            Address::Unix(path) => {
                let (socket, file) = unix::listen(path, mode, BACKLOG).map_err(failed)?;
                let socket = UnixListener::from_std(OwnedFd::from(socket).into()).map_err(failed)?;
                one(Family::Unix(socket), Some(file))
            }
            Address::Abstract(name) => {
                let bind = || {
                    let socket = unix::socket()?;
                    socket.bind(&unix::abstract_address(name)?)?;
                    socket.listen(BACKLOG)?;
                    UnixListener::from_std(OwnedFd::from(socket).into())
                };
                one(Family::Abstract(bind().map_err(failed)?, mode), None)
            }
            Address::Tcp { host, port } => {
                let unresolved = |why: &dyn std::fmt::Display| {
                    Error::new(Status::BadAddress, format!("address \"{address}\" does not resolve: {why}"))
                };
                let resolved = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), *port));
                let mut addresses: Vec<SocketAddr> = Vec::new();
                for resolved in resolved.map_err(|e| unresolved(&e))? {
                    if !addresses.contains(&resolved) {
                        addresses.push(resolved);
                    }
                }
                if addresses.is_empty() {
                    return Err(unresolved(&"no address"));
                }
                bind_all(address, &addresses)
            }
        }
    }

    /// The bound address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether its address still leads to this socket. The file of a Unix socket may be removed or replaced.
    pub fn is_reachable(&self) -> bool {
        self.file.as_ref().is_none_or(SocketFile::is_there)
    }

    /// Whether it has a file, which may be removed.
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    #[cfg(all(test, not(feature = "model")))]
    pub(super) fn tcp(&self) -> Option<SockRef<'_>> {
        match &self.socket {
            Family::Tcp(listener) => Some(SockRef::from(listener)),
            _ => None,
        }
    }

    /// The next connection. Cancel-safe.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Family::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                if let Some(limit) = scarce(stream.as_raw_fd()) {
                    return Ok(Accepted::Scarce(limit));
                }
                let stream = if is_stdio(stream.as_raw_fd()) {
                    TcpStream::from_std(above_stdio(stream.into_std()?.into())?.into())?
                } else {
                    stream
                };
                // A peer that is gone leaves a socket that cannot be set up.
                Ok(Stream::from_tcp(stream).map_or(Accepted::Gone, Accepted::Stream))
            }
            Family::Unix(listener) | Family::Abstract(listener, _) => {
                let (stream, _) = listener.accept().await?;
                if let Some(limit) = scarce(stream.as_raw_fd()) {
                    return Ok(Accepted::Scarce(limit));
                }
                if let Family::Abstract(_, mode) = &self.socket
                    && let Err(error) = admit(&stream, *mode, &self.address)
                {
                    return Ok(Accepted::Stranger(error));
                }
                let stream = if is_stdio(stream.as_raw_fd()) {
                    UnixStream::from_std(above_stdio(stream.into_std()?.into())?.into())?
                } else {
                    stream
                };
                Ok(Stream::from_unix(stream, &self.address).map_or(Accepted::Gone, Accepted::Stream))
            }
        }
    }
}

fn is_stdio(fd: i32) -> bool {
    fd <= libc::STDERR_FILENO
}

/// The limit of open files, if this descriptor is among the last below it. The limit may change at any time.
fn scarce(fd: i32) -> Option<u64> {
    // Without a known limit none is near.
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    is_reserved(u64::try_from(fd).ok()?, soft).then_some(soft)
}

fn is_reserved(fd: u64, limit: u64) -> bool {
    fd >= limit.saturating_sub(RESERVE)
}

/// Whether the peer's user may connect to a socket without a file.
fn admit(stream: &UnixStream, mode: u32, address: &str) -> Result<()> {
    let unknown = |e: io::Error| Error::new(Status::Io, format!("the user of a peer at {address} is unknown: {e}"));
    let peer = stream.peer_cred().map_err(unknown)?;
    let own = (Uid::effective().as_raw(), Gid::effective().as_raw());
    if unix::lets_in(mode, own, (peer.uid(), peer.gid())) {
        return Ok(());
    }
    let text = format!(
        "a peer at {address} is refused: it is user {} and group {}, unix_socket_mode {mode:04o} lets in those of user {} \
         and group {}",
        peer.uid(),
        peer.gid(),
        own.0,
        own.1
    );
    Err(Error::new(Status::Io, text))
}

/// Binds each of a name's addresses, all to one port.
fn bind_all(name: &Address, addresses: &[SocketAddr]) -> Result<Listening> {
    let chooses = addresses.iter().all(|address| address.port() == 0);
    let mut attempts = if chooses && addresses.len() > 1 { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        match bind_each(name, addresses) {
            // Another address has no such port free.
            Err(error) if error.status == Status::AddressInUse && attempts > 0 => {}
            bound => return bound,
        }
    }
}

fn bind_each(name: &Address, addresses: &[SocketAddr]) -> Result<Listening> {
    let mut listening = Listening { listeners: Vec::new(), port: 0, missing: Vec::new() };
    for address in addresses {
        let mut address = *address;
        if address.port() == 0 {
            address.set_port(listening.port);
        }
        let failed = |e: &io::Error| binding(&name.resolved(address.ip()), e);
        // Each family of a name has a socket of its own; alone, `[::]` takes both, as the system is set up.
        match bind_tcp(address, addresses.len() > 1) {
            Ok((listener, local)) => {
                listening.port = local.port();
                let listener = Listener { socket: Family::Tcp(listener), address: local.to_string(), file: None };
                listening.listeners.push(listener);
            }
            Err(error) if is_missing(&error) => listening.missing.push(failed(&error)),
            Err(error) => return Err(failed(&error)),
        }
    }
    match listening.missing.first() {
        Some(error) if listening.listeners.is_empty() => Err(error.clone()),
        _ => Ok(listening),
    }
}

/// Whether this machine does not have the address, or nothing of its family.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn bind_tcp(address: SocketAddr, only_its_family: bool) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    let socket = Socket::from(above_stdio(socket.into())?);
    if address.is_ipv6() && only_its_family {
        socket.set_only_v6(true)?;
    }
    // A restarted writer gets its port back although old connections linger; two live ones still exclude each other.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.ip().is_loopback() {
        unpaced(SockRef::from(&socket));
    }
    // The connections inherit it. It is of the socket's memory what a peer can fill before anybody has let it in.
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

fn binding(address: &str, error: &io::Error) -> Error {
    let status = match error.kind() {
        io::ErrorKind::AddrInUse => Status::AddressInUse,
        _ if is_missing(error) => Status::BadAddress,
        _ => Status::Io,
    };
    Error::new(status, format!("cannot listen on {address}: {error}"))
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::super::dial::dial;
    use super::*;

    const MODE: u32 = 0o600;

    fn bind(address: &Address) -> Listener {
        Listener::bind(address, MODE).unwrap().listeners.remove(0)
    }

    /// A listener that ends takes its own file away, not that of another one which was bound there meanwhile.
    #[tokio::test]
    async fn a_sockets_file_goes_with_its_listener_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let address = Address::Unix(path.clone());
        let first = bind(&address);
        assert!(first.is_reachable());
        std::fs::remove_file(&path).unwrap();
        assert!(!first.is_reachable());
        let second = bind(&address);
        assert!(!first.is_reachable());
        drop(first);
        dial(&address).await.unwrap();
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_bound_to_one_port() {
        let name = Address::parse("name:0").unwrap();
        let addresses: Vec<SocketAddr> =
            ["127.0.0.1:0", "192.0.2.1:0", "127.0.0.2:0", "[::1]:0"].map(|text| text.parse().unwrap()).into();
        let Listening { listeners, port, missing } = bind_all(&name, &addresses).unwrap();
        let bound: Vec<_> = listeners.iter().map(Listener::address).collect();
        assert_eq!(bound, ["127.0.0.1", "127.0.0.2", "[::1]"].map(|ip| format!("{ip}:{port}")));
        let texts: Vec<_> = missing.iter().map(|error| (error.status, error.message.clone())).collect();
        assert!(matches!(&texts[..], [(Status::BadAddress, text)] if text.contains("name:0 (192.0.2.1)")), "{texts:?}");

        // None of them is here, or one is taken.
        let error = bind_all(&name, &addresses[1..2]).unwrap_err();
        assert_eq!(error.status, Status::BadAddress);
        let taken: Vec<_> = addresses.iter().map(|address| SocketAddr::new(address.ip(), port)).collect();
        assert_eq!(bind_all(&name, &taken).unwrap_err().status, Status::AddressInUse);
    }

    #[tokio::test]
    async fn both_families_of_a_name_have_one_port() {
        let name = Address::parse("name:0").unwrap();
        let any: Vec<SocketAddr> = vec!["[::]:0".parse().unwrap(), "0.0.0.0:0".parse().unwrap()];
        let listening = bind_all(&name, &any).unwrap();
        assert_eq!(listening.listeners.len(), 2);
        for host in ["127.0.0.1", "::1"] {
            let address = Address::Tcp { host: host.into(), port: listening.port };
            dial(&address).await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_unspecified_v6_address_alone_takes_v4_as_the_system_is_set_up() {
        let only_v6 = std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only").unwrap();
        let listening = Listener::bind(&Address::parse("[::]:0").unwrap(), MODE).unwrap();
        let v4 = Address::Tcp { host: "127.0.0.1".into(), port: listening.port };
        assert_eq!(dial(&v4).await.is_ok(), only_v6.trim() == "0");
    }

    #[test]
    fn the_last_descriptors_are_kept_back() {
        for (fd, limit, kept) in
            [(1007, 1024, false), (1008, 1024, true), (1023, 1024, true), (3, 10, true), (9, 1 << 30, false)]
        {
            assert_eq!(is_reserved(fd, limit), kept, "{fd} of {limit}");
        }
    }
}
