//! The readers of a sender by id: who is connected, and how far the ones that left had come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::config::SenderConfig;
use crate::engine::writer::quorum::{Groups, Place, Quorum, Reached, Readers, Tally, Wish, is_ours};
use super::reader::Reader;
use crate::engine::writer::standing::{Claim, Entered, Known, Standing, furthest};
use crate::error::{Result, Status};
use crate::protocol::control::{AckLevel, Positions};
use crate::sync::Mutex;

/// What is known of one reader id.
struct Record {
    /// What earlier connections left, and what the present one proved when it began.
    standing: Standing,
    connected: Option<Arc<Reader>>,
    /// When its last connection ended, counted in such ends.
    left_at: u64,
    /// The groups it belongs to, as bits.
    groups: u64,
    /// Connections that ended with an error.
    errors: u64,
}

impl Record {
    fn new(groups: u64) -> Self {
        Self { standing: Standing::default(), connected: None, left_at: 0, groups, errors: 0 }
    }

    /// What counts for waits: what it acknowledged, now or before.
    fn positions(&self) -> Positions {
        let has = self.standing.has;
        self.connected.as_ref().map_or(has, |reader| furthest(has, reader.positions()))
    }

    /// Takes the connection out and keeps what it brought.
    fn disconnect(&mut self) -> Option<Arc<Reader>> {
        let reader = self.connected.take()?;
        self.standing.leave(reader.positions(), reader.sent_here());
        Some(reader)
    }

    /// Which records of readers that are gone a full table forgets first: those that never acknowledged, then those that
    /// left longest ago. One that came back before what it had acknowledged is the last.
    fn rank(&self) -> (bool, bool, u64) {
        (self.standing.rewound, self.standing.has.received > 0, self.left_at)
    }
}

fn connected(records: &BTreeMap<String, Record>) -> impl Iterator<Item = &Arc<Reader>> {
    records.values().filter_map(|record| record.connected.as_ref())
}

/// All reader ids of a sender. Ids that are not connected are remembered up to a bound.
pub(super) struct Registry {
    records: Mutex<BTreeMap<String, Record>>,
    max_readers: usize,
    max_known: usize,
    /// See `core::beginning`.
    inherited_from: u64,
    /// The entry behind which the log began when the sender was made: who stands there lacks nothing of it.
    origin: u64,
    /// The last entry that was there when the sender was made.
    began_at: u64,
    /// Connections that ended.
    ends: AtomicU64,
    /// Readers with acknowledgements that were forgotten because the table was full.
    forgotten: AtomicU64,
    groups: Groups,
}

impl Registry {
    /// `origin` and `inherited_from`: see `core::beginning`. `began_at`: the last entry that is there.
    pub(super) fn new(config: &SenderConfig, (origin, inherited_from): (u64, u64), began_at: u64) -> Self {
        Self {
            inherited_from,
            origin,
            began_at,
            ends: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            records: Mutex::new(BTreeMap::new()),
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

    /// Enters a new connection and gives the positions that were known of its id, and how it begins. One with the same id is
    /// told to close: the new one stays. `held`: what its slot shows that it acknowledged. `None`: there is no room.
    pub(super) fn enter(&self, reader: &Arc<Reader>, claim: Claim, held: u64) -> Option<(Positions, Entered)> {
        let mut records = self.records.lock();
        if !self.has_room(&mut records, &reader.id) {
            return None;
        }
        let new = || Record::new(self.groups.of(&reader.id));
        let record = records.entry(reader.id.clone()).or_insert_with(new);
        let replaced = record.disconnect();
        let before = record.standing.has;
        let known = Known { held, began_at: self.began_at };
        let entered = record.standing.enter(reader.started_after, claim, known);
        reader.begin(entered.start, entered.now);
        reader.set_errors(record.errors);
        record.connected = Some(Arc::clone(reader));
        if let Some(replaced) = replaced {
            replaced.close(
                Status::Replaced,
                "another connection with the same reader id took its place; two readers must not have one id",
            );
        }
        Some((before, entered))
    }

    /// Readers with acknowledgements that were forgotten because the table was full.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// Whether `id` may connect: in the place of its own connection, or as one more. A new id takes the room of one that is
    /// not connected if there are many.
    fn has_room(&self, records: &mut BTreeMap<String, Record>, id: &str) -> bool {
        let known = records.get(id);
        if known.is_some_and(|record| record.connected.is_some()) {
            return true;
        }
        let is_new = known.is_none();
        if connected(records).count() >= self.max_readers {
            return false;
        }
        if is_new && records.len() >= self.max_known {
            let gone = records.iter().filter(|(_, record)| record.connected.is_none());
            let first = gone.min_by_key(|(_, record)| record.rank()).map(|(id, _)| id.clone());
            if let Some(forgotten) = first.and_then(|id| records.remove(&id)) {
                self.forgotten.fetch_add(u64::from(forgotten.standing.has.received > 0), Ordering::Relaxed);
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
            record.disconnect();
            record.left_at = self.ends.fetch_add(1, Ordering::Relaxed) + 1;
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

    /// Where the connected readers are at `level`, in no order, for the write gate: what counts of their present connections
    /// alone, because who says to be an absent reader is not as near as that one was. A reader that has only said where it
    /// stands is left out, unless it says that it has nothing and cannot say more.
    pub(super) fn connected_at(&self, level: AckLevel, positions: &mut Vec<u64>) {
        positions.clear();
        let records = self.records.lock();
        let counts = |reader: &&Arc<Reader>| {
            // A v1 reader may be silent until it gets an entry, for which the gate would have to be open.
            let begins = !reader.v2 && reader.started_after <= self.origin;
            begins || reader.has_acknowledged() || reader.has_its_start()
        };
        // Before the log's origin there is nothing to lack.
        let position = |reader: &Arc<Reader>| reader.positions_for_gate()[level].max(self.origin);
        positions.extend(connected(&records).filter(counts).map(position));
    }
}

impl Readers for Registry {
    /// How far every known reader is at `level`, connected or not.
    fn tally(&self, level: AckLevel) -> Tally {
        let records = self.records.lock();
        let place = |record: &Record| Place { position: record.positions()[level], groups: record.groups };
        Tally::new(records.values().map(place)).behind(self.inherited_from)
    }

    fn look(&self, wish: &Wish) -> Reached {
        let records = self.records.lock();
        let ours = is_ours(wish.sequence, self.inherited_from);
        let has = |record: &&Record| ours && record.positions()[wish.level] >= wish.sequence;
        let there = records.values().filter(has);
        wish.quorum.count(there.map(|record| record.groups))
    }
}
