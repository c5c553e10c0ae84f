//! A long recording: its memory and descriptors do not grow, and its intervals have no gaps. The
//! recording is limited to a cgroup, so that other processes of the host do not affect the result.
//!
//! `NETATOP_TEST_SAMPLES` sets the number of intervals of 100 ms; 72000 are two hours.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use netatop::model::Counters;
use serde_json::Value;

use super::end_to_end::{interrupt, wait_until_attached};
use super::filters::{Cgroup, mount};
use super::harness::{Named, counters, netatop};

const INTERVAL: Duration = Duration::from_millis(100);

/// The shortest pause that the workload reports. Its steady part sends every 2.5 ms.
const PAUSE_MS: usize = 4;

/// The precision of `time`: it has milliseconds, and is read a moment after the monotonic clock.
const ROUNDING: f64 = 0.002;

/// How long before its `time` a sample may have been taken. Later traffic is in the next sample.
const LATE: f64 = 0.05;

fn samples() -> usize {
    let asked = std::env::var("NETATOP_TEST_SAMPLES").ok();
    asked.map_or(150, |n| n.parse().expect("a number"))
}

/// Bytes of anonymous memory of a process, and the number of its descriptors.
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

/// Seconds of the wall clock since 1970.
fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_secs_f64()
}

/// Calls a function when it goes out of scope, also after a panic.
struct AtEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The times in all rows.
#[derive(Default)]
struct Covered {
    last: String,
    intervals: usize,
    /// The sum of `interval`.
    recorded: Duration,
    /// When the first interval began and the last one ended.
    first: Option<f64>,
    end: f64,
    /// The gaps between successive intervals with rows.
    gaps: Vec<(f64, f64)>,
}

impl Covered {
    fn take(&mut self, row: &Value) {
        let time = row["time"].as_str().expect("time");
        if time == self.last {
            return;
        }
        self.last = time.to_owned();
        let length = row["interval"].as_f64().expect("interval");
        let end: DateTime<Utc> = time.parse().expect("a time");
        let end = seconds(end.into());
        let begun = end - length;
        match self.first {
            None => self.first = Some(begun),
            Some(_) => self.gaps.push((self.end, begun)),
        }
        self.intervals += 1;
        self.recorded += Duration::from_secs_f64(length);
        self.end = end;
    }

    /// The gaps between `attached` and `asked` that are longer than the workload's shortest pause.
    /// Checks that the workload reported a pause for the length of each gap.
    fn silent(&self, attached: f64, asked: f64, pauses: &[(f64, f64)]) -> Vec<f64> {
        let ends = [(attached, self.first.expect("rows")), (self.end, asked)];
        let longest = PAUSE_MS as f64 / 1000.0 + ROUNDING;
        let gaps = self.gaps.iter().chain(&ends);
        gaps.filter(|(from, to)| to - from > longest)
            .map(|&(from, to)| {
                let paused = pauses
                    .iter()
                    .any(|&(begun, end)| begun - ROUNDING < from && from < end && to < end + LATE);
                assert!(paused, "no rows from {from} to {to}");
                to - from
            })
            .collect()
    }
}

/// Runs short-lived processes and threads in the cgroup until told to stop. Returns their total
/// counts and their pauses.
fn churn(named: &Named, cgroup: &Cgroup, stop: &AtomicBool) -> (Counters, Vec<(f64, f64)>) {
    let mut pauses = Vec::new();
    let mut add = |sum: Counters, line: &Value| {
        for pause in line["pauses"].as_array().into_iter().flatten() {
            let end = pause[1].as_f64().unwrap_or(f64::INFINITY);
            pauses.push((pause[0].as_f64().expect("a time"), end));
        }
        sum + counters(line, Counters::default())
    };
    let start = |args: &[&str]| {
        let mut workload = named.start(&[args, &["delay-go=1"]].concat());
        cgroup.adopt(workload.pid());
        workload.go();
        workload
    };
    let steady = [
        start(&[
            "flow",
            "size=700",
            "rate=400",
            &format!("pauses={PAUSE_MS}"),
        ]),
        start(&["all-end", "n=30", "rate=20"]),
    ];
    let mut sum = Counters::default();
    while !stop.load(Ordering::Acquire) {
        for storm in [
            &["process-storm", "n=300", "parallel=2", "rate=300"][..],
            &["thread-storm", "n=300", "parallel=2"],
            &["exec-chain", "n=5"],
        ] {
            sum = start(storm).finish().iter().fold(sum, &mut add);
        }
    }
    for one in steady {
        sum = one.finish().iter().fold(sum, &mut add);
    }
    (sum, pauses)
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
    let attached = (Instant::now(), seconds(SystemTime::now()));
    let rows = BufReader::new(child.stdout.take().expect("piped")).lines();

    let (wanted, stop) = (samples(), AtomicBool::new(false));
    let mut covered = Covered::default();
    let mut counted = Counters::default();
    let mut unattributed = Counters::default();
    let mut take = |row: &str| {
        let row: Value = serde_json::from_str(row).expect("json");
        covered.take(&row);
        if row["comm"] == named.comm() {
            counted += counters(&row, Counters::default());
        } else if row["pid"].is_null() {
            unattributed += counters(&row, Counters::default());
        }
        covered.intervals
    };
    let (mut warm, mut end) = (None, None);
    let ((truth, pauses), asked) = std::thread::scope(|scope| {
        let churning = scope.spawn(|| {
            // Stop the recording also after a panic, or the test would wait for rows for ever.
            let _interrupt = AtEnd(|| interrupt(&child));
            let did = churn(&named, &cgroup, &stop);
            (did, (Instant::now(), seconds(SystemTime::now())))
        });
        let _stop = AtEnd(|| stop.store(true, Ordering::Release));
        for row in rows {
            let intervals = take(&row.expect("read"));
            if intervals == wanted / 3 && warm.is_none() {
                warm = Some(holds(&child));
            }
            if intervals == wanted && end.is_none() {
                end = Some(holds(&child));
                stop.store(true, Ordering::Release);
            }
        }
        churning.join().expect("the churn")
    });
    let (warm, end) = (warm.expect("it went on"), end.expect("it went on"));
    assert!(child.wait().expect("wait").success());
    let ended = Instant::now();

    let silent = covered.silent(attached.1, asked.1, &pauses);
    let (times, silent) = (silent.len(), silent.iter().fold(0.0, |a, b| a + b));
    let recorded = covered.recorded.as_secs_f64();
    println!(
        "soak: {} intervals, {recorded:.3} s in rows and {silent:.3} s without traffic ({} times) \
         of {:.3} s; own memory {} -> {} bytes, descriptors {} -> {}; {} messages, {} unattributed",
        covered.intervals,
        times,
        (ended - attached.0).as_secs_f64(),
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
    // The measured time lies between these moments, which the test measures itself.
    let interval = INTERVAL.as_secs_f64();
    assert!(
        recorded + silent <= (ended - before).as_secs_f64() + interval,
        "more than there was"
    );
    assert!(
        recorded + silent + interval >= (asked.0 - attached.0).as_secs_f64(),
        "intervals are missing"
    );
}
