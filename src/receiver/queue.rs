//! What the callback thread finds to do, left there by the other threads.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use tokio::sync::oneshot;

use super::delivery::Delivery;
use crate::error::Result;
use crate::protocol::lineage::Lineage;

/// A connection that the host is to make.
pub(super) struct Dial {
    /// Where to.
    pub(super) address: String,
    pub(super) answer: oneshot::Sender<io::Result<OwnedFd>>,
}

/// A lineage that waits for the callback thread to make it durable, and where the outcome goes.
pub(super) type Adoption = (Lineage, oneshot::Sender<Result<()>>);

/// What waits for the callback thread besides events.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) deliveries: VecDeque<Delivery>,
    /// How many of them, from the front, are in the local log.
    pub(super) stored: usize,
    /// Bytes in `deliveries` and in the one being applied.
    pub(super) bytes: usize,
    pub(super) paused: bool,
    /// The handler may be running.
    pub(super) applying: bool,
    /// A connection is wanted.
    pub(super) dial: Option<Dial>,
    /// A lineage to be noted in the local log's directory before it is followed.
    pub(super) adopt: Option<Adoption>,
}
