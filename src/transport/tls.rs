//! TLS over a socket, with the methods of a socket.
//!
//! rustls only transforms bytes; this file moves them to and from the socket. Two things differ from a plain socket.
//! While the socket is full, up to [`PENDING_BYTES`] of accepted bytes wait here encrypted; waiting for the stream to
//! become readable sends them meanwhile. And decrypted bytes may wait here, so the stream can be readable although
//! nothing arrives.

use std::io::{self, BufRead, IoSlice, Write};
use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};
use rustls::Connection;
use rustls::pki_types::CertificateDer;

use super::certificate;
use super::socket::Socket;
use super::tls_errors::{Files, explain};
use crate::identity::PeerCertificate;
use crate::sync::Mutex;

/// The most encrypted bytes that wait for the socket, besides one record's overhead.
const PENDING_BYTES: usize = 64 * 1024;

/// How many bytes are read from the socket at once by the side that receives entries, and by the one that receives
/// acknowledgements.
const CLIENT_READ_BYTES: usize = 64 * 1024;
const SERVER_READ_BYTES: usize = 4 * 1024;

/// TLS over a socket.
#[derive(Debug)]
pub(super) struct Tls {
    socket: Socket,
    peer: String,
    files: Arc<Files>,
    session: Mutex<TlsSession>,
}

#[derive(Debug)]
struct TlsSession {
    connection: Connection,
    /// Bytes from the socket that rustls has not processed yet.
    inbound: BytesMut,
    read_bytes: usize,
    /// Whether a receive may succeed without a read from the socket.
    readable: bool,
    sending: Sending,
    /// How many encrypted bytes the socket has accepted.
    flushed: u64,
    /// The failure that ended TLS, if there was one.
    failure: Option<String>,
}

/// The state of the sending direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Open,
    /// The last bytes still wait for the socket.
    Finishing,
    Finished,
}

/// The socket, for rustls to write to.
struct Outlet<'a>(&'a Socket);

impl Write for Outlet<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_send(&[IoSlice::new(bytes)])
    }
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_send(pieces)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tls {
    pub(super) fn new(socket: Socket, mut connection: Connection, peer: &str, files: Arc<Files>) -> Self {
        connection.set_buffer_limit(Some(PENDING_BYTES));
        let read_bytes = match connection {
            Connection::Client(_) => CLIENT_READ_BYTES,
            Connection::Server(_) => SERVER_READ_BYTES,
        };
        let session = TlsSession {
            connection,
            inbound: BytesMut::new(),
            read_bytes,
            readable: false,
            sending: Sending::Open,
            flushed: 0,
            failure: None,
        };
        Self { socket, peer: peer.to_owned(), files, session: Mutex::new(session) }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Does the handshake. After being cancelled it may be called again.
    pub(super) async fn handshake(&self) -> io::Result<()> {
        loop {
            // A peer that sends without pause must not starve other tasks.
            tokio::task::consume_budget().await;
            let mut pending = false;
            {
                let session = &mut *self.session.lock();
                match session.flush(&self.socket) {
                    Err(error) if is_blocked(&error) => pending = true,
                    flushed => flushed?,
                }
                if !session.connection.is_handshaking() {
                    // Data may have arrived together with the handshake.
                    session.readable = true;
                    return Ok(());
                }
                match self.feed(session) {
                    Ok(true) => continue,
                    Ok(false) => {
                        let text = format!("TLS with {} failed: the peer closed during the handshake", self.peer);
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                    }
                    Err(error) if is_blocked(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            tokio::select! {
                readable = self.socket.readable() => readable?,
                writable = self.socket.writable(), if pending => writable?,
            }
        }
    }

    /// What both ends derive for this connection alone.
    pub(super) fn channel_binding(&self) -> Option<[u8; 32]> {
        let session = self.session.lock();
        session.connection.export_keying_material([0; 32], b"EXPORTER-libreplication-secret", None).ok()
    }

    pub(super) fn is_under(&self, files: &Arc<Files>) -> bool {
        Arc::ptr_eq(&self.files, files)
    }

    /// The certificates that the peer has shown, its own first.
    pub(super) fn certificate_chain(&self) -> Vec<CertificateDer<'static>> {
        let session = self.session.lock();
        let chain = session.connection.peer_certificates().unwrap_or_default().iter();
        chain.map(|certificate| certificate.clone().into_owned()).collect()
    }

    /// The peer's certificate, after the handshake; `None` if it has none.
    pub(super) fn certificate(&self) -> Option<PeerCertificate> {
        let session = self.session.lock();
        session.connection.peer_certificates()?.first().map(|certificate| certificate::read(certificate))
    }

    /// Encrypts and sends as many bytes of these pieces, in order, as there is room for, after all earlier ones are
    /// sent.
    pub(super) fn try_send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let session = &mut *self.session.lock();
        if let Some(failure) = &session.failure {
            return Err(io::Error::other(failure.clone()));
        }
        if session.sending != Sending::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        session.flush(&self.socket)?;
        let taken = session.connection.writer().write_vectored(pieces)?;
        match session.flush(&self.socket) {
            Err(error) if !is_blocked(&error) => Err(error),
            _ => Ok(taken),
        }
    }

    /// Sends the encrypted bytes that wait. Fails with `WouldBlock` while the socket does not accept all.
    pub(super) fn try_flush(&self) -> io::Result<()> {
        self.session.lock().flush(&self.socket)
    }

    /// How many encrypted bytes the socket has accepted.
    pub(super) fn flushed(&self) -> u64 {
        self.session.lock().flushed
    }

    /// Decrypts what has arrived into `buffer`'s free space; 0 is the end of the stream, which the peer has
    /// authenticated.
    pub(super) fn try_receive(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        let session = &mut *self.session.lock();
        let received = self.receive(session, buffer);
        session.readable = !received.as_ref().is_err_and(is_blocked);
        received
    }

    fn receive(&self, session: &mut TlsSession, buffer: &mut impl BufMut) -> io::Result<usize> {
        let mut received = 0;
        loop {
            let mut reader = session.connection.reader();
            match reader.fill_buf() {
                Ok([]) => return Ok(received),
                Ok(bytes) => {
                    let length = bytes.len().min(buffer.remaining_mut());
                    buffer.put_slice(&bytes[..length]);
                    reader.consume(length);
                    received += length;
                    if !buffer.has_remaining_mut() {
                        return Ok(received);
                    }
                    continue;
                }
                Err(error) if is_blocked(&error) => {}
                // A failure is returned after all bytes that came before it.
                Err(_) if received > 0 => return Ok(received),
                // After this side has shut down its sending direction, it does not matter how the peer's ended.
                Err(_) if session.sending != Sending::Open => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    let text = format!("TLS with {} failed: truncated, the peer sent no close_notify", self.peer);
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                }
                Err(error) => return Err(error),
            }
            if received > 0 && session.inbound.is_empty() {
                return Ok(received);
            }
            match self.feed(session) {
                Ok(_) => {}
                Err(_) if received > 0 => return Ok(received),
                Err(error) => return Err(error),
            }
        }
    }

    /// Processes what has arrived and sends the answers of TLS. Returns `false` if nothing more will arrive.
    fn feed(&self, session: &mut TlsSession) -> io::Result<bool> {
        if let Some(failure) = &session.failure {
            return Err(io::Error::new(io::ErrorKind::InvalidData, failure.clone()));
        }
        if session.inbound.is_empty() {
            session.inbound.clear();
            session.inbound.reserve(session.read_bytes);
            if self.socket.try_receive(&mut (&mut session.inbound).limit(session.read_bytes))? == 0 {
                session.connection.read_tls(&mut io::empty())?;
                return Ok(false);
            }
        }
        if session.connection.read_tls(&mut (&mut session.inbound).reader())? == 0 {
            // Bytes after the end of the peer's stream are ignored.
            session.inbound.clear();
            return Ok(false);
        }
        let processed = session.connection.process_new_packets();
        // The answer may be an alert that tells the peer what is wrong. If the socket fails, the next receive reports
        // that, after the peer's own alert.
        let _ = session.flush(&self.socket);
        if let Err(error) = processed {
            let failure = format!("TLS with {} failed: {}", self.peer, explain(&error, &self.files));
            session.failure = Some(failure.clone());
            return Err(io::Error::new(io::ErrorKind::InvalidData, failure));
        }
        Ok(true)
    }

    /// Resolves when a receive may succeed. Meanwhile sends the encrypted bytes that wait. Cancel-safe.
    pub(super) async fn readable(&self) -> io::Result<()> {
        loop {
            let pending = {
                let session = &mut *self.session.lock();
                if session.readable {
                    return Ok(());
                }
                session.flush(&self.socket).is_err_and(|error| is_blocked(&error))
            };
            tokio::select! {
                readable = self.socket.readable() => return readable,
                writable = self.socket.writable(), if pending => writable?,
            }
        }
    }

    /// Ends the sending direction with a close_notify, after all bytes before it.
    pub(super) fn finish(&self) {
        let session = &mut *self.session.lock();
        if session.sending == Sending::Open {
            // After a failure an alert was sent, which ends the stream too.
            if session.failure.is_none() {
                session.connection.send_close_notify();
            }
            session.sending = Sending::Finishing;
        }
        // An error means that the peer is gone already.
        let _ = session.flush(&self.socket);
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        // A dropped connection ends with a close_notify too.
        let session = &mut *self.session.lock();
        let is_open = session.sending == Sending::Open && session.failure.is_none();
        if is_open && !session.connection.is_handshaking() {
            session.connection.send_close_notify();
            let _ = session.flush(&self.socket);
        }
    }
}

impl TlsSession {
    /// Sends the encrypted bytes that wait. Fails with `WouldBlock` while the socket does not accept all.
    fn flush(&mut self, socket: &Socket) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Outlet(socket)) {
                Ok(sent) => self.flushed += sent as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.sending == Sending::Finishing {
            self.sending = Sending::Finished;
            socket.finish();
        }
        Ok(())
    }
}

fn is_blocked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests;
