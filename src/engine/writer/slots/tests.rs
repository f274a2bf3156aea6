//! What becomes of slots when clocks are set, and when there are more readers than slots. A slot lives for a week.

use super::*;

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 24 * 60 * MINUTE;

/// Some day in 2026, two days after boot.
const OPENED: Now = Now { wall_us: 1_770_000_000 * SECOND, boot_us: 2 * DAY };

/// The connected readers of a log in which every entry has one byte and is an index point.
#[derive(Default)]
struct Readers {
    end: u64,
    connected: BTreeMap<String, Seen>,
}

impl Surroundings for Readers {
    fn end(&self) -> u64 {
        self.end
    }

    fn floor(&self, sequence: u64) -> Mark {
        at(sequence)
    }

    fn connected(&self) -> Vec<String> {
        self.connected.keys().cloned().collect()
    }

    fn reader(&self, id: &str) -> Option<Seen> {
        self.connected.get(id).copied()
    }

    fn address(&self, id: &str) -> String {
        format!("address of {id}")
    }
}

fn at(sequence: u64) -> Mark {
    Mark { position: sequence, sequence, hash: 1, timestamp_us: 0 }
}

fn table(slots: usize, records: impl IntoIterator<Item = (String, Record)>) -> Table {
    let limits = SlotLimits { slots, bytes: 1 << 30, expiry: Duration::from_micros(7 * DAY) };
    Table::new(records, limits, OPENED, Instant::now())
}

/// A table with the slot of an absent reader, which a connection of this process made.
fn entered() -> Table {
    let mut table = table(1, []);
    assert_eq!(table.enter(&Readers::default(), "absent", true, &at(0), OPENED).0, Some(1));
    table
}

/// One with such a slot of an earlier process, which was in use `days` ago.
fn noted(days: u64) -> Table {
    let updated_us = OPENED.wall_us - days * DAY;
    table(1, [("absent".into(), Record { position: 0, sequence: 0, hash: 1, updated_us, is_lost: false })])
}

/// The clocks `passed` after opening, when the wall clock was also set by some days.
fn later(passed: u64, set_days: i64) -> Now {
    let wall_us = (OPENED.wall_us + passed).saturating_add_signed(set_days * DAY as i64);
    Now { wall_us, boot_us: OPENED.boot_us + passed }
}

/// Whether the absent reader's slot is there after a round.
fn lives(table: &mut Table, now: Now) -> bool {
    table.update(&Readers::default(), now, Instant::now());
    table.slots.contains_key("absent")
}

#[test]
fn p2_a_slot_of_this_process_expires_by_the_boot_clock() {
    let mut table = entered();
    for (minutes, set_days) in [(11, 0), (12, 30), (13, 0), (14, -30), (60, 365 * 50), (120, -365), (600, -365)] {
        assert!(lives(&mut table, later(minutes * MINUTE, set_days)), "{set_days} days");
    }
    assert!(lives(&mut table, later(7 * DAY - MINUTE, -365)));
    assert!(!lives(&mut table, later(7 * DAY + MINUTE, -365)));
}

#[test]
fn p2_a_slot_of_an_earlier_process_outlives_a_step_of_the_wall_clock() {
    for (set_days, gone_after) in [(30, 31 * MINUTE), (-30, 7 * DAY + MINUTE)] {
        let mut table = noted(1);
        assert!(lives(&mut table, later(20 * MINUTE, 0)));
        for minutes in [21, 25, 30] {
            assert!(lives(&mut table, later(minutes * MINUTE, set_days)), "{set_days} days");
        }
        assert!(!lives(&mut table, later(gone_after, set_days)), "{set_days} days");
    }
}

/// A glitch of a second makes nothing expire, and the slot lives its week afterwards.
#[test]
fn p2_a_slot_outlives_a_wrong_second() {
    let mut table = noted(1);
    for (second, set_days) in [(0, 0), (1, 30), (2, 0), (3, -30), (4, 0)] {
        assert!(lives(&mut table, later(11 * MINUTE + second * SECOND, set_days)), "{set_days} days");
    }
    assert!(lives(&mut table, later(6 * DAY - MINUTE, 0)));
    assert!(!lives(&mut table, later(6 * DAY + MINUTE, 0)));
}

#[test]
fn p2_a_slot_out_of_use_for_long_expires_ten_minutes_after_opening() {
    let mut table = noted(8);
    assert!(lives(&mut table, later(9 * MINUTE, 0)));
    assert!(!lives(&mut table, later(11 * MINUTE, 0)));
}

/// What the next process reads fits the clock that goes after a step.
#[test]
fn p2_slots_are_noted_anew_after_a_step() {
    let mut table = entered();
    for set_days in [30, -30] {
        assert!(lives(&mut table, later(MINUTE, set_days)));
        let (records, _) = table.take_changes().unwrap();
        assert_eq!(records["absent"].updated_us, later(0, set_days).wall_us);
    }
    assert!(table.take_changes().is_none());
    table.unsaved();
    assert!(table.take_changes().is_some());
}

/// P5: a reader that comes, catches up and leaves between two rounds holds nothing back afterwards.
#[test]
fn p5_a_short_visit_moves_the_slot() {
    let mut table = entered();
    let visitor = Seen { started_after: 0, kept: 40, received: 40, has_acknowledged: true };
    let around = Readers { end: 40, connected: BTreeMap::from([("absent".into(), visitor)]) };
    table.take_changes();
    table.leave(&around, "absent", later(1, 0), Instant::now());
    let (records, _) = table.take_changes().unwrap();
    assert_eq!((records["absent"].position, table.held_from()), (40, 40));
    assert!(table.of_reader(40, "absent").is_some_and(|slot| slot.held_bytes == 0));
    // Nobody of that name is there.
    table.leave(&Readers::default(), "absent", later(2, 0), Instant::now());
    assert!(table.take_changes().is_none());
}

/// P5: with all slots in use, a reader is served without one until it acknowledges; then the least needed slot is its.
#[test]
fn p5_a_reader_without_a_slot_gets_one_when_it_acknowledges() {
    let mut readers = Readers { end: 9, ..Readers::default() };
    let mut table = table(1, []);
    let started = Seen { started_after: 4, ..Seen::default() };
    readers.connected.insert("first".into(), started);
    assert!(table.enter(&readers, "first", false, &at(4), OPENED).1.is_empty());
    readers.connected.insert("first".into(), Seen { received: 5, kept: 5, has_acknowledged: true, ..started });
    let now = later(SECOND, 0);
    table.update(&readers, now, Instant::now());
    readers.connected.insert("second".into(), started);
    let (version, events) = table.enter(&readers, "second", false, &at(4), now);
    let [refused] = &events[..] else { panic!("{events:?}") };
    assert_eq!((refused.kind, &*refused.reader_id, refused.sequence), (EventKind::SlotRefused, "second", 4));
    assert_eq!((version, &*refused.address), (None, "address of second"));
    let is_refused = |table: &Table, id: &str| table.is_refused(id);
    assert!(is_refused(&table, "second") && !is_refused(&table, "first"));

    // The first one's slot is needed while it is connected, and that of an absent reader is not.
    readers.connected.insert("second".into(), Seen { received: 7, kept: 6, has_acknowledged: true, ..started });
    assert!(table.update(&readers, now, Instant::now()).is_empty());
    assert!(is_refused(&table, "second") && table.held_from() == 5);
    readers.connected.remove("first");
    let events = table.update(&readers, now, Instant::now());
    assert!(events.len() == 1 && events[0].kind == EventKind::SlotExpired && events[0].reader_id == "first");
    assert!(!is_refused(&table, "second") && table.held_from() == 6 && table.vouched("second") == 6);
    assert_eq!(table.counts(), (1, 1));
}
