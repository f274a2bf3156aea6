//! Comments: from Rust's documentation to paragraphs, and to lines of a given width.

/// Paragraphs and list items of a documentation comment, in order: those before the first heading, or those below the
/// heading `under`. A list item begins with `- `.
pub fn blocks(lines: &[String], under: Option<&str>) -> Vec<String> {
    let lines = lines.iter().map(|line| line.strip_prefix(' ').unwrap_or(line).trim());
    let mut blocks: Vec<String> = Vec::new();
    let (mut heading, mut open) = (None, false);
    for text in lines {
        if let Some(title) = text.strip_prefix("# ") {
            (heading, open) = (Some(title), false);
            continue;
        }
        if heading != under || text.is_empty() {
            open = false;
            continue;
        }
        match blocks.last_mut().filter(|_| open && !text.starts_with("- ")) {
            Some(last) => {
                last.push(' ');
                last.push_str(text);
            }
            None => blocks.push(text.to_owned()),
        }
        open = true;
    }
    blocks
}

/// Breaks a block into lines of at most `width` characters; list items hang by two.
pub fn wrap(block: &str, width: usize) -> Vec<String> {
    let hang = if block.starts_with("- ") { "  " } else { "" };
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in block.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, hang.to_owned() + word));
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.push(line);
    lines
}

/// The lines of a whole comment, with an empty one before each paragraph but the first, and none before list items.
pub fn comment(blocks: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        if at > 0 && !block.starts_with("- ") {
            lines.push(String::new());
        }
        lines.extend(wrap(block, width));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_paragraphs_and_list_items_without_what_is_for_rust() {
        let lines = [" One", " two.", "", " - `a`: first", "   of two.", " - `b`: second.", "", " # Why", " A", " b."];
        let lines = lines.map(str::to_owned);
        assert_eq!(blocks(&lines, Some("Why")), ["A b."]);
        let blocks = blocks(&lines, None);
        assert_eq!(blocks, ["One two.", "- `a`: first of two.", "- `b`: second."]);
        assert_eq!(comment(&blocks, 12), ["One two.", "- `a`: first", "  of two.", "- `b`:", "  second."]);
    }

    #[test]
    fn a_word_that_is_too_long_has_a_line_of_its_own() {
        assert_eq!(wrap("a bcdefghijkl m", 5), ["a", "bcdefghijkl", "m"]);
        assert_eq!(wrap("ab cd ef", 5), ["ab cd", "ef"]);
    }
}
