//! What comes in from one reader: the messages in its bytes.

use std::time::Instant;

use crate::clock;
use crate::engine::writer::peer::Heard;
use crate::engine::writer::standing::furthest;
use crate::error::{Error, Status};
use crate::protocol::control::{Positions, StreamAck, TYPE_STREAM_ACK, is_optional};
use crate::protocol::frame::{TYPE_ACK, TYPE_ERROR};
use crate::protocol::message;
use crate::transport::{FrameReader, ReadError, Stream, lost};

/// What a reader says.
pub(super) enum Said {
    /// How far it is, and whether it wants to hear from this side at once.
    Ack { positions: Positions, reply: bool },
    /// Why it ends the connection.
    Error(Error),
}

/// Why no more can be read.
pub(super) enum Unread {
    /// The connection ended.
    Ended(Error),
    /// The reader said what it may not.
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

/// The receiving side of a connection. One thread at a time.
pub(super) struct Incoming {
    frames: FrameReader,
    v2: bool,
    last_heard: Instant,
    /// An acknowledgement that was put off, because it is not known yet whether what it is for was sent.
    undecided: Option<Positions>,
}

impl Incoming {
    /// Goes on behind the handshake.
    pub(super) fn new(frames: FrameReader, v2: bool) -> Self {
        Self { frames, v2, last_heard: clock::instant(), undecided: None }
    }

    /// When something came last.
    pub(super) fn heard(&self) -> Heard {
        Heard { at: self.last_heard, unfinished_since: self.frames.unfinished_since() }
    }

    /// Takes in what has arrived. `false`: nothing has, as far as the runtime knows.
    pub(super) fn receive(&mut self, stream: &Stream) -> Result<bool, Unread> {
        let received = self.frames.receive(stream);
        self.note(received)
    }

    /// The same, whether or not the runtime knows of what has arrived.
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

    /// The next message of what was taken in.
    pub(super) fn next(&mut self) -> Result<Option<Said>, Unread> {
        while let Some((kind, payload)) = self.frames.next_frame()? {
            if let Some(said) = self.read(kind, &payload).map_err(Unread::Invalid)? {
                return Ok(Some(said));
            }
        }
        Ok(None)
    }

    /// What a frame says; `None`: what need not be known.
    fn read(&self, kind: u8, payload: &[u8]) -> Result<Option<Said>, Error> {
        let invalid = |text: String| Error::new(Status::InvalidMsg, text);
        match kind {
            TYPE_ACK => {
                let ack = message::decode_ack(payload).map_err(|e| invalid(format!("bad Ack: {e}")))?;
                // An old peer acknowledges entries that it failed to apply: its word is good for `received` alone.
                let positions = Positions { received: ack.last_sequence, durable: 0, applied: 0 };
                Ok(Some(Said::Ack { positions, reply: false }))
            }
            TYPE_STREAM_ACK if self.v2 => {
                let StreamAck { positions, reply } =
                    StreamAck::decode(payload).ok_or_else(|| invalid("bad Ack: too short".into()))?;
                Ok(Some(Said::Ack { positions, reply }))
            }
            TYPE_ERROR => {
                let said = message::decode_error(payload).map_err(|e| invalid(format!("bad Error: {e}")))?;
                Ok(Some(Said::Error(said.to_error("the reader reports"))))
            }
            kind if self.v2 && is_optional(kind) => Ok(None),
            kind => Err(invalid(format!("unexpected frame of type {kind:#04x}"))),
        }
    }

    /// Keeps an acknowledgement that cannot be judged yet.
    pub(super) fn put_off(&mut self, said: Positions) {
        self.undecided = Some(self.undecided.map_or(said, |before| furthest(before, said)));
    }

    /// Gives what was put off.
    pub(super) fn take_undecided(&mut self) -> Option<Positions> {
        self.undecided.take()
    }
}
