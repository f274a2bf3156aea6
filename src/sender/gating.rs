//! Updates the write gate and the waits for acknowledgements when readers move, connect or leave; and passes entries
//! through the gate.

use std::sync::Arc;
use std::time::Instant;

use super::core::Core;
use super::gate::{GateGuard, WriteGate};
use super::reader::Reader;
use crate::engine::writer::gate::{Adjusted, GatePolicy};
use crate::engine::writer::standing::Entered;
use crate::error::Result;
use crate::protocol::control::Positions;
use crate::{clock, runtime};

impl Core {
    /// A reader's positions moved from `before` to `now`.
    pub(super) fn reader_moved(&self, before: Positions, now: Positions) {
        // The gate first, so that a thread woken by the acknowledgement finds it open.
        if let Some(gate) = &self.write_gate {
            let level = gate.config().level;
            if now[level] > before[level] {
                self.adjust(gate, &mut gate.hold(), clock::instant());
            }
        }
        self.acks.announce(before, now, &self.readers);
    }

    /// A reader that was at `before` has a new connection.
    pub(super) fn reader_came(&self, before: Positions, reader: &Reader, entered: Entered) {
        if let Some(had) = entered.rewound_from {
            self.report.rewound(reader.peer(), reader.started_after, had);
        }
        self.readers_changed();
        self.acks.announce(before, reader.positions(), &self.readers);
    }

    /// A reader connected, left, or acknowledged something that counts for the gate only.
    #[cold]
    pub(super) fn readers_changed(&self) {
        if let Some(gate) = &self.write_gate {
            self.adjust(gate, &mut gate.hold(), clock::instant());
        }
    }

    /// Wakes entries that wait at the gate, because they are to be refused for another reason.
    pub(super) fn wake_gated(&self) {
        if let Some(gate) = &self.write_gate {
            gate.wake();
        }
    }

    /// Passes `count` entries through the write gate, or returns why they may not pass.
    #[inline]
    pub(super) fn pass_gate(&self, count: u64) -> Result<()> {
        match &self.write_gate {
            Some(gate) if !gate.is_open(self.log.last_sequence()) => self.wait_at(gate, count),
            _ => Ok(()),
        }
    }

    #[cold]
    fn wait_at(&self, gate: &WriteGate, count: u64) -> Result<()> {
        let last = || self.log.last_sequence();
        // Readers may have reached the entries already without having acknowledged them.
        self.ask(gate.config().level, last());
        let mut held = gate.hold();
        if let GatePolicy::Slow(limit) = gate.config().policy {
            let deadline = clock::instant().checked_add(limit);
            while !gate.is_open(last())
                && self.life.check_open().is_ok()
                && deadline.is_none_or(|deadline| clock::instant() < deadline)
            {
                self.locate(gate, &mut held);
                self.tell_shut(&mut held);
                held = held.wait(deadline);
            }
        }
        // A sender that was stopped meanwhile refuses for that reason.
        self.life.check_open()?;
        if gate.is_open(last()) {
            return Ok(());
        }
        self.locate(gate, &mut held);
        let refused = held.refuse(count, last());
        self.tell_shut(&mut held);
        Err(refused)
    }

    fn locate(&self, gate: &WriteGate, held: &mut GateGuard) {
        self.readers.connected_at(gate.config().level, held.positions());
    }

    fn tell_shut(&self, held: &mut GateGuard) {
        if let Some(event) = held.event(false, self.log.last_sequence(), clock::instant()) {
            self.mailbox.event(event);
        }
    }

    fn adjust(&self, gate: &WriteGate, held: &mut GateGuard, now: Instant) {
        self.locate(gate, held);
        let last = self.log.last_sequence();
        let Adjusted { shut_from, ask, event } = held.adjust(last, now);
        held.shut_from(shut_from, last);
        if let Some(event) = event {
            self.mailbox.event(event);
        }
        if let Some(sequence) = ask {
            self.ask(gate.config().level, sequence);
        }
    }

    fn tick(&self, gate: &WriteGate, now: Instant) {
        let mut held = gate.hold();
        if let Some(sequence) = held.age(self.log.last_sequence(), now) {
            self.ask(gate.config().level, sequence);
        }
        self.adjust(gate, &mut held, now);
    }
}

/// Moves the write gate as time passes.
pub(super) async fn watch(core: Arc<Core>) {
    let Some(gate) = &core.write_gate else { return };
    let mut ticks = runtime::interval(gate.config().tick_every());
    loop {
        ticks.tick().await;
        core.tick(gate, clock::instant());
    }
}
