//! What can be set before the programs are loaded: sizes, and whose traffic is counted.

use super::skel::types;

/// How much the kernel's side can hold back for a reader that does not come.
///
/// The defaults hold 7,200 exits in the ring and 65,536 behind it: at 5,000 exits a
/// second, 14 seconds of a stopped reader. What does not fit is counted as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes of the ring of exit records: a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Exit records behind the full ring. Memory is taken when they are needed.
    pub overflow: u32,
    /// Threads that could not get task storage. Memory is taken in advance, since they
    /// are needed when there is none left: about 150 bytes each.
    pub spare: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            ring_bytes: 1 << 20,
            overflow: 1 << 16,
            spare: 1 << 13,
        }
    }
}

/// A cgroup v2 directory as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedCgroup {
    /// Inode number of the directory.
    pub id: u64,
    /// Its depth below the root of the hierarchy, which is 0.
    pub level: u32,
}

/// Whose traffic is counted; everybody's by default. The kernel's side decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these processes, if there are any; they must be there when attaching.
    pub pids: Vec<u32>,
    /// Also what they fork from then on, and its descendants.
    pub follow: bool,
    /// Only while in one of these or below, if there are any. At most [`MAX_CGROUPS`].
    pub cgroups: Vec<WantedCgroup>,
}

/// How many cgroups a [`Filter`] can hold (`bpf/filter.h`).
pub const MAX_CGROUPS: usize = 64;

impl Filter {
    /// Entries that the table of wanted processes needs.
    pub(super) fn wanted_entries(&self) -> u32 {
        u32::try_from(self.pids.len()).unwrap_or(u32::MAX).max(1)
    }

    /// Puts it into the programs' constants.
    pub(super) fn write_to(&self, raw: &mut types::filter) {
        raw.tracked = u32::from(!self.pids.is_empty());
        raw.follow = u32::from(self.follow);
        raw.cgroups = 0;
        for (to, from) in raw.cgroup.iter_mut().zip(&self.cgroups) {
            to.id = from.id;
            to.level = from.level;
            raw.cgroups += 1;
        }
    }
}
