//! Changes of the cgroup v2 hierarchy.

/// A cgroup that was made or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupChange {
    /// Inode number of its directory. A directory that is made again has another one.
    pub id: u64,
    /// Path below the root of the hierarchy, such as `/system.slice/ssh.service`. Bytes that are
    /// not UTF-8 are U+FFFD. `None` if the kernel did not report all of it.
    pub path: Option<String>,
    /// The cgroup was removed.
    pub removed: bool,
}
