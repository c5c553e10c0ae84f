//! `netatop record`: measures for a while and writes rows.

mod cgroups;
mod clock;
mod progress;
mod rows;
mod run;
mod session;
#[cfg(test)]
mod session_tests;

pub use cgroups::Cgroups;
pub use clock::{Clock, SystemClock, Woken};
pub use progress::Progress;
pub use rows::{Rows, SortKey};
pub use run::{Options, OutputFormat, run};
pub use session::{Schedule, Session, Summary};
