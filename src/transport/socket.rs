//! A connected stream socket, TCP or Unix.
//!
//! Sends go through `sendmsg` with `MSG_NOSIGNAL`: the process belongs to the host, and a peer that went away must not
//! raise SIGPIPE in it.

use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use bytes::BufMut;
use nix::sys::sendfile::sendfile64;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A connected, non-blocking stream socket.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Sends as many bytes of these pieces, in order, as the socket accepts now.
    #[inline]
    pub(super) fn try_send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        fn send(socket: SockRef<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            socket.send_vectored_with_flags(pieces, libc::MSG_NOSIGNAL)
        }
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::WRITABLE, || send(SockRef::from(stream), pieces)),
            Self::Unix(stream) => stream.try_io(Interest::WRITABLE, || send(SockRef::from(stream), pieces)),
        }
    }

    /// The same, for bytes that others follow at once.
    pub(super) fn try_send_more(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        fn send(socket: SockRef<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            socket.send_vectored_with_flags(pieces, libc::MSG_NOSIGNAL | libc::MSG_MORE)
        }
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::WRITABLE, || send(SockRef::from(stream), pieces)),
            Self::Unix(stream) => stream.try_io(Interest::WRITABLE, || send(SockRef::from(stream), pieces)),
        }
    }

    /// Sends as many of `len` bytes of the file as the socket accepts now, without copying them through this process.
    /// Only for a thread that blocks SIGPIPE, because `sendfile` has no flag against it.
    pub(super) fn try_send_file(&self, file: &File, offset: u64, len: usize) -> io::Result<usize> {
        let send = |socket: BorrowedFd<'_>| {
            let mut offset = i64::try_from(offset).map_err(io::Error::other)?;
            match sendfile64(socket, file, Some(&mut offset), len)? {
                // The file is shorter than it was.
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                sent => Ok(sent),
            }
        };
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::WRITABLE, || send(stream.as_fd())),
            Self::Unix(stream) => stream.try_io(Interest::WRITABLE, || send(stream.as_fd())),
        }
    }

    /// Receives what has arrived into `buffer`'s free space; 0 is the end of the stream.
    #[inline]
    pub(super) fn try_receive(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read_buf(buffer),
            Self::Unix(stream) => stream.try_read_buf(buffer),
        }
    }

    /// Waits until the peer sends something or closes; returns whether it sent something, which stays to be received.
    pub(super) async fn is_spoken_on(&self) -> io::Result<bool> {
        fn peek(socket: SockRef<'_>) -> io::Result<usize> {
            socket.peek(&mut [MaybeUninit::uninit()])
        }
        loop {
            self.readable().await?;
            let peeked = match self {
                Self::Tcp(stream) => stream.try_io(Interest::READABLE, || peek(SockRef::from(stream))),
                Self::Unix(stream) => stream.try_io(Interest::READABLE, || peek(SockRef::from(stream))),
            };
            match peeked {
                Ok(bytes) => return Ok(bytes > 0),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives what has arrived, even if the runtime has not noticed.
    pub(super) fn try_receive_at_once(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*SockRef::from(stream)).read(buffer),
            Self::Unix(stream) => (&*SockRef::from(stream)).read(buffer),
        }
    }

    /// Resolves when a receive may succeed. Cancel-safe.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }

    /// Resolves when a send may succeed. Cancel-safe.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Unix(stream) => stream.writable().await,
        }
    }

    /// Shuts down the sending direction: the peer sees the end of the stream after everything that was sent.
    pub(super) fn finish(&self) {
        // An error means that the peer is gone already.
        let _ = match self {
            Self::Tcp(stream) => SockRef::from(stream).shutdown(std::net::Shutdown::Write),
            Self::Unix(stream) => SockRef::from(stream).shutdown(std::net::Shutdown::Write),
        };
    }
}
