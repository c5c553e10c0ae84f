//! Turns usage into rows: names, groups and sorts, and sums all rows that are not shown into one.

mod groups;
mod parts;
mod pending;
mod process_count;
#[cfg(test)]
mod rollup_tests;
mod rows;

pub use pending::Pending;
pub use process_count::ProcessCount;
pub use rows::{Rows, SortKey};
