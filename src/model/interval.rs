//! Input and output of a ledger: losses, snapshots, and the usage of an interval.

use std::rc::Rc;

use super::{Counters, Health, Identity, ProcessId, Remote, State, Tcp};

/// What the BPF programs could not attribute since counting began. Totals only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Traffic of threads for whose counters there was no memory.
    pub no_memory: Counters,
    /// Final counters of threads whose exit record was lost.
    pub exits: Counters,
    /// Traffic that belongs to no task.
    pub no_task: Counters,
    /// Number of threads counted in `exits`.
    pub exits_lost: u64,
    /// `exits_lost`, including threads whose counters are just being added to `exits`.
    pub exits_losing: u64,
    /// Tasks that could not be marked although the filter asked for it. Their traffic is missing.
    pub untracked: u64,
    /// Messages whose remote end is not known, if rows are split by it.
    pub remote_unknown: u64,
    /// Messages that are counted without remote end because there was no room for another row.
    pub remote_full: u64,
    /// UDP calls for which the kernel could not run the program that tells their remote end.
    pub remote_missed: u64,
    /// Messages that a filter left out because it depends on a remote end that is not known.
    pub unmatched_msgs: u64,
    /// The bytes of these messages.
    pub unmatched_bytes: u64,
    /// Messages that a filter by unit left out because the unit of their cgroup is not known.
    pub undecided_msgs: u64,
    /// The bytes of these messages.
    pub undecided_bytes: u64,
    /// New cgroups whose unit is not known: there was no room for them, or their path is too long.
    pub undecided_cgroups: u64,
    /// Created or removed cgroups that could not be reported. Their names are missing.
    pub cgroups: u64,
    /// Events for which the kernel could not run a program. Their traffic is unknown.
    pub missed_events: u64,
    /// TCP's account of sockets without owner, and of those for which there was no room in the map.
    pub tcp_unattributed: Tcp,
    /// How often there was no room for a row of TCP's account.
    pub tcp_no_row: u64,
    /// Command lines that could not be reported.
    pub commands_lost: u64,
    /// Command lines that the kernel could not read. They were looked up in /proc.
    pub commands_unread: u64,
    /// How often there was no memory to keep the account of a socket.
    pub tcp_no_account: u64,
    /// Living sockets that the last sample could not read, so their newest growth is missing. Unlike the
    /// others, this is no total.
    pub tcp_unseen: u64,
}

/// Which threads a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// Every living thread with counters. A thread missing from the snapshot has ended.
    #[default]
    All,
    /// At least the threads whose counters have changed since the last snapshot.
    Changes,
}

/// The traffic of one process or thread in one interval, with one remote end if rows are split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Names, user and cgroup from its newest record.
    pub last: Identity,
    /// Whether it was alive at the end of the interval.
    pub state: State,
    /// Traffic in this interval.
    pub counters: Counters,
    /// TCP's own account in this interval. An element can have an account and no traffic.
    pub tcp: Health,
    /// The remote end of the traffic. `None` if it is not known, or if rows are not split by it.
    pub remote: Option<Rc<Remote>>,
}

/// The usage of one interval. It contains every message and byte since the previous interval
/// exactly once. With TCP's own account, a process can have several elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// The processes or threads with traffic in the interval, in no particular order. If rows are
    /// split by remote end, there is one element for each remote end of a process or thread.
    pub usage: Vec<Usage>,
    /// Processes whose threads have all ended, from this or earlier intervals, with or without
    /// traffic in this one. No more records of them are expected. Empty if rows are threads.
    pub ended: Vec<ProcessId>,
    /// Living processes whose threads with traffic have all ended. No record will report the end of
    /// such a process unless another thread has traffic. Each process is listed once when this
    /// happens. Empty if rows are threads.
    pub silent: Vec<ProcessId>,
    /// Traffic that could not be attributed to a process.
    pub unattributed: Counters,
    /// The same of TCP's own account.
    pub unattributed_tcp: Health,
}
