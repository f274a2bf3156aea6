//! `replctl inspect`: what is in a log's directory.

use std::path::Path;

use replication::log::disk::holder::{Holder, LockState, holder};
use replication::log::disk::position::PositionFile;
use replication::log::disk::slots::{SlotRecords, SlotState};
use replication::log::disk::verify::{Inspection, SegmentInfo, inspect};
use replication::protocol::handshake::hex;
use replication::protocol::token::Token;
use serde_json::{Value, json};

use crate::args::Inspect;
use crate::failure::{Exit, Failure};
use crate::output::{Align, Out, Table, bytes, printable, time};
use crate::slots;
use crate::token::{self, POSITION};

/// What was found in a directory.
struct Found {
    log: Inspection,
    slots: SlotRecords,
    applied: Option<Token>,
    /// `None` when there is no lock file; an error when it may not be read, which is no reason to say nothing else.
    holder: Result<Option<Holder>, String>,
}

/// Prints it.
pub fn run(options: &Inspect, out: &mut Out) -> Result<Exit, Failure> {
    let dir = &options.dir;
    let log = inspect(dir)?;
    let found = Found {
        slots: slots::load(dir)?,
        applied: PositionFile::read(dir, POSITION)?,
        holder: holder(dir).map_err(|error| error.message),
        log,
    };
    if options.json {
        out.json(&found.json(dir))?;
    } else {
        found.write(dir, out)?;
    }
    Ok(Exit::Ok)
}

impl Found {
    /// The epochs of the segments, each with the last sequence before it.
    fn epochs(&self) -> Vec<(u64, u64)> {
        let mut epochs: Vec<_> = self.log.segments.iter().map(|segment| (segment.epoch, segment.epoch_start)).collect();
        epochs.dedup();
        epochs
    }

    fn bytes(&self) -> u64 {
        self.log.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The last entry of a segment; of the last segment that is the log's.
    fn end_of(&self, segment: &SegmentInfo) -> (u64, u64) {
        let is_last = self.log.segments.last().is_some_and(|last| last.path == segment.path);
        let end = if is_last { self.log.end } else { segment.synced };
        (end.sequence, end.timestamp_us)
    }

    /// The first sequence and the first timestamp; `None` when there are no entries.
    fn first_of(&self, segment: &SegmentInfo) -> Option<(u64, u64)> {
        let base = segment.base.sequence;
        if self.end_of(segment).0 <= base {
            return None;
        }
        Some(segment.first.map_or((base + 1, segment.base.timestamp_us), |first| (first.sequence, first.timestamp_us)))
    }

    /// The first entry of all.
    fn oldest(&self) -> Option<(u64, u64)> {
        self.log.segments.iter().find_map(|segment| self.first_of(segment))
    }

    /// The slots that hold the log, how many are lost, and the bytes of the one that holds most.
    fn slot_counts(&self) -> (usize, usize, u64) {
        let held = self.slots.values().filter(|slot| slot.state == SlotState::Held).count();
        let most = self.slots.values().map(|slot| slots::held_bytes(slot, self.log.end.position)).max().unwrap_or(0);
        (held, self.slots.len() - held, most)
    }

    fn json(&self, dir: &Path) -> Value {
        let Inspection { lineage, segments, durable, end, torn } = &self.log;
        let oldest = self.oldest();
        let (held, lost, most) = self.slot_counts();
        let segments: Vec<Value> = segments.iter().map(|segment| self.json_of(segment)).collect();
        json!({
            "dir": dir.to_string_lossy(),
            "stream_id": hex(&lineage.stream_id),
            "epoch": lineage.epoch,
            "epochs": self.epochs().iter()
                .map(|(epoch, after)| json!({ "epoch": epoch, "after_sequence": after })).collect::<Vec<_>>(),
            "oldest_sequence": oldest.map(|(sequence, _)| sequence),
            "oldest_timestamp_us": oldest.map(|(_, timestamp)| timestamp),
            "newest_sequence": oldest.map(|_| end.sequence),
            "newest_timestamp_us": oldest.map(|_| end.timestamp_us),
            "after_sequence": self.log.segments.first().map(|segment| segment.base.sequence),
            "end": { "sequence": end.sequence, "position": end.position, "hash": end.hash },
            "durable": { "sequence": durable.sequence, "position": durable.position, "hash": durable.hash },
            "bytes": self.bytes(),
            "segments": segments,
            "torn": torn.as_ref().map(|torn| json!({
                "path": torn.path.to_string_lossy(),
                "offset": torn.offset,
                "bytes": torn.bytes,
                "after_sequence": torn.after_sequence,
                "reason": torn.reason,
            })),
            "applied": self.applied.as_ref().map(token::json_of),
            "slots": { "held": held, "lost": lost, "most_held_bytes": most },
            "lock": self.json_lock(),
        })
    }

    fn json_of(&self, segment: &SegmentInfo) -> Value {
        let (last, last_us) = self.end_of(segment);
        let first = self.first_of(segment);
        json!({
            "file": file_name(segment),
            "epoch": segment.epoch,
            "after_sequence": segment.base.sequence,
            "first_sequence": first.map(|(sequence, _)| sequence),
            "last_sequence": first.map(|_| last),
            "first_timestamp_us": first.map(|(_, timestamp)| timestamp),
            "last_timestamp_us": first.map(|_| last_us),
            "bytes": segment.bytes,
            "sealed": segment.sealed,
            "created_us": segment.created_us,
        })
    }

    fn json_lock(&self) -> Value {
        let state = |held| match held {
            LockState::Yes => "held",
            LockState::No => "free",
            LockState::Unknown => "unknown",
        };
        match &self.holder {
            Ok(Some(holder)) => json!({ "state": state(holder.held), "pid": holder.pid, "host": holder.host }),
            Ok(None) => json!({ "state": "free", "pid": null, "host": "" }),
            Err(error) => json!({ "state": "unknown", "pid": null, "host": "", "error": error }),
        }
    }

    fn write(&self, dir: &Path, out: &mut Out) -> Result<(), Failure> {
        let Inspection { lineage, segments, durable, end, torn } = &self.log;
        out.line(&format!("directory  {}", printable(&dir.to_string_lossy())))?;
        out.line(&format!("stream     {}", hex(&lineage.stream_id)))?;
        let epochs = self.epochs();
        let epochs: Vec<_> = epochs.iter().map(|(epoch, after)| format!("{epoch} (after {after})")).collect();
        out.line(&format!("epochs     {}", epochs.join(", ")))?;
        match self.oldest() {
            None => out.line(&format!("entries    none; the next one follows entry {}", end.sequence))?,
            Some((first, first_us)) => {
                out.line(&format!("entries    {first} to {}", end.sequence))?;
                out.line(&format!("times      {} to {}", time(first_us), time(end.timestamp_us)))?;
            }
        }
        let after = end.position.saturating_sub(durable.position);
        let after = if after > 0 { format!(" ({} after it are not known to be)", bytes(after)) } else { String::new() };
        out.line(&format!("durable    to {}{after}", durable.sequence))?;
        let count = segments.len();
        out.line(&format!(
            "size       {} in {count} segment{}",
            bytes(self.bytes()),
            if count == 1 { "" } else { "s" }
        ))?;
        out.line(&format!("lock       {}", self.lock_text()))?;
        if let Some(token) = &self.applied {
            let foreign = if token.stream_id == lineage.stream_id { "" } else { ", of another stream" };
            out.line(&format!("applied    to {} in epoch {}{foreign}", token.sequence, token.epoch))?;
        }
        if !self.slots.is_empty() {
            let (held, lost, most) = self.slot_counts();
            let lost = if lost > 0 { format!(", {lost} lost") } else { String::new() };
            out.line(&format!("slots      {held} held{lost}; the slowest holds {}", bytes(most)))?;
        }
        if let Some(torn) = torn {
            let (size, last) = (bytes(torn.bytes), torn.after_sequence);
            out.line(&format!("torn       {size} after entry {last}, being written now or left by a crash"))?;
        }
        out.line("")?;
        let mut table = Table::new(&[
            ("FILE", Align::Left),
            ("EPOCH", Align::Right),
            ("FIRST", Align::Right),
            ("LAST", Align::Right),
            ("SPAN", Align::Right),
            ("BYTES", Align::Right),
            ("STATE", Align::Left),
            ("FROM", Align::Left),
            ("TO", Align::Left),
        ]);
        for segment in segments {
            let (last, last_us) = self.end_of(segment);
            let [first, last, from, to] = match self.first_of(segment) {
                Some((first, first_us)) => [first.to_string(), last.to_string(), time(first_us), time(last_us)],
                None => ["-", "-", "-", "-"].map(str::to_owned),
            };
            let span = self.end_of(segment).0.saturating_sub(segment.base.sequence);
            let state = if segment.sealed { "sealed" } else { "active" };
            let (file, epoch) = (file_name(segment), segment.epoch.to_string());
            table.row(vec![file, epoch, first, last, span.to_string(), bytes(segment.bytes), state.into(), from, to]);
        }
        Ok(table.write(out)?)
    }

    fn lock_text(&self) -> String {
        let holder = match &self.holder {
            Ok(Some(holder)) => holder,
            Ok(None) => return "free; no writer was here".into(),
            Err(error) => return format!("not known: {error}"),
        };
        let pid = holder.pid.map_or("a process".into(), |pid| format!("process {pid}"));
        let host = match printable(&holder.host) {
            host if host.is_empty() => host,
            host => format!(" on {host}"),
        };
        match holder.held {
            LockState::Yes => format!("held by {pid}{host}"),
            LockState::No => format!("free; {pid}{host} held it last"),
            LockState::Unknown => format!("not known; {pid}{host} took it last"),
        }
    }
}

fn file_name(segment: &SegmentInfo) -> String {
    segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
