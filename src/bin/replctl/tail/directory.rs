//! A log on disk, followed beside its writer.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use replication::error::Status;
use replication::log::disk::verify::{entries, inspect};

use super::Stop;
use crate::args::Tail;
use crate::dump::{gap, gone, view};
use crate::entry;
use crate::failure::{Exit, Failure};
use crate::output::{Out, note, pause};
use crate::progress::{Printing, Progress};
use crate::values::Begin;

/// How often the end is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Prints entries until the end, or until it is stopped.
pub fn run(dir: &Path, options: &Tail, stop: &Stop, out: &mut Out) -> Result<Exit, Failure> {
    let (after, mut expected) = match options.begin() {
        Begin::Oldest => (0, None),
        Begin::At(from) => (from - 1, Some(from)),
        Begin::End => (inspect(dir)?.end.sequence, None),
    };
    let mut all = entries(dir, after)?;
    let mut exit = Exit::Ok;
    let mut left = options.printed.limit;
    // A log that is followed has no end.
    let progress = if options.follow { Progress::hidden() } else { Progress::of_entries() };
    let mut printing = Printing::new(progress, dir, u64::MAX, left);
    while !stop.is_asked() {
        let item = match all.next() {
            Some(Ok(item)) => item,
            Some(Err(error)) if error.status == Status::SequenceGap => {
                out.flush()?;
                exit = printing.progress.aside(|| gap(&error.message));
                expected = None;
                continue;
            }
            Some(Err(error)) => return Err(error.into()),
            None => {
                out.flush()?;
                // Nothing may be left after what is gone.
                let last = all.mark().sequence;
                if let Some(from) = expected.filter(|from| last >= *from) {
                    (exit, expected) = (printing.progress.aside(|| gap(&gone(from, last))), None);
                }
                if options.follow {
                    pause(LOOK_EVERY)?;
                    continue;
                }
                drop(printing);
                if let Some(torn) = all.torn() {
                    let (bytes, last) = (torn.bytes, torn.after_sequence);
                    note(&format!("{bytes} bytes after entry {last} are no whole entry, or not yet"));
                }
                break;
            }
        };
        if let Some(from) = expected.take().filter(|from| item.previous >= *from) {
            exit = printing.progress.aside(|| gap(&gone(from, item.previous)));
        }
        entry::write(out, &view(&item), options.printed.form())?;
        printing.printed(&item);
        left -= 1;
        if left == 0 {
            break;
        }
    }
    Ok(exit)
}
