//! Where samples come from: the running kernel, or a script in tests.

use std::os::fd::BorrowedFd;

use crate::error::Error;
use crate::model::{Losses, ProcessId, ThreadRecord};

/// Everything that is known at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// All threads with counters that had not ended when they were looked at.
    pub living: Vec<ThreadRecord>,
    /// Threads that have ended since the last sample or drain.
    pub exits: Vec<ThreadRecord>,
    /// What was lost since counting began.
    pub losses: Losses,
}

/// A source of counters. Dropping it ends the counting.
pub trait Source {
    /// Looks at all threads, then takes the exit records left until after that look.
    fn sample(&mut self) -> Result<Sample, Error>;

    /// Takes the exit records left so far, to make room for more.
    fn drain(&mut self) -> Result<Vec<ThreadRecord>, Error>;

    /// Readable when [`Source::drain`] should be called; `None` if it never has to be.
    fn wakeup(&self) -> Option<BorrowedFd<'_>>;

    /// Whether a process, of which all threads with counters have ended, lives on.
    fn is_alive(&self, process: ProcessId) -> bool;

    /// Whether the pid of a process that has ended is that of another living one by now.
    fn is_reused(&self, process: ProcessId) -> bool;
}
