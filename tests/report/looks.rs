//! What a summary looks like in a terminal of 80 and of 120 columns.
//! `UPDATE_GOLDEN=1 cargo test --test report` rewrites the expected texts.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use unicode_width::UnicodeWidthStr;

use crate::NETATOP;
use crate::recordings::{Dice, at};

/// A night with a backup, a service that loses packets, and a crash loop.
pub fn night() -> String {
    let mut dice = Dice::new(7);
    let mut text = String::from(
        "time,interval,host,pid,comm,uid,cgroup,start,start_ns,state,tcp_send_msgs,tcp_send_bytes,tcp_recv_msgs,\
         tcp_recv_bytes,udp_send_msgs,udp_send_bytes,udp_recv_msgs,udp_recv_bytes,protocol,role,local_addr,local_port,\
         remote_addr,remote_port,netns,tcp_out_segs,tcp_in_segs,tcp_retrans_segs,tcp_attempt_fails,tcp_rtt_us_min,\
         tcp_rtt_us_max\n",
    );
    // A row: seconds, pid, name, bytes sent and received, remote end, thousandths sent again.
    let mut row = |second: i64,
                   pid: u32,
                   comm: &str,
                   sent: u64,
                   received: u64,
                   end: &str,
                   again: u64| {
        let time = at(second).to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let segments = sent / 1448 + 1;
        let (failed, again) = if again == 1000 {
            (1, 0)
        } else {
            (0, segments * again / 1000)
        };
        writeln!(
            text,
            "{time},60,db1,{pid},{comm},0,/s,2026-02-20T00:00:00.000Z,{pid}000,running,{},{sent},{},{received},0,0,0,0,\
             {end},,{segments},{segments},{again},{failed},300,{}",
            sent / 8000 + 1,
            received / 8000 + 1,
            900 + again,
        )
        .expect("memory");
    };
    for minute in 1..=480 {
        let second = minute * 60;
        row(
            second,
            812,
            "postgres",
            40_000_000 + dice.below(30_000_000),
            9_000_000 + dice.below(5_000_000),
            "tcp,server,,5432,10.0.0.21,",
            0,
        );
        row(
            second,
            944,
            "nginx",
            9_000_000 + dice.below(9_000_000),
            900_000,
            "tcp,server,,443,192.0.2.7,",
            2,
        );
        if (240..270).contains(&minute) {
            row(
                second,
                4711,
                "rsync",
                700_000_000 + dice.below(40_000_000),
                2_000_000,
                "tcp,client,,,10.0.9.5,873",
                0,
            );
        }
        if minute == 1 {
            // It connects, and has no bytes yet.
            row(
                second,
                1200,
                "app-server",
                0,
                0,
                "tcp,client,,,10.0.0.30,6379",
                0,
            );
        }
        if (300..400).contains(&minute) {
            row(
                second,
                1200,
                "app-server",
                2_000_000,
                300_000,
                "tcp,client,,,10.0.0.30,6379",
                61,
            );
            row(
                second,
                20_000 + minute as u32,
                "report-worker",
                1200,
                900,
                "tcp,client,,,2001:db8::30,8080",
                1000,
            );
        }
    }
    row(
        481 * 60,
        5,
        "\u{1b}[2Jx名",
        1,
        1,
        "tcp,client,,,10.0.0.1,80",
        0,
    );
    text
}

#[track_caller]
fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/report/expected")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::write(&path, text).expect("the expected file can be written");
        return;
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, wanted, "{name} differs");
}

#[test]
fn a_summary_fits_80_and_120_columns() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = night();
    fs::write(dir.path().join("night.csv"), &text).expect("a file");
    // Hours without rows, and a line that is cut off.
    let kept = |line: &&str| !line.starts_with("2026-03-01T14");
    let gaps: Vec<&str> = text.lines().filter(kept).collect();
    fs::create_dir(dir.path().join("sub")).expect("a directory");
    let long = "sub/a-recording-with-a-rather-long-name-of-a-night.csv";
    fs::write(dir.path().join(long), gaps.join("\n")).expect("a file");
    for (name, width, args) in [
        ("summary-80.txt", 80, ["night.csv"].as_slice()),
        ("summary-120.txt", 120, &["night.csv"]),
        ("remote-80.txt", 80, &["night.csv", "-r", "-n", "4"]),
        (
            "gaps-80.txt",
            80,
            &["sub/a-recording-with-a-rather-long-name-of-a-night.csv"],
        ),
        (
            "process-80.txt",
            80,
            &["night.csv", "-g", "process", "-n", "3", "--from", "-2h"],
        ),
    ] {
        let output = Command::new(NETATOP)
            .arg("report")
            .args(args)
            .current_dir(dir.path())
            .env("TZ", "Europe/Berlin")
            .env("COLUMNS", width.to_string())
            .output()
            .expect("netatop");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        for line in text.lines() {
            assert!(line.width() <= width, "{width}: {line:?}");
        }
        assert_golden(name, &text);
    }
}
