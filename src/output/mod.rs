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

use crate::model::Report;

/// Turns reports into text. Each call appends one whole interval to `out`.
pub trait Format {
    /// What comes once, before the first interval; nothing where a file is appended to.
    fn begin(&mut self, out: &mut Vec<u8>);

    /// One interval.
    fn report(&mut self, report: &Report, out: &mut Vec<u8>);
}
