//! Shortens and escapes untrusted names and values for use in a message.

use std::path::Path;

use super::escaped;

/// Maximum length of a name or value in a message, in characters.
const LONGEST_NAME: usize = 200;

/// Maximum length of a line of a message, in characters.
const LONGEST_LINE: usize = 600;
/// Maximum number of lines of a message.
const MOST_LINES: usize = 24;

/// Prepares an untrusted name or value for a message: on one line, escaped, and at most 200
/// characters long.
#[must_use]
pub fn shown(text: &str) -> String {
    shortened(&escaped(text, &[]), LONGEST_NAME)
}

/// Like [`shown`], for a path. Bytes that are not UTF-8 become U+FFFD.
#[must_use]
pub fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

/// Shortens `text` to at most `most` characters. An ellipsis replaces the middle, because the
/// beginning and the end of a path or message matter most.
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

/// Limits the length and the number of the lines of a message. [`shown`] has already shortened names
/// and values; this limit is for text from other libraries.
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
        fn untrusted_text_does_not_make_a_message_long(text in "(?s).{0,3000}", most in 0..700_usize) {
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
        fn short_messages_are_unchanged(lines in prop::collection::vec("[ -~]{0,100}", 0..MOST_LINES)) {
            let text = lines.join("\n");
            prop_assert_eq!(limited(&text), text.lines().collect::<Vec<_>>().join("\n"));
        }
    }
}
