//! Reads the slots: runs the program that writes their records, and reads what it wrote.

use std::io;
use std::os::fd::AsFd;

use libbpf_rs::{MapCore, ProgramInput, ProgramMut};

use super::decode::{self, RECORD_SIZE};
use super::shared;
use super::skel::{NetatopMaps, NetatopSkel};
use super::words::Words;
use crate::error::Error;
use crate::model::{Extent, ThreadRecord};

const RECORD_WORDS: usize = RECORD_SIZE / size_of::<u64>();

/// The records of one run, in memory that is shared with the program.
pub(super) struct Snapshot {
    records: Words,
    /// Number of sets of slots.
    sets: u32,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::failed("the counters could not be read", error)
}

impl Snapshot {
    /// Maps the records.
    pub(super) fn map(maps: &NetatopMaps<'_>) -> io::Result<Self> {
        let records = maps.snapshot.max_entries() as usize;
        Ok(Self {
            records: Words::map(maps.snapshot.as_fd(), records * RECORD_WORDS)?,
            sets: maps.slots.max_entries(),
        })
    }

    /// Appends the records of all slots that have changed since the last call, or of all slots in
    /// use.
    ///
    /// # Errors
    ///
    /// If the kernel refuses to run the program.
    pub(super) fn read(
        &self,
        skel: &mut NetatopSkel<'_>,
        extent: Extent,
        records: &mut Vec<ThreadRecord>,
    ) -> Result<(), Error> {
        let unmapped = || failed("their memory is not mapped");
        shared::begin_dump(&mut skel.maps, extent == Extent::All).ok_or_else(unmapped)?;
        let mut bytes = [0; RECORD_SIZE];
        loop {
            run(&skel.progs.dump_slots).map_err(failed)?;
            let dump = shared::dump(&skel.maps).ok_or_else(unmapped)?;
            for at in 0..dump.records as usize {
                self.records.read(at * RECORD_WORDS, &mut bytes);
                records.extend(decode::thread_record(&bytes));
            }
            if dump.set >= self.sets {
                return Ok(());
            }
        }
    }
}

/// Runs a program once, on this CPU.
fn run(program: &ProgramMut<'_>) -> libbpf_rs::Result<()> {
    program.test_run(ProgramInput::default()).map(drop)
}
