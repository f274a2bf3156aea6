//! The write gate, shared by host threads that pass it or wait at it and tasks that move it. An append that may pass
//! costs one load.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::engine::writer::gate::{Gate, WriteGateConfig};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The write gate of a sender.
pub(super) struct WriteGate {
    config: WriteGateConfig,
    /// Entries are accepted while the last sequence is below this.
    shut_from: AtomicU64,
    state: Mutex<State>,
    moved: Condvar,
}

struct State {
    gate: Gate,
    /// Threads that wait at the gate.
    waiting: usize,
}

impl WriteGate {
    pub(super) fn new(config: WriteGateConfig) -> Self {
        Self {
            config,
            shut_from: AtomicU64::new(0),
            state: Mutex::new(State { gate: Gate::new(config), waiting: 0 }),
            moved: Condvar::new(),
        }
    }

    pub(super) fn config(&self) -> &WriteGateConfig {
        &self.config
    }

    /// Whether an entry after `last` is accepted.
    #[inline]
    pub(super) fn is_open(&self, last: u64) -> bool {
        last < self.shut_from.load(Ordering::Relaxed)
    }

    /// How many entries were refused, and how often the gate closed.
    pub(super) fn counts(&self) -> (u64, u64) {
        self.state.lock().gate.counts()
    }

    /// Wakes the threads that wait at the gate, because their entries are to be refused for another reason.
    pub(super) fn wake(&self) {
        drop(self.state.lock());
        self.moved.notify_all();
    }

    /// Locks the gate. Read the readers' positions after this: then the later of two threads sees what both have
    /// stored.
    pub(super) fn hold(&self) -> GateGuard<'_> {
        GateGuard { gate: self, state: self.state.lock() }
    }
}

/// The locked gate.
pub(super) struct GateGuard<'a> {
    gate: &'a WriteGate,
    state: MutexGuard<'a, State>,
}

impl GateGuard<'_> {
    /// Sets the sequence at which the gate is closed, and wakes waiting threads if an entry after `last` may pass.
    pub(super) fn shut_from(&self, sequence: u64, last: u64) {
        self.gate.shut_from.store(sequence, Ordering::Relaxed);
        if last < sequence && self.state.waiting > 0 {
            self.gate.moved.notify_all();
        }
    }

    /// Releases the lock and waits until the gate moves or `deadline` passes.
    pub(super) fn wait(mut self, deadline: Option<Instant>) -> Self {
        self.state.waiting += 1;
        self.state = self.gate.moved.wait(self.state, deadline);
        self.state.waiting -= 1;
        self
    }
}

impl Deref for GateGuard<'_> {
    type Target = Gate;

    fn deref(&self) -> &Gate {
        &self.state.gate
    }
}

impl DerefMut for GateGuard<'_> {
    fn deref_mut(&mut self) -> &mut Gate {
        &mut self.state.gate
    }
}
