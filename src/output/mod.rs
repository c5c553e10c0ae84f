//! Rows to text: a table for people, CSV and JSON Lines for programs.

mod columns;
mod csv;
mod escape;
mod human;
mod json;
mod lines;
mod sink;
mod table;

pub use columns::{COUNTERS, Column, GroupBy, Layout, Value};
pub use csv::Csv;
pub use escape::{Escaped, escaped};
pub use human::{bits_per_second, bytes, count, counted};
pub use json::Json;
pub use lines::Lines;
pub use sink::{Existing, Sink};
pub use table::{Look, Table};

use crate::fuzzing::{Target, text};
use crate::model::Report;

/// Turns reports into text.
pub trait Format {
    /// What comes once, before the first interval; nothing where a file is appended to.
    fn begin(&mut self, out: &mut Vec<u8>);

    /// Appends one interval to `out`, or a part of its rows.
    fn report(&mut self, report: &Report, out: &mut Vec<u8>);

    /// Whether a row looks the same whatever other rows its interval has, so that these can
    /// be written in several parts.
    fn rows_are_independent(&self) -> bool;
}

/// For `fuzz/`.
pub(crate) const PARSERS: [Target; 2] = [
    ("line_ends", |bytes| {
        for lines in [Lines::Plain, Lines::Quoted] {
            let mut ends = lines::LineEnds::new(lines);
            ends.look(bytes);
            let _ = ends.half();
        }
    }),
    ("escaped", |bytes| {
        let _ = escaped(&text(bytes), &['\n']);
    }),
];
