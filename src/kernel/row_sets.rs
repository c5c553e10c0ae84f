//! The sets and their rows (`bpf/rows.h`), in memory that is shared with the programs.

use std::io;
use std::mem;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{Ordering, fence};

use super::remote;
use super::skel::types;
use super::words::Words;
use crate::model::RemoteRecord;

const KEY_AT: usize = mem::offset_of!(types::row, key) / size_of::<u64>();
const COUNTERS_AT: usize = mem::offset_of!(types::row, counters) / size_of::<u64>();
const MSGS_AT: usize = mem::offset_of!(types::row, counters.msgs) / size_of::<u64>();
const BYTES_AT: usize = mem::offset_of!(types::row, counters.bytes) / size_of::<u64>();
const SET_WORDS: usize = size_of::<types::row_set>() / size_of::<u64>();
const ROW_WORDS: usize = size_of::<types::row>() / size_of::<u64>();
/// Rows are as many as words of sets: each word leads to one row.
const ROWS_IN_SET: usize = SET_WORDS;

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

    /// Adds to the counters of a row for one direction: 0 sent, 1 received. `index` is that in its
    /// half.
    pub(super) fn add(&self, second: bool, index: usize, direction: usize, msgs: u64, bytes: u64) {
        let first = if second { self.half * ROWS_IN_SET } else { 0 };
        let start = (first + index) * ROW_WORDS + direction;
        self.rows.add(start + MSGS_AT, msgs);
        self.rows.add(start + BYTES_AT, bytes);
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
