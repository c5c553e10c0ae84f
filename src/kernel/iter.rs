//! Reads the output of iterator programs.

use std::io::{self, ErrorKind, Read};

use libbpf_rs::{Iter, Link};

use super::decode::{self, RECORD_SIZE};
use crate::error::Error;
use crate::model::ThreadRecord;

/// Size of the read buffer. One read of an iterator returns at most half of it (PAGE_SIZE << 3 in
/// kernel/bpf/bpf_iter.c). The rest has room for a record cut by the end of the previous read.
pub(super) const READ_BYTES: usize = 2 * (32 << 10);

/// Whether a read must be repeated: a signal interrupted it, or the iterator visited a million
/// elements without output and returned EAGAIN so that other tasks can run (MAX_ITER_OBJECTS in
/// kernel/bpf/bpf_iter.c).
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Runs an iterator program that has no output.
pub(super) fn run(link: &Link) -> libbpf_rs::Result<()> {
    let mut iter = Iter::new(link)?;
    loop {
        match io::copy(&mut iter, &mut io::sink()) {
            Ok(_) => return Ok(()),
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Appends all records of an iterator program to `records`. `buffer` has [`READ_BYTES`] bytes.
pub(super) fn read_records(
    link: &Link,
    buffer: &mut [u8],
    records: &mut Vec<ThreadRecord>,
) -> Result<(), Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::failed("the counters could not be read", error);
    let mut iter = Iter::new(link).map_err(|error| failed(&error))?;
    let mut filled = 0;
    loop {
        let Some(free) = buffer.get_mut(filled..) else {
            return Err(failed(&"a record does not fit its buffer"));
        };
        match iter.read(free) {
            Ok(0) => return Ok(()),
            Ok(count) => filled += count,
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(failed(&error)),
        }
        let whole = filled - filled % RECORD_SIZE;
        let (ready, rest) = buffer.split_at(whole.min(buffer.len()));
        records.extend(
            ready
                .chunks_exact(RECORD_SIZE)
                .filter_map(decode::thread_record),
        );
        let rest = rest.len().min(filled - whole);
        buffer.copy_within(whole..whole + rest, 0);
        filled = rest;
    }
}
