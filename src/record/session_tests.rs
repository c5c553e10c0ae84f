//! The session from its start to its end, with a scripted source and a clock of its own.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use clap::ValueEnum;
use proptest::prelude::*;

use super::*;
use crate::error::Error;
use crate::model::{Comm, Counters, Losses, ProcessId, Report, Row, State, ThreadRecord, Who};
use crate::output::{Csv, Existing, Format, GroupBy, Layout, Sink};
use crate::source::{Sample, Source};

/// Time as a test wants it. The clock moves it on, and so does a source that is slow.
#[derive(Clone)]
struct Time {
    start: Instant,
    passed: Rc<Cell<Duration>>,
    /// What the wall clock is set wrong by.
    set: Rc<Cell<TimeDelta>>,
}

impl Time {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            passed: Rc::default(),
            set: Rc::default(),
        }
    }

    /// Never goes back.
    fn reach(&self, at: Duration) {
        self.passed.set(self.passed.get().max(at));
    }
}

/// Wakes at each deadline, or earlier for what is to happen, and then says what did.
struct FakeClock {
    time: Time,
    happens: VecDeque<(Duration, Woken)>,
    /// How long after a deadline it wakes.
    late: Duration,
}

impl FakeClock {
    fn new(time: &Time, happens: impl IntoIterator<Item = (u64, Woken)>) -> Self {
        Self {
            time: time.clone(),
            happens: happens
                .into_iter()
                .map(|(at, what)| (ms(at), what))
                .collect(),
            late: Duration::ZERO,
        }
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Instant {
        self.time.start + self.time.passed.get()
    }

    fn utc(&self) -> DateTime<Utc> {
        let passed = TimeDelta::from_std(self.time.passed.get()).expect("a short test");
        DateTime::UNIX_EPOCH + passed + self.time.set.get()
    }

    fn wait(
        &mut self,
        deadline: Option<Instant>,
        _wakeup: Option<BorrowedFd<'_>>,
    ) -> Result<Woken, Error> {
        let due = deadline.map(|deadline| deadline.duration_since(self.time.start));
        let now = self.time.passed.get();
        if let Some((at, what)) = self.happens.front().copied()
            && due.is_none_or(|due| at <= due.max(now))
        {
            self.happens.pop_front();
            self.time.reach(at);
            return Ok(what);
        }
        let due = due.ok_or_else(|| Error::Failed("it would wait for ever".to_owned()))?;
        if due > now {
            self.time.reach(due + self.late);
        }
        Ok(Woken::Deadline)
    }
}

/// Gives what `sample` says, and takes the next of `costs` for it.
struct Scripted<F> {
    time: Time,
    sample: F,
    costs: VecDeque<Duration>,
    drains: VecDeque<Vec<ThreadRecord>>,
}

impl<F: FnMut(Duration) -> Result<Sample, Error>> Scripted<F> {
    fn new(time: &Time, sample: F) -> Self {
        Self {
            time: time.clone(),
            sample,
            costs: VecDeque::new(),
            drains: VecDeque::new(),
        }
    }
}

impl<F: FnMut(Duration) -> Result<Sample, Error>> Source for Scripted<F> {
    fn sample(&mut self) -> Result<Sample, Error> {
        let now = self.time.passed.get();
        self.time
            .reach(now + self.costs.pop_front().unwrap_or_default());
        (self.sample)(self.time.passed.get())
    }

    fn drain(&mut self) -> Result<Vec<ThreadRecord>, Error> {
        Ok(self.drains.pop_front().unwrap_or_default())
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn is_alive(&self, _process: ProcessId) -> bool {
        false
    }
}

/// Keeps the reports as they are.
#[derive(Default)]
struct Kept(Vec<Report>);

impl Format for Kept {
    fn begin(&mut self, _out: &mut Vec<u8>) {}

    fn report(&mut self, report: &Report, _out: &mut Vec<u8>) {
        self.0.push(report.clone());
    }
}

impl Kept {
    fn intervals(&self) -> Vec<u128> {
        self.0.iter().map(|r| r.interval.as_millis()).collect()
    }

    fn bytes(&self) -> Vec<u64> {
        self.0.iter().map(|r| r.total().bytes()).collect()
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn schedule(duration: Option<u64>, interval: Option<u64>) -> Schedule {
    Schedule {
        duration: duration.map(ms),
        interval: interval.map(ms),
        grace: None,
    }
}

fn rows() -> Rows {
    Rows {
        layout: Layout::default(),
        sort: SortKey::Bytes,
        top: None,
        booted: DateTime::UNIX_EPOCH,
    }
}

fn thread(block: u64, pid: u32, tid: u32, counters: Counters) -> ThreadRecord {
    ThreadRecord {
        block,
        process: ProcessId { pid, start: 7 },
        tid,
        comm: Comm::new(b"test"),
        thread_comm: Comm::new(b"thread"),
        uid: 0,
        cgroup: 1,
        exited: false,
        group_dead: false,
        creds_differ: false,
        counters,
    }
}

fn sent(bytes: u64) -> Counters {
    Counters {
        tcp_send_msgs: bytes,
        tcp_send_bytes: bytes,
        ..Counters::default()
    }
}

/// A process that sends one byte each millisecond: what is sent in an interval is its length.
fn steady(now: Duration) -> Result<Sample, Error> {
    Ok(Sample {
        living: vec![thread(1, 10, 10, sent(now.as_millis() as u64))],
        ..Sample::default()
    })
}

fn record(
    source: &mut dyn Source,
    clock: &mut FakeClock,
    schedule: Schedule,
) -> (Kept, Result<Summary, Error>) {
    let (mut kept, mut sink) = (Kept::default(), nowhere());
    let cgroups = Cgroups::default();
    let done = Session::new(source, clock, &mut kept, &mut sink, rows(), cgroups).run(schedule);
    (kept, done)
}

fn nowhere() -> Sink {
    Sink::open(Path::new("/dev/null"), Existing::Replace).expect("/dev/null")
}

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
fn ticks_do_not_drift_however_late_and_slow_each_one_is() {
    let time = Time::new();
    let mut clock = FakeClock::new(&time, []);
    clock.late = ms(3);
    let mut source = Scripted::new(&time, steady);
    source.costs = [10, 20, 10, 40, 0].map(ms).into();
    let (kept, _) = record(&mut source, &mut clock, schedule(Some(4_500), Some(1_000)));
    // Samples taken at 1013, 2023, 3013, 4043 and 4503 ms.
    assert_eq!(kept.intervals(), [1_013, 1_010, 990, 1_030, 460]);
    assert_eq!(kept.bytes(), [1_013, 1_010, 990, 1_030, 460]);
}

#[test]
fn ticks_missed_in_a_slow_sample_are_not_made_up_for() {
    let time = Time::new();
    let mut source = Scripted::new(&time, steady);
    source.costs = [0, 2_300, 1_000].map(ms).into();
    let mut clock = FakeClock::new(&time, []);
    let (kept, _) = record(&mut source, &mut clock, schedule(Some(8_000), Some(1_000)));
    // At 1000, then 2000 + 2300, then 5000 + 1000, and from there each second.
    assert_eq!(kept.intervals(), [1_000, 3_300, 1_700, 1_000, 1_000]);
    assert_eq!(kept.bytes(), [1_000, 3_300, 1_700, 1_000, 1_000]);
}

#[test]
fn a_stop_within_an_interval_writes_what_there_is_so_far() {
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
fn it_ends_when_everything_that_was_watched_has_ended() {
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
fn a_stop_leaves_a_command_its_time_of_grace_and_no_more() {
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
