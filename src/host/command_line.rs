//! The command line of a process, as a row shows it.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;

use super::program;

/// The longest command line, in bytes: as many as the BPF programs hand over (`bpf/wire.h`). Linux had
/// the same limit for /proc/PID/cmdline for a long time.
pub(super) const MOST_BYTES: usize = 4096;

/// What stands for the rest of a command line that is longer.
const MORE: char = '…';

/// A command line, and the names that it tells. They are found when they are first asked for.
#[derive(Debug, Default)]
pub struct CommandLine {
    arguments: Box<[u8]>,
    is_cut: bool,
    line: OnceCell<Option<Rc<str>>>,
    program: OnceCell<Option<Rc<str>>>,
}

impl CommandLine {
    /// A command line of these arguments, each with a 0 at its end. `is_cut` if there are more.
    #[must_use]
    pub fn new(arguments: &[u8], is_cut: bool) -> Self {
        let kept = arguments.get(..MOST_BYTES).unwrap_or(arguments);
        let is_cut = is_cut || kept.len() < arguments.len();
        // A program that writes its title over its arguments leaves zeros behind it.
        let end = kept
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let kept = if is_cut { Some(kept) } else { kept.get(..end) };
        Self {
            arguments: kept.unwrap_or_default().into(),
            is_cut,
            ..Self::default()
        }
    }

    /// How many bytes it has in memory, names not included.
    pub(super) fn len(&self) -> usize {
        self.arguments.len()
    }

    /// Whether the process has no arguments, like a thread of the kernel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arguments.is_empty()
    }

    /// The arguments with blanks in between. An argument that is empty, or that contains white space,
    /// quotes or a backslash, is in single quotes as for a shell: `'daemon off;'`, `'it'\''s'`. A
    /// longer command line ends with `…`. `None` if there are no arguments.
    #[must_use]
    pub fn line(&self) -> Option<&Rc<str>> {
        let make = || (!self.is_empty()).then(|| Rc::from(self.quoted()));
        self.line.get_or_init(make).as_ref()
    }

    /// The program as people know it (see `program`). `None` if the command line does not tell.
    #[must_use]
    pub fn program(&self) -> Option<&Rc<str>> {
        let find = || program::name(&self.arguments(), self.is_cut).map(Rc::from);
        self.program.get_or_init(find).as_ref()
    }

    /// The arguments as text. The last one may be a part of one, if the command line is cut.
    fn arguments(&self) -> Vec<Cow<'_, str>> {
        if self.is_empty() {
            return Vec::new();
        }
        let arguments = self.arguments.split(|byte| *byte == 0);
        arguments.map(String::from_utf8_lossy).collect()
    }

    fn quoted(&self) -> String {
        let mut line = String::with_capacity(self.arguments.len());
        for argument in self.arguments() {
            if !line.is_empty() {
                line.push(' ');
            }
            if needs_quotes(&argument) {
                line.push('\'');
                line.push_str(&argument.replace('\'', r"'\''"));
                line.push('\'');
            } else {
                line.push_str(&argument);
            }
        }
        if self.is_cut {
            // A character can be cut too.
            line.truncate(line.trim_end_matches('\u{fffd}').len());
            line.push(MORE);
        }
        line
    }
}

fn needs_quotes(argument: &str) -> bool {
    let is_special = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '\\');
    argument.is_empty() || argument.contains(is_special)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(arguments: &[u8]) -> Option<String> {
        let command = CommandLine::new(arguments, false);
        command.line().map(ToString::to_string)
    }

    #[test]
    fn arguments_are_quoted_only_where_it_is_needed() {
        for (arguments, expected) in [
            (&b"nginx\0-g\0daemon off;\0"[..], "nginx -g 'daemon off;'"),
            (b"sh\0-c\0echo it's\0", r"sh -c 'echo it'\''s'"),
            (b"a\0\0b\0", "a '' b"),
            (
                b"java\0-Dx=y\0-XX:+UseG1GC\0a.B\0",
                "java -Dx=y -XX:+UseG1GC a.B",
            ),
            (
                b"nginx: worker process\0\0\0\0\0",
                "'nginx: worker process'",
            ),
            (b"caf\xe9\0", "caf\u{fffd}"),
            (b"no end", "'no end'"),
            (b"a\0b\nc\0", "a 'b\nc'"),
        ] {
            assert_eq!(line(arguments).as_deref(), Some(expected));
        }
        assert_eq!(line(b""), None);
        assert_eq!(line(b"\0\0\0"), None);
    }

    #[test]
    fn a_cut_command_line_ends_visibly() {
        let cut = |arguments: &[u8]| {
            let command = CommandLine::new(arguments, true);
            command.line().map(ToString::to_string)
        };
        assert_eq!(cut(b"a\0bc").as_deref(), Some("a bc…"));
        assert_eq!(cut("a\0é".as_bytes()).as_deref(), Some("a é…"));
        assert_eq!(cut(b"a\0\xc3").as_deref(), Some("a …"));
        let long = [b"a\0".as_slice(), &[b'x'; MOST_BYTES]].concat();
        let found = line(&long).expect("arguments");
        assert_eq!(found, format!("a {}…", "x".repeat(MOST_BYTES - 2)));
    }

    /// The arguments that a line stands for.
    fn split(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
        let mut rest = line.chars();
        while let Some(c) = rest.next() {
            match c {
                '\'' => quoted = !quoted,
                '\\' if !quoted => word.extend(rest.next()),
                ' ' if !quoted => words.push(std::mem::take(&mut word)),
                _ => word.push(c),
            }
        }
        words.push(word);
        words
    }

    proptest! {
        #[test]
        fn a_line_can_be_taken_apart(
            mut arguments in prop::collection::vec(r#"[^\x00]{0,5}|[ '\\"x]{0,5}"#, 0..6),
            last in r"[^\x00]{1,5}"
        ) {
            arguments.push(last);
            let bytes: Vec<u8> = arguments.iter().flat_map(|a| [a.as_bytes(), b"\0"].concat()).collect();
            prop_assert_eq!(split(&line(&bytes).expect("arguments")), arguments);
        }

        #[test]
        fn any_bytes_are_a_line_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40), cut: bool) {
            let command = CommandLine::new(&bytes, cut);
            prop_assert_eq!(command.line().is_none(), command.is_empty());
            prop_assert!(command.len() <= bytes.len());
            let _ = command.program();
        }
    }
}
