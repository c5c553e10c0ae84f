//! The layout of rows.

use clap::ValueEnum;

use super::RemoteMode;

/// The meaning of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GroupBy {
    /// A process (or thread)
    #[default]
    #[value(alias = "pid")]
    Process,
    /// All processes with the same name
    #[value(alias = "name")]
    Comm,
    /// All processes of the same program; of an interpreter, with the same script
    Command,
    /// All processes in the same cgroup
    Cgroup,
    /// All processes of the same systemd unit
    Unit,
    /// All processes in the same container
    Container,
    /// All processes of the same user
    #[value(alias = "uid")]
    User,
}

/// Selects the identity columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The meaning of one row.
    pub group_by: GroupBy,
    /// Rows are threads, with a column `tid`.
    pub threads: bool,
    /// Rows are split by remote end, with columns for it.
    pub remote: Option<RemoteMode>,
    /// Rows have a column for the name of the remote end. Only if they are split by it.
    pub names: bool,
    /// Rows have columns of TCP's own account.
    pub tcp: bool,
    /// Rows have a column for the command line. Only if they are processes.
    pub cmdline: bool,
    /// Groups by cgroup are those at this depth below the root, which has depth 0. `None`: each cgroup
    /// is a group.
    pub depth: Option<usize>,
}

impl Layout {
    /// Whether rows need the command lines of processes.
    #[must_use]
    pub fn needs_commands(self) -> bool {
        self.cmdline || self.group_by == GroupBy::Command
    }
}
