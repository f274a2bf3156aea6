//! The receiving side of one reader's connection: parses its bytes into messages.

use std::time::Instant;

use crate::clock;
use crate::engine::writer::peer::Heard;
use crate::engine::writer::standing::furthest;
use crate::error::{Error, Status};
use crate::protocol::control::{Positions, StreamAck, TYPE_STREAM_ACK, is_optional};
use crate::protocol::frame::{TYPE_ACK, TYPE_ERROR};
use crate::protocol::message;
use crate::transport::{FrameReader, ReadError, Stream, lost};

/// A message of a reader.
pub(super) enum ReaderMessage {
    /// Its positions, and whether it requests a heartbeat in reply.
    Ack { positions: Positions, reply: bool },
    /// The reason why it ends the connection.
    Error(Error),
}

/// Why nothing more is read.
pub(super) enum Unread {
    /// The connection ended.
    Ended(Error),
    /// The reader violated the protocol.
    Invalid(Error),
}

impl From<ReadError> for Unread {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => Self::Ended(Error::new(Status::Ok, "the reader closed the connection")),
            ReadError::Io(error) => Self::Ended(lost(Status::WriteFailed, &error)),
            ReadError::Frame(_) => Self::Invalid(error.into()),
        }
    }
}

/// The receiving side of a connection, for one thread at a time.
pub(super) struct Incoming {
    frames: FrameReader,
    v2: bool,
    last_heard: Instant,
    /// An acknowledgement that waits until it is known whether its entry was sent.
    undecided: Option<Positions>,
}

impl Incoming {
    /// Continues after the handshake.
    pub(super) fn new(frames: FrameReader, v2: bool) -> Self {
        Self { frames, v2, last_heard: clock::instant(), undecided: None }
    }

    /// When bytes arrived last.
    pub(super) fn heard(&self) -> Heard {
        Heard { at: self.last_heard, unfinished_since: self.frames.unfinished_since() }
    }

    /// Receives the bytes that have arrived. Returns `false` if there are none, as far as the runtime knows.
    pub(super) fn receive(&mut self, stream: &Stream) -> Result<bool, Unread> {
        let received = self.frames.receive(stream);
        self.note(received)
    }

    /// The same, even if the runtime does not know of the bytes yet.
    pub(super) fn receive_at_once(&mut self, stream: &Stream) -> Result<bool, Unread> {
        let received = self.frames.receive_at_once(stream);
        self.note(received)
    }

    fn note(&mut self, received: Result<bool, ReadError>) -> Result<bool, Unread> {
        let received = received?;
        if received {
            self.last_heard = clock::instant();
        }
        Ok(received)
    }

    /// The next message in the received bytes.
    pub(super) fn next(&mut self) -> Result<Option<ReaderMessage>, Unread> {
        while let Some((kind, payload)) = self.frames.next_frame()? {
            if let Some(message) = self.read(kind, &payload).map_err(Unread::Invalid)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The message in a frame; `None` for an optional frame of an unknown kind.
    fn read(&self, kind: u8, payload: &[u8]) -> Result<Option<ReaderMessage>, Error> {
        let invalid = |text: String| Error::new(Status::InvalidMsg, text);
        match kind {
            TYPE_ACK => {
                let ack = message::decode_ack(payload).map_err(|e| invalid(format!("bad Ack: {e}")))?;
                // A v1 peer also acknowledges entries that it failed to apply, so this counts as `received` only.
                let positions = Positions { received: ack.last_sequence, durable: 0, applied: 0 };
                Ok(Some(ReaderMessage::Ack { positions, reply: false }))
            }
            TYPE_STREAM_ACK if self.v2 => {
                let StreamAck { positions, reply } =
                    StreamAck::decode(payload).ok_or_else(|| invalid("bad Ack: too short".into()))?;
                Ok(Some(ReaderMessage::Ack { positions, reply }))
            }
            TYPE_ERROR => {
                let error = message::decode_error(payload).map_err(|e| invalid(format!("bad Error: {e}")))?;
                Ok(Some(ReaderMessage::Error(error.to_error("the reader reports"))))
            }
            kind if self.v2 && is_optional(kind) => Ok(None),
            kind => Err(invalid(format!("unexpected frame of type {kind:#04x}"))),
        }
    }

    /// Keeps an acknowledgement that cannot be judged yet.
    pub(super) fn defer(&mut self, acked: Positions) {
        self.undecided = Some(self.undecided.map_or(acked, |before| furthest(before, acked)));
    }

    /// Takes the deferred acknowledgement.
    pub(super) fn take_undecided(&mut self) -> Option<Positions> {
        self.undecided.take()
    }
}
