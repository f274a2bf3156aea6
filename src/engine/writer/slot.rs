//! One slot: the position of a reader that the log on disk must keep, and how it moves.

use std::cmp::Reverse;
use std::time::Duration;

use serde_json::{Value, json};

use super::forecast::{Rate, lost_in};
use crate::clock::{Now, Stamp};
use crate::error::Status;
use crate::host::{Event, EventKind};
use crate::protocol::entry::{Mark, UNKNOWN_HISTORY};
use crate::text::Escaped;

/// A slot that would be lost within this time is reported.
const WARNING: Duration = Duration::from_secs(300);

/// What the slot file stores of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The position after the last entry that the reader no longer needs.
    pub(crate) position: u64,
    /// That entry.
    pub(crate) sequence: u64,
    /// The chain hash through it.
    pub(crate) hash: u64,
    /// When the slot was last in use, in microseconds since the Unix epoch.
    pub(crate) updated_us: u64,
    /// The slot was given up because it held back too much of the log; it holds nothing any more.
    pub(crate) is_lost: bool,
}

/// One reader's slot.
pub(crate) struct Slot {
    pub(crate) record: Record,
    /// When it was last in use. The record has the same by the wall clock.
    pub(crate) used: Stamp,
    /// The boot time at which the file was last told that the slot is in use.
    noted_us: u64,
    /// How fast its reader advances.
    pub(crate) pace: Rate,
    warned: bool,
    /// The reader has acknowledged or proven something.
    pub(crate) acknowledged: bool,
    /// An earlier position that is kept as well, while the reader is connected.
    pub(crate) hold: Option<Hold>,
}

/// A position before the slot's own that the log keeps as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The reader proved a later position than the slot had, but may have stored less than it received. Until it
    /// acknowledges, the log is kept from `from` on, and the file keeps the slot as it was.
    Unconfirmed { from: u64, filed: Record },
    /// The position that a connected reader is served from without having proven it.
    Serving(u64),
}

/// What a slot needs to know of its reader's connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// The sequence after which the connection began.
    pub(crate) started_after: u64,
    /// The last entry that the reader is sure to keep for ever.
    pub(crate) kept: u64,
    /// What it acknowledged or proved.
    pub(crate) received: u64,
    /// It has acknowledged something on this connection, be it only its start.
    pub(crate) has_acknowledged: bool,
}

impl Hold {
    pub(crate) fn position(self) -> u64 {
        let (Self::Unconfirmed { from: position, .. } | Self::Serving(position)) = self;
        position
    }
}

impl Slot {
    pub(crate) fn new(record: Record, used: Stamp, now: Now, acknowledged: bool) -> Self {
        let noted_us = now.boot_us;
        Self { record, used, noted_us, pace: Rate::default(), warned: false, acknowledged, hold: None }
    }

    /// A slot at `mark`.
    pub(crate) fn at(mark: &Mark, acknowledged: bool, now: Now) -> Self {
        let record = Record {
            position: mark.position,
            sequence: mark.sequence,
            hash: mark.hash,
            updated_us: now.wall_us,
            is_lost: false,
        };
        Self::new(record, Stamp::here(now), now, acknowledged)
    }

    /// The position from which the slot keeps the log.
    pub(crate) fn held_from(&self) -> u64 {
        self.hold.map_or(self.record.position, |hold| hold.position().min(self.record.position))
    }

    /// What the slot file is to store.
    pub(crate) fn filed(&self) -> Record {
        let Record { updated_us, is_lost, .. } = self.record;
        match self.hold {
            Some(Hold::Unconfirmed { filed, .. }) => Record { updated_us, is_lost, ..filed },
            // In the file, an unknown history says that the reader has acknowledged nothing.
            _ if !self.acknowledged => Record { hash: UNKNOWN_HISTORY, ..self.record },
            _ => self.record,
        }
    }

    /// The order in which slots are given up when all are in use: one that is lost, one that was never acknowledged,
    /// the one that was unused for longest. `None`: it belongs to a connected reader that has acknowledged, and stays.
    pub(crate) fn rank(&self, connected: bool, unused: Duration) -> Option<(u8, bool, Reverse<Duration>)> {
        let class = match (self.record.is_lost, self.acknowledged) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) if !connected => 2,
            (false, true) => return None,
        };
        Some((class, connected, Reverse(unused)))
    }

    pub(crate) fn use_at(&mut self, now: Now) {
        (self.used, self.record.updated_us) = (Stamp::here(now), now.wall_us);
    }

    fn set_mark(&mut self, mark: &Mark) {
        (self.record.position, self.record.sequence, self.record.hash) = (mark.position, mark.sequence, mark.hash);
    }

    /// Its reader connected at `mark`.
    pub(crate) fn enter(&mut self, proven: bool, mark: &Mark, now: Now) {
        self.use_at(now);
        (self.pace, self.warned) = (Rate::default(), false);
        let (from, filed) = (self.held_from(), self.filed());
        self.hold = None;
        if proven {
            if mark.position > from {
                self.hold = Some(Hold::Unconfirmed { from, filed });
            }
            self.acknowledged = true;
            self.set_mark(mark);
        } else if mark.position < self.record.position {
            self.hold = Some(Hold::Serving(mark.position));
        }
    }

    /// Moves with the reader. `floor`: the last index point of the log at an entry or before it. Returns whether the
    /// file is to be written.
    pub(crate) fn follow(&mut self, reader: Seen, floor: impl Fn(u64) -> Mark, passed: Duration, now: Now) -> bool {
        self.use_at(now);
        let kept = if mutant!("slot-ahead-of-reader") { reader.received.saturating_add(1000) } else { reader.kept };
        let (sequence, from) = (kept, self.held_from());
        let mark = floor(sequence);
        let newly = !self.acknowledged && reader.received > 0;
        self.acknowledged |= newly;
        let moved = match self.hold {
            // What the reader received and has not stored yet is still needed.
            Some(Hold::Unconfirmed { filed, .. }) if reader.has_acknowledged => {
                self.hold = None;
                // The slot's earlier position was acknowledged or proven as well.
                if mark.position.max(filed.position) < self.record.position {
                    if mark.position > filed.position {
                        self.set_mark(&mark);
                    } else {
                        self.record = Record { updated_us: self.record.updated_us, ..filed };
                    }
                }
                true
            }
            Some(Hold::Serving(at)) => {
                let at = if sequence > reader.started_after { at.max(mark.position) } else { at };
                self.hold = (at < self.record.position).then_some(Hold::Serving(at));
                false
            }
            _ => false,
        };
        let forward = sequence > self.record.sequence && mark.position > self.record.position;
        if forward {
            self.set_mark(&mark);
        } else if newly && self.record.hash == UNKNOWN_HISTORY {
            // The file had no hash, so the index point before it has to do.
            self.set_mark(&floor(self.record.sequence));
        }
        self.pace.measure(self.held_from().saturating_sub(from), passed);
        moved || forward || newly
    }

    /// Whether it is time to store again that the slot is in use, which is done far more often than a slot expires.
    pub(crate) fn note(&mut self, now: Now, expiry: Duration) -> bool {
        let due = Duration::from_micros(now.boot_us.saturating_sub(self.noted_us)) > expiry / 8;
        if due {
            self.noted_us = now.boot_us;
        }
        due
    }

    /// How long the slot lasts if the log grows and the reader advances as they do now; `None`: for ever.
    pub(crate) fn lost_in(&self, growth: Rate, held: u64, left: u64) -> Option<Duration> {
        if self.record.is_lost { None } else { lost_in(growth, self.pace, held, left) }
    }

    fn event(&self, kind: EventKind, status: Status, id: &str, text: String, detail: Value) -> Event {
        let mut event = Event::new(kind, status, text);
        (event.reader_id, event.sequence, event.detail) = (id.to_owned(), self.record.sequence, detail);
        event
    }

    /// The event that it expired.
    pub(crate) fn expired(&self, id: &str) -> Event {
        let text = format!(
            "the slot of reader \"{}\" at {} was not used for too long and is gone",
            Escaped(id),
            self.record.sequence
        );
        self.event(EventKind::SlotExpired, Status::Ok, id, text, json!({}))
    }

    /// The event that a slot of an older version's file is removed: its reader id has control characters, so nobody can
    /// come back for it.
    pub(crate) fn unusable(&self, id: &str) -> Event {
        let (id, at) = (Escaped(id), self.record.sequence);
        let text = format!(
            "the slot of reader \"{id}\" at {at} is gone: the id has control characters, no reader may have it"
        );
        self.event(EventKind::SlotExpired, Status::InvalidArgument, &id.to_string(), text, json!({}))
    }

    /// The event that it held back too much.
    pub(crate) fn lost(&self, id: &str, held: u64, max: u64) -> Event {
        let text = format!(
            "the slot of reader \"{}\" at {} holds back {held} bytes of the log, at most {max} are allowed: the log goes on without it",
            Escaped(id),
            self.record.sequence
        );
        self.event(EventKind::SlotLost, Status::WalRotated, id, text, json!({ "held_bytes": held, "max_bytes": max }))
    }

    /// The event that it will soon be lost, once until the danger has passed.
    pub(crate) fn warning(&mut self, id: &str, growth: Rate, held: u64, left: u64) -> Option<Event> {
        let Some(time) = self.lost_in(growth, held, left).filter(|time| *time < WARNING) else {
            self.warned = false;
            return None;
        };
        if std::mem::replace(&mut self.warned, true) {
            return None;
        }
        let seconds = time.as_secs();
        let text = format!("at this rate reader \"{}\" loses its place in the log in {seconds} s", Escaped(id));
        Some(self.event(EventKind::Lagging, Status::Ok, id, text, json!({ "lost_in_s": seconds })))
    }
}
