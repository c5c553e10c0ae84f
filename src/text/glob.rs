//! Globs, as the shell has them: patterns of names.
//!
//! The rules are those of fnmatch(3): `*`, `?`, `[abc]`, `[a-z]`, `[!abc]`, `[[:alpha:]]`, and `\`
//! before a character that means itself. A pattern is for bytes, since names of processes are: `?`
//! is one byte. What fnmatch would take literally, because it is unfinished, is an error here.

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    /// The bytes for which `contains` is true.
    #[must_use]
    pub fn of(contains: impl Fn(u8) -> bool) -> Self {
        let mut set = Self::default();
        for byte in (0..=u8::MAX).filter(|byte| contains(*byte)) {
            set.insert(byte);
        }
        set
    }

    /// Whether the byte is in the set.
    #[must_use]
    pub fn contains(&self, byte: u8) -> bool {
        let word = self.0.get(usize::from(byte / 64));
        word.is_some_and(|word| word >> (byte % 64) & 1 == 1)
    }

    /// Whether the set has all bytes that a name can have.
    #[must_use]
    pub fn has_all(&self) -> bool {
        (1..=u8::MAX).all(|byte| self.contains(byte))
    }

    fn insert(&mut self, byte: u8) {
        if let Some(word) = self.0.get_mut(usize::from(byte / 64)) {
            *word |= 1 << (byte % 64);
        }
    }

    /// The only byte of the set; `None` if there are none or several.
    fn single(&self) -> Option<u8> {
        let mut bytes = (0..=u8::MAX).filter(|byte| self.contains(*byte));
        bytes.next().filter(|_| bytes.next().is_none())
    }
}

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// One byte of the set.
    One(ByteSet),
    /// Any number of bytes of the set, also none.
    Many(ByteSet),
}

/// A pattern: its parts match a whole name, one after the other. No part matches the byte 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    parts: Vec<Part>,
}

impl Glob {
    /// Parses a pattern.
    ///
    /// # Errors
    ///
    /// What is wrong with the text, in one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        Parser::new(text, true).parse()
    }

    /// The same if `\` means itself, as in names of systemd units, where it is frequent.
    ///
    /// # Errors
    ///
    /// As [`Glob::parse`].
    pub fn parse_without_escapes(text: &str) -> Result<Self, String> {
        Parser::new(text, false).parse()
    }

    /// The parts, in order.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Number of bytes that the shortest name has.
    #[must_use]
    pub fn shortest(&self) -> usize {
        let is_one = |part: &&Part| matches!(part, Part::One(_));
        self.parts.iter().filter(is_one).count()
    }

    /// The only name that matches; `None` if several do.
    #[must_use]
    pub fn literal(&self) -> Option<Vec<u8>> {
        let only = |part: &Part| match part {
            Part::One(set) => set.single(),
            Part::Many(_) => None,
        };
        self.parts.iter().map(only).collect()
    }
}

/// All bytes that a name can have.
fn any() -> ByteSet {
    ByteSet::of(|byte| byte != 0)
}

/// Reads a pattern from its beginning.
struct Parser<'t> {
    rest: std::iter::Peekable<std::slice::Iter<'t, u8>>,
    has_escapes: bool,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, has_escapes: bool) -> Self {
        Self {
            rest: text.as_bytes().iter().peekable(),
            has_escapes,
        }
    }

    fn parse(mut self) -> Result<Glob, String> {
        let mut parts = Vec::new();
        while let Some(byte) = self.rest.next() {
            parts.push(match byte {
                b'*' => Part::Many(any()),
                b'?' => Part::One(any()),
                b'[' => Part::One(self.bracket()?),
                byte => {
                    let byte = self.unescaped(*byte)?;
                    Part::One(ByteSet::of(|other| other == byte))
                }
            });
        }
        if parts.is_empty() {
            return Err("a name is not empty".to_owned());
        }
        Ok(Glob { parts })
    }

    /// The byte that `\` makes literal, or the byte itself.
    fn unescaped(&mut self, byte: u8) -> Result<u8, String> {
        if byte != b'\\' || !self.has_escapes {
            return Ok(byte);
        }
        let next = self.rest.next().copied();
        next.ok_or_else(|| r"nothing follows the last \; type \\ for the character".to_owned())
    }

    /// The set behind an opening bracket.
    fn bracket(&mut self) -> Result<ByteSet, String> {
        const UNCLOSED: &str = "a bracket is not closed; type [[] for the character [";
        let is_negative = self.rest.next_if(|byte| b"!^".contains(byte)).is_some();
        let mut set = ByteSet::default();
        let mut is_first = true;
        loop {
            let byte = *self.rest.next().ok_or(UNCLOSED)?;
            if byte == b']' && !is_first {
                break;
            }
            is_first = false;
            if byte == b'[' && self.rest.peek().is_some_and(|next| b":.=".contains(next)) {
                let class = self
                    .class()
                    .ok_or("an unknown class; example: [[:digit:]]")?;
                (0..=u8::MAX)
                    .filter(class)
                    .for_each(|byte| set.insert(byte));
                continue;
            }
            let from = self.in_bracket(byte)?;
            let to = self.end_of_range()?.unwrap_or(from);
            if to < from {
                return Err("a range in brackets ends before it begins".to_owned());
            }
            (from..=to).for_each(|byte| set.insert(byte));
        }
        Ok(ByteSet::of(|byte| {
            byte != 0 && set.contains(byte) != is_negative
        }))
    }

    /// A character in brackets. Those with several bytes would be several ones.
    fn in_bracket(&mut self, byte: u8) -> Result<u8, String> {
        let byte = self.unescaped(byte)?;
        if byte.is_ascii() {
            Ok(byte)
        } else {
            Err("only ASCII characters can be in brackets".to_owned())
        }
    }

    /// The last character of a range; `None` if there is no range.
    fn end_of_range(&mut self) -> Result<Option<u8>, String> {
        let mut ahead = self.rest.clone();
        if ahead.next() != Some(&b'-') || ahead.peek().is_none_or(|next| **next == b']') {
            return Ok(None);
        }
        self.rest = ahead;
        match self.rest.next() {
            Some(byte) => self.in_bracket(*byte).map(Some),
            None => Ok(None),
        }
    }

    /// A class such as `[:digit:]`, of which the bracket was read. `None` if there is no such class.
    fn class(&mut self) -> Option<fn(&u8) -> bool> {
        self.rest.next_if_eq(&&b':')?;
        let mut name = Vec::new();
        while let Some(byte) = self.rest.next_if(|byte| **byte != b':') {
            name.push(*byte);
        }
        (self.rest.next() == Some(&b':') && self.rest.next() == Some(&b']')).then_some(())?;
        // In the locale C, which has no other letters.
        Some(match name.as_slice() {
            b"alnum" => u8::is_ascii_alphanumeric,
            b"alpha" => u8::is_ascii_alphabetic,
            b"blank" => |byte| b" \t".contains(byte),
            b"cntrl" => u8::is_ascii_control,
            b"digit" => u8::is_ascii_digit,
            b"graph" => u8::is_ascii_graphic,
            b"lower" => u8::is_ascii_lowercase,
            b"print" => |byte| byte.is_ascii_graphic() || *byte == b' ',
            b"punct" => u8::is_ascii_punctuation,
            b"space" => |byte| byte.is_ascii_whitespace() || *byte == 0x0b,
            b"upper" => u8::is_ascii_uppercase,
            b"xdigit" => u8::is_ascii_hexdigit,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_unfinished_is_refused() {
        for (text, why) in [
            ("", "not empty"),
            ("a[bc", "not closed"),
            ("[", "not closed"),
            ("[]", "not closed"),
            ("[!]", "not closed"),
            ("[a-", "not closed"),
            ("[[:alpha:]", "not closed"),
            (r"a\", r"type \\"),
            (r"[a\", r"type \\"),
            ("[z-a]", "before it begins"),
            ("[[:nothing:]]", "unknown class"),
            ("[[:alpha]]", "unknown class"),
            ("[[.a.]]", "unknown class"),
            ("[ä]", "ASCII"),
            ("[a-ä]", "ASCII"),
        ] {
            let error = Glob::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_without_wildcards_is_known() {
        let literal = |text| Glob::parse(text).expect("a glob").literal();
        assert_eq!(literal("nginx").as_deref(), Some(b"nginx".as_slice()));
        assert_eq!(literal(r"\*[[]").as_deref(), Some(b"*[".as_slice()));
        assert_eq!(literal("ngin?"), None);
        assert_eq!(literal("*"), None);
        let unit = Glob::parse_without_escapes(r"a\x2db.service").expect("a glob");
        assert_eq!(
            unit.literal().as_deref(),
            Some(br"a\x2db.service".as_slice())
        );
        assert_eq!(unit.shortest(), 14);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_glob_or_an_error(text in r"(.|[\[\]!^:\\*?a-c-]){0,20}") {
            for glob in [Glob::parse(&text), Glob::parse_without_escapes(&text)] {
                match glob {
                    Ok(glob) => prop_assert!(glob.shortest() <= text.len()),
                    Err(error) => prop_assert_eq!(error.lines().count(), 1),
                }
            }
        }
    }
}
