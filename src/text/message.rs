//! Messages to the user, on standard error.

use std::fmt::Display;
use std::io::{self, Write};

use super::escaped;

/// Writes a message and a line end to standard error. Control characters in it, such as those of
/// a file name, are escaped; line ends stay.
///
/// Ignores a closed or full standard error: there is no other place for a message. `eprint!` would
/// panic.
pub fn to_stderr(text: impl Display) {
    let text = text.to_string();
    let _ = writeln!(io::stderr().lock(), "{}", escaped(&text, &['\n']));
}

/// Writes `text` to standard error as it is, without a line end.
pub fn to_stderr_raw(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
