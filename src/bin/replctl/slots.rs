//! `replctl slots`: which readers a writer's log is kept for.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use replication::log::disk::slots::{SlotFile, SlotRecord, SlotRecords, SlotState};
use replication::log::disk::verify::inspect;
use serde_json::json;

use crate::args::Slots;
use crate::failure::{Exit, Failure};
use crate::output::{Align, Out, Table, bytes, duration, printable, time};
use crate::token::unreadable;

/// Prints them.
pub fn run(options: &Slots, out: &mut Out) -> Result<Exit, Failure> {
    let dir = &options.dir;
    let slots = load(dir)?;
    let end = inspect(dir)?.end.position;
    if !options.json && slots.is_empty() {
        out.line("no slots")?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&[
        ("READER", Align::Left),
        ("STATE", Align::Left),
        ("SEQUENCE", Align::Right),
        ("HELD", Align::Right),
        ("CHANGED", Align::Right),
    ]);
    for (id, slot) in &slots {
        let held = held_bytes(slot, end);
        if options.json {
            out.json(&json!({
                "reader_id": id,
                "state": state(slot),
                "sequence": slot.sequence,
                "held_bytes": held,
                "position": slot.position,
                "hash": slot.hash,
                "updated_us": slot.updated_us,
                "updated": time(slot.updated_us),
            }))?;
        } else {
            let held = if slot.state == SlotState::Held { bytes(held) } else { "-".into() };
            let age = format!("{} ago", duration(age(slot.updated_us)));
            table.row(vec![printable(id), state(slot).into(), slot.sequence.to_string(), held, age]);
        }
    }
    if !options.json {
        table.write(out)?;
    }
    Ok(Exit::Ok)
}

/// The slots of a directory that can be read.
pub fn load(dir: &Path) -> Result<SlotRecords, Failure> {
    std::fs::read_dir(dir).map_err(|error| unreadable(&dir.display().to_string(), &error))?;
    Ok(SlotFile::load(dir)?.1)
}

/// Bytes of the log that are kept for a slot.
pub fn held_bytes(slot: &SlotRecord, end: u64) -> u64 {
    match slot.state {
        SlotState::Held => end.saturating_sub(slot.position),
        SlotState::Invalidated => 0,
    }
}

/// What a slot does, in the words of the sender's statistics.
fn state(slot: &SlotRecord) -> &'static str {
    match slot.state {
        SlotState::Held => "held",
        SlotState::Invalidated => "lost",
    }
}

fn age(updated_us: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    now.saturating_sub(Duration::from_micros(updated_us))
}
