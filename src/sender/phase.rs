//! Where a sender is in its life: what its tasks are to do, and whether it takes entries.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::{Error, Result, Status};

/// Where a sender is in its life, as its tasks see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Readers get what is left, then the connections end.
    Draining,
    /// Connections end now.
    Closing,
}

/// Whether entries are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Gate {
    Open = 0,
    NotStarted = 1,
    NotWriter = 2,
    Stopped = 3,
}

/// The present [`Gate`].
pub(super) struct GateState(AtomicU8);

impl GateState {
    pub(super) fn new() -> Self {
        Self(AtomicU8::new(Gate::NotStarted as u8))
    }

    pub(super) fn get(&self) -> Gate {
        match self.0.load(Ordering::Relaxed) {
            0 => Gate::Open,
            1 => Gate::NotStarted,
            2 => Gate::NotWriter,
            _ => Gate::Stopped,
        }
    }

    /// Moves from one state to another; `false` when it was in neither.
    pub(super) fn set(&self, from: Gate, to: Gate) -> bool {
        let moved = self.0.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire);
        moved.is_ok() || moved == Err(to as u8)
    }

    pub(super) fn stop(&self) {
        self.0.store(Gate::Stopped as u8, Ordering::Release);
    }

    /// An error unless this node is a running writer.
    #[inline]
    pub(super) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) == Gate::Open as u8 { Ok(()) } else { self.not_open() }
    }

    #[cold]
    fn not_open(&self) -> Result<()> {
        match self.get() {
            Gate::Open => Ok(()),
            Gate::NotWriter => Err(Error::new(Status::NotWriter, "this node is not the writer")),
            Gate::NotStarted => Err(Error::new(Status::InvalidState, "the sender was not started: call sender_start")),
            Gate::Stopped => Err(Error::new(Status::Closed, "the sender was stopped")),
        }
    }
}
