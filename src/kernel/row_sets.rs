//! The sets of rows (`bpf/rows.h`), in memory that is shared with the programs.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::remote;
use super::skel::types;
use crate::model::RemoteRecord;

const WORDS: usize = size_of::<types::row_set>() / size_of::<u64>();
const KEY_WORDS: usize = size_of::<types::remote_key>() / size_of::<u64>();
const COUNTER_WORDS: usize = size_of::<types::remote_counters>() / size_of::<u64>();
const ROW_WORDS: usize = size_of::<types::row>() / size_of::<u64>();
const ROWS: usize = WORDS / (1 + ROW_WORDS);

/// Both halves of the sets, mapped.
#[derive(Debug)]
pub(super) struct RowSets {
    start: NonNull<u64>,
    /// Number of sets in one half.
    half: usize,
}

impl RowSets {
    /// Maps the memory of a BPF array with twice `half` sets.
    pub(super) fn map(array: BorrowedFd<'_>, half: u32) -> io::Result<Self> {
        let half = half as usize;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses. The kernel refuses it if the
        // array is shorter.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                Self::bytes(half),
                access,
                MapFlags::SHARED,
                array,
                0,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, half })
    }

    fn bytes(half: usize) -> usize {
        2 * half * size_of::<types::row_set>()
    }

    fn word(&self, set: usize, word: usize) -> &AtomicU64 {
        assert!(set < 2 * self.half && word < WORDS);
        // SAFETY: within the mapping, which stays as long as `self`. `struct row_set` consists of
        // aligned 64-bit words, and the programs change them by whole words.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(set * WORDS + word)) }
    }

    /// Reads words and sets them to 0.
    fn take_words(&self, set: usize, from: usize, bytes: &mut [u8]) {
        for (at, chunk) in bytes.chunks_exact_mut(size_of::<u64>()).enumerate() {
            let word = self.word(set, from + at);
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Takes all rows of a half that no program uses any more, and leaves the half empty.
    pub(super) fn take(&self, second: bool, taken: &mut Vec<RemoteRecord>) {
        let first = if second { self.half } else { 0 };
        let mut key = [0; KEY_WORDS * size_of::<u64>()];
        let mut counters = [0; COUNTER_WORDS * size_of::<u64>()];
        for set in first..first + self.half {
            for row in 0..ROWS {
                let state = self.word(set, row);
                if state.load(Ordering::Acquire) == 0 {
                    continue;
                }
                let start = ROWS + row * ROW_WORDS;
                self.take_words(set, start, &mut key);
                self.take_words(set, start + KEY_WORDS, &mut counters);
                state.store(0, Ordering::Release);
                taken.extend(remote::row(&key, &counters));
            }
        }
    }
}

impl Drop for RowSets {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made. References to it ended with the borrows of `self`.
        // An error would leave the memory mapped, which does no harm.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), Self::bytes(self.half)) };
    }
}
