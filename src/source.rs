//! Where samples come from: the running kernel, or a script in tests.

use std::os::fd::BorrowedFd;

use crate::error::Error;
use crate::model::{CgroupChange, Extent, Ledger, Losses, ProcessId, ThreadRecord};

/// Everything that is known at one moment, or all that is new of it.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Threads with counters that had not ended when they were looked at.
    pub living: Vec<ThreadRecord>,
    /// Whether these are all of them.
    pub extent: Extent,
    /// Threads that have ended since the last sample or drain.
    pub exits: Vec<ThreadRecord>,
    /// What was lost since counting began.
    pub losses: Losses,
}

impl Sample {
    /// Puts it into a ledger, in the order that this one needs.
    pub fn enter(&self, ledger: &mut Ledger) {
        ledger.snapshot(&self.living, self.extent, self.losses);
        ledger.exits(&self.exits);
    }
}

/// A source of counters. Dropping it ends the counting.
pub trait Source {
    /// Looks at the threads, then takes the exit records left until after that look.
    ///
    /// With [`Extent::Changes`] those that did nothing since the last sample can be left out.
    fn sample(&mut self, extent: Extent) -> Result<Sample, Error>;

    /// Takes the exit records left so far, to make room for more.
    fn drain(&mut self) -> Result<Vec<ThreadRecord>, Error>;

    /// Takes the cgroups that were made or removed so far. None where nobody asked for them.
    ///
    /// A cgroup is in here before a sample or a drain has traffic from it.
    fn cgroups(&mut self) -> Vec<CgroupChange> {
        Vec::new()
    }

    /// Readable when [`Source::drain`] should be called; `None` if it never has to be.
    fn wakeup(&self) -> Option<BorrowedFd<'_>>;

    /// Whether a process, of which all threads with counters have ended, lives on.
    fn is_alive(&self, process: ProcessId) -> bool;

    /// Whether the pid of a process that has ended is that of another living one by now.
    fn is_reused(&self, process: ProcessId) -> bool;
}
