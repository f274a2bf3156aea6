//! A connected stream socket, of whichever family.
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
    /// Sends what the socket takes now of these pieces, in order.
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

    /// The same, for bytes that more will follow at once.
    pub(super) fn try_send_more(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        fn send(socket: SockRef<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            socket.send_vectored_with_flags(pieces, libc::MSG_NOSIGNAL | libc::MSG_MORE)
        }
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::WRITABLE, || send(SockRef::from(stream), pieces)),
            Self::Unix(stream) => stream.try_io(Interest::WRITABLE, || send(SockRef::from(stream), pieces)),
        }
    }

    /// Sends what the socket takes now of `len` bytes of the file, which do not pass through this process. Only for a
    /// thread that blocks SIGPIPE, which this call has no flag against.
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

    /// Receives what is there now into `buffer`'s free space; 0 is the end of the stream.
    #[inline]
    pub(super) fn try_receive(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read_buf(buffer),
            Self::Unix(stream) => stream.try_read_buf(buffer),
        }
    }

    /// Whether the peer says anything before it closes or resets the connection. What it says stays to be received.
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

    /// Receives what is there now, whether or not the runtime has noticed.
    pub(super) fn try_receive_at_once(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*SockRef::from(stream)).read(buffer),
            Self::Unix(stream) => (&*SockRef::from(stream)).read(buffer),
        }
    }

    /// Resolves when a receive is worth trying. Cancel-safe.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }

    /// Resolves when a send is worth trying. Cancel-safe.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Unix(stream) => stream.writable().await,
        }
    }

    /// Ends the sending direction; the peer sees the end of the stream after all that was sent.
    pub(super) fn finish(&self) {
        // A peer that is gone already needs no end.
        let _ = match self {
            Self::Tcp(stream) => SockRef::from(stream).shutdown(std::net::Shutdown::Write),
            Self::Unix(stream) => SockRef::from(stream).shutdown(std::net::Shutdown::Write),
        };
    }
}
