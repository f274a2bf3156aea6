//! A connection: a stream socket or TLS over one, with the same methods.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BufMut;
use rustls::pki_types::CertificateDer;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpStream, UnixStream};

use super::socket::Socket as Plain;
use super::tls::Tls;
use super::tls_errors::Files;
use crate::error::{Error, Result, Status};
use crate::fd::above_stdio;
use crate::identity::{Origin, PeerCertificate, PeerIdentity, PeerProcess, ProvenSecret};
#[cfg(feature = "simulation")]
use crate::simulation;

/// A connected, non-blocking stream. All methods may be called from any thread.
#[derive(Debug)]
pub struct Stream {
    pub(super) kind: StreamKind,
    peer: String,
    origin: Origin,
    /// The process at the other end of a Unix socket.
    process: Option<PeerProcess>,
    /// The peer's certificate, once the TLS handshake has verified it.
    certificate: OnceLock<PeerCertificate>,
    /// The secret by which the peer has proven who it is.
    secret: OnceLock<Box<ProvenSecret>>,
}

#[derive(Debug)]
pub(super) enum StreamKind {
    Plain(Plain),
    Tls(Box<Tls>),
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn simulation::Socket>),
}

impl Stream {
    /// A connection to this peer, not yet under TLS.
    pub(super) fn from_plain(socket: Plain, peer: String) -> Result<Self> {
        Self::new(socket, peer)
    }

    /// A connection of an environment.
    #[cfg(feature = "simulation")]
    pub fn simulated(socket: Box<dyn simulation::Socket>, peer: String) -> Self {
        let address = peer.parse::<std::net::SocketAddr>().map(|peer| peer.ip());
        let origin = Origin::Tcp(address.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into()));
        Self {
            kind: StreamKind::Simulated(socket),
            peer,
            origin,
            process: None,
            certificate: OnceLock::new(),
            secret: OnceLock::new(),
        }
    }

    /// Waits until the peer sends something or closes; returns whether it sent something, which stays to be received.
    pub async fn is_spoken_on(&self) -> io::Result<bool> {
        let socket = match &self.kind {
            StreamKind::Plain(socket) => socket,
            StreamKind::Tls(tls) => tls.socket(),
            #[cfg(feature = "simulation")]
            StreamKind::Simulated(socket) => {
                simulation::readable(&**socket).await;
                return socket.peek();
            }
        };
        socket.is_spoken_on().await
    }

    pub(super) fn from_tcp(stream: TcpStream) -> Result<Self> {
        let peer = stream.peer_addr().map_err(gone)?;
        Self::new(Plain::Tcp(stream), peer.to_string())
    }

    pub(super) fn from_unix(stream: UnixStream, listener: &str) -> Result<Self> {
        Self::new(Plain::Unix(stream), listener.to_owned())
    }

    /// Takes a socket of the host's and makes it non-blocking. Must be called within a runtime.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let taking = |e: io::Error| Error::new(Status::Io, format!("the descriptor cannot be used: {e}"));
        let socket = Socket::from(above_stdio(fd).map_err(taking)?);
        let not_a_stream = |why: String| Error::new(Status::BadDescriptor, format!("the descriptor {why}"));
        let kind = socket.r#type().map_err(|e| not_a_stream(format!("is no open socket: {e}")))?;
        if kind != Type::STREAM {
            return Err(not_a_stream("is no stream socket".into()));
        }
        if socket.peer_addr().is_err() {
            return Err(not_a_stream("is a socket that is not connected".into()));
        }
        let domain = socket.domain().map_err(|e| not_a_stream(format!("is no open socket: {e}")))?;
        socket.set_nonblocking(true).map_err(taking)?;
        match domain {
            Domain::IPV4 | Domain::IPV6 => Self::from_tcp(TcpStream::from_std(socket.into()).map_err(taking)?),
            Domain::UNIX => {
                Self::from_unix(UnixStream::from_std(OwnedFd::from(socket).into()).map_err(taking)?, "unix")
            }
            _ => Err(not_a_stream("is neither a TCP nor a Unix socket".into())),
        }
    }

    fn new(socket: Plain, peer: String) -> Result<Self> {
        let origin = match &socket {
            Plain::Tcp(stream) => Origin::Tcp(stream.peer_addr().map_err(gone)?.ip()),
            Plain::Unix(_) => Origin::Unix,
        };
        if let Plain::Tcp(stream) = &socket {
            // No delay: the caller already batches. Keepalive finds dead v1 peers, which send no heartbeats.
            let keepalive = TcpKeepalive::new()
                .with_time(Duration::from_secs(15))
                .with_interval(Duration::from_secs(5))
                .with_retries(3);
            let set = SockRef::from(stream).set_tcp_keepalive(&keepalive).and_then(|()| stream.set_nodelay(true));
            set.map_err(|e| Error::new(Status::Io, format!("cannot set up the connection to {peer}: {e}")))?;
            if is_within_host(stream) {
                unpaced(SockRef::from(stream));
            }
        }
        let process = match &socket {
            // The system keeps it from the moment of the connect on.
            Plain::Unix(stream) => stream.peer_cred().ok(),
            _ => None,
        };
        let process = process.map(|of| PeerProcess { uid: of.uid(), gid: of.gid(), pid: of.pid() });
        Ok(Self {
            kind: StreamKind::Plain(socket),
            peer,
            origin,
            process,
            certificate: OnceLock::new(),
            secret: OnceLock::new(),
        })
    }

    /// Puts TLS over an unused socket. [`Self::handshake`] must follow.
    pub(super) fn over_tls(self, connection: rustls::Connection, files: Arc<Files>) -> Self {
        match self.kind {
            StreamKind::Plain(socket) => {
                let tls = Tls::new(socket, connection, &self.peer, files);
                Self { kind: StreamKind::Tls(Box::new(tls)), ..self }
            }
            _ => self,
        }
    }

    /// Does the TLS handshake, if there is TLS. After being cancelled it may be called again.
    pub async fn handshake(&self) -> io::Result<()> {
        match &self.kind {
            StreamKind::Plain(_) => Ok(()),
            StreamKind::Tls(tls) => {
                tls.handshake().await?;
                if let Some(certificate) = tls.certificate() {
                    self.certificate.get_or_init(|| certificate);
                }
                Ok(())
            }
            #[cfg(feature = "simulation")]
            StreamKind::Simulated(_) => Ok(()),
        }
    }

    /// The peer's address, as text.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Who the peer is, as far as it is proven. A certificate proves it once [`Self::handshake`] has succeeded.
    pub fn identity(&self) -> PeerIdentity<'_> {
        PeerIdentity {
            secret: self.secret.get().map(|secret| &*secret.name),
            certificate: self.certificate.get(),
            process: self.process,
        }
    }

    /// The peer has proven that it has this secret.
    pub(crate) fn has_proven(&self, secret: ProvenSecret) {
        self.secret.get_or_init(|| Box::new(secret));
    }

    /// The secret by which the peer has proven who it is.
    pub(crate) fn proven_secret(&self) -> Option<&ProvenSecret> {
        self.secret.get().map(|secret| &**secret)
    }

    /// What TLS derives for this connection alone, once [`Self::handshake`] has succeeded; `None` without TLS.
    pub(crate) fn channel_binding(&self) -> Option<[u8; 32]> {
        match &self.kind {
            StreamKind::Tls(tls) => tls.channel_binding(),
            _ => None,
        }
    }

    /// Where the peer comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The certificates that the peer has shown under TLS, its own first.
    pub(super) fn certificate_chain(&self) -> Vec<CertificateDer<'static>> {
        match &self.kind {
            StreamKind::Tls(tls) => tls.certificate_chain(),
            _ => Vec::new(),
        }
    }

    /// Whether it is plain, or under TLS that began with these very files.
    pub(super) fn is_under(&self, files: &Arc<Files>) -> bool {
        match &self.kind {
            StreamKind::Tls(tls) => tls.is_under(files),
            _ => true,
        }
    }

    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self.kind, StreamKind::Tls(_))
    }

    /// Accepts as many bytes of these pieces, in order, as can be sent now. Bytes that TLS has accepted and not sent go
    /// out on [`Self::try_flush`] and during [`Self::readable`].
    #[inline]
    pub fn try_send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.kind {
            StreamKind::Plain(socket) => socket.try_send(pieces),
            StreamKind::Tls(tls) => tls.try_send(pieces),
            #[cfg(feature = "simulation")]
            StreamKind::Simulated(socket) => socket.try_send(pieces),
        }
    }

    /// As [`Self::try_send`], for bytes that others follow at once.
    pub fn try_send_more(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.kind {
            StreamKind::Plain(socket) => socket.try_send_more(pieces),
            StreamKind::Tls(tls) => tls.try_send(pieces),
            #[cfg(feature = "simulation")]
            StreamKind::Simulated(socket) => socket.try_send(pieces),
        }
    }

    /// Whether [`Self::try_send_file`] works. Under TLS it does not, since the bytes must be encrypted.
    pub fn takes_files(&self) -> bool {
        matches!(self.kind, StreamKind::Plain(_))
    }

    /// Sends as many of `len` bytes of a file, from `offset` on, as the socket accepts now. Blocks if they are not in
    /// the page cache. Only for a thread that blocks SIGPIPE.
    pub fn try_send_file(&self, file: &File, offset: u64, len: usize) -> io::Result<usize> {
        match &self.kind {
            StreamKind::Plain(socket) => socket.try_send_file(file, offset, len),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Sends bytes that `try_send` accepted and that are not sent yet. Fails with `WouldBlock` while the socket does
    /// not accept all.
    #[inline]
    pub fn try_flush(&self) -> io::Result<()> {
        match &self.kind {
            StreamKind::Tls(tls) => tls.try_flush(),
            _ => Ok(()),
        }
    }

    /// A count that rises whenever the socket accepts more of the bytes that `try_send` has accepted.
    pub fn flushed(&self) -> u64 {
        match &self.kind {
            StreamKind::Tls(tls) => tls.flushed(),
            _ => 0,
        }
    }

    /// Receives what has arrived into `buffer`'s free space; 0 is the end of the stream.
    #[inline]
    pub fn try_receive(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        match &self.kind {
            StreamKind::Plain(socket) => socket.try_receive(buffer),
            StreamKind::Tls(tls) => tls.try_receive(buffer),
            #[cfg(feature = "simulation")]
            StreamKind::Simulated(socket) => simulation::receive(&**socket, buffer),
        }
    }

    /// Receives what has arrived, even if the runtime has not noticed; 0 is the end of the stream. TLS always waits for
    /// the runtime.
    pub fn try_receive_at_once(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.kind {
            StreamKind::Plain(socket) => socket.try_receive_at_once(buffer),
            StreamKind::Tls(_) => Err(io::ErrorKind::WouldBlock.into()),
            #[cfg(feature = "simulation")]
            StreamKind::Simulated(socket) => socket.try_receive(buffer),
        }
    }

    /// Resolves when a receive may succeed. Cancel-safe.
    pub async fn readable(&self) -> io::Result<()> {
        match &self.kind {
            StreamKind::Plain(socket) => socket.readable().await,
            StreamKind::Tls(tls) => tls.readable().await,
            #[cfg(feature = "simulation")]
            StreamKind::Simulated(socket) => {
                simulation::readable(&**socket).await;
                Ok(())
            }
        }
    }

    /// Resolves when a send or a flush may succeed. Cancel-safe.
    pub async fn writable(&self) -> io::Result<()> {
        match &self.kind {
            StreamKind::Plain(socket) => socket.writable().await,
            StreamKind::Tls(tls) => tls.socket().writable().await,
            #[cfg(feature = "simulation")]
            StreamKind::Simulated(socket) => {
                simulation::writable(&**socket).await;
                Ok(())
            }
        }
    }

    /// Sends all of it.
    pub async fn send_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            match self.try_send(&[IoSlice::new(left)]) {
                Ok(sent) => left = &left[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Shuts down the sending direction: the peer sees the end of the stream after everything that was sent.
    pub fn finish(&self) {
        match &self.kind {
            StreamKind::Plain(socket) => socket.finish(),
            StreamKind::Tls(tls) => tls.finish(),
            #[cfg(feature = "simulation")]
            StreamKind::Simulated(socket) => socket.finish(),
        }
    }

    /// Discards what the peer sends, until it closes. If this side closed with unread bytes, TCP would reset the
    /// connection, and the peer might lose the final frame.
    pub async fn discard(&self) {
        let socket = match &self.kind {
            StreamKind::Plain(socket) => socket,
            StreamKind::Tls(tls) => tls.socket(),
            #[cfg(feature = "simulation")]
            StreamKind::Simulated(socket) => return simulation::discard(&**socket).await,
        };
        let mut scratch = Vec::with_capacity(4096);
        loop {
            // A peer that sends without pause must not starve other tasks.
            tokio::task::consume_budget().await;
            // TLS may still have bytes to send.
            let pending = self.try_flush().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            let ready = tokio::select! {
                readable = socket.readable() => readable,
                writable = socket.writable(), if pending => writable,
            };
            scratch.clear();
            match ready.and_then(|()| socket.try_receive(&mut (&mut scratch).limit(4096))) {
                Ok(0) => return,
                Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return,
                _ => {}
            }
        }
    }
}

/// Selects a congestion control without pacing for a connection within this machine, where there is no congestion and
/// pacing costs timers. Set before the connect where possible, because replacing an algorithm that paces leaves pacing
/// on. Every Linux has this one; a failure does no harm.
pub(super) fn unpaced(socket: SockRef<'_>) {
    let _ = socket.set_tcp_congestion(b"reno");
}

fn gone(error: io::Error) -> Error {
    Error::new(Status::Io, format!("the peer of a connection is gone: {error}"))
}

/// Whether the peer is on this machine.
fn is_within_host(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local.ip() == peer.ip())
}

/// The error for a connection that failed during a read or a write.
pub(crate) fn lost(status: Status, error: &io::Error) -> Error {
    Error::new(status, format!("the connection failed: {error}"))
}
