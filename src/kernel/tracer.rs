//! Loads and attaches the programs, and takes samples of what they count.

use std::cell::RefCell;
use std::fs;
use std::io::Read;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::rc::Rc;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{
    Iter, Link, MapCore, MapFlags, OpenObject, PrintLevel, RingBuffer, RingBufferBuilder,
};

use super::decode::{self, RECORD_SIZE};
use super::host::HostFacts;
use super::liveness;
use super::requirements::missing;
use super::sampling::{Parts, Sampling, TRIES};
use super::setup::{Capacity, Filter};
use super::skel::{NetatopSkel, NetatopSkelBuilder};
use crate::error::{Error, tell_raw};
use crate::model::{Extent, Losses, ProcessId, ThreadRecord};
use crate::source::{Sample, Source};

/// Room for the loaded object; it has to outlive the [`Tracer`] made from it.
#[derive(Default)]
pub struct Storage(Option<Box<MaybeUninit<OpenObject>>>);

/// The attached programs. Dropping it detaches them and leaves nothing behind.
pub struct Tracer<'a> {
    // The links go first: what is detached writes no more records.
    _events: Vec<Link>,
    dump_slots: Link,
    dump_tasks: Link,
    ring: RingBuffer<'a>,
    skel: NetatopSkel<'a>,
    exits: Rc<RefCell<Vec<ThreadRecord>>>,
    buffer: Vec<u8>,
    overflowed: u64,
    /// Exit records taken so far.
    received: u64,
    sampling: Sampling,
    /// How many records the last look had.
    expected: usize,
    /// How much the programs show that look at the slots.
    extent: Extent,
}

/// Lets libbpf's own messages through to standard error, or not.
pub fn libbpf_messages(show: bool) {
    let print: fn(PrintLevel, String) = |_, message| tell_raw(&message);
    libbpf_rs::set_print(show.then_some((PrintLevel::Debug, print)));
}

/// What is left to say when the kernel refuses although nothing was found missing.
fn refused(what: &str, error: &libbpf_rs::Error) -> Error {
    Error::Failed(format!(
        "the kernel refused to {what}: {error:#}\n\
         --verbose shows libbpf's own messages, and the kernel's log may say more"
    ))
}

impl<'a> Tracer<'a> {
    /// Checks the host, loads the programs and attaches them. Counting has begun when it
    /// returns.
    ///
    /// # Errors
    ///
    /// With what is missing on this host and the way out, or with what the kernel refused.
    pub fn attach(
        storage: &'a mut Storage,
        capacity: Capacity,
        filter: &Filter,
    ) -> Result<Self, Error> {
        if let Some(cause) = missing(&HostFacts::gather()) {
            return Err(Error::Failed(cause));
        }
        let object = storage.0.insert(Box::new(MaybeUninit::uninit()));
        let mut open = NetatopSkelBuilder::default()
            .open(object)
            .map_err(|error| refused("open the programs", &error))?;
        let maps = &mut open.maps;
        maps.exits
            .set_max_entries(capacity.ring_bytes)
            .and_then(|()| maps.slots.set_max_entries(capacity.slot_sets()))
            .and_then(|()| maps.overflow.set_max_entries(capacity.overflow))
            .and_then(|()| maps.spare.set_max_entries(capacity.spare))
            .and_then(|()| maps.wanted.set_max_entries(filter.wanted_entries()))
            .map_err(|error| refused("size the maps", &error))?;
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            // Early enough to be there before it is full, late enough to be rare.
            rodata.ring_wakeup = u64::from(capacity.ring_bytes / 4);
            rodata.slot_sets_mask = capacity.slot_sets() - 1;
            filter.write_to(&mut rodata.filter);
        }
        let tracked = !filter.pids.is_empty();
        open.progs.on_newtask.set_autoload(tracked);
        open.progs.mark.set_autoload(tracked);
        let skel = open
            .load()
            .map_err(|error| refused("load the programs", &error))?;

        let exits = Rc::new(RefCell::new(Vec::new()));
        let ring =
            ring(&skel, Rc::clone(&exits)).map_err(|error| refused("open the ring", &error))?;
        let attach = |result: libbpf_rs::Result<Link>| {
            result.map_err(|error| refused("attach the programs", &error))
        };
        let dump_slots = attach(skel.progs.dump_slots.attach_iter(skel.maps.slots.as_fd()))?;
        let dump_tasks = attach(skel.progs.dump_tasks.attach())?;
        // Exits first: a thread that is counted must not end unseen.
        let mut events = vec![attach(skel.progs.on_exit.attach())?];
        if tracked {
            events.push(attach(skel.progs.on_newtask.attach())?);
            mark(&skel, &filter.pids).map_err(|error| refused("mark the processes", &error))?;
        }
        events.push(attach(skel.progs.on_send.attach())?);
        events.push(attach(skel.progs.on_recv.attach())?);
        Ok(Self {
            _events: events,
            dump_slots,
            dump_tasks,
            ring,
            skel,
            exits,
            buffer: vec![0; READ_BYTES],
            overflowed: 0,
            received: 0,
            sampling: Sampling::default(),
            expected: 0,
            extent: Extent::Changes,
        })
    }

    fn progress(&self) -> Result<(Losses, Progress), Error> {
        let failed = || Error::Failed("the loss counters could not be read".to_owned());
        let bss = self
            .skel
            .maps
            .bss
            .lookup(&0u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| Error::failed("the loss counters could not be read", error))?
            .ok_or_else(failed)?;
        let raw = decode::losses(&bss).ok_or_else(failed)?;
        let losses = Losses {
            no_memory: decode::counters(&raw.no_memory),
            exits: decode::counters(&raw.exits),
            no_task: decode::counters(&raw.no_task),
            exits_lost: raw.exits_lost,
            untracked: raw.untracked,
            missed_events: self.missed_events(),
        };
        let progress = Progress {
            overflowed: raw.overflowed,
            handed_over: raw.handed_over,
            outside: (raw.stored + raw.spared).saturating_sub(raw.outside_gone),
        };
        Ok((losses, progress))
    }

    /// Has the next look at the slots show so much.
    fn show(&mut self, extent: Extent) -> Result<(), Error> {
        if extent != self.extent {
            let all = u32::from(extent == Extent::All);
            self.skel
                .maps
                .data_dump
                .update(&0u32.to_ne_bytes(), &all.to_ne_bytes(), MapFlags::ANY)
                .map_err(|error| Error::failed("the programs could not be told", error))?;
            self.extent = extent;
        }
        Ok(())
    }

    /// How often the kernel could not run a program because it was running already.
    fn missed_events(&self) -> u64 {
        let progs = &self.skel.progs;
        [&progs.on_send, &progs.on_recv, &progs.on_exit]
            .iter()
            .filter_map(|program| {
                let fd = program.as_fd().as_raw_fd();
                let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
                recursion_misses(&info)
            })
            .sum()
    }

    /// Takes the records behind the full ring, if any were put there.
    fn drain_overflow(&mut self, overflowed: u64) -> Result<(), Error> {
        if overflowed == self.overflowed {
            return Ok(());
        }
        self.overflowed = overflowed;
        let map = &self.skel.maps.overflow;
        let mut exits = self.exits.borrow_mut();
        let keys: Vec<_> = map.keys().collect();
        for key in keys {
            let value = map
                .lookup_and_delete(&key)
                .map_err(|error| Error::failed("the overflow table could not be read", error))?;
            exits.extend(value.and_then(|bytes| decode::thread_record(&bytes)));
        }
        Ok(())
    }
}

/// How the exit records are getting on.
struct Progress {
    overflowed: u64,
    handed_over: u64,
    /// Blocks that are not in slots.
    outside: u64,
}

/// What one read of the iterator can return at most (PAGE_SIZE << 3 in
/// kernel/bpf/bpf_iter.c), and room for the record that was cut by it.
const READ_BYTES: usize = 2 * (32 << 10);
/// The iterator's answer when it looked at a million tasks in vain.
const EAGAIN: i32 = rustix::io::Errno::AGAIN.raw_os_error();

/// Marks all threads of `pids`; those that they make meanwhile are marked as they come.
fn mark(skel: &NetatopSkel<'_>, pids: &[u32]) -> libbpf_rs::Result<()> {
    let wanted = &skel.maps.wanted;
    for pid in pids {
        wanted.update(&pid.to_ne_bytes(), &[0; 4], MapFlags::ANY)?;
    }
    let link = skel.progs.mark.attach()?;
    let mut iter = Iter::new(&link)?;
    // It prints nothing: what counts is that it has been everywhere.
    loop {
        match std::io::copy(&mut iter, &mut std::io::sink()) {
            Ok(_) => break,
            Err(error) if error.raw_os_error() == Some(EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for pid in pids {
        wanted.delete(&pid.to_ne_bytes())?;
    }
    Ok(())
}

/// Reads a program's fdinfo (kernel/bpf/syscall.c, bpf_prog_show_fdinfo).
pub(super) fn recursion_misses(fdinfo: &str) -> Option<u64> {
    let line = fdinfo
        .lines()
        .find_map(|l| l.strip_prefix("recursion_misses:"))?;
    line.trim().parse().ok()
}

fn ring<'a>(
    skel: &NetatopSkel<'_>,
    exits: Rc<RefCell<Vec<ThreadRecord>>>,
) -> libbpf_rs::Result<RingBuffer<'a>> {
    let mut builder = RingBufferBuilder::new();
    builder.add(&skel.maps.exits, move |bytes| {
        exits.borrow_mut().extend(decode::thread_record(bytes));
        0
    })?;
    builder.build()
}

/// Reads what the programs of an iterator write, to its end.
fn read_records(
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
            // After a million tasks in a row with nothing to say, it takes breath.
            Err(error) if error.raw_os_error() == Some(EAGAIN) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
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

impl Parts for Tracer<'_> {
    fn living(&mut self, extent: Extent) -> Result<Vec<ThreadRecord>, Error> {
        self.show(extent)?;
        let mut records = Vec::with_capacity(self.expected);
        read_records(&self.dump_slots, &mut self.buffer, &mut records)?;
        // Going to every task is for those few that found no slot, if there are any.
        if self.progress()?.1.outside > 0 {
            read_records(&self.dump_tasks, &mut self.buffer, &mut records)?;
        }
        self.expected = records.len();
        Ok(records)
    }

    fn exited(&mut self) -> Result<Vec<ThreadRecord>, Error> {
        self.drain()
    }

    fn losses(&mut self) -> Result<Losses, Error> {
        Ok(self.progress()?.0)
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
            let (_, progress) = self.progress()?;
            self.ring
                .consume()
                .map_err(|error| Error::failed("the exit records could not be read", error))?;
            self.drain_overflow(progress.overflowed)?;
            let waiting = self.exits.borrow().len() as u64;
            tries += 1;
            // One record that is being written hides those behind it in the ring.
            if self.received + waiting >= progress.handed_over || tries == TRIES {
                self.received += waiting;
                return Ok(mem::take(&mut *self.exits.borrow_mut()));
            }
            std::thread::yield_now();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_events_are_read_from_fdinfo() {
        let info = "pos:\t0\nrun_cnt:\t7\nrecursion_misses:\t12\nverified_insns:\t9\n";
        assert_eq!(recursion_misses(info), Some(12));
        assert_eq!(recursion_misses("pos:\t0\n"), None);
    }
}
