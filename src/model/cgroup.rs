//! Creation and removal of cgroups in the cgroup v2 hierarchy.

/// A cgroup that was created or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupChange {
    /// Inode number of its directory. A directory that is created again gets another number.
    pub id: u64,
    /// Path below the root of the hierarchy, such as `/system.slice/ssh.service`. Bytes that are
    /// not UTF-8 become U+FFFD. `None` if the kernel did not report the whole path.
    pub path: Option<String>,
    /// The cgroup was removed.
    pub removed: bool,
}
