//! `netatop record`: measures for a while and writes rows.

mod cgroups;
mod clock;
mod command;
mod progress;
mod rows;
mod run;
mod seen;
mod session;
#[cfg(test)]
mod session_tests;
mod summary;
mod targets;

pub use cgroups::{Cgroups, NO_CGROUPS, cgroup_mount};
pub use clock::{Clock, SystemClock, Woken, booted};
pub use command::{HELD, become_command};
pub use progress::Progress;
pub use rows::{Rows, SortKey};
pub use run::{Options, OutputFormat, run};
pub use session::{Schedule, Session, Summary};
pub use targets::Targets;

use crate::fuzzing::{Target, text};

/// For `fuzz/`.
pub(crate) const PARSERS: [Target; 2] = [
    ("json_keys", |bytes| {
        let _ = run::keys(bytes);
    }),
    ("mountinfo", |bytes| {
        let _ = cgroups::find_mount(&text(bytes));
    }),
];
