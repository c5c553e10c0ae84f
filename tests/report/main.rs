//! `netatop report`: its sums against DuckDB, recordings cut into files, what it refuses, how it
//! looks, and its page in a real browser.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod browser;
mod cut;
mod edges;
mod looks;
mod recordings;
mod refusals;
mod sums;
#[path = "../support/leave_out.rs"]
mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const NETATOP: &str = env!("CARGO_BIN_EXE_netatop");

/// The exit status and the output of a run.
#[derive(Debug)]
struct Ran {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

/// `netatop report ARGS...` in `dir`, far from UTC, with `input` on standard input.
fn report_with(dir: &Path, args: &[&str], input: &[u8]) -> Ran {
    let mut child = Command::new(NETATOP)
        .arg("report")
        .args(args)
        .current_dir(dir)
        .env("TZ", "Asia/Kolkata")
        .env("LC_ALL", "C.UTF-8")
        .env_remove("COLUMNS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("netatop starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // netatop may end without reading all of it.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("netatop ends");
    writer.join().expect("the input was written");
    Ran {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

fn report(dir: &Path, args: &[&str]) -> Ran {
    report_with(dir, args, b"")
}

/// The output of a run that succeeds.
#[track_caller]
fn reported(dir: &Path, args: &[&str]) -> String {
    let ran = report(dir, args);
    assert_eq!(ran.status, Some(0), "{args:?}: {ran:?}");
    ran.stdout
}

/// Python with the packages that scripts/setup --test installs.
fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python")
}

/// Whether Python has a package. If not, the test fails, or is left out.
#[track_caller]
fn has_package(name: &str) -> bool {
    let found = Command::new(python())
        .args(["-c", &format!("import {name}")])
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        support::leave_out(
            name,
            "it is not installed, and scripts/setup --test installs it",
        );
    }
    found
}

/// The output of a Python script that succeeds.
#[track_caller]
fn run_python(dir: &Path, script: &str, args: &[&str]) -> String {
    let output = Command::new(python())
        .args(["-c", script])
        .args(args)
        .current_dir(dir)
        .output()
        .expect("python");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("utf-8")
}
