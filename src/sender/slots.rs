//! Slots: what each reader still needs of the log on disk, remembered over restarts of both.
//!
//! A slot keeps the log from going before its reader has it, up to a cap; then the slot is lost and the log goes. Where
//! a slot stands is known by index points of the log, so it holds a little more than its reader needs.
//!
//! A slot moves with what its reader acknowledges, and to a position that the reader proves. A Sync by itself moves none.
//!
//! The file follows within a [`ROUND`]: what it has of a slot that moved forward keeps more than is needed. What would keep
//! less, a slot that is new or went back, is in the file before its reader is told that it may follow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::config::StorageConfig;
use super::forecast::Rate;
use super::reader::Reader;
use super::registry::Registry;
use super::slot::{Hold, News, Seen, Slot};
use crate::engine::writer::standing::Claim;
use crate::clock::{self, Ages, Now, Stamp, rfc3339};
use crate::error::{Result, Status};
use crate::host::{Event, EventKind};
use crate::log::disk::Dir;
use crate::log::disk::slots::{MAX_SLOTS, SlotFile, SlotRecord, SlotState};
use crate::log::{Log, Mark, RETRY};
use crate::protocol::check_reader_id;
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::runtime::timeout;
use crate::sync::Mutex;
use crate::threads;
use crate::text::Escaped;

/// How often slots are looked after.
pub(super) const ROUND: Duration = Duration::from_secs(1);

/// How long a reader waits for its slot to be in the file. On a disk that takes longer it is served without.
const PATIENCE: Duration = Duration::from_secs(1);

/// What slots look at: the log that they hold, and the readers that they are for.
///
/// The log is told what to hold with the lock of the slots, so that of two threads the later one tells it of both.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) log: &'a Log,
    pub(super) readers: &'a Registry,
}

/// The slots of a sender with a log on disk.
pub(super) struct Slots {
    file: SlotFile,
    config: StorageConfig,
    max: usize,
    state: Mutex<State>,
    /// A reader waits for the file.
    awaited: Notify,
    /// The [`State::version`] that was last written, or could not be.
    saved: watch::Sender<u64>,
}

struct State {
    slots: BTreeMap<String, Slot>,
    changed: bool,
    /// Counts changes by which the file keeps too little.
    version: u64,
    ages: Ages,
    looked_at: Instant,
    /// The log's end at that time.
    end: u64,
    /// How the log grows.
    growth: Rate,
    /// A connected reader has no slot.
    lacking: bool,
    /// Readers that got no slot, or lost theirs to another one while they were connected.
    refused: u64,
    /// Slots that were given up for others.
    given_up: u64,
    /// How many of them the host was not told of yet.
    untold: u64,
}

impl Slots {
    /// Takes the slots of before from the file.
    pub(super) fn load(dir: Arc<Dir>, config: &StorageConfig, max: usize) -> Result<Self> {
        let (file, slots) = SlotFile::load_in(dir)?;
        let now = clock::now();
        let slot = |record: SlotRecord| {
            let used = Stamp::Noted { wall_us: record.updated_us };
            Slot::new(record, used, now, record.hash != UNKNOWN_HISTORY)
        };
        let slots = slots.into_iter().map(|(id, record)| (id, slot(record))).collect();
        let state = State {
            slots,
            changed: false,
            version: 0,
            ages: Ages::new(now),
            looked_at: clock::instant(),
            end: 0,
            growth: Rate::default(),
            lacking: false,
            refused: 0,
            given_up: 0,
            untold: 0,
        };
        Ok(Self {
            file,
            config: config.clone(),
            max: max.min(MAX_SLOTS),
            state: Mutex::new(state),
            awaited: Notify::new(),
            saved: watch::Sender::new(0),
        })
    }

    /// A reader attached at `mark`: puts its slot where it belongs. Without a proof that it has what lies before, its slot
    /// stays where it is. Gives the version to wait for, if the file keeps less than the slot.
    pub(super) fn enter(
        &self,
        around: Around,
        reader: &Reader,
        claim: Claim,
        mark: &Mark,
    ) -> (Option<u64>, Vec<Event>) {
        let mut events = Vec::new();
        let now = clock::now();
        let mut state = self.state.lock();
        let before = state.held_at(&reader.id);
        match state.slots.get_mut(&reader.id) {
            Some(slot) if slot.record.state == SlotState::Held => slot.enter(claim.proven, mark, now),
            // A lost slot holds nothing that could be moved.
            Some(slot) => *slot = Slot::at(mark, claim.proven, now),
            None => {
                let slot = Slot::at(mark, claim.proven, now);
                self.add(around, &mut state, reader, slot, now, &mut events);
            }
        }
        state.changed = true;
        around.log.hold_from(state.held_from());
        let keeps_more = state.held_at(&reader.id).is_some_and(|at| before.is_none_or(|before| at < before));
        let version = keeps_more.then(|| {
            state.version += 1;
            state.version
        });
        (version, events)
    }

    /// Returns when the log keeps as much after a crash, too, as far as the disk allows.
    pub(super) async fn saved(&self, version: u64) {
        self.awaited.notify_one();
        // If it cannot be written, which is reported, the reader is served all the same.
        let _ = timeout(PATIENCE, self.saved.subscribe().wait_for(|saved| *saved >= version)).await;
    }

    /// Returns when a reader waits for the file.
    pub(super) async fn awaited(&self) {
        self.awaited.notified().await;
    }

    /// Adds a slot, in the place of another one if all are in use, or tells that there is none. A reader without one is
    /// served, and finds its place as long as retention keeps it.
    fn add(&self, around: Around, state: &mut State, reader: &Reader, slot: Slot, now: Now, events: &mut Vec<Event>) {
        if state.slots.len() >= self.max && !self.make_room(around, state, now, events) {
            events.push(self.refuse(state, reader));
            return;
        }
        state.slots.insert(reader.id.clone(), slot);
        state.changed = true;
    }

    /// Gives up the slot that is needed least. `false`: all are needed.
    fn make_room(&self, around: Around, state: &mut State, now: Now, events: &mut Vec<Event>) -> bool {
        let rank = |id: &str, slot: &Slot| slot.rank(around.readers.get(id).is_some(), state.ages.of(slot.used, now));
        let ranked = state.slots.iter().filter_map(|(id, slot)| Some((rank(id, slot)?, id)));
        let Some(id) = ranked.min().map(|(_, id)| id.clone()) else { return false };
        let Some(slot) = state.slots.remove(&id) else { return false };
        state.given_up += 1;
        if let Some(reader) = around.readers.get(&id) {
            events.push(self.refuse(state, &reader));
        } else if slot.record.state == SlotState::Held && slot.acknowledged {
            let text = format!(
                "the slot of reader \"{}\" at {} was given up for another one: all {} slots are in use, and it was unused for longest",
                Escaped(&id),
                slot.record.sequence,
                self.max
            );
            let mut event = Event::new(EventKind::SlotExpired, Status::BufferFull, text);
            (event.reader_id, event.sequence) = (id, slot.record.sequence);
            events.push(event);
        } else {
            state.untold += 1;
        }
        true
    }

    fn refuse(&self, state: &mut State, reader: &Reader) -> Event {
        state.lacking = true;
        state.refused += 1;
        reader.slot_refused.store(true, Ordering::Relaxed);
        let text = format!(
            "reader \"{}\" has no slot: all {} are in use. It is served, but the log waits for it no longer than retention does",
            Escaped(&reader.id),
            self.max
        );
        let mut event = Event::new(EventKind::SlotRefused, Status::BufferFull, text);
        event.sequence = reader.started_after;
        event.detail = json!({ "max_slots": self.max });
        reader.peer().concerns(&mut event);
        event
    }

    /// Gives connected readers that have no slot one, as soon as there is room or they have acknowledged something.
    fn supply(&self, around: Around, state: &mut State, now: Now, events: &mut Vec<Event>) {
        if !std::mem::take(&mut state.lacking) {
            return;
        }
        let Some(disk) = around.log.disk() else { return };
        for reader in around.readers.connected() {
            if !reader.slot_refused.load(Ordering::Relaxed) || state.slots.contains_key(&reader.id) {
                continue;
            }
            let acknowledged = reader.positions().received > 0;
            if state.slots.len() >= self.max && !(acknowledged && self.make_room(around, state, now, events)) {
                state.lacking = true;
                continue;
            }
            reader.slot_refused.store(false, Ordering::Relaxed);
            let at = kept(&reader).max(reader.started_after);
            state.slots.insert(reader.id.clone(), Slot::at(&disk.floor(at), acknowledged, now));
            state.changed = true;
        }
    }

    /// The last entry of which a reader's slot knows that the reader has it.
    pub(super) fn vouched(&self, id: &str) -> u64 {
        let state = self.state.lock();
        let slot = state.slots.get(id).filter(|slot| slot.acknowledged && slot.record.state == SlotState::Held);
        slot.map_or(0, |slot| slot.record.sequence)
    }

    /// Readers that got no slot, and slots that were given up for others.
    pub(super) fn counts(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.refused, state.given_up)
    }

    /// Gives a slot up. `false`: there is none.
    pub(super) fn drop_slot(&self, log: &Log, id: &str) -> bool {
        let mut state = self.state.lock();
        let dropped = state.slots.remove(id).is_some();
        state.changed |= dropped;
        log.hold_from(state.held_from());
        dropped
    }

    /// Has the log keep what the slots need. Before the sender runs.
    pub(super) fn hold(&self, log: &Log) {
        let mut state = self.state.lock();
        state.end = log.end();
        if log.last_mark().hash == UNKNOWN_HISTORY {
            // No slot of this log has a hash.
            state.slots.values_mut().for_each(|slot| slot.acknowledged = true);
        }
        log.hold_from(state.held_from());
    }

    /// Moves slots with their readers, and gives up those over the cap or out of use. Gives what the host is to hear of that,
    /// and of what is to come.
    pub(super) fn look_after(&self, around: Around, now: Now) -> Vec<Event> {
        let (mut news, mut events) = (Vec::new(), Vec::new());
        let mut state = self.state.lock();
        let passed = clock::since(state.looked_at);
        let end = around.log.end();
        let grown = end.saturating_sub(state.end);
        state.growth.measure(grown, passed);
        (state.end, state.looked_at) = (end, clock::instant());
        let clock_was_set = state.ages.observe(now);
        let (growth, ages, expiry) = (state.growth, state.ages, self.config.slot_expiry);
        let mut changed = clock_was_set;
        state.slots.retain(|id, slot| {
            if clock_was_set {
                // What a later process reads fits the clock as it goes now.
                slot.record.updated_us = slot.used.wall_us(now);
            }
            if check_reader_id(id).is_err() {
                news.push(slot.unusable(id));
                changed = true;
                return false;
            }
            let reader = around.readers.get(id);
            if let Some(reader) = &reader {
                if let Some(disk) = around.log.disk() {
                    changed |= slot.follow(seen(reader), |sequence| disk.floor(sequence), passed, now);
                }
                changed |= slot.note(now, expiry);
            } else {
                slot.pace = Rate::STILL;
                slot.hold = slot.hold.filter(|hold| matches!(hold, Hold::Unconfirmed { .. }));
            }
            if reader.is_none() && ages.of(slot.used, now) > expiry {
                news.push(slot.expired(id));
                changed = true;
                return false;
            }
            if slot.record.state == SlotState::Held {
                let behind = end.saturating_sub(slot.record.position);
                if behind > self.config.slot_max_bytes {
                    slot.record.state = SlotState::Invalidated;
                    changed = true;
                    news.push(slot.lost(id, behind, self.config.slot_max_bytes));
                } else {
                    news.extend(slot.warning(id, growth, behind, self.config.slot_max_bytes - behind));
                }
                if slot.hold.is_some_and(|hold| end.saturating_sub(hold.position()) > self.config.slot_max_bytes) {
                    slot.hold = None;
                }
            }
            true
        });
        state.changed |= changed;
        self.supply(around, &mut state, now, &mut events);
        around.log.hold_from(state.held_from());
        let untold = std::mem::take(&mut state.untold);
        drop(state);
        if untold > 0 {
            let text = format!(
                "all {} slots are in use: {untold} that were lost or never acknowledged anything were given up for new readers",
                self.max
            );
            let mut event = Event::new(EventKind::SlotExpired, Status::BufferFull, text);
            event.detail = json!({ "slots_given_up": untold });
            events.push(event);
        }
        for News { kind, status, id, sequence, text, detail } in news {
            let mut event = Event::new(kind, status, text);
            (event.reader_id, event.sequence, event.detail) = (id, sequence, detail);
            events.push(event);
        }
        events
    }

    /// Writes the slots to their file if they changed. Waits for the disk.
    pub(super) fn save(&self) -> Result<()> {
        let mut state = self.state.lock();
        if !std::mem::take(&mut state.changed) {
            return Ok(());
        }
        let records = state.slots.iter().map(|(id, slot)| (id.clone(), slot.filed())).collect();
        let version = state.version;
        drop(state);
        let saved = self.file.store(&records).inspect_err(|_| self.state.lock().changed = true);
        self.saved.send_replace(version);
        saved
    }

    /// The same; a disk that refuses for now is tried again until `deadline`.
    pub(super) fn save_by(&self, deadline: Instant) -> Result<()> {
        loop {
            match self.save() {
                Err(error) if error.status.is_passing() && clock::instant() < deadline => threads::pause(RETRY),
                saved => return saved,
            }
        }
    }

    /// Where a reader's slot stands in a log that ends at `end`, for the statistics: its state, its sequence, and the bytes that
    /// it holds. All null when it has none.
    pub(super) fn of_reader(&self, end: u64, id: &str) -> [Value; 3] {
        match self.state.lock().slots.get(id) {
            Some(Slot { record, .. }) => {
                [record.state.into(), record.sequence.into(), end.saturating_sub(record.position).into()]
            }
            None => [Value::Null, Value::Null, Value::Null],
        }
    }

    /// The slots as JSON, by reader id.
    pub(super) fn json(&self, around: Around) -> Value {
        let state = self.state.lock();
        let end = around.log.end();
        let mut ids: Vec<_> = state.slots.keys().collect();
        ids.sort();
        let rows = ids.into_iter().map(|id| {
            let slot = &state.slots[id];
            let behind = end.saturating_sub(slot.record.position);
            json!({
                "reader_id": id,
                "connected": around.readers.get(id).is_some(),
                "state": Value::from(slot.record.state),
                "sequence": slot.record.sequence,
                "held_bytes": behind,
                "max_bytes": self.config.slot_max_bytes,
                "updated": rfc3339(slot.record.updated_us),
                "acknowledged": slot.acknowledged,
                "lost_in_s": slot.lost_in(state.growth, behind, self.config.slot_max_bytes.saturating_sub(behind)).map(|time| time.as_secs()),
            })
        });
        Value::Array(rows.collect())
    }
}

impl From<SlotState> for Value {
    fn from(state: SlotState) -> Self {
        Value::from(if state == SlotState::Held { "held" } else { "lost" })
    }
}

impl State {
    /// Where this reader's slot holds the log as the file is to have it, if it does.
    fn held_at(&self, id: &str) -> Option<u64> {
        let slot = self.slots.get(id).filter(|slot| slot.record.state == SlotState::Held);
        slot.map(|slot| slot.filed().position)
    }

    fn held_from(&self) -> u64 {
        let held = self.slots.values().filter(|slot| slot.record.state == SlotState::Held);
        held.map(Slot::held_from).min().unwrap_or(u64::MAX)
    }
}

fn seen(reader: &Reader) -> Seen {
    let (received, has_acknowledged) = (reader.positions().received, reader.has_acknowledged());
    Seen { started_after: reader.started_after, kept: kept(reader), received, has_acknowledged }
}

/// What a reader is sure to have for ever, by what it said on this connection, since it may have another way to store entries
/// than before: durable where it says so, else applied, which is all that v1 readers have too.
fn kept(reader: &Reader) -> u64 {
    let positions = reader.acknowledged_here();
    match (reader.v2, positions.durable) {
        (false, _) => positions.received,
        (true, 0) => positions.applied,
        (true, durable) => durable,
    }
}

#[cfg(all(test, not(model)))]
mod clock_tests;
