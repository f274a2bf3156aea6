//! What becomes of slots when clocks are set. The defaults: a slot lives for a week.

use std::path::Path;
use std::sync::Arc;

use super::super::Sender;
use super::super::config::{SenderConfig, StorageConfig};
use super::super::core::Core;
use super::*;
use crate::host::{LogLevel, Observer};

struct Nobody;

impl Observer for Nobody {
    fn event(&mut self, _: &Event) {}

    fn log(&mut self, _: LogLevel, _: &str, _: &Value) {}

    fn max_level(&self) -> Option<LogLevel> {
        None
    }
}

const MINUTE: u64 = 60_000_000;
const DAY: u64 = 24 * 60 * MINUTE;

/// The core of a sender whose log is in `dir`.
fn open(dir: &Path) -> Arc<Core> {
    let storage = Some(StorageConfig::new(dir));
    let sender = Sender::new(SenderConfig { storage, ..SenderConfig::default() }, Box::new(Nobody)).unwrap();
    Arc::clone(&sender.core)
}

/// The clocks `passed` after `now`, when the wall clock was also set by some days.
fn later(now: Now, passed: u64, set_days: i64) -> Now {
    let wall_us = (now.wall_us + passed).saturating_add_signed(set_days * DAY as i64);
    Now { wall_us, boot_us: now.boot_us + passed }
}

/// Whether the slot of "absent" is there after a round.
fn lives(core: &Core, now: Now) -> bool {
    let slots = core.slots.as_ref().unwrap();
    slots.look_after(core.around_slots(), now);
    slots.state.lock().slots.contains_key("absent")
}

fn enter(core: &Core) {
    let slot = Slot::at(&core.log.disk().unwrap().written(), true, clock::now());
    let mut state = core.slots.as_ref().unwrap().state.lock();
    state.slots.insert("absent".into(), slot);
    state.changed = true;
}

/// Leaves a slot in `dir` that was in use `days` ago.
fn leave_slot(dir: &Path, days: u64) {
    let core = open(dir);
    enter(&core);
    let slots = core.slots.as_ref().unwrap();
    slots.state.lock().slots.get_mut("absent").unwrap().record.updated_us -= days * DAY;
    slots.save().unwrap();
}

#[test]
fn p2_a_slot_of_this_process_expires_by_the_boot_clock() {
    let dir = tempfile::tempdir().unwrap();
    let core = open(dir.path());
    enter(&core);
    let now = clock::now();
    for (minutes, set_days) in [(11, 0), (12, 30), (13, 0), (14, -30), (60, 365 * 50), (120, -365), (600, -365)] {
        assert!(lives(&core, later(now, minutes * MINUTE, set_days)), "{set_days} days");
    }
    assert!(lives(&core, later(now, 7 * DAY - MINUTE, -365)));
    assert!(!lives(&core, later(now, 7 * DAY + MINUTE, -365)));
}

#[test]
fn p2_a_slot_of_an_earlier_process_outlives_a_step_of_the_wall_clock() {
    for (set_days, gone_after) in [(30, 31 * MINUTE), (-30, 7 * DAY + MINUTE)] {
        let dir = tempfile::tempdir().unwrap();
        leave_slot(dir.path(), 1);
        let core = open(dir.path());
        let now = clock::now();
        assert!(lives(&core, later(now, 20 * MINUTE, 0)));
        for minutes in [21, 25, 30] {
            assert!(lives(&core, later(now, minutes * MINUTE, set_days)), "{set_days} days");
        }
        assert!(!lives(&core, later(now, gone_after, set_days)), "{set_days} days");
    }
}

/// A glitch of a second makes nothing expire, and the slot lives its week afterwards.
#[test]
fn p2_a_slot_outlives_a_wrong_second() {
    let dir = tempfile::tempdir().unwrap();
    leave_slot(dir.path(), 1);
    let core = open(dir.path());
    let now = clock::now();
    for (second, set_days) in [(0, 0), (1, 30), (2, 0), (3, -30), (4, 0)] {
        assert!(lives(&core, later(now, 11 * MINUTE + second * 1_000_000, set_days)), "{set_days} days");
    }
    assert!(lives(&core, later(now, 6 * DAY - MINUTE, 0)));
    assert!(!lives(&core, later(now, 6 * DAY + MINUTE, 0)));
}

#[test]
fn p2_a_slot_out_of_use_for_long_expires_ten_minutes_after_opening() {
    let dir = tempfile::tempdir().unwrap();
    leave_slot(dir.path(), 8);
    let core = open(dir.path());
    let now = clock::now();
    assert!(lives(&core, later(now, 9 * MINUTE, 0)));
    assert!(!lives(&core, later(now, 11 * MINUTE, 0)));
}

/// What the next process reads fits the clock that goes after a step.
#[test]
fn p2_slots_are_noted_anew_after_a_step() {
    let dir = tempfile::tempdir().unwrap();
    let core = open(dir.path());
    enter(&core);
    let now = clock::now();
    let slots = core.slots.as_ref().unwrap();
    for set_days in [30, -30] {
        assert!(lives(&core, later(now, MINUTE, set_days)));
        slots.save().unwrap();
        let noted = SlotFile::load(dir.path()).unwrap().1["absent"].updated_us;
        assert!(noted.abs_diff(later(now, 0, set_days).wall_us) < MINUTE, "{noted}");
    }
}
