//! What goes out to one reader: a cursor, and its entries in the form that the reader understands.

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

/// Bytes one call sends before it lets others go on.
const TURN_BYTES: usize = 1 << 20;

/// JSON bytes encoded ahead for a v1 reader.
const JSON_BYTES: usize = 64 * 1024;

/// How a call of [`Outgoing::send`] ended.
pub(super) enum SendOutcome {
    /// All there is was sent.
    AtEnd,
    /// The socket takes no more now.
    Blocked,
    /// The turn is over; there is more to send.
    More,
    /// The entries after the cursor are gone.
    CutOff,
    /// Entries on disk have to be loaded before they are sent; [`Outgoing::supply`] takes the result.
    NotLoaded(Load),
    /// The connection failed.
    Failed(io::Error),
    /// The log on disk failed.
    LogFailed(Error),
}

/// The sending side of a connection. One thread at a time.
pub(super) struct Outgoing {
    log: Arc<Log>,
    cursor: Cursor,
    wire: Wire,
    /// Frames other than entries. They go out between entries' frames.
    control: Pending,
    /// The last entry known to have been sent whole.
    sent: u64,
    /// What was loaded from disk.
    loaded: Option<Loaded>,
    /// The version of what is asked for.
    asked: u64,
    /// Payload and frame bytes sent.
    bytes_sent: u64,
}

/// Bytes of which some were sent.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    sent: usize,
}

enum Wire {
    /// JSON frames, encoded for this reader alone, and where each ends, with its entry.
    V1 { json: Pending, ends: Vec<(usize, u64)> },
    /// Batches straight from the log.
    V2 {
        header: [u8; HEADER_SIZE],
        header_left: usize,
        body_left: usize,
        /// The last entry of the batch, where that is known before it is sent.
        last: Option<u64>,
        /// The position after the last batch that was sent whole.
        boundary: u64,
        /// The same of the last such batch whose last entry `sent` takes account of.
        sent_to: u64,
        /// By level, the acknowledgements to ask for, and those that were asked for.
        wanted: [Vec<u64>; 3],
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

    /// Takes account of `sent` bytes and returns how many belong to what comes after.
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

impl Outgoing {
    /// Begins after the entry `known` with the frames in `greeting`.
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
                wanted: Default::default(),
                requested: Default::default(),
            }
        } else {
            Wire::V1 { json: Pending::default(), ends: Vec::new() }
        };
        let control = Pending { bytes: greeting, sent: 0 };
        Self { log, cursor, wire, control, sent: known, asked: 0, loaded: None, bytes_sent: 0 }
    }

    pub(super) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Payload and frame bytes sent.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// An entry up to which all were sent whole. Costs nothing, and may be a batch behind.
    #[inline]
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// The last entry that was sent whole, as near as is known without reading the disk: an earlier one, never a later one.
    pub(super) fn sent_whole(&mut self) -> u64 {
        if let Wire::V2 { boundary, sent_to, .. } = &mut self.wire
            && sent_to < boundary
            && let Some(sequence) = self.log.sequence_before(*boundary)
        {
            (self.sent, *sent_to) = (sequence, *boundary);
        }
        self.sent
    }

    /// Whether the entry was sent whole on this connection, or lies before its beginning.
    pub(super) fn has_sent(&mut self, sequence: u64) -> Sent {
        if sequence <= self.sent_whole() {
            return Sent::Whole;
        }
        // Encoded entries are known each by itself.
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

    /// The version given to `ask` last.
    pub(super) fn asked(&self) -> u64 {
        self.asked
    }

    /// Has the reader asked to tell as soon as it reaches these sequences, by level, in place of those given before.
    pub(super) fn ask(&mut self, version: u64, sequences: [Vec<u64>; 3]) {
        self.asked = version;
        if let Wire::V2 { wanted, .. } = &mut self.wire {
            *wanted = sequences;
        }
    }

    /// Whether a frame was begun and not finished: nothing else can be said to the reader then.
    pub(super) fn is_inside_frame(&self) -> bool {
        let is_inside_entries = match &self.wire {
            Wire::V1 { json, .. } => json.sent > 0,
            Wire::V2 { header_left, body_left, .. } => *body_left > 0 && *header_left < HEADER_SIZE,
        };
        self.control.sent > 0 || is_inside_entries
    }

    /// Takes what [`SendOutcome::NotLoaded`] wanted loaded.
    pub(super) fn supply(&mut self, loaded: Loaded) {
        self.loaded = Some(loaded);
    }

    /// Adds a frame to go out at the next boundary, unless another one still waits for the reader to take it: a peer
    /// that does not read cannot make frames pile up.
    pub(super) fn say(&mut self, frame: &[u8]) {
        if self.control.is_empty() {
            self.control.bytes.extend_from_slice(frame);
        }
    }

    /// Sends what the socket takes, without waiting. `own_thread`: this thread is the library's, and may send from files.
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

    /// One write of control frames, and entries as they lie in the log after a batch header. `Ok(0)`: nothing to send.
    fn send_batch(&mut self, stream: &Stream, own_thread: bool) -> Result<usize, Stopped> {
        let Wire::V2 { header, header_left, body_left, last, boundary, sent_to, wanted, requested } = &mut self.wire
        else {
            return Ok(0);
        };
        let fresh = *body_left == 0;
        if fresh && self.control.is_empty() {
            for ((level, wanted), requested) in AckLevel::ALL.into_iter().zip(wanted).zip(requested) {
                if wanted.is_empty() {
                    continue;
                }
                for sequence in wanted.iter().copied().filter(|sequence| !requested.contains(sequence)) {
                    self.control.bytes.extend(AckRequest { level, sequence }.encode());
                }
                *requested = std::mem::take(wanted);
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
            // What is to be said goes first: a greeting, or a heartbeat that does not wait for the disk.
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
        // A frame that was begun is finished before anything else is said.
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
        let said = sent.min(control.len());
        self.control.consume(said);
        let of_header = (sent - said).min(*header_left);
        *header_left -= of_header;
        let of_body = sent - said - of_header;
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

    /// One write of JSON frames, encoding more entries when all were sent. `Ok(0)`: nothing to send.
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

/// Why a write did not happen.
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

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;
    use crate::log::{FullPolicy, LogConfig};
    use crate::protocol::control::Heartbeat;

    /// A peer that asks for heartbeats and reads none gets one.
    #[test]
    fn p5_control_frames_do_not_pile_up() {
        let log = Arc::new(Log::new(LogConfig::new(8, 1 << 16, FullPolicy::Refuse)));
        let cursor = log.attach(0).ok().unwrap();
        let mut outgoing = Outgoing::new(log, cursor, 0, true, Vec::new());
        let heartbeat = Heartbeat { last_sequence: 0, time_us: 0 }.encode();
        for _ in 0..1000 {
            outgoing.say(&heartbeat);
        }
        assert_eq!(outgoing.control.left(), heartbeat);
    }
}
