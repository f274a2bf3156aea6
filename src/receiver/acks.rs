//! What is said to the writer on the live connection. The connection's task says what is due; the callback thread answers
//! as soon as it has made durable what the writer waits for, which spares a wake-up of the task.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::ReceiverConfig;
use super::requests::Requests;
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
    /// What is said from now on goes to `stream`.
    pub(super) fn begin(&mut self, stream: &Arc<Stream>, v2: bool, heartbeat: Duration, config: &ReceiverConfig) {
        self.0 = Some(Line {
            stream: Arc::clone(stream),
            v2,
            reader_id: config.reader_id.clone(),
            interval: config.ack_interval,
            heartbeat,
            out: Vec::new(),
            unflushed: false,
            acked: Positions::default(),
            acked_at: Instant::now(),
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
        let passed = line.acked_at.elapsed();
        let moved = if line.v2 { now != line.acked } else { now.applied != line.acked.applied };
        if line.requests.are_due(now) || moved && passed >= line.interval || line.v2 && passed >= line.heartbeat {
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
        let Some(line) = self.0.as_mut().filter(|line| line.requests.are_due(now)) else { return false };
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
        pause.saturating_sub(line.acked_at.elapsed())
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
        self.requests.told(now);
        self.acked = now;
        self.acked_at = Instant::now();
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

#[cfg(all(test, not(model)))]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::super::progress::Progress;
    use super::*;
    use crate::protocol::HEADER_SIZE;
    use crate::protocol::control::LEVEL_DURABLE;
    use crate::protocol::handshake::Point;

    const APPLIED: u8 = 3;

    /// A receiver's progress on a connection whose task does not run, and the writer's end of it.
    fn connected(runtime: &tokio::runtime::Runtime) -> (Progress, Arc<Stream>, UnixStream) {
        let _within = runtime.enter();
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let stream = Arc::new(Stream::from_fd(ours.into()).unwrap());
        runtime.block_on(stream.writable()).unwrap();
        let progress = Progress::new(Point::default(), Point::default(), false);
        progress.acks.lock().begin(&stream, true, Duration::from_secs(3600), &ReceiverConfig::default());
        progress.set_received(Point { sequence: 10, hash: 0 });
        (progress, stream, theirs)
    }

    /// What the writer has heard: the positions, if anything.
    fn heard(theirs: &mut UnixStream) -> Option<Positions> {
        let mut bytes = [0; 256];
        match theirs.read(&mut bytes) {
            Ok(read) => Some(StreamAck::decode(&bytes[HEADER_SIZE..read]).unwrap().positions),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether the connection's task would wake now.
    fn is_woken(runtime: &tokio::runtime::Runtime, progress: &Progress) -> bool {
        runtime.block_on(async { tokio::time::timeout(Duration::ZERO, progress.moved.notified()).await.is_ok() })
    }

    #[test]
    fn what_the_writer_waits_for_is_said_by_the_thread_that_made_it_durable() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (progress, _stream, mut theirs) = connected(&runtime);
        progress.acks.lock().ask(AckRequest { level: LEVEL_DURABLE, sequence: 4 });

        // Not yet: the task looks when the interval is over.
        progress.set_durable(3);
        assert_eq!((heard(&mut theirs), is_woken(&runtime, &progress)), (None, true));
        progress.set_durable(4);
        let said = heard(&mut theirs).unwrap();
        assert_eq!((said.received, said.durable, said.applied), (10, 4, 0));
        assert!(!is_woken(&runtime, &progress), "there was nothing left to do");

        // Nobody waits any more, and nobody is there.
        progress.set_durable(7);
        assert_eq!((heard(&mut theirs), is_woken(&runtime, &progress)), (None, true));
        progress.acks.lock().ask(AckRequest { level: LEVEL_DURABLE, sequence: 8 });
        progress.acks.lock().close();
        progress.set_durable(8);
        assert_eq!((heard(&mut theirs), is_woken(&runtime, &progress)), (None, true));
    }

    /// A writer that waits for every entry costs one frame for many of them, and no call where they are applied.
    #[test]
    fn what_is_applied_is_said_by_the_task_once_for_all() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (progress, _stream, mut theirs) = connected(&runtime);
        for sequence in 1..=9 {
            progress.acks.lock().ask(AckRequest { level: APPLIED, sequence });
        }
        progress.acknowledge_if_due().unwrap();
        for sequence in 1..=8 {
            progress.set_applied(sequence, 0, 1);
        }
        assert_eq!((heard(&mut theirs), is_woken(&runtime, &progress)), (None, true));
        progress.acknowledge_if_due().unwrap();
        assert_eq!(heard(&mut theirs).unwrap().applied, 8);
        progress.set_applied(9, 0, 1);
        assert!(is_woken(&runtime, &progress));
    }

    /// P5: a writer that does not read keeps no thread of this side; what it is to hear is left to the task.
    #[test]
    fn p5_an_answer_that_the_socket_does_not_take_is_left_to_the_task() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (progress, stream, mut theirs) = connected(&runtime);
        progress.acks.lock().ask(AckRequest { level: LEVEL_DURABLE, sequence: 4 });
        for piece in [&[0; 4096][..], &[0]] {
            while stream.try_send(&[io::IoSlice::new(piece)]).is_ok() {}
        }
        progress.set_durable(4);
        assert!(is_woken(&runtime, &progress) && progress.acks.lock().is_unsent());
        while theirs.read(&mut [0; 4096]).is_ok() {}
        runtime.block_on(stream.writable()).unwrap();
        progress.acks.lock().ask(AckRequest { level: LEVEL_DURABLE, sequence: 5 });
        // The old numbers, then the new ones.
        progress.set_durable(5);
        let mut bytes = [0; 256];
        let read = theirs.read(&mut bytes).unwrap();
        let said = [&bytes[..read / 2], &bytes[read / 2..read]];
        assert_eq!(said.map(|frame| StreamAck::decode(&frame[HEADER_SIZE..]).unwrap().positions.durable), [4, 5]);
    }
}
