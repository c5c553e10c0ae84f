//! Memory of BPF arrays that user space and the programs share.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Words of a BPF array, mapped.
#[derive(Debug)]
pub(super) struct Words {
    start: NonNull<u64>,
    number: usize,
}

impl Words {
    /// Maps the memory of a BPF array that has this many words.
    pub(super) fn map(array: BorrowedFd<'_>, number: usize) -> io::Result<Self> {
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
    pub(super) fn read(&self, from: usize, bytes: &mut [u8]) {
        for (at, chunk) in bytes.chunks_exact_mut(size_of::<u64>()).enumerate() {
            let word = self.at(from + at).load(Ordering::Relaxed);
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
    }

    /// Reads one word.
    pub(super) fn word(&self, index: usize) -> u64 {
        self.at(index).load(Ordering::Relaxed)
    }

    /// Adds to a word that no program changes meanwhile.
    pub(super) fn add(&self, index: usize, more: u64) {
        let sum = self.word(index).wrapping_add(more);
        self.at(index).store(sum, Ordering::Relaxed);
    }

    /// The numbers of all bits in a range that are set, and clears them. The first bit is the lowest
    /// of the first word.
    pub(super) fn take_bits(&self, range: Range<usize>) -> Vec<usize> {
        let in_word = u64::BITS as usize;
        let mut found = Vec::new();
        for index in range.start / in_word..range.end.div_ceil(in_word) {
            let first = index * in_word;
            let mut bits = self.word(index);
            let mut taken = 0;
            while bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if range.contains(&(first + bit)) {
                    found.push(first + bit);
                    taken |= 1 << bit;
                }
            }
            self.at(index).fetch_and(!taken, Ordering::Relaxed);
        }
        found
    }

    /// Sets words to 0.
    pub(super) fn clear(&self, range: Range<usize>) {
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn only_the_bits_of_the_range_are_taken() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(4096).expect("memory");
        let words = Words::map(file.as_fd(), 3).expect("a mapping");
        for bit in [0, 1, 63, 64, 99, 100, 127, 128, 191] {
            words.add(bit / 64, 1 << (bit % 64));
        }
        assert_eq!(words.take_bits(1..100), [1, 63, 64, 99]);
        assert!(words.take_bits(1..100).is_empty());
        assert_eq!(words.take_bits(100..192), [100, 127, 128, 191]);
        assert_eq!(words.take_bits(0..192), [0]);
        assert_eq!([0, 1, 2].map(|index| words.word(index)), [0, 0, 0]);
    }
}
