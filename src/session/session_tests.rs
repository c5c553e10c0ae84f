//! Tests of whole sessions, with a scripted source and a scripted clock.

mod folding;
mod names;
mod scripted;
mod stalls;
mod sums;

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;

use self::scripted::*;
use super::write::ROWS_AT_A_TIME;
use super::*;
use crate::error::Error;
use crate::model::{Comm, Counters, Row, State, Who};
use crate::output::{Existing, Lines, Sink};
use crate::source::Sample;

#[test]
fn a_duration_ends_it_with_one_report() {
    let time = Time::new();
    let mut clock = FakeClock::new(&time, []);
    let (kept, done) = record(
        &mut Scripted::new(&time, steady),
        &mut clock,
        schedule(Some(2_500), None),
    );
    assert_eq!(kept.intervals(), [2_500]);
    assert_eq!(kept.bytes(), [2_500]);
    let summary = done.expect("no error");
    assert_eq!(summary.elapsed, ms(2_500));
    assert_eq!(summary.processes, 1);
    assert_eq!(summary.total, sent(2_500));
    assert_eq!(summary.unattributed, Counters::default());
    assert_eq!(summary.living, [(10, Comm::new(b"test"))]);
}

#[test]
fn a_tick_at_the_very_end_is_no_second_report() {
    let time = Time::new();
    let mut clock = FakeClock::new(&time, []);
    let (kept, _) = record(
        &mut Scripted::new(&time, steady),
        &mut clock,
        schedule(Some(3_000), Some(1_000)),
    );
    assert_eq!(kept.intervals(), [1_000, 1_000, 1_000]);
}

#[test]
fn a_count_ends_it_with_its_last_report() {
    for (count, duration, lengths) in [
        (1, None, [1_000].as_slice()),
        (3, None, &[1_000, 1_000, 1_000]),
        (3, Some(1_500), &[1_000, 500]),
        (2, Some(2_000), &[1_000, 1_000]),
    ] {
        let time = Time::new();
        let counted = Schedule {
            count: Some(count),
            ..schedule(duration, Some(1_000))
        };
        let mut clock = FakeClock::new(&time, []);
        let (kept, _) = record(&mut Scripted::new(&time, steady), &mut clock, counted);
        assert_eq!(kept.intervals(), lengths, "{count} {duration:?}");
    }
}

#[test]
fn ticks_do_not_drift_however_late_and_slow_each_one_is() {
    let time = Time::new();
    let mut clock = FakeClock::new(&time, []);
    clock.late = ms(3);
    let mut source = Scripted::new(&time, steady);
    source.costs = [10, 20, 10, 40, 0].map(ms).into();
    let (kept, _) = record(&mut source, &mut clock, schedule(Some(4_500), Some(1_000)));
    // The samples are taken at 1013, 2023, 3013, 4043 and 4503 ms.
    assert_eq!(kept.intervals(), [1_013, 1_010, 990, 1_030, 460]);
    assert_eq!(kept.bytes(), [1_013, 1_010, 990, 1_030, 460]);
}

#[test]
fn ticks_missed_in_a_slow_sample_are_not_repeated() {
    let time = Time::new();
    let mut source = Scripted::new(&time, steady);
    source.costs = [0, 2_300, 1_000].map(ms).into();
    let mut clock = FakeClock::new(&time, []);
    let (kept, _) = record(&mut source, &mut clock, schedule(Some(8_000), Some(1_000)));
    // The samples end at 1000, 2000 + 2300 and 5000 + 1000 ms, and then each second.
    assert_eq!(kept.intervals(), [1_000, 3_300, 1_700, 1_000, 1_000]);
    assert_eq!(kept.bytes(), [1_000, 3_300, 1_700, 1_000, 1_000]);
}

#[test]
fn a_stop_within_an_interval_writes_the_traffic_so_far() {
    for (interval, lengths) in [
        (Some(1_000), [1_000, 1_000, 345].as_slice()),
        (None, &[2_345]),
    ] {
        let time = Time::new();
        let mut clock = FakeClock::new(&time, [(2_345, Woken::Stopped)]);
        let mut source = Scripted::new(&time, steady);
        let (kept, done) = record(&mut source, &mut clock, schedule(None, interval));
        assert_eq!(kept.intervals(), lengths);
        assert_eq!(done.expect("no error").total, sent(2_345));
    }
}

#[test]
fn the_session_ends_when_all_watched_processes_have_ended() {
    let time = Time::new();
    let mut clock = FakeClock::new(&time, [(1_200, Woken::Ended)]);
    let (kept, _) = record(
        &mut Scripted::new(&time, steady),
        &mut clock,
        schedule(None, None),
    );
    assert_eq!(kept.intervals(), [1_200]);
}

#[test]
fn a_stop_waits_for_the_command_for_the_grace_period_only() {
    let with_grace = |duration| Schedule {
        grace: Some(ms(500)),
        ..schedule(duration, None)
    };
    for (duration, happens, ends) in [
        (None, [Some((300, Woken::Stopped)), None], 800),
        (
            None,
            [Some((300, Woken::Stopped)), Some((350, Woken::Ended))],
            350,
        ),
        (Some(600), [Some((300, Woken::Stopped)), None], 600),
    ] {
        let time = Time::new();
        let mut clock = FakeClock::new(&time, happens.into_iter().flatten());
        let mut source = Scripted::new(&time, steady);
        let (kept, _) = record(&mut source, &mut clock, with_grace(duration));
        assert_eq!(kept.intervals(), [ends]);
    }
}

#[test]
fn exit_records_taken_between_two_samples_are_in_the_rows() {
    let time = Time::new();
    let mut clock = FakeClock::new(&time, [(500, Woken::Records), (1_500, Woken::Records)]);
    let mut source = Scripted::new(&time, |_| Ok(Sample::default()));
    source.drains = [3, 4]
        .map(|bytes| {
            let mut exit = thread(bytes, 20, 20, sent(bytes));
            (exit.exited, exit.group_dead) = (true, true);
            vec![exit]
        })
        .into();
    let (kept, done) = record(&mut source, &mut clock, schedule(Some(2_000), Some(1_000)));
    assert_eq!(kept.bytes(), [3, 4]);
    for report in &kept.0 {
        let [
            Row {
                who: Who::Process(process),
                ..
            },
        ] = report.rows.as_slice()
        else {
            panic!("{report:?}");
        };
        assert_eq!((process.pid, process.state), (20, State::Exited));
    }
    assert_eq!(done.expect("no error").processes, 1);
}

#[test]
fn showing_progress_changes_nothing_in_the_rows() {
    let time = Time::new();
    let mut clock = FakeClock::new(&time, []);
    let mut source = Scripted::new(&time, steady);
    let (mut kept, mut sink) = (Kept::default(), nowhere());
    let cgroups = Cgroups::default();
    Session::new(
        &mut source,
        &mut clock,
        &mut kept,
        &mut sink,
        rows(),
        cgroups,
    )
    .with_progress(Some(Progress::new(None)))
    .run(schedule(Some(5_000), Some(2_500)))
    .expect("no error");
    assert_eq!(kept.bytes(), [2_500, 2_500]);
}

#[test]
fn setting_the_wall_clock_back_changes_no_interval() {
    let time = Time::new();
    let mut clock = FakeClock::new(&time, []);
    let set = time.set.clone();
    let mut source = Scripted::new(&time, move |now| {
        if now >= ms(2_000) {
            set.set(TimeDelta::hours(-1));
        }
        steady(now)
    });
    let (kept, _) = record(&mut source, &mut clock, schedule(Some(3_000), Some(1_000)));
    assert_eq!(kept.intervals(), [1_000, 1_000, 1_000]);
    let times: Vec<i64> = kept
        .0
        .iter()
        .map(|report| report.time.timestamp())
        .collect();
    assert_eq!(times, [1, 2 - 3_600, 3 - 3_600]);
}

/// A source that fails after two samples.
fn failing() -> impl FnMut(std::time::Duration) -> Result<Sample, Error> {
    |now| match now.as_millis() {
        ..3_000 => steady(now),
        _ => Err(Error::Failed("the source failed".to_owned())),
    }
}

#[test]
fn a_source_that_fails_ends_it_with_its_error_and_earlier_intervals_stay_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("out.csv");
    let mut sink = Sink::open(&path, Existing::Refuse, Lines::Plain, None).expect("a file");
    let time = Time::new();
    let mut clock = FakeClock::new(&time, []);
    let mut source = Scripted::new(&time, failing());
    let error = write_csv(
        &mut source,
        &mut clock,
        &mut sink,
        rows(),
        schedule(None, Some(1_000)),
    )
    .expect_err("it fails");
    assert_eq!(error.to_string(), "the source failed");
    assert_eq!(error.status(), 1);
    let written = fs::read_to_string(&path).expect("the file");
    let times: Vec<&str> = written
        .lines()
        .map(|line| line.split(',').next().unwrap_or_default())
        .collect();
    assert_eq!(
        times,
        [
            "time",
            "1970-01-01T00:00:01.000Z",
            "1970-01-01T00:00:02.000Z"
        ]
    );
    assert!(written.ends_with('\n'));
}

#[test]
fn each_interval_is_in_the_file_when_the_next_one_begins() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("out.csv");
    let mut sink = Sink::open(&path, Existing::Refuse, Lines::Plain, None).expect("a file");
    let time = Time::new();
    let mut clock = FakeClock::new(&time, []);
    let mut lines = Vec::new();
    let mut source = Scripted::new(&time, |now| {
        lines.push(fs::read_to_string(&path).expect("the file").lines().count());
        steady(now)
    });
    write_csv(
        &mut source,
        &mut clock,
        &mut sink,
        rows(),
        schedule(Some(3_000), Some(1_000)),
    )
    .expect("no error");
    // The header, then one row per interval.
    assert_eq!(lines, [1, 2, 3]);
}

#[test]
fn rows_written_in_parts_appear_once_and_in_order() {
    let part = ROWS_AT_A_TIME as u64;
    for (count, top) in [
        (1, None),
        (part, None),
        (part + 1, None),
        (3 * part + 7, None),
        // The row `(other)` is a separate part.
        (part + 7, Some(ROWS_AT_A_TIME)),
    ] {
        let most_first = (1..=count).rev().map(|pid| pid.to_string());
        let mut pids: Vec<String> = most_first.take(top.unwrap_or(usize::MAX)).collect();
        if top.is_some() {
            pids.push(String::new());
        }
        assert_eq!(written_pids(count, top), [&pids[..], &pids].concat());
    }
}

/// The values of the csv column `pid`, for two intervals with `count` processes each.
fn written_pids(count: u64, top: Option<usize>) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("out.csv");
    let mut sink = Sink::open(&path, Existing::Refuse, Lines::Plain, None).expect("a file");
    let time = Time::new();
    let crowd = |now: Duration| {
        let intervals = now.as_secs();
        let living = (1..=count).map(|n| thread(n, n as u32, n as u32, sent(n * intervals)));
        Ok(Sample {
            living: living.collect(),
            ..Sample::default()
        })
    };
    write_csv(
        &mut Scripted::new(&time, crowd),
        &mut FakeClock::new(&time, []),
        &mut sink,
        Rows { top, ..rows() },
        schedule(Some(2_000), Some(1_000)),
    )
    .expect("no error");
    let written = fs::read_to_string(&path).expect("the file");
    let (header, lines) = written.split_once('\n').expect("lines");
    let pid = header.split(',').position(|name| name == "pid");
    let pids = lines.lines().map(|line| {
        let field = line.split(',').nth(pid.expect("a pid"));
        field.expect("a field").to_owned()
    });
    pids.collect()
}

#[test]
fn a_full_disk_is_an_error_that_names_the_file() {
    let time = Time::new();
    let mut clock = FakeClock::new(&time, []);
    let mut source = Scripted::new(&time, steady);
    let mut sink = Sink::open(
        Path::new("/dev/full"),
        Existing::Replace,
        Lines::Plain,
        None,
    )
    .expect("/dev/full");
    let error = write_csv_rows(
        &mut source,
        &mut clock,
        &mut sink,
        schedule(None, Some(1_000)),
    )
    .expect_err("it is full");
    assert_eq!(error.status(), 1);
    assert!(error.to_string().starts_with("/dev/full: "), "{error}");
    assert_eq!(time.passed.get(), ms(1_000), "it goes on without an output");
}

#[test]
fn a_closed_reader_ends_the_session_without_an_error_status() {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let mut sink =
        Sink::open(Path::new(&path), Existing::Replace, Lines::Plain, None).expect("the pipe");
    drop((reader, writer));
    let time = Time::new();
    let mut clock = FakeClock::new(&time, []);
    let mut source = Scripted::new(&time, steady);
    let error = write_csv_rows(
        &mut source,
        &mut clock,
        &mut sink,
        schedule(None, Some(1_000)),
    )
    .expect_err("nobody reads");
    assert_eq!(error.status(), 0);
}
