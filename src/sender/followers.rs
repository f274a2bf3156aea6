//! The readers of a sender, with the hosts that wait for their acknowledgements and the entries that wait at the write
//! gate.

use std::sync::Arc;
use std::time::Instant;

use super::acks::{AckWaiters, Work};
use super::config::SenderConfig;
use super::gate::{GateGuard, WriteGate};
use super::life::Life;
use super::milestones::Milestones;
use super::reader::Reader;
use super::registry::Registry;
use super::report::SenderReport;
use super::spin_wait::SpinWait;
use crate::clock::boot_us;
use crate::engine::writer::gate::{Adjusted, GatePolicy};
use crate::engine::writer::standing::Entered;
use crate::error::Result;
use crate::host::Mailbox;
use crate::log::Log;
use crate::protocol::control::{AckLevel, Positions};
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::text::Escaped;
use crate::{clock, runtime};

/// The readers of a sender, and everything that waits for them.
pub(super) struct Followers {
    pub(super) log: Arc<Log>,
    pub(super) life: Arc<Life>,
    pub(super) report: Arc<SenderReport>,
    pub(super) readers: Arc<Registry>,
    pub(super) acks: AckWaiters,
    pub(super) spin_wait: SpinWait,
    pub(super) write_gate: Option<WriteGate>,
    pub(super) milestones: Milestones,
}

/// The entry after which the log begins, and `inherited_from`: no reader can prove that it has the entries up to there,
/// because the host configured only their last sequence and no history.
fn beginning(log: &Log) -> (u64, u64) {
    let begin = log.disk().map_or_else(|| log.last_mark(), |disk| disk.oldest());
    (begin.sequence, if begin.hash == UNKNOWN_HISTORY { begin.sequence } else { 0 })
}

impl Followers {
    /// There are no readers yet. Calls for acknowledgements go to the mailbox.
    pub(super) fn new(
        config: &SenderConfig,
        log: Arc<Log>,
        life: Arc<Life>,
        report: Arc<SenderReport>,
        mailbox: &Arc<Mailbox<Work>>,
    ) -> Self {
        let (origin, inherited_from) = beginning(&log);
        Self {
            life,
            report,
            readers: Arc::new(Registry::new(config, (origin, inherited_from), log.last_sequence())),
            acks: AckWaiters::new(Arc::clone(mailbox), config.max_pending_acks, inherited_from),
            spin_wait: SpinWait::new(),
            write_gate: config.write_gate.map(WriteGate::new),
            milestones: Milestones::new(boot_us(), log.last_sequence()),
            log,
        }
    }

    /// Requests acknowledgements from readers as soon as they reach `sequence` at `level`.
    pub(super) fn request(&self, level: AckLevel, sequence: u64) {
        if self.acks.request(level, sequence) {
            self.readers.wake_tasks();
        }
    }

    /// The connected readers that lack entries, as text.
    pub(super) fn lagging(&self) -> Vec<String> {
        let last = self.log.last_sequence();
        let readers = self.readers.connected().into_iter();
        let at = readers.map(|reader| {
            let at = if reader.v2 { reader.stands_at() } else { reader.sent_whole() };
            (reader, at)
        });
        at.filter(|(_, at)| *at < last)
            .map(|(reader, at)| format!("reader \"{}\" is at {at}", Escaped(&reader.id)))
            .collect()
    }

    /// A reader's positions moved from `before` to `now`.
    pub(super) fn reader_moved(&self, before: Positions, now: Positions) {
        // The gate first, so that a thread woken by the acknowledgement finds it open.
        if let Some(gate) = &self.write_gate {
            let level = gate.config().level;
            if now[level] > before[level] {
                self.adjust(gate, &mut gate.hold(), clock::instant());
            }
        }
        self.acks.announce(before, now, &*self.readers);
    }

    /// A reader that was at `before` has a new connection.
    pub(super) fn reader_entered(&self, before: Positions, reader: &Reader, entered: Entered) {
        if let Some(had) = entered.rewound_from {
            self.report.rewound(reader.peer(), reader.started_after, had);
        }
        self.readers_changed();
        if reader.counts() {
            self.acks.announce(before, reader.positions(), &*self.readers);
        }
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
        self.request(gate.config().level, last());
        let mut held = gate.hold();
        if let GatePolicy::Slow(limit) = gate.config().policy {
            let deadline = clock::instant().checked_add(limit);
            while !gate.is_open(last())
                && self.life.check_open().is_ok()
                && deadline.is_none_or(|deadline| clock::instant() < deadline)
            {
                self.locate(gate, &mut held);
                self.report_closed(&mut held);
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
        self.report_closed(&mut held);
        Err(refused)
    }

    fn locate(&self, gate: &WriteGate, held: &mut GateGuard) {
        self.readers.connected_at(gate.config().level, held.positions());
    }

    fn report_closed(&self, held: &mut GateGuard) {
        if let Some(event) = held.event(false, self.log.last_sequence(), clock::instant()) {
            self.report.event(event);
        }
    }

    fn adjust(&self, gate: &WriteGate, held: &mut GateGuard, now: Instant) {
        self.locate(gate, held);
        let last = self.log.last_sequence();
        let Adjusted { shut_from, request, event } = held.adjust(last, now);
        held.shut_from(shut_from, last);
        if let Some(event) = event {
            self.report.event(event);
        }
        if let Some(sequence) = request {
            self.request(gate.config().level, sequence);
        }
    }

    fn tick(&self, gate: &WriteGate, now: Instant) {
        let mut held = gate.hold();
        if let Some(sequence) = held.age(self.log.last_sequence(), now) {
            self.request(gate.config().level, sequence);
        }
        self.adjust(gate, &mut held, now);
    }
}

/// Moves the write gate as time passes.
pub(super) async fn watch_gate(followers: Arc<Followers>) {
    let Some(gate) = &followers.write_gate else { return };
    let mut ticks = runtime::interval(gate.config().tick_every());
    loop {
        ticks.tick().await;
        followers.tick(gate, clock::instant());
    }
}
