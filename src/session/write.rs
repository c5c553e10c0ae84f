//! Writing the rows of a session, however slow their reader is.

use std::mem;
use std::os::fd::AsFd;

use super::Session;
use super::clock::Outlet;
use crate::error::Error;
use crate::model::{Interval, Report};
use crate::output::Flushed;

/// Enough that writing them costs next to nothing: 60 to 200 KB of text.
pub(super) const ROWS_AT_A_TIME: usize = 512;

impl Session<'_> {
    /// Makes the output ready, and writes what comes before the first interval.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        let mut header = Vec::new();
        self.format.begin(&mut header);
        self.sink.begin(&header)?;
        self.flush()?;
        self.end_interval()
    }

    /// Writes a report, in parts where it can be: the text of all rows of a large host would
    /// be as much memory as all else that is kept of them.
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

    /// Writes what the whole recording comes to, if the format has a place for it.
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

    /// Writes all text that there is.
    fn flush(&mut self) -> Result<(), Error> {
        match self.sink.flush()? {
            Flushed::All => Ok(()),
            Flushed::Stalled => self.wait_for_reader(),
        }
    }

    /// Waits until the reader has taken everything, and takes exit records meanwhile: they would
    /// be lost when there is no more room for them.
    fn wait_for_reader(&mut self) -> Result<(), Error> {
        loop {
            let outlet = self
                .clock
                .wait_for_reader(self.sink.as_fd(), self.source.wakeup())?;
            match outlet {
                Outlet::Writable => {
                    if self.sink.flush()? == Flushed::All {
                        return Ok(());
                    }
                }
                Outlet::Records => self.drain()?,
                Outlet::TooLate => return Err(self.sink.stalled()),
            }
        }
    }
}
