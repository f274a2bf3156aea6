//! A running sender. Input: flags, how the bytes are cut into pieces, then what one connection says.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::{pieces, split_flags};
use crate::host::Silent;
use crate::protocol::control::TYPE_BATCH;
use crate::protocol::entry::Entry;
use crate::protocol::frame::{self, FrameError, TYPE_ACK, TYPE_ENTRY, TYPE_ERROR, TYPE_SYNC_ACK};
use crate::protocol::handshake::Sync;
use crate::protocol::lineage::Lineage;
use crate::protocol::{MAX_HANDSHAKE_BYTES, MAX_MESSAGE_SIZE, message};
use crate::sender::config::{Secrets, SenderConfig};
use crate::sender::{AckLevel, Sender};

/// The bytes come in pieces, between which the sender may take them in.
const PIECES: u8 = 1;
/// The peer goes away without reading.
const ABANDON: u8 = 2;

/// Longer than anything here takes, on a machine however busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
const GOOD: &str = "the good reader 5b1f0c8e";
/// The sender's lineage, which seeds may name.
pub(super) const LINEAGE: Lineage = Lineage { stream_id: *b"0123456789abcdef", epoch: 7 };
/// Entries that are there before the first connection.
const ENTRIES: u64 = 20;

/// Whatever a connection says, it ends, what it hears is whole frames, and a good reader still gets the next entry, which
/// nobody has acknowledged.
pub fn sender(data: &[u8]) -> bool {
    let (flags, data) = split_flags(data);
    let (seed, said) = split_flags(data);
    static STAGE: OnceLock<Mutex<Stage>> = OnceLock::new();
    let stage = STAGE.get_or_init(|| Mutex::new(Stage::with(Secrets::default())));
    // A test that failed before has said so.
    let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
    let (ours, mut theirs) = UnixStream::pair().expect("two sockets");
    stage.sender.accept_connection(ours.into(), None).expect("a connection is taken");
    let ended = |error: std::io::Error| assert!(is_end(error.kind()), "the connection does not end: {error}");
    theirs.set_write_timeout(Some(PATIENCE)).expect("a time-out");
    let pieces: Vec<&[u8]> = if flags & PIECES != 0 { pieces(said, seed).collect() } else { vec![said] };
    for piece in pieces {
        if let Err(error) = theirs.write_all(piece) {
            ended(error);
            break;
        }
    }
    let mut greeted = false;
    if flags & ABANDON != 0 {
        drop(theirs);
    } else {
        theirs.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut heard = Vec::new();
        // A reader that says nothing more is gone, so it listens first to what its first frame gets, if that is whole.
        if !matches!(frame::decode(said, MAX_HANDSHAKE_BYTES), Err(FrameError::Truncated { .. })) {
            let mut first = [0; 1];
            theirs.read_exact(&mut first).expect("a first frame is answered");
            heard.extend(first);
        }
        theirs.shutdown(Shutdown::Write).unwrap_or_else(ended);
        if let Err(error) = theirs.read_to_end(&mut heard) {
            ended(error);
        }
        greeted = check_heard(&heard);
    }
    stage.check();
    greeted
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected)
}

/// Whether the peer was greeted as a reader, and told of no mistake. What follows the greeting are frames whose entries follow one another; the
/// last frame may be cut off.
fn check_heard(mut heard: &[u8]) -> bool {
    let (mut greeted, mut last) = (false, None);
    for n in 0.. {
        let Ok(frame) = frame::decode(heard, MAX_MESSAGE_SIZE) else { break };
        heard = &heard[frame.encoded_len..];
        match frame.kind {
            TYPE_SYNC_ACK | TYPE_ACK if n == 0 => {
                let ack = message::decode_sync_ack(frame.payload).expect("a SyncAck");
                assert_eq!(ack.can_resume, ack.error.is_empty());
                greeted = ack.can_resume;
            }
            TYPE_ERROR => {
                let error = message::decode_error(frame.payload).expect("an Error");
                assert!(!error.code.is_empty() && !error.message.is_empty());
                assert!(heard.is_empty(), "something follows an Error");
                return false;
            }
            TYPE_ENTRY if greeted => {
                let entry = message::decode_entry(frame.payload, &mut Vec::new()).expect("an Entry");
                assert!(last.is_none_or(|last: u64| entry.sequence == last + 1), "{} after {last:?}", entry.sequence);
                last = Some(entry.sequence);
            }
            TYPE_BATCH if greeted => {
                let mut rest = frame.payload;
                while !rest.is_empty() {
                    let entry = Entry::decode_checked(rest).expect("an entry");
                    assert!(last.is_none_or(|last| entry.previous == last), "{} after {last:?}", entry.sequence);
                    last = Some(entry.sequence);
                    rest = &rest[entry.encoded_len()..];
                }
            }
            kind => assert!(greeted && kind >= 0x20, "a frame of type {kind:#04x}"),
        }
    }
    greeted
}

/// The sender and its good reader.
pub(super) struct Stage {
    pub(super) sender: Sender,
    good: UnixStream,
}

impl Stage {
    pub(super) fn with(secrets: Secrets) -> Self {
        let config = SenderConfig {
            buffer_size: 256,
            io_threads: 1,
            handshake_timeout: PATIENCE,
            lineage: Some(LINEAGE),
            secrets,
            ..SenderConfig::default()
        };
        let sender = Sender::new(config, Box::new(Silent)).expect("a sender");
        sender.start().expect("its threads");
        for n in 0..ENTRIES {
            sender.replicate(n, &[n as u8; 50]).expect("an entry is taken");
        }
        let good = connect(&sender);
        Self { sender, good }
    }

    /// Of all connections but the good reader's nothing is left, an entry that is appended now reaches that reader, and
    /// nobody has acknowledged it before.
    pub(super) fn check(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.sender.reader_count() > 1 {
            assert!(Instant::now() < deadline, "a reader whose connection has ended stays");
            std::thread::yield_now();
        }
        let sequence = self.sender.replicate(1, b"for the good reader").expect("an entry is taken");
        let acked = self.sender.wait_acked(sequence, AckLevel::Received, 1, Duration::ZERO);
        assert_eq!(acked, Ok(0), "somebody has acknowledged an entry that was never sent to it");
        loop {
            match read_frame(&mut self.good) {
                Some((TYPE_ENTRY, payload)) => {
                    let entry = message::decode_entry(&payload, &mut Vec::new()).expect("an Entry");
                    assert!(entry.sequence <= sequence);
                    if entry.sequence == sequence {
                        return;
                    }
                }
                // Whoever takes the id of a reader takes its place.
                Some((TYPE_ERROR, payload)) => {
                    let error = message::decode_error(&payload).expect("an Error");
                    assert_eq!(error.code, "REPLACED", "{error:?}");
                    self.good = connect(&self.sender);
                    return;
                }
                other => panic!("the good reader hears {other:?}"),
            }
        }
    }
}

/// Connects the good reader after the last entry, in v1: it is told of no more than entries.
fn connect(sender: &Sender) -> UnixStream {
    let (ours, mut good) = UnixStream::pair().expect("two sockets");
    sender.accept_connection(ours.into(), None).expect("a connection is taken");
    good.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let sync = Sync { reader_id: GOOD.into(), last_known_sequence: sender.current_sequence(), offer: None };
    let mut hello = Vec::new();
    message::encode_sync(&mut hello, &sync, false).expect("a Sync");
    good.write_all(&hello).expect("a good reader is heard");
    let (kind, payload) = read_frame(&mut good).expect("an answer");
    assert_eq!(kind, TYPE_SYNC_ACK);
    assert!(message::decode_sync_ack(&payload).expect("a SyncAck").can_resume);
    good
}

/// The next frame; `None` at the end.
pub(super) fn read_frame(socket: &mut UnixStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    socket.read_exact(&mut header).ok()?;
    let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let mut payload = vec![0; length - 1];
    socket.read_exact(&mut payload).ok()?;
    Some((header[4], payload))
}
