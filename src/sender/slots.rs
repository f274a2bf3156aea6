//! The slots of a sender, which its tasks share, and their file.
//!
//! The file follows within a [`ROUND`]. That is safe for a slot that moved forward: the file then holds more of the log
//! than is needed. A slot that is new or moved back is in the file before its reader gets the SyncAck, unless the disk
//! fails, which is reported, or takes longer than [`PATIENCE`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::config::StorageConfig;
use super::reader::Reader;
use super::registry::Registry;
use crate::clock;
use crate::engine::access::rights::Rights;
use crate::engine::writer::slot::{Record, Seen};
use crate::engine::writer::slots::{HeldSlot, SlotLimits, SlotStats, Surroundings, Table};
use crate::engine::writer::standing::Claim;
use crate::error::Result;
use crate::host::Event;
use crate::log::disk::Dir;
use crate::log::disk::slots::{MAX_SLOTS, SlotFile, SlotRecord, SlotState};
use crate::log::{Log, Mark, RETRY};
use crate::runtime::timeout;
use crate::sync::Mutex;
use crate::threads;

/// How often slots are moved and written.
pub(super) const ROUND: Duration = Duration::from_secs(1);

/// How long a reader waits for its slot to be in the file. If the disk takes longer, the reader is served all the same.
const PATIENCE: Duration = Duration::from_secs(1);

/// The log that slots hold, and the readers that they are for.
///
/// The log's floor is set under the lock of the slots, so that of two threads the later one sets it for both.
struct Around {
    log: Arc<Log>,
    readers: Arc<Registry>,
}

fn limits(config: &StorageConfig, max: usize) -> SlotLimits {
    SlotLimits { slots: max.min(MAX_SLOTS), bytes: config.slot_max_bytes, expiry: config.slot_expiry }
}

/// The slots of a sender with a log on disk.
pub(super) struct Slots {
    around: Around,
    /// Held from the moment the changes are taken from the table until the file has them, so that the later version is
    /// stored later.
    file: Mutex<SlotFile>,
    table: Mutex<Table>,
    /// A reader waits for the file.
    awaited: Notify,
    /// The version of the table that was last written, or could not be.
    saved: watch::Sender<u64>,
}

impl Slots {
    /// Loads the slots from the file, and has the log hold what they need.
    pub(super) fn load(
        dir: Arc<Dir>,
        config: &StorageConfig,
        max: usize,
        log: Arc<Log>,
        readers: Arc<Registry>,
    ) -> Result<Self> {
        let (file, slots) = SlotFile::load_in(dir)?;
        let records = slots.into_iter().map(|(id, record)| (id, record.into()));
        let mut table = Table::new(records, limits(config, max), clock::now(), clock::instant());
        table.begin(log.end(), &log.last_mark());
        log.hold_from(table.held_from());
        Ok(Self {
            around: Around { log, readers },
            file: Mutex::new(file),
            table: Mutex::new(table),
            awaited: Notify::new(),
            saved: watch::Sender::new(0),
        })
    }

    /// Other limits from now on.
    pub(super) fn set_limits(&self, config: &StorageConfig, max: usize) {
        self.table.lock().set_limits(limits(config, max));
    }

    /// See [`Table::enter`].
    pub(super) fn enter(&self, reader: &Reader, claim: Claim, mark: &Mark) -> (Option<u64>, Vec<Event>) {
        let now = clock::now();
        let mut table = self.table.lock();
        let entered = table.enter(&self.around, &reader.id, claim.proven, mark, now);
        self.around.log.hold_from(table.held_from());
        entered
    }

    /// See [`Table::leave`]. Does nothing if another connection has the reader's id by now: its own claim counts.
    pub(super) fn leave(&self, reader: &Arc<Reader>) {
        let mut table = self.table.lock();
        // Under the lock: another connection is registered before it enters the table.
        if self.around.readers.get(&reader.id).is_some_and(|connected| Arc::ptr_eq(&connected, reader)) {
            table.leave(&self.around, &reader.id, clock::now(), clock::instant());
            self.around.log.hold_from(table.held_from());
        }
    }

    /// Waits until the slots in the file hold as much, so that a crash changes nothing, as far as the disk allows.
    pub(super) async fn saved(&self, version: u64) {
        self.awaited.notify_one();
        // If it cannot be written, which is reported, the reader is served all the same.
        let _ = timeout(PATIENCE, self.saved.subscribe().wait_for(|saved| *saved >= version)).await;
    }

    /// Returns when a reader waits for the file.
    pub(super) async fn awaited(&self) {
        self.awaited.notified().await;
    }

    /// The last entry that a reader has according to its slot.
    pub(super) fn vouched(&self, id: &str) -> u64 {
        self.table.lock().vouched(id)
    }

    /// How many readers were refused a slot, and how many slots were dropped for others.
    pub(super) fn counts(&self) -> (u64, u64) {
        self.table.lock().counts()
    }

    /// Drops a slot. Returns `false` if there is none.
    pub(super) fn drop_slot(&self, id: &str) -> bool {
        let mut table = self.table.lock();
        let dropped = table.drop_slot(id);
        self.around.log.hold_from(table.held_from());
        dropped
    }

    /// See [`Table::update`].
    pub(super) fn update(&self) -> Vec<Event> {
        let mut table = self.table.lock();
        let events = table.update(&self.around, clock::now(), clock::instant());
        self.around.log.hold_from(table.held_from());
        events
    }

    /// Writes the slots to their file if they changed. Blocks.
    pub(super) fn save(&self) -> Result<()> {
        let file = self.file.lock();
        let Some((records, version)) = self.table.lock().take_changes() else { return Ok(()) };
        let records = records.into_iter().map(|(id, record)| (id, record.into())).collect();
        let saved = file.store(&records).inspect_err(|_| self.table.lock().unsaved());
        self.saved.send_replace(version);
        saved
    }

    /// The same, and tries again until `deadline` if the disk refuses for now.
    pub(super) fn save_by(&self, deadline: Instant) -> Result<()> {
        loop {
            match self.save() {
                Err(error) if error.status.is_passing() && clock::instant() < deadline => threads::pause(RETRY),
                saved => return saved,
            }
        }
    }

    /// A reader's slot, and whether it has none because all are in use.
    pub(super) fn of_reader(&self, id: &str) -> (Option<HeldSlot>, bool) {
        let table = self.table.lock();
        (table.of_reader(self.around.log.end(), id), table.is_refused(id))
    }

    /// The slots, by reader id.
    pub(super) fn stats(&self) -> Vec<SlotStats> {
        self.table.lock().stats(&self.around)
    }
}

impl Surroundings for Around {
    fn end(&self) -> u64 {
        self.log.end()
    }

    fn floor(&self, sequence: u64) -> Mark {
        self.log.disk().map(|disk| disk.floor(sequence)).unwrap_or_default()
    }

    fn connected(&self) -> Vec<String> {
        self.readers.connected().into_iter().filter(may_hold).map(|reader| reader.id.clone()).collect()
    }

    fn reader(&self, id: &str) -> Option<Seen> {
        self.readers.get(id).filter(may_hold).map(|reader| seen(&reader))
    }

    fn address(&self, id: &str) -> String {
        self.readers.get(id).map(|reader| reader.stream.peer().to_owned()).unwrap_or_default()
    }
}

/// Whether a reader may have a slot.
fn may_hold(reader: &Arc<Reader>) -> bool {
    reader.rights.contains(Rights::SLOT) || mutant!("slots-without-right")
}

fn seen(reader: &Reader) -> Seen {
    // The reader may store entries in another way than before, so only this connection's acknowledgements show what it
    // keeps: the durable position if it reports one, otherwise the applied one.
    let here = reader.acknowledged_here();
    let kept = match (reader.v2, here.durable) {
        (false, _) => here.received,
        (true, 0) => here.applied,
        (true, durable) => durable,
    };
    let (received, has_acknowledged) = (reader.positions().received, reader.has_acknowledged());
    Seen { started_after: reader.started_after, kept, received, has_acknowledged }
}

impl From<SlotRecord> for Record {
    fn from(SlotRecord { position, sequence, hash, updated_us, state }: SlotRecord) -> Self {
        Self { position, sequence, hash, updated_us, is_lost: state == SlotState::Invalidated }
    }
}

impl From<Record> for SlotRecord {
    fn from(Record { position, sequence, hash, updated_us, is_lost }: Record) -> Self {
        let state = if is_lost { SlotState::Invalidated } else { SlotState::Held };
        Self { position, sequence, hash, updated_us, state }
    }
}
