//! The memory into which a connection's bytes are read, and from which checked entries go to the callback thread.
//!
//! Bytes are read into blocks and stay there until the handler has had them: a v2 entry is never copied.

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::config::GapPolicy;
use super::delivery::{Before, Delivery};
use crate::clock::Now;
use crate::engine::reader::stream::{Parsed, Parser};
use crate::engine::version::WireVersion;
use crate::error::Error;

/// The usual size of a block: a little more than four times what a writer of this library sends at once. Few large
/// reads are best: TCP acknowledges each read, and on one machine the reader's thread then even does the writer's
/// sending.
const BLOCK_BYTES: usize = 4 * 264 * 1024;

/// The receiving side of a connection.
pub(super) struct Inbound {
    block: BytesMut,
    /// Blocks whose entries the handler may still use.
    retired: Vec<BytesMut>,
    block_size: usize,
    block_bytes: usize,
    max_blocks: usize,
    parser: Parser,
    /// When the last bytes arrived.
    received: Now,
}

impl Inbound {
    /// Creates blocks of about `buffer_bytes` in all, for one connection after the other.
    pub(super) fn new(buffer_bytes: u64, max_entry_bytes: u64, gap_policy: GapPolicy) -> Self {
        let block_bytes = usize::try_from(buffer_bytes / 4).unwrap_or(usize::MAX).clamp(4096, BLOCK_BYTES);
        Self {
            block: BytesMut::new(),
            retired: Vec::new(),
            block_size: block_bytes,
            block_bytes,
            max_blocks: usize::try_from(buffer_bytes).unwrap_or(usize::MAX) / block_bytes,
            parser: Parser::new(gap_policy, max_entry_bytes),
            received: Now::default(),
        }
    }

    /// Sets the time of arrival for what is received from now on.
    pub(super) fn receives_at(&mut self, now: Now) {
        self.received = now;
    }

    /// Begins a new connection's stream at `before`; `rest` came with the handshake. Fails without memory.
    pub(super) fn begin(&mut self, version: WireVersion, before: Before, rest: &[u8]) -> Result<(), Error> {
        self.parser.begin(version, before);
        self.block.clear();
        if self.spare()?.is_none() {
            (self.block, self.block_size) = (self.new_block(self.block_bytes)?, self.block_bytes);
        }
        self.block.extend_from_slice(rest);
        Ok(())
    }

    /// Free space to receive into; `None` while the handler still uses all blocks. Fails without memory for more.
    pub(super) fn spare(&mut self) -> Result<Option<Limit<&mut BytesMut>>, Error> {
        let free = self.block.capacity() - self.block.len();
        let needed = self.parser.needed();
        let missing = needed.saturating_sub(self.block.len());
        // An element of usual size moves at once to a block that holds all of it, a larger one only when it must.
        let wanted = if needed <= self.block_bytes { missing.max(self.block_bytes / 16) } else { 1 };
        if free < wanted && !self.next_block()? {
            return Ok(None);
        }
        let free = self.block.capacity() - self.block.len();
        Ok(Some((&mut self.block).limit(free)))
    }

    /// The writer decides how much memory is needed, so a lack of it ends the connection and not the process.
    fn new_block(&self, size: usize) -> Result<BytesMut, Error> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(size).map_err(|_| self.parser.no_memory(size))?;
        // This reuses the memory, since there is no other reference to it.
        Ok(BytesMut::from(Bytes::from(memory)))
    }

    /// Continues in another block, to which the unfinished element moves. Returns `false` if no block is free.
    fn next_block(&mut self) -> Result<bool, Error> {
        // The block of a large element grows with the bytes that have arrived, not with the size in its header.
        let size = self.parser.needed().min(self.block.len() * 2).max(self.block_bytes);
        let usual = size == self.block_bytes;
        let reclaimed = self.retired.iter_mut().rposition(|block| usual && block.try_reclaim(size));
        let mut next = match reclaimed {
            Some(index) => self.retired.remove(index),
            None if usual && self.retired.len() >= self.max_blocks => return Ok(false),
            None => self.new_block(size)?,
        };
        next.extend_from_slice(&self.block);
        let mut full = std::mem::replace(&mut self.block, next);
        if self.block_size == self.block_bytes {
            full.clear();
            self.retired.push(full);
        }
        self.block_size = size;
        Ok(true)
    }

    /// Parses what has arrived whole. Returns its entries as a delivery for the callback thread.
    pub(super) fn parse(&mut self) -> (Parsed, Option<Delivery>) {
        let mut decoded = Vec::new();
        let parsed = self.parser.parse(&self.block, &mut decoded);
        let Parsed { taken, batch_left, before, entries, .. } = parsed;
        let delivery = match self.parser.version() {
            WireVersion::V2 => {
                Delivery::of_frames(self.block.split_to(taken).freeze(), batch_left, before, self.received)
            }
            WireVersion::V1 { .. } => {
                self.block.advance(taken);
                Delivery::of_entries(decoded.into(), before, self.received)
            }
        };
        (parsed, Some(delivery).filter(|_| entries > 0))
    }

    /// The position of the stream: the last sequence received and the chain hash through it.
    pub(super) fn before(&self) -> Before {
        self.parser.before()
    }

    /// Whether there are bytes of an unfinished element.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.block.is_empty() || self.parser.is_in_batch()
    }
}

#[cfg(all(any(test, feature = "fuzzing"), not(feature = "model")))]
pub(crate) mod fuzz;
#[cfg(all(test, not(feature = "model")))]
mod tests;
