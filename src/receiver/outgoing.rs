//! The live connection in the direction of the writer. The connection's task sends the acknowledgements that are due; the
//! callback thread sends those of what it has made durable itself where the writer waits for them, which spares a wake-up of
//! the task.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::clock;
use crate::engine::reader::acks::Acks;
use crate::error::Error;
use crate::protocol::control::{AckRequest, Positions};
use crate::protocol::message;
use crate::transport::Stream;

/// What goes to the writer on one connection after the other; nothing between two.
#[derive(Default)]
pub(super) struct Outgoing(Option<Line>);

/// A connection after the handshake, in the direction of the writer.
struct Line {
    stream: Arc<Stream>,
    acks: Acks,
    /// Bytes that the socket did not take yet.
    out: Vec<u8>,
    /// The stream still has to send some of what it took.
    unflushed: bool,
}

impl Outgoing {
    /// From now on `acks` go to `stream`.
    pub(super) fn begin(&mut self, stream: &Arc<Stream>, acks: Acks) {
        self.0 = Some(Line { stream: Arc::clone(stream), acks, out: Vec::new(), unflushed: false });
    }

    /// Nothing more is sent.
    pub(super) fn close(&mut self) {
        self.0 = None;
    }

    /// The writer wants an acknowledgement as soon as this is reached.
    pub(super) fn request(&mut self, request: AckRequest) {
        if let Some(line) = &mut self.0 {
            line.acks.request(request);
        }
    }

    /// The first requested sequence that is reached by applying; see [`Acks::next_applied`].
    pub(super) fn next_applied(&self, durable_when_applied: bool) -> Option<u64> {
        self.0.as_ref().and_then(|line| line.acks.next_applied(durable_when_applied))
    }

    /// Acknowledges if that is due, and sends what the socket takes.
    pub(super) fn send_if_due(&mut self, positions: Positions) -> io::Result<()> {
        let Some(line) = &mut self.0 else { return Ok(()) };
        let now = clock::instant();
        if line.acks.is_due(positions, now) {
            line.acknowledge(positions, now);
        }
        line.flush()
    }

    /// Acknowledges whether or not it is due, with the next flush.
    pub(super) fn acknowledge(&mut self, positions: Positions) {
        if let Some(line) = &mut self.0 {
            line.acknowledge(positions, clock::instant());
        }
    }

    /// Acknowledges at once if the writer waits for these positions. `false`: there is something left to send, or to look
    /// at, for the connection's task.
    pub(super) fn send_if_requested(&mut self, positions: Positions) -> bool {
        let Some(line) = self.0.as_mut().filter(|line| line.acks.is_requested(positions)) else { return false };
        // Unsent bytes go first. If that fails, the task learns why when it reads.
        line.flush().is_ok()
            && line.acknowledge(positions, clock::instant())
            && line.flush().is_ok()
            && !line.is_unsent()
    }

    /// Ends this direction of the connection, with a last acknowledgement and the reason, where given.
    pub(super) fn finish(&mut self, positions: Option<Positions>, reason: Option<&Error>) {
        let Some(mut line) = self.0.take() else { return };
        if let Some(positions) = positions {
            line.acknowledge(positions, clock::instant());
        }
        if let Some(reason) = reason {
            // The text is short.
            let _ = message::encode_error(&mut line.out, reason.status.name(), &reason.message);
        }
        // A socket that takes nothing now is about to be closed anyway.
        let _ = line.flush();
        line.stream.finish();
    }

    /// Whether the socket did not take all that is to be sent.
    pub(super) fn is_unsent(&self) -> bool {
        self.0.as_ref().is_some_and(Line::is_unsent)
    }

    /// When an acknowledgement is due, if nothing happens before.
    pub(super) fn next_at(&self, positions: Positions) -> Option<Instant> {
        self.0.as_ref().and_then(|line| line.acks.next_at(positions))
    }
}

impl Line {
    /// `false`: the one before is not sent yet. The next look sends fresh numbers.
    fn acknowledge(&mut self, positions: Positions, now: Instant) -> bool {
        self.out.is_empty() && self.acks.acknowledge(positions, now, &mut self.out)
    }

    /// Sends what the socket takes.
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
