//! The words of a line, each with its place. Quotes and backslashes take the meaning from what they enclose.

/// A character of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) character: char,
    /// It stands for itself: it was quoted.
    quoted: bool,
}

impl Symbol {
    /// The character, if it may have a meaning.
    pub(super) fn plain(self) -> Option<char> {
        (!self.quoted).then_some(self.character)
    }
}

/// A word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RuleWord {
    /// Where it begins, in characters from 1.
    pub(super) column: usize,
    pub(super) symbols: Vec<Symbol>,
}

/// What is wrong with a line, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) column: usize,
    pub(super) text: String,
}

impl RuleWord {
    /// The word as text.
    pub(super) fn text(&self) -> String {
        self.symbols.iter().map(|symbol| symbol.character).collect()
    }

    /// The word as text, if nothing of it is quoted: only then may it be one of a table's own words.
    pub(super) fn plain(&self) -> Option<String> {
        self.symbols.iter().map(|symbol| symbol.plain()).collect()
    }

    /// What follows this beginning of it.
    pub(super) fn strip_prefix(&self, prefix: &str) -> Option<&[Symbol]> {
        let begins = self.symbols.iter().map(|symbol| symbol.plain()).take(prefix.len());
        begins.eq(prefix.chars().map(Some)).then(|| &self.symbols[prefix.len()..])
    }

    /// What is wrong with it.
    pub(super) fn wrong(&self, text: impl Into<String>) -> Wrong {
        Wrong { column: self.column, text: text.into() }
    }
}

/// Splits a line at blanks, up to a `#` that begins a word.
pub(super) fn split(line: &str) -> Result<Vec<RuleWord>, Wrong> {
    let mut words: Vec<RuleWord> = Vec::new();
    let mut current: Option<RuleWord> = None;
    let mut characters = line.chars().zip(1..).peekable();
    while let Some((character, column)) = characters.next() {
        if character.is_whitespace() {
            words.extend(current.take());
            continue;
        }
        if character == '#' && current.is_none() {
            break;
        }
        let word = current.get_or_insert(RuleWord { column, symbols: Vec::new() });
        match character {
            '"' => loop {
                match characters.next() {
                    Some(('"', _)) => break,
                    Some(('\\', at)) => word.symbols.push(escaped(characters.next(), at)?),
                    Some((character, _)) => word.symbols.push(Symbol { character, quoted: true }),
                    None => return Err(Wrong { column, text: "the quote that begins here has no end".into() }),
                }
            },
            '\\' => word.symbols.push(escaped(characters.next(), column)?),
            character => word.symbols.push(Symbol { character, quoted: false }),
        }
    }
    words.extend(current);
    Ok(words)
}

/// The character after a backslash.
fn escaped(next: Option<(char, usize)>, column: usize) -> Result<Symbol, Wrong> {
    let nothing = || Wrong { column, text: "nothing follows this backslash".into() };
    next.map(|(character, _)| Symbol { character, quoted: true }).ok_or_else(nothing)
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_words_with_places_and_a_comment() {
        let words = split("  tls\t10.0.0.0/8 \"a b\"c #\"x").unwrap();
        let found: Vec<_> = words.iter().map(|word| (word.column, word.text(), word.plain().is_some())).collect();
        assert_eq!(found, [(3, "tls".into(), true), (7, "10.0.0.0/8".into(), true), (18, "a bc".into(), false)]);
        assert_eq!(split("a#b").unwrap()[0].text(), "a#b", "inside a word it is no comment");
        assert_eq!(split(" # a").unwrap(), []);
        assert_eq!(split("\"\"").unwrap()[0].text(), "");
    }

    #[test]
    fn quoted_characters_stand_for_themselves() {
        let words = split(r#"\* "*" "\"\\" *"#).unwrap();
        let plain: Vec<_> = words.iter().map(|word| (word.text(), word.plain().is_some())).collect();
        assert_eq!(plain, [("*".into(), false), ("*".into(), false), ("\"\\".into(), false), ("*".into(), true)]);
        assert!(words[0].strip_prefix("*").is_none() && words[3].strip_prefix("*") == Some(&[]));
    }

    #[test]
    fn what_is_not_finished_is_named_by_its_place() {
        let wrong = |line| split(line).unwrap_err().column;
        assert_eq!((wrong("a \"b"), wrong("a b\\"), wrong("é \"\\")), (3, 4, 4));
    }
}
