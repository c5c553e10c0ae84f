//! Turns rows into text: a table for people, CSV and JSON Lines for programs.

mod column;
mod columns;
mod compress;
mod csv;
mod destination;
mod ending;
mod ends;
mod escaped;
mod file;
mod json;
mod lines;
mod open;
mod sink;
#[cfg(test)]
mod sink_tests;
mod stream;
mod table;
mod tcp;

pub use column::{Column, Value};
pub use columns::{COUNTERS, REMOTE, REMOTE_NAME, columns};
pub use compress::Compression;
pub use csv::Csv;
pub use destination::{Destination, Request};
pub use ending::OutputFormat;
pub use escaped::Escaped;
pub use json::Json;
pub use lines::Lines;
pub use open::Existing;
pub use sink::{Flushed, Sink};
pub use stream::Kind;
pub use table::{Table, TableStyle};
pub use tcp::TCP;

use crate::model::Report;

/// Turns reports into text.
pub trait Format {
    /// Writes the text before the first interval; nothing if a file is appended to.
    fn begin(&mut self, out: &mut Vec<u8>);

    /// Appends one interval, or a part of its rows, to `out`.
    fn report(&mut self, report: &Report, out: &mut Vec<u8>);

    /// Whether the text of a row is independent of the interval's other rows. If so, the rows can
    /// be written in several parts.
    fn rows_are_independent(&self) -> bool;

    /// Whether the rows name the cgroups of processes, or their units or containers.
    fn names_cgroups(&self) -> bool;

    /// Whether [`Format::overall`] writes something.
    fn wants_overall(&self) -> bool {
        false
    }

    /// Appends the totals of all `intervals`, after the last interval.
    fn overall(&mut self, _report: &Report, _intervals: u64, _out: &mut Vec<u8>) {}
}

/// Parsers of files from outside, for `fuzzing`.
pub(crate) mod parsers {
    pub(crate) use super::compress::scan_from;
    pub(crate) use super::lines::LineEnds;
}
