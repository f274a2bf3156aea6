//! The callback thread's inbox: the events and the work that other threads queue for it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::delivery::Delivery;
use crate::error::Result;
use crate::host::{Event, Mailbox};
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

/// The inbox of the callback thread.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) mailbox: Mailbox<Queue>,
    /// The thread has work besides applying entries.
    pub(super) attention: AtomicBool,
}

impl Inbox {
    /// Queues an event for the host.
    pub(super) fn event(&self, event: Event) {
        self.mailbox.event(event);
        // Afterwards, or the thread could check for work before the event is there, and then apply a long delivery.
        self.interrupt();
    }

    /// Queues work and wakes the thread.
    pub(super) fn enqueue(&self, leave: impl FnOnce(&mut Queue)) {
        // Under the lock, so that the thread does not go to sleep in between.
        leave(&mut self.mailbox.lock().work);
        self.interrupt();
        self.mailbox.notify();
    }

    /// Wakes the thread, and makes it check for work even in the middle of a long delivery.
    pub(super) fn wake(&self) {
        self.enqueue(|_| {});
    }

    /// The bytes of entries that are received and not yet applied.
    pub(super) fn unapplied_bytes(&self) -> u64 {
        self.mailbox.lock().work.bytes as u64
    }

    /// Makes the thread check for work after the present call of the handler.
    pub(super) fn interrupt(&self) {
        self.attention.store(true, Ordering::SeqCst);
    }
}
