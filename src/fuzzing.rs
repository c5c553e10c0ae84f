//! Everything that takes bytes of others' making, by name: for `fuzz/`, and for the test that
//! replays what was found there. Not an interface: it can change at any time.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::Parser;

use crate::cli::Cli;

/// A parser: its name, and a call of it whose result does not matter.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
#[must_use]
pub fn targets() -> Vec<Target> {
    let command_line: Target = ("command_line", |bytes| {
        let words = bytes.split(|byte| *byte == 0);
        let words = words.map(|word| OsString::from_vec(word.to_vec()));
        let _ = Cli::try_parse_from(
            ["netatop", "record"]
                .into_iter()
                .map(Into::into)
                .chain(words),
        );
    });
    [
        &crate::kernel::PARSERS[..],
        &crate::output::PARSERS,
        &crate::record::PARSERS,
        &crate::serve::PARSERS,
        &crate::signals::PARSERS,
        &[command_line],
    ]
    .concat()
}

/// What is there of text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
