//! What is said to the writer on the live connection. The connection's task says what is due; the callback thread answers
//! as soon as it has made durable what the writer waits for, which spares a wake-up of the task.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::engine::reader::requests::Requests;
use crate::error::Error;
use crate::protocol::control::{AckRequest, Positions, StreamAck};
use crate::protocol::message;
use crate::transport::Stream;

/// Acknowledgements of one connection after the other; nothing is said between two.
#[derive(Default)]
pub(super) struct Acks(Option<Line>);

/// A connection after the handshake, in the direction of the writer.
struct Line {
    stream: Arc<Stream>,
    v2: bool,
    reader_id: String,
    interval: Duration,
    /// How often this side says something.
    heartbeat: Duration,
    /// Bytes that the socket did not take yet.
    out: Vec<u8>,
    /// The stream still has to send some of what it took.
    unflushed: bool,
    acked: Positions,
    acked_at: Instant,
    /// The sequences at which the writer wants to hear, by level.
    requests: Requests,
}

impl Acks {
    /// What is said from now on goes to `stream`: a moving position once in `interval`, and in v2 something once in
    /// `heartbeat`.
    pub(super) fn begin(
        &mut self,
        stream: &Arc<Stream>,
        v2: bool,
        reader_id: &str,
        interval: Duration,
        heartbeat: Duration,
    ) {
        self.0 = Some(Line {
            stream: Arc::clone(stream),
            v2,
            reader_id: reader_id.to_owned(),
            interval,
            heartbeat,
            out: Vec::new(),
            unflushed: false,
            acked: Positions::default(),
            acked_at: clock::instant(),
            requests: Requests::default(),
        });
    }

    /// Nothing more is said.
    pub(super) fn close(&mut self) {
        self.0 = None;
    }

    /// The writer wants to hear at once when this is reached.
    pub(super) fn ask(&mut self, request: AckRequest) {
        if let Some(line) = &mut self.0 {
            line.requests.add(request);
        }
    }

    /// The first applied sequence that the writer waits for; see [`Requests::next_applied`].
    pub(super) fn next_applied(&self, durable_when_applied: bool) -> Option<u64> {
        self.0.as_ref().and_then(|line| line.requests.next_applied(durable_when_applied))
    }

    /// Acknowledges when the interval is over, when the writer's wish is reached, or to show that this side lives, and
    /// sends what the socket takes. `now` is as far as this side is.
    pub(super) fn say_if_due(&mut self, now: Positions) -> io::Result<()> {
        let Some(line) = &mut self.0 else { return Ok(()) };
        let passed = clock::since(line.acked_at);
        let moved = if line.v2 { now != line.acked } else { now.applied != line.acked.applied };
        if line.requests.is_due(now) || moved && passed >= line.interval || line.v2 && passed >= line.heartbeat {
            line.say(now);
        }
        line.flush()
    }

    /// Acknowledges whether or not it is due, with the next flush.
    pub(super) fn say(&mut self, now: Positions) {
        if let Some(line) = &mut self.0 {
            line.say(now);
        }
    }

    /// Tells the writer if it waits for this. `false`: there is something left to do, or to look at, for the connection's
    /// task.
    pub(super) fn answer(&mut self, now: Positions) -> bool {
        let Some(line) = self.0.as_mut().filter(|line| line.requests.is_due(now)) else { return false };
        // What is still on its way out goes first. Why that fails is learnt by the task, which reads.
        line.flush().is_ok() && line.say(now) && line.flush().is_ok() && !line.is_unsent()
    }

    /// The last words: how far this side is, if that is of interest, and why it ends the connection.
    pub(super) fn finish(&mut self, now: Option<Positions>, reason: Option<&Error>) {
        let Some(mut line) = self.0.take() else { return };
        if let Some(now) = now {
            line.say(now);
        }
        if let Some(reason) = reason {
            // The text is short.
            let _ = message::encode_error(&mut line.out, reason.status.name(), &reason.message);
        }
        // A socket that takes nothing now is about to be closed anyway.
        let _ = line.flush();
        line.stream.finish();
    }

    /// Whether the socket did not take all that is to be said.
    pub(super) fn is_unsent(&self) -> bool {
        self.0.as_ref().is_some_and(Line::is_unsent)
    }

    /// For how long nothing is due, if nothing happens.
    pub(super) fn rest(&self, now: Positions) -> Duration {
        let Some(line) = &self.0 else { return Duration::MAX };
        let pause = if now != line.acked || now.applied != now.received {
            line.interval.min(line.heartbeat)
        } else {
            line.heartbeat
        };
        pause.saturating_sub(clock::since(line.acked_at))
    }
}

impl Line {
    /// `false`: the one before is still on its way out. The next look sends fresh numbers.
    fn say(&mut self, now: Positions) -> bool {
        if !self.out.is_empty() {
            return false;
        }
        if self.v2 {
            self.out.extend(StreamAck { positions: now, reply: false }.encode());
        } else if message::encode_ack(&mut self.out, now.applied, &self.reader_id).is_err() {
            // An id of at most 255 bytes always fits a frame.
            return false;
        }
        self.requests.acknowledged(now);
        self.acked = now;
        self.acked_at = clock::instant();
        true
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
