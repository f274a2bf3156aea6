//! The sending side of one reader's connection: its cursor, and the wire form of entries in its protocol version.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::send_source::{Load, Loaded, NoSource, SendSource};
use crate::engine::writer::peer::Sent;
use crate::error::Error;
use crate::log::{AttachError, Cursor, Log};
use crate::protocol::control::{AckLevel, AckRequest, TYPE_BATCH};
use crate::protocol::entry::{Entries, Entry};
use crate::protocol::{HEADER_SIZE, frame, message};
use crate::transport::Stream;

/// The bytes after which a call of [`OutgoingEntries::send`] returns, so that other tasks get their turn.
const TURN_BYTES: usize = 1 << 20;

/// How many bytes of JSON are encoded ahead for a v1 reader.
const JSON_BYTES: usize = 64 * 1024;

/// How a call of [`OutgoingEntries::send`] ended.
pub(super) enum SendOutcome {
    /// Everything was sent.
    AtEnd,
    /// The socket accepts no more bytes now.
    Blocked,
    /// There is more to send, but other tasks should run first.
    More,
    /// The entries after the cursor are gone.
    CutOff,
    /// Entries on disk have to be loaded before they are sent; [`OutgoingEntries::supply`] takes the result.
    NotLoaded(Load),
    /// The connection failed.
    Failed(io::Error),
    /// The log on disk failed.
    LogFailed(Error),
}

/// The sending side of a connection. The reader's lock gives it to one thread at a time.
pub(super) struct OutgoingEntries {
    log: Arc<Log>,
    cursor: Cursor,
    wire: Wire,
    /// Control frames, which are sent between frames of entries.
    control: Pending,
    /// The last entry known to have been sent whole.
    sent: u64,
    /// The result of the last load from disk.
    loaded: Option<Loaded>,
    /// The version of the last requests; see [`Self::request`].
    requested_version: u64,
    /// Payload and frame bytes sent.
    bytes_sent: u64,
}

/// Bytes to send, of which the first `sent` are sent.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    sent: usize,
}

enum Wire {
    /// JSON frames encoded for this reader, and for each its end and its entry's sequence.
    V1 { json: Pending, ends: Vec<(usize, u64)> },
    /// Batches, sent from the log without encoding or copying.
    V2 {
        header: [u8; HEADER_SIZE],
        header_left: usize,
        body_left: usize,
        /// The last entry of the batch, if that is known before it is sent.
        last: Option<u64>,
        /// The position after the last batch that was sent whole.
        boundary: u64,
        /// The same, but of the last batch whose entries `sent` counts.
        sent_to: u64,
        /// The acknowledgements to request, and those requested before, by level.
        to_request: [Vec<u64>; 3],
        requested: [Vec<u64>; 3],
    },
}

impl Pending {
    fn left(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Marks up to `sent` bytes as sent and returns how many of them belong to what follows.
    fn consume(&mut self, sent: usize) -> usize {
        let mine = sent.min(self.bytes.len() - self.sent);
        self.sent += mine;
        if self.is_empty() {
            self.clear();
        }
        sent - mine
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
        self.bytes.shrink_to(JSON_BYTES * 2);
    }
}

impl OutgoingEntries {
    /// Sends the frames in `greeting` first, then the entries after `known`.
    pub(super) fn new(log: Arc<Log>, cursor: Cursor, known: u64, v2: bool, greeting: Vec<u8>) -> Self {
        let position = cursor.position();
        let wire = if v2 {
            Wire::V2 {
                header: [0; HEADER_SIZE],
                header_left: 0,
                body_left: 0,
                last: None,
                boundary: position,
                sent_to: position,
                to_request: Default::default(),
                requested: Default::default(),
            }
        } else {
            Wire::V1 { json: Pending::default(), ends: Vec::new() }
        };
        let control = Pending { bytes: greeting, sent: 0 };
        Self { log, cursor, wire, control, sent: known, requested_version: 0, loaded: None, bytes_sent: 0 }
    }

    pub(super) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Payload and frame bytes sent.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// An entry up to which all were sent whole. Cheap, but may lag by one batch; see [`Self::sent_whole`].
    #[inline]
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// The last entry that was sent whole, or an earlier one if telling needs the disk.
    pub(super) fn sent_whole(&mut self) -> u64 {
        if let Wire::V2 { boundary, sent_to, .. } = &mut self.wire
            && sent_to < boundary
            && let Some(sequence) = self.log.sequence_before(*boundary)
        {
            (self.sent, *sent_to) = (sequence, *boundary);
        }
        self.sent
    }

    /// Whether the entry was sent whole on this connection, or is from before it began.
    pub(super) fn has_sent(&mut self, sequence: u64) -> Sent {
        if sequence <= self.sent_whole() {
            return Sent::Whole;
        }
        // In v1 the end of each entry is known, so `sent` is exact.
        let Wire::V2 { body_left, boundary, sent_to, last, .. } = &self.wire else { return Sent::Not };
        if *body_left == 0 && sent_to == boundary {
            return Sent::Not;
        }
        match self.log.find_in_memory(sequence) {
            Ok(boundary) if boundary.position <= self.cursor.position() => Sent::Whole,
            Ok(_) | Err(AttachError::Ahead { .. }) => Sent::Not,
            Err(_) if *body_left > 0 && last.is_some_and(|last| sequence > last) => Sent::Not,
            Err(_) => Sent::Undecided,
        }
    }

    /// The version given to [`Self::request`] last.
    pub(super) fn requested_version(&self) -> u64 {
        self.requested_version
    }

    /// Requests an acknowledgement as soon as the reader reaches these sequences, by level. Replaces earlier ones that
    /// were not requested yet.
    pub(super) fn request(&mut self, version: u64, sequences: [Vec<u64>; 3]) {
        self.requested_version = version;
        if let Wire::V2 { to_request, .. } = &mut self.wire {
            *to_request = sequences;
        }
    }

    /// Whether a frame is half sent, so that no other frame can be sent now.
    pub(super) fn is_inside_frame(&self) -> bool {
        let is_inside_entries = match &self.wire {
            Wire::V1 { json, .. } => json.sent > 0,
            Wire::V2 { header_left, body_left, .. } => *body_left > 0 && *header_left < HEADER_SIZE,
        };
        self.control.sent > 0 || is_inside_entries
    }

    /// Takes the result of the load that [`SendOutcome::NotLoaded`] requested.
    pub(super) fn supply(&mut self, loaded: Loaded) {
        self.loaded = Some(loaded);
    }

    /// Queues a control frame, unless another one still waits to be sent: frames must not pile up for a peer that does
    /// not read.
    pub(super) fn queue_control(&mut self, frame: &[u8]) {
        if self.control.is_empty() {
            self.control.bytes.extend_from_slice(frame);
        }
    }

    /// Sends as much as the socket accepts, without blocking. `own_thread`: the caller is the reader's task, whose
    /// thread may send from files.
    pub(super) fn send(&mut self, stream: &Stream, own_thread: bool) -> SendOutcome {
        let begun = self.bytes_sent;
        loop {
            let sent = match self.wire {
                Wire::V1 { .. } => self.send_json(stream),
                Wire::V2 { .. } => self.send_batch(stream, own_thread),
            };
            let sent = match sent {
                Ok(0) => stream.try_flush().map(|()| 0).map_err(Stopped::Failed),
                sent => sent,
            };
            match sent {
                Ok(0) => return SendOutcome::AtEnd,
                Ok(bytes) => self.bytes_sent += bytes as u64,
                Err(Stopped::CutOff) => return SendOutcome::CutOff,
                Err(Stopped::NotLoaded(load)) => return SendOutcome::NotLoaded(load),
                Err(Stopped::LogFailed(error)) => return SendOutcome::LogFailed(error),
                Err(Stopped::Failed(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if self.cursor.is_cut_off() { SendOutcome::CutOff } else { SendOutcome::Blocked };
                }
                Err(Stopped::Failed(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(Stopped::Failed(error)) => return SendOutcome::Failed(error),
            }
            if self.bytes_sent - begun >= TURN_BYTES as u64 {
                return SendOutcome::More;
            }
        }
    }

    /// Makes one write, of control frames and a batch of entries. Returns 0 if there is nothing to send.
    fn send_batch(&mut self, stream: &Stream, own_thread: bool) -> Result<usize, Stopped> {
        let Wire::V2 { header, header_left, body_left, last, boundary, sent_to, to_request, requested } =
            &mut self.wire
        else {
            return Ok(0);
        };
        let fresh = *body_left == 0;
        if fresh && self.control.is_empty() {
            for ((level, to_request), requested) in AckLevel::ALL.into_iter().zip(to_request).zip(requested) {
                if to_request.is_empty() {
                    continue;
                }
                for sequence in to_request.iter().copied().filter(|sequence| !requested.contains(sequence)) {
                    self.control.bytes.extend(AckRequest { level, sequence }.encode());
                }
                *requested = std::mem::take(to_request);
            }
        }
        let shown = self.log.shown_sequence();
        let source = match SendSource::at(&self.cursor, &mut self.loaded, stream.takes_files()) {
            Ok(SendSource::File(_)) if !own_thread => return Err(Stopped::Failed(io::ErrorKind::WouldBlock.into())),
            Ok(source) => Some(source),
            Err(NoSource::AtEnd) => {
                if fresh {
                    self.sent = self.sent.max(shown);
                }
                None
            }
            // Control frames, such as the greeting or a heartbeat, do not wait for the disk.
            Err(NoSource::NotLoaded(_) | NoSource::CutOff) if fresh && !self.control.is_empty() => None,
            Err(why) => return Err(why.into()),
        };
        if fresh && let Some(source) = &source {
            *body_left = source.len();
            *header = frame::encode_header(TYPE_BATCH, *body_left).map_err(|_| Stopped::too_large(*body_left))?;
            *header_left = HEADER_SIZE;
            *last = source.last();
            if let Ok(first) = Entry::decode(source.bytes()) {
                (self.sent, *sent_to) = (first.previous, *boundary);
            }
        }
        let body = source.as_ref().map_or(&[][..], |source| &source.bytes()[..(*body_left).min(source.bytes().len())]);
        // A frame that is half sent is finished before a control frame.
        let control = if *header_left < HEADER_SIZE && *body_left > 0 { &[][..] } else { self.control.left() };
        let rest = &header[HEADER_SIZE - *header_left..];
        let sent = match &source {
            Some(SendSource::File(_)) if !(control.is_empty() && rest.is_empty()) => {
                stream.try_send_more(&[IoSlice::new(control), IoSlice::new(rest)])
            }
            Some(SendSource::File(range)) => stream.try_send_file(
                &range.file,
                range.offset,
                (*body_left).min(source.as_ref().map_or(0, SendSource::len)),
            ),
            _ if control.is_empty() && body.is_empty() => return Ok(0),
            _ => match (control.is_empty(), rest.is_empty()) {
                (true, true) => stream.try_send(&[IoSlice::new(body)]),
                (true, false) => stream.try_send(&[IoSlice::new(rest), IoSlice::new(body)]),
                _ => stream.try_send(&[IoSlice::new(control), IoSlice::new(rest), IoSlice::new(body)]),
            },
        }
        .map_err(Stopped::Failed)?;
        let of_control = sent.min(control.len());
        self.control.consume(of_control);
        let of_header = (sent - of_control).min(*header_left);
        *header_left -= of_header;
        let of_body = sent - of_control - of_header;
        *body_left -= of_body;
        if of_body > 0 {
            drop(source);
            self.cursor.advance(of_body);
            if *body_left == 0 {
                *boundary = self.cursor.position();
                if let Some(last) = *last {
                    (self.sent, *sent_to) = (last, *boundary);
                }
            }
        }
        Ok(sent)
    }

    /// Makes one write, of control and JSON frames; encodes more entries when all were sent. Returns 0 if there is
    /// nothing to send.
    fn send_json(&mut self, stream: &Stream) -> Result<usize, Stopped> {
        let Wire::V1 { json, ends } = &mut self.wire else { return Ok(0) };
        if json.is_empty() {
            ends.clear();
            match SendSource::at(&self.cursor, &mut self.loaded, false) {
                Ok(source) => {
                    let mut entries = Entries::new(source.bytes());
                    while json.bytes.len() < JSON_BYTES {
                        let Some(entry) = entries.next() else { break };
                        message::encode_entry(&mut json.bytes, entry.sequence, entry.timestamp_us, Some(entry.payload))
                            .map_err(|_| Stopped::too_large(entry.payload.len()))?;
                        ends.push((json.bytes.len(), entry.sequence));
                    }
                    let encoded = source.bytes().len() - entries.rest().len();
                    drop(source);
                    self.cursor.advance(encoded);
                }
                Err(NoSource::AtEnd) => {}
                Err(NoSource::NotLoaded(_) | NoSource::CutOff) if !self.control.is_empty() => {}
                Err(why) => return Err(why.into()),
            }
        }
        let sent = if json.sent > 0 {
            stream.try_send(&[IoSlice::new(json.left())])
        } else if self.control.is_empty() && json.is_empty() {
            return Ok(0);
        } else {
            stream.try_send(&[IoSlice::new(self.control.left()), IoSlice::new(json.left())])
        };
        let sent = sent.map_err(Stopped::Failed)?;
        let of_json = if json.sent > 0 { sent } else { self.control.consume(sent) };
        let sent_to = json.sent + of_json;
        let whole = ends.partition_point(|(end, _)| *end <= sent_to);
        if let Some((_, sequence)) = whole.checked_sub(1).and_then(|last| ends.get(last)) {
            self.sent = *sequence;
        }
        json.consume(of_json);
        Ok(sent)
    }
}

/// Why nothing was written.
enum Stopped {
    CutOff,
    NotLoaded(Load),
    LogFailed(Error),
    Failed(io::Error),
}

impl From<NoSource> for Stopped {
    fn from(why: NoSource) -> Self {
        match why {
            NoSource::AtEnd => Self::Failed(io::ErrorKind::WouldBlock.into()),
            NoSource::CutOff => Self::CutOff,
            NoSource::NotLoaded(load) => Self::NotLoaded(load),
            NoSource::Failed(error) => Self::LogFailed(error),
        }
    }
}

impl Stopped {
    fn too_large(bytes: usize) -> Self {
        Self::Failed(io::Error::other(format!("an entry of {bytes} bytes does not fit a frame")))
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::log::{FullPolicy, LogConfig};
    use crate::protocol::control::Heartbeat;

    /// A peer that asks for heartbeats and reads none gets one.
    #[test]
    fn p5_control_frames_do_not_pile_up() {
        let log = Arc::new(Log::new(LogConfig::new(8, 1 << 16, FullPolicy::Refuse)));
        let cursor = log.attach(0).ok().unwrap();
        let mut outgoing = OutgoingEntries::new(log, cursor, 0, true, Vec::new());
        let heartbeat = Heartbeat { last_sequence: 0, time_us: 0 }.encode();
        for _ in 0..1000 {
            outgoing.queue_control(&heartbeat);
        }
        assert_eq!(outgoing.control.left(), heartbeat);
    }
}
