//! The hints (`bpf/hints.h`), in memory that is shared with the programs.

use std::io;
use std::mem;
use std::os::fd::AsFd;

use super::row_sets::RowSets;
use super::skel::{NetatopMaps, types};
use super::words::Words;

const HINT_WORDS: usize = size_of::<types::hint>() / size_of::<u64>();
const MSGS_AND_ROW_AT: usize = mem::offset_of!(types::hint, msgs_and_row) / size_of::<u64>();
const BYTES_AT: usize = mem::offset_of!(types::hint, bytes) / size_of::<u64>();

/// Hints of one CPU for one direction, unless there are very many CPUs.
const MAX_HINTS: u32 = 1 << 11;

/// Hints of all CPUs for one direction in one half, 64 bytes each.
const ALL_HINTS: u32 = 1 << 17;

/// How many hints there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct HintSizes {
    /// For one direction on one CPU: a power of two.
    pub(super) of_cpu: u32,
    /// In one half.
    pub(super) half: u32,
}

impl HintSizes {
    /// The sizes for the CPUs that this host can have.
    pub(super) fn of_host() -> Self {
        let cpus = libbpf_rs::num_possible_cpus().unwrap_or(1);
        Self::for_cpus(u32::try_from(cpus).unwrap_or(u32::MAX).max(1))
    }

    fn for_cpus(cpus: u32) -> Self {
        let of_cpu = (ALL_HINTS / cpus.next_power_of_two()).clamp(1, MAX_HINTS);
        Self {
            of_cpu,
            half: of_cpu * 2 * cpus,
        }
    }

    /// In both halves.
    pub(super) fn all(self) -> u32 {
        2 * self.half
    }

    /// Number of words with a bit for each hint.
    pub(super) fn words(self) -> u32 {
        self.all().div_ceil(u64::BITS)
    }
}

/// Both halves of the hints.
#[derive(Debug)]
pub(super) struct Hints {
    hints: Words,
    made: Words,
    of_cpu: usize,
    half: usize,
    /// One message in a hint's word of messages and the index of the row.
    msg: u64,
}

impl Hints {
    /// Maps the BPF arrays.
    pub(super) fn map(maps: &NetatopMaps<'_>, sizes: HintSizes) -> io::Result<Self> {
        Ok(Self {
            hints: Words::map(maps.hints.as_fd(), sizes.all() as usize * HINT_WORDS)?,
            made: Words::map(maps.hints_made.as_fd(), sizes.words() as usize)?,
            of_cpu: sizes.of_cpu as usize,
            half: sizes.half as usize,
            msg: maps.rodata_data.ok_or(io::ErrorKind::NotFound)?.hinted_msg,
        })
    }

    /// Adds what the hints of a half have counted to their rows in the same half, and leaves the half
    /// empty. No program may use the half any more.
    pub(super) fn empty(&self, second: bool, rows: &RowSets) {
        let start = if second { self.half } else { 0 };
        for hint in self.made.take_bits(start..start + self.half) {
            let words = hint * HINT_WORDS;
            let msgs_and_row = self.hints.word(words + MSGS_AND_ROW_AT);
            let (msgs, row) = (msgs_and_row / self.msg, msgs_and_row % self.msg);
            let bytes = self.hints.word(words + BYTES_AT);
            let direction = (hint - start) / self.of_cpu % 2;
            rows.add(second, row as usize, direction, msgs, bytes);
            self.hints.clear(words..words + HINT_WORDS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_hints_for_any_number_of_cpus() {
        for cpus in [1, 2, 3, 64, 100, 8192, 1 << 20] {
            let sizes = HintSizes::for_cpus(cpus);
            assert!(sizes.of_cpu.is_power_of_two());
            assert_eq!(sizes.half, sizes.of_cpu * 2 * cpus);
            assert!(sizes.words() * u64::BITS >= sizes.all());
        }
        assert_eq!(HintSizes::for_cpus(2).all(), 4 * 2 * MAX_HINTS);
        assert_eq!(HintSizes::for_cpus(8192).of_cpu, 16);
    }
}
