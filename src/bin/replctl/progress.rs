//! Shows the progress of a command: as a bar on a terminal, or as lines if the user asks for them.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use replication::log::disk::verify::{OwnedEntry, inspect};

use crate::output::{bytes, duration, note};

/// Commands that end sooner draw no bar.
const DRAWN_AFTER: Duration = Duration::from_secs(1);

/// How many times a second the bar is drawn.
const DRAWN_HZ: u8 = 5;

/// The time between two lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What the progress counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Entries,
}

impl Unit {
    fn style(self) -> ProgressStyle {
        // A terminal of 80 columns has room for it.
        let template = match self {
            Unit::Bytes => {
                "[{bar:16}] {percent}%, {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left"
            }
            Unit::Entries => "[{bar:16}] {percent}%, {pos} of {len} entries, {eta} left",
        };
        let bar = ProgressStyle::default_bar();
        bar.clone().template(template).unwrap_or(bar).progress_chars("=> ")
    }
}

/// The progress of a command.
pub struct Progress {
    begun: Instant,
    shown: Shown,
}

/// How it is shown.
enum Shown {
    Not,
    Lines { last: Option<Instant> },
    Bar { unit: Unit, target: Option<ProgressDrawTarget>, bar: Option<ProgressBar> },
}

impl Progress {
    /// Counts bytes. Shows a bar if standard error is a terminal, and otherwise lines if they are `wanted`.
    pub fn of_bytes(wanted: bool) -> Self {
        match (stderr(), wanted) {
            (Some(terminal), _) => Self::drawn_on(terminal, Unit::Bytes, Instant::now()),
            (None, true) => Self { begun: Instant::now(), shown: Shown::Lines { last: None } },
            (None, false) => Self::hidden(),
        }
    }

    /// Counts entries. Shows a bar if standard error is a terminal and standard output is a file: elsewhere the bar and
    /// the entries would mix.
    pub fn of_entries() -> Self {
        match stderr().filter(|_| stdout_is_file()) {
            Some(terminal) => Self::drawn_on(terminal, Unit::Entries, Instant::now()),
            None => Self::hidden(),
        }
    }

    /// Shows nothing.
    pub fn hidden() -> Self {
        Self { begun: Instant::now(), shown: Shown::Not }
    }

    fn drawn_on(target: ProgressDrawTarget, unit: Unit, begun: Instant) -> Self {
        Self { begun, shown: Shown::Bar { unit, target: Some(target), bar: None } }
    }

    /// Whether it shows anything.
    pub fn is_shown(&self) -> bool {
        !matches!(self.shown, Shown::Not)
    }

    /// Shows that `done` of `total` is done.
    pub fn advance(&mut self, done: u64, total: u64) {
        match &mut self.shown {
            Shown::Not => {}
            Shown::Lines { last } => {
                if last.is_none_or(|last| last.elapsed() >= LINE_EVERY) || done == total {
                    *last = Some(Instant::now());
                    note(&line(done, total, self.begun.elapsed()));
                }
            }
            Shown::Bar { bar: Some(bar), .. } => bar.set_position(done),
            Shown::Bar { unit, target, bar } => {
                let elapsed = self.begun.elapsed();
                if elapsed >= DRAWN_AFTER
                    && let Some(target) = target.take()
                {
                    let new = ProgressBar::with_draw_target(Some(total), target);
                    let new = new.with_style(unit.style()).with_elapsed(elapsed).with_position(done);
                    new.tick();
                    *bar = Some(new);
                }
            }
        }
    }

    /// Runs `print`, which writes to standard error, and takes the bar away meanwhile.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.shown {
            Shown::Bar { bar: Some(bar), .. } => bar.suspend(print),
            _ => print(),
        }
    }
}

/// Clears the line for what is printed next.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar { bar: Some(bar), .. } = &self.shown {
            bar.finish_and_clear();
        }
    }
}

/// The progress of printing the entries of a log.
pub struct Printing {
    pub progress: Progress,
    /// The last sequence that will be printed.
    last: u64,
    /// The most entries that will be printed.
    limit: u64,
    /// The sequence before the first printed entry.
    before: Option<u64>,
    /// The number of printed entries.
    count: u64,
}

impl Printing {
    /// For at most `limit` entries up to the sequence `to` of the log in `dir`.
    pub fn new(progress: Progress, dir: &Path, to: u64, limit: u64) -> Self {
        let mut printing = Self { progress, last: 0, limit, before: None, count: 0 };
        if printing.progress.is_shown() {
            match inspect(dir) {
                Ok(found) => printing.last = found.end.sequence.min(to),
                // The reader of the entries reports the error.
                Err(_) => printing.progress = Progress::hidden(),
            }
        }
        printing
    }

    /// Counts an entry that was printed.
    pub fn printed(&mut self, item: &OwnedEntry) {
        let before = *self.before.get_or_insert(item.previous);
        self.count += 1;
        // A stream may skip numbers, so sequences measure the progress unless the limit ends it.
        match self.last.saturating_sub(before) {
            distance if distance <= self.limit => {
                self.progress.advance((item.sequence - before).min(distance), distance);
            }
            _ => self.progress.advance(self.count, self.limit),
        }
    }
}

fn stderr() -> Option<ProgressDrawTarget> {
    io::stderr().is_terminal().then(|| ProgressDrawTarget::stderr_with_hz(DRAWN_HZ))
}

fn stdout_is_file() -> bool {
    let stdout = io::stdout().as_fd().try_clone_to_owned().map(std::fs::File::from);
    stdout.and_then(|file| file.metadata()).is_ok_and(|metadata| metadata.is_file())
}

fn line(done: u64, total: u64, elapsed: Duration) -> String {
    let elapsed = elapsed.max(Duration::from_millis(1));
    // In whole numbers: a log may have more bytes than a float counts.
    let speed = u128::from(done) * 1_000_000 / elapsed.as_micros();
    let left = u128::from(total - done.min(total)).checked_div(speed).unwrap_or(0);
    let left = duration(Duration::from_secs(u64::try_from(left).unwrap_or(u64::MAX)));
    let speed = bytes(u64::try_from(speed).unwrap_or(u64::MAX));
    format!("{} of {}, {speed}/s, {left} left", bytes(done), bytes(total))
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    fn drawn(terminal: &InMemoryTerm, unit: Unit, begun: Instant) -> Progress {
        Progress::drawn_on(ProgressDrawTarget::term_like(Box::new(terminal.clone())), unit, begun)
    }

    #[test]
    fn a_bar_is_drawn_after_a_second_and_leaves_nothing() {
        let terminal = InMemoryTerm::new(10, 80);
        let begun = Instant::now().checked_sub(DRAWN_AFTER).unwrap();
        let mut progress = drawn(&terminal, Unit::Bytes, begun);
        assert_eq!(terminal.contents(), "");
        progress.advance(1 << 20, 4 << 20);
        let bar = terminal.contents();
        assert!(bar.starts_with("[====>"), "{bar}");
        assert!(bar.contains("] 25%, 1.00 MiB of 4.00 MiB, ") && bar.ends_with(" left"), "{bar}");
        // The bar leaves room for a message.
        let within = progress.aside(|| terminal.contents());
        assert_eq!(within, "");
        progress.advance(4 << 20, 4 << 20);
        drop(progress);
        assert_eq!(terminal.contents(), "");

        let mut progress = drawn(&terminal, Unit::Entries, begun);
        progress.advance(7, 14);
        let bar = terminal.contents();
        assert!(bar.contains("] 50%, 7 of 14 entries, "), "{bar}");
    }

    #[test]
    fn nothing_is_drawn_in_the_first_second() {
        let terminal = InMemoryTerm::new(10, 80);
        let mut progress = drawn(&terminal, Unit::Bytes, Instant::now() + Duration::from_secs(60));
        for done in 0..1000 {
            progress.advance(done, 1000);
        }
        drop(progress);
        assert_eq!(terminal.moves_since_last_check(), "");
    }

    #[test]
    fn lines_tell_speed_and_time_left() {
        let text = line(3 << 20, 9 << 20, Duration::from_secs(3));
        assert_eq!(text, "3.0 MiB of 9.0 MiB, 1.0 MiB/s, 6 s left");
        assert_eq!(line(0, 9, Duration::ZERO), "0 B of 9 B, 0 B/s, 0 ms left");
    }
}
