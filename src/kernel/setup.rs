//! Settings that are fixed when the programs are loaded: the sizes of maps, and the filter.

use super::ends::EndFilter;
use super::skel::types;
use super::socket_walk::SocketWalk;
use super::udp_ends::UdpEnds;
use super::who::TaskFilter;
use crate::host::proc::{host_netns, threads};
use crate::model::RemoteMode;

/// Sizes of the BPF maps: for threads with traffic, and for exit records that have not been read
/// yet.
///
/// By default, the ring buffer has room for 1,800 exit records and the overflow map for 131,072
/// more. At 5,000 exits a second, this is enough while the reader is stopped for 26 seconds.
/// Records that do not fit are counted as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Number of slots, 96 bytes each: a power of two, and at least 16. All other threads use task
    /// storage, which costs more for each event and each snapshot, but loses nothing.
    pub slots: u32,
    /// Bytes of the ring buffer of exit records: a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Exit records in the overflow map, for when the ring buffer is full. Each takes at most 400
    /// bytes, allocated when needed; on a PREEMPT_RT kernel, 16 bytes each are allocated in
    /// advance.
    pub overflow: u32,
    /// Entries of the spare map, for threads that get neither a slot nor task storage. The map
    /// takes about 150 bytes an entry. They are allocated in advance, because they are needed when
    /// memory has run out.
    pub spare: u32,
    /// Bytes of the ring buffer of created and removed cgroups, as for `ring_bytes`. With 0, no
    /// cgroup programs are loaded; use 0 if names of cgroups are not needed.
    pub cgroup_bytes: u32,
    /// Entries of the map of cgroups that belong to wanted units, with a filter by unit only. The map
    /// takes about 80 bytes an entry, allocated in advance.
    pub unit_cgroups: u32,
    /// Bytes of the ring buffer of command lines, as for `ring_bytes`. With 0, no programs for them
    /// are loaded.
    pub command_bytes: u32,
    /// Rows for remote ends. `None`: traffic is not split by remote end, and nothing is loaded for it.
    pub remote: Option<RemoteRows>,
    /// Rows for TCP's own account. `None`: it is not recorded, and nothing is loaded for it.
    pub tcp: Option<TcpRows>,
}

/// How rows are split by remote end in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteRows {
    /// What a row is.
    pub mode: RemoteMode,
    /// Rows are those of threads, not of processes.
    pub threads: bool,
    /// Maximum number of rows in the hash map until they are taken. The reader is woken at a quarter.
    /// Traffic that finds no row is counted without remote end. A row takes about 170 bytes there.
    /// In addition there are at most 8,192 rows that are used first, and hints, which take 524 KB for
    /// each CPU that the host can have, and at most 34 MB. Each slot has 64 bytes for notes about
    /// unconnected UDP.
    pub rows: u32,
    /// Where the remote ends of unconnected UDP sockets come from.
    pub udp_ends: UdpEnds,
    /// Inode number of the network namespace of the host.
    pub host_netns: u32,
}

impl RemoteRows {
    /// The settings for this host.
    #[must_use]
    pub fn of_host(mode: RemoteMode, threads: bool, udp_ends: UdpEnds) -> Self {
        Self {
            mode,
            threads,
            rows: 1 << 17,
            udp_ends,
            host_netns: host_netns().unwrap_or(0),
        }
    }
}

/// How TCP's own account is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpRows {
    /// Rows are those of threads, not of processes.
    pub threads: bool,
    /// Maximum number of rows until they are taken. The reader is woken at half of it. What finds
    /// no row is unattributed. A row takes about 350 bytes.
    pub rows: u32,
    /// How living sockets are found, or [`SocketWalk::OpenFiles`] if the kernel refuses that.
    pub walk: SocketWalk,
}

impl TcpRows {
    /// The settings for rows of threads or processes.
    #[must_use]
    pub fn new(threads: bool) -> Self {
        Self {
            threads,
            rows: 1 << 16,
            walk: SocketWalk::Accounts,
        }
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            slots: MIN_SLOTS,
            ring_bytes: 1 << 18,
            overflow: 1 << 17,
            spare: 1 << 11,
            cgroup_bytes: 0,
            unit_cgroups: 1 << 14,
            command_bytes: 0,
            remote: None,
            tcp: None,
        }
    }
}

const MIN_SLOTS: u32 = 1 << 13;
const MAX_SLOTS: u32 = 1 << 20;

impl Capacity {
    /// The sizes for a host with this many threads: at least one slot per thread. Even if half of
    /// the threads have traffic, almost all of them find a slot. A small host has slots for many
    /// more threads.
    #[must_use]
    pub fn for_threads(threads: u32) -> Self {
        let slots = threads.min(MAX_SLOTS).next_power_of_two();
        Self {
            slots: slots.max(MIN_SLOTS),
            ..Self::default()
        }
    }

    /// The sizes for the threads that this host has now.
    #[must_use]
    pub fn of_host() -> Self {
        Self::for_threads(threads().unwrap_or(0))
    }

    /// Number of slot sets (`bpf/maps.h`).
    pub(super) fn slot_sets(self) -> u32 {
        let slots_per_set = types::slot_set::default().owner.len();
        let sets = usize::try_from(self.slots).unwrap_or(usize::MAX) / slots_per_set;
        u32::try_from(sets).unwrap_or(u32::MAX).max(1)
    }
}

/// A cgroup v2 directory as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedCgroup {
    /// Inode number of the directory.
    pub id: u64,
    /// Depth below the root of the hierarchy. The root has level 0.
    pub level: u32,
}

/// Selects the tasks to count, in the kernel. The default counts all tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Count only these processes. Empty: all. They must exist when the programs are attached.
    pub pids: Vec<u32>,
    /// Also count processes that they fork from then on, and all descendants.
    pub follow: bool,
    /// Count tasks only while they are in one of these cgroups or below. Empty: all. At most
    /// [`MAX_CGROUPS`].
    pub cgroups: Vec<WantedCgroup>,
    /// Count tasks only while they match this.
    pub who: TaskFilter,
    /// Count only traffic with these ends.
    pub ends: EndFilter,
}

/// Maximum number of cgroups in a [`Filter`] (`bpf/filter.h`).
pub const MAX_CGROUPS: usize = 64;

impl Filter {
    /// Whether only tracked tasks are counted.
    pub(super) fn is_tracked(&self) -> bool {
        !self.pids.is_empty()
    }

    /// Number of entries for the hash map of wanted processes.
    pub(super) fn wanted_entries(&self) -> u32 {
        u32::try_from(self.pids.len()).unwrap_or(u32::MAX).max(1)
    }

    /// Writes the filter into the programs' constants.
    pub(super) fn write_to(&self, raw: &mut types::filter) {
        raw.tracked = u32::from(self.is_tracked());
        raw.follow = u32::from(self.follow);
        raw.cgroups = 0;
        for (to, from) in raw.cgroup.iter_mut().zip(&self.cgroups) {
            to.id = from.id;
            to.level = from.level;
            raw.cgroups += 1;
        }
        raw.who = u32::from(self.who.is_used());
        raw.tasks = u32::from(self.who.is_used() || raw.cgroups > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_number_of_slots_follows_the_number_of_threads() {
        assert_eq!(Capacity::for_threads(345), Capacity::default());
        assert_eq!(Capacity::for_threads(20_000).slots, 1 << 15);
    }

    proptest! {
        #[test]
        fn any_number_of_threads_gives_a_power_of_two(threads in any::<u32>()) {
            let slots = Capacity::for_threads(threads).slots;
            prop_assert!(slots.is_power_of_two() && (MIN_SLOTS..=MAX_SLOTS).contains(&slots));
        }
    }
}
