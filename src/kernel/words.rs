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
