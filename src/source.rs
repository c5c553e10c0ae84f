//! Sources of samples: the running kernel, or a script in tests.

use std::os::fd::BorrowedFd;

use crate::error::Error;
use crate::model::{
    CgroupChange, CommandChange, Extent, Ledger, Losses, ProcessId, RemoteRecord, TcpRecord,
    ThreadRecord,
};

/// All counters at one moment, or only those that have changed.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Threads with counters that were alive when they were read.
    pub living: Vec<ThreadRecord>,
    /// Whether `living` has all living threads or only those with changed counters.
    pub extent: Extent,
    /// Threads that have ended since the last sample or drain.
    pub exits: Vec<ThreadRecord>,
    /// Losses since counting began.
    pub losses: Losses,
    /// Traffic with remote ends since the last sample, read before `living`. Empty unless it was
    /// requested.
    pub remotes: Vec<RemoteRecord>,
    /// TCP's own account since the last sample. Empty unless it was requested.
    pub tcp: Vec<TcpRecord>,
}

impl Sample {
    /// Adds the sample to a ledger in the required order.
    pub fn enter(&self, ledger: &mut Ledger) {
        ledger.remotes(&self.remotes);
        ledger.tcp(&self.tcp);
        ledger.snapshot(&self.living, self.extent, self.losses);
        ledger.exits(&self.exits);
    }
}

/// A source of counters. Dropping it ends the counting.
pub trait Source {
    /// Reads the threads, then takes all exit records written until the threads were read.
    ///
    /// With [`Extent::Changes`], threads without traffic since the last sample can be missing.
    fn sample(&mut self, extent: Extent) -> Result<Sample, Error>;

    /// Takes the exit records written so far, to make room for more.
    fn drain(&mut self) -> Result<Vec<ThreadRecord>, Error>;

    /// Takes the creations and removals of cgroups so far. Empty if they were not requested.
    ///
    /// A cgroup is returned here before a sample or a drain returns traffic from it.
    fn cgroups(&mut self) -> Vec<CgroupChange> {
        Vec::new()
    }

    /// Takes the changes of command lines so far, in the order in which they happened to a process.
    /// Empty if they were not requested.
    ///
    /// A change is returned here before a sample or a drain returns the exit of its process.
    fn commands(&mut self) -> Vec<CommandChange> {
        Vec::new()
    }

    /// A descriptor that is readable when [`Source::drain`] should be called. `None` if no call is
    /// needed.
    fn wakeup(&self) -> Option<BorrowedFd<'_>>;

    /// Whether a process whose threads with counters have all ended is still alive.
    fn is_alive(&self, process: ProcessId) -> bool;

    /// Whether another living process now has the pid of a process that has ended.
    fn is_reused(&self, process: ProcessId) -> bool;
}
