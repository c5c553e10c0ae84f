//! What a row stands for.

use clap::ValueEnum;

/// What one row stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GroupBy {
    /// A process (or thread)
    #[default]
    Process,
    /// All processes with the same name
    Comm,
    /// All processes in the same cgroup
    Cgroup,
    /// All processes of the same user
    User,
}

/// Which identity columns there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// What a row stands for.
    pub group_by: GroupBy,
    /// Rows are threads: there is a `tid`.
    pub threads: bool,
}
