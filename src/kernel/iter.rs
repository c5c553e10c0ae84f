//! Reads what iterator programs write.

use std::io::{self, ErrorKind, Read};

use libbpf_rs::{Iter, Link};

use super::decode::{self, RECORD_SIZE};
use crate::error::Error;
use crate::model::ThreadRecord;

/// What one read of an iterator returns at most (PAGE_SIZE << 3 in kernel/bpf/bpf_iter.c), and
/// room for the record that the end of the read has cut.
pub(super) const READ_BYTES: usize = 2 * (32 << 10);

/// Whether a read has to be repeated: a signal came, or the iterator has visited a million
/// elements without output and lets others run (EAGAIN; MAX_ITER_OBJECTS in
/// kernel/bpf/bpf_iter.c).
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Runs an iterator program that writes nothing.
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

/// Appends all records that an iterator program writes to `records`. `buffer` has [`READ_BYTES`].
pub(super) fn read_records(
    link: &Link,
    buffer: &mut [u8],
    records: &mut Vec<ThreadRecord>,
) -> Result<(), Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::failed("the counters could not be read", error);
    let mut iter = Iter::new(link).map_err(|error| failed(&error))?;
    let mut held = 0;
    loop {
        let Some(free) = buffer.get_mut(held..) else {
            return Err(failed(&"a record does not fit its buffer"));
        };
        match iter.read(free) {
            Ok(0) => return Ok(()),
            Ok(count) => held += count,
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(failed(&error)),
        }
        let whole = held - held % RECORD_SIZE;
        let (ready, rest) = buffer.split_at(whole.min(buffer.len()));
        records.extend(
            ready
                .chunks_exact(RECORD_SIZE)
                .filter_map(decode::thread_record),
        );
        let rest = rest.len().min(held - whole);
        buffer.copy_within(whole..whole + rest, 0);
        held = rest;
    }
}
