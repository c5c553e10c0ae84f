//! Writes the rows of a session, also to a slow reader.

use std::mem;
use std::os::fd::AsFd;

use super::Session;
use super::clock::ReaderWait;
use crate::error::Error;
use crate::model::{Interval, Report};
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
        let rows = overall
            .pending
            .take(&overall.rows, Interval::default(), &self.cgroups);
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
