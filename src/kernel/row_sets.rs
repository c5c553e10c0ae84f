//! The sets and their rows (`bpf/rows.h`), in memory that is shared with the programs.

use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::remote;
use super::skel::types;
use crate::model::RemoteRecord;

const KEY_AT: usize = mem::offset_of!(types::row, key) / size_of::<u64>();
const COUNTERS_AT: usize = mem::offset_of!(types::row, counters) / size_of::<u64>();
const SET_WORDS: usize = size_of::<types::row_set>() / size_of::<u64>();
const ROW_WORDS: usize = size_of::<types::row>() / size_of::<u64>();
/// Rows are as many as words of sets: each word leads to one row.
const ROWS_IN_SET: usize = SET_WORDS;

/// Words of a BPF array, mapped.
#[derive(Debug)]
struct Words {
    start: NonNull<u64>,
    number: usize,
}

impl Words {
    /// Maps the memory of a BPF array that has this many words.
    fn map(array: BorrowedFd<'_>, number: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let bytes = number * size_of::<u64>();
        // SAFETY: a new mapping at an address that the kernel chooses. The kernel refuses it if the
        // array is shorter.
        let start = unsafe { mmap(ptr::null_mut(), bytes, access, MapFlags::SHARED, array, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, number })
    }

    fn at(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.number);
        // SAFETY: within the mapping, which stays as long as `self`. The arrays consist of aligned
        // 64-bit words, and the programs change them by whole words.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(index)) }
    }

    /// Reads words.
    fn read(&self, from: usize, bytes: &mut [u8]) {
        for (at, chunk) in bytes.chunks_exact_mut(size_of::<u64>()).enumerate() {
            let word = self.at(from + at).load(Ordering::Relaxed);
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
    }

    /// Sets words to 0.
    fn clear(&self, range: Range<usize>) {
        for at in range {
            self.at(at).store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        let bytes = self.number * size_of::<u64>();
        // SAFETY: the mapping that `map` made. References to it ended with the borrows of `self`.
        // An error would leave the memory mapped, which does no harm.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), bytes) };
    }
}

/// Both halves of the sets and of their rows.
#[derive(Debug)]
pub(super) struct RowSets {
    sets: Words,
    rows: Words,
    /// Number of sets in one half.
    half: usize,
}

impl RowSets {
    /// Maps the BPF arrays of sets and of rows, with `half` sets in each half.
    pub(super) fn map(sets: BorrowedFd<'_>, rows: BorrowedFd<'_>, half: u32) -> io::Result<Self> {
        let half = half as usize;
        Ok(Self {
            sets: Words::map(sets, 2 * half * SET_WORDS)?,
            rows: Words::map(rows, 2 * half * ROWS_IN_SET * ROW_WORDS)?,
            half,
        })
    }

    /// Takes all rows of a half that no program uses any more, and leaves the half empty. `used` is
    /// the number of rows in use there.
    pub(super) fn take(&self, second: bool, used: u64, taken: &mut Vec<RemoteRecord>) {
        let sets = if second { self.half } else { 0 };
        let rows = sets * ROWS_IN_SET;
        let used = usize::try_from(used).unwrap_or(usize::MAX);
        for row in rows..rows + used.min(self.half * ROWS_IN_SET) {
            let start = row * ROW_WORDS;
            let mut key = [0; size_of::<types::remote_key>()];
            let mut counters = [0; size_of::<types::remote_counters>()];
            self.rows.read(start + KEY_AT, &mut key);
            self.rows.read(start + COUNTERS_AT, &mut counters);
            self.rows.clear(start..start + ROW_WORDS);
            taken.extend(remote::row(&key, &counters));
        }
        self.sets
            .clear(sets * SET_WORDS..(sets + self.half) * SET_WORDS);
        fence(Ordering::SeqCst);
    }
}
