//! What a writer gets: the rows of one interval.

use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Comm, Counters, State};

/// One interval, ready to be written.
#[derive(Clone, Debug)]
pub struct Report {
    /// End of the interval, by the host's clock.
    pub time: DateTime<Utc>,
    /// Its measured length; not touched by changes of the clock.
    pub interval: Duration,
    /// Rows with traffic, ordered, then `(other)` and `(unattributed)` where they apply.
    pub rows: Vec<Row>,
}

/// One row: who, and how much in the interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose traffic it is.
    pub who: Who,
    /// Counted in the interval.
    pub counters: Counters,
}

/// Whose traffic a row is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A process, or a thread of one.
    Process(Process),
    /// Everything with the same key.
    Group {
        /// The name, cgroup path or user that is common to it.
        key: String,
        /// How many processes have traffic in it.
        processes: u64,
    },
    /// What `--top` left out.
    Other {
        /// How many processes (not rows) that is.
        processes: u64,
    },
    /// Counted, but for nobody.
    Unattributed,
}

/// The identity columns of a process or thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Thread id, where rows are threads.
    pub tid: Option<u32>,
    /// Name of the process, or of the thread where rows are threads.
    pub comm: Comm,
    /// Real user id.
    pub uid: u32,
    /// Path under the cgroup v2 root; `None` where it is gone and was never seen.
    pub cgroup: Option<Rc<str>>,
    /// When the process started, by the host's clock.
    pub start: DateTime<Utc>,
    /// When the process started, in nanoseconds since boot: no change of the clock touches it.
    pub start_ns: u64,
    /// Whether it was still there when the interval ended.
    pub state: State,
}

impl Report {
    /// The sum over all rows: the true total of the interval.
    #[must_use]
    pub fn total(&self) -> Counters {
        self.rows.iter().map(|row| row.counters).sum()
    }
}
