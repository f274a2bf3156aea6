//! The v2 frames. Their payloads are fixed-size binary, big-endian; a longer payload than known is read as far as it is
//! known, so that later versions can add fields.
//!
//! | type | name | direction | payload |
//! |---|---|---|---|
//! | 0x20 | Batch | writer → reader | whole entries, one after another |
//! | 0x21 | Heartbeat | writer → reader | u64 last sequence, u64 time in µs since the Unix epoch |
//! | 0x22 | Ack | reader → writer | u64 received, u64 durable, u64 applied, u8 flags (bit 0: answer with a heartbeat) |
//! | 0x23 | AckRequest | writer → reader | u8 level, u64 sequence: acknowledge at once when `level` reaches `sequence` |
//!
//! Types 0x40 to 0x7F are optional: a peer that does not know one skips it. Any other unknown type ends the connection.

use std::ops::{Index, IndexMut};

use super::HEADER_SIZE;

/// Whole entries.
pub const TYPE_BATCH: u8 = 0x20;
/// A heartbeat of the writer, with the end of its log.
pub const TYPE_HEARTBEAT: u8 = 0x21;
/// An acknowledgement, which is also the reader's heartbeat.
pub const TYPE_STREAM_ACK: u8 = 0x22;
/// Asks for an acknowledgement as soon as the reader reaches a position.
pub const TYPE_ACK_REQUEST: u8 = 0x23;

/// Whether a frame of an unknown type may be skipped.
pub fn is_optional(kind: u8) -> bool {
    (0x40..=0x7F).contains(&kind)
}

/// How far a reader has processed an entry. The numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum AckLevel {
    /// The reader has received and checked it.
    Received = 1,
    /// It is on the reader's disk.
    Durable = 2,
    /// The reader's handler has applied it.
    Applied = 3,
}

impl AckLevel {
    /// Every level, by number.
    pub const ALL: [Self; 3] = [Self::Received, Self::Durable, Self::Applied];

    /// The level with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|level| *level as u32 == number)
    }

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Durable => "durable",
            Self::Applied => "applied",
        }
    }
}

/// One value for each level, in the order of [`AckLevel::ALL`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ByLevel<T>(pub [T; 3]);

impl<T> Index<AckLevel> for ByLevel<T> {
    type Output = T;

    #[inline]
    fn index(&self, level: AckLevel) -> &T {
        let [received, durable, applied] = &self.0;
        match level {
            AckLevel::Received => received,
            AckLevel::Durable => durable,
            AckLevel::Applied => applied,
        }
    }
}

impl<T> IndexMut<AckLevel> for ByLevel<T> {
    #[inline]
    fn index_mut(&mut self, level: AckLevel) -> &mut T {
        let [received, durable, applied] = &mut self.0;
        match level {
            AckLevel::Received => received,
            AckLevel::Durable => durable,
            AckLevel::Applied => applied,
        }
    }
}

/// A reader's positions. `applied` and `durable` are never beyond `received`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// Checked and in the reader's memory.
    pub received: u64,
    /// On the reader's disk.
    pub durable: u64,
    /// Applied by the reader's handler.
    pub applied: u64,
}

impl Index<AckLevel> for Positions {
    type Output = u64;

    #[inline]
    fn index(&self, level: AckLevel) -> &u64 {
        match level {
            AckLevel::Received => &self.received,
            AckLevel::Durable => &self.durable,
            AckLevel::Applied => &self.applied,
        }
    }
}

/// The writer's heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The last sequence in the writer's log.
    pub last_sequence: u64,
    /// The writer's clock, in microseconds since the Unix epoch.
    pub time_us: u64,
}

/// A reader's acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAck {
    /// Its positions.
    pub positions: Positions,
    /// Asks for a heartbeat at once.
    pub reply: bool,
}

/// A writer's request for an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckRequest {
    /// The level.
    pub level: AckLevel,
    /// The sequence that the level has to reach.
    pub sequence: u64,
}

fn frame<const N: usize>(kind: u8, fields: [&[u8]; N]) -> Vec<u8> {
    let payload: usize = fields.iter().map(|field| field.len()).sum();
    let mut out = Vec::with_capacity(HEADER_SIZE + payload);
    out.extend_from_slice(&(payload as u32 + 1).to_be_bytes());
    out.push(kind);
    for field in fields {
        out.extend_from_slice(field);
    }
    out
}

fn be64(payload: &[u8], at: usize) -> Option<u64> {
    payload.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
}

impl Heartbeat {
    /// The whole frame.
    pub fn encode(&self) -> Vec<u8> {
        frame(TYPE_HEARTBEAT, [&self.last_sequence.to_be_bytes(), &self.time_us.to_be_bytes()])
    }

    /// Reads the payload; `None` when it is too short.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        Some(Self { last_sequence: be64(payload, 0)?, time_us: be64(payload, 8)? })
    }
}

impl StreamAck {
    /// The whole frame.
    pub fn encode(&self) -> Vec<u8> {
        let Positions { received, durable, applied } = self.positions;
        let (received, durable, applied) = (received.to_be_bytes(), durable.to_be_bytes(), applied.to_be_bytes());
        frame(TYPE_STREAM_ACK, [&received, &durable, &applied, &[u8::from(self.reply)]])
    }

    /// Reads the payload; `None` when it is too short.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let positions =
            Positions { received: be64(payload, 0)?, durable: be64(payload, 8)?, applied: be64(payload, 16)? };
        Some(Self { positions, reply: payload.get(24)? & 1 != 0 })
    }
}

impl AckRequest {
    /// The whole frame.
    pub fn encode(&self) -> Vec<u8> {
        frame(TYPE_ACK_REQUEST, [&[self.level as u8], &self.sequence.to_be_bytes()])
    }

    /// Reads the payload; `None` when it is too short or the level is unknown.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let level = AckLevel::from_number((*payload.first()?).into())?;
        Some(Self { level, sequence: be64(payload, 1)? })
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_short_ones_are_refused() {
        let heartbeat = Heartbeat { last_sequence: u64::MAX, time_us: 1 };
        let positions = Positions { received: 3, durable: 2, applied: u64::MAX - 1 };
        let ack = StreamAck { positions, reply: true };
        let request = AckRequest { level: AckLevel::Durable, sequence: 1 << 63 };
        assert_eq!(Heartbeat::decode(&heartbeat.encode()[HEADER_SIZE..]), Some(heartbeat));
        assert_eq!(StreamAck::decode(&ack.encode()[HEADER_SIZE..]), Some(ack));
        assert_eq!(AckRequest::decode(&request.encode()[HEADER_SIZE..]), Some(request));
        for (length, frame) in [(16, heartbeat.encode()), (25, ack.encode()), (9, request.encode())] {
            assert_eq!(frame.len(), HEADER_SIZE + length);
            for end in 0..length {
                let short = &frame[HEADER_SIZE..HEADER_SIZE + end];
                assert!(Heartbeat::decode(short).is_none() || end >= 16);
                assert!(StreamAck::decode(short).is_none());
                assert!(AckRequest::decode(short).is_none() || end >= 9);
            }
        }
        assert_eq!(AckRequest::decode(&[4; 9]), None);
        assert_eq!(AckRequest::decode(&[0; 9]), None);
    }
}
