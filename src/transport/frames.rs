//! Assembles small frames from a byte stream.

use std::io;
use std::time::Instant;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Stream;
use crate::clock;
use crate::error::{Error, Status};
use crate::protocol::frame::{self, FrameError};
use crate::protocol::{HEADER_SIZE, MAX_HANDSHAKE_BYTES};

/// Reads frames of at most [`MAX_HANDSHAKE_BYTES`]: handshakes, and everything that a reader sends. A partial frame is
/// kept when a read times out, so a slow peer does not break the framing.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: BytesMut,
    /// Since when there is a partial frame.
    unfinished_since: Option<Instant>,
}

/// Why there is no next frame.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The peer closed the connection between two frames.
    #[error("the peer closed the connection")]
    Closed,
    /// The connection failed, or ended inside a frame.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The bytes are no valid frame.
    #[error("{0}")]
    Frame(#[from] FrameError),
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        let status = match &error {
            ReadError::Closed | ReadError::Io(_) => Status::Io,
            ReadError::Frame(error) => error.status(),
        };
        Error::new(status, error.to_string())
    }
}

impl FrameReader {
    /// Receives what has arrived. Returns `false` if nothing has.
    pub fn receive(&mut self, stream: &Stream) -> Result<bool, ReadError> {
        self.bytes.reserve(1024);
        let spare = self.bytes.capacity() - self.bytes.len();
        let received = stream.try_receive(&mut (&mut self.bytes).limit(spare));
        self.received(received)
    }

    /// The same, even if the runtime has not noticed what has arrived.
    pub fn receive_at_once(&mut self, stream: &Stream) -> Result<bool, ReadError> {
        let mut buffer = [0; 512];
        let received = stream.try_receive_at_once(&mut buffer);
        self.bytes.extend_from_slice(&buffer[..*received.as_ref().unwrap_or(&0)]);
        self.received(received)
    }

    fn received(&self, received: io::Result<usize>) -> Result<bool, ReadError> {
        match received {
            Ok(0) => Err(self.end()),
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The next whole frame: its type and payload.
    pub fn next_frame(&mut self) -> Result<Option<(u8, Bytes)>, ReadError> {
        let header = frame::decode_header(&self.bytes, MAX_HANDSHAKE_BYTES)?;
        let Some(header) = header.filter(|header| self.bytes.len() - HEADER_SIZE >= header.payload_len) else {
            self.unfinished_since = match self.bytes.is_empty() {
                true => None,
                false => self.unfinished_since.or_else(|| Some(clock::instant())),
            };
            return Ok(None);
        };
        self.unfinished_since = None;
        self.bytes.advance(HEADER_SIZE);
        Ok(Some((header.kind, self.bytes.split_to(header.payload_len).freeze())))
    }

    /// Waits for the next whole frame. Cancel-safe: a partial frame is kept.
    pub async fn read(&mut self, stream: &Stream) -> Result<(u8, Bytes), ReadError> {
        loop {
            // A socket that always has more to read must not starve other tasks and timers.
            tokio::task::consume_budget().await;
            if let Some(frame) = self.next_frame()? {
                return Ok(frame);
            }
            stream.readable().await?;
            self.receive(stream)?;
        }
    }

    /// Since when there is a partial frame.
    pub fn unfinished_since(&self) -> Option<Instant> {
        self.unfinished_since
    }

    /// The bytes after the frames that were taken.
    pub fn into_rest(self) -> BytesMut {
        self.bytes
    }

    fn end(&self) -> ReadError {
        match frame::decode(&self.bytes, MAX_HANDSHAKE_BYTES) {
            Err(error) if !self.bytes.is_empty() => error.into(),
            _ => ReadError::Closed,
        }
    }
}

#[cfg(all(any(test, feature = "fuzzing"), not(feature = "model")))]
pub(crate) mod fuzz;
