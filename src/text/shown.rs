//! Makes a name or a value from outside fit into a message.

use std::path::Path;

use super::escaped;

/// The longest name or value in a message, in characters.
const LONGEST_NAME: usize = 200;

/// The longest line of a message, in characters, and the most lines.
const LONGEST_LINE: usize = 600;
const MOST_LINES: usize = 24;

/// A name or value from outside, for use in a message: on one line, escaped, and at most 200
/// characters long.
#[must_use]
pub fn shown(text: &str) -> String {
    shortened(&escaped(text, &[]), LONGEST_NAME)
}

/// The same for a path. Bytes that are not UTF-8 become U+FFFD.
#[must_use]
pub fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

/// `text` in at most `most` characters. An ellipsis replaces the middle: the beginning and the end
/// of a path or of a message say most.
#[must_use]
pub fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let tail = kept / 2;
    let head = text.chars().take(kept - tail);
    let tail = text.chars().skip(count - tail);
    head.chain(std::iter::once('…').take(most))
        .chain(tail)
        .collect()
}

/// A whole message with no long line and not many lines. The parts that come from outside are
/// shortened by [`shown`] where the message is made; this is for what other libraries insert.
pub(super) fn limited(message: &str) -> String {
    let mut lines = message.lines();
    let mut short: Vec<String> = lines
        .by_ref()
        .take(MOST_LINES)
        .map(|line| shortened(line, LONGEST_LINE))
        .collect();
    if lines.next().is_some() {
        short.push("…".to_owned());
    }
    short.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_middle_is_left_out() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdefg", 6), "abc…fg");
        assert_eq!(shortened("abc", 1), "…");
        assert_eq!(shortened("abc", 0), "");
        assert_eq!(shown("a\nb"), "a\\nb");
    }

    proptest! {
        #[test]
        fn nothing_from_outside_makes_a_message_long(text in "(?s).{0,3000}", most in 0..700_usize) {
            let short = shortened(&text, most);
            prop_assert!(short.chars().count() <= most);
            let name = shown(&text);
            prop_assert!(name.chars().count() <= LONGEST_NAME);
            prop_assert!(!name.chars().any(char::is_control));
            let message = limited(&text);
            prop_assert!(message.lines().count() <= MOST_LINES + 1);
            prop_assert!(message.lines().all(|line| line.chars().count() <= LONGEST_LINE));
        }

        #[test]
        fn what_is_short_stays(lines in prop::collection::vec("[ -~]{0,100}", 0..MOST_LINES)) {
            let text = lines.join("\n");
            prop_assert_eq!(limited(&text), text.lines().collect::<Vec<_>>().join("\n"));
        }
    }
}
