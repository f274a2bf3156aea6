//! A connected stream socket, of whichever family.
//!
//! Sends go through `sendmsg` with `MSG_NOSIGNAL`: the process belongs to the host, and a peer that went away must not
//! raise SIGPIPE in it.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::BufMut;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use super::Address;
use crate::error::{Error, Result, Status};

/// A connected, non-blocking stream socket. All methods may be called from any thread.
#[derive(Debug)]
pub struct Stream {
    socket: Family,
    peer: String,
}

#[derive(Debug)]
enum Family {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Connects to the address, trying each one a name resolves to.
    pub async fn connect(address: &Address) -> Result<Self> {
        let family = match address {
            Address::Unix(path) => Family::Unix(UnixStream::connect(path).await.map_err(|e| connecting(address, &e))?),
            Address::Tcp { host, port } => {
                let resolved = tokio::net::lookup_host((host.as_str(), *port)).await;
                let resolved = resolved.map_err(|e| {
                    Error::new(Status::BadAddress, format!("address \"{address}\" does not resolve: {e}"))
                })?;
                let mut refused = None;
                let mut connected = None;
                for candidate in resolved {
                    match TcpStream::connect(candidate).await {
                        Ok(stream) => {
                            connected = Some(stream);
                            break;
                        }
                        Err(error) => refused = Some(error),
                    }
                }
                Family::Tcp(connected.ok_or_else(|| match refused {
                    Some(error) => connecting(address, &error),
                    None => Error::new(Status::BadAddress, format!("address \"{address}\" resolves to nothing")),
                })?)
            }
        };
        Self::new(family, address.to_string())
    }

    pub(super) fn from_tcp(stream: TcpStream) -> Result<Self> {
        let peer = stream.peer_addr().map_or_else(|_| "unknown".to_owned(), |peer| peer.to_string());
        Self::new(Family::Tcp(stream), peer)
    }

    pub(super) fn from_unix(stream: UnixStream, listener: &str) -> Result<Self> {
        Self::new(Family::Unix(stream), listener.to_owned())
    }

    /// Takes a socket of the host's. It becomes non-blocking. Must be called within a runtime.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let socket = Socket::from(fd);
        let not_a_stream = |why: String| Error::new(Status::BadDescriptor, format!("the descriptor {why}"));
        let kind = socket.r#type().map_err(|e| not_a_stream(format!("is no open socket: {e}")))?;
        if kind != Type::STREAM {
            return Err(not_a_stream("is no stream socket".into()));
        }
        if socket.peer_addr().is_err() {
            return Err(not_a_stream("is a socket that is not connected".into()));
        }
        let domain = socket.domain().map_err(|e| not_a_stream(format!("is no open socket: {e}")))?;
        let taking = |e: io::Error| Error::new(Status::Io, format!("the descriptor cannot be used: {e}"));
        socket.set_nonblocking(true).map_err(taking)?;
        match domain {
            Domain::IPV4 | Domain::IPV6 => Self::from_tcp(TcpStream::from_std(socket.into()).map_err(taking)?),
            Domain::UNIX => {
                Self::from_unix(UnixStream::from_std(OwnedFd::from(socket).into()).map_err(taking)?, "unix")
            }
            _ => Err(not_a_stream("is neither a TCP nor a Unix socket".into())),
        }
    }

    fn new(socket: Family, peer: String) -> Result<Self> {
        if let Family::Tcp(stream) = &socket {
            // Batches are made above; the kernel must not wait for more. Keepalive finds dead v1 peers, which have no
            // heartbeat of their own.
            let keepalive = TcpKeepalive::new()
                .with_time(Duration::from_secs(15))
                .with_interval(Duration::from_secs(5))
                .with_retries(3);
            let set = SockRef::from(stream).set_tcp_keepalive(&keepalive).and_then(|()| stream.set_nodelay(true));
            set.map_err(|e| Error::new(Status::Io, format!("cannot set up the connection to {peer}: {e}")))?;
        }
        Ok(Self { socket, peer })
    }

    /// Who is at the other end, as text.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Sends what the socket takes now of these pieces, in order.
    #[inline]
    pub fn try_send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        fn send(socket: SockRef<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            socket.send_vectored_with_flags(pieces, libc::MSG_NOSIGNAL)
        }
        match &self.socket {
            Family::Tcp(stream) => stream.try_io(Interest::WRITABLE, || send(SockRef::from(stream), pieces)),
            Family::Unix(stream) => stream.try_io(Interest::WRITABLE, || send(SockRef::from(stream), pieces)),
        }
    }

    /// Receives what is there now into `buffer`'s free space; 0 is the end of the stream.
    #[inline]
    pub fn try_receive(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        match &self.socket {
            Family::Tcp(stream) => stream.try_read_buf(buffer),
            Family::Unix(stream) => stream.try_read_buf(buffer),
        }
    }

    /// Resolves when a receive is worth trying. Cancel-safe.
    pub async fn readable(&self) -> io::Result<()> {
        match &self.socket {
            Family::Tcp(stream) => stream.readable().await,
            Family::Unix(stream) => stream.readable().await,
        }
    }

    /// Resolves when a send is worth trying. Cancel-safe.
    pub async fn writable(&self) -> io::Result<()> {
        match &self.socket {
            Family::Tcp(stream) => stream.writable().await,
            Family::Unix(stream) => stream.writable().await,
        }
    }

    /// Throws away what the peer still sends, until it closes. Closing while its bytes are unread would destroy a last
    /// word that is on its way to it.
    pub async fn discard(&self) {
        let mut scratch = [0; 4096];
        while self.readable().await.is_ok() {
            // A peer that floods must not keep this thread from the others.
            tokio::task::consume_budget().await;
            match self.try_receive(&mut &mut scratch[..]) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(_) => return,
            }
        }
    }

    /// Ends the sending direction; the peer sees the end of the stream after all that was sent.
    pub fn finish(&self) {
        // A peer that is gone already needs no end.
        let _ = match &self.socket {
            Family::Tcp(stream) => SockRef::from(stream).shutdown(std::net::Shutdown::Write),
            Family::Unix(stream) => SockRef::from(stream).shutdown(std::net::Shutdown::Write),
        };
    }
}

fn connecting(address: &Address, error: &io::Error) -> Error {
    Error::new(Status::Io, format!("cannot connect to {address}: {error}"))
}
