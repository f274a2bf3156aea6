//! What is known of each reader id: its connection, and how far it had come when its last one ended.

use std::collections::BTreeMap;

use super::quorum::{Groups, QuorumCount, ReaderPosition, Requirement, Tally, is_ours};
use super::standing::{Claim, Entered, Known, Standing, counts, furthest};
use crate::engine::access::rights::Rights;
use crate::engine::access::rules::Decision;
use crate::error::{Error, Status};
use crate::protocol::control::{AckLevel, Positions};

/// A reader's connection, as its record sees it. Positions may rise at any time.
pub(crate) trait Connection {
    /// Whether it speaks v2.
    fn is_v2(&self) -> bool;

    /// What it may do.
    fn rights(&self) -> Rights;

    /// The rule that gave it its rights.
    fn rule(&self) -> Option<usize>;

    /// The sequence after which it began.
    fn started_after(&self) -> u64;

    /// What counts of its acknowledgements, and what it proved when it began.
    fn positions(&self) -> Positions;

    /// The same with what only the write gate believes.
    fn positions_for_gate(&self) -> Positions;

    /// Whether it acknowledged anything, be it only its start.
    fn has_acknowledged(&self) -> bool;

    /// Whether it has the entries up to its start, by proof or by acknowledgement.
    fn has_its_start(&self) -> bool;

    /// The entry up to which all were sent on it; 0 if none was.
    fn sent_here(&self) -> u64;
}

/// What is known of one reader id.
struct ReaderRecord<C> {
    /// What earlier connections left, and what the present one proved when it began.
    standing: Standing,
    connected: Option<C>,
    /// When its last connection ended, counted in such ends.
    left_at: u64,
    /// The groups it belongs to, as bits.
    groups: u64,
    /// Connections that ended with an error.
    errors: u64,
}

impl<C: Connection> ReaderRecord<C> {
    fn new(groups: u64) -> Self {
        Self { standing: Standing::default(), connected: None, left_at: 0, groups, errors: 0 }
    }

    /// Its connection, if what that acknowledges counts.
    fn counting(&self) -> Option<&C> {
        self.connected.as_ref().filter(|connection| counts(connection.rights()))
    }

    /// What counts for waits: what it acknowledged, now or before.
    fn positions(&self) -> Positions {
        let has = self.standing.has;
        self.counting().map_or(has, |connection| furthest(has, connection.positions()))
    }

    /// Takes the connection out and keeps what it brought.
    fn disconnect(&mut self) -> Option<C> {
        let connection = self.connected.take()?;
        if counts(connection.rights()) {
            self.standing.leave(connection.positions(), connection.sent_here());
        }
        Some(connection)
    }

    /// Which records of absent readers a full table forgets first: those that never acknowledged, then those that left
    /// longest ago. One that came back before what it had acknowledged is the last.
    fn rank(&self) -> (bool, bool, u64) {
        (self.standing.rewound, self.standing.has.received > 0, self.left_at)
    }
}

/// What a table of records is bounded by, and what the log was like when the sender was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    /// Connected readers, at most.
    pub(crate) max_readers: usize,
    /// Reader ids, connected or not, at most.
    pub(crate) max_known: usize,
    /// See [`is_ours`].
    pub(crate) inherited_from: u64,
    /// The entry after which the log began: a reader that is there lacks nothing.
    pub(crate) origin: u64,
    /// The last entry that was there.
    pub(crate) began_at: u64,
}

/// How a connection entered.
pub(crate) struct Arrival<C> {
    /// What was known of its id before.
    pub(crate) before: Positions,
    /// How the connection begins, which it is to learn before it sends or takes in anything.
    pub(crate) entered: Entered,
    /// Earlier connections of its id that ended with an error.
    pub(crate) errors: u64,
    /// Another connection with the same id, whose place it took.
    pub(crate) replaced: Option<C>,
    /// One of another id that may only read, which had to go because all places were taken.
    pub(crate) displaced: Option<C>,
}

/// The records of all reader ids of a sender.
pub(crate) struct ReaderRecords<C> {
    records: BTreeMap<String, ReaderRecord<C>>,
    bounds: Bounds,
    /// Connections that ended.
    ends: u64,
    /// Readers with acknowledgements that were forgotten because the table was full.
    forgotten: u64,
}

impl<C: Connection> ReaderRecords<C> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { records: BTreeMap::new(), bounds, ends: 0, forgotten: 0 }
    }

    /// Other bounds from now on. Readers that are connected stay, and ids that are known are forgotten when others come.
    pub(crate) fn set_bounds(&mut self, max_readers: usize, max_known: usize) {
        (self.bounds.max_readers, self.bounds.max_known) = (max_readers, max_known);
    }

    /// Enters a new connection, which has its rights by `decision`. One with the same id is replaced: the new one stays.
    /// `held`: what the id's slot shows that it acknowledged. The error is why it may not.
    pub(crate) fn enter(
        &mut self,
        id: &str,
        connection: C,
        groups: &Groups,
        decision: &Decision,
        (claim, held): (Claim, u64),
    ) -> Result<Arrival<C>, Error> {
        self.has_place(id, decision)?;
        let displaced = self.make_room(id, connection.rights())?;
        let record = self.records.entry(id.to_owned()).or_insert_with(|| ReaderRecord::new(groups.of(id)));
        let replaced = record.disconnect();
        let before = record.standing.has;
        let known = Known { held, began_at: self.bounds.began_at };
        // What does not count leaves no trace.
        let mut uncounted = Standing::default();
        let standing = if counts(connection.rights()) { &mut record.standing } else { &mut uncounted };
        let entered = standing.enter(connection.started_after(), claim, known);
        record.connected = Some(connection);
        Ok(Arrival { before, entered, errors: record.errors, replaced, displaced })
    }

    /// Whether a connection with these rights may take the place of one with the same id, and one more of its rule's.
    fn has_place(&self, id: &str, decision: &Decision) -> Result<(), Error> {
        let present = self.get(id);
        if present.is_some_and(|present| !decision.rights.contains(present.rights())) {
            let text = "a connection with this reader id has rights that this one lacks, and keeps its place";
            return Err(Error::new(Status::NotAuthorized, text));
        }
        let Some(most) = decision.limits.max_connections else { return Ok(()) };
        let others = self.records.iter().filter(|(other, _)| *other != id);
        let by_rule =
            others.filter_map(|(_, record)| record.connected.as_ref()).filter(|other| other.rule() == decision.line);
        if by_rule.count() >= most as usize {
            let line = decision.line.unwrap_or_default();
            let text = format!("line {line} of the access rules has max_connections={most}, and so many are connected");
            return Err(Error::new(Status::NotAuthorized, text));
        }
        Ok(())
    }

    /// Makes room for `id`: in the place of its own connection, or as one more. Where all places are taken, one that may do
    /// more than read gets the place of one that may not. A new id takes the room of one that is not connected if there are
    /// many.
    fn make_room(&mut self, id: &str, rights: Rights) -> Result<Option<C>, Error> {
        let known = self.records.get(id);
        if known.is_some_and(|record| record.connected.is_some()) {
            return Ok(None);
        }
        let is_new = known.is_none();
        let most = self.bounds.max_readers;
        let mut displaced = None;
        if self.connected().count() >= most {
            let least = self.least().filter(|_| rights.intersects(Rights::OF_READERS));
            let Some(least) = least else {
                return Err(Error::new(Status::BufferFull, format!("all {most} places for readers are taken")));
            };
            displaced = self.end(&least);
        }
        if is_new && self.records.len() >= self.bounds.max_known {
            let gone = self.records.iter().filter(|(_, record)| record.connected.is_none());
            let first = gone.min_by_key(|(_, record)| record.rank()).map(|(id, _)| id.clone());
            if let Some(forgotten) = first.and_then(|id| self.records.remove(&id)) {
                self.forgotten += u64::from(forgotten.standing.has.received > 0);
            }
        }
        Ok(displaced)
    }

    /// The reader that goes first when places are needed: one that may only read, and better one that never acknowledged.
    fn least(&self) -> Option<String> {
        let may_only_read = |connection: &&C| !connection.rights().intersects(Rights::OF_READERS);
        let ranks = self.records.iter().filter_map(|(id, record)| {
            record.connected.as_ref().filter(may_only_read).map(|connection| (connection.has_acknowledged(), id))
        });
        ranks.min().map(|(_, id)| id.clone())
    }

    /// Takes the connection of this id out.
    fn end(&mut self, id: &str) -> Option<C> {
        let record = self.records.get_mut(id)?;
        let ended = record.disconnect();
        self.ends += 1;
        record.left_at = self.ends;
        ended
    }

    /// Takes a connection out that ended, unless another one took its place. `is_it` tells it from others of the same
    /// id.
    pub(crate) fn leave(&mut self, id: &str, is_it: impl Fn(&C) -> bool, failed: bool) {
        let Some(record) = self.records.get_mut(id) else { return };
        record.errors += u64::from(failed);
        let is_any = mutant!("old-end-removes-new-connection");
        if record.connected.as_ref().is_some_and(|connected| is_it(connected) || is_any) {
            self.end(id);
        }
    }

    /// The connection of this id.
    pub(crate) fn get(&self, id: &str) -> Option<&C> {
        self.records.get(id)?.connected.as_ref()
    }

    /// All connections.
    pub(crate) fn connected(&self) -> impl Iterator<Item = &C> {
        self.records.values().filter_map(|record| record.connected.as_ref())
    }

    /// Readers with acknowledgements that were forgotten because the table was full.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The positions of the connected readers at `level`, in no order, for the write gate: what counts of their present
    /// connections alone, because a reader that claims to be an absent one is not as near as that one was. A reader
    /// that has only said where it is, without proof, is left out, unless it says that it has nothing and cannot say
    /// more.
    pub(crate) fn connected_at(&self, level: AckLevel, positions: &mut Vec<u64>) {
        positions.clear();
        let origin = self.bounds.origin;
        let is_counted = |connection: &&C| {
            // A v1 reader may be silent until it gets an entry, for which the gate would have to be open.
            let begins = !connection.is_v2() && connection.started_after() <= origin;
            counts(connection.rights()) && (begins || connection.has_acknowledged() || connection.has_its_start())
        };
        // Before the log's origin there is nothing to lack.
        let position = |connection: &C| connection.positions_for_gate()[level].max(origin);
        positions.extend(self.connected().filter(is_counted).map(position));
    }

    /// How far every known reader is at `level`, connected or not.
    pub(crate) fn tally(&self, level: AckLevel) -> Tally {
        let place =
            |record: &ReaderRecord<C>| ReaderPosition { position: record.positions()[level], groups: record.groups };
        Tally::new(self.records.values().map(place)).after(self.bounds.inherited_from)
    }

    /// How many readers meet the requirement.
    pub(crate) fn check(&self, requirement: &Requirement) -> QuorumCount {
        let ours = is_ours(requirement.sequence, self.bounds.inherited_from);
        let has = |record: &&ReaderRecord<C>| ours && record.positions()[requirement.level] >= requirement.sequence;
        requirement.quorum.count(self.records.values().filter(has).map(|record| record.groups))
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::engine::access::rule::Limits;

    /// A v2 connection that is at a position. Its number tells it from others.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct At(u32, u64, Rights);

    impl Connection for At {
        fn is_v2(&self) -> bool {
            true
        }

        fn rights(&self) -> Rights {
            self.2
        }

        fn rule(&self) -> Option<usize> {
            Some(1)
        }

        fn started_after(&self) -> u64 {
            0
        }

        fn positions(&self) -> Positions {
            Positions { received: self.1, ..Positions::default() }
        }

        fn positions_for_gate(&self) -> Positions {
            self.positions()
        }

        fn has_acknowledged(&self) -> bool {
            self.1 > 0
        }

        fn has_its_start(&self) -> bool {
            self.1 > 0
        }

        fn sent_here(&self) -> u64 {
            self.1
        }
    }

    fn records(max_readers: usize, max_known: usize) -> ReaderRecords<At> {
        ReaderRecords::new(Bounds { max_readers, max_known, ..Bounds::default() })
    }

    /// A connection with the rights of a reader.
    fn at(number: u32, position: u64) -> At {
        At(number, position, Rights::READER)
    }

    fn by(rights: Rights, max_connections: Option<u32>) -> Decision {
        Decision { line: Some(1), rights, limits: Limits { max_connections, ..Limits::default() } }
    }

    fn enter(records: &mut ReaderRecords<At>, id: &str, connection: At) -> Result<(u64, Option<At>), Status> {
        let decision = by(connection.2, None);
        let entered = records.enter(id, connection, &Groups::default(), &decision, (Claim::default(), 0));
        entered.map(|arrival| (arrival.before.received, arrival.replaced)).map_err(|error| error.status)
    }

    fn leave(records: &mut ReaderRecords<At>, id: &str, connection: At) {
        records.leave(id, |other| *other == connection, true);
    }

    #[test]
    fn a_second_connection_replaces_the_first_and_outlives_its_end() {
        let mut records = records(1, 2);
        assert_eq!(enter(&mut records, "a", at(1, 7)), Ok((0, None)));
        assert_eq!(enter(&mut records, "b", at(2, 0)), Err(Status::BufferFull), "all places are taken");
        assert_eq!(enter(&mut records, "a", at(3, 5)), Ok((7, Some(at(1, 7)))));
        leave(&mut records, "a", at(1, 7));
        assert_eq!(records.get("a"), Some(&at(3, 5)));
        leave(&mut records, "a", at(3, 5));
        assert_eq!((records.get("a"), records.connected().count()), (None, 0));
        let arrival =
            records.enter("a", at(4, 0), &Groups::default(), &by(Rights::READER, None), (Claim::default(), 0)).unwrap();
        assert_eq!((arrival.before.received, arrival.errors), (7, 2), "what was acknowledged stays");
    }

    /// P4: readers that may only read keep no one outside who may do more.
    #[test]
    fn p4_one_that_may_only_read_makes_room_for_one_that_counts() {
        let mut records = records(2, 9);
        let mut enter = |id: &str, connection: At| {
            let entered =
                records.enter(id, connection, &Groups::default(), &by(connection.2, None), (Claim::default(), 0));
            entered.map(|arrival| arrival.displaced).map_err(|error| error.status)
        };
        assert_eq!(enter("a", At(1, 9, Rights::READ)), Ok(None));
        assert_eq!(enter("b", At(2, 0, Rights::READ | Rights::MONITOR)), Ok(None));
        assert_eq!(enter("c", At(3, 0, Rights::READ)), Err(Status::BufferFull), "it may do no more than they");
        assert_eq!(enter("c", at(4, 0)), Ok(Some(At(2, 0, Rights::READ | Rights::MONITOR))));
        assert_eq!(enter("d", at(5, 0)), Ok(Some(At(1, 9, Rights::READ))));
        assert_eq!(enter("e", at(6, 0)), Err(Status::BufferFull), "all may do as much");
        assert_eq!(enter("d", at(7, 0)), Ok(None), "its own place");
    }

    #[test]
    fn p5_a_full_table_forgets_who_acknowledged_nothing_then_who_left_longest_ago() {
        let mut records = records(3, 3);
        for (id, connection) in [("a", at(1, 9)), ("b", at(2, 0)), ("c", at(3, 4))] {
            enter(&mut records, id, connection).unwrap();
            leave(&mut records, id, connection);
        }
        for (id, forgotten, tally) in [("d", 0, vec!["a", "c", "d"]), ("e", 1, vec!["c", "d", "e"])] {
            enter(&mut records, id, at(4, 1)).unwrap();
            assert!(records.records.keys().eq(tally.iter()), "{:?}", records.records.keys());
            assert_eq!(records.forgotten(), forgotten);
        }
    }

    /// The gate counts a reader when it has said something that counts.
    #[test]
    fn connected_readers_count_at_the_gate_once_they_acknowledged() {
        let mut records = records(3, 3);
        for (id, connection) in [("a", at(1, 9)), ("b", at(2, 0)), ("c", at(3, 4))] {
            enter(&mut records, id, connection).unwrap();
        }
        let mut positions = vec![1];
        records.connected_at(AckLevel::Received, &mut positions);
        assert_eq!(positions, [9, 4]);
    }

    /// P6: what a connection acknowledges that has no right to counts nowhere, and leaves nothing behind.
    #[test]
    fn p6_what_is_acknowledged_without_the_right_to_counts_for_nothing() {
        let mut records = records(3, 3);
        enter(&mut records, "a", At(1, 9, Rights::READ)).unwrap();
        let mut positions = Vec::new();
        records.connected_at(AckLevel::Received, &mut positions);
        assert!(positions.is_empty());
        let reached = |records: &ReaderRecords<At>| records.records["a"].positions().received;
        assert_eq!(reached(&records), 0);
        leave(&mut records, "a", At(1, 9, Rights::READ));
        assert_eq!(reached(&records), 0);
        // A proven position is an acknowledgement too.
        let (decision, claim) = (by(Rights::READ, None), (Claim { proven: true }, 0));
        records.enter("a", At(2, 9, Rights::READ), &Groups::default(), &decision, claim).unwrap();
        leave(&mut records, "a", At(2, 9, Rights::READ));
        assert_eq!(enter(&mut records, "a", at(3, 4)), Ok((0, None)));
        assert_eq!(reached(&records), 4);
    }

    /// P4: whoever may do less takes nobody's place.
    #[test]
    fn p4_a_connection_is_replaced_by_one_with_its_rights() {
        let mut records = records(3, 3);
        enter(&mut records, "a", at(1, 9)).unwrap();
        assert_eq!(enter(&mut records, "a", At(2, 0, Rights::READ)), Err(Status::NotAuthorized));
        assert_eq!(records.get("a"), Some(&at(1, 9)));
        assert_eq!(enter(&mut records, "a", At(2, 0, Rights::all())), Ok((9, Some(at(1, 9)))));
    }

    #[test]
    fn p5_a_rule_gives_rights_to_so_many_at_once() {
        let mut records = records(9, 9);
        let decision = by(Rights::READ, Some(2));
        let mut enter = |id: &str, number| {
            let connection = At(number, 0, Rights::READ);
            let entered = records.enter(id, connection, &Groups::default(), &decision, (Claim::default(), 0));
            entered.map(|_| ()).map_err(|error| error.message)
        };
        assert_eq!((enter("a", 1), enter("b", 2), enter("b", 3)), (Ok(()), Ok(()), Ok(())));
        assert!(enter("c", 4).unwrap_err().contains("line 1 of the access rules has max_connections=2"));
    }
}
