//! Recordings at the edges: one line, half a line, bins that do not fit the intervals.

use std::fs;
use std::path::Path;

use crate::{report, reported};

const HEADER: &str = "time,interval,host,comm,tcp_send_bytes\n";
const ROW: &str = "2026-03-01T12:00:01Z,1,db1,nginx,5\n";
const OBJECT: &str =
    r#"{"time":"2026-03-01T12:00:01Z","interval":1,"comm":"nginx","tcp_send_bytes":5}"#;

fn sent(dir: &Path, file: &str) -> Vec<String> {
    sent_with(dir, file, &[])
}

fn sent_with(dir: &Path, file: &str, args: &[&str]) -> Vec<String> {
    let found = reported(dir, &[&[file, "-f", "json"], args].concat());
    let rows = found.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).expect("a row");
        row["tcp_send_bytes"].to_string()
    });
    rows.collect()
}

/// A file of one line may have no line end. If the line is whole it counts, and once.
#[test]
fn a_single_line_counts_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mark = format!("\u{feff}{OBJECT}");
    for (text, wanted) in [
        (OBJECT, &["5"] as &[&str]),
        (&mark, &["5"]),
        (&OBJECT[..30], &[]),
        (HEADER.trim_end(), &[]),
    ] {
        fs::write(dir.path().join("one"), text).expect("a file");
        assert_eq!(sent(dir.path(), "one"), wanted, "{text}");
        let found = reported(dir.path(), &["one"]);
        let is_left_out = found.contains("the last line has no end and is left out");
        assert_eq!(is_left_out, wanted.is_empty(), "{found}");
    }
}

/// The rows of a recording are cgroups, whether -g says it or not. Without rows, nothing is wrong.
#[test]
fn a_recording_of_cgroups_needs_no_key_for_a_depth() {
    let dir = tempfile::tempdir().expect("a directory");
    let header = HEADER.replace("comm", "cgroup");
    let rows =
        ["/a.slice/x/y", "/a.slice/x", "/a.slice", "/b"].map(|path| ROW.replace("nginx", path));
    fs::write(
        dir.path().join("r.csv"),
        format!("{header}{}", rows.concat()),
    )
    .expect("a file");
    fs::write(dir.path().join("empty.csv"), &header).expect("a file");
    for (depth, wanted) in [("1", &["15", "5"] as &[&str]), ("2", &["10", "5", "5"])] {
        for more in [&[] as &[&str], &["-g", "cgroup"]] {
            let args = [&["--depth", depth], more].concat();
            assert_eq!(sent_with(dir.path(), "r.csv", &args), wanted, "{args:?}");
            assert!(sent_with(dir.path(), "empty.csv", &args).is_empty());
        }
    }
}

/// Compressed data can end in the middle of the header.
#[test]
fn a_header_that_is_cut_off_is_incomplete() {
    let dir = tempfile::tempdir().expect("a directory");
    let long = format!("{}{ROW}", HEADER.replace("comm", "comm,a-column-of-later"));
    let frame = zstd::encode_all(long.as_bytes(), 1).expect("memory");
    for length in [5, frame.len() / 2, frame.len() - 5] {
        fs::write(dir.path().join("cut.zst"), &frame[..length]).expect("a file");
        let found = reported(dir.path(), &["cut.zst"]);
        assert!(
            found.contains("cut.zst: the compressed data is incomplete"),
            "{found}"
        );
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut gzip, long.as_bytes()).expect("memory");
    let member = gzip.finish().expect("memory");
    fs::write(dir.path().join("cut.gz"), &member[..30]).expect("a file");
    let found = reported(dir.path(), &["cut.gz"]);
    assert!(
        found.contains("cut.gz: the compressed data is incomplete"),
        "{found}"
    );
}

/// Some programs begin a Zstandard file with a frame without data.
#[test]
fn a_skippable_frame_is_skipped() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = format!("{HEADER}{ROW}");
    let frame = zstd::encode_all(text.as_bytes(), 1).expect("memory");
    let skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd".as_slice();
    fs::write(
        dir.path().join("a.zst"),
        [skippable, &frame, skippable, &frame].concat(),
    )
    .expect("a file");
    assert_eq!(sent(dir.path(), "a.zst"), ["10"]);
}

/// The traffic of an interval is in one bin, so a shorter bin has a rate that never was.
#[test]
fn bins_that_are_shorter_than_intervals_are_noted() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = format!("{HEADER}{ROW}{}", ROW.replace("00:01Z", "00:02Z"));
    fs::write(dir.path().join("a.csv"), text).expect("a file");
    let note = "db1: intervals are up to 1 s long, and a bin only 0.10 s: its rate is too high";
    let found = reported(dir.path(), &["a.csv", "--every", "100ms"]);
    assert!(found.contains(note), "{found}");
    let ran = report(dir.path(), &["a.csv", "--every", "100ms", "-f", "csv"]);
    assert!(ran.stderr.contains(note), "{ran:?}");
    for args in [
        &["a.csv"] as &[&str],
        &["a.csv", "-f", "csv"],
        &["a.csv", "--every", "1s", "-f", "csv"],
    ] {
        let ran = report(dir.path(), args);
        assert!(
            !ran.stdout.contains("too high") && ran.stderr.is_empty(),
            "{ran:?}"
        );
    }
}

/// All times are limits of bins, but none is outside of the recording.
#[test]
fn long_bins_do_not_lengthen_the_recording() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = format!("{HEADER}{ROW}{}", ROW.replace("00:01Z", "20:00Z"));
    fs::write(dir.path().join("a.csv"), text).expect("a file");
    for every in ["1h", "1d", "100d"] {
        let found = reported(dir.path(), &["a.csv", "--every", every]);
        let head = "2026-03-01 17:30:00 to 2026-03-01 17:50:00 UTC+05:30, 20 min";
        assert!(found.contains(head), "{found}");
        let row = found
            .lines()
            .find(|line| line.starts_with("nginx"))
            .expect("a row");
        assert!(row.ends_with("17:30 17:50"), "{row}");
    }
}

/// What made a time busy is named even if its row is not shown.
#[test]
fn a_row_that_is_not_shown_can_have_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut text = HEADER.to_owned();
    for second in 10..50 {
        let time = format!("2026-03-01T12:00:{second}Z,1,db1");
        text.push_str(&format!("{time},a,1000\n"));
        if second > 40 {
            text.push_str(&format!("{time},z,1000000\n"));
        }
    }
    fs::write(dir.path().join("a.csv"), text).expect("a file");
    let found = reported(dir.path(), &["a.csv", "-s", "comm", "-n", "1"]);
    let wanted =
        "quiet in the 30 s before:\n  (other): from 0 bps to 8.0 Mbps, 99.9% of the traffic";
    assert!(found.contains(wanted), "{found}");
}

/// The longest line of what changed has a long name and a time with seconds.
#[test]
fn what_changed_fits_80_columns() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut text = HEADER.to_owned();
    for second in 10..50 {
        let time = format!("2026-03-01T12:00:{second}Z,1,db1");
        text.push_str(&format!("{time},a,12345\n"));
        if second > 40 {
            text.push_str(&format!("{time},a-longest-name,12345678\n"));
        }
    }
    fs::write(dir.path().join("a.csv"), text).expect("a file");
    let found = reported(dir.path(), &["a.csv"]);
    assert!(found.contains("  a-longest-name: from 0 bps to"), "{found}");
    assert!(
        found.lines().all(|line| line.chars().count() <= 80),
        "{found}"
    );
}

/// A report never replaces what it was made of, whatever the name of the file.
#[test]
fn a_recording_is_not_replaced_by_its_report() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = format!("{HEADER}{ROW}");
    let path = dir.path().join("a.csv");
    fs::write(&path, &text).expect("a file");
    fs::hard_link(&path, dir.path().join("b.csv")).expect("a link");
    std::os::unix::fs::symlink("a.csv", dir.path().join("c.csv")).expect("a link");
    for output in ["a.csv", "./a.csv", "b.csv", "c.csv"] {
        let ran = report(dir.path(), &["a.csv", "-o", output, "--force"]);
        assert_eq!(ran.status, Some(2), "{ran:?}");
        assert!(
            ran.stderr.contains("is a recording that is read"),
            "{ran:?}"
        );
        assert_eq!(fs::read_to_string(&path).expect("a file"), text);
    }
    let ran = std::process::Command::new(crate::NETATOP)
        .args(["report", "-", "-f", "csv", "--force", "-o"])
        .arg(&path)
        .stdin(fs::File::open(&path).expect("a file"))
        .output()
        .expect("netatop");
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
    assert_eq!(fs::read_to_string(&path).expect("a file"), text);
}

/// An empty time is not 1970, also in the first row.
#[test]
fn an_empty_time_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let row = ROW.replace("2026-03-01T12:00:01Z", "");
    fs::write(dir.path().join("a.csv"), format!("{HEADER}{row}")).expect("a file");
    let ran = report(dir.path(), &["a.csv"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("a.csv:2: time:"), "{ran:?}");
}

/// Without intervals, there is no rate. Every version has written them.
#[test]
fn a_recording_has_intervals() {
    let dir = tempfile::tempdir().expect("a directory");
    for text in [
        format!("{HEADER}{ROW}")
            .replace(",interval", "")
            .replace("Z,1,", "Z,"),
        format!("{HEADER}{ROW}").replace("Z,1,", "Z,,"),
        OBJECT.replace("\"interval\":1,", ""),
        OBJECT.replace("\"interval\":1,", "\"interval\":null,"),
    ] {
        fs::write(dir.path().join("a.csv"), &text).expect("a file");
        let ran = report(dir.path(), &["a.csv"]);
        assert_eq!(ran.status, Some(2), "{text}: {ran:?}");
        assert!(ran.stderr.contains("interval"), "{ran:?}");
    }
}

/// Rows that are split by remote end say when only if something went wrong.
#[test]
fn a_healthy_row_has_no_worst_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let header = "time,interval,comm,tcp_send_bytes,protocol,role,remote_addr,remote_port,tcp_out_segs,tcp_retrans_segs\n";
    let row = "2026-03-01T12:00:01Z,1,well,9,tcp,client,192.0.2.1,80,100,0\n";
    let bad = row.replace("well", "ill").replace(",0\n", ",7\n");
    fs::write(dir.path().join("a.csv"), format!("{header}{row}{bad}")).expect("a file");
    reported(dir.path(), &["a.csv", "-r", "-o", "a.html"]);
    let page = fs::read_to_string(dir.path().join("a.html")).expect("a page");
    assert_eq!(page.matches(r#""whom":["192.0.2.1:80","all"]"#).count(), 1);
    assert!(page.contains("ill retransmitted 6.5% of its TCP segments (7 of 107)"));
}

/// Rows are told apart by their bytes, and a byte that is never in UTF-8 separates those of quoted
/// fields. A row that contains it is not another one.
#[test]
fn a_row_that_is_not_utf_8_is_no_other_row() {
    let dir = tempfile::tempdir().expect("a directory");
    let quoted = "2026-03-01T12:00:01Z,1,a,\"b,c\",5\n";
    let hostile = b"2026-03-01T12:00:01Z,1,a\xffb,c,5\n".as_slice();
    let text = [HEADER.as_bytes(), quoted.as_bytes(), hostile].concat();
    fs::write(dir.path().join("a.csv"), text).expect("a file");
    let ran = report(dir.path(), &["a.csv"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("a.csv:3: host is not UTF-8"), "{ran:?}");
}

#[test]
fn intervals_of_different_lengths_have_an_average() {
    let dir = tempfile::tempdir().expect("a directory");
    let minute = ROW.replace("12:00:01Z,1,db1", "13:00:00Z,60,db2");
    fs::write(dir.path().join("a.csv"), format!("{HEADER}{ROW}")).expect("a file");
    fs::write(dir.path().join("b.csv"), format!("{HEADER}{minute}")).expect("a file");
    let found = reported(dir.path(), &["a.csv", "b.csv"]);
    assert!(
        found.contains("2 intervals of 30.5 s on average, sent"),
        "{found}"
    );
    let found = reported(dir.path(), &["b.csv"]);
    assert!(found.contains("1 interval of 60 s, sent"), "{found}");
}
