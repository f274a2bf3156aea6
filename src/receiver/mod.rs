//! A reader's end: follows one writer and hands its entries to the host, in order.

pub mod config;

use std::time::Duration;

use crate::error::Result;
use crate::protocol::lineage::Lineage;
use config::{ReceiverConfig, ReceiverHost};

/// A receiver. All methods may be called from any thread.
pub struct Receiver {}

#[expect(unused_variables, reason = "skeleton")]
impl Receiver {
    /// Checks the configuration and makes a receiver that does not run yet.
    pub fn new(config: ReceiverConfig, host: ReceiverHost) -> Result<Self> {
        todo!()
    }
    /// Starts its threads; connecting happens in the background.
    pub fn start(&self) -> Result<()> {
        todo!()
    }
    /// Whether a handshake has succeeded and the connection lives.
    pub fn is_connected(&self) -> bool {
        todo!()
    }
    /// The last sequence that was applied.
    pub fn last_sequence(&self) -> u64 {
        todo!()
    }
    /// The lineage it follows; `None` while unknown.
    pub fn lineage(&self) -> Option<Lineage> {
        todo!()
    }
    /// Waits until `sequence` is applied.
    pub fn wait_sequence(&self, sequence: u64, timeout: Duration) -> Result<()> {
        todo!()
    }
    /// Stops calling the handler; when it returns, no handler runs (unless called from it).
    pub fn pause(&self) -> Result<()> {
        todo!()
    }
    /// Goes on.
    pub fn resume(&self) -> Result<()> {
        todo!()
    }
    /// The statistics as JSON.
    pub fn stats_json(&self) -> Result<String> {
        todo!()
    }
    /// Ends the connection and the threads. Idempotent.
    pub fn stop(&self) -> Result<()> {
        todo!()
    }
    /// Whether the calling thread is the one that calls this handle's host.
    pub fn on_callback_thread(&self) -> bool {
        todo!()
    }
}
