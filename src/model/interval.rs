//! What a ledger takes and gives: losses, snapshots, and the usage of an interval.

use super::{Counters, Identity, ProcessId, State};

/// What the kernel's side counted for nobody since counting began. Totals only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// There was no memory for a thread's counters.
    pub no_memory: Counters,
    /// Final counters of threads that ended while no record of it could be left.
    pub exits: Counters,
    /// Traffic in the name of no task.
    pub no_task: Counters,
    /// Number of threads behind `exits`.
    pub exits_lost: u64,
    /// The same, with those whose counters are just being added to `exits`.
    pub exits_losing: u64,
    /// New tasks that should have been followed and could not be: their traffic is missing.
    pub untracked: u64,
    /// Cgroups that were made or removed and could not be reported: their names are missing.
    pub cgroups: u64,
    /// Events during which the kernel could not run a program; their traffic is unknown.
    pub missed_events: u64,
}

/// Which threads a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// Every living one that has counters: who is not in it has ended.
    #[default]
    All,
    /// At least those whose counters are not what the last snapshot showed.
    Changes,
}

/// What one process (or thread) did in one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Names, user and cgroup, by the newest record of it.
    pub last: Identity,
    /// Whether it was still there when the interval ended.
    pub state: State,
    /// Counted in this interval.
    pub counters: Counters,
}

/// One interval's usage: every message and byte since the interval before, once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Only those with traffic in the interval, in no particular order.
    pub usage: Vec<Usage>,
    /// Processes seen in this interval or before, with traffic in it or not, of which
    /// nothing more is expected: all their threads have ended. Empty with rows by thread.
    pub ended: Vec<ProcessId>,
    /// Processes that live on, but of which every thread that ever had traffic has ended:
    /// nothing will tell of their end, unless another thread has traffic. Each is named
    /// when that happens. Empty with rows by thread.
    pub silent: Vec<ProcessId>,
    /// Counted, but for nobody.
    pub unattributed: Counters,
}
