//! Peers made of a bare socket, which say what they like, byte by byte.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use replication::protocol::control::{Heartbeat, Positions, StreamAck, TYPE_BATCH, TYPE_HEARTBEAT};
use replication::protocol::entry::Entry;
use replication::protocol::frame::{self, TYPE_ERROR, TYPE_SYNC_ACK};
use replication::protocol::handshake::{Answer, Offer, Sync, SyncAck};
use replication::protocol::lineage::Lineage;
use replication::protocol::{HEADER_SIZE, MAX_MESSAGE_SIZE, message};
use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// A lineage for raw writers.
pub const LINEAGE: Lineage = Lineage { stream_id: *b"0123456789abcdef", epoch: 7 };

/// One end of a connection, under the test's control.
pub struct Peer {
    pub socket: TcpStream,
    received: Vec<u8>,
}

/// What a peer hears next.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Frame(u8, Vec<u8>),
    /// Nothing, for the time given.
    Nothing,
    /// The connection's end.
    End,
}

impl Peer {
    /// Connects to a sender.
    pub fn connect(address: &str) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// Connects with a receive buffer that is soon full.
    pub fn connect_narrow(address: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&address.parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        Self::over(socket.into())
    }

    pub fn over(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { socket, received: Vec::new() }
    }

    /// Sends all of it. The other side may have closed already; what follows from that shows in what is heard.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// Sends each byte in a segment of its own.
    pub fn send_bytewise(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.send(&[*byte]);
        }
    }

    /// Says nothing more.
    pub fn finish(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Waits up to `limit` for a frame or the end.
    pub fn hear_within(&mut self, limit: Duration) -> Heard {
        let deadline = Instant::now() + limit;
        loop {
            if let Ok(frame) = frame::decode(&self.received, MAX_MESSAGE_SIZE) {
                let (kind, payload, size) = (frame.kind, frame.payload.to_vec(), frame.encoded_len);
                self.received.drain(..size);
                return Heard::Frame(kind, payload);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Heard::Nothing;
            }
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 64 * 1024];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Heard::End,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Heard::End,
            }
        }
    }

    /// Waits for a frame.
    pub fn frame(&mut self) -> (u8, Vec<u8>) {
        match self.hear_within(PATIENCE) {
            Heard::Frame(kind, payload) => (kind, payload),
            other => panic!("a frame was expected, not {other:?}"),
        }
    }

    /// Waits for a frame of this type and gives its payload; others are passed over.
    pub fn frame_of(&mut self, wanted: u8) -> Vec<u8> {
        loop {
            let (kind, payload) = self.frame();
            if kind == wanted {
                return payload;
            }
        }
    }

    /// Waits for the end. Gives the code of the Error frame before it; empty when there was none.
    pub fn end(&mut self) -> String {
        let mut code = String::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.hear_within(deadline.saturating_duration_since(Instant::now())) {
                Heard::Frame(TYPE_ERROR, payload) => code = message::decode_error(&payload).unwrap().code,
                Heard::Frame(..) => {}
                Heard::End => return code,
                Heard::Nothing => panic!("the connection was not closed"),
            }
        }
    }

    /// Shakes hands as a reader and gives the answer.
    pub fn shake(&mut self, sync: &Sync) -> SyncAck {
        self.send(&sync_frame(sync));
        message::decode_sync_ack(&self.frame_of(TYPE_SYNC_ACK)).unwrap()
    }
}

/// A raw writer's door.
pub struct Door {
    listener: TcpListener,
    pub address: String,
}

impl Door {
    pub fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { listener, address }
    }

    /// Waits for a connection.
    pub fn accept(&self) -> Peer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(false).unwrap();
                    return Peer::over(socket);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(Instant::now() < deadline, "nobody connected");
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits for a connection and its Sync.
    pub fn accept_sync(&self) -> (Peer, Sync) {
        let mut peer = self.accept();
        let (_, payload) = peer.frame();
        (peer, message::decode_sync(&payload).unwrap())
    }

    /// Waits for a connection and agrees to stream, in the version asked for, with `current` entries in the log.
    pub fn welcome(&self, current: u64) -> (Peer, Sync) {
        let (mut peer, sync) = self.accept_sync();
        peer.send(&greeting(&sync, current));
        (peer, sync)
    }
}

/// Lets so many of a sender's heartbeats pass, as a reader of their own hears them.
pub fn heartbeats(address: &str, count: usize) {
    let mut peer = Peer::connect(address);
    // As often as the sender allows.
    let offer = Offer { version: 1, heartbeat_ms: 1, ..Offer::default() };
    peer.shake(&Sync { offer: Some(offer), ..sync_v1("heartbeats", 0) });
    for _ in 0..count {
        peer.frame_of(TYPE_HEARTBEAT);
    }
}

/// A whole frame.
pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame::encode_header(kind, payload.len()).unwrap().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

pub fn sync_frame(sync: &Sync) -> Vec<u8> {
    let mut bytes = Vec::new();
    message::encode_sync(&mut bytes, sync, false).unwrap();
    bytes
}

pub fn sync_ack_frame(ack: &SyncAck) -> Vec<u8> {
    let mut bytes = Vec::new();
    message::encode_sync_ack(&mut bytes, ack, false).unwrap();
    bytes
}

/// A reader's Sync in v1.
pub fn sync_v1(id: &str, last_known_sequence: u64) -> Sync {
    Sync { reader_id: id.into(), last_known_sequence, offer: None }
}

/// A reader's Sync that offers v2.
pub fn sync_v2(id: &str, last_known_sequence: u64) -> Sync {
    let offer = Offer { version: 1, heartbeat_ms: 1000, ..Offer::default() };
    Sync { offer: Some(offer), ..sync_v1(id, last_known_sequence) }
}

pub fn answer(first_sequence: u64) -> Answer {
    let Lineage { stream_id, epoch } = LINEAGE;
    Answer { version: 1, stream_id, epoch, first_sequence, heartbeat_ms: 1000, ..Answer::default() }
}

/// A SyncAck that agrees to stream, in the version asked for.
pub fn greeting(sync: &Sync, current_sequence: u64) -> Vec<u8> {
    let answer = sync.offer.is_some().then(|| answer(1));
    sync_ack_frame(&SyncAck { current_sequence, can_resume: true, error: String::new(), answer })
}

pub fn error_frame(code: &str, text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    message::encode_error(&mut bytes, code, text).unwrap();
    bytes
}

pub fn ack_v1(last_sequence: u64, id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    message::encode_ack(&mut bytes, last_sequence, id).unwrap();
    bytes
}

pub fn ack_v2(received: u64, durable: u64, applied: u64, reply: bool) -> Vec<u8> {
    StreamAck { positions: Positions { received, durable, applied }, reply }.encode()
}

pub fn heartbeat(last_sequence: u64) -> Vec<u8> {
    Heartbeat { last_sequence, time_us: 1 }.encode()
}

/// The payload by which every test knows the entry.
pub fn payload(sequence: u64) -> Vec<u8> {
    let mut bytes = sequence.to_be_bytes().to_vec();
    bytes.resize(8 + (sequence % 13) as usize, sequence as u8);
    bytes
}

/// An entry as it lies in a batch.
pub fn encoded(sequence: u64, previous: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let payload = payload(sequence);
    Entry { sequence, previous, timestamp_us: sequence.wrapping_mul(1000), payload: &payload }.encode_into(&mut bytes);
    bytes
}

/// A batch of the entries (sequence, previous).
pub fn batch_of(entries: &[(u64, u64)]) -> Vec<u8> {
    let bytes: Vec<u8> = entries.iter().flat_map(|(sequence, previous)| encoded(*sequence, *previous)).collect();
    frame(TYPE_BATCH, &bytes)
}

/// A batch of `count` entries after `last`.
pub fn batch(last: u64, count: u64) -> Vec<u8> {
    batch_of(&(last + 1..=last + count).map(|sequence| (sequence, sequence - 1)).collect::<Vec<_>>())
}

/// A v1 Entry frame.
pub fn entry_v1(sequence: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    message::encode_entry(&mut bytes, sequence, sequence.wrapping_mul(1000), Some(&payload(sequence))).unwrap();
    bytes
}

/// A frame's header that names this length and this type.
pub fn header(length: u32, kind: u8) -> [u8; HEADER_SIZE] {
    let [a, b, c, d] = length.to_be_bytes();
    [a, b, c, d, kind]
}
