//! What a row stands for.

use clap::ValueEnum;

/// What one row stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GroupBy {
    /// A process (or thread)
    #[default]
    #[value(alias = "pid")]
    Process,
    /// All processes with the same name
    #[value(alias = "name", alias = "command")]
    Comm,
    /// All processes in the same cgroup
    Cgroup,
    /// All processes of the same user
    #[value(alias = "uid")]
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
