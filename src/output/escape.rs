//! For terminals: what would be commands to them is written out.

use std::borrow::Cow;

use super::Format;
use crate::model::Report;

/// Whether a terminal would do something else than show it: control characters, and those
/// that change the direction of what follows.
pub(super) fn is_command(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with such characters, but for those in `keep`, as Rust would write them.
#[must_use]
pub fn escaped<'a>(text: &'a str, keep: &[char]) -> Cow<'a, str> {
    let harmful = |c: char| is_command(c) && !keep.contains(&c);
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

/// Another format, made safe to show. A name with a line end in it still spans lines.
pub struct Escaped(pub Box<dyn Format>);

impl Escaped {
    fn append(out: &mut Vec<u8>, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        out.extend_from_slice(escaped(&text, &['\n']).as_bytes());
    }
}

impl Format for Escaped {
    fn rows_are_independent(&self) -> bool {
        self.0.rows_are_independent()
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        let mut text = Vec::new();
        self.0.begin(&mut text);
        Self::append(out, &text);
    }

    fn report(&mut self, report: &Report, out: &mut Vec<u8>) {
        let mut text = Vec::new();
        self.0.report(report, &mut text);
        Self::append(out, &text);
    }
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
