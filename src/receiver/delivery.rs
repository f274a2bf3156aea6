//! Checked entries between the connection's task and the callback thread.

use bytes::{Buf, Bytes};

use crate::clock::Now;
pub(super) use crate::engine::reader::stream::Before;
use crate::protocol::control::TYPE_BATCH;
use crate::protocol::{HEADER_SIZE, MAX_MESSAGE_SIZE, frame};

/// Checked entries on their way to the handler: frames as they arrived.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    bytes: Bytes,
    /// Bytes of a batch that was begun before.
    batch_left: usize,
    /// What lies before its first entry.
    before: Before,
    /// When it came.
    received: Now,
}

impl Delivery {
    /// Frames as they arrived. The first bytes of them, up to `batch_left`, belong to a batch that was begun before.
    pub(super) fn of_frames(bytes: Bytes, batch_left: usize, before: Before, received: Now) -> Self {
        Self { bytes, batch_left, before, received }
    }

    /// Consecutive entries, read from disk.
    pub(super) fn of_entries(bytes: Bytes, before: Before, received: Now) -> Self {
        Self { batch_left: bytes.len(), bytes, before, received }
    }

    pub(super) fn received(&self) -> Now {
        self.received
    }

    pub(super) fn before(&self) -> Before {
        self.before
    }

    /// The next stretch of entries that lie in one piece; empty when there is none left.
    pub(super) fn entries(&mut self) -> &[u8] {
        while self.batch_left == 0 && self.bytes.len() >= HEADER_SIZE {
            // These bytes were parsed once; what is no batch has been dealt with.
            let Ok(frame) = frame::decode_header(&self.bytes, MAX_MESSAGE_SIZE) else { break };
            let Some(header) = frame else { break };
            self.bytes.advance(HEADER_SIZE);
            match header.kind {
                TYPE_BATCH => self.batch_left = header.payload_len,
                _ => self.bytes.advance(header.payload_len.min(self.bytes.len())),
            }
        }
        &self.bytes[..self.batch_left.min(self.bytes.len())]
    }

    /// Lets go of `bytes` of entries at the front.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
        self.batch_left -= bytes;
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}
