//! The memory into which a connection's bytes are read, and from which checked entries go to the callback thread.
//!
//! Bytes are read into blocks and stay there until the handler has seen them: a v2 entry is never copied on its way.

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::config::GapPolicy;
use super::delivery::{Before, Delivery};
use crate::clock::Now;
use crate::engine::reader::stream::{Parsed, Parser};
use crate::engine::version::WireVersion;
use crate::error::Error;

/// The usual size of a block: a little more than four times what a writer of this library sends at once. TCP answers each
/// read, and within a host sends what the answer makes room for in the reader's time: the fewer reads, the better.
const BLOCK_BYTES: usize = 4 * 264 * 1024;

/// The receiving side of a connection.
pub(super) struct Inbound {
    block: BytesMut,
    /// Blocks whose entries may still be with the handler.
    retired: Vec<BytesMut>,
    block_size: usize,
    block_bytes: usize,
    max_blocks: usize,
    parser: Parser,
    /// When the last bytes came.
    received: Now,
}

impl Inbound {
    /// Blocks for about `buffer_bytes`, used by one connection after the other.
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

    /// What comes is received now.
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

    /// Free space to receive into; `None` while the handler still has all blocks. Fails without memory for more.
    pub(super) fn spare(&mut self) -> Result<Option<Limit<&mut BytesMut>>, Error> {
        let free = self.block.capacity() - self.block.len();
        let needed = self.parser.needed();
        let missing = needed.saturating_sub(self.block.len());
        // A usual element moves to a block that holds all of it, before it grows; a larger one when it must.
        let wanted = if needed <= self.block_bytes { missing.max(self.block_bytes / 16) } else { 1 };
        if free < wanted && !self.next_block()? {
            return Ok(None);
        }
        let free = self.block.capacity() - self.block.len();
        Ok(Some((&mut self.block).limit(free)))
    }

    /// Memory of which a writer decides how much is needed: having none ends the connection, not the process.
    fn new_block(&self, size: usize) -> Result<BytesMut, Error> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(size).map_err(|_| self.parser.no_memory(size))?;
        // The same memory, which nobody else holds.
        Ok(BytesMut::from(Bytes::from(memory)))
    }

    /// Goes on in another block, taking the unfinished element along. `false`: none is free.
    fn next_block(&mut self) -> Result<bool, Error> {
        // A large element's block grows with what has really arrived, whatever its header says.
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

    /// Takes out what arrived whole, and the entries of it for the callback thread.
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

    /// Where the stream is: the last sequence that was received, and the history up to it.
    pub(super) fn before(&self) -> Before {
        self.parser.before()
    }

    /// Whether something unfinished lies here.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.block.is_empty() || self.parser.is_in_batch()
    }
}

#[cfg(all(any(test, feature = "fuzzing"), not(model)))]
pub(crate) mod fuzz;
#[cfg(all(test, not(model)))]
mod tests;
