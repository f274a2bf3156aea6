//! The work that other threads queue for the callback thread.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use tokio::sync::oneshot;

use super::delivery::Delivery;
use crate::error::Result;
use crate::protocol::lineage::Lineage;

/// A connection that the host's connect handler is to make.
pub(super) struct Dial {
    /// The address.
    pub(super) address: String,
    pub(super) answer: oneshot::Sender<io::Result<OwnedFd>>,
}

/// A lineage that the callback thread is to make durable, and the channel for the outcome.
pub(super) type Adoption = (Lineage, oneshot::Sender<Result<()>>);

/// The work of the callback thread besides events.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) deliveries: VecDeque<Delivery>,
    /// How many of them, from the front, the local log has.
    pub(super) stored: usize,
    /// The bytes of `deliveries` and of the one being applied.
    pub(super) bytes: usize,
    pub(super) paused: bool,
    /// The handler may be running.
    pub(super) applying: bool,
    /// A connection to make.
    pub(super) dial: Option<Dial>,
    /// A lineage to store in the local log's directory before its writer is followed.
    pub(super) adopt: Option<Adoption>,
}
