//! The input of an output writer: the rows of one interval.

use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Comm, Counters, Health, Remote, State, Tcp};

/// One interval, ready to be written.
#[derive(Clone, Debug)]
pub struct Report {
    /// End of the interval by the host's clock.
    pub time: DateTime<Utc>,
    /// Measured length of the interval. Changes of the clock do not affect it.
    pub interval: Duration,
    /// Sorted rows with traffic, followed by `(other)` and `(unattributed)` if they have any.
    pub rows: Vec<Row>,
}

/// One row: an owner and its traffic in the interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose traffic it is.
    pub who: Who,
    /// Traffic in the interval.
    pub counters: Counters,
    /// TCP's own account in the interval.
    pub tcp: Health,
    /// The remote end of the traffic. `None` if it is not known, or if rows are not split by it.
    pub remote: Option<Rc<Remote>>,
    /// The name of the remote address. `None` if it is not known when the row is written, or if names
    /// are not looked up.
    pub remote_name: Option<Rc<str>>,
}

/// Whose traffic a row is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A process, or a thread of a process.
    Process(Process),
    /// All processes with the same key.
    Group {
        /// The common name, program, cgroup path, unit, container or user. Empty for processes
        /// whose program, cgroup, unit or container is not known, or that have none.
        key: String,
        /// Number of processes with traffic in the group.
        processes: u64,
    },
    /// The rows omitted by `--top`.
    Other {
        /// Number of omitted processes (not rows).
        processes: u64,
    },
    /// Traffic that could not be attributed to a process.
    Unattributed,
}

/// The identity columns of a process or thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Thread id. `None` unless rows are threads.
    pub tid: Option<u32>,
    /// Name of the process, or of the thread if rows are threads.
    pub comm: Comm,
    /// Real user id.
    pub uid: u32,
    /// Path below the cgroup v2 root. `None` if the cgroup was removed before its path was read.
    pub cgroup: Option<Rc<str>>,
    /// Systemd unit of the cgroup. `None` if there is none, or if the path of the cgroup is not known.
    pub unit: Option<Rc<str>>,
    /// Container of the cgroup. `None` if there is none, or if the path of the cgroup does not tell.
    pub container: Option<Rc<str>>,
    /// Command line. `None` if rows do not have it, if it is not known, and for threads of the kernel.
    pub cmdline: Option<Rc<str>>,
    /// Start of the process by the host's clock.
    pub start: DateTime<Utc>,
    /// Start of the process in nanoseconds since boot. Changes of the clock do not affect it.
    pub start_ns: u64,
    /// Whether it was alive at the end of the interval.
    pub state: State,
}

impl Report {
    /// The sum of all rows, which is the true total of the interval.
    #[must_use]
    pub fn total(&self) -> Counters {
        self.rows.iter().map(|row| row.counters).sum()
    }

    /// TCP's own account of all rows.
    #[must_use]
    pub fn total_tcp(&self) -> Tcp {
        let mut total = Tcp::default();
        for tcp in self.rows.iter().filter_map(|row| row.tcp.get()) {
            total += *tcp;
        }
        total
    }
}
