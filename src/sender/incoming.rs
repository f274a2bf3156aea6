//! What comes in from one reader: acknowledgements, and what it reports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::reader::Reader;
use crate::clock::boot_us;
use crate::error::{Error, Result, Status};
use crate::protocol::control::{Heartbeat, Positions, StreamAck, TYPE_STREAM_ACK, is_optional};
use crate::protocol::frame::{TYPE_ACK, TYPE_ERROR};
use crate::protocol::message;
use crate::transport::{FrameReader, ReadError};

/// Reads of a reader's words in a row before other readers get a turn.
const READS_PER_TURN: usize = 16;

/// The receiving side of a connection. One thread at a time.
pub(super) struct Incoming {
    frames: FrameReader,
    last_heard: Instant,
}

impl Incoming {
    /// Goes on behind the handshake.
    pub(super) fn new(frames: FrameReader) -> Self {
        Self { frames, last_heard: Instant::now() }
    }

    /// For how long nothing came.
    pub(super) fn silent(&self) -> Duration {
        self.last_heard.elapsed()
    }

    /// For how long a frame has been unfinished, if one is.
    pub(super) fn unfinished(&self) -> Option<Duration> {
        self.frames.unfinished_since().map(|since| since.elapsed())
    }

    /// Takes in what the reader says. `false`: the turn is over, and there may be more. Called by the reader's task.
    pub(super) fn take(&mut self, core: &Arc<Core>, reader: &Reader) -> Result<bool> {
        // What came together with the Sync.
        self.take_frames(core, reader, true)?;
        for _ in 0..READS_PER_TURN {
            let received = self.frames.receive(&reader.stream);
            if !self.take_received(core, reader, received, true)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes in what has arrived, for a host thread that does not wait until the task is told of it. `false`: nothing has.
    pub(super) fn take_from_outside(&mut self, core: &Arc<Core>, reader: &Reader) -> Result<bool> {
        let received = self.frames.receive_at_once(&reader.stream);
        self.take_received(core, reader, received, false)
    }

    fn take_received(
        &mut self,
        core: &Arc<Core>,
        reader: &Reader,
        received: std::result::Result<bool, ReadError>,
        own_thread: bool,
    ) -> Result<bool> {
        let received = received.map_err(|error| read_failed(core, reader, error))?;
        if received {
            self.last_heard = Instant::now();
            core.milestones.note(boot_us(), core.log.last_sequence());
            self.take_frames(core, reader, own_thread)?;
        }
        Ok(received)
    }

    fn take_frames(&mut self, core: &Arc<Core>, reader: &Reader, own_thread: bool) -> Result<()> {
        let failed = |error| read_failed(core, reader, error);
        while let Some((kind, payload)) = self.frames.next_frame().map_err(failed)? {
            take_frame(core, reader, kind, &payload, own_thread)?;
        }
        Ok(())
    }
}

fn take_frame(core: &Arc<Core>, reader: &Reader, kind: u8, payload: &[u8], own_thread: bool) -> Result<()> {
    let invalid = |text: String| {
        let error = Error::new(Status::InvalidMsg, text);
        core.protocol_error(&reader.stream, &reader.id, &error);
        error
    };
    match kind {
        TYPE_ACK => {
            let ack = message::decode_ack(payload).map_err(|e| invalid(format!("bad Ack: {e}")))?;
            // An old peer acknowledges entries that it failed to apply: its word is good for `received` alone.
            let positions = Positions { received: ack.last_sequence, durable: 0, applied: 0 };
            acknowledge(core, reader, positions, own_thread).map_err(invalid)
        }
        TYPE_STREAM_ACK if reader.v2 => {
            let ack = StreamAck::decode(payload).ok_or_else(|| invalid("bad Ack: too short".into()))?;
            acknowledge(core, reader, ack.positions, own_thread).map_err(invalid)?;
            if ack.reply {
                say_heartbeat(core, reader);
            }
            Ok(())
        }
        TYPE_ERROR => {
            let said = message::decode_error(payload).map_err(|e| invalid(format!("bad Error: {e}")))?;
            Err(said.to_error("the reader reports"))
        }
        kind if reader.v2 && is_optional(kind) => Ok(()),
        kind => Err(invalid(format!("unexpected frame of type {kind:#04x}"))),
    }
}

fn acknowledge(
    core: &Core,
    reader: &Reader,
    positions: Positions,
    own_thread: bool,
) -> std::result::Result<(), String> {
    let Positions { received, durable, applied } = positions;
    let last = core.log.last_sequence();
    if received > last || durable > received || applied > received {
        return Err(format!("impossible Ack: received {received}, durable {durable}, applied {applied} of {last}"));
    }
    match core.was_sent(reader, received, own_thread) {
        // What of it lies before this connection counts only as far as it is known otherwise; see `Start::credit`.
        Some(true) => {}
        // It is about to be told that it was cut off.
        None => return Ok(()),
        Some(false) => {
            let sent = core.sent_sequence(reader);
            return Err(format!("impossible Ack: received {received}, but whole entries were sent up to {sent}"));
        }
    }
    let (before, first) = (reader.positions(), !reader.has_acknowledged());
    reader.acknowledge(positions);
    core.reader_moved(before, reader.positions());
    if first {
        core.reader_heard();
    }
    Ok(())
}

/// Tells a v2 reader that this side lives.
pub(super) fn say_heartbeat(core: &Core, reader: &Reader) {
    let time_us = crate::clock::unix_time_us();
    reader.say(&Heartbeat { last_sequence: core.log.last_sequence(), time_us }.encode());
}

fn read_failed(core: &Core, reader: &Reader, error: ReadError) -> Error {
    match error {
        ReadError::Closed => Error::new(Status::Ok, "the reader closed the connection"),
        ReadError::Io(error) => lost(&error),
        ReadError::Frame(_) => {
            let error = Error::from(error);
            core.protocol_error(&reader.stream, &reader.id, &error);
            error
        }
    }
}

/// A connection that failed.
pub(super) fn lost(error: &std::io::Error) -> Error {
    Error::new(Status::WriteFailed, format!("the connection failed: {error}"))
}

#[cfg(all(test, not(model)))]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::super::config::SenderConfig;
    use super::super::outgoing::{Outgoing, Pumped};
    use super::*;
    use crate::log::disk::{DiskConfig, DiskLog, Start};
    use crate::log::{FullPolicy, Log, LogConfig, Mark, SyncPolicy};
    use crate::protocol::lineage::Lineage;
    use crate::transport::Stream;

    /// A reader whose task does not run, and the reader's end of the connection.
    fn reader_of(runtime: &tokio::runtime::Runtime, log: Arc<Log>) -> (Arc<Core>, Arc<Reader>, UnixStream) {
        let _within = runtime.enter();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stream = Stream::from_fd(ours.into()).unwrap();
        let core = Core::new(SenderConfig::default(), Lineage::random().unwrap(), Arc::clone(&log), None);
        let cursor = log.attach(0).ok().unwrap();
        let outgoing = Outgoing::new(log, cursor, 0, true, Vec::new());
        let reader = Reader::new("r".into(), stream, true, 0, outgoing, Incoming::new(FrameReader::default()));
        runtime.block_on(reader.stream.writable()).unwrap();
        (Arc::new(core), reader, theirs)
    }

    /// The same with one entry sent to it.
    fn reader(runtime: &tokio::runtime::Runtime) -> (Arc<Core>, Arc<Reader>, UnixStream) {
        let log = Arc::new(Log::new(LogConfig::new(8, 1 << 16, FullPolicy::Refuse)));
        let (core, reader, mut theirs) = reader_of(runtime, Arc::clone(&log));
        log.append(0, b"entry").unwrap();
        assert!(matches!(reader.pump(&core.acks, true), Pumped::AtEnd));
        assert!(theirs.read(&mut [0; 256]).unwrap() > 0);
        (core, reader, theirs)
    }

    fn ack(received: u64) -> Vec<u8> {
        StreamAck { positions: Positions { received, durable: 0, applied: 0 }, reply: false }.encode()
    }

    #[test]
    fn a_waiting_thread_takes_in_what_the_runtime_does_not_know_of() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (core, reader, mut theirs) = reader(&runtime);
        theirs.write_all(&ack(1)).unwrap();
        assert!(reader.take(&core).unwrap());
        assert_eq!(reader.positions().received, 0, "its task was not told yet");
        reader.take_from_outside(&core);
        assert_eq!(reader.positions().received, 1);
        // In two pieces, as a network may bring it.
        let (first, second) = (&ack(1)[..3], &ack(1)[3..]);
        theirs.write_all(first).unwrap();
        reader.take_from_outside(&core);
        assert!(reader.heard().1.is_some());
        theirs.write_all(second).unwrap();
        reader.take_from_outside(&core);
        assert!(reader.heard().1.is_none() && reader.closing().is_none());
    }

    /// P8: what a waiting thread comes upon ends the connection as it would in the reader's task.
    #[test]
    fn p8_a_waiting_thread_that_is_lied_to_has_the_connection_ended() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (core, liar, mut theirs) = reader(&runtime);
        theirs.write_all(&ack(2)).unwrap();
        liar.take_from_outside(&core);
        let why = liar.closing().unwrap();
        assert!(why.status == Status::InvalidMsg && why.message.contains("impossible Ack"), "{why}");
        assert_eq!(liar.positions().received, 0);

        let (core, gone, theirs) = reader(&runtime);
        drop(theirs);
        gone.take_from_outside(&core);
        assert_eq!(gone.closing().unwrap().status, Status::Ok);
    }

    /// A host's thread may die of the SIGPIPE that sending a file to a peer which is gone can raise.
    #[test]
    fn p9_a_waiting_thread_sends_nothing_from_files() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let start = || Ok(Start { lineage: Lineage::random()?, mark: Mark::default() });
        let (disk, _) = DiskLog::open(DiskConfig::new(dir.path()), start).unwrap();
        let config = LogConfig::new(4, 1 << 16, FullPolicy::CutOffSlowest);
        let log = Arc::new(Log::stored(config, disk, SyncPolicy::Os));
        std::thread::scope(|scope| {
            let storing = scope.spawn(|| log.store(&mut |_| ()));
            (1..=100).for_each(|sequence| assert_eq!(log.append(0, b"entry").unwrap(), sequence));
            log.close();
            storing.join().unwrap().unwrap();
        });
        let (core, reader, mut theirs) = reader_of(&runtime, log);
        let Pumped::Far(load) = reader.pump(&core.acks, true) else { panic!("the first entries are in memory") };
        reader.supply(load.run().unwrap());
        theirs.set_nonblocking(true).unwrap();
        theirs.write_all(&ack(1)).unwrap();
        reader.take_from_outside(&core);
        assert_eq!(theirs.read(&mut [0; 256]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert!(matches!(reader.pump(&core.acks, true), Pumped::AtEnd));
        assert!(theirs.read(&mut [0; 256]).unwrap() > 0);
    }
}
