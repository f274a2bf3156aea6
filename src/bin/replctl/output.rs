//! What is written, and how numbers, times and foreign text look to people.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Stdout, Write};
use std::os::fd::AsFd;
use std::time::{Duration, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use replication::text;

/// Standard output, buffered. Every write may fail: its reader may be gone.
pub struct Out(BufWriter<Stdout>);

impl Out {
    /// Standard output of this process.
    pub fn new() -> Self {
        Self(BufWriter::with_capacity(64 << 10, io::stdout()))
    }

    /// Writes text as it is.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes())
    }

    /// Writes a line.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.text(text)?;
        self.text("\n")
    }

    /// Writes a JSON value as one line.
    pub fn json(&mut self, value: &serde_json::Value) -> io::Result<()> {
        self.line(&text::json(value))
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Says something beside the output. That nobody may be there to hear it is no reason to fail.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "replctl: {text}");
}

/// Waits a moment, or until a signal comes. Fails when the reader of standard output is gone, which no write would tell
/// while there is nothing to write.
pub fn pause(time: Duration) -> io::Result<()> {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let millis = PollTimeout::try_from(time).unwrap_or(PollTimeout::from(100u8));
    if !matches!(poll(&mut fds, millis), Ok(1)) {
        return Ok(());
    }
    let found = fds[0].revents().unwrap_or(PollFlags::empty());
    if found.intersects(PollFlags::POLLERR | PollFlags::POLLHUP) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    // A descriptor that is closed would be reported for ever.
    std::thread::sleep(time);
    Ok(())
}

/// A number of bytes: `512 B`, `3.4 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let n = (count.checked_ilog2().unwrap_or(0) / 10) as usize;
    if n == 0 {
        return format!("{count} B");
    }
    let tenths = (u128::from(count) * 10) >> (10 * n);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[n])
}

/// A time span: `85 ms`, `12 s`, `3 min`, `5 h`, `9 d`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The last microsecond of the year 9999, after which RFC 3339 has no times.
const LAST_TIME_US: u64 = 253_402_300_799_999_999;

/// A time in microseconds since the Unix epoch as RFC 3339, or as a number where that has no form for it.
pub fn time(unix_us: u64) -> String {
    if unix_us > LAST_TIME_US {
        return format!("{unix_us} us");
    }
    humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_micros(unix_us)).to_string()
}

/// Text of somebody else's for a terminal: nothing in it moves the cursor or ends the line.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    push_printable(&mut safe, text);
    safe
}

fn push_printable(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            c if text::is_hidden(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
}

/// Bytes as text: what is no UTF-8 as `\xNN`.
pub fn printable_bytes(bytes: &[u8]) -> String {
    let mut safe = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        push_printable(&mut safe, chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(safe, "\\x{byte:02x}");
        }
    }
    safe
}

/// Rows under headings, each column as wide as it must be. Numbers stand right.
pub struct Table {
    columns: &'static [(&'static str, Align)],
    rows: Vec<Vec<String>>,
}

/// Where the text of a column stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// At the left.
    Left,
    /// At the right, for numbers.
    Right,
}

impl Table {
    /// An empty table.
    pub fn new(columns: &'static [(&'static str, Align)]) -> Self {
        let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self { columns, rows: vec![head] }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Writes it.
    pub fn write(&self, out: &mut Out) -> io::Result<()> {
        let width = |n: usize| {
            self.rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(self.columns) {
                if !line.is_empty() {
                    line.push_str("  ");
                }
                let padding = " ".repeat(width - cell.chars().count());
                match align {
                    Align::Left => line.extend([cell.as_str(), padding.as_str()]),
                    Align::Right => line.extend([padding.as_str(), cell.as_str()]),
                }
            }
            out.line(line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_humanised_without_losing_their_order() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1023.9 KiB"),
            (1 << 20, "1.0 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn every_number_of_microseconds_is_a_time() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(time(LAST_TIME_US), "9999-12-31T23:59:59.999999Z");
        assert_eq!(time(LAST_TIME_US + 1), "253402300800000000 us");
        assert_eq!(time(u64::MAX), "18446744073709551615 us");
    }

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(printable("a\u{1b}[2J\nb\\ö\u{202e}"), "a\\u{1b}[2J\\nb\\\\ö\\u{202e}");
        assert_eq!(printable_bytes(b"a\xff\xc3\xb6\0"), "a\\xffö\\u{0}");
    }
}
