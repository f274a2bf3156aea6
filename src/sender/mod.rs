//! The writer's end: takes entries into the log and serves them to readers.

pub mod config;

use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::error::Result;
use crate::host::Observer;
use crate::protocol::lineage::Lineage;
use config::SenderConfig;

/// How sure a reader is of an entry. Numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum AckLevel {
    /// It has the bytes, checked.
    Received = 1,
    /// They are on its disk.
    Durable = 2,
    /// Its handler has applied it.
    Applied = 3,
}

/// A sender. All methods may be called from any thread.
pub struct Sender {}

#[expect(unused_variables, reason = "skeleton")]
impl Sender {
    /// Checks the configuration and makes a sender that does not run yet.
    pub fn new(config: SenderConfig, observer: Box<dyn Observer>) -> Result<Self> {
        todo!()
    }
    /// Starts its threads.
    pub fn start(&self) -> Result<()> {
        todo!()
    }
    /// Accepts readers at `address`; returns the port.
    pub fn listen(&self, address: &str) -> Result<u16> {
        todo!()
    }
    /// Takes a connection whose Sync the host has read.
    pub fn accept_reader(&self, socket: OwnedFd, reader_id: &str, last_known_sequence: u64) -> Result<()> {
        todo!()
    }
    /// Takes a connection and does the handshake.
    pub fn accept_connection(&self, socket: OwnedFd) -> Result<()> {
        todo!()
    }
    /// Puts an entry into the log; returns its sequence.
    #[inline]
    pub fn replicate(&self, timestamp_us: u64, payload: &[u8]) -> Result<u64> {
        todo!()
    }
    /// Puts entries with consecutive sequences into the log, all or none; returns the first sequence.
    pub fn replicate_batch<'a>(
        &self,
        timestamp_us: u64,
        payloads: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> Result<u64> {
        todo!()
    }
    /// Disconnects the reader.
    pub fn remove_reader(&self, reader_id: &str) -> Result<()> {
        todo!()
    }
    /// Connected readers.
    pub fn reader_count(&self) -> usize {
        todo!()
    }
    /// The sequence of the last entry.
    pub fn current_sequence(&self) -> u64 {
        todo!()
    }
    /// The lineage of its log.
    pub fn lineage(&self) -> Lineage {
        todo!()
    }
    /// Says whether this node is the writer.
    pub fn set_writable(&self, writable: bool) -> Result<()> {
        todo!()
    }
    /// Waits until `readers` readers have acknowledged `sequence` at `level`. Returns how many have; fewer than asked
    /// for means that the time passed.
    pub fn wait_acked(&self, sequence: u64, level: AckLevel, readers: usize, timeout: Duration) -> Result<usize> {
        todo!()
    }
    /// The statistics as JSON.
    pub fn stats_json(&self) -> Result<String> {
        todo!()
    }
    /// Refuses new entries, lets readers catch up, closes everything. Idempotent.
    pub fn stop(&self) -> Result<()> {
        todo!()
    }
    /// Whether the calling thread is the one that calls this handle's observer.
    pub fn on_callback_thread(&self) -> bool {
        todo!()
    }
}
