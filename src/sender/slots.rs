//! Slots: what each reader still needs of the log on disk, remembered over restarts of both.
//!
//! A slot keeps the log from going before its reader has it, up to a cap; then the slot is lost and the log goes. Where
//! a slot stands is known by index points of the log, so it holds a little more than its reader needs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::config::StorageConfig;
use super::core::Core;
use super::reader::Reader;
use crate::clock::{self, Ages, Now, Stamp, rfc3339};
use crate::error::{Result, Status};
use crate::host::{Event, EventKind};
use crate::log::disk::Dir;
use crate::log::disk::slots::{SlotFile, SlotRecord, SlotState};
use crate::log::{Mark, RETRY};
use crate::sync::Mutex;

/// How often slots are looked after.
pub(super) const ROUND: Duration = Duration::from_secs(1);

/// A slot that is lost within this time is reported.
const WARNING: Duration = Duration::from_secs(300);

/// The slots of a sender with a log on disk.
pub(super) struct Slots {
    file: SlotFile,
    config: StorageConfig,
    max: usize,
    state: Mutex<State>,
}

struct State {
    slots: HashMap<String, Slot>,
    changed: bool,
    ages: Ages,
    looked_at: Instant,
    /// The log's end at that time.
    end: u64,
    /// Bytes a second that the log grows by, smoothed.
    growth: f64,
}

struct Slot {
    record: SlotRecord,
    /// When it was last in use. The record has the same by the wall clock.
    used: Stamp,
    /// The boot time at which the file last learned that it is in use.
    noted_us: u64,
    /// Bytes a second that its reader takes in, smoothed.
    pace: f64,
    warned: bool,
}

/// What a round found.
struct News {
    kind: EventKind,
    status: Status,
    id: String,
    sequence: u64,
    text: String,
    detail: Value,
}

impl Slots {
    /// Takes the slots of before from the file.
    pub(super) fn load(dir: Arc<Dir>, config: &StorageConfig, max: usize) -> Result<Self> {
        let (file, slots) = SlotFile::load_in(dir)?;
        let now = clock::now();
        let slots = slots
            .into_iter()
            .map(|(id, record)| (id, Slot::new(record, Stamp::Noted { wall_us: record.updated_us }, now)))
            .collect();
        let state =
            State { slots, changed: false, ages: Ages::new(now), looked_at: Instant::now(), end: 0, growth: 0.0 };
        Ok(Self { file, config: config.clone(), max, state: Mutex::new(state) })
    }

    /// A reader attached at `mark`: its slot stands there, also when it stood further ahead before.
    pub(super) fn enter(&self, core: &Core, id: &str, mark: &Mark) {
        let mut state = self.state.lock();
        if !state.slots.contains_key(id) && state.slots.len() >= self.max {
            // As bounded as everything: it is served, and finds its place as long as retention keeps it.
            return;
        }
        let now = clock::now();
        let record = SlotRecord {
            position: mark.position,
            sequence: mark.sequence,
            hash: mark.hash,
            updated_us: now.wall_us,
            state: SlotState::Held,
        };
        state.slots.insert(id.to_owned(), Slot::new(record, Stamp::here(now), now));
        state.changed = true;
        core.log.hold_from(state.held_from());
    }

    /// Gives a slot up. `false`: there is none.
    pub(super) fn drop_slot(&self, core: &Core, id: &str) -> bool {
        let mut state = self.state.lock();
        let dropped = state.slots.remove(id).is_some();
        state.changed |= dropped;
        core.log.hold_from(state.held_from());
        dropped
    }

    /// Has the log keep what the slots need. Before the sender runs.
    pub(super) fn hold(&self, core: &Core) {
        let mut state = self.state.lock();
        state.end = core.log.end();
        core.log.hold_from(state.held_from());
    }

    /// Moves slots with their readers, gives up those over the cap or out of use, and reports what is to come.
    pub(super) fn look_after(&self, core: &Core, now: Now) {
        let mut news = Vec::new();
        let mut state = self.state.lock();
        let passed = state.looked_at.elapsed().as_secs_f64().max(0.001);
        let end = core.log.end();
        state.growth = smooth(state.growth, end.saturating_sub(state.end) as f64 / passed);
        (state.end, state.looked_at) = (end, Instant::now());
        let clock_was_set = state.ages.observe(now);
        let (growth, ages, expiry) = (state.growth, state.ages, self.config.slot_expiry);
        let mut changed = clock_was_set;
        state.slots.retain(|id, slot| {
            if clock_was_set {
                // What a later process reads fits the clock as it goes now.
                slot.record.updated_us = slot.used.wall_us(now);
            }
            let reader = core.readers.get(id);
            if let Some(reader) = &reader {
                changed |= slot.follow(core, reader, passed, now) | slot.note(now, expiry);
            } else if ages.of(slot.used, now) > expiry {
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
                    news.extend(slot.warning(id, growth, self.config.slot_max_bytes - behind));
                }
            }
            true
        });
        state.changed |= changed;
        core.log.hold_from(state.held_from());
        drop(state);
        for News { kind, status, id, sequence, text, detail } in news {
            let mut event = Event::new(kind, status, text);
            (event.reader_id, event.sequence, event.detail) = (id, sequence, detail);
            core.mailbox.event(event);
        }
    }

    /// Writes the slots to their file if they changed. Waits for the disk.
    pub(super) fn save(&self) -> Result<()> {
        let mut state = self.state.lock();
        if !std::mem::take(&mut state.changed) {
            return Ok(());
        }
        let records = state.slots.iter().map(|(id, slot)| (id.clone(), slot.record)).collect();
        drop(state);
        self.file.store(&records).inspect_err(|_| self.state.lock().changed = true)
    }

    /// The same; a disk that refuses for now is tried again until `deadline`.
    pub(super) fn save_by(&self, deadline: Instant) -> Result<()> {
        loop {
            match self.save() {
                Err(error) if error.status.is_passing() && Instant::now() < deadline => std::thread::sleep(RETRY),
                saved => return saved,
            }
        }
    }

    /// Where a reader's slot stands, for the statistics: its state, its sequence, and the bytes that it holds. All null when it
    /// has none.
    pub(super) fn of_reader(&self, core: &Core, id: &str) -> [Value; 3] {
        let end = core.log.end();
        match self.state.lock().slots.get(id) {
            Some(Slot { record, .. }) => {
                [record.state.into(), record.sequence.into(), end.saturating_sub(record.position).into()]
            }
            None => [Value::Null, Value::Null, Value::Null],
        }
    }

    /// The slots as JSON, by reader id.
    pub(super) fn json(&self, core: &Core) -> Value {
        let state = self.state.lock();
        let end = core.log.end();
        let mut ids: Vec<_> = state.slots.keys().collect();
        ids.sort();
        let rows = ids.into_iter().map(|id| {
            let slot = &state.slots[id];
            let behind = end.saturating_sub(slot.record.position);
            json!({
                "reader_id": id,
                "connected": core.readers.get(id).is_some(),
                "state": Value::from(slot.record.state),
                "sequence": slot.record.sequence,
                "held_bytes": behind,
                "max_bytes": self.config.slot_max_bytes,
                "updated": rfc3339(slot.record.updated_us),
                "lost_in_s": slot.lost_in(state.growth, self.config.slot_max_bytes.saturating_sub(behind)).map(|time| time.as_secs()),
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
    fn held_from(&self) -> u64 {
        let held = self.slots.values().filter(|slot| slot.record.state == SlotState::Held);
        held.map(|slot| slot.record.position).min().unwrap_or(u64::MAX)
    }
}

fn smooth(before: f64, now: f64) -> f64 {
    before * 0.7 + now * 0.3
}

/// What a reader is sure to have for ever: durable where it says so, else applied, which is all that v1 readers have too.
fn kept(reader: &Reader) -> u64 {
    let positions = reader.positions();
    match (reader.v2, positions.durable) {
        (false, _) => positions.received,
        (true, 0) => positions.applied,
        (true, durable) => durable,
    }
}

impl Slot {
    fn new(record: SlotRecord, used: Stamp, now: Now) -> Self {
        Self { record, used, noted_us: now.boot_us, pace: 0.0, warned: false }
    }

    /// Moves to where the reader is. Whether that is another place.
    fn follow(&mut self, core: &Core, reader: &Reader, passed: f64, now: Now) -> bool {
        (self.used, self.record.updated_us) = (Stamp::here(now), now.wall_us);
        let sequence = kept(reader);
        let Some(disk) = core.log.disk().filter(|_| sequence > self.record.sequence) else {
            self.pace = smooth(self.pace, 0.0);
            return false;
        };
        let mark = disk.floor(sequence);
        self.pace = smooth(self.pace, mark.position.saturating_sub(self.record.position) as f64 / passed);
        let moved = mark.position > self.record.position;
        if moved {
            (self.record.position, self.record.sequence, self.record.hash) = (mark.position, mark.sequence, mark.hash);
        }
        moved
    }

    /// Whether the file should learn again that the slot is in use: far more often than it would expire.
    fn note(&mut self, now: Now, expiry: Duration) -> bool {
        let due = Duration::from_micros(now.boot_us.saturating_sub(self.noted_us)) > expiry / 8;
        if due {
            self.noted_us = now.boot_us;
        }
        due
    }

    /// How long the slot lasts if log and reader go on as they do; `None`: for ever.
    fn lost_in(&self, growth: f64, left: u64) -> Option<Duration> {
        let closing_in = growth - self.pace;
        (self.record.state == SlotState::Held && closing_in >= 1.0)
            .then(|| Duration::try_from_secs_f64(left as f64 / closing_in).unwrap_or(Duration::MAX))
    }

    fn news(&self, kind: EventKind, status: Status, id: &str, text: String, detail: Value) -> News {
        News { kind, status, id: id.to_owned(), sequence: self.record.sequence, text, detail }
    }

    fn expired(&self, id: &str) -> News {
        let text =
            format!("the slot of reader \"{id}\" at {} was not used for too long and is gone", self.record.sequence);
        self.news(EventKind::SlotExpired, Status::Ok, id, text, json!({}))
    }

    fn lost(&self, id: &str, behind: u64, max: u64) -> News {
        let text = format!(
            "the slot of reader \"{id}\" at {} holds back {behind} bytes of the log, at most {max} are allowed: the log goes on without it",
            self.record.sequence
        );
        self.news(EventKind::SlotLost, Status::WalRotated, id, text, json!({ "held_bytes": behind, "max_bytes": max }))
    }

    /// A warning, once until the danger has passed.
    fn warning(&mut self, id: &str, growth: f64, left: u64) -> Option<News> {
        let Some(time) = self.lost_in(growth, left).filter(|time| *time < WARNING) else {
            self.warned = false;
            return None;
        };
        if std::mem::replace(&mut self.warned, true) {
            return None;
        }
        let seconds = time.as_secs();
        let text = format!("at this rate reader \"{id}\" loses its place in the log in {seconds} s");
        Some(self.news(EventKind::Lagging, Status::Ok, id, text, json!({ "lost_in_s": seconds })))
    }
}

/// Looks after the slots while the sender runs.
pub(super) async fn keep(core: Arc<Core>) {
    let mut tick = tokio::time::interval(ROUND);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut phase = core.phase.subscribe();
    let mut failing = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = phase.wait_for(|phase| *phase == super::core::Phase::Closing) => return,
        }
        let working = Arc::clone(&core);
        let saved = tokio::task::spawn_blocking(move || {
            let (slots, disk) = (working.slots.as_ref()?, working.log.disk()?);
            slots.look_after(&working, clock::now());
            let saved = slots.save();
            // A log that lost its directory ends, which the thread that stores it tells.
            let ended = saved.is_err() && (disk.check_identity().is_err() && !disk.is_usable());
            (!ended).then_some(saved)
        });
        match saved.await {
            Ok(None) => return,
            Ok(Some(Err(error))) if !std::mem::replace(&mut failing, true) => {
                let text = format!("the slots cannot be written, a restart finds them as before: {}", error.message);
                core.mailbox.event(Event::new(EventKind::LogStalled, error.status, text));
            }
            Ok(Some(Ok(()))) if std::mem::take(&mut failing) => {
                let text = "the slots are written again";
                core.mailbox.event(Event::new(EventKind::LogResumed, Status::Ok, text));
            }
            _ => {}
        }
    }
}

#[cfg(all(test, not(model)))]
mod clock_tests;
