//! JSON as Go's `encoding/json` writes and reads it.

use std::borrow::Cow;
use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

/// Where encoded frames go.
pub trait Sink {
    /// Makes room for a frame of `length` bytes; `false` when there is none, and then nothing of it is put.
    fn begin(&mut self, length: usize) -> bool;
    /// Appends bytes.
    fn put(&mut self, bytes: &[u8]);
    /// Appends `bytes` as standard base64.
    fn put_base64(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    #[inline]
    fn begin(&mut self, length: usize) -> bool {
        self.reserve(length);
        true
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn put_base64(&mut self, bytes: &[u8]) {
        base64_simd::STANDARD.encode_append(bytes, self);
    }
}

/// A [`Sink`] over memory of a fixed size, such as a caller's buffer.
#[derive(Debug)]
pub struct FixedBuffer<'a> {
    room: &'a mut [u8],
    written: usize,
    needed: usize,
}

impl<'a> FixedBuffer<'a> {
    /// An empty buffer over `room`.
    pub fn new(room: &'a mut [u8]) -> Self {
        Self { room, written: 0, needed: 0 }
    }

    /// Bytes of all frames that were encoded, also of those that did not fit.
    pub fn needed(&self) -> usize {
        self.needed
    }

    /// The frames, or `None` when one did not fit.
    pub fn frames(&self) -> Option<&[u8]> {
        (self.written == self.needed).then(|| &self.room[..self.written])
    }
}

impl Sink for FixedBuffer<'_> {
    fn begin(&mut self, length: usize) -> bool {
        let fits = self.written == self.needed && length <= self.room.len() - self.written;
        self.needed = self.needed.saturating_add(length);
        fits
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.written + bytes.len();
        self.room[self.written..end].copy_from_slice(bytes);
        self.written = end;
    }

    fn put_base64(&mut self, bytes: &[u8]) {
        let end = self.written + base64_simd::STANDARD.encoded_length(bytes.len());
        let _ = base64_simd::STANDARD.encode(bytes, base64_simd::Out::from_slice(&mut self.room[self.written..end]));
        self.written = end;
    }
}

/// A [`Sink`] that only counts.
#[derive(Debug, Default)]
pub(super) struct Counter(pub usize);

impl Sink for Counter {
    fn begin(&mut self, _length: usize) -> bool {
        true
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }

    fn put_base64(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(base64_simd::STANDARD.encoded_length(bytes.len()));
    }
}

/// A [`Sink`] as serde_json writes to it.
pub(super) struct SinkWriter<'s, S>(pub &'s mut S);

impl<S: Sink> io::Write for SinkWriter<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes `value` as Go writes a structure with these members.
pub(super) fn write(out: &mut impl Sink, value: &impl Serialize) {
    let mut serializer = serde_json::Serializer::with_formatter(SinkWriter(out), GoFormatter);
    // A sink takes all bytes, and the messages have neither maps nor a `Serialize` that fails.
    let _ = value.serialize(&mut serializer);
}

/// Beside what JSON demands, Go escapes what a browser could take for markup or for a line's end.
struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, mut text: &str) -> io::Result<()> {
        while let Some(at) = text.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, rest) = text.split_at(at);
            out.write_all(plain.as_bytes())?;
            let mut rest = rest.chars();
            if let Some(escaped) = rest.next() {
                write!(out, "\\u{:04x}", u32::from(escaped))?;
            }
            text = rest.as_str();
        }
        out.write_all(text.as_bytes())
    }
}

/// Levels of nesting that Go reads, the message's own included.
pub(super) const MAX_DEPTH: usize = 10_000;

/// Where valid JSON is nested more deeply than Go reads.
pub(super) fn too_deep(json: &str) -> Option<usize> {
    if json.len() <= MAX_DEPTH {
        return None;
    }
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some(at);
                }
            }
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Whether `null` is all there is.
pub(super) fn is_null(json: &str) -> bool {
    const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];
    let rest = json.trim_start_matches(WHITE_SPACE).strip_prefix("null");
    rest.is_some_and(|rest| rest.trim_start_matches(WHITE_SPACE).is_empty())
}

/// Whether Go takes `text` for the member `name`, which is in lower case: it folds case as Unicode does for single
/// characters, where two letters of ASCII have a third form.
pub(super) fn is_same_name(name: &str, text: &str) -> bool {
    let mut letters = text.chars();
    name.chars().all(|expected| match letters.next() {
        Some('\u{17f}') => expected == 's',
        Some('\u{212a}') => expected == 'k',
        Some(letter) => letter.eq_ignore_ascii_case(&expected),
        None => false,
    }) && letters.next().is_none()
}

/// `json` with what Go reads as U+FFFD written as U+FFFD: each byte that is not UTF-8, and each half of a surrogate pair
/// alone. Bytes and escapes outside of strings are errors before and after.
pub(super) fn replace_invalid(json: &[u8]) -> Cow<'_, str> {
    let text = match std::str::from_utf8(json) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            let mut text = String::with_capacity(json.len() + json.len() / 8);
            for chunk in json.utf8_chunks() {
                text.push_str(chunk.valid());
                text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
            }
            Cow::Owned(text)
        }
    };
    replace_lone_surrogates(text)
}

/// The offset in `json` of what lies at `offset` of [`replace_invalid`]`(json)`.
pub(super) fn original_offset(json: &[u8], offset: usize) -> usize {
    let mut original = 0;
    let mut replaced = 0;
    for chunk in json.utf8_chunks() {
        if replaced + chunk.valid().len() >= offset {
            // An offset inside of a replacement character is that of the byte after it.
            return original + offset.saturating_sub(replaced);
        }
        original += chunk.valid().len();
        replaced += chunk.valid().len();
        for _ in chunk.invalid() {
            if replaced >= offset {
                return original;
            }
            original += 1;
            replaced += char::REPLACEMENT_CHARACTER.len_utf8();
        }
    }
    original
}

fn replace_lone_surrogates(text: Cow<'_, str>) -> Cow<'_, str> {
    const ESCAPE_LENGTH: usize = "\\uXXXX".len();
    let mut lone = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        at += found;
        let (length, is_lone) = match (surrogate(&text, at), surrogate(&text, at + ESCAPE_LENGTH)) {
            (Some(0xD800..0xDC00), Some(0xDC00..)) => (2 * ESCAPE_LENGTH, false),
            (Some(_), _) => (ESCAPE_LENGTH, true),
            // Whatever was escaped, a backslash included, is no start of an escape.
            (None, _) => (1 + text[at + 1..].chars().next().map_or(0, char::len_utf8), false),
        };
        if is_lone {
            lone.push(at);
        }
        at += length;
    }
    if lone.is_empty() {
        return text;
    }
    let mut replaced = text.into_owned();
    for at in lone {
        replaced.replace_range(at..at + ESCAPE_LENGTH, "\\ufffd");
    }
    Cow::Owned(replaced)
}

/// The half of a surrogate pair that is escaped at `at`.
fn surrogate(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(digits, 16).ok().filter(|unit| (0xD800..0xE000).contains(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write(&mut out, &text);
        let mut counter = Counter::default();
        write(&mut counter, &text);
        assert_eq!(counter.0, out.len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_ascii_character_is_written_as_go_writes_it() {
        for byte in 0..0x80_u8 {
            let expected = match byte {
                b'"' => "\"\\\"\"".to_string(),
                b'\\' => "\"\\\\\"".to_string(),
                0x08 => "\"\\b\"".to_string(),
                0x09 => "\"\\t\"".to_string(),
                0x0A => "\"\\n\"".to_string(),
                0x0C => "\"\\f\"".to_string(),
                0x0D => "\"\\r\"".to_string(),
                0..0x20 | b'<' | b'>' | b'&' => format!("\"\\u{byte:04x}\""),
                _ => format!("\"{}\"", char::from(byte)),
            };
            assert_eq!(written(&char::from(byte).to_string()), expected);
        }
    }

    #[test]
    fn only_the_line_separators_are_escaped_above_ascii() {
        assert_eq!(
            written("\u{2027}\u{2028}\u{2029}\u{202a}é漢😀\u{fffd}\u{7f}\u{80}"),
            "\"\u{2027}\\u2028\\u2029\u{202a}é漢😀\u{fffd}\u{7f}\u{80}\""
        );
        assert_eq!(written(""), "\"\"");
    }

    #[test]
    fn each_invalid_byte_becomes_one_replacement_character() {
        for (bytes, count) in [
            (&b"\xff\xfe"[..], 2),
            (b"\xe2\x82", 2),
            (b"\xf0\x9f\x98", 3),
            (b"\xed\xa0\x80", 3),
            (b"\xc0\x80", 2),
            (b"", 0),
        ] {
            let json = [b"{\"a", bytes, b"b\""].concat();
            assert_eq!(replace_invalid(&json), format!("{{\"a{}b\"", "\u{fffd}".repeat(count)));
            let replaced = replace_invalid(&json).len();
            assert_eq!(original_offset(&json, 0), 0);
            assert_eq!(original_offset(&json, 3), 3);
            assert_eq!(original_offset(&json, replaced - 1), json.len() - 1);
            assert_eq!(original_offset(&json, replaced), json.len());
        }
    }

    #[test]
    fn half_a_surrogate_pair_becomes_a_replacement_character() {
        for (text, expected) in [
            (r"\ud800", r"\ufffd"),
            (r"\udc00", r"\ufffd"),
            (r"\uDBFF\uDFFF", r"\uDBFF\uDFFF"),
            (r"\ud83d\ude00\ud83d", r"\ud83d\ude00\ufffd"),
            (r"\ud83dx\ude00", r"\ufffdx\ufffd"),
            (r"\ud83d\ud83d\ude00", r"\ufffd\ud83d\ude00"),
            (r"\ud83d\u0041", r"\ufffd\u0041"),
            (r"\\ud800", r"\\ud800"),
            (r"\\\ud800", r"\\\ufffd"),
            (r"\u+d80", r"\u+d80"),
            (r"\ud80", r"\ud80"),
            (r"\ud80é", r"\ud80é"),
            ("\\", "\\"),
            ("\\é", "\\é"),
        ] {
            assert_eq!(replace_invalid(text.as_bytes()), expected);
        }
    }
}
