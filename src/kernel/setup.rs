//! What can be set before the programs are loaded: sizes, and whose traffic is counted.

use super::skel::types;
use crate::host::proc::threads;

/// How much the kernel's side can hold: threads in the best place there is, and exits that
/// wait for a reader that does not come.
///
/// The defaults hold 1,800 exits in the ring and 131,072 behind it: at 5,000 exits a
/// second, 26 seconds of a stopped reader. What does not fit is counted as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Threads that can be counted in slots, 96 bytes each; a power of two, and 16 at
    /// least. All others are in task storage: that costs more for each event and each
    /// look, and loses nothing.
    pub slots: u32,
    /// Bytes of the ring of exit records: a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Exit records behind the full ring, 400 bytes each at most. Memory is taken when they
    /// are needed; on a real-time kernel, 16 bytes each in advance.
    pub overflow: u32,
    /// Threads without a slot that could not get task storage either. Memory is taken in
    /// advance, since they are needed when there is none left: about 150 bytes each.
    pub spare: u32,
    /// Bytes of the ring buffer of cgroups that are made or removed, as `ring_bytes`. 0 where their
    /// names are not asked for: then no program looks at cgroups.
    pub cgroup_bytes: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            slots: LEAST_SLOTS,
            ring_bytes: 1 << 18,
            overflow: 1 << 17,
            spare: 1 << 11,
            cgroup_bytes: 0,
        }
    }
}

const LEAST_SLOTS: u32 = 1 << 13;
const MOST_SLOTS: u32 = 1 << 20;

impl Capacity {
    /// For a host with so many threads: at least as many slots. Up to half of the threads
    /// can have traffic with hardly one outside of the slots, and on a small host there is
    /// room for many more to come.
    #[must_use]
    pub fn for_threads(threads: u32) -> Self {
        let slots = threads.min(MOST_SLOTS).next_power_of_two();
        Self {
            slots: slots.max(LEAST_SLOTS),
            ..Self::default()
        }
    }

    /// For this host as it is now.
    #[must_use]
    pub fn of_host() -> Self {
        Self::for_threads(threads().unwrap_or(0))
    }

    /// Sets of slots (`bpf/maps.h`) that it needs.
    pub(super) fn slot_sets(self) -> u32 {
        let in_set = types::slot_set::default().owner.len();
        let sets = usize::try_from(self.slots).unwrap_or(usize::MAX) / in_set;
        u32::try_from(sets).unwrap_or(u32::MAX).max(1)
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
    /// Whether only tasks count that are tracked.
    pub(super) fn is_tracked(&self) -> bool {
        !self.pids.is_empty()
    }

    /// Entries that the table of wanted processes needs.
    pub(super) fn wanted_entries(&self) -> u32 {
        u32::try_from(self.pids.len()).unwrap_or(u32::MAX).max(1)
    }

    /// Puts it into the programs' constants.
    pub(super) fn write_to(&self, raw: &mut types::filter) {
        raw.tracked = u32::from(self.is_tracked());
        raw.follow = u32::from(self.follow);
        raw.cgroups = 0;
        for (to, from) in raw.cgroup.iter_mut().zip(&self.cgroups) {
            to.id = from.id;
            to.level = from.level;
            raw.cgroups += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn there_are_slots_for_the_threads_of_the_host() {
        assert_eq!(Capacity::for_threads(345), Capacity::default());
        assert_eq!(Capacity::for_threads(20_000).slots, 1 << 15);
    }

    proptest! {
        #[test]
        fn any_number_of_threads_gives_a_power_of_two(threads in any::<u32>()) {
            let slots = Capacity::for_threads(threads).slots;
            prop_assert!(slots.is_power_of_two() && (LEAST_SLOTS..=MOST_SLOTS).contains(&slots));
        }
    }
}
