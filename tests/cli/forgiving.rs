//! Command lines in the style of other programs. Each works, or gives a one-line error with the right
//! command line.

use std::process::Command;

use clap::Parser;

use super::{NETATOP, Ran, assert_refused, netatop, record, run};

/// `netatop ARGUMENTS` is refused in one line that ends with this advice.
#[track_caller]
fn assert_advised(arguments: &[&str], advice: &str) -> Ran {
    let ran = netatop(arguments);
    assert_refused(&ran, 1, advice);
    assert!(
        ran.stderr.trim_end().ends_with(advice),
        "{arguments:?}: {ran:?}"
    );
    ran
}

/// `netatop record ARGUMENTS` is accepted: it fails only because the output cannot be opened.
#[track_caller]
fn assert_taken(arguments: &[&str]) {
    let ran = record(arguments);
    assert_eq!(ran.status, Some(1), "{arguments:?}: {ran:?}");
    assert!(
        ran.stderr.contains("no-such-file"),
        "{arguments:?}: {ran:?}"
    );
}

#[test]
fn numbers_as_pidstat_and_vmstat_take_them() {
    for (arguments, advice) in [
        (
            ["record", "1", "5"].as_slice(),
            "type: netatop record -i 1 --count 5",
        ),
        (&["record", "0.5"], "type: netatop record -i 0.5"),
        (&["record", "1s"], "type: netatop record -i 1s"),
        (
            &["record", "-i", "1", "5"],
            "type: netatop record -i 1 --count 5",
        ),
        (
            &["record", "1", "5", "-g", "comm"],
            "type: netatop record -i 1 --count 5 -g comm",
        ),
        (
            &["record", "0.5", "--json"],
            "type: netatop record -i 0.5 -f json",
        ),
        (&["record", "1", "2", "3"], "type: netatop record -p 1 2 3"),
        (
            &["record", "-i", "1", "-d", "9", "10"],
            "type: netatop record -i 1 -d 9 --count 10",
        ),
        (
            &["record", "--count", "5"],
            "type: netatop record -i 1s --count 5",
        ),
        (&["1", "5"], "type: netatop record -i 1 --count 5"),
    ] {
        assert_advised(arguments, advice);
    }
    let here = std::process::id().to_string();
    for arguments in [["record", &here].as_slice(), &[&here]] {
        assert_advised(
            arguments,
            &format!("netatop record -p {here} for process {here}"),
        );
    }
    assert_taken(&["-i", "1", "--count", "5"]);
    for bad in ["0", "-1", "x"] {
        assert_refused(&record(&["-i", "1", "--count", bad]), 1, "--count");
    }
    // Before the output is opened.
    let ran = netatop(&["record", "-i", "1", "-c", "5"]);
    assert_ne!(ran.status, Some(0));
    if ran.status == Some(2) {
        assert_refused(&ran, 1, "--count");
    }
}

#[test]
fn options_without_the_subcommand() {
    for (arguments, advice) in [
        (["-d", "1"].as_slice(), "type: netatop record -d 1"),
        (&["-p", "1"], "type: netatop record -p 1"),
        (&["--json"], "type: netatop record -f json"),
        (&["-i", "1", "5"], "type: netatop record -i 1 --count 5"),
        (&["--", "true"], "type: netatop record -- true"),
    ] {
        assert_advised(arguments, advice);
    }
}

#[test]
fn a_command_without_the_dashes() {
    for (arguments, advice) in [
        (
            ["record", "sh", "-c", "exit 1"].as_slice(),
            "type: netatop record -- sh -c 'exit 1'",
        ),
        (
            &["record", "-d", "1s", "sh"],
            "type: netatop record -d 1s -- sh",
        ),
        (
            &["record", "-o", "sh", "sh"],
            "type: netatop record -o sh -- sh",
        ),
        (
            &["record", "sh", "--json"],
            "type: netatop record -- sh --json",
        ),
        (
            &["record", "--json", "sh", "--csv"],
            "type: netatop record -f json -- sh --csv",
        ),
        (
            &["sh", "-c", "it's"],
            r"type: netatop record -- sh -c 'it'\''s'",
        ),
        (&["run", "sh"], "type: netatop record -- sh"),
        (
            &["record", "service", "x"],
            "to run a command, type: netatop record -- service x",
        ),
    ] {
        assert_advised(arguments, advice);
    }
}

#[test]
fn names_that_options_have_elsewhere() {
    for (arguments, advice) in [
        (
            ["record", "--json"].as_slice(),
            "type: netatop record -f json",
        ),
        (
            &["record", "--csv", "-d", "1"],
            "type: netatop record -f csv -d 1",
        ),
        (
            &["record", "--interval=1s", "--iterations", "5"],
            "type: netatop record --interval=1s --count 5",
        ),
        (
            &["record", "-r", "socket", "-d", "1"],
            "type: netatop record -r=socket -d 1",
        ),
        (
            &["record", "--remote", "address"],
            "type: netatop record --remote=address",
        ),
        (&["record", "--time=5"], "type: netatop record --duration 5"),
        (
            &["record", "-C"],
            "TCP and UDP are both counted without an option",
        ),
        (
            &["record", "-G"],
            "-g is --group-by; see netatop record --help",
        ),
        (&["record", "--durration", "5"], "did you mean --duration?"),
        (&["recrd", "-d", "1"], "did you mean record?"),
        (&["record", "-Z"], "see netatop record --help"),
        (&["check", "--json"], "type: netatop check -f json"),
    ] {
        let ran = assert_advised(arguments, advice);
        assert!(!ran.stderr.contains("'-- "), "{ran:?}");
    }
    for arguments in [
        ["--interval=1s", "-f", "json"].as_slice(),
        &["-g", "pid"],
        &["-r"],
        &["-r=socket", "-i", "1"],
        &["--remote=address"],
        &["-d", "1sec"],
        &["-d", "1.5s"],
    ] {
        assert_taken(arguments);
    }
    assert_advised(&["record", "-d", "1,5"], "type: 1.5");
}

#[test]
fn help_and_version_by_other_names() {
    for (arguments, advice) in [
        (["record", "help"].as_slice(), "type: netatop record --help"),
        (&["record", "-?"], "type: netatop record --help"),
        (&["serve", "-?"], "type: netatop serve --help"),
        (&["-?"], "type: netatop --help"),
        (&["-v"], "type: netatop --version"),
        (&["version"], "type: netatop --version"),
    ] {
        assert_advised(arguments, advice);
    }
    assert_refused(&netatop(&["export"]), 1, "netatop record -i 10s");
    assert_refused(&netatop(&["report"]), 1, "<FILE>");
    assert_refused(&netatop(&["top"]), 1, "netatop record -i 1s");
    assert_refused(&netatop(&["lo"]), 1, "lo is a network interface");
    assert_refused(&netatop(&["record", "lo"]), 1, "netatop counts by process");
}

#[test]
fn process_ids_as_pgrep_writes_them() {
    let here = std::process::id();
    for separator in [",", " ", "\n", ", ", "\t"] {
        assert_taken(&["-p", &format!("{here}{separator}{here}\n")]);
    }
    let here = here.to_string();
    assert_taken(&["-p", &here, &here]);
    assert_taken(&["-p", &here, "-p", &here]);
    for nothing in [
        ["record", "-p", ""].as_slice(),
        &["record", "-p"],
        &["record", "-p", "-i", "1"],
    ] {
        assert_advised(nothing, "if it comes from pgrep, no such process was found");
    }
    assert_advised(&["record", "-p", "bash"], "type: -p \"$(pgrep -x bash)\"");
    assert_advised(
        &["record", "-p", "1-5"],
        "type each id of a range: -p 1,2,3",
    );
    assert_advised(&["record", "-p", "0"], "a process id is 1 or more");
    assert_advised(&["record", "-p", "$(reboot)"], "not a process id");
}

#[test]
fn half_a_command_is_not_advised() {
    let long = "x".repeat(1_000);
    assert_advised(&["record", "sh", &long], "; see netatop record --help");
    assert_advised(&["record", &long, "sh"], "; see netatop record --help");
}

/// Every example of the help is understood.
#[test]
fn the_help_has_examples() {
    for (arguments, least) in [(["--help"].as_slice(), 4), (&["record", "--help"], 6)] {
        let help = run(Command::new(NETATOP).env("COLUMNS", "80").args(arguments)).stdout;
        let (_, examples) = help.split_once("Examples, ").expect("examples");
        // A line that was wrapped would begin at the margin.
        let is_indented = |line: &str| line.starts_with("  ");
        assert!(examples.lines().skip(1).all(is_indented), "{help}");
        let mut tried = 0;
        for line in examples.lines().filter(|line| line.contains("netatop")) {
            // The meaning is apart by two blanks.
            let command = line.trim().split("  ").next().expect("a command");
            let command = command.replace("\"$(pgrep -x nginx)\"", "1");
            let words = command.split(' ');
            let parsed = netatop::cli::Cli::try_parse_from(words);
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
            tried += 1;
        }
        assert!(tried >= least, "{help}");
    }
}
