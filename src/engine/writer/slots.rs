//! Slots: what each reader still needs of the log on disk, remembered over restarts of both.
//!
//! A slot keeps entries until its reader has them, up to a cap; beyond it the slot is lost and the entries go. A slot
//! is at an index point of the log, so it holds a little more than its reader needs. It moves with what its reader
//! acknowledges, and to a position that the reader proves. A Sync by itself moves none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use super::forecast::Rate;
use super::slot::{Hold, Record, Seen, Slot};
use crate::clock::{Ages, Now, Stamp, rfc3339};
use crate::error::Status;
use crate::host::{Event, EventKind};
use crate::protocol::check_reader_id;
use crate::protocol::entry::{Mark, UNKNOWN_HISTORY};
use crate::text::Escaped;

/// What the slots need to know of the log and of the connected readers.
pub(crate) trait Surroundings {
    /// The log's end.
    fn end(&self) -> u64;

    /// The last index point of the log at an entry or before it.
    fn floor(&self, sequence: u64) -> Mark;

    /// The ids of the connected readers.
    fn connected(&self) -> Vec<String>;

    /// The connected reader with this id.
    fn reader(&self, id: &str) -> Option<Seen>;

    /// The address of that reader.
    fn address(&self, id: &str) -> String;
}

/// What slots are limited to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotLimits {
    /// How many there are, at most.
    pub(crate) slots: usize,
    /// Bytes of the log that one may hold back, at most.
    pub(crate) bytes: u64,
    /// How long one is kept for a reader that does not come back.
    pub(crate) expiry: Duration,
}

/// What a reader's slot holds.
pub(crate) struct HeldSlot {
    pub(crate) state: &'static str,
    pub(crate) sequence: u64,
    pub(crate) held_bytes: u64,
}

/// A slot in the log on disk, from sender_slots_json().
#[derive(Serialize)]
pub(crate) struct SlotStats {
    /// The reader's id.
    reader_id: String,
    /// Whether the reader is connected.
    connected: bool,
    /// `held`, or `lost` when the log no longer has what the reader needs.
    state: &'static str,
    /// The last entry that the slot does not hold.
    sequence: u64,
    /// Bytes of the log after that entry.
    held_bytes: u64,
    /// How many bytes a slot may hold.
    max_bytes: u64,
    /// When the slot last moved.
    updated: String,
    /// Whether the reader acknowledged the entry, and did not only claim it.
    acknowledged: bool,
    /// In how many seconds the slot is lost if the log grows as it does now; null if it does not.
    lost_in_s: Option<u64>,
}

/// All slots of a sender.
pub(crate) struct Table {
    slots: BTreeMap<String, Slot>,
    limits: SlotLimits,
    /// The file is to be written.
    changed: bool,
    /// Counts changes by which the file keeps too little.
    version: u64,
    ages: Ages,
    looked_at: Instant,
    /// The log's end at that time.
    end: u64,
    /// How the log grows.
    growth: Rate,
    /// Connected readers that have no slot because all are in use.
    without: BTreeSet<String>,
    /// Readers that got no slot, or lost theirs to another one while they were connected.
    refused: u64,
    /// Slots that were given up for others.
    given_up: u64,
    /// How many of those have not been reported to the host.
    unreported: u64,
}

impl Table {
    /// Other limits from now on. What exceeds them goes with the next round, or when other readers come.
    pub(crate) fn set_limits(&mut self, limits: SlotLimits) {
        self.limits = limits;
    }

    /// The slots that an earlier process left.
    pub(crate) fn new(
        records: impl IntoIterator<Item = (String, Record)>,
        limits: SlotLimits,
        now: Now,
        instant: Instant,
    ) -> Self {
        let slot = |record: Record| {
            let used = Stamp::Noted { wall_us: record.updated_us };
            Slot::new(record, used, now, record.hash != UNKNOWN_HISTORY)
        };
        Self {
            slots: records.into_iter().map(|(id, record)| (id, slot(record))).collect(),
            limits,
            changed: false,
            version: 0,
            ages: Ages::new(now),
            looked_at: instant,
            end: 0,
            growth: Rate::default(),
            without: BTreeSet::new(),
            refused: 0,
            given_up: 0,
            unreported: 0,
        }
    }

    /// Begins with a log that shows entries up to `end` and whose last entry ends at `last`.
    pub(crate) fn begin(&mut self, end: u64, last: &Mark) {
        self.end = end;
        if last.hash == UNKNOWN_HISTORY {
            // No slot of this log has a hash.
            self.slots.values_mut().for_each(|slot| slot.acknowledged = true);
        }
    }

    /// The position from which on the log is needed.
    pub(crate) fn held_from(&self) -> u64 {
        let held = self.slots.values().filter(|slot| !slot.record.is_lost);
        held.map(Slot::held_from).min().unwrap_or(u64::MAX)
    }

    /// A reader connected at `mark`: puts its slot where it belongs. Without a proof that it has what lies before, its
    /// slot stays where it is. Returns the version of the table that must be in the file before the reader is told that it
    /// may follow; `None` if the file already keeps enough.
    pub(crate) fn enter(
        &mut self,
        around: &impl Surroundings,
        id: &str,
        proven: bool,
        mark: &Mark,
        now: Now,
    ) -> (Option<u64>, Vec<Event>) {
        let mut events = Vec::new();
        self.without.remove(id);
        let before = self.filed_at(id);
        match self.slots.get_mut(id) {
            Some(slot) if !slot.record.is_lost => slot.enter(proven, mark, now),
            // A lost slot holds nothing that could be moved.
            Some(slot) => *slot = Slot::at(mark, proven, now),
            None => {
                if self.slots.len() < self.limits.slots || self.make_room(around, now, &mut events) {
                    self.slots.insert(id.to_owned(), Slot::at(mark, proven, now));
                } else {
                    // It is served all the same, and finds its entries as long as retention keeps them.
                    events.extend(self.refuse(around, id));
                }
            }
        }
        self.changed = true;
        let keeps_more = self.filed_at(id).is_some_and(|at| before.is_none_or(|before| at < before));
        let version = keeps_more.then(|| {
            self.version += 1;
            self.version
        });
        (version, events)
    }

    /// A reader is about to leave: what it acknowledged since the last update moves its slot, too.
    pub(crate) fn leave(&mut self, around: &impl Surroundings, id: &str, now: Now, instant: Instant) {
        let passed = instant.saturating_duration_since(self.looked_at);
        if let (Some(slot), Some(reader)) = (self.slots.get_mut(id), around.reader(id)) {
            self.changed |= slot.follow(reader, |sequence| around.floor(sequence), passed, now);
        }
    }

    /// Where the log is kept from for this reader when the file is written, if it is.
    fn filed_at(&self, id: &str) -> Option<u64> {
        let slot = self.slots.get(id).filter(|slot| !slot.record.is_lost);
        slot.map(|slot| slot.filed().position)
    }

    /// Gives up the slot that is needed least. `false`: all are needed.
    fn make_room(&mut self, around: &impl Surroundings, now: Now, events: &mut Vec<Event>) -> bool {
        let rank = |id: &str, slot: &Slot| slot.rank(around.reader(id).is_some(), self.ages.of(slot.used, now));
        let ranked = self.slots.iter().filter_map(|(id, slot)| Some((rank(id, slot)?, id)));
        let Some(id) = ranked.min().map(|(_, id)| id.clone()) else { return false };
        let Some(slot) = self.slots.remove(&id) else { return false };
        self.given_up += 1;
        if let Some(refused) = self.refuse(around, &id) {
            events.push(refused);
        } else if !slot.record.is_lost && slot.acknowledged {
            let text = format!(
                "the slot of reader \"{}\" at {} was given up for another one: all {} slots are in use, and it was unused for longest",
                Escaped(&id),
                slot.record.sequence,
                self.limits.slots
            );
            let mut event = Event::new(EventKind::SlotExpired, Status::BufferFull, text);
            (event.reader_id, event.sequence) = (id, slot.record.sequence);
            events.push(event);
        } else {
            self.unreported += 1;
        }
        true
    }

    /// Leaves a connected reader without a slot. `None`: it is not connected.
    fn refuse(&mut self, around: &impl Surroundings, id: &str) -> Option<Event> {
        let reader = around.reader(id)?;
        self.without.insert(id.to_owned());
        self.refused += 1;
        let text = format!(
            "reader \"{}\" has no slot: all {} are in use. It is served, but the log waits for it no longer than retention does",
            Escaped(id),
            self.limits.slots
        );
        let mut event = Event::new(EventKind::SlotRefused, Status::BufferFull, text);
        (event.reader_id, event.address) = (id.to_owned(), around.address(id));
        event.sequence = reader.started_after;
        event.detail = json!({ "max_slots": self.limits.slots });
        Some(event)
    }

    /// Gives connected readers that have no slot one, as soon as there is room or they have acknowledged something.
    fn supply(&mut self, around: &impl Surroundings, now: Now, events: &mut Vec<Event>) {
        if self.without.is_empty() {
            return;
        }
        let without = std::mem::take(&mut self.without);
        for id in around.connected().into_iter().filter(|id| without.contains(id)) {
            let Some(reader) = around.reader(&id).filter(|_| !self.slots.contains_key(&id)) else { continue };
            let acknowledged = reader.received > 0;
            if self.slots.len() >= self.limits.slots && !(acknowledged && self.make_room(around, now, events)) {
                self.without.insert(id);
                continue;
            }
            let mark = around.floor(reader.kept.max(reader.started_after));
            self.slots.insert(id, Slot::at(&mark, acknowledged, now));
            self.changed = true;
        }
    }

    /// The last entry of which a reader's slot knows that the reader has it.
    pub(crate) fn vouched(&self, id: &str) -> u64 {
        let slot = self.slots.get(id).filter(|slot| slot.acknowledged && !slot.record.is_lost);
        slot.map_or(0, |slot| slot.record.sequence)
    }

    /// Readers that got no slot, and slots that were given up for others.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.refused, self.given_up)
    }

    /// Gives a slot up. `false`: there is none.
    pub(crate) fn drop_slot(&mut self, id: &str) -> bool {
        let dropped = self.slots.remove(id).is_some();
        self.changed |= dropped;
        dropped
    }

    /// Moves slots with their readers, and drops those that are over the cap or unused for too long. Returns the events
    /// for the host.
    pub(crate) fn update(&mut self, around: &impl Surroundings, now: Now, instant: Instant) -> Vec<Event> {
        let (mut news, mut events) = (Vec::new(), Vec::new());
        let passed = instant.saturating_duration_since(self.looked_at);
        let end = around.end();
        self.growth.measure(end.saturating_sub(self.end), passed);
        (self.end, self.looked_at) = (end, instant);
        let clock_was_set = self.ages.observe(now) && !mutant!("slots-expire-by-the-wall-clock");
        let (growth, ages, limits) = (self.growth, self.ages, self.limits);
        let mut changed = clock_was_set;
        self.slots.retain(|id, slot| {
            if clock_was_set {
                // What a later process reads fits the clock as it is now.
                slot.record.updated_us = slot.used.wall_us(now);
            }
            if check_reader_id(id).is_err() {
                news.push(slot.unusable(id));
                changed = true;
                return false;
            }
            let reader = around.reader(id);
            if let Some(reader) = reader {
                changed |= slot.follow(reader, |sequence| around.floor(sequence), passed, now);
                changed |= slot.note(now, limits.expiry);
            } else {
                slot.pace = Rate::STILL;
                slot.hold = slot.hold.filter(|hold| matches!(hold, Hold::Unconfirmed { .. }));
            }
            let by_wall_clock = mutant!("slots-expire-by-the-wall-clock")
                && now.wall_us.saturating_sub(slot.record.updated_us) > limits.expiry.as_micros() as u64;
            if reader.is_none() && (by_wall_clock || ages.of(slot.used, now) > limits.expiry) {
                news.push(slot.expired(id));
                changed = true;
                return false;
            }
            if !slot.record.is_lost {
                let held = end.saturating_sub(slot.record.position);
                if held > limits.bytes {
                    slot.record.is_lost = true;
                    changed = true;
                    news.push(slot.lost(id, held, limits.bytes));
                } else {
                    news.extend(slot.warning(id, growth, held, limits.bytes - held));
                }
                if slot.hold.is_some_and(|hold| end.saturating_sub(hold.position()) > limits.bytes) {
                    slot.hold = None;
                }
            }
            true
        });
        self.changed |= changed;
        self.supply(around, now, &mut events);
        let unreported = std::mem::take(&mut self.unreported);
        if unreported > 0 {
            let text = format!(
                "all {} slots are in use: {unreported} that were lost or never acknowledged anything were given up for new readers",
                limits.slots
            );
            let mut event = Event::new(EventKind::SlotExpired, Status::BufferFull, text);
            event.detail = json!({ "slots_given_up": unreported });
            events.push(event);
        }
        events.extend(news);
        events
    }

    /// A reader's slot in a log that ends at `end`; `None` without one.
    pub(crate) fn of_reader(&self, end: u64, id: &str) -> Option<HeldSlot> {
        let Slot { record, .. } = self.slots.get(id)?;
        let held_bytes = end.saturating_sub(record.position);
        Some(HeldSlot { state: state(record), sequence: record.sequence, held_bytes })
    }

    /// Whether a reader has no slot because all are in use.
    pub(crate) fn is_refused(&self, id: &str) -> bool {
        self.without.contains(id)
    }

    /// The slots, by reader id.
    pub(crate) fn stats(&self, around: &impl Surroundings) -> Vec<SlotStats> {
        let end = around.end();
        let rows = self.slots.iter().map(|(id, slot)| {
            let held_bytes = end.saturating_sub(slot.record.position);
            let lost_in = slot.lost_in(self.growth, held_bytes, self.limits.bytes.saturating_sub(held_bytes));
            SlotStats {
                reader_id: id.clone(),
                connected: around.reader(id).is_some(),
                state: state(&slot.record),
                sequence: slot.record.sequence,
                held_bytes,
                max_bytes: self.limits.bytes,
                updated: rfc3339(slot.record.updated_us),
                acknowledged: slot.acknowledged,
                lost_in_s: lost_in.map(|time| time.as_secs()),
            }
        });
        rows.collect()
    }

    /// What the file is to have, and the version that it reaches with that; `None`: it has all. When it cannot be
    /// written, [`unsaved`](Self::unsaved) is to be called.
    pub(crate) fn take_changes(&mut self) -> Option<(BTreeMap<String, Record>, u64)> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let records = self.slots.iter().map(|(id, slot)| (id.clone(), slot.filed())).collect();
        Some((records, self.version))
    }

    /// The file could not be written.
    pub(crate) fn unsaved(&mut self) {
        self.changed = true;
    }
}

fn state(record: &Record) -> &'static str {
    if record.is_lost { "lost" } else { "held" }
}

#[cfg(all(test, not(feature = "model")))]
mod tests;
