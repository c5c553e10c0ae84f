//! Destinations of the output and lengths of messages, checked before counting starts.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::{NETATOP, assert_refused, dir, file, netatop, record_to, run, text};

#[test]
fn an_ending_that_says_nothing_is_refused_with_those_that_do() {
    let dir = dir();
    for name in [
        "r.tsv",
        "r.parquet",
        "r.gz",
        "r.csv.bz2",
        "r.xlsx",
        "r.csv~",
    ] {
        let path = dir.path().join(name);
        let ran = record_to(&path, &[]);
        assert_refused(&ran, 1, name);
        for known in [".csv", ".jsonl", ".gz", ".zst", "--format"] {
            assert_refused(&ran, 1, known);
        }
        assert!(!path.exists(), "{name}");
    }
}

#[test]
fn nothing_is_appended_to_a_compressed_file_that_ends_within_an_interval() {
    let dir = dir();
    let path = dir.path().join("r.csv.gz");
    let whole = Command::new("sh")
        .args(["-c", "echo time | gzip; echo 1,2 | gzip | head -c 15"])
        .output()
        .expect("gzip");
    fs::write(&path, &whole.stdout).expect("write");
    let ran = record_to(&path, &["--append"]);
    assert_refused(&ran, 2, "(15 bytes)");
    assert_refused(&ran, 2, "--append --force");
    assert_eq!(fs::read(&path).expect("read"), whole.stdout);
}

#[test]
fn nothing_is_appended_to_a_compressed_file_with_other_columns() {
    let dir = dir();
    for (name, tool) in [
        ("r.csv.gz", "gzip"),
        ("r.csv.zst", "zstd"),
        ("r.json.zst", "zstd"),
    ] {
        let path = dir.path().join(name);
        let made = Command::new("sh")
            .args([
                "-c",
                &format!("echo '{{\"time\":1}}' | {tool} >\"$1\""),
                "sh",
            ])
            .arg(&path)
            .status();
        assert!(made.expect("sh").success());
        let ran = record_to(&path, &["--append"]);
        assert_refused(&ran, 2, "has other columns");
        assert_refused(&ran, 2, name);
    }
}

#[test]
fn a_directory_and_a_socket_are_no_output() {
    let dir = dir();
    let path = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
    let ran = record_to(&path, &[]);
    assert_refused(&ran, 1, "is a socket");
    for args in [
        ["-f", "csv"].as_slice(),
        &["--force"],
        &["--append", "-f", "csv"],
    ] {
        let ran = record_to(dir.path(), args);
        assert_eq!(ran.status, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("is a directory"), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
}

/// A file behind a symbolic link could be overwritten by mistake.
#[test]
fn a_file_behind_a_link_is_refused_like_another() {
    let dir = dir();
    let there = file(&dir, "there.csv", "precious\n");
    let link = dir.path().join("link.csv");
    std::os::unix::fs::symlink(&there, &link).expect("a link");
    assert_refused(&record_to(&link, &[]), 1, "--force");
    assert_eq!(text(&there), "precious\n");
}

/// `>&-`, and `2>&-` if rows go to standard error.
#[test]
fn a_closed_stream_is_an_error_if_rows_go_there() {
    for (stream, args, told) in [
        (
            1,
            ["record", "-d", "10ms"].as_slice(),
            "standard output is closed",
        ),
        (
            1,
            &["record", "-d", "10ms", "-o", "-"],
            "standard output is closed",
        ),
        (
            1,
            &["record", "-d", "10ms", "-o", "/dev/stdout"],
            "standard output is closed",
        ),
        (1, &["check"], "standard output"),
        (1, &["completions", "bash"], "standard output"),
        (1, &["--help"], "standard output is closed"),
        (1, &["record", "--help"], "standard output is closed"),
        (1, &["--version"], "standard output is closed"),
        (2, &["record", "--", "true"], ""),
        (
            0,
            &["record", "-d", "10ms", "-f", "csv", "-o", "/dev/fd/77"],
            "/dev/fd/77 is closed",
        ),
    ] {
        let mut command = Command::new(NETATOP);
        command.args(args).stdin(Stdio::null());
        // SAFETY: the closure only closes a descriptor between fork and exec.
        unsafe {
            command.pre_exec(move || Ok(nix::unistd::close(stream)?));
        }
        let ran = run(&mut command);
        assert_eq!(ran.status, Some(1), "{args:?}: {ran:?}");
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains(told), "{args:?}: {ran:?}");
    }
}

#[test]
fn what_is_open_for_reading_only_is_refused() {
    let ran = run(Command::new("sh").args([
        "-c",
        &format!("{NETATOP} record -d 10ms -o /dev/fd/7 7</dev/null"),
    ]));
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("not open for writing"), "{ran:?}");
}

/// Opening a FIFO waits for its reader.
#[test]
fn waiting_for_the_reader_of_a_fifo_can_be_interrupted() {
    let dir = dir();
    let fifo = dir.path().join("fifo.csv");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo").success());
    let mut child = Command::new(NETATOP)
        .args(["record", "-d", "10ms", "-o"])
        .arg(&fifo)
        .stderr(Stdio::piped())
        .spawn()
        .expect("netatop");
    let mut told = [0; 9];
    let mut messages = child.stderr.take().expect("piped");
    std::io::Read::read_exact(&mut messages, &mut told).expect("a message");
    assert_eq!(&told, b"netatop: ");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("kill");
    assert!(!child.wait().expect("wait").success());
}

/// Checks that a message has few and short lines, without control characters.
#[track_caller]
fn assert_short(args: &[&str], stderr: &str) {
    let shown: String = stderr.chars().take(3_000).collect();
    let args: Vec<String> = args
        .iter()
        .map(|arg| arg.chars().take(60).collect())
        .collect();
    assert!(stderr.lines().count() <= 3, "{args:?}: {shown}");
    assert!(stderr.chars().count() <= 1_300, "{args:?}: {shown}");
    assert!(
        !stderr.chars().any(|c| c.is_control() && c != '\n'),
        "{args:?}: {shown}"
    );
    assert!(stderr.starts_with("netatop: "), "{args:?}: {shown}");
}

/// 100 KB is less than the longest argument that Linux accepts (128 KB).
#[test]
fn no_message_is_long_whatever_an_argument_contains() {
    let long = "x".repeat(100_000);
    let lines = "x\n".repeat(50_000);
    let path = format!("/dev/null/{}", "y\n".repeat(1_900));
    for value in [&long, &lines, &path] {
        let numbers = format!("1,{value}");
        let assigned = format!("--duration={value}");
        let option = format!("--{value}");
        for args in [
            [value.as_str()].as_slice(),
            &["record", value],
            &["record", &option],
            &["record", &assigned],
            &["record", "-d", value],
            &["record", "-i", value],
            &["record", "-p", value],
            &["record", "-p", &numbers],
            &["record", "-n", value],
            &["record", "-f", value],
            &["record", "-s", value],
            &["record", "-g", value],
            &["record", "-c", value],
            &["record", "-o", value],
            &["record", "-f", "csv", "-o", value],
            &["record", "--append", "-f", "csv", "-o", value],
            &["record", "--user", value, "--", "true"],
            &["serve", "--socket", value],
            &["serve", "--mode", value],
            &["check", "-f", value],
            &["completions", value],
        ] {
            // If the file could be created, the recording would run for ever.
            if args.contains(&"-o") && value.len() < 255 {
                continue;
            }
            let ran = netatop(args);
            assert_ne!(ran.status, Some(0), "{args:?}");
            assert_short(args, &ran.stderr);
        }
    }
}

#[test]
fn no_message_is_long_whatever_a_file_contains() {
    let dir = dir();
    for (name, first) in [
        ("a.csv", "x".repeat(60_000)),
        ("b.csv", "x".repeat(600_000)),
        ("c.csv", "\u{1b}[2J\u{202e}".repeat(9_000)),
        ("d.csv", format!("\"{}\"", "x\n".repeat(30_000))),
        ("e.json", format!("{{\"{}\":1}}", "x".repeat(60_000))),
        (
            "f.json",
            format!("{{{}\"z\":1}}", "\"a\\nb\":1,".repeat(6_000)),
        ),
        ("g.json", "[".repeat(60_000)),
    ] {
        let path = file(&dir, name, &format!("{first}\n"));
        let args = ["--append"];
        let ran = record_to(&path, &args);
        assert_eq!(ran.status, Some(2), "{name}");
        assert_short(&[name], &ran.stderr);
        assert!(
            ran.stderr.contains("has other columns"),
            "{name}: {}",
            ran.stderr
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_message_is_long_whatever_a_name_contains(name in "[^/\0]{1,60}", times in 1..60_usize) {
        let name: String = name.repeat(times).chars().take(1_000).collect();
        let path = Path::new("/dev/null").join(&name);
        let ran = record_to(&path, &["-f", "csv"]);
        prop_assert_eq!(ran.status, Some(1));
        assert_short(&[&name], &ran.stderr);
    }
}
