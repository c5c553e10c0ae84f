//! The command line: output, standard streams and exit status. No test here starts counting, so the
//! tests need no capabilities.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod check;
mod completions;
mod filters;
mod forgiving;
mod output;
mod serve;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const NETATOP: &str = env!("CARGO_BIN_EXE_netatop");

/// The exit status and the output of a run.
#[derive(Debug)]
struct Ran {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(command: &mut Command) -> Ran {
    let output = command.output().expect("netatop starts");
    Ran {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

fn netatop(args: &[&str]) -> Ran {
    run(Command::new(NETATOP).args(args))
}

/// `netatop record ARGS...`, with an output that cannot be created. If the arguments are accepted,
/// the program ends with status 1 instead of recording for ever.
fn record(args: &[&str]) -> Ran {
    run(Command::new(NETATOP)
        .args(["record", "-o", "/dev/null/no-such-file"])
        .args(args))
}

/// `netatop record ARGS... -o FILE`.
fn record_to(file: &Path, args: &[&str]) -> Ran {
    run(Command::new(NETATOP)
        .args(["record", "-d", "10ms"])
        .args(args)
        .arg("-o")
        .arg(file))
}

/// Checks for a usage error: status 2, no standard output, and at most `lines` lines on standard
/// error. These begin with the program's name and contain `part`.
#[track_caller]
fn assert_refused(ran: &Ran, lines: usize, part: &str) {
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    assert!(ran.stderr.starts_with("netatop: "), "{ran:?}");
    assert!(ran.stderr.ends_with('\n'), "{ran:?}");
    assert!(ran.stderr.lines().count() <= lines, "{ran:?}");
    assert!(!ran.stderr.contains("Usage:"), "{ran:?}");
    assert!(ran.stderr.contains(part), "{part:?} is not in {ran:?}");
}

fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A file `name` in `dir` that holds `text`.
fn file(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).expect("a file");
    path
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("the file can be read")
}

#[test]
fn help_and_version_go_to_standard_output_and_are_no_error() {
    for args in [
        ["--help"].as_slice(),
        &["-h"],
        &["help"],
        &["record", "--help"],
        &["record", "-h"],
    ] {
        let ran = netatop(args);
        assert_eq!(ran.status, Some(0), "{args:?}: {ran:?}");
        assert_eq!(ran.stderr, "", "{args:?}");
        assert!(ran.stdout.contains("Usage: netatop"), "{args:?}: {ran:?}");
    }
    for option in ["--version", "-V"] {
        let ran = netatop(&[option]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        assert_eq!(ran.stderr, "");
        let version = format!("netatop {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(ran.stdout, version);
    }
}

#[test]
fn a_bad_value_is_named_in_one_line() {
    for (args, part) in [
        (["-d", "0"], "--duration"),
        (["-d", "5 parsecs"], "parsecs"),
        (["-d", "-1s"], "-1"),
        (["-d", ""], "--duration"),
        (["-i", "1ms"], "10ms"),
        (["-i", "0"], "--interval"),
        (["-n", "-1"], "--top"),
        (["-n", "0"], "--top"),
        (["-n", "x"], "--top"),
        (["-f", "xml"], "--format"),
        (["-s", "nonsense"], "--sort"),
        (["-g", "nonsense"], "--group-by"),
    ] {
        let ran = record(&args);
        assert_refused(&ran, 1, part);
    }
}

/// A value could contain escape sequences for the terminal, or line breaks.
#[test]
fn a_value_with_control_characters_is_refused_in_one_harmless_line() {
    let hostile = "a\nError: b\u{1b}]0;x\u{7}\r\u{202e}";
    for ran in [
        record(&["-d", hostile]),
        record(&["-i", hostile]),
        record(&["-n", hostile]),
        record(&["-p", hostile]),
        record(&["-f", hostile]),
        record(&["--port", hostile]),
        record(&["--net", hostile]),
        record(&["--uid", hostile]),
        record(&["--unit", hostile]),
        record(&[&format!("--{hostile}")]),
        record(&["-d", "1s", hostile]),
        netatop(&[hostile]),
    ] {
        assert_refused(&ran, 1, "a\\nError: b");
        let harmless = |c: char| !c.is_control() && c != '\u{202e}';
        assert!(ran.stderr.trim_end().chars().all(harmless), "{ran:?}");
    }
    // These values are checked after parsing.
    let ran = record(&["--user", hostile, "--", "true"]);
    assert!(
        !ran.stderr.contains(['\u{1b}', '\u{7}', '\r', '\u{202e}']),
        "{ran:?}"
    );
    let ran = record_to(Path::new(&format!("/dev/null/{hostile}")), &[]);
    assert!(
        !ran.stderr.contains(['\u{1b}', '\u{7}', '\r', '\u{202e}']),
        "{ran:?}"
    );
}

#[test]
fn an_unknown_option_argument_or_subcommand_is_named_in_one_line() {
    assert_refused(&record(&["--nonsense"]), 1, "--nonsense");
    assert_refused(&record(&["-Z"]), 1, "-Z");
    assert_refused(&record(&["-d"]), 1, "--duration");
    assert_refused(&netatop(&["--nonsense"]), 1, "--nonsense");
    assert_refused(&netatop(&["nonsense"]), 1, "nonsense");
}

#[test]
fn options_that_exclude_each_other_are_both_named() {
    let ran = record(&["--threads", "--group-by", "comm"]);
    assert_refused(&ran, 1, "--threads");
    assert_refused(&ran, 1, "--group-by");
}

#[test]
fn without_a_subcommand_it_says_so_or_prints_the_help() {
    let ran = netatop(&[]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("record"), "{ran:?}");
}

#[test]
fn an_unknown_choice_is_answered_with_the_choices() {
    for (option, choice) in [("-f", "csv"), ("-s", "received"), ("-g", "cgroup")] {
        let ran = record(&[option, "nonsense"]);
        assert_refused(&ran, 1, choice);
    }
}

#[test]
fn what_to_do_with_a_file_needs_a_file() {
    for option in ["--force", "--append"] {
        let ran = netatop(&["record", "-d", "10ms", option]);
        assert_refused(&ran, 1, "--output");
    }
}

#[test]
fn names_need_remote_ends() {
    let ran = netatop(&["record", "-d", "10ms", "--resolve"]);
    assert_refused(&ran, 1, "--remote");
}

#[test]
fn an_existing_file_is_refused_and_left_as_it_is() {
    let dir = dir();
    for name in ["there.csv", "there.json", "there.txt"] {
        let there = file(&dir, name, "precious\n");
        let ran = record_to(&there, &[]);
        assert_refused(&ran, 1, there.to_str().unwrap());
        assert_refused(&ran, 1, "--force");
        assert_eq!(text(&there), "precious\n");
    }
}

#[test]
fn nothing_is_appended_to_a_table() {
    let dir = dir();
    for (name, args) in [
        ("there.txt", ["--append"].as_slice()),
        ("there.csv", &["--append", "--format", "table"]),
    ] {
        let there = file(&dir, name, "precious\n");
        let ran = record_to(&there, args);
        assert_refused(&ran, 2, "--append");
        assert_eq!(text(&there), "precious\n");
    }
}

#[test]
fn nothing_is_appended_to_a_file_with_other_columns() {
    let dir = dir();
    for (name, there) in [
        ("other.csv", "time,pid\n1,2\n"),
        ("longer.csv", "a header of another program\n"),
        ("other.json", "{\"time\":1,\"pid\":2}\n"),
        ("array.json", "[1,2]\n"),
        ("noise.json", "noise\n"),
    ] {
        let path = file(&dir, name, there);
        let ran = record_to(&path, &["--append"]);
        assert_refused(&ran, 2, path.to_str().unwrap());
        assert_eq!(text(&path), there);
    }
}

#[test]
fn nothing_is_appended_behind_half_a_line() {
    let dir = dir();
    for name in ["half.csv", "half.json"] {
        let there = "a whole line\nhalf a li";
        let path = file(&dir, name, there);
        let ran = record_to(&path, &["--append"]);
        assert_refused(&ran, 2, path.to_str().unwrap());
        assert_refused(&ran, 2, "9 bytes");
        assert_eq!(text(&path), there);
    }
}

#[test]
fn a_file_that_cannot_be_made_is_named() {
    let dir = dir();
    let nowhere = dir.path().join("no/such/directory/out.csv");
    for path in [nowhere.as_path(), dir.path()] {
        for args in [["--force"].as_slice(), &["--append", "-f", "csv"]] {
            let ran = record_to(path, args);
            assert_eq!(ran.status, Some(1), "{ran:?}");
            assert_eq!(ran.stdout, "");
            assert!(ran.stderr.starts_with("netatop: "), "{ran:?}");
            assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
            assert!(ran.stderr.contains(path.to_str().unwrap()), "{ran:?}");
        }
    }
}

/// The program and a writable directory, for a user without permission to count.
struct Unprivileged {
    dir: TempDir,
    program: PathBuf,
}

impl Unprivileged {
    const NOBODY: u32 = 65534;

    fn new() -> Self {
        let dir = dir();
        let open = |path: &Path| {
            fs::set_permissions(path, Permissions::from_mode(0o777)).expect("permissions");
        };
        open(dir.path());
        // Use a copy: the user may not be able to read the build directory, and a copy has no
        // capabilities. Another process makes the copy: a child of another test could inherit a
        // descriptor open for writing, and the copy could then not be executed.
        let program = dir.path().join("netatop");
        let copied = Command::new("cp").arg(NETATOP).arg(&program).status();
        assert!(copied.expect("cp starts").success());
        open(&program);
        Self { dir, program }
    }

    /// `netatop record ARGS... -o FILE`, by a user other than root.
    fn record_to(&self, file: &Path, args: &[&str]) -> Ran {
        let file = file.to_str().expect("UTF-8");
        self.netatop(&[&["record", "-d", "10ms"], args, &["-o", file]].concat())
    }

    /// `netatop ARGS...`, by the same user.
    fn netatop(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(&self.program);
        command.args(args);
        if rustix::process::geteuid().is_root() {
            command.uid(Self::NOBODY).gid(Self::NOBODY);
        }
        run(&mut command)
    }

    /// A file of this user.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = file(&self.dir, name, text);
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(Self::NOBODY), None).expect("chown");
            assert_eq!(fs::metadata(&path).expect("metadata").uid(), Self::NOBODY);
        }
        path
    }
}

#[track_caller]
fn assert_not_allowed(ran: &Ran) {
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.starts_with("netatop: "), "{ran:?}");
    assert!(ran.stderr.lines().count() <= 2, "{ran:?}");
    assert!(ran.stderr.contains("CAP_BPF"), "{ran:?}");
    assert!(ran.stderr.contains("sudo"), "{ran:?}");
}

#[test]
fn a_user_who_may_not_count_is_told_what_is_missing_and_how_to_get_it() {
    let user = Unprivileged::new();
    assert_not_allowed(&user.record_to(&user.dir.path().join("new.csv"), &[]));
}

#[test]
fn a_recording_that_cannot_begin_leaves_no_new_file() {
    let user = Unprivileged::new();
    for (name, args) in [
        ("new.csv", [].as_slice()),
        ("forced.csv", &["--force"]),
        ("appended.json", &["--append"]),
    ] {
        let path = user.dir.path().join(name);
        assert_not_allowed(&user.record_to(&path, args));
        assert!(!path.exists(), "{name} was left behind");
    }
}

#[test]
fn a_recording_that_cannot_begin_leaves_an_older_one_as_it_was() {
    let user = Unprivileged::new();
    let path = user.file("older.csv", "precious\n");
    assert_not_allowed(&user.record_to(&path, &["--force"]));
    assert_eq!(text(&path), "precious\n");
}

#[test]
fn a_file_that_is_refused_for_its_columns_is_not_cut_back_before() {
    let dir = dir();
    let there = "notes of another program\nwithout a line end";
    let path = file(&dir, "notes.csv", there);
    let ran = record_to(&path, &["--append", "--force"]);
    assert_refused(&ran, 2, path.to_str().unwrap());
    assert_eq!(text(&path), there);
}
