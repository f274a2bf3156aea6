//! The readers of a sender by id, shared by the tasks that serve them and the host threads that wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::config::SenderConfig;
use super::reader::Reader;
use crate::engine::access::rights::Rights;
use crate::engine::access::rules::Decision;
use crate::engine::writer::quorum::{Groups, Quorum, QuorumCount, Readers, Requirement, Tally};
use crate::engine::writer::registry::{Arrival, Bounds, Connection, ReaderRecords};
use crate::engine::writer::standing::{Claim, Entered};
use crate::error::{Result, Status};
use crate::protocol::control::{AckLevel, Positions};
use crate::sync::Mutex;

/// All reader ids of a sender. Ids that are not connected are remembered up to a bound.
pub(super) struct Registry {
    records: Mutex<ReaderRecords<Arc<Reader>>>,
    max_known: AtomicUsize,
    groups: Groups,
    /// Wakes the tasks of readers that sleep at the log's end.
    wake: Notify,
}

impl Registry {
    /// `origin` and `inherited_from`: see `followers::beginning`. `began_at`: the last entry in the log.
    pub(super) fn new(config: &SenderConfig, (origin, inherited_from): (u64, u64), began_at: u64) -> Self {
        let (max_readers, max_known) = (config.max_readers, config.known_readers());
        let bounds = Bounds { max_readers, max_known, inherited_from, origin, began_at };
        let records = Mutex::new(ReaderRecords::new(bounds));
        Self { records, max_known: AtomicUsize::new(max_known), groups: config.groups.clone(), wake: Notify::new() }
    }

    /// The quorum of these terms in terms of the groups.
    pub(super) fn quorum(&self, terms: &[(Option<&str>, usize)]) -> Result<Quorum> {
        self.groups.quorum(terms, self.max_known.load(Ordering::Relaxed))
    }

    /// So many readers may be connected from now on, and so many ids are known.
    pub(super) fn set_bounds(&self, max_readers: usize, max_known: usize) {
        self.max_known.store(max_known, Ordering::Relaxed);
        self.records.lock().set_bounds(max_readers, max_known);
    }

    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Registers a new connection. Returns the positions that were known of its id, and how the connection begins, or
    /// why it may not. An earlier connection of the same id is closed. `held`: what its slot shows that it acknowledged.
    pub(super) fn enter(
        &self,
        reader: &Arc<Reader>,
        decision: &Decision,
        claim: Claim,
        held: u64,
    ) -> Result<(Positions, Entered)> {
        let mut records = self.records.lock();
        let entered = records.enter(&reader.id, Arc::clone(reader), &self.groups, decision, (claim, held))?;
        let Arrival { before, entered, errors, replaced, displaced } = entered;
        reader.begin(&entered, errors);
        if let Some(replaced) = replaced {
            replaced.close(
                Status::Replaced,
                "another connection with the same reader id took its place; two readers must not have one id",
            );
        }
        if let Some(displaced) = displaced {
            displaced.close(
                Status::BufferFull,
                "all places for readers are taken, and one that may do more than read needs this one",
            );
        }
        Ok((before, entered))
    }

    /// Readers with acknowledgements that were forgotten because the table was full.
    pub(super) fn forgotten(&self) -> u64 {
        self.records.lock().forgotten()
    }

    /// Removes a connection that ended, unless another one has replaced it already.
    pub(super) fn leave(&self, reader: &Arc<Reader>, failed: bool) {
        self.records.lock().leave(&reader.id, |connected| Arc::ptr_eq(connected, reader), failed);
    }

    /// The connected reader with this id.
    pub(super) fn get(&self, id: &str) -> Option<Arc<Reader>> {
        self.records.lock().get(id).cloned()
    }

    /// All connected readers.
    pub(super) fn connected(&self) -> Vec<Arc<Reader>> {
        self.records.lock().connected().cloned().collect()
    }

    /// How many readers are connected.
    pub(super) fn count(&self) -> usize {
        self.records.lock().connected().count()
    }

    /// Wakes the tasks of readers that sleep at the log's end.
    pub(super) fn wake_tasks(&self) {
        self.wake.notify_waiters();
    }

    /// Resolves at the next [`Self::wake_tasks`].
    pub(super) fn woken(&self) -> Notified<'_> {
        self.wake.notified()
    }

    /// See [`ReaderRecords::connected_at`].
    pub(super) fn connected_at(&self, level: AckLevel, positions: &mut Vec<u64>) {
        self.records.lock().connected_at(level, positions);
    }
}

impl Readers for Registry {
    fn tally(&self, level: AckLevel) -> Tally {
        self.records.lock().tally(level)
    }

    fn check(&self, requirement: &Requirement) -> QuorumCount {
        self.records.lock().check(requirement)
    }
}

impl Connection for Arc<Reader> {
    fn is_v2(&self) -> bool {
        self.v2
    }

    fn rights(&self) -> Rights {
        self.rights
    }

    fn rule(&self) -> Option<usize> {
        Reader::rule(self)
    }

    fn started_after(&self) -> u64 {
        self.started_after
    }

    fn positions(&self) -> Positions {
        Reader::positions(self)
    }

    fn positions_for_gate(&self) -> Positions {
        Reader::positions_for_gate(self)
    }

    fn has_acknowledged(&self) -> bool {
        Reader::has_acknowledged(self)
    }

    fn has_its_start(&self) -> bool {
        Reader::has_its_start(self)
    }

    fn sent_here(&self) -> u64 {
        Reader::sent_here(self)
    }
}
