//! The sending side of the connection to the writer. The connection's task sends the acknowledgements that are due. The
//! callback thread sends those that the writer waits for after a sync itself, which spares a wake-up of the task.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::clock;
use crate::engine::reader::acks::Acks;
use crate::error::Error;
use crate::protocol::control::{AckRequest, Positions};
use crate::protocol::message;
use crate::transport::Stream;

/// The sending side of the present connection, if there is one.
#[derive(Default)]
pub(super) struct OutgoingAcks(Option<Line>);

/// The sending side of a connection after the handshake.
struct Line {
    stream: Arc<Stream>,
    acks: Acks,
    /// Bytes that the socket has not accepted yet.
    out: Vec<u8>,
    /// The stream has accepted bytes that it has not sent yet.
    unflushed: bool,
}

impl OutgoingAcks {
    /// Begins to send on `stream`, when `acks` decides.
    pub(super) fn begin(&mut self, stream: &Arc<Stream>, acks: Acks) {
        self.0 = Some(Line { stream: Arc::clone(stream), acks, out: Vec::new(), unflushed: false });
    }

    /// Stops sending.
    pub(super) fn close(&mut self) {
        self.0 = None;
    }

    /// Takes a request of the writer for an acknowledgement.
    pub(super) fn request(&mut self, request: AckRequest) {
        if let Some(line) = &mut self.0 {
            line.acks.request(request);
        }
    }

    /// The first requested sequence that is reached by applying; see [`Acks::next_applied`].
    pub(super) fn next_applied(&self, durable_when_applied: bool) -> Option<u64> {
        self.0.as_ref().and_then(|line| line.acks.next_applied(durable_when_applied))
    }

    /// Acknowledges if that is due, and sends as much as the socket accepts.
    pub(super) fn send_if_due(&mut self, positions: Positions) -> io::Result<()> {
        let Some(line) = &mut self.0 else { return Ok(()) };
        let now = clock::instant();
        if line.acks.is_due(positions, now) {
            line.acknowledge(positions, now);
        }
        line.flush()
    }

    /// Acknowledges with the next flush, whether or not that is due.
    pub(super) fn acknowledge(&mut self, positions: Positions) {
        if let Some(line) = &mut self.0 {
            line.acknowledge(positions, clock::instant());
        }
    }

    /// Acknowledges at once if the writer requested one of these positions. Returns `false` if the connection's task
    /// still has something to send or to check.
    pub(super) fn send_if_requested(&mut self, positions: Positions) -> bool {
        let Some(line) = self.0.as_mut().filter(|line| line.acks.is_requested(positions)) else { return false };
        // Unsent bytes go first. If that fails, the task finds out when it reads.
        line.flush().is_ok()
            && line.acknowledge(positions, clock::instant())
            && line.flush().is_ok()
            && !line.is_unsent()
    }

    /// Shuts the sending side down after a last acknowledgement and an error frame, where given.
    pub(super) fn finish(&mut self, positions: Option<Positions>, reason: Option<&Error>) {
        let Some(mut line) = self.0.take() else { return };
        if let Some(positions) = positions {
            line.acknowledge(positions, clock::instant());
        }
        if let Some(reason) = reason {
            // The text is short, so encoding cannot fail.
            let _ = message::encode_error(&mut line.out, reason.status.name(), &reason.message);
        }
        // If the socket accepts nothing now, the frames are lost, and it is closed.
        let _ = line.flush();
        line.stream.finish();
    }

    /// Whether there are bytes that the socket has not accepted yet.
    pub(super) fn is_unsent(&self) -> bool {
        self.0.as_ref().is_some_and(Line::is_unsent)
    }

    /// When the next acknowledgement is due, if nothing happens before. None is before the last one is sent.
    pub(super) fn next_at(&self, positions: Positions, now: Instant) -> Option<Instant> {
        self.0.as_ref().filter(|line| line.out.is_empty()).and_then(|line| line.acks.next_at(positions, now))
    }
}

impl Line {
    /// Returns `false` if the one before is not sent yet; a later one will have newer positions.
    fn acknowledge(&mut self, positions: Positions, now: Instant) -> bool {
        self.out.is_empty() && self.acks.acknowledge(positions, now, &mut self.out)
    }

    /// Sends as much as the socket accepts.
    fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.try_send(&[io::IoSlice::new(&self.out)]) {
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match self.stream.try_flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            flushed => {
                self.unflushed = flushed.is_err();
                Ok(())
            }
        }
    }

    fn is_unsent(&self) -> bool {
        !self.out.is_empty() || self.unflushed
    }
}
