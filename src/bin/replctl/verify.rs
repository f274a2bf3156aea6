//! `replctl verify`: whether a log is whole.

use std::path::Path;

use replication::error::{Error, Status};
use replication::log::disk::position::PositionFile;
use replication::log::disk::verify::{Verification, entries, verify};
use replication::protocol::handshake::hex;
use replication::protocol::token::Token;
use serde_json::{Value, json};

use crate::args::Verify;
use crate::failure::{Exit, Failure};
use crate::output::{Out, bytes};
use crate::progress::Progress;
use crate::slots;
use crate::token::{self, POSITION};

/// A log that is whole, with what lies beside it.
struct Whole {
    report: Verification,
    slots: usize,
    applied: Option<Token>,
}

/// Reads everything and prints the result.
pub fn run(options: &Verify, out: &mut Out) -> Result<Exit, Failure> {
    let mut progress = Progress::of_bytes(options.progress);
    let checked = check(&options.dir, &mut |done, total| progress.advance(done, total));
    drop(progress);
    let whole = match checked {
        Ok(whole) => whole,
        Err(Failure::Failed { exit: Exit::Damaged, text }) => {
            if options.json {
                out.json(&json_of_damage(&text))?;
            } else {
                out.line(&format!("DAMAGED: {text}"))?;
            }
            return Ok(Exit::Damaged);
        }
        Err(failure) => return Err(failure),
    };
    if options.json {
        out.json(&whole.json())?;
    } else {
        whole.write(out)?;
    }
    Ok(if whole.report.torn.is_some() { Exit::Torn } else { Exit::Ok })
}

fn check(dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Whole, Failure> {
    let report = verify(dir, progress)?;
    let slots = slots::load(dir)?.len();
    let applied = PositionFile::read(dir, POSITION)?;
    if let Some(token) = &applied {
        check_position(dir, token, &report)?;
    }
    Ok(Whole { report, slots, applied })
}

/// Whether a reader's position is one of this log's history, as far as that is here.
fn check_position(dir: &Path, token: &Token, report: &Verification) -> Result<(), Failure> {
    let path = dir.join(POSITION);
    let bad = |text: String| {
        let text = format!("{}: the position after entry {} {text}", path.display(), token.sequence);
        Err(Failure::from(Error::new(Status::Damaged, text)))
    };
    if token.stream_id != report.lineage.stream_id {
        let theirs = hex(&token.stream_id);
        return bad(format!("is one of stream {theirs}, the log is of {}", hex(&report.lineage.stream_id)));
    }
    if token.sequence <= report.oldest.sequence || token.sequence > report.end.sequence || token.hash == 0 {
        return Ok(());
    }
    match entries(dir, token.sequence - 1)?.next().transpose()? {
        Some(entry) if entry.sequence == token.sequence && entry.mark.hash != 0 && entry.mark.hash != token.hash => {
            bad("is one of another history than the log's: the chain hashes differ".into())
        }
        _ => Ok(()),
    }
}

impl Whole {
    fn json(&self) -> Value {
        let Verification { lineage, segments, entries, oldest, end, torn, trimmed } = &self.report;
        json!({
            "result": if torn.is_some() { "torn" } else { "ok" },
            "stream_id": hex(&lineage.stream_id),
            "epoch": lineage.epoch,
            "segments": segments,
            "entries": entries,
            "after_sequence": oldest.sequence,
            "last_sequence": end.sequence,
            "entry_bytes": end.position.saturating_sub(oldest.position),
            "hash": end.hash,
            "segments_trimmed_meanwhile": trimmed,
            "slots": self.slots,
            "applied": self.applied.as_ref().map(token::json_of),
            "torn": torn.as_ref().map(|torn| json!({
                "path": torn.path.to_string_lossy(),
                "offset": torn.offset,
                "bytes": torn.bytes,
                "after_sequence": torn.after_sequence,
                "reason": torn.reason,
            })),
        })
    }

    fn write(&self, out: &mut Out) -> Result<(), Failure> {
        let Verification { lineage, segments, entries, oldest, end, torn, trimmed } = &self.report;
        if let Some(torn) = torn {
            out.line(&format!("TORN TAIL: {}: at byte {}: {}", torn.path.display(), torn.offset, torn.reason))?;
            out.line(&format!(
                "{} after entry {} are no whole entry, as a crash leaves them. Nothing that was durable is missing; \
                 the next opening of the log cuts them off.",
                bytes(torn.bytes),
                torn.after_sequence
            ))?;
        }
        let size = bytes(end.position.saturating_sub(oldest.position));
        let plural = if *segments == 1 { "" } else { "s" };
        out.line(&format!(
            "{}{entries} entries, {size}, after {} to {}, in {segments} segment{plural}",
            if torn.is_some() { "Before them: " } else { "OK: " },
            oldest.sequence,
            end.sequence
        ))?;
        out.line(&format!(
            "stream {}, epoch {}, chain hash {:016x}",
            hex(&lineage.stream_id),
            lineage.epoch,
            end.hash
        ))?;
        if self.slots > 0 {
            out.line(&format!("slots: {}, whole", self.slots))?;
        }
        if let Some(token) = &self.applied {
            out.line(&format!("applied: to {}, whole", token.sequence))?;
        }
        if *trimmed > 0 {
            out.line(&format!("retention removed {trimmed} segments meanwhile"))?;
        }
        Ok(())
    }
}

/// The library's text of damage begins with the file and the byte.
fn json_of_damage(text: &str) -> Value {
    let place = text.split_once(": at byte ").and_then(|(path, rest)| {
        let offset: u64 = rest.split(':').next()?.parse().ok()?;
        Some((path, offset))
    });
    json!({
        "result": "damaged",
        "path": place.map(|(path, _)| path),
        "offset": place.map(|(_, offset)| offset),
        "message": text,
    })
}
