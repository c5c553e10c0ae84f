//! `netatop record`: measures for a while and writes rows.

mod cgroups;
mod clock;
mod command;
mod progress;
mod rows;
mod run;
mod session;
#[cfg(test)]
mod session_tests;
mod summary;
mod targets;

pub use cgroups::{Cgroups, NO_CGROUPS, cgroup_mount};
pub use clock::{Clock, SystemClock, Woken};
pub use command::{HELD, become_command};
pub use progress::Progress;
pub use rows::{Rows, SortKey};
pub use run::{Options, OutputFormat, run};
pub use session::{Schedule, Session, Summary};
pub use targets::Targets;
