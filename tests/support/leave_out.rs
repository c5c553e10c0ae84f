//! What to do about a test that this host cannot run: it fails, unless the caller asked to leave it
//! out. `scripts/test --leave-out NAME,...` sets the variables.

#![allow(clippy::expect_used, clippy::panic)]

use std::fs::OpenOptions;
use std::io::Write;

/// Returns if the caller asked to leave out tests that need `need`, and notes which test that was.
///
/// # Panics
///
/// Otherwise, with the reason `why` and how to leave the test out.
#[track_caller]
pub fn leave_out(need: &str, why: &str) {
    let names = std::env::var("NETATOP_LEAVE_OUT").unwrap_or_default();
    assert!(
        names.split(',').any(|name| name == need),
        "this host cannot run the test: {need}: {why}\n\
         to leave it out: scripts/test --leave-out {need}"
    );
    let test = std::thread::current();
    let line = format!("{}: {need}: {why}\n", test.name().unwrap_or("a test"));
    if let Some(path) = std::env::var_os("NETATOP_LEFT_OUT") {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the list of what was left out");
    }
}
