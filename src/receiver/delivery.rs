//! Checked entries, on their way from the connection's task to the callback thread.

use bytes::{Buf, Bytes};

use crate::clock::Now;
pub(super) use crate::engine::reader::stream::Before;
use crate::protocol::control::TYPE_BATCH;
use crate::protocol::{HEADER_SIZE, MAX_MESSAGE_SIZE, frame};

/// Checked entries on their way to the handler: frames as they arrived, or entries read from disk.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    bytes: Bytes,
    /// How many of the first bytes belong to a batch that began in an earlier delivery.
    batch_left: usize,
    /// The position before its first entry.
    before: Before,
    /// When it was received.
    received: Now,
}

impl Delivery {
    /// Frames as they arrived. The first `batch_left` bytes belong to a batch that began in an earlier delivery.
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

    /// The next contiguous entries; empty when none is left.
    pub(super) fn entries(&mut self) -> &[u8] {
        while self.batch_left == 0 && self.bytes.len() >= HEADER_SIZE {
            // These bytes were parsed before, and other frames than batches were handled then.
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

    /// Drops `bytes` of entries from the front.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
        self.batch_left -= bytes;
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}
