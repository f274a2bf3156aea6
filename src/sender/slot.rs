//! One slot: where it stands, what it holds, and how it moves. Values in, values out.

use std::cmp::Reverse;
use std::time::Duration;

use serde_json::{Value, json};

use super::forecast::{Rate, lost_in};
use crate::clock::{Now, Stamp};
use crate::error::Status;
use crate::host::EventKind;
use crate::log::Mark;
use crate::log::disk::slots::{SlotRecord, SlotState};
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::text::Escaped;

/// A slot that is lost within this time is reported.
const WARNING: Duration = Duration::from_secs(300);

/// One reader's slot.
pub(super) struct Slot {
    pub(super) record: SlotRecord,
    /// When it was last in use. The record has the same by the wall clock.
    pub(super) used: Stamp,
    /// The boot time at which the file last learned that it is in use.
    noted_us: u64,
    /// How its reader takes the log in.
    pub(super) pace: Rate,
    warned: bool,
    /// Its reader has acknowledged or proven something.
    pub(super) acknowledged: bool,
    /// What the log keeps besides, while the reader is connected.
    pub(super) hold: Option<Hold>,
}

/// A position before the slot's that is held as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// The reader proved a later position than was held, and may keep less than it has received. Until it acknowledges,
    /// this is held, and the file has the slot as it was.
    Unconfirmed { from: u64, filed: SlotRecord },
    /// Where the reader is served from, which it did not prove, as long as it is connected.
    Serving(u64),
}

/// What a round found.
pub(super) struct News {
    pub(super) kind: EventKind,
    pub(super) status: Status,
    pub(super) id: String,
    pub(super) sequence: u64,
    pub(super) text: String,
    pub(super) detail: Value,
}

/// How a slot sees its reader's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The entry behind which it began.
    pub(super) started_after: u64,
    /// What it is sure to have for ever.
    pub(super) kept: u64,
    /// What it acknowledged or proved.
    pub(super) received: u64,
    /// It acknowledged something, be it what it had.
    pub(super) has_acknowledged: bool,
}

impl Hold {
    pub(super) fn position(self) -> u64 {
        let (Self::Unconfirmed { from: position, .. } | Self::Serving(position)) = self;
        position
    }
}

impl Slot {
    pub(super) fn new(record: SlotRecord, used: Stamp, now: Now, acknowledged: bool) -> Self {
        let noted_us = now.boot_us;
        Self { record, used, noted_us, pace: Rate::default(), warned: false, acknowledged, hold: None }
    }

    /// One at `mark`.
    pub(super) fn at(mark: &Mark, acknowledged: bool, now: Now) -> Self {
        let record = SlotRecord {
            position: mark.position,
            sequence: mark.sequence,
            hash: mark.hash,
            updated_us: now.wall_us,
            state: SlotState::Held,
        };
        Self::new(record, Stamp::here(now), now, acknowledged)
    }

    /// The position from which on it keeps the log.
    pub(super) fn held_from(&self) -> u64 {
        self.hold.map_or(self.record.position, |hold| hold.position().min(self.record.position))
    }

    /// What the file is to have of it.
    pub(super) fn filed(&self) -> SlotRecord {
        let SlotRecord { updated_us, state, .. } = self.record;
        match self.hold {
            Some(Hold::Unconfirmed { filed, .. }) => SlotRecord { updated_us, state, ..filed },
            // The file tells by an unknown history that its reader has acknowledged nothing.
            _ if !self.acknowledged => SlotRecord { hash: UNKNOWN_HISTORY, ..self.record },
            _ => self.record,
        }
    }

    /// How much it is needed when all are in use, the least first: one that is lost, one that was never acknowledged, the one
    /// that was unused for longest. `None`: it is that of a connected reader that has acknowledged.
    pub(super) fn rank(&self, connected: bool, unused: Duration) -> Option<(u8, bool, Reverse<Duration>)> {
        let class = match (self.record.state, self.acknowledged) {
            (SlotState::Invalidated, _) => 0,
            (SlotState::Held, false) => 1,
            (SlotState::Held, true) if !connected => 2,
            (SlotState::Held, true) => return None,
        };
        Some((class, connected, Reverse(unused)))
    }

    pub(super) fn use_at(&mut self, now: Now) {
        (self.used, self.record.updated_us) = (Stamp::here(now), now.wall_us);
    }

    fn stand_at(&mut self, mark: &Mark) {
        (self.record.position, self.record.sequence, self.record.hash) = (mark.position, mark.sequence, mark.hash);
    }

    /// Takes account of a new connection of its reader at `mark`.
    pub(super) fn enter(&mut self, proven: bool, mark: &Mark, now: Now) {
        self.use_at(now);
        (self.pace, self.warned) = (Rate::default(), false);
        let (from, filed) = (self.held_from(), self.filed());
        self.hold = None;
        if proven {
            if mark.position > from {
                self.hold = Some(Hold::Unconfirmed { from, filed });
            }
            self.acknowledged = true;
            self.stand_at(mark);
        } else if mark.position < self.record.position {
            self.hold = Some(Hold::Serving(mark.position));
        }
    }

    /// Moves to where the reader is. `floor`: the last place known of the log at an entry or before it. Whether that is
    /// another place.
    pub(super) fn follow(&mut self, reader: Seen, floor: impl Fn(u64) -> Mark, passed: Duration, now: Now) -> bool {
        self.use_at(now);
        let (sequence, from) = (reader.kept, self.held_from());
        let mark = floor(sequence);
        let newly = !self.acknowledged && reader.received > 0;
        self.acknowledged |= newly;
        let moved = match self.hold {
            // What it has received and does not keep yet is still needed.
            Some(Hold::Unconfirmed { filed, .. }) if reader.has_acknowledged => {
                self.hold = None;
                // Where it stood before was acknowledged, or proven, too.
                if mark.position.max(filed.position) < self.record.position {
                    if mark.position > filed.position {
                        self.stand_at(&mark);
                    } else {
                        self.record = SlotRecord { updated_us: self.record.updated_us, ..filed };
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
            self.stand_at(&mark);
        } else if newly && self.record.hash == UNKNOWN_HISTORY {
            // The file did not tell the hash, so that of the next place before it has to do.
            self.stand_at(&floor(self.record.sequence));
        }
        self.pace.measure(self.held_from().saturating_sub(from), passed);
        moved || forward || newly
    }

    /// Whether the file should learn again that the slot is in use: far more often than it would expire.
    pub(super) fn note(&mut self, now: Now, expiry: Duration) -> bool {
        let due = Duration::from_micros(now.boot_us.saturating_sub(self.noted_us)) > expiry / 8;
        if due {
            self.noted_us = now.boot_us;
        }
        due
    }

    /// How long the slot lasts if log and reader go on as they do; `None`: for ever.
    pub(super) fn lost_in(&self, growth: Rate, behind: u64, left: u64) -> Option<Duration> {
        if self.record.state == SlotState::Held { lost_in(growth, self.pace, behind, left) } else { None }
    }

    fn news(&self, kind: EventKind, status: Status, id: &str, text: String, detail: Value) -> News {
        News { kind, status, id: id.to_owned(), sequence: self.record.sequence, text, detail }
    }

    pub(super) fn expired(&self, id: &str) -> News {
        let text = format!(
            "the slot of reader \"{}\" at {} was not used for too long and is gone",
            Escaped(id),
            self.record.sequence
        );
        self.news(EventKind::SlotExpired, Status::Ok, id, text, json!({}))
    }

    /// Of a file from a version that admitted ids with control characters: nobody can come back for the slot.
    pub(super) fn unusable(&self, id: &str) -> News {
        let (id, at) = (Escaped(id), self.record.sequence);
        let text = format!(
            "the slot of reader \"{id}\" at {at} is gone: the id has control characters, no reader may have it"
        );
        self.news(EventKind::SlotExpired, Status::InvalidArgument, &id.to_string(), text, json!({}))
    }

    pub(super) fn lost(&self, id: &str, behind: u64, max: u64) -> News {
        let text = format!(
            "the slot of reader \"{}\" at {} holds back {behind} bytes of the log, at most {max} are allowed: the log goes on without it",
            Escaped(id),
            self.record.sequence
        );
        self.news(EventKind::SlotLost, Status::WalRotated, id, text, json!({ "held_bytes": behind, "max_bytes": max }))
    }

    /// A warning, once until the danger has passed.
    pub(super) fn warning(&mut self, id: &str, growth: Rate, behind: u64, left: u64) -> Option<News> {
        let Some(time) = self.lost_in(growth, behind, left).filter(|time| *time < WARNING) else {
            self.warned = false;
            return None;
        };
        if std::mem::replace(&mut self.warned, true) {
            return None;
        }
        let seconds = time.as_secs();
        let text = format!("at this rate reader \"{}\" loses its place in the log in {seconds} s", Escaped(id));
        Some(self.news(EventKind::Lagging, Status::Ok, id, text, json!({ "lost_in_s": seconds })))
    }
}
