//! Handles the messages of readers: judges acknowledgements and sends replies. Runs on the reader's task, or on a host
//! thread that waits for acknowledgements.

use super::followers::Followers;
use super::incoming::{Incoming, ReaderMessage, Unread};
use super::reader::Reader;
use crate::clock::boot_us;
use crate::engine::writer::peer::{self, Judged};
use crate::error::{Error, Result};
use crate::protocol::control::{Heartbeat, Positions};

/// Reads from one reader in a row, before others get a turn.
const READS_PER_TURN: usize = 16;

/// Handles the messages that have arrived. Returns `false` if there may be more, but others should get a turn. Called
/// by the reader's task.
pub(super) fn take(followers: &Followers, reader: &Reader) -> Result<bool> {
    let mut incoming = reader.incoming.lock();
    // Bytes that came together with the Sync.
    take_messages(followers, reader, &mut incoming)?;
    for _ in 0..READS_PER_TURN {
        let received = incoming.receive(&reader.stream);
        if !take_received(followers, reader, &mut incoming, received)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Handles the messages that have arrived on a host thread, without waiting for the reader's task to wake. Does nothing
/// while the task does the same.
pub(super) fn take_from_outside(followers: &Followers, reader: &Reader) {
    let taken = reader.incoming.try_lock().map_or(Ok(false), |mut incoming| {
        let received = incoming.receive_at_once(&reader.stream);
        take_received(followers, reader, &mut incoming, received)
    });
    if let Err(error) = taken {
        reader.close(error.status, error.message);
    }
    if reader.is_undecided() {
        reader.wake.notify_one();
    }
}

/// Judges the deferred acknowledgement, if there is one. Called by the reader's task after it has sent what it can.
#[inline]
pub(super) fn decide(followers: &Followers, reader: &Reader) -> Result<()> {
    if reader.is_undecided() { decide_now(followers, reader) } else { Ok(()) }
}

fn decide_now(followers: &Followers, reader: &Reader) -> Result<()> {
    let mut incoming = reader.incoming.lock();
    reader.set_undecided(false);
    let undecided = incoming.take_undecided();
    undecided.map_or(Ok(()), |acked| acknowledge(followers, reader, &mut incoming, acked, true))
}

fn take_received(
    followers: &Followers,
    reader: &Reader,
    incoming: &mut Incoming,
    received: std::result::Result<bool, Unread>,
) -> Result<bool> {
    let received = received.map_err(|why| unread(followers, reader, why))?;
    if received {
        followers.milestones.note(boot_us(), followers.log.last_sequence());
        take_messages(followers, reader, incoming)?;
    }
    Ok(received)
}

fn take_messages(followers: &Followers, reader: &Reader, incoming: &mut Incoming) -> Result<()> {
    while let Some(message) = incoming.next().map_err(|why| unread(followers, reader, why))? {
        match message {
            ReaderMessage::Ack { positions, reply } => {
                acknowledge(followers, reader, incoming, positions, false)?;
                if reply {
                    send_heartbeat(followers, reader);
                }
            }
            ReaderMessage::Error(error) => return Err(error),
        }
    }
    Ok(())
}

/// `has_sent_all`: everything that the socket accepts was sent, so the reader cannot have an entry that was not.
fn acknowledge(
    followers: &Followers,
    reader: &Reader,
    incoming: &mut Incoming,
    acked: Positions,
    has_sent_all: bool,
) -> Result<()> {
    let refused = |error| unread(followers, reader, Unread::Invalid(error));
    peer::check_ack(acked, followers.log.last_sequence()).map_err(refused)?;
    let sent = reader.has_been_sent(acked.received);
    let judged = peer::judge_ack(acked, sent, reader.sent(), has_sent_all);
    if matches!(judged, Judged::CountsSoFar(_) | Judged::Later) {
        // The reader's task judges it again after it has sent what it can.
        incoming.defer(acked);
        reader.set_undecided(true);
    }
    let counted = match judged {
        Judged::Counts(counted) | Judged::CountsSoFar(counted) => counted,
        Judged::Later => return Ok(()),
        Judged::NotSent => return Err(refused(peer::not_sent(acked.received, reader.sent_whole()))),
    };
    let before = reader.positions();
    let changes_gate = reader.acknowledge(counted);
    if !reader.counts() {
        return Ok(());
    }
    followers.reader_moved(before, reader.positions());
    if changes_gate {
        followers.readers_changed();
    }
    Ok(())
}

/// The reason why the connection ends after `error`. Reports a breach of the protocol to the host.
fn unread(followers: &Followers, reader: &Reader, why: Unread) -> Error {
    match why {
        Unread::Ended(error) => error,
        Unread::Invalid(error) => {
            followers.report.protocol_error(reader.peer(), &error);
            error
        }
    }
}

/// Sends a heartbeat to a v2 reader.
pub(super) fn send_heartbeat(followers: &Followers, reader: &Reader) {
    let time_us = crate::clock::unix_time_us();
    reader.queue_control(&Heartbeat { last_sequence: followers.log.last_sequence(), time_us }.encode());
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::super::access::Via;
    use super::super::acks::Work;
    use super::super::config::SenderConfig;
    use super::super::life::Life;
    use super::super::outgoing::{OutgoingEntries, SendOutcome};
    use super::super::reader::Access;
    use super::super::report::SenderReport;
    use super::*;
    use crate::engine::access::rights::Rights;
    use crate::error::Status;
    use crate::host::Mailbox;
    use crate::log::disk::{DiskConfig, DiskLog, LogStart};
    use crate::log::{FullPolicy, Log, LogConfig, Mark, SyncPolicy};
    use crate::protocol::control::StreamAck;
    use crate::protocol::lineage::Lineage;
    use crate::protocol::message;
    use crate::transport::{FrameReader, Stream};

    /// A reader whose task does not run, and the reader's end of the connection.
    fn reader_of(
        runtime: &tokio::runtime::Runtime,
        log: Arc<Log>,
        v2: bool,
    ) -> (Arc<Followers>, Arc<Reader>, UnixStream) {
        let _within = runtime.enter();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stream = Stream::from_fd(ours.into()).unwrap();
        let mailbox = Arc::<Mailbox<Work>>::default();
        let (life, report) = (Arc::new(Life::new()), Arc::new(SenderReport::new(Arc::clone(&mailbox), 0)));
        let followers = Followers::new(&SenderConfig::default(), Arc::clone(&log), life, report, &mailbox);
        let cursor = log.attach(0).ok().unwrap();
        let outgoing = OutgoingEntries::new(log, cursor, 0, v2, Vec::new());
        let access = Access { via: Via::Host, rights: Rights::READER, rule: None };
        let incoming = Incoming::new(FrameReader::default(), v2);
        let reader = Reader::new("r".into(), stream, access, v2, 0, outgoing, incoming);
        runtime.block_on(reader.stream.writable()).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (Arc::new(followers), reader, theirs)
    }

    /// The same with one entry sent to it.
    fn reader(runtime: &tokio::runtime::Runtime) -> (Arc<Followers>, Arc<Reader>, UnixStream) {
        let log = Arc::new(Log::new(LogConfig::new(8, 8 << 20, FullPolicy::Refuse)));
        let (followers, reader, mut theirs) = reader_of(runtime, Arc::clone(&log), true);
        log.append(0, b"entry").unwrap();
        assert!(matches!(reader.send(&followers.acks, true), SendOutcome::AtEnd));
        assert!(theirs.read(&mut [0; 256]).unwrap() > 0);
        (followers, reader, theirs)
    }

    fn ack(received: u64) -> Vec<u8> {
        StreamAck { positions: Positions { received, durable: 0, applied: 0 }, reply: false }.encode()
    }

    #[test]
    fn a_waiting_thread_takes_in_what_the_runtime_does_not_know_of() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (followers, reader, mut theirs) = reader(&runtime);
        theirs.write_all(&ack(1)).unwrap();
        assert!(take(&followers, &reader).unwrap());
        assert_eq!(reader.positions().received, 0, "the runtime does not know yet");
        take_from_outside(&followers, &reader);
        assert_eq!(reader.positions().received, 1);
        // In two pieces, as a network may bring it.
        let (first, second) = (&ack(1)[..3], &ack(1)[3..]);
        theirs.write_all(first).unwrap();
        take_from_outside(&followers, &reader);
        assert!(reader.heard().unfinished_since.is_some());
        theirs.write_all(second).unwrap();
        take_from_outside(&followers, &reader);
        assert!(reader.heard().unfinished_since.is_none() && reader.closing().is_none());
    }

    /// P8: what a waiting thread comes upon ends the connection as it would in the reader's task.
    #[test]
    fn p8_a_waiting_thread_that_is_lied_to_has_the_connection_ended() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (followers, liar, mut theirs) = reader(&runtime);
        let positions = Positions { received: 1, durable: 2, applied: 0 };
        theirs.write_all(&StreamAck { positions, reply: false }.encode()).unwrap();
        take_from_outside(&followers, &liar);
        let why = liar.closing().unwrap();
        assert!(why.status == Status::InvalidMsg && why.message.contains("impossible Ack"), "{why}");
        assert_eq!(liar.positions().received, 0);

        let (followers, gone, theirs) = reader(&runtime);
        drop(theirs);
        take_from_outside(&followers, &gone);
        assert_eq!(gone.closing().unwrap().status, Status::Ok);
    }

    /// A log of which the first entries are on disk alone.
    fn stored_log(dir: &std::path::Path, entries: u64, payload: &[u8]) -> Arc<Log> {
        let start = || Ok(LogStart { lineage: Lineage::random()?, mark: Mark::default() });
        let (disk, _) = DiskLog::open(DiskConfig::new(dir), start).unwrap();
        let config = LogConfig::new(4, 1 << 16, FullPolicy::CutOffSlowest);
        let log = Arc::new(Log::stored(config, disk, SyncPolicy::Os));
        std::thread::scope(|scope| {
            let storing = scope.spawn(|| log.store(&mut |_| ()));
            (1..=entries).for_each(|sequence| assert_eq!(log.append(0, payload).unwrap(), sequence));
            log.close();
            storing.join().unwrap().unwrap();
        });
        log
    }

    /// Sends until the socket takes no more, loading what is on disk.
    fn send_all(followers: &Followers, reader: &Reader) -> SendOutcome {
        loop {
            match reader.send(&followers.acks, true) {
                SendOutcome::NotLoaded(load) => reader.supply(load.run().unwrap()),
                SendOutcome::More => {}
                outcome => return outcome,
            }
        }
    }

    /// A host's thread may die of the SIGPIPE that sending a file to a peer which is gone can raise.
    #[test]
    fn p9_a_waiting_thread_sends_nothing_from_files() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (followers, reader, mut theirs) = reader_of(&runtime, stored_log(dir.path(), 100, b"entry"), true);
        let SendOutcome::NotLoaded(load) = reader.send(&followers.acks, true) else {
            panic!("the first entries are in memory")
        };
        reader.supply(load.run().unwrap());
        reader.send_from_outside(&followers.acks);
        assert_eq!(theirs.read(&mut [0; 256]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert!(matches!(reader.send(&followers.acks, true), SendOutcome::AtEnd));
        assert!(theirs.read(&mut [0; 256]).unwrap() > 0);
    }

    /// Acknowledges to a task that has sent what it can. Returns `false` if the acknowledgement is refused.
    fn send_ack(reader: &Reader, followers: &Arc<Followers>, theirs: &mut UnixStream, bytes: &[u8]) -> bool {
        theirs.write_all(bytes).unwrap();
        take_from_outside(followers, reader);
        assert!(reader.closing().is_none());
        let decided = decide(followers, reader);
        if let Err(why) = &decided {
            assert!(why.status == Status::InvalidMsg && why.message.contains("impossible Ack"), "{why}");
        }
        decided.is_ok()
    }

    /// P6: an acknowledgement is not refused because the task has not come to send yet.
    #[test]
    fn p6_what_was_not_sent_is_doubted_when_what_can_be_sent_was() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for (acked, is_there) in [(2, true), (3, false)] {
            let (followers, reader, mut theirs) = reader(&runtime);
            followers.log.append(0, b"entry").unwrap();
            // It is there, and more than the socket takes comes before its end.
            followers.log.append(0, &[7; 2 << 20]).unwrap();
            theirs.write_all(&ack(acked)).unwrap();
            take_from_outside(&followers, &reader);
            assert_eq!((reader.positions().received, reader.closing().is_none()), (0, true));
            assert!(matches!(send_all(&followers, &reader), SendOutcome::Blocked));
            assert_eq!(decide(&followers, &reader).is_ok(), is_there);
            assert_eq!(reader.positions().received, if is_there { acked } else { 0 });
        }
    }

    /// P6: where only the ends of batches are known, an acknowledgement inside one counts when that end is sent, and
    /// one after it never does.
    #[test]
    fn p6_an_acknowledgement_inside_a_batch_from_a_file_counts_when_it_was_sent() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        // Some batches of sixteen entries or so, more than the socket holds.
        let log = stored_log(dir.path(), 100, &[7; 16 << 10]);
        let begun = || {
            let (followers, reader, theirs) = reader_of(&runtime, Arc::clone(&log), true);
            assert!(matches!(send_all(&followers, &reader), SendOutcome::Blocked));
            assert!(reader.is_inside_frame(), "the socket takes whole batches: this tests nothing");
            (followers, reader, theirs)
        };
        let known = begun().1.sent_whole();
        for (above, refused) in [(1, false), (40, true), (100 - known, true)] {
            let (followers, reader, mut theirs) = begun();
            assert_eq!(
                send_ack(&reader, &followers, &mut theirs, &ack(known + above)),
                !refused,
                "{above} above {known}"
            );
            assert_eq!(reader.positions().received, known * u64::from(!refused));
        }
        let (followers, reader, mut theirs) = begun();
        assert!(send_ack(&reader, &followers, &mut theirs, &ack(known + 1)));
        assert_eq!(reader.positions().received, known, "no more than is known to have been sent");
        while !matches!(send_all(&followers, &reader), SendOutcome::AtEnd) {
            while theirs.read(&mut [0; 1 << 16]).is_ok_and(|count| count > 0) {}
            runtime.block_on(reader.stream.writable()).unwrap();
        }
        decide(&followers, &reader).unwrap();
        assert_eq!((reader.positions().received, reader.sent_whole()), (known + 1, 100));
        assert!(send_ack(&reader, &followers, &mut theirs, &ack(100)) && reader.positions().received == 100);
    }

    /// P6: a v1 reader has an entry when its last byte was sent, however large it is.
    #[test]
    fn p6_an_encoded_entry_counts_when_it_was_sent_whole() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let log = Arc::new(Log::new(LogConfig::new(8, 64 << 20, FullPolicy::Refuse)));
        let begun = || {
            let (followers, reader, theirs) = reader_of(&runtime, Arc::clone(&log), false);
            send_all(&followers, &reader);
            (followers, reader, theirs)
        };
        let ack = |sequence| {
            let mut frame = Vec::new();
            message::encode_ack(&mut frame, sequence, "r").unwrap();
            frame
        };
        // Encoded together: the first is out, of the second only a part.
        log.append(0, b"small").unwrap();
        log.append(0, &[7; 4 << 20]).unwrap();
        let (followers, reader, mut theirs) = begun();
        assert!(send_ack(&reader, &followers, &mut theirs, &ack(1)) && reader.positions().received == 1);
        assert!(!send_ack(&reader, &followers, &mut theirs, &ack(2)) && reader.positions().received == 1);
        let (followers, reader, mut theirs) = begun();
        while !matches!(send_all(&followers, &reader), SendOutcome::AtEnd) {
            while theirs.read(&mut [0; 1 << 16]).is_ok_and(|count| count > 0) {}
            runtime.block_on(reader.stream.writable()).unwrap();
        }
        assert!(send_ack(&reader, &followers, &mut theirs, &ack(2)) && reader.positions().received == 2);
    }
}
