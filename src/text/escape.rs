//! Escapes control characters, which a terminal would execute.

use std::borrow::Cow;

/// Whether a terminal would not simply print `c`: a control character, or one that changes the
/// direction of the following text.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Replaces the control characters of `text` by Rust escapes, except characters in `keep`.
#[must_use]
pub fn escaped<'a>(text: &'a str, keep: &[char]) -> Cow<'a, str> {
    let harmful = |c: char| is_control(c) && !keep.contains(&c);
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::new();
    for c in text.chars() {
        if harmful(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_commands() {
        assert_eq!(
            escaped("a\u{1b}]0;x\u{7}b\n", &['\n']),
            "a\\u{1b}]0;x\\u{7}b\n"
        );
        assert_eq!(escaped("\u{202e}x\u{9b}", &[]), "\\u{202e}x\\u{9b}");
        assert_eq!(escaped("plain ü", &[]), "plain ü");
    }
}
