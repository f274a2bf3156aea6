//! Makes text from outside safe for logs, terminals and parsers.
//!
//! Text from a peer, a file or a host's id may contain characters that act on whatever shows it: line ends, terminal
//! escapes, marks that reverse a line. [`Escaped`] shows such a part of a text: escaped and of limited length.
//! [`printable`] is the last line of defence for a finished text: errors and events go through it. [`json`] writes JSON
//! with the same characters escaped.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// The most characters of one text from outside that are shown.
pub const MAX_CHARS: usize = 256;

/// Whether this is a control character: C0, DEL, C1, a line or paragraph separator, or one that overrides the direction
/// of text. Ids must not contain one.
pub fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether this character is escaped where text is shown: a control or an invisible character.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// The first control character of `text`, and its byte offset.
pub fn first_control(text: &str) -> Option<(usize, char)> {
    text.char_indices().find(|(_, c)| is_control(*c))
}

/// A text from outside as part of one of ours. Control and invisible characters, quotes and backslashes are escaped,
/// and after [`MAX_CHARS`] characters it ends with an ellipsis.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, c) in self.0.chars().enumerate() {
            if count == MAX_CHARS {
                return f.write_char('…');
            }
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if is_hidden(c) => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The same for a sentence from outside, such as the message of an Error frame: quotes, which are normal in sentences,
/// are not escaped.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.char_indices().nth(MAX_CHARS).map(|(end, _)| end);
        f.write_str(&printable(Cow::Borrowed(&self.0[..end.unwrap_or(self.0.len())])))?;
        if end.is_some() { f.write_char('…') } else { Ok(()) }
    }
}

/// A finished text with control and invisible characters escaped. Applied twice it changes nothing more.
pub fn printable(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// A value as JSON in which control and invisible characters are escaped, also those that JSON allows in strings.
pub fn json(value: &impl serde::Serialize) -> String {
    // Only a map whose keys are no texts, or a `Serialize` that fails by itself, has no JSON.
    printable_json(serde_json::to_string(value).unwrap_or_default())
}

/// JSON in which control and invisible characters are escaped. Apart from white space, which our writers do not use,
/// JSON has such characters in strings only.
pub fn printable_json(json: String) -> String {
    if !json.chars().any(is_hidden) {
        return json;
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_hidden(c) {
            push_json_escape(&mut safe, c);
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Appends the JSON escape of a character, `\u0085`; two for one above U+FFFF.
pub fn push_json_escape(out: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Writing to a string cannot fail.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every character that acts on a terminal or a line, in one text.
    fn hostile() -> String {
        let controls = (0..=0x1f_u32).chain(0x7f..=0x9f).chain([0x2028, 0x2029]);
        let marks = (0x202a..=0x202e).chain(0x2066..=0x2069).chain([0x200f, 0xfeff, 0xe0041]);
        controls.chain(marks).filter_map(char::from_u32).collect()
    }

    #[test]
    fn p8_no_hostile_character_is_shown() {
        let hostile = hostile();
        assert_eq!(hostile.chars().count(), 32 + 33 + 2 + 5 + 4 + 3);
        let json = json(&serde_json::json!({ (hostile.clone()): hostile.clone() }));
        for shown in [Escaped(&hostile).to_string(), printable(Cow::Borrowed(&hostile)).into_owned(), json.clone()] {
            assert!(!shown.chars().any(|c| hostile.contains(c)), "{shown:?}");
        }
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read[hostile.as_str()], hostile.as_str());
        assert!(hostile.chars().take(76).all(is_control));
    }

    #[test]
    fn a_text_is_escaped_once() {
        for (text, shown) in [
            ("reader-1", "reader-1"),
            ("é漢😀 <&>", "é漢😀 <&>"),
            ("a\nb\u{1b}[2J", "a\\nb\\u{1b}[2J"),
            ("x\" y\\", "x\\\" y\\\\"),
            ("\0\u{7f}\u{9b}\u{202e}", "\\u{0}\\u{7f}\\u{9b}\\u{202e}"),
        ] {
            assert_eq!(Escaped(text).to_string(), shown);
            assert_eq!(printable(Cow::Borrowed(shown)), shown);
        }
        assert_eq!(Quoted("no entry \"x\"\r\n").to_string(), "no entry \"x\"\\r\\n");
    }

    #[test]
    fn p5_a_strangers_text_is_capped() {
        for (length, shown) in [(MAX_CHARS, MAX_CHARS), (MAX_CHARS + 1, MAX_CHARS + 1), (100_000, MAX_CHARS + 1)] {
            let text = "ö".repeat(length);
            for capped in [Escaped(&text).to_string(), Quoted(&text).to_string()] {
                assert_eq!(capped.chars().count(), shown);
                assert_eq!(capped.ends_with('…'), length > MAX_CHARS);
            }
        }
    }

    #[test]
    fn ids_may_have_everything_but_controls() {
        for good in ["reader-1", "ledger@10.0.0.1:9000", "読者", "a b\u{200d}c", "x\"y\\"] {
            assert_eq!(first_control(good), None);
        }
        for (bad, at) in [("nul\0tail", 3), ("\u{1b}[2J", 0), ("é\u{85}", 2), ("a\u{202e}", 1), ("a\u{2028}b", 1)] {
            assert_eq!(first_control(bad).map(|(at, _)| at), Some(at), "{bad:?}");
        }
    }
}
