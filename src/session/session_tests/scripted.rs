//! A scripted clock, a scripted source, and a writer that keeps all reports.

use std::cell::Cell;
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use crate::error::Error;
use crate::host::Cgroups;
use crate::model::{Comm, Counters, Extent, Layout, ProcessId, Report, ThreadRecord};
use crate::output::{Csv, Existing, Format, Lines, Sink};
use crate::rollup::{Rows, SortKey};
use crate::session::{Clock, ReaderWait, Schedule, Session, Summary, Woken};
use crate::source::{Sample, Source};

/// The simulated time. The clock and a slow source advance it.
#[derive(Clone)]
pub(super) struct Time {
    pub(super) start: Instant,
    pub(super) passed: Rc<Cell<Duration>>,
    /// The error of the wall clock.
    pub(super) set: Rc<Cell<TimeDelta>>,
}

impl Time {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            passed: Rc::default(),
            set: Rc::default(),
        }
    }

    /// Advances the time to `at`, unless it is later already.
    pub(super) fn reach(&self, at: Duration) {
        self.passed.set(self.passed.get().max(at));
    }
}

/// A clock that wakes at each deadline, or earlier for a scripted event, and returns the reason.
pub(super) struct FakeClock {
    pub(super) time: Time,
    pub(super) happens: VecDeque<(Duration, Woken)>,
    /// The delay between a deadline and the wakeup.
    pub(super) late: Duration,
    /// Successive results of [`Clock::wait_for_reader`].
    pub(super) stalls: VecDeque<Box<dyn FnMut() -> ReaderWait>>,
}

impl FakeClock {
    pub(super) fn new(time: &Time, happens: impl IntoIterator<Item = (u64, Woken)>) -> Self {
        Self {
            time: time.clone(),
            happens: happens
                .into_iter()
                .map(|(at, what)| (ms(at), what))
                .collect(),
            late: Duration::ZERO,
            stalls: VecDeque::new(),
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

    fn wait_for_reader(
        &mut self,
        _output: BorrowedFd<'_>,
        _wakeup: Option<BorrowedFd<'_>>,
    ) -> Result<ReaderWait, Error> {
        let stall = self.stalls.pop_front();
        stall.map_or(Ok(ReaderWait::TimedOut), |mut stall| Ok(stall()))
    }
}

/// A source that returns the result of `sample`. Each sample takes the next duration in `costs`.
pub(super) struct Scripted<F> {
    pub(super) time: Time,
    pub(super) sample: F,
    pub(super) costs: VecDeque<Duration>,
    pub(super) drains: VecDeque<Vec<ThreadRecord>>,
    /// Processes that are still running.
    pub(super) alive: fn(ProcessId) -> bool,
}

impl<F: FnMut(Duration) -> Result<Sample, Error>> Scripted<F> {
    pub(super) fn new(time: &Time, sample: F) -> Self {
        Self {
            time: time.clone(),
            sample,
            costs: VecDeque::new(),
            drains: VecDeque::new(),
            alive: |_| false,
        }
    }
}

impl<F: FnMut(Duration) -> Result<Sample, Error>> Source for Scripted<F> {
    fn sample(&mut self, _extent: Extent) -> Result<Sample, Error> {
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

    fn is_reused(&self, _process: ProcessId) -> bool {
        false
    }

    fn is_alive(&self, process: ProcessId) -> bool {
        (self.alive)(process)
    }
}

/// A format that keeps all reports.
#[derive(Default)]
pub(super) struct Kept(pub(super) Vec<Report>);

impl Format for Kept {
    fn begin(&mut self, _out: &mut Vec<u8>) {}

    fn report(&mut self, report: &Report, _out: &mut Vec<u8>) {
        self.0.push(report.clone());
    }

    fn names_cgroups(&self) -> bool {
        true
    }

    fn rows_are_independent(&self) -> bool {
        false
    }
}

impl Kept {
    pub(super) fn intervals(&self) -> Vec<u128> {
        self.0.iter().map(|r| r.interval.as_millis()).collect()
    }

    pub(super) fn bytes(&self) -> Vec<u64> {
        self.0.iter().map(|r| r.total().bytes()).collect()
    }
}

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) fn schedule(duration: Option<u64>, interval: Option<u64>) -> Schedule {
    Schedule {
        duration: duration.map(ms),
        interval: interval.map(ms),
        count: None,
        grace: None,
    }
}

pub(super) fn rows() -> Rows {
    Rows {
        layout: Layout::default(),
        sort: SortKey::Bytes,
        top: None,
        booted: DateTime::UNIX_EPOCH,
    }
}

pub(super) fn thread(block: u64, pid: u32, tid: u32, counters: Counters) -> ThreadRecord {
    let mut record = ThreadRecord::of_test(block, ProcessId { pid, start: 7 }, tid, counters);
    record.identity.thread_comm = Comm::new(b"thread");
    record
}

pub(super) fn sent(bytes: u64) -> Counters {
    Counters {
        tcp_send_msgs: bytes,
        tcp_send_bytes: bytes,
        ..Counters::default()
    }
}

/// A process that sends one byte per millisecond, so that its bytes give the length of the interval.
pub(super) fn steady(now: Duration) -> Result<Sample, Error> {
    Ok(Sample {
        living: vec![thread(1, 10, 10, sent(now.as_millis() as u64))],
        ..Sample::default()
    })
}

pub(super) fn record(
    source: &mut dyn Source,
    clock: &mut FakeClock,
    schedule: Schedule,
) -> (Kept, Result<Summary, Error>) {
    let (mut kept, mut sink) = (Kept::default(), nowhere());
    let cgroups = Cgroups::default();
    let done = Session::new(source, clock, &mut kept, &mut sink, rows(), cgroups).run(schedule);
    (kept, done)
}

/// Records to a sink, as csv with a header.
pub(super) fn write_csv(
    source: &mut dyn Source,
    clock: &mut FakeClock,
    sink: &mut Sink,
    rows: Rows,
    schedule: Schedule,
) -> Result<Summary, Error> {
    let mut csv = Csv::new(Layout::default(), "host".to_owned(), true);
    Session::new(source, clock, &mut csv, sink, rows, Cgroups::default()).run(schedule)
}

/// Records to a sink, as csv without a header.
pub(super) fn write_csv_rows(
    source: &mut dyn Source,
    clock: &mut FakeClock,
    sink: &mut Sink,
    schedule: Schedule,
) -> Result<Summary, Error> {
    let mut csv = Csv::new(Layout::default(), "host".to_owned(), false);
    Session::new(source, clock, &mut csv, sink, rows(), Cgroups::default()).run(schedule)
}

pub(super) fn nowhere() -> Sink {
    Sink::open(
        Path::new("/dev/null"),
        Existing::Replace,
        Lines::Plain,
        None,
    )
    .expect("/dev/null")
}
