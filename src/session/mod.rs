//! A recording in progress: when to sample, what to write, when to end.

mod clock;
mod known;
mod progress;
#[cfg(test)]
mod session_tests;
mod write;

use std::rc::Rc;
use std::time::{Duration, Instant};

pub use clock::{Clock, ReaderWait, SystemClock, Woken};
pub use progress::Progress;

use crate::error::Error;
use crate::host::{Cgroups, Commands, Known};
use crate::model::{Comm, Counters, Extent, Interval, Ledger, Losses, Remote, Report, Tcp, Who};
use crate::output::{Format, Sink};
use crate::rollup::{Pending, ProcessCount, Rows};
use crate::source::Source;

/// How many additional entries, mostly of ended processes, may be in memory before they are folded (moved to
/// [`Pending`], see `fold`).
const ROOM: usize = 8192;

/// How often new remote ends are looked for, so that their names are known when rows are written.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The first time is much earlier, because commands can be short.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// The name of a remote end at a time, if it is known. It never waits: a call can begin a lookup
/// whose result a later call returns.
pub type Names<'a> = Box<dyn FnMut(&Remote, Instant) -> Option<Rc<str>> + 'a>;

/// When a session reports and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// The length of the session. `None` means until stopped.
    pub duration: Option<Duration>,
    /// The time between reports. `None` means one report at the end.
    pub interval: Option<Duration>,
    /// The number of intervals to report. `None` means no limit.
    pub count: Option<u64>,
    /// How long to wait for the watched processes to end after a request to stop. Ctrl-C reaches
    /// these processes too, and their last traffic is part of the recording.
    pub grace: Option<Duration>,
}

/// The results for the summary at the end.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The measured time.
    pub elapsed: Duration,
    /// The number of processes with traffic.
    pub processes: u64,
    /// All traffic, including unattributed traffic.
    pub total: Counters,
    /// Traffic that could not be attributed.
    pub unattributed: Counters,
    /// TCP's own account of all rows.
    pub tcp: Tcp,
    /// The part of it that could not be attributed.
    pub unattributed_tcp: Tcp,
    /// The losses by cause.
    pub losses: Losses,
    /// Processes whose command line was not known in time.
    pub without_command: u64,
    /// Tracked processes that are still running: pid and name, each once.
    pub living: Vec<(u32, Comm)>,
}

/// The sum of all intervals.
struct Overall {
    pending: Pending,
    rows: Rows,
    intervals: u64,
}

/// The number of rows in the table of all intervals without `--top`. The limit bounds memory.
const OVERALL_ROWS: usize = 50;

impl Overall {
    fn new(rows: &Rows) -> Self {
        Self {
            pending: Pending::with_room(ROOM),
            rows: Rows {
                top: Some(rows.top.unwrap_or(OVERALL_ROWS)),
                ..rows.clone()
            },
            intervals: 0,
        }
    }
}

/// One recording in progress.
pub struct Session<'a> {
    source: &'a mut dyn Source,
    clock: &'a mut dyn Clock,
    format: &'a mut dyn Format,
    sink: &'a mut Sink,
    progress: Option<Progress>,
    names: Option<Names<'a>>,
    rows: Rows,
    ledger: Ledger,
    pending: Pending,
    overall: Option<Overall>,
    /// The ledger is folded when more than this many entries have changed.
    fold_above: usize,
    room: usize,
    known: Known,
    /// How many changes of command lines were lost when they were last forgotten.
    forgotten_losses: u64,
    /// How many changes of cgroups were lost when the hierarchy was read last.
    scanned_losses: u64,
    /// It is not read again before this.
    next_scan: Instant,
    started: Instant,
    /// End of the last interval.
    last: Instant,
    processes: ProcessCount,
    summary: Summary,
}

impl<'a> Session<'a> {
    /// Starts a recording: `source` must already be counting.
    pub fn new(
        source: &'a mut dyn Source,
        clock: &'a mut dyn Clock,
        format: &'a mut dyn Format,
        sink: &'a mut Sink,
        rows: Rows,
        cgroups: Cgroups,
    ) -> Self {
        let now = clock.now();
        Self {
            source,
            clock,
            format,
            sink,
            progress: None,
            names: None,
            ledger: Ledger::new(rows.layout.threads)
                .with_remotes(rows.layout.remote.is_some() || rows.layout.tcp),
            pending: Pending::with_room(ROOM),
            overall: None,
            fold_above: ROOM,
            room: ROOM,
            rows,
            known: cgroups.into(),
            forgotten_losses: 0,
            scanned_losses: 0,
            next_scan: now,
            started: now,
            last: now,
            processes: ProcessCount::default(),
            summary: Summary::default(),
        }
    }

    /// Sets the number of entries at which the ledger and `Pending` are folded.
    #[cfg(test)]
    fn with_room(mut self, ledger: usize, pending: usize) -> Self {
        self.pending = Pending::with_room(pending);
        (self.fold_above, self.room) = (ledger, ledger);
        self
    }

    /// Sets the progress line.
    #[must_use]
    pub fn with_progress(mut self, progress: Option<Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Sets where the names of remote ends come from.
    #[must_use]
    pub fn with_names(mut self, names: Option<Names<'a>>) -> Self {
        self.names = names;
        self
    }

    /// Sets where command lines come from, if rows need them.
    #[must_use]
    pub fn with_commands(mut self, commands: Option<Commands>) -> Self {
        self.known.commands = commands.map(Into::into);
        self
    }

    /// Records until the duration is over or the clock reports a request to stop, and writes the
    /// last sample.
    ///
    /// # Errors
    ///
    /// If the source fails or the output cannot be written. Rows already written are kept.
    pub fn run(mut self, schedule: Schedule) -> Result<Summary, Error> {
        if schedule.interval.is_some() && self.format.wants_overall() {
            self.overall = Some(Overall::new(&self.rows));
        }
        self.begin()?;

        let mut end = schedule.duration.and_then(|d| self.started.checked_add(d));
        let mut report = schedule.interval.and_then(|i| self.started.checked_add(i));
        let mut show = self
            .progress
            .is_some()
            .then(|| self.started + Progress::EVERY);
        let mut look = self.names.is_some().then(|| self.started + FIRST_LOOK);
        let mut reported = 0;
        loop {
            let deadline = [end, report, show, look].into_iter().flatten().min();
            match self.clock.wait(deadline, self.source.wakeup())? {
                Woken::Records => self.drain()?,
                Woken::Ended => break,
                Woken::Stopped => match schedule.grace {
                    Some(grace) => {
                        let latest = self.clock.now().checked_add(grace);
                        end = [end, latest].into_iter().flatten().min();
                    }
                    None => break,
                },
                Woken::Deadline => {
                    let now = self.clock.now();
                    if end.is_some_and(|end| end <= now) {
                        break;
                    }
                    if let Some(interval) = schedule.interval
                        && report.is_some_and(|due| due <= now)
                    {
                        reported += 1;
                        if schedule.count == Some(reported) {
                            break;
                        }
                        self.report(Extent::Changes)?;
                        report = next(self.started, interval, self.clock.now());
                    }
                    if show.is_some_and(|due| due <= now) {
                        self.show()?;
                        show = next(self.started, Progress::EVERY, self.clock.now());
                    }
                    if look.is_some_and(|due| due <= now) {
                        self.fold()?;
                        let now = self.clock.now();
                        let pause = now.saturating_duration_since(self.started);
                        look = now.checked_add(pause.min(LOOK_EVERY));
                    }
                }
            }
        }
        // Remove the progress line before the last rows are written.
        self.progress = None;
        // Sample idle threads too, so that the summary can name running processes.
        self.report(Extent::All)?;
        self.write_overall()?;
        self.sink.finish()?;
        self.summary.processes = self.processes.count();
        self.summary.without_command = self.without_command();
        self.summary.elapsed = self.last.saturating_duration_since(self.started);
        let mut living: Vec<_> = self
            .ledger
            .living()
            .map(|t| (t.process.pid, t.comm))
            .collect();
        living.sort_unstable();
        living.dedup_by_key(|(pid, _)| *pid);
        self.summary.living = living;
        Ok(self.summary)
    }

    fn drain(&mut self) -> Result<(), Error> {
        let exits = self.source.drain()?;
        self.apply_changes();
        self.ledger.exits(&exits);
        if self.ledger.changed() > self.fold_above || self.is_known_full() {
            self.fold()?;
        }
        Ok(())
    }

    /// Moves the usage in the ledger to `pending`, where ended processes take less memory.
    fn fold(&mut self) -> Result<(), Error> {
        self.sample(Extent::Changes)?;
        let interval = self.interval();
        self.ask_for_names(&interval);
        let source = &*self.source;
        if let Some(overall) = &mut self.overall {
            overall
                .pending
                .add(&overall.rows, interval.clone(), &self.known, |process| {
                    source.is_alive(process)
                });
        }
        self.pending
            .add(&self.rows, interval, &self.known, |process| {
                source.is_alive(process)
            });
        self.known_is_used();
        self.fold_above = 2 * self.ledger.len() + self.room;
        Ok(())
    }

    /// Takes the usage that the ledger has collected since the last call.
    fn interval(&mut self) -> Interval {
        let source = &*self.source;
        let interval = self.ledger.interval(|process| source.is_alive(process));
        for usage in &interval.usage {
            self.processes.add(usage.last.process, usage.state);
        }
        self.processes.step(&mut |process| source.is_alive(process));
        interval
    }

    /// Takes a sample into the ledger.
    fn sample(&mut self, extent: Extent) -> Result<(), Error> {
        let sample = self.source.sample(extent)?;
        self.apply_changes();
        self.scan_cgroups(sample.losses.cgroups, extent);
        self.forget_commands(sample.losses.commands_lost);
        sample.enter(&mut self.ledger);
        self.summary.losses = sample.losses;
        Ok(())
    }

    /// Ends an interval and writes its rows.
    fn report(&mut self, extent: Extent) -> Result<(), Error> {
        self.sample(extent)?;
        let (now, time) = (self.clock.now(), self.clock.utc());
        let interval = self.interval();
        if let Some(overall) = &mut self.overall {
            let source = &*self.source;
            overall
                .pending
                .add(&overall.rows, interval.clone(), &self.known, |process| {
                    source.is_alive(process)
                });
            overall.intervals += 1;
        }
        let report = Report {
            time,
            interval: now.saturating_duration_since(self.last),
            rows: self.pending.take(&self.rows, interval, &self.known),
        };
        self.known_is_used();
        self.last = now;
        self.summary.total += report.total();
        self.summary.tcp += report.total_tcp();
        for row in &report.rows {
            if row.who == Who::Unattributed {
                self.summary.unattributed += row.counters;
                self.summary.unattributed_tcp += row.tcp.get().copied().unwrap_or_default();
            }
        }
        if let Some(progress) = &mut self.progress {
            progress.hide();
        }
        self.write(report)
    }

    fn show(&mut self) -> Result<(), Error> {
        self.sample(Extent::Changes)?;
        if let Some(progress) = &mut self.progress {
            let elapsed = self.clock.now().saturating_duration_since(self.started);
            let so_far = self.pending.total() + self.ledger.pending();
            progress.show(elapsed, self.summary.total + so_far);
        }
        Ok(())
    }
}

/// The first multiple of `every` after `start` that is later than `now`. Delays do not accumulate,
/// and missed intervals are not repeated in a burst.
fn next(start: Instant, every: Duration, now: Instant) -> Option<Instant> {
    let passed = now.saturating_duration_since(start).as_nanos();
    let count = passed.checked_div(every.as_nanos())? + 1;
    let nanos = u64::try_from(count.checked_mul(every.as_nanos())?).ok()?;
    start.checked_add(Duration::from_nanos(nanos))
}
