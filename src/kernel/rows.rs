//! Takes the rows of remote ends from the programs.

use std::mem;
use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore, MapFlags, MapMut};

use super::hints::{HintSizes, Hints};
use super::remote::row;
use super::row_sets::RowSets;
use super::setup::RemoteRows;
use super::shared;
use super::skel::{NetatopMaps, types};
use crate::error::Error;
use crate::model::{RemoteMode, RemoteRecord};

/// Number of rows that one system call takes.
const BATCH: u32 = 4096;

/// There is one set, which leads to eight rows, for this many rows of the hash map.
const ROWS_PER_SET: u32 = 64;

/// Sets that lead to 8,192 rows, which takes 2.2 MB for both halves.
const MAX_SETS: u32 = 1 << 10;

/// The rows taken so far, and where the programs count.
#[derive(Debug)]
pub(super) struct Rows {
    sets: RowSets,
    hints: Hints,
    /// The programs use the second half of the sets and of the hints, and `second_rows`.
    second: bool,
    /// Events may be counted by their hint alone: see `count_by_hint` in `bpf/hints.h`.
    hints_suffice: bool,
    taken: Vec<RemoteRecord>,
    /// `rows_made` when the rows were last taken.
    made: u64,
    /// Rows should be taken when this many more were made in the hash map.
    wakeup: u64,
}

impl Rows {
    pub(super) fn new(remote: RemoteRows, maps: &NetatopMaps<'_>) -> Result<Self, Error> {
        let failed = |error| Error::failed("the rows of remote ends could not be mapped", error);
        let sizes = HintSizes::of_host();
        Ok(Self {
            sets: RowSets::map(maps.row_sets.as_fd(), maps.set_rows.as_fd(), remote.sets())
                .map_err(failed)?,
            hints: Hints::map(maps, sizes).map_err(failed)?,
            second: false,
            hints_suffice: true,
            taken: Vec::new(),
            made: 0,
            wakeup: remote.wakeup().into(),
        })
    }

    /// Whether the rows should be taken if `made` rows were made so far.
    pub(super) fn is_due(&self, made: u64) -> bool {
        made - self.made >= self.wakeup
    }

    /// The threads are about to be read. From the next [`take`](Self::take) on, each event says that
    /// its thread is to be shown again.
    pub(super) fn begin_sample(&mut self) {
        self.hints_suffice = false;
    }

    /// The threads have been read.
    pub(super) fn end_sample(&mut self, maps: &mut NetatopMaps<'_>) {
        self.hints_suffice = true;
        shared::set_rows_state(maps, self.second, true);
    }

    /// Lets the programs count elsewhere, and takes all rows from where they counted.
    pub(super) fn take(&mut self, maps: &mut NetatopMaps<'_>, made: u64) -> Result<(), Error> {
        let second = self.second;
        shared::set_rows_taken(maps, made);
        shared::set_rows_state(maps, !second, self.hints_suffice);
        // The call returns when no program uses the old state any more, either.
        exchange(&maps.current_rows, hashed(maps, !second))?;
        self.second = !second;
        self.made = made;
        if !self.hints_suffice {
            shared::forget_noted(maps);
        }
        let used = shared::take_rows_used(maps, second);
        self.hints.empty(second, &self.sets);
        self.sets.take(second, used, &mut self.taken);
        take_all(hashed(maps, second), &mut self.taken, row)
    }

    /// Returns what was taken.
    pub(super) fn taken(&mut self) -> Vec<RemoteRecord> {
        mem::take(&mut self.taken)
    }
}

/// One of the two hash maps.
fn hashed<'m, 'o>(maps: &'m NetatopMaps<'o>, second: bool) -> &'m MapMut<'o> {
    if second {
        &maps.second_rows
    } else {
        &maps.first_rows
    }
}

/// Gives the programs another hash map of rows. When it returns, no program uses the replaced map any
/// more.
pub(super) fn exchange<M: MapCore + AsFd>(current: &M, next: &M) -> Result<(), Error> {
    let fd = next.as_fd().as_raw_fd().to_ne_bytes();
    let exchanged = current.update(&0u32.to_ne_bytes(), &fd, MapFlags::ANY);
    exchanged.map_err(|error| Error::failed("the rows could not be read", error))
}

/// Takes all rows of a hash map that no program uses.
pub(super) fn take_all<M: MapCore, T>(
    full: &M,
    taken: &mut Vec<T>,
    decode: fn(&[u8], &[u8]) -> Option<T>,
) -> Result<(), Error> {
    // A batch ends before a bucket that does not fit, and the iterator takes a batch that is not
    // full for the last one. It also hides errors.
    loop {
        let before = taken.len();
        let rows = full
            .lookup_and_delete_batch(BATCH, MapFlags::ANY, MapFlags::ANY)
            .map_err(|error| Error::failed("the rows could not be read", error))?;
        taken.extend(rows.filter_map(|(key, value)| decode(&key, &value)));
        if taken.len() == before {
            break;
        }
    }
    if full.keys().next().is_some() {
        return Err(Error::Failed(
            "the rows could not be read completely".to_owned(),
        ));
    }
    Ok(())
}

impl RemoteRows {
    /// Rows are taken when this many were made.
    fn wakeup(&self) -> u32 {
        (self.rows / 4).max(1)
    }

    /// Number of row sets in a half: a power of two.
    pub(super) fn sets(&self) -> u32 {
        (self.rows / ROWS_PER_SET).next_power_of_two().min(MAX_SETS)
    }

    /// Number of rows in a half that sets lead to.
    pub(super) fn set_rows(&self) -> u32 {
        let in_set = types::row_set::default().word.len();
        self.sets() * u32::try_from(in_set).unwrap_or(u32::MAX)
    }

    /// Writes the settings into the programs' constants.
    pub(super) fn write_to(&self, raw: &mut types::remote_settings) {
        let mode = match self.mode {
            RemoteMode::Address => types::remote_mode::REMOTE_ADDRESS,
            RemoteMode::Service => types::remote_mode::REMOTE_SERVICE,
            RemoteMode::Socket => types::remote_mode::REMOTE_SOCKET,
        };
        raw.mode = mode;
        raw.threads = u32::from(self.threads);
        raw.host_netns = self.host_netns;
        raw.wakeup = self.wakeup();
        raw.sets_mask = self.sets() - 1;
        let hints = HintSizes::of_host();
        raw.hints_mask = hints.of_cpu - 1;
        raw.hints_half = hints.half;
    }
}
