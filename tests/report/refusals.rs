//! What is no recording is refused with one line that names the file and the line. What is merely
//! incomplete is read, and the report says so.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use netatop::model::GroupBy;

use crate::recordings::{csv, json, layout, reports};
use crate::{NETATOP, Ran, report, report_with, reported};

const HEADER: &str = "time,interval,host,comm,processes,tcp_send_bytes\n";
const ROW: &str = "2026-03-01T12:00:00Z,1,db1,nginx,1,5\n";

#[track_caller]
fn assert_refused(ran: &Ran, part: &str) {
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    assert!(ran.stderr.starts_with("netatop: "), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.len() < 700, "{ran:?}");
    assert!(ran.stderr.contains(part), "{part:?} is not in {ran:?}");
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn what_is_no_recording_is_refused_by_file_and_line() {
    let dir = directory();
    let wide: String = (0..100_000).map(|n| format!("c{n},")).collect();
    let many: String = (0..2000).map(|n| format!("c{n},")).collect();
    for (text, part) in [
        ("hello\n".to_owned(), "f.csv:1: not a recording"),
        ("hello".to_owned(), "f.csv:1: not a recording"),
        ("a,b\n1,2\n".to_owned(), "f.csv:1: not a recording"),
        ("{\"a\":1}\n".to_owned(), "f.csv:1: not a recording"),
        ("{\"time\"\n".to_owned(), "f.csv:1: not a JSON object"),
        (
            "{\"time\":\"2026-03-01T12:00:00Z\",\"comm\":{},\"tcp_send_bytes\":1}\n".to_owned(),
            "f.csv:1: not a JSON object",
        ),
        (format!("time,time,{HEADER}"), "f.csv:1: two columns time"),
        (
            format!("{HEADER}{ROW}1,2\n"),
            "f.csv:3: 2 values, but 6 columns",
        ),
        (
            format!("{HEADER}noon,1,db1,nginx,1,5\n"),
            "f.csv:2: time: noon is not a time",
        ),
        (
            format!("{HEADER}2026-03-01T12:00:00Z,-1,db1,nginx,1,5\n"),
            "f.csv:2: interval: -1",
        ),
        (
            format!(
                "{HEADER}{ROW}{}",
                ROW.replace(",5", ",18446744073709551616")
            ),
            "f.csv:3: tcp_send_bytes: 18446744073709551616 is not a number from 0 to",
        ),
        (
            format!("{HEADER}{}", ROW.replace(",5", ",1.5")),
            "f.csv:2: tcp_send_bytes: 1.5",
        ),
        (
            format!("{HEADER}{}", ROW.replace(",5", ",-5")),
            "f.csv:2: tcp_send_bytes: -5",
        ),
        (
            format!(
                "{HEADER}{ROW}{}",
                ROW.replace(",5", ",18446744073709551615")
            ),
            "f.csv:3: the sum of",
        ),
        (format!("time,{wide}\n"), "f.csv:1: "),
        (format!("time,{many}\n"), "f.csv:1: more than 1000 columns"),
        (
            format!("{HEADER}{ROW}\"{}", "x".repeat(2_000_000)),
            "f.csv:3: a line of more than",
        ),
        (
            format!("{HEADER}{ROW}\"{}", "x\n".repeat(1_000_000)),
            "f.csv:3: a line of more than",
        ),
        (
            format!("{HEADER}{ROW}{}", ROW.replace("nginx", "a\"b\n\"")),
            "f.csv:3: ",
        ),
    ] {
        fs::write(dir.path().join("f.csv"), &text).expect("a file");
        let ran = report(dir.path(), &["f.csv", "-f", "csv"]);
        let start: String = text.chars().take(100).collect();
        assert_eq!(ran.status, Some(2), "{start:?}: {ran:?}");
        assert_refused(&ran, part);
    }
    fs::write(
        dir.path().join("f.csv"),
        [
            HEADER.as_bytes(),
            b"2026-03-01T12:00:00Z,1,db1,\xff\xfe,1,5\n",
        ]
        .concat(),
    )
    .expect("a file");
    assert_refused(
        &report(dir.path(), &["f.csv"]),
        "f.csv:2: comm is not UTF-8",
    );
    fs::write(
        dir.path().join("g.csv"),
        [b"\x1f\x8b".as_slice(), &[7; 100]].concat(),
    )
    .expect("a file");
    let ran = report(dir.path(), &["g.csv"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(
        ran.stderr.starts_with("netatop: g.csv could not be read"),
        "{ran:?}"
    );
}

/// A gigabyte without a line end is refused after its first part.
#[test]
fn a_line_without_end_needs_little_memory() {
    let mut child = Command::new(NETATOP)
        .args(["report", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("netatop starts");
    let mut input = child.stdin.take().expect("a pipe");
    let part = vec![b'x'; 1 << 20];
    let written = (0..1024)
        .take_while(|_| input.write_all(&part).is_ok())
        .count();
    drop(input);
    let output = child.wait_with_output().expect("netatop ends");
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(
        message.starts_with("netatop: standard input:1: a line of more than"),
        "{message}"
    );
    assert!(written < 64, "it read {written} MiB");
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let dir = directory();
    let of = layout(GroupBy::Cgroup, false, None);
    fs::write(dir.path().join("g.csv"), csv(of, &reports(of, 1, 9))).expect("a file");
    let of = layout(GroupBy::Process, false, None);
    fs::write(dir.path().join("p.csv"), csv(of, &reports(of, 1, 9))).expect("a file");
    let of = layout(GroupBy::Comm, false, None);
    fs::write(dir.path().join("c.csv"), csv(of, &reports(of, 1, 9))).expect("a file");
    for (args, part) in [
        (
            ["g.csv", "-g", "process"].as_slice(),
            "possible with -g: cgroup",
        ),
        (&["g.csv", "-r"], "without --remote"),
        (&["p.csv", "-s", "pid"], "add -g process"),
        (&["p.csv", "--depth", "2"], "add -g cgroup"),
        (&["g.csv", "-g", "host", "--depth", "2"], "add -g cgroup"),
        (&["g.csv", "--depth", "0"], "1 or more"),
        (&["c.csv", "g.csv"], "g.csv:2: rows of comm are wanted"),
        (&["none.csv"], "none.csv: "),
        (&["."], ". is a directory"),
        (&["-", "-"], "only once"),
        (&["-", "--from", "-1h"], "need a date"),
        (
            &[
                "p.csv",
                "--from",
                "2026-03-01T12:00:00Z",
                "--to",
                "2026-03-01T12:00:00Z",
            ],
            "--to is not after --from",
        ),
        (&["p.csv", "--from", "yesterday"], "not a time"),
        (&["p.csv", "--every", "1ms"], "at least 10ms"),
        (&["p.csv", "-n", "0"], "1 or more"),
        (&["p.csv", "-o", "x.pdf"], "unknown file extension"),
        (&["p.csv", "-o", "g.csv"], "exists"),
    ] {
        let ran = report(dir.path(), args);
        assert_refused(&ran, part);
    }
}

#[test]
fn what_is_incomplete_is_read_and_noted() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name);
    let of = layout(GroupBy::Comm, false, None);
    let made = reports(of, 3, 50);
    let text = csv(of, &made);
    fs::write(path("whole.csv"), &text).expect("a file");
    let summary = reported(dir.path(), &["whole.csv"]);
    let sums = |summary: &str| {
        summary
            .lines()
            .skip(1)
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };

    // A file that is being written ends in the middle of a row.
    let half = b"2026-03-01T12:09:00Z,1,db1,nginx,1,1,1,1,1,1,1,1,99".as_slice();
    fs::write(path("half.csv"), [&text, half].concat()).expect("a file");
    let found = reported(dir.path(), &["half.csv"]);
    assert_eq!(sums(&found), sums(&summary));
    assert!(
        found.contains("half.csv: the last line has no end and is left out"),
        "{found}"
    );

    // So does one in JSON, but an object that is whole counts.
    let lines = json(of, &made);
    fs::write(path("whole.jsonl"), lines.trim_ascii_end()).expect("a file");
    assert_eq!(
        sums(&reported(dir.path(), &["whole.jsonl"])),
        sums(&summary)
    );
    let ran = report_with(
        dir.path(),
        &["-"],
        &[&lines, b"{\"time\":\"20".as_slice()].concat(),
    );
    assert_eq!(sums(&ran.stdout), sums(&summary));
    assert!(ran.stdout.contains("left out"), "{ran:?}");

    // The last member of a compressed file may be incomplete.
    let frame = zstd::encode_all(text.as_slice(), 3).expect("memory");
    fs::write(
        path("cut.csv.zst"),
        [&frame, &frame[..frame.len() / 2]].concat(),
    )
    .expect("a file");
    let found = reported(dir.path(), &["cut.csv.zst"]);
    assert!(
        found.contains("cut.csv.zst: the compressed data is incomplete"),
        "{found}"
    );

    // Appended runs repeat nothing, and files put together repeat the header.
    fs::write(path("twice.csv"), [&text, &text[..]].concat()).expect("a file");
    let found = reported(dir.path(), &["twice.csv"]);
    assert!(found.contains("db1: the time goes back 1 time"), "{found}");
    let found = reported(dir.path(), &["whole.csv", "whole.csv"]);
    assert!(
        found.contains("whole.csv and whole.csv have the same time"),
        "{found}"
    );

    // Windows ends lines in its own way, and begins files with a mark.
    let windows = String::from_utf8(text.clone())
        .expect("UTF-8")
        .replace('\n', "\r\n");
    let quoted = format!("\u{feff}{}", windows.replace("b\r\nc", "b\nc"));
    fs::write(path("windows.csv"), quoted).expect("a file");
    assert_eq!(
        sums(&reported(dir.path(), &["windows.csv"])),
        sums(&summary)
    );

    // Columns of a later version are named.
    let newer =
        format!("{}{ROW}", HEADER.replace("host,", "host,colour,")).replace("db1,", "db1,red,");
    fs::write(path("newer.csv"), newer).expect("a file");
    let found = reported(dir.path(), &["newer.csv"]);
    assert!(
        found.contains("newer.csv: columns that are not known: colour"),
        "{found}"
    );

    for empty in ["", HEADER] {
        fs::write(path("empty.csv"), empty).expect("a file");
        assert!(reported(dir.path(), &["empty.csv"]).starts_with("no traffic was recorded\n"));
    }
}

/// Recordings of older versions had other columns.
#[test]
fn older_columns_are_read() {
    let dir = directory();
    let old = "time,interval,pid,comm,cgroup,state,tcp_send_msgs,tcp_send_bytes,tcp_recv_msgs,tcp_recv_bytes\n\
        2026-03-01T12:00:00Z,1,7,nginx,/a,running,1,10,2,20\n\
        2026-03-01T12:00:01Z,1,7,nginx,/a,exited,1,10,2,20\n";
    let user = "time,interval,host,user,processes,tcp_send_msgs,tcp_send_bytes\n\
        2026-03-01T12:00:00Z,1,db1,root,3,1,10\n";
    fs::write(dir.path().join("old.csv"), old).expect("a file");
    fs::write(dir.path().join("user.csv"), user).expect("a file");
    let found = reported(dir.path(), &["old.csv", "-g", "process", "-f", "json"]);
    let row: serde_json::Value = serde_json::from_str(&found).expect("one row");
    assert_eq!(
        (&row["pid"], &row["tcp_send_bytes"], &row["state"]),
        (&7.into(), &20.into(), &"exited".into())
    );
    assert!(row["host"].is_null() && row["start_ns"].is_null());
    let found = reported(dir.path(), &["user.csv", "-f", "json"]);
    let row: serde_json::Value = serde_json::from_str(&found).expect("one row");
    assert_eq!(row["user_name"], "root");
}

/// The same bytes mean something else in other columns.
#[test]
fn columns_are_found_by_name() {
    let dir = directory();
    let one = "time,interval,host,comm,tcp_send_bytes\n2026-03-01T12:00:00Z,1,a,b,1\n";
    let other = "time,interval,comm,host,tcp_send_bytes\n2026-03-01T12:00:00Z,1,a,b,10\n";
    fs::write(dir.path().join("one.csv"), [one, other].concat()).expect("a file");
    fs::write(dir.path().join("other.csv"), [other, one].concat()).expect("a file");
    let found = reported(dir.path(), &["one.csv", "other.csv", "-f", "csv"]);
    let rows: Vec<Vec<&str>> = found
        .lines()
        .map(|line| line.split(',').collect())
        .collect();
    let sums: Vec<_> = rows[1..]
        .iter()
        .map(|row| (row[2], row[3], row[6]))
        .collect();
    assert_eq!(sums, [("b", "a", "20"), ("a", "b", "2")]);
}

/// A report in CSV or JSON can be read like a recording.
#[test]
fn the_rows_of_a_report_are_a_recording() {
    let dir = directory();
    let of = layout(GroupBy::Process, false, None);
    fs::write(dir.path().join("p.csv"), csv(of, &reports(of, 4, 60))).expect("a file");
    for key in ["process", "comm", "cgroup", "user", "host"] {
        let args = [
            "p.csv",
            "-g",
            key,
            "--every",
            "10s",
            "-o",
            "again.jsonl",
            "--force",
        ];
        reported(dir.path(), &args);
        let whole = reported(dir.path(), &["p.csv", "-g", key, "-f", "csv"]);
        let again = reported(dir.path(), &["again.jsonl", "-g", key, "-f", "csv"]);
        let sums = |text: &str| {
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            let header = reader.headers().expect("a header").clone();
            let mut sums = vec![0_u128; header.len()];
            let mut rows = 0;
            for row in reader.records() {
                rows += 1;
                let row = row.expect("a row");
                for ((sum, name), value) in sums.iter_mut().zip(header.iter()).zip(row.iter()) {
                    if name.ends_with("_bytes") || name.ends_with("_msgs") {
                        *sum += value.parse::<u128>().expect("a number");
                    }
                }
            }
            (rows, sums)
        };
        let (again, whole) = (sums(&again), sums(&whole));
        assert_eq!(again.1, whole.1, "{key}");
        // A group that is called (other) cannot be told from the row of the rest, and rows of hosts
        // have no name.
        if !["comm", "host"].contains(&key) {
            assert_eq!(again.0, whole.0, "{key}");
        }
    }
}

#[test]
fn a_closed_or_full_output_is_reported() {
    let dir = directory();
    let of = layout(GroupBy::Comm, false, None);
    fs::write(dir.path().join("c.csv"), csv(of, &reports(of, 1, 9))).expect("a file");
    let ran = report(dir.path(), &["c.csv", "-f", "csv", "-o", "/dev/full"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("/dev/full"), "{ran:?}");
    assert!(!Path::new("/dev/full").is_file());
}
