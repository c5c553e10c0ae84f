//! The attached programs, and samples of what they count.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::rc::Rc;

use libbpf_rs::{MapCore, MapFlags, PrintLevel, RingBuffer, RingBufferBuilder, libbpf_sys};

use super::attach::{Links, Storage, attach, load, programs, refused};
use super::decode;
use super::facts::HostFacts;
use super::iter::{READ_BYTES, read_records};
use super::kind::TracepointKind;
use super::liveness;
use super::requirements::missing;
use super::sampling::{SampleParts, Sampling, TRIES};
use super::setup::{Capacity, Filter};
use super::shared;
use super::skel::{NetatopSkel, types};
use crate::error::Error;
use crate::model::{CgroupChange, Extent, Losses, ProcessId, ThreadRecord};
use crate::source::{Sample, Source};
use crate::text::to_stderr_raw;

/// The attached programs. Dropping it detaches them and leaves nothing behind.
pub struct Tracer<'a> {
    // The links go first: what is detached writes no more records.
    links: Links,
    ring: RingBuffer<'a>,
    skel: NetatopSkel<'a>,
    kind: TracepointKind,
    tracked: bool,
    exits: Rc<RefCell<Vec<ThreadRecord>>>,
    cgroups: Rc<RefCell<Vec<CgroupChange>>>,
    buffer: Vec<u8>,
    /// Exit records taken from the ring so far.
    from_ring: u64,
    /// How many there had been in the overflow table when it was last found empty.
    overflowed: u64,
    sampling: Sampling,
    /// How many records the last look had.
    expected: usize,
    /// How much the programs show that look at the slots.
    extent: Extent,
}

/// Lets libbpf's own messages through to standard error, or not.
pub fn libbpf_messages(show: bool) {
    let print: fn(PrintLevel, String) = |_, message| to_stderr_raw(&message);
    libbpf_rs::set_print(show.then_some((PrintLevel::Debug, print)));
}

impl<'a> Tracer<'a> {
    /// Checks the host, loads the programs of the kind that is best for it, and attaches them.
    /// Counting has begun when it returns.
    ///
    /// # Errors
    ///
    /// With what is missing on this host and the way out, or with what the kernel refused.
    pub fn attach(
        storage: &'a mut Storage,
        capacity: Capacity,
        filter: &Filter,
    ) -> Result<Self, Error> {
        Self::attach_to(storage, capacity, filter, &HostFacts::gather())
    }

    /// The same on a host that has been looked at.
    ///
    /// # Errors
    ///
    /// As [`Tracer::attach`].
    pub fn attach_to(
        storage: &'a mut Storage,
        capacity: Capacity,
        filter: &Filter,
        facts: &HostFacts,
    ) -> Result<Self, Error> {
        if let Some(cause) = missing(facts) {
            return Err(Error::Failed(cause));
        }
        Self::attach_kind(storage, capacity, filter, TracepointKind::for_host(facts))
    }

    /// The same, with programs of this kind and without asking first what the host lacks.
    ///
    /// # Errors
    ///
    /// With what the kernel refused.
    pub fn attach_kind(
        storage: &'a mut Storage,
        capacity: Capacity,
        filter: &Filter,
        kind: TracepointKind,
    ) -> Result<Self, Error> {
        let skel = load(storage, capacity, filter, kind)?;
        let exits = Rc::new(RefCell::new(Vec::new()));
        let cgroups = Rc::new(RefCell::new(Vec::new()));
        let has_cgroups = capacity.cgroup_bytes > 0;
        let ring = ring(
            &skel,
            Rc::clone(&exits),
            has_cgroups.then(|| Rc::clone(&cgroups)),
        )
        .map_err(|error| refused("open the ring buffers", &error))?;
        Ok(Self {
            links: attach(&skel, filter, kind, has_cgroups)?,
            ring,
            skel,
            kind,
            tracked: filter.is_tracked(),
            exits,
            cgroups,
            buffer: vec![0; READ_BYTES],
            overflowed: 0,
            from_ring: 0,
            sampling: Sampling::default(),
            expected: 0,
            extent: Extent::Changes,
        })
    }

    fn raw_losses(&self) -> Result<types::losses, Error> {
        shared::losses(&self.skel.maps)
            .ok_or_else(|| Error::Failed("the loss counters could not be read".to_owned()))
    }

    /// Where threads went that found no slot.
    ///
    /// # Errors
    ///
    /// If the programs' memory cannot be read.
    pub fn outside(&self) -> Result<UnslottedBlocks, Error> {
        Ok(UnslottedBlocks::of(&self.raw_losses()?))
    }

    fn progress(&self) -> Result<Progress, Error> {
        let raw = self.raw_losses()?;
        Ok(Progress {
            overflowed: raw.overflowed,
            to_ring: raw.to_ring,
            outside: UnslottedBlocks::of(&raw).left(),
        })
    }

    /// Has the next look at the slots show so much.
    fn show(&mut self, extent: Extent) -> Result<(), Error> {
        if extent != self.extent {
            if !shared::set_dump_all(&mut self.skel.maps, extent == Extent::All) {
                return Err(Error::Failed("the programs could not be told".to_owned()));
            }
            self.extent = extent;
        }
        Ok(())
    }

    /// How often the kernel left a program out, because it or, with classic tracepoints, any
    /// other was running already.
    fn missed_events(&self) -> Result<u64, Error> {
        programs(&self.skel.progs, self.kind, self.tracked)
            .iter()
            .map(|program| recursion_misses(program.as_fd()))
            .sum()
    }

    /// Takes the records in the ring, but those behind one that is still being written.
    fn drain_ring(&mut self) -> Result<(), Error> {
        let before = self.exits.borrow().len();
        self.ring
            .consume()
            .map_err(|error| Error::failed("the exit records could not be read", error))?;
        self.from_ring += (self.exits.borrow().len() - before) as u64;
        Ok(())
    }

    /// Takes the records behind the full ring, if there were `overflowed` by now. What fails
    /// may be tried again.
    fn drain_overflow(&mut self, overflowed: u64) -> libbpf_rs::Result<()> {
        if overflowed == self.overflowed {
            return Ok(());
        }
        let map = &self.skel.maps.overflow;
        let mut exits = self.exits.borrow_mut();
        // Always from the front. In the midst of a trie the kernel needs memory to go on, and
        // may leave some out where another was put in meanwhile; at its front, neither. Not for
        // ever: a storm may be faster.
        for _ in 0..=2 * map.max_entries() / OVERFLOW_KEYS {
            let keys: Vec<_> = map.keys().take(OVERFLOW_KEYS as usize).collect();
            if keys.is_empty() {
                self.overflowed = overflowed;
                break;
            }
            for key in keys {
                let value = map.lookup(&key, MapFlags::ANY)?;
                map.delete(&key)?;
                exits.extend(value.and_then(|bytes| decode::thread_record(&bytes)));
            }
        }
        Ok(())
    }
}

/// Blocks of threads that found no slot, since counting began. Totals only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnslottedBlocks {
    /// Put into task storage.
    pub stored: u64,
    /// Put into the spare table, since there was no memory.
    pub spared: u64,
    /// Those of both whose threads have ended.
    pub gone: u64,
}

impl UnslottedBlocks {
    fn of(raw: &types::losses) -> Self {
        Self {
            stored: raw.stored,
            spared: raw.spared,
            gone: raw.outside_gone,
        }
    }

    /// Those of living threads.
    fn left(self) -> u64 {
        (self.stored + self.spared).saturating_sub(self.gone)
    }
}

/// How the exit records are getting on.
struct Progress {
    overflowed: u64,
    to_ring: u64,
    /// Blocks that are not in slots.
    outside: u64,
}

/// How many records of the overflow table are taken in one go.
const OVERFLOW_KEYS: u32 = 1024;

/// How often the kernel left out this program, as `struct bpf_prog_info` tells (bpf(2)).
fn recursion_misses(program: BorrowedFd<'_>) -> Result<u64, Error> {
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

fn ring<'a>(
    skel: &NetatopSkel<'_>,
    exits: Rc<RefCell<Vec<ThreadRecord>>>,
    cgroups: Option<Rc<RefCell<Vec<CgroupChange>>>>,
) -> libbpf_rs::Result<RingBuffer<'a>> {
    let mut builder = RingBufferBuilder::new();
    builder.add(&skel.maps.exits, move |bytes| {
        exits.borrow_mut().extend(decode::thread_record(bytes));
        0
    })?;
    if let Some(cgroups) = cgroups {
        builder.add(&skel.maps.cgroups, move |bytes| {
            cgroups.borrow_mut().extend(decode::cgroup(bytes));
            0
        })?;
    }
    builder.build()
}

impl SampleParts for Tracer<'_> {
    fn living(&mut self, extent: Extent) -> Result<Vec<ThreadRecord>, Error> {
        self.show(extent)?;
        let mut records = Vec::with_capacity(self.expected);
        read_records(&self.links.dump_slots, &mut self.buffer, &mut records)?;
        // Going to every task is for those few that found no slot, if there are any.
        if self.progress()?.outside > 0 {
            read_records(&self.links.dump_tasks, &mut self.buffer, &mut records)?;
        }
        self.expected = records.len();
        Ok(records)
    }

    fn exited(&mut self) -> Result<Vec<ThreadRecord>, Error> {
        self.drain()
    }

    fn losses(&mut self) -> Result<Losses, Error> {
        let raw = self.raw_losses()?;
        Ok(Losses {
            no_memory: decode::counters(&raw.no_memory),
            exits: decode::counters(&raw.exits),
            no_task: decode::counters(&raw.no_task),
            exits_lost: raw.exits_lost,
            exits_losing: raw.exits_losing,
            untracked: raw.untracked,
            cgroups: raw.cgroups,
            missed_events: self.missed_events()?,
        })
    }
}

impl Source for Tracer<'_> {
    fn sample(&mut self, extent: Extent) -> Result<Sample, Error> {
        let mut sampling = mem::take(&mut self.sampling);
        let sample = sampling.take(self, extent, TRIES);
        self.sampling = sampling;
        sample
    }

    fn drain(&mut self) -> Result<Vec<ThreadRecord>, Error> {
        let mut tries = 0;
        loop {
            let progress = self.progress()?;
            self.drain_ring()?;
            let overflow = self.drain_overflow(progress.overflowed);
            tries += 1;
            if (overflow.is_ok() && self.from_ring >= progress.to_ring) || tries == TRIES {
                overflow.map_err(|error| {
                    Error::failed("the overflow table could not be read", error)
                })?;
                return Ok(mem::take(&mut *self.exits.borrow_mut()));
            }
            std::thread::yield_now();
        }
    }

    fn cgroups(&mut self) -> Vec<CgroupChange> {
        mem::take(&mut *self.cgroups.borrow_mut())
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: libbpf closes the descriptor when the ring is freed, and the borrow ends
        // before that since it is one of `self`, which owns the ring.
        Some(unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) })
    }

    fn is_alive(&self, process: ProcessId) -> bool {
        liveness::is_alive(process)
    }

    fn is_reused(&self, process: ProcessId) -> bool {
        liveness::is_reused(process)
    }
}
