//! A running receiver. Input: flags, how the bytes are cut into pieces, then what a writer says on one connection.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver as Mailbox};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{pieces, split_flags};
use crate::host::Silent;
use crate::protocol::control::TYPE_BATCH;
use crate::protocol::entry::{Entries, Entry};
use crate::protocol::frame::{self, TYPE_ENTRY};
use crate::protocol::handshake::{Answer, Sync, SyncAck};
use crate::protocol::message;
use crate::receiver::Receiver;
use crate::receiver::config::{
    ApplyFailure, Connect, GapPolicy, Handler, Place, ProtocolChoice, ReceiverConfig, ReceiverHost,
};

/// The bytes come in pieces.
const PIECES: u8 = 1;
/// Speak v1 only; or v2 only.
const V1: u8 = 2;
const V2: u8 = 4;
/// Shake hands as the coordinator does.
const COORDINATOR: u8 = 8;
/// Go on after gaps.
const CONTINUE: u8 = 16;
/// The host has entries of a stream that it does not name.
const POSITION: u8 = 32;

/// Longer than anything here takes, on a machine however busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// The last entry of a host that has some.
pub(super) const HAS: u64 = 5;

/// Whatever a writer says, its connection ends and the handler saw entries that follow one another; then the receiver
/// follows a good writer from where it is.
pub fn receiver(data: &[u8]) -> bool {
    let (flags, data) = split_flags(data);
    let (seed, said) = split_flags(data);
    let config = ReceiverConfig {
        reader_id: "reader-1".into(),
        writer_addr: "127.0.0.1:1".into(),
        last_sequence: if flags & POSITION == 0 { 0 } else { HAS },
        has_position: flags & POSITION != 0,
        protocol: match flags & (V1 | V2) {
            V1 => ProtocolChoice::V1,
            V2 => ProtocolChoice::V2,
            _ => ProtocolChoice::Auto,
        },
        coordinator_handshake: flags & COORDINATOR != 0,
        gap_policy: if flags & CONTINUE == 0 { GapPolicy::Refuse } else { GapPolicy::Continue },
        reconnect_interval: Duration::from_millis(1),
        connect_timeout: PATIENCE,
        buffer_bytes: ReceiverConfig::MIN_BUFFER_BYTES,
        ..ReceiverConfig::default()
    };
    let begins_at = config.last_sequence;
    let (connect, dialled) = door();
    let applied = Applied::default();
    let host = ReceiverHost {
        handler: Box::new(applied.clone()),
        local_wal: None,
        connect: Some(connect),
        observer: Box::new(Silent),
    };
    let receiver = Receiver::new(config, host).expect("a receiver");
    receiver.start().expect("its threads");

    let mut hostile = dialled.recv_timeout(PATIENCE).expect("the receiver dials");
    let pieces: Vec<&[u8]> = if flags & PIECES != 0 { pieces(said, seed).collect() } else { vec![said] };
    for piece in pieces {
        if let Err(error) = hostile.write_all(piece) {
            ended(&error);
            break;
        }
    }
    hostile.shutdown(Shutdown::Write).unwrap_or_else(|error| ended(&error));
    if let Err(error) = hostile.read_to_end(&mut Vec::new()) {
        ended(&error);
    }
    drop(hostile);

    let last = follow_good_writer(&receiver, &dialled);
    receiver.stop().expect("it stops");
    let entries = applied.0.lock().expect("the handler never fails").clone();
    let mut at = begins_at;
    for (sequence, previous) in &entries {
        assert!(*sequence > at, "entry {sequence} after {at}");
        assert!(*previous == at || flags & CONTINUE != 0 && *previous > at, "a gap before {sequence}, after {at}");
        at = *sequence;
    }
    assert!(last.is_none_or(|last| at == last), "{at} is not {last:?}");
    entries.len() > 1
}

/// Dials by making a pair of sockets, whose other end goes to the mailbox.
fn door() -> (Connect, Mailbox<UnixStream>) {
    let (to_peer, dialled) = mpsc::channel();
    let connect = Box::new(move |_: &str| {
        let (ours, theirs) = UnixStream::pair()?;
        theirs.set_read_timeout(Some(PATIENCE))?;
        theirs.set_write_timeout(Some(PATIENCE))?;
        // While it stops it may dial once more.
        let _ = to_peer.send(theirs);
        Ok(ours.into())
    });
    (connect, dialled)
}

fn ended(error: &std::io::Error) {
    let end = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::NotConnected];
    assert!(end.contains(&error.kind()), "the connection does not end: {error}");
}

/// Serves the receiver as a good writer, until an entry more is applied, and gives its sequence; `None`: there is none after
/// the reader's. A refusal may have made the receiver ask for a place after a gap: it finds that this is another writer, and
/// comes once more.
fn follow_good_writer(receiver: &Receiver, dialled: &Mailbox<UnixStream>) -> Option<u64> {
    let deadline = Instant::now() + PATIENCE;
    let mut peer = dialled.recv_timeout(PATIENCE).expect("the receiver dials again");
    loop {
        let last = serve(&mut peer)?;
        loop {
            if receiver.last_sequence() >= last {
                return Some(last);
            }
            assert!(Instant::now() < deadline, "the good writer's entry is applied");
            if let Ok(next) = dialled.recv_timeout(Duration::from_millis(1)) {
                peer = next;
                break;
            }
        }
    }
}

/// Serves a connection as a writer that has an entry more than its reader. Gives that entry's sequence.
fn serve(peer: &mut UnixStream) -> Option<u64> {
    let (kind, payload) = read_frame(peer);
    let Sync { last_known_sequence: before, offer, .. } = message::decode_sync(&payload).expect("a Sync");
    let last = before.checked_add(1)?;
    // Whatever stream and epoch the receiver took on, it goes on there.
    let answer = offer.as_ref().map(|offer| Answer {
        version: 1,
        stream_id: offer.stream_id.unwrap_or([3; 16]),
        epoch: offer.epoch.max(1),
        first_sequence: 1,
        heartbeat_ms: 1000,
        hash: offer.hash,
        ..Answer::default()
    });
    let ack = SyncAck { current_sequence: last, can_resume: true, answer, ..SyncAck::default() };
    let mut said = Vec::new();
    message::encode_sync_ack(&mut said, &ack, kind == TYPE_ENTRY).expect("a SyncAck");
    if offer.is_some() {
        let mut batch = Vec::new();
        Entry { sequence: last, previous: before, timestamp_us: 1, payload: b"good" }.encode_into(&mut batch);
        said.extend(frame::encode_header(TYPE_BATCH, batch.len()).expect("a small frame"));
        said.extend(batch);
    } else {
        message::encode_entry(&mut said, last, 1, Some(b"good")).expect("an Entry");
    }
    peer.write_all(&said).expect("a good writer is heard");
    Some(last)
}

fn read_frame(socket: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut header = [0; 5];
    socket.read_exact(&mut header).expect("a frame's header");
    let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let mut payload = vec![0; length - 1];
    socket.read_exact(&mut payload).expect("a frame's payload");
    (header[4], payload)
}

/// A handler that notes each entry's sequence and its predecessor's.
#[derive(Clone, Default)]
struct Applied(Arc<Mutex<Vec<(u64, u64)>>>);

impl Handler for Applied {
    fn max_entries(&self) -> usize {
        64
    }

    fn apply(&mut self, entries: &mut Entries<'_>, _: &Place<'_>) -> Result<(), ApplyFailure> {
        let mut applied = self.0.lock().expect("nothing here fails");
        applied.extend(entries.by_ref().map(|entry| (entry.sequence, entry.previous)));
        Ok(())
    }
}
