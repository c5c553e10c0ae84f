//! How often the kernel skipped a program.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libbpf_rs::libbpf_sys;

use crate::error::Error;

/// Number of missed runs of this program, from `struct bpf_prog_info` (bpf(2)).
pub(super) fn recursion_misses(program: BorrowedFd<'_>) -> Result<u64, Error> {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut length = size_of_val(&info) as u32;
    // SAFETY: the kernel writes at most `length` bytes to `info`, whose pointers are null.
    let result = unsafe {
        libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut length)
    };
    if result < 0 {
        let error = io::Error::from_raw_os_error(-result);
        return Err(Error::failed("missed events could not be read", error));
    }
    Ok(info.recursion_misses)
}
