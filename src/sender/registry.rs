//! The readers of a sender by id: who is connected, and how far the ones that left had come.

use std::collections::HashMap;
use std::sync::Arc;

use super::AckLevel;
use super::acks::{Readers, Wish};
use super::config::SenderConfig;
use super::quorum::{Groups, Quorum, Reached, Tally};
use super::reader::Reader;
use crate::error::{Result, Status};
use crate::protocol::control::Positions;
use crate::sync::Mutex;

/// What is known of one reader id.
#[derive(Default)]
struct Record {
    /// What it had acknowledged when its last connection ended.
    before: Positions,
    connected: Option<Arc<Reader>>,
    /// The groups it belongs to, as bits.
    groups: u64,
    /// Connections that ended with an error.
    errors: u64,
}

impl Record {
    fn positions(&self) -> Positions {
        self.connected.as_ref().map_or(self.before, |reader| reader.positions())
    }
}

fn connected(records: &HashMap<String, Record>) -> impl Iterator<Item = &Arc<Reader>> {
    records.values().filter_map(|record| record.connected.as_ref())
}

/// All reader ids of a sender. Ids that are not connected are remembered up to a bound.
pub(super) struct Registry {
    records: Mutex<HashMap<String, Record>>,
    max_readers: usize,
    max_known: usize,
    groups: Groups,
}

/// The position at one level.
pub(super) fn at(positions: Positions, level: AckLevel) -> u64 {
    match level {
        AckLevel::Received => positions.received,
        AckLevel::Durable => positions.durable,
        AckLevel::Applied => positions.applied,
    }
}

impl Registry {
    pub(super) fn new(config: &SenderConfig) -> Self {
        Self {
            records: Mutex::new(HashMap::new()),
            max_readers: config.max_readers,
            max_known: config.known_readers(),
            groups: config.groups.clone(),
        }
    }

    /// The quorum of these terms in terms of the groups.
    pub(super) fn quorum(&self, terms: &[(Option<&str>, usize)]) -> Result<Quorum> {
        self.groups.quorum(terms, self.max_known)
    }

    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Enters a new connection and gives the positions that were known of its id. One with the same id is told to close:
    /// the new one stays. `None`: there is no room.
    pub(super) fn enter(&self, reader: &Arc<Reader>) -> Option<Positions> {
        let mut records = self.records.lock();
        if !self.has_room(&mut records, &reader.id) {
            return None;
        }
        let groups = || Record { groups: self.groups.of(&reader.id), ..Record::default() };
        let record = records.entry(reader.id.clone()).or_insert_with(groups);
        let before = record.positions();
        let known = reader.started_after;
        let Positions { durable, applied, .. } = record.before;
        reader.acknowledge(Positions { received: known, durable: durable.min(known), applied: applied.min(known) });
        reader.set_errors(record.errors);
        if let Some(replaced) = record.connected.replace(Arc::clone(reader)) {
            replaced.close(
                Status::Replaced,
                "another connection with the same reader id took its place; two readers must not have one id",
            );
        }
        Some(before)
    }

    /// Whether `id` may connect: in the place of its own connection, or as one more. A new id takes the room of one that is
    /// not connected if there are many.
    fn has_room(&self, records: &mut HashMap<String, Record>, id: &str) -> bool {
        let known = records.get(id);
        if known.is_some_and(|record| record.connected.is_some()) {
            return true;
        }
        let is_new = known.is_none();
        if connected(records).count() >= self.max_readers {
            return false;
        }
        if is_new && records.len() >= self.max_known {
            let gone = records.iter().find(|(_, record)| record.connected.is_none());
            if let Some(id) = gone.map(|(id, _)| id.clone()) {
                records.remove(&id);
            }
        }
        true
    }

    /// Takes a connection out that ended, unless another one took its place already.
    pub(super) fn leave(&self, reader: &Arc<Reader>, failed: bool) {
        let mut records = self.records.lock();
        let Some(record) = records.get_mut(&reader.id) else { return };
        record.errors += u64::from(failed);
        if record.connected.as_ref().is_some_and(|connected| Arc::ptr_eq(connected, reader)) {
            record.connected = None;
            record.before = reader.positions();
        }
    }

    /// The connected reader with this id.
    pub(super) fn get(&self, id: &str) -> Option<Arc<Reader>> {
        self.records.lock().get(id)?.connected.clone()
    }

    /// All connected readers.
    pub(super) fn connected(&self) -> Vec<Arc<Reader>> {
        connected(&self.records.lock()).cloned().collect()
    }

    /// How many readers are connected.
    pub(super) fn count(&self) -> usize {
        connected(&self.records.lock()).count()
    }

    /// Where the connected readers are at `level`, in no order.
    pub(super) fn connected_at(&self, level: AckLevel, positions: &mut Vec<u64>) {
        positions.clear();
        positions.extend(connected(&self.records.lock()).map(|reader| at(reader.positions(), level)));
    }
}

impl Readers for Registry {
    /// How far every known reader is at `level`, connected or not.
    fn tally(&self, level: AckLevel) -> Tally {
        let records = self.records.lock();
        Tally::new(records.values().map(|record| (at(record.positions(), level), record.groups)))
    }

    fn look(&self, wish: &Wish) -> Reached {
        let records = self.records.lock();
        let there = records.values().filter(|record| at(record.positions(), wish.level) >= wish.sequence);
        wish.quorum.count(there.map(|record| record.groups))
    }
}
