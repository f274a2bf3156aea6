//! `replctl dump`: entries of a log on disk.

use replication::error::Status;
use replication::log::disk::verify::{OwnedEntry, entries, entries_since};

use crate::args::Dump;
use crate::entry::{self, View};
use crate::failure::{Exit, Failure};
use crate::output::{Out, note};
use crate::progress::{Printing, Progress};

/// Prints what is asked for.
pub fn run(options: &Dump, out: &mut Out) -> Result<Exit, Failure> {
    let after = options.from.map_or(0, |from| from - 1);
    let mut all = match options.since_us {
        Some(time) => entries_since(&options.dir, time)?,
        None => entries(&options.dir, after)?,
    };
    let mut exit = Exit::Ok;
    let mut left = options.printed.limit;
    let mut printing = Printing::new(Progress::of_entries(), &options.dir, options.to, left);
    // With a time, only what comes after that may be missing.
    let mut expected = options.from.filter(|_| options.since_us.is_none());
    for item in all.by_ref() {
        let item = match item {
            Ok(item) if item.sequence <= after => continue,
            Ok(item) if item.sequence > options.to && expected.is_none() => return Ok(exit),
            Ok(item) => item,
            Err(error) if error.status == Status::SequenceGap => {
                exit = printing.progress.aside(|| gap(&error.message));
                expected = None;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(from) = expected.take().filter(|from| item.previous >= *from) {
            exit = printing.progress.aside(|| gap(&gone(from, item.previous.min(options.to))));
        }
        if item.sequence > options.to {
            return Ok(exit);
        }
        entry::write(out, &view(&item), options.printed.form())?;
        printing.printed(&item);
        left -= 1;
        if left == 0 {
            return Ok(exit);
        }
    }
    drop(printing);
    // Nothing may be left after what is gone.
    let last = all.mark().sequence;
    if let Some(from) = expected.filter(|from| last >= *from) {
        exit = gap(&gone(from, last.min(options.to)));
    }
    if let Some(torn) = all.torn() {
        let (bytes, last) = (torn.bytes, torn.after_sequence);
        note(&format!("{bytes} bytes after entry {last} are no whole entry; `replctl verify` tells more"));
    }
    Ok(exit)
}

/// An entry of the disk, to be printed.
pub fn view(item: &OwnedEntry) -> View<'_> {
    View {
        sequence: item.sequence,
        previous: item.previous,
        timestamp_us: item.timestamp_us,
        epoch: Some(item.epoch),
        payload: &item.payload,
    }
}

/// What is said of entries that are not there any more.
pub fn gone(first: u64, last: u64) -> String {
    format!("entries {first} to {last} are gone: the log begins after them")
}

/// Reports a gap.
pub fn gap(text: &str) -> Exit {
    note(&format!("gap: {text}"));
    Exit::Gap
}
