//! A recording that goes on: its memory, its descriptors and its time stay where they were.
//! It records a cgroup, so that it is nothing to it what else the host does for hours.
//!
//! `NETATOP_TEST_SAMPLES` says how many intervals of 100 ms it has; 72000 are two hours.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netatop::model::Counters;
use serde_json::Value;

use super::end_to_end::{interrupt, wait_until_attached};
use super::filters::{Cgroup, mount};
use super::harness::{Named, counters, netatop};

const INTERVAL: Duration = Duration::from_millis(100);

fn samples() -> usize {
    let asked = std::env::var("NETATOP_TEST_SAMPLES").ok();
    asked.map_or(150, |n| n.parse().expect("a number"))
}

/// Bytes of memory that are the process's own, and how many descriptors it has.
fn holds(child: &Child) -> (u64, usize) {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("status");
    let anonymous = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes: u64 = anonymous
        .and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok())
        .expect("RssAnon");
    let descriptors = fs::read_dir(format!("/proc/{}/fd", child.id())).expect("fd");
    (kilobytes << 10, descriptors.count())
}

/// Processes and threads of the cgroup that come and go until told to stop; what they did in
/// all.
fn churn(named: &Named, cgroup: &Cgroup, stop: &AtomicBool) -> Counters {
    let add = |sum: Counters, line: &Value| sum + counters(line, Counters::default());
    let start = |args: &[&str]| {
        let mut workload = named.start(&[args, &["delay-go=1"]].concat());
        cgroup.adopt(workload.pid());
        workload.go();
        workload
    };
    let steady = [
        start(&["flow", "size=700", "rate=100"]),
        start(&["all-end", "n=30", "rate=20"]),
    ];
    let mut sum = Counters::default();
    while !stop.load(Ordering::Acquire) {
        for storm in [
            &["process-storm", "n=300", "parallel=2", "rate=300"][..],
            &["thread-storm", "n=300", "parallel=2"],
            &["exec-chain", "n=5"],
        ] {
            sum = start(storm).finish().iter().fold(sum, add);
        }
    }
    for one in steady {
        sum = one.finish().iter().fold(sum, add);
    }
    sum
}

#[test]
fn a_long_recording_keeps_its_memory_and_its_time() {
    let name = format!("netatop-test-{}-soak", std::process::id());
    let cgroup = Cgroup::new(mount().expect("cgroup v2").join(&name));
    let named = Named::new(&format!("soak-{}", std::process::id()));
    let before = Instant::now();
    let mut child = netatop()
        .args(["record", "-v", "-f", "json", "-i", "100ms", "-c", &name])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("netatop");
    let mut messages = BufReader::new(child.stderr.take().expect("piped"));
    wait_until_attached(&mut messages);
    let attached = Instant::now();
    let mut rows = BufReader::new(child.stdout.take().expect("piped")).lines();

    let (wanted, stop) = (samples(), AtomicBool::new(false));
    let mut intervals = 0;
    let mut recorded = Duration::ZERO;
    let mut counted = Counters::default();
    let mut unattributed = Counters::default();
    let mut last = String::new();
    let mut take = |row: &Value, intervals: &mut usize| {
        let time = row["time"].as_str().expect("time");
        if time != last {
            last = time.to_owned();
            *intervals += 1;
            recorded += Duration::from_secs_f64(row["interval"].as_f64().expect("interval"));
        }
        if row["comm"] == named.comm() {
            counted += counters(row, Counters::default());
        } else if row["pid"].is_null() {
            unattributed += counters(row, Counters::default());
        }
    };
    let (truth, warm, end) = std::thread::scope(|scope| {
        let churning = scope.spawn(|| churn(&named, &cgroup, &stop));
        let (mut warm, mut end) = (None, None);
        while end.is_none() {
            assert!(!churning.is_finished(), "the churn has failed");
            let row = rows.next().expect("it goes on").expect("read");
            take(&serde_json::from_str(&row).expect("json"), &mut intervals);
            if intervals == wanted / 3 && warm.is_none() {
                warm = Some(holds(&child));
            }
            if intervals == wanted {
                end = Some(holds(&child));
            }
        }
        stop.store(true, Ordering::Release);
        // The pipe must be emptied for the recording to go on until the churn has ended.
        while !churning.is_finished() {
            let row = rows.next().expect("it goes on").expect("read");
            take(&serde_json::from_str(&row).expect("json"), &mut intervals);
        }
        let truth = churning.join().expect("the churn");
        (truth, warm.expect("warm"), end.expect("end"))
    });
    let asked = Instant::now();
    interrupt(&child);
    for row in rows {
        let row = row.expect("read");
        take(&serde_json::from_str(&row).expect("json"), &mut intervals);
    }
    assert!(child.wait().expect("wait").success());
    let ended = Instant::now();

    println!(
        "soak: {intervals} intervals, {:.3} s in rows of {:.3} s; own memory {} -> {} bytes, \
         descriptors {} -> {}; {} messages, {} unattributed",
        recorded.as_secs_f64(),
        (ended - attached).as_secs_f64(),
        warm.0,
        end.0,
        warm.1,
        end.1,
        counted.msgs(),
        unattributed.msgs(),
    );
    assert_eq!(counted, truth);
    assert!(unattributed.is_zero(), "{unattributed:?}");
    assert_eq!(warm.1, end.1, "descriptors");
    assert!(end.0 < warm.0 + (2 << 20), "memory: {warm:?}, {end:?}");
    // Between the moments that can be known from outside, which enclose its own.
    assert!(recorded <= ended - before, "more than there was");
    assert!(
        recorded + INTERVAL >= asked - attached,
        "intervals are missing"
    );
}
