//! Reads what `netatop record` has written: CSV and JSON Lines, plain or compressed, of every
//! layout and with older columns.
//!
//! A recording is read as a stream. Memory depends on the length of a line, and lines are limited.

mod csv;
mod fields;
mod input;
mod json;
mod measures;
mod read;
#[cfg(test)]
mod recording_tests;
mod schema;

pub use fields::{Row, Span};
pub use input::{Input, MOST_BYTES};
pub use measures::{BASIC, FAILED, MEASURES, Measure, Merge, RETRANSMITTED, Values};
pub use read::{Ending, Stop, read};
pub use schema::{Field, MOST_COLUMNS, Schema};

/// Parsers of files from outside, for `fuzzing`.
pub(crate) mod parsers {
    pub(crate) use super::read::read_from;
}
