//! Finds line ends in files made of lines.

/// The rule for line ends in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Each line feed ends a line.
    Plain,
    /// As in csv: a line feed within quotes is part of a name.
    Quoted,
}

/// Finds line ends in a text that is read in pieces from the beginning.
pub(crate) struct LineEnds {
    lines: Lines,
    quoted: bool,
    /// Bytes read so far, and how many of them belong to whole lines.
    seen: u64,
    whole: u64,
}

impl LineEnds {
    /// The state before the first piece.
    pub(crate) fn new(lines: Lines) -> Self {
        Self {
            lines,
            quoted: false,
            seen: 0,
            whole: 0,
        }
    }

    /// Scans the next piece.
    pub(crate) fn scan(&mut self, text: &[u8]) {
        let base = self.seen;
        for at in memchr::memchr2_iter(b'"', b'\n', text) {
            if text.get(at) == Some(&b'\n') {
                if !self.quoted {
                    self.whole = base + at as u64 + 1;
                }
            } else if self.lines == Lines::Quoted {
                // A quote within quotes is doubled: the two quotes cancel out.
                self.quoted = !self.quoted;
            }
        }
        self.seen += text.len() as u64;
    }

    /// Bytes up to the last line end.
    pub(crate) fn whole(&self) -> u64 {
        self.whole
    }

    /// Bytes after the last line end.
    pub(crate) fn unfinished(&self) -> u64 {
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
            text.chunks(size).for_each(|piece| ends.scan(piece));
            assert_eq!(ends.unfinished(), 5, "{size}");
        }
        let mut json = LineEnds::new(Lines::Plain);
        json.scan(b"{\"a\":\"\\\"\"}\n{\"b");
        assert_eq!(json.unfinished(), 3);
    }
}
