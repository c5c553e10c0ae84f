//! Plain data: counters, their owners, and the ledger that turns snapshots into intervals.
//!
//! This module does not know where records come from, so all of it is tested without a kernel.

mod cgroup;
mod command;
mod counters;
mod interval;
mod layout;
mod ledger;
#[cfg(test)]
mod ledger_tests;
mod process;
mod remote;
mod report;
mod rows;
mod tcp;

pub use cgroup::CgroupChange;
pub use command::{CommandChange, CommandSource};
pub use counters::Counters;
pub use interval::{Extent, Interval, Losses, Usage};
pub use layout::{GroupBy, Layout};
pub use ledger::Ledger;
pub use process::{Comm, Identity, ProcessId, State, ThreadRecord};
pub use remote::{End, Protocol, Remote, RemoteMode, RemoteRecord, Role};
pub use report::{Process, Report, Row, Who};
pub use tcp::{Health, Tcp, TcpRecord};
