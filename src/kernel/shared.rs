//! The variables that the programs and user space share, through memory that is mapped.
//!
//! Not through system calls on their maps: while one runs, the kernel leaves classic programs
//! out on that processor, and from Linux 7.0 on whoever makes it can lose the processor
//! meanwhile. Events of others would be missed only because somebody looked at a number.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::skel::{NetatopMaps, types};

/// The loss counters as they are now; `None` if the memory is not mapped.
pub(super) fn losses(maps: &NetatopMaps<'_>) -> Option<types::losses> {
    const WORDS: usize = size_of::<types::losses>() / size_of::<u64>();
    let shared = &raw const maps.bss_data.as_deref()?.losses;
    // What was read before this is older than what this reads.
    fence(Ordering::SeqCst);
    let mut bytes = Vec::with_capacity(size_of::<types::losses>());
    for word in 0..WORDS {
        // SAFETY: `struct losses` (bpf/wire.h) is made of 64-bit integers only, which are
        // aligned in memory that stays mapped as long as `maps` is there, and which the
        // programs change by whole words.
        let word = unsafe { AtomicU64::from_ptr(shared.cast::<u64>().cast_mut().add(word)) };
        bytes.extend(word.load(Ordering::Acquire).to_ne_bytes());
    }
    super::decode::losses(&bytes)
}

/// Has dumps show all slots in use, or only those with news; whether that was possible.
pub(super) fn set_dump_all(maps: &mut NetatopMaps<'_>, all: bool) -> bool {
    let Some(data) = maps.data_dump_data.as_deref_mut() else {
        return false;
    };
    // SAFETY: an aligned integer in memory that stays mapped, as above.
    let shared = unsafe { AtomicU32::from_ptr(&raw mut data.dump_all) };
    shared.store(u32::from(all), Ordering::SeqCst);
    true
}
