//! Writes the rows of a session, also to a slow reader, with the names of remote ends.

use std::cmp::Reverse;
use std::mem;
use std::os::fd::AsFd;

use super::Session;
use super::clock::ReaderWait;
use crate::error::Error;
use crate::model::{Interval, Report, Row};
use crate::output::Flushed;

/// How many rows are written at once: 60 to 200 KB of text, so that the cost per write is small.
pub(super) const ROWS_AT_A_TIME: usize = 512;

impl Session<'_> {
    /// Prepares the output, and writes the text before the first interval.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        let mut header = Vec::new();
        self.format.begin(&mut header);
        self.sink.begin(&header)?;
        self.flush()?;
        self.end_interval()
    }

    /// Writes a report, in parts if the format allows it. On a large host, the text of all rows would
    /// double the memory that the rows need.
    pub(super) fn write(&mut self, mut report: Report) -> Result<(), Error> {
        self.name(&mut report.rows);
        if !self.format.rows_are_independent() {
            self.format.report(&report, self.sink.text());
            self.flush()?;
            return self.end_interval();
        }
        let mut rows = mem::take(&mut report.rows).into_iter();
        loop {
            report.rows.clear();
            report.rows.extend(rows.by_ref().take(ROWS_AT_A_TIME));
            self.format.report(&report, self.sink.text());
            self.flush()?;
            if rows.len() == 0 {
                return self.end_interval();
            }
        }
    }

    /// Writes the totals of the recording, if the format shows them.
    pub(super) fn write_overall(&mut self) -> Result<(), Error> {
        let Some(mut overall) = self.overall.take().filter(|overall| overall.intervals > 1) else {
            return Ok(());
        };
        let mut rows = overall
            .pending
            .take(&overall.rows, Interval::default(), &self.known);
        self.name(&mut rows);
        let report = Report {
            time: self.clock.utc(),
            interval: self.last.saturating_duration_since(self.started),
            rows,
        };
        self.format
            .overall(&report, overall.intervals, self.sink.text());
        self.flush()?;
        self.end_interval()
    }

    /// Adds the names of remote ends that are known by now.
    fn name(&mut self, rows: &mut [Row]) {
        let now = self.clock.now();
        if let Some(names) = &mut self.names {
            for row in rows {
                row.remote_name = row.remote.as_ref().and_then(|remote| names(remote, now));
            }
        }
    }

    /// Begins to look up the names of the remote ends of an interval, before rows need them. The
    /// busiest come first, because not all may find room in the queue.
    pub(super) fn ask_for_names(&mut self, interval: &Interval) {
        let now = self.clock.now();
        let Some(names) = &mut self.names else {
            return;
        };
        let ends = interval.usage.iter();
        let mut ends: Vec<_> = ends
            .filter_map(|usage| Some((usage.counters.bytes(), usage.remote.as_ref()?)))
            .collect();
        ends.sort_unstable_by_key(|(bytes, _)| Reverse(*bytes));
        for (_, remote) in ends {
            names(remote, now);
        }
    }

    fn end_interval(&mut self) -> Result<(), Error> {
        match self.sink.end_interval()? {
            Flushed::All => Ok(()),
            Flushed::Stalled => self.wait_for_reader(),
        }
    }

    /// Writes all buffered text.
    fn flush(&mut self) -> Result<(), Error> {
        match self.sink.flush()? {
            Flushed::All => Ok(()),
            Flushed::Stalled => self.wait_for_reader(),
        }
    }

    /// Waits until all text is written. Reads exit records during the wait, so that the ring buffer
    /// does not fill up.
    fn wait_for_reader(&mut self) -> Result<(), Error> {
        loop {
            let waited = self
                .clock
                .wait_for_reader(self.sink.as_fd(), self.source.wakeup())?;
            match waited {
                ReaderWait::Writable => {
                    if self.sink.flush()? == Flushed::All {
                        return Ok(());
                    }
                }
                ReaderWait::Records => self.drain()?,
                ReaderWait::TimedOut => return Err(self.sink.stalled()),
            }
        }
    }
}
