//! Parses the values of arguments.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::builder::{OsStringValueParser, TypedValueParser};

/// Where `tail` begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At the oldest entry there is.
    Oldest,
    /// At this sequence.
    At(u64),
    /// After the last one there is.
    End,
}

/// What `tail` reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A log's directory.
    Directory(PathBuf),
    /// A writer.
    Writer(String),
}

/// Parses a value that is text. The parser of clap does not name the argument that is not UTF-8.
pub fn text<T: Clone + Send + Sync + 'static>(
    parse: fn(&str) -> Result<T, String>,
) -> impl TypedValueParser<Value = T> {
    OsStringValueParser::new().try_map(move |value: OsString| match value.to_str() {
        Some(text) => parse(text),
        None => Err("it is not UTF-8".to_owned()),
    })
}

/// A number of at least 1.
pub fn positive(text: &str) -> Result<u64, String> {
    // `parse` alone would take a plus sign as well.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number @ 1..) if digits => Ok(number),
        _ => Err(format!("it is not a number from 1 to {}", u64::MAX)),
    }
}

/// A sequence, or `end`.
pub fn begin(text: &str) -> Result<Begin, String> {
    match text {
        "end" => Ok(Begin::End),
        text => positive(text).map(Begin::At).map_err(|error| format!("{error}, nor `end`")),
    }
}

/// The digits of a token.
pub fn token(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// A directory or the address of a writer. An address has a colon and no slash, or begins with `unix:`, and so does
/// each one of a list. A directory that exists counts as one even if its name looks like an address.
pub fn source(operand: PathBuf) -> Source {
    match operand.to_str() {
        Some(text) if text.starts_with("unix:") || is_writer(text) && !Path::new(text).is_dir() => {
            Source::Writer(text.to_owned())
        }
        _ => Source::Directory(operand),
    }
}

fn is_writer(text: &str) -> bool {
    let is_address = |piece: &str| piece.starts_with("unix:") || piece.contains(':') && !piece.contains('/');
    text.split(',').map(str::trim).all(is_address)
}

/// A time in microseconds since the Unix epoch.
pub fn time(text: &str) -> Result<u64, String> {
    let since_epoch = |time: SystemTime| {
        let span = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
    };
    let parsed = if let Some(seconds) = text.strip_prefix('@') {
        unix_seconds(seconds)
    } else if let Ok(span) = humantime::parse_duration(text) {
        Some(SystemTime::now().checked_sub(span).map_or(0, since_epoch))
    } else {
        let day = format!("{text}T00:00:00Z");
        let time = humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339(&day));
        time.ok().map(since_epoch)
    };
    parsed.ok_or_else(|| "it is not a time such as 2026-01-31, 2026-01-31T12:00:00Z, @1769860800 or 15m".to_owned())
}

/// Seconds with at most six places after the point, in microseconds.
fn unix_seconds(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 6 {
        return None;
    }
    let micros: u64 = format!("{part:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(text: &str) -> Option<u64> {
        time(text).ok()
    }

    #[test]
    fn times_are_read_in_each_form() {
        assert_eq!(since("2026-01-31"), Some(1_769_817_600_000_000));
        assert_eq!(since("2026-01-31T00:00:01Z"), Some(1_769_817_601_000_000));
        assert_eq!(since("2026-01-31 00:00:01.5"), Some(1_769_817_601_500_000));
        assert_eq!(since("@1769817600"), Some(1_769_817_600_000_000));
        assert_eq!(since("@1.5"), Some(1_500_000));
        assert_eq!(since("@18446744073709.551615"), Some(u64::MAX));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        let ago = now - since("1h 30m").unwrap();
        assert!((5_300_000_000..5_500_000_000).contains(&ago), "{ago}");
        assert_eq!(since("1000000y"), Some(0));
        for text in ["", "yesterday", "@", "@1.", "@-1", "@1.0000001", "@18446744073709.551616", "2026-13-01", "5"] {
            assert_eq!(since(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_whole_and_exact() {
        let number = |text: &str| positive(text).ok();
        assert_eq!(number("18446744073709551615"), Some(u64::MAX));
        assert_eq!(number("1"), Some(1));
        for text in ["0", "+1", "-1", "", "1e3", "18446744073709551616", " 1"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
