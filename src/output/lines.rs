//! Where lines end, in files that are whole lines or should be.

/// Where a line of a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// At each line end.
    Plain,
    /// As in csv: a line end within quotes is a part of a name.
    Quoted,
}

/// Finds where lines end in a text that is looked at from its beginning, piece by piece.
pub(crate) struct LineEnds {
    lines: Lines,
    quoted: bool,
    /// Bytes looked at so far, and how many of them are whole lines.
    seen: u64,
    whole: u64,
}

impl LineEnds {
    /// Before any of the text.
    pub(crate) fn new(lines: Lines) -> Self {
        Self {
            lines,
            quoted: false,
            seen: 0,
            whole: 0,
        }
    }

    /// Takes the next piece.
    pub(crate) fn look(&mut self, text: &[u8]) {
        let base = self.seen;
        for at in memchr::memchr2_iter(b'"', b'\n', text) {
            if text.get(at) == Some(&b'\n') {
                if !self.quoted {
                    self.whole = base + at as u64 + 1;
                }
            } else if self.lines == Lines::Quoted {
                // A quote within quotes is doubled, and so changes nothing in the end.
                self.quoted = !self.quoted;
            }
        }
        self.seen += text.len() as u64;
    }

    /// Bytes up to the last line end.
    pub(crate) fn whole(&self) -> u64 {
        self.whole
    }

    /// Bytes behind the last line end.
    pub(crate) fn half(&self) -> u64 {
        self.seen.saturating_sub(self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_have_the_same_ends() {
        let text = b"h\n1,\"a\"\"\nb\",2\n3,\"c\n";
        for size in 1..text.len() {
            let mut ends = LineEnds::new(Lines::Quoted);
            text.chunks(size).for_each(|piece| ends.look(piece));
            assert_eq!(ends.half(), 5, "{size}");
        }
        let mut json = LineEnds::new(Lines::Plain);
        json.look(b"{\"a\":\"\\\"\"}\n{\"b");
        assert_eq!(json.half(), 3);
    }
}
