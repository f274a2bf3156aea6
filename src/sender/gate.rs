//! The write gate between host threads, which pass it or wait at it, and tasks that move it. An entry that may pass
//! costs one load.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::engine::writer::gate::{Gate, WriteGateConfig};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The write gate of a sender.
pub(super) struct WriteGate {
    config: WriteGateConfig,
    /// Entries are taken while the last sequence is below this.
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

    /// Whether an entry after `last` is taken.
    #[inline]
    pub(super) fn is_open(&self, last: u64) -> bool {
        last < self.shut_from.load(Ordering::Relaxed)
    }

    /// Entries that were refused, and how often the gate was shut.
    pub(super) fn counts(&self) -> (u64, u64) {
        self.state.lock().gate.counts()
    }

    /// Ends the waits of entries that have another reason not to be taken.
    pub(super) fn wake(&self) {
        drop(self.state.lock());
        self.moved.notify_all();
    }

    /// Locks the gate. The readers' positions are to be looked up after this, so that of two threads the later one sees
    /// what both have stored.
    pub(super) fn hold(&self) -> GateGuard<'_> {
        GateGuard { gate: self, state: self.state.lock() }
    }
}

/// The gate while one thread holds it.
pub(super) struct GateGuard<'a> {
    gate: &'a WriteGate,
    state: MutexGuard<'a, State>,
}

impl GateGuard<'_> {
    /// Shuts the gate from this sequence on, and lets waiting entries look if one after `last` may pass.
    pub(super) fn shut_from(&self, sequence: u64, last: u64) {
        self.gate.shut_from.store(sequence, Ordering::Relaxed);
        if last < sequence && self.state.waiting > 0 {
            self.gate.moved.notify_all();
        }
    }

    /// Gives the lock back until the gate moves, or until `deadline`.
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
