//! A recording in progress: when to sample, what to write, when to end.

mod clock;
mod progress;
#[cfg(test)]
mod session_tests;
mod write;

use std::time::{Duration, Instant};

pub use clock::{Clock, Outlet, SystemClock, Woken};
pub use progress::Progress;

use crate::error::Error;
use crate::host::Cgroups;
use crate::model::{Comm, Counters, Extent, Interval, Ledger, Losses, Report, Who};
use crate::output::{Format, Sink};
use crate::rollup::{Pending, ProcessCount, Rows};
use crate::source::Source;

/// How many entries of processes that have ended may be in memory before they are folded, besides
/// as many as are in use.
const ROOM: usize = 8192;

/// How many times as long as reading the hierarchy of cgroups takes it is not read again: lost
/// changes never cost more than a twentieth of a CPU.
const SCAN_PAUSE: u32 = 20;

/// When a session reports and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// How long it lasts; until stopped without one.
    pub duration: Option<Duration>,
    /// How often it reports; once at the end without one.
    pub interval: Option<Duration>,
    /// How many intervals to report; no limit without one.
    pub count: Option<u64>,
    /// When asked to stop, waits so long for the watched processes to end first: Ctrl-C
    /// reaches them as well, and what they do last is part of the recording.
    pub grace: Option<Duration>,
}

/// What there is to say at the end.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How long it measured.
    pub elapsed: Duration,
    /// How many processes had traffic.
    pub processes: u64,
    /// Everything that was counted, the unattributed included.
    pub total: Counters,
    /// What could not be attributed.
    pub unattributed: Counters,
    /// Why not.
    pub losses: Losses,
    /// Processes that were tracked and had not ended: pid and name, each once.
    pub living: Vec<(u32, Comm)>,
}

/// All intervals together.
struct Overall {
    pending: Pending,
    rows: Rows,
    intervals: u64,
}

/// How many rows there are of all intervals together, without `--top`: more would not be read, and
/// would have to be kept in memory.
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
    rows: Rows,
    ledger: Ledger,
    pending: Pending,
    overall: Option<Overall>,
    /// The ledger is emptied when more of its entries than this have changed.
    fold_above: usize,
    room: usize,
    cgroups: Cgroups,
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
    /// A recording that begins now: `source` is counting.
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
            ledger: Ledger::new(rows.layout.threads),
            pending: Pending::with_room(ROOM),
            overall: None,
            fold_above: ROOM,
            room: ROOM,
            rows,
            cgroups,
            scanned_losses: 0,
            next_scan: now,
            started: now,
            last: now,
            processes: ProcessCount::default(),
            summary: Summary::default(),
        }
    }

    /// Empties the ledger at `ledger` entries, and folds what it collects at `pending`.
    #[cfg(test)]
    fn with_room(mut self, ledger: usize, pending: usize) -> Self {
        self.pending = Pending::with_room(pending);
        (self.fold_above, self.room) = (ledger, ledger);
        self
    }

    /// Shows how it is going.
    #[must_use]
    pub fn with_progress(mut self, progress: Option<Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Records until the time is over or the clock says stop, and writes the last sample.
    ///
    /// # Errors
    ///
    /// If the source fails or the output cannot be written. What was written stays.
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
        let mut reported = 0;
        loop {
            let deadline = [end, report, show].into_iter().flatten().min();
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
                }
            }
        }
        // Before rows come, and for good.
        self.progress = None;
        // Also those that did nothing, to tell who is left.
        self.report(Extent::All)?;
        self.write_overall()?;
        self.sink.finish()?;
        self.summary.processes = self.processes.count();
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
        self.name_cgroups();
        self.ledger.exits(&exits);
        if self.ledger.changed() > self.fold_above || self.cgroups.removed() > ROOM {
            self.fold()?;
        }
        Ok(())
    }

    /// Moves what the ledger has collected so far to where it takes least memory: many processes
    /// can have ended since the last report.
    fn fold(&mut self) -> Result<(), Error> {
        self.sample(Extent::Changes)?;
        let interval = self.interval();
        let source = &*self.source;
        if let Some(overall) = &mut self.overall {
            overall
                .pending
                .add(&overall.rows, interval.clone(), &self.cgroups, |process| {
                    source.is_alive(process)
                });
        }
        self.pending
            .add(&self.rows, interval, &self.cgroups, |process| {
                source.is_alive(process)
            });
        self.cgroups.forget_removed();
        self.fold_above = 2 * self.ledger.len() + self.room;
        Ok(())
    }

    /// What the ledger has collected since the last call.
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
        self.name_cgroups();
        self.scan_cgroups(sample.losses.cgroups, extent);
        sample.enter(&mut self.ledger);
        self.summary.losses = sample.losses;
        Ok(())
    }

    /// Reads the hierarchy again if more changes of cgroups were `lost` since the last time.
    fn scan_cgroups(&mut self, lost: u64, extent: Extent) {
        let begun = self.clock.now();
        // The last sample is not followed by another one.
        let is_due = extent == Extent::All || begun >= self.next_scan;
        if lost == self.scanned_losses || !is_due {
            return;
        }
        self.cgroups.scan();
        let ended = self.clock.now();
        let pause = SCAN_PAUSE * ended.saturating_duration_since(begun);
        self.next_scan = ended.checked_add(pause).unwrap_or(ended);
        self.scanned_losses = lost;
    }

    /// Takes over the names of cgroups that were made or removed.
    fn name_cgroups(&mut self) {
        for change in self.source.cgroups() {
            self.cgroups.apply(change);
        }
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
                .add(&overall.rows, interval.clone(), &self.cgroups, |process| {
                    source.is_alive(process)
                });
            overall.intervals += 1;
        }
        let report = Report {
            time,
            interval: now.saturating_duration_since(self.last),
            rows: self.pending.take(&self.rows, interval, &self.cgroups),
        };
        self.cgroups.forget_removed();
        self.last = now;
        self.summary.total += report.total();
        for row in &report.rows {
            if row.who == Who::Unattributed {
                self.summary.unattributed += row.counters;
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

/// The first multiple of `every` after `start` that is still to come: what is late makes
/// nothing drift, and what was missed is not made up for in a burst.
fn next(start: Instant, every: Duration, now: Instant) -> Option<Instant> {
    let passed = now.saturating_duration_since(start).as_nanos();
    let count = passed.checked_div(every.as_nanos())? + 1;
    let nanos = u64::try_from(count.checked_mul(every.as_nanos())?).ok()?;
    start.checked_add(Duration::from_nanos(nanos))
}
