//! Variables shared by the programs and user space, in mapped memory.
//!
//! System calls on the maps are avoided. While such a call runs, the kernel skips classic programs
//! on that CPU, and from Linux 7.0 on the caller can be preempted during the call. Reading a number
//! would then make the kernel miss events of other processes.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::skel::{NetatopMaps, types};

/// The current loss counters. `None` if the memory is not mapped.
pub(super) fn losses(maps: &NetatopMaps<'_>) -> Option<types::losses> {
    let shared = &raw const maps.bss_data.as_deref()?.losses;
    // SAFETY: `struct losses` (bpf/wire.h) consists of aligned 64-bit integers.
    super::decode::losses(&unsafe { words(shared) })
}

/// The current losses of TCP's own account. `None` if the memory is not mapped.
pub(super) fn tcp_losses(maps: &NetatopMaps<'_>) -> Option<types::tcp_losses> {
    let shared = &raw const maps.bss_data.as_deref()?.tcp_losses;
    // SAFETY: `struct tcp_losses` (bpf/wire.h) consists of aligned 64-bit integers.
    super::decode::read(&unsafe { words(shared) })
}

/// The current losses of command lines. `None` if the memory is not mapped.
pub(super) fn command_losses(maps: &NetatopMaps<'_>) -> Option<types::command_losses> {
    let shared = &raw const maps.bss_data.as_deref()?.command_losses;
    // SAFETY: `struct command_losses` (bpf/wire.h) consists of aligned 64-bit integers.
    super::decode::read(&unsafe { words(shared) })
}

/// Copies a struct word by word, from the first to the last.
///
/// # Safety
///
/// The struct consists of aligned 64-bit integers. Its memory stays mapped during the call, and the
/// programs change it by whole words.
unsafe fn words<T>(shared: *const T) -> Vec<u8> {
    // Earlier reads must not move behind this one.
    fence(Ordering::SeqCst);
    let mut bytes = Vec::with_capacity(size_of::<T>());
    for word in 0..size_of::<T>() / size_of::<u64>() {
        // SAFETY: the caller's.
        let word = unsafe { AtomicU64::from_ptr(shared.cast::<u64>().cast_mut().add(word)) };
        bytes.extend(word.load(Ordering::Acquire).to_ne_bytes());
    }
    bytes
}

/// Makes the next run of `dump_slots` begin with the first set, and show all slots in use or only
/// those with new counters. `None` if the memory is not mapped.
pub(super) fn begin_dump(maps: &mut NetatopMaps<'_>, all: bool) -> Option<()> {
    let data = maps.data_dump_data.as_deref_mut()?;
    // SAFETY: aligned integers in memory that stays mapped.
    let [shows_all, set] = unsafe {
        [
            AtomicU32::from_ptr(&raw mut data.dump.all),
            AtomicU32::from_ptr(&raw mut data.dump.set),
        ]
    };
    shows_all.store(u32::from(all), Ordering::SeqCst);
    set.store(0, Ordering::SeqCst);
    Some(())
}

/// How far `dump_slots` has come. `None` if the memory is not mapped.
pub(super) fn dump(maps: &NetatopMaps<'_>) -> Option<types::dump> {
    let data = maps.data_dump_data.as_deref()?;
    // Earlier reads must not move behind this one.
    fence(Ordering::SeqCst);
    // SAFETY: aligned integers in memory that stays mapped, and the program that changes them has
    // returned.
    Some(unsafe { (&raw const data.dump).read_volatile() })
}

/// Tells the programs how many rows of remote ends were made before user space took them.
pub(super) fn set_rows_taken(maps: &mut NetatopMaps<'_>, made: u64) {
    if let Some(data) = maps.data_dump_data.as_deref_mut() {
        // SAFETY: as above, an aligned integer in memory that stays mapped.
        let shared = unsafe { AtomicU64::from_ptr(&raw mut data.rows_taken) };
        shared.store(made, Ordering::SeqCst);
    }
}

/// Tells the programs in which half they count events with remote ends, and whether hints suffice.
pub(super) fn set_rows_state(maps: &mut NetatopMaps<'_>, second: bool, hints_suffice: bool) {
    use types::rows_state;

    let half = if second {
        rows_state::ROWS_SECOND_HALF
    } else {
        rows_state::ROWS_FIRST_HALF
    };
    let suffice = if hints_suffice {
        rows_state::HINTS_SUFFICE.0
    } else {
        0
    };
    if let Some(data) = maps.data_dump_data.as_deref_mut() {
        // SAFETY: as above, an aligned integer in memory that stays mapped.
        let shared = unsafe { AtomicU32::from_ptr(&raw mut data.rows_state.0) };
        shared.store(half.0 | suffice, Ordering::SeqCst);
    }
}

/// Forgets which threads may have a note. No hint may suffice meanwhile.
pub(super) fn forget_noted(maps: &mut NetatopMaps<'_>) {
    if let Some(data) = maps.data_dump_data.as_deref_mut() {
        for word in &mut data.noted {
            // SAFETY: as above, aligned integers in memory that stays mapped.
            let shared = unsafe { AtomicU64::from_ptr(word) };
            shared.store(0, Ordering::SeqCst);
        }
    }
}

/// The number of rows in use in a half of the sets, which becomes 0. No program may use the half any
/// more.
pub(super) fn take_rows_used(maps: &mut NetatopMaps<'_>, second: bool) -> u64 {
    let Some(data) = maps.data_dump_data.as_deref_mut() else {
        return 0;
    };
    let used = if second {
        &raw mut data.rows_used.second
    } else {
        &raw mut data.rows_used.first
    };
    // SAFETY: as above, an aligned integer in memory that stays mapped.
    let shared = unsafe { AtomicU64::from_ptr(used) };
    shared.swap(0, Ordering::SeqCst)
}

/// As [`set_rows_taken`], for the rows of TCP's own account.
pub(super) fn set_tcp_rows_taken(maps: &mut NetatopMaps<'_>, made: u64) {
    if let Some(data) = maps.data_dump_data.as_deref_mut() {
        // SAFETY: as above, an aligned integer in memory that stays mapped.
        let shared = unsafe { AtomicU64::from_ptr(&raw mut data.tcp_rows_taken) };
        shared.store(made, Ordering::SeqCst);
    }
}

/// Tells the programs in which of the two maps they make rows of TCP's own account.
pub(super) fn set_tcp_rows_second(maps: &mut NetatopMaps<'_>, second: bool) {
    if let Some(data) = maps.data_dump_data.as_deref_mut() {
        // SAFETY: as above, an aligned integer in memory that stays mapped.
        let shared = unsafe { AtomicU32::from_ptr(&raw mut data.tcp_rows_second) };
        shared.store(u32::from(second), Ordering::SeqCst);
    }
}

/// What the programs and user space tell each other about passes over sockets.
struct Passes<'m> {
    accounts: &'m AtomicU64,
    /// Of this pass.
    seen: &'m AtomicU64,
    pass: &'m AtomicU32,
}

fn passes<'m>(maps: &'m mut NetatopMaps<'_>, pass: u32) -> Option<Passes<'m>> {
    let passes = &mut maps.data_dump_data.as_deref_mut()?.tcp_passes;
    let [even, odd] = &mut passes.seen;
    let seen = if pass.is_multiple_of(2) { even } else { odd };
    // SAFETY: as above, aligned integers in memory that stays mapped.
    let (accounts, seen, pass) = unsafe {
        (
            AtomicU64::from_ptr(&raw mut passes.accounts),
            AtomicU64::from_ptr(seen),
            AtomicU32::from_ptr(&raw mut passes.pass),
        )
    };
    Some(Passes {
        accounts,
        seen,
        pass,
    })
}

/// Begins a pass over the sockets that are open files.
pub(super) fn begin_tcp_pass(maps: &mut NetatopMaps<'_>, pass: u32) {
    if let Some(passes) = passes(maps, pass) {
        // In this order: from then on, the programs count in `seen`.
        passes.seen.store(0, Ordering::SeqCst);
        passes.pass.store(pass, Ordering::SeqCst);
    }
}

/// The number of living sockets with an account that the pass has not seen.
pub(super) fn unseen_accounts(maps: &mut NetatopMaps<'_>, pass: u32) -> u64 {
    passes(maps, pass).map_or(0, |passes| {
        let seen = passes.seen.load(Ordering::SeqCst);
        passes.accounts.load(Ordering::SeqCst).saturating_sub(seen)
    })
}
