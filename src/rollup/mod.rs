//! From usage to rows: naming, grouping, ordering, and one row for everything that is not shown.

mod pending;
mod process_count;
mod rows;

pub use pending::Pending;
pub use process_count::ProcessCount;
pub use rows::{Rows, SortKey};
