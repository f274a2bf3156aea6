//! What the parts of a running sender share.

use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};

use super::acks::{AckBoard, Work};
use super::config::SenderConfig;
use super::gate::WriteGate;
use super::life::Life;
use super::milestones::Milestones;
use super::reader::Reader;
use super::registry::Registry;
use super::report::Report;
use super::slots::{Around, Slots};
use super::spin_wait::SpinWait;
use super::tasks::Tasks;
use crate::clock::{self, boot_us};
use crate::engine::writer::admit::Medium;
use crate::engine::writer::peer::Backlog;
use crate::host::Mailbox;
use crate::log::Log;
use crate::protocol::control::AckLevel;
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::lineage::Lineage;
use crate::text::Escaped;

/// The most handshakes under way at once. Further connections are closed at once.
pub(super) const MAX_HANDSHAKES: usize = 256;

/// The entry after which the log begins, and `inherited_from`: no reader can prove that it has the entries up to there,
/// because the host configured only their last sequence and no history.
fn beginning(log: &Log) -> (u64, u64) {
    let begin = log.disk().map_or_else(|| log.last_mark(), |disk| disk.oldest());
    (begin.sequence, if begin.hash == UNKNOWN_HISTORY { begin.sequence } else { 0 })
}

/// The shared part of a sender.
pub(super) struct Core {
    pub(super) config: SenderConfig,
    pub(super) lineage: Lineage,
    pub(super) log: Arc<Log>,
    /// The last entry in the log when the sender was created.
    pub(super) began_at: u64,
    /// The slots, when the log is on disk.
    pub(super) slots: Option<Slots>,
    pub(super) readers: Registry,
    pub(super) acks: AckBoard,
    pub(super) spin_wait: SpinWait,
    pub(super) write_gate: Option<WriteGate>,
    pub(super) mailbox: Arc<Mailbox<Work>>,
    pub(super) report: Report,
    pub(super) milestones: Milestones,
    pub(super) life: Life,
    /// Wakes every reader's task that sleeps at the log's end.
    pub(super) end_moved: Notify,
    pub(super) handshakes: Arc<Semaphore>,
    /// Ended connections whose readers may still read the reason.
    pub(super) farewells: Semaphore,
    pub(super) tasks: Arc<Tasks>,
}

impl Core {
    pub(super) fn new(config: SenderConfig, lineage: Lineage, log: Arc<Log>, slots: Option<Slots>) -> Self {
        let mailbox = Arc::new(Mailbox::new(Work::default()));
        let (origin, inherited_from) = beginning(&log);
        Self {
            // Enough for all connected readers at once, and for those that connect and are refused meanwhile.
            farewells: Semaphore::new(config.max_readers.saturating_add(MAX_HANDSHAKES).min(Semaphore::MAX_PERMITS)),
            readers: Registry::new(&config, (origin, inherited_from), log.last_sequence()),
            acks: AckBoard::new(Arc::clone(&mailbox), config.max_pending_acks, inherited_from),
            spin_wait: SpinWait::new(),
            write_gate: config.write_gate.map(WriteGate::new),
            config,
            lineage,
            began_at: log.last_sequence(),
            slots,
            report: Report::new(Arc::clone(&mailbox), lineage.epoch),
            mailbox,
            milestones: Milestones::new(boot_us(), log.last_sequence()),
            log,
            life: Life::new(),
            end_moved: Notify::new(),
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            tasks: Arc::default(),
        }
    }

    /// Requests acknowledgements from readers as soon as they reach `sequence` at `level`.
    pub(super) fn ask(&self, level: AckLevel, sequence: u64) {
        if self.acks.ask(level, sequence) {
            self.end_moved.notify_waiters();
        }
    }

    pub(super) fn around_slots(&self) -> Around<'_> {
        Around { log: &self.log, readers: &self.readers }
    }

    /// Moves slots to what their readers acknowledged, and reports what became of them.
    pub(super) fn look_after_slots(&self) {
        if let Some(slots) = &self.slots {
            self.report.events(slots.look_after(self.around_slots(), clock::now()));
        }
    }

    /// What the reader still has to receive, and how much of that the window, or its slot, can hold.
    pub(super) fn backlog(&self, reader: &Reader) -> (Backlog, Backlog) {
        let (config, position) = (&self.config, reader.position());
        if let Some(storage) = &config.storage {
            let bytes = self.log.end().saturating_sub(position);
            return (Backlog { bytes, entries: 0 }, Backlog { bytes: storage.slot_max_bytes, entries: u64::MAX });
        }
        let allowed = Backlog { bytes: config.buffer_bytes, entries: config.buffer_size as u64 };
        if position >= self.log.end() {
            return (Backlog { bytes: 0, entries: 0 }, allowed);
        }
        // Chunks count in full, because the unused bytes at their ends take memory too.
        let bytes = self.log.bytes_from(position);
        let entries = self.log.last_sequence().saturating_sub(reader.sent_whole());
        (Backlog { bytes, entries }, allowed)
    }

    /// Whether the log keeps its entries in memory or on disk.
    pub(super) fn medium(&self) -> Medium {
        if self.config.storage.is_some() { Medium::Disk } else { Medium::Memory }
    }

    /// The connected readers that lack entries, as text.
    pub(super) fn readers_behind(&self) -> Vec<String> {
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
}
