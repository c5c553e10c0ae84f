//! The attached programs, and samples of what they count.

use std::cell::RefCell;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use libbpf_rs::{MapCore, MapFlags, PrintLevel, RingBuffer};

use super::attach::{Counting, Links, attach, programs, udp_ends};
use super::commands::{self, Commands};
use super::decode;
use super::facts::HostFacts;
use super::iter::{READ_BYTES, read_records};
use super::kind::TracepointKind;
use super::liveness;
use super::load::{Storage, load};
use super::misses::recursion_misses;
use super::refusal::refused;
use super::requirements::missing;
use super::ring;
use super::rows::Rows;
use super::sampling::{MAX_ATTEMPTS, SampleParts, Sampling};
use super::setup::{Capacity, Filter};
use super::shared;
use super::skel::{NetatopSkel, types};
use super::snapshot::Snapshot;
use super::socket_walk::SocketWalk;
use super::tcp::{self, Accounts};
use super::udp_ends::{UdpEnds, functions};
use super::unslotted::UnslottedBlocks;
use crate::error::Error;
use crate::model::{
    CgroupChange, CommandChange, Extent, Losses, ProcessId, RemoteRecord, TcpRecord, ThreadRecord,
};
use crate::source::{Sample, Source};
use crate::text::to_stderr_raw;

/// The attached programs. Dropping it detaches them and leaves nothing behind.
pub struct Tracer<'a> {
    // The links are dropped first: detached programs write no more records.
    links: Links,
    /// TCP's own account, if it is recorded.
    accounts: Option<Accounts>,
    /// Command lines, if rows need them.
    commands: Option<Commands>,
    ring: RingBuffer<'a>,
    skel: NetatopSkel<'a>,
    kind: TracepointKind,
    tracked: bool,
    counting: Counting,
    udp_ends: UdpEnds,
    exits: Rc<RefCell<Vec<ThreadRecord>>>,
    cgroups: Rc<RefCell<Vec<CgroupChange>>>,
    buffer: Vec<u8>,
    /// Number of exit records taken from the ring buffer so far.
    from_ring: u64,
    /// Number of records ever put into the overflow map, when the map was last found empty.
    overflow_total: u64,
    sampling: Sampling,
    /// Number of records in the last snapshot.
    expected: usize,
    snapshot: Snapshot,
    /// The rows of remote ends, if they are counted.
    rows: Option<Rows>,
}

/// Writes libbpf's own messages to standard error, or suppresses them.
pub fn libbpf_messages(show: bool) {
    let print: fn(PrintLevel, String) = |_, message| to_stderr_raw(&message);
    libbpf_rs::set_print(show.then_some((PrintLevel::Debug, print)));
}

impl<'a> Tracer<'a> {
    /// Checks the host, then loads and attaches the programs of the kind that is best for it.
    /// Counting has begun when this returns.
    ///
    /// # Errors
    ///
    /// If a requirement is missing (with its remedy), or if the kernel refuses the programs.
    pub fn attach(
        storage: &'a mut Storage,
        capacity: Capacity,
        filter: &Filter,
    ) -> Result<Self, Error> {
        Self::attach_to(storage, capacity, filter, &HostFacts::gather())
    }

    /// As [`Tracer::attach`], with facts that were gathered before.
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

    /// As [`Tracer::attach`], with programs of this kind, and without checking the requirements.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the programs.
    pub fn attach_kind(
        storage: &'a mut Storage,
        capacity: Capacity,
        filter: &Filter,
        kind: TracepointKind,
    ) -> Result<Self, Error> {
        let (skel, walk) = load(storage, capacity, filter, kind)?;
        let exits = Rc::new(RefCell::new(Vec::new()));
        let cgroups = Rc::new(RefCell::new(Vec::new()));
        let (exits_to, cgroups_to) = (Rc::clone(&exits), Rc::clone(&cgroups));
        let (ring, mut commands) = ring::open(&skel, capacity, kind, exits_to, cgroups_to)
            .map_err(|error| refused("open the ring buffers", &error))?;
        let snapshot = Snapshot::map(&skel.maps)
            .map_err(|error| Error::failed("the memory of the programs", error))?;
        let rows = capacity
            .remote
            .map(|remote| Rows::new(remote, &skel.maps))
            .transpose()?;
        // Before the programs that count, so that whoever is counted has a command line.
        if let Some(commands) = &mut commands {
            let attached = commands.attach(&skel);
            attached.map_err(|error| refused("attach the programs", &error))?;
        }
        let links = attach(&skel, filter, kind, capacity)?;
        let accounts = capacity
            .tcp
            .zip(walk)
            .map(|(rows, walk)| Accounts::attach(&skel, rows, walk))
            .transpose()
            .map_err(|error| refused("attach the programs", &error))?;
        Ok(Self {
            links,
            accounts,
            commands,
            ring,
            skel,
            kind,
            tracked: filter.is_tracked(),
            counting: Counting::of(capacity, filter, kind),
            udp_ends: udp_ends(capacity, filter),
            exits,
            cgroups,
            buffer: vec![0; READ_BYTES],
            overflow_total: 0,
            from_ring: 0,
            sampling: Sampling::default(),
            expected: 0,
            snapshot,
            rows,
        })
    }

    /// How living sockets are found for TCP's own account. `None` if it is not recorded.
    #[must_use]
    pub fn socket_walk(&self) -> Option<SocketWalk> {
        self.accounts.as_ref().map(Accounts::walk)
    }

    /// Takes the rows of remote ends, if they are counted. Without `always`, only if there are many.
    fn take_rows(&mut self, always: bool) -> Result<(), Error> {
        if self.rows.is_none() {
            return Ok(());
        }
        let made = self.raw_losses()?.rows_made;
        match &mut self.rows {
            Some(rows) if always || rows.is_due(made) => rows.take(&mut self.skel.maps, made),
            _ => Ok(()),
        }
    }

    fn raw_losses(&self) -> Result<types::losses, Error> {
        shared::losses(&self.skel.maps)
            .ok_or_else(|| Error::Failed("the loss counters could not be read".to_owned()))
    }

    /// Counts the blocks of threads that found no free slot.
    ///
    /// # Errors
    ///
    /// If the programs' memory cannot be read.
    pub fn unslotted(&self) -> Result<UnslottedBlocks, Error> {
        Ok(UnslottedBlocks::of(&self.raw_losses()?))
    }

    fn progress(&self) -> Result<Progress, Error> {
        let raw = self.raw_losses()?;
        Ok(Progress {
            overflow_total: raw.overflowed,
            to_ring: raw.to_ring,
            unslotted: UnslottedBlocks::of(&raw).living(),
        })
    }

    /// How often the kernel skipped a program because that program (with classic tracepoints: any
    /// program) was already running on the CPU.
    fn missed_events(&self) -> Result<u64, Error> {
        let with_tcp = self.accounts.is_some();
        let progs = &self.skel.progs;
        programs(progs, self.kind, self.tracked, self.counting, with_tcp)
            .into_iter()
            .map(|program| recursion_misses(program.as_fd()))
            .sum()
    }

    /// The same for the programs that tell the remote ends of unconnected UDP.
    fn missed_ends(&self) -> Result<u64, Error> {
        if self.udp_ends != UdpEnds::Functions {
            return Ok(0);
        }
        functions(&self.skel.progs)
            .iter()
            .map(|program| recursion_misses(program.as_fd()))
            .sum()
    }

    /// Takes the records in the ring buffer, up to the first one that is still being written.
    fn drain_ring(&mut self) -> Result<(), Error> {
        let before = self.exits.borrow().len();
        self.ring
            .consume()
            .map_err(|error| Error::failed("the exit records could not be read", error))?;
        self.from_ring += (self.exits.borrow().len() - before) as u64;
        Ok(())
    }

    /// Takes the records in the overflow map, if `overflow_total` has grown. The call can be
    /// repeated after an error.
    fn drain_overflow(&mut self, overflow_total: u64) -> libbpf_rs::Result<()> {
        if overflow_total == self.overflow_total {
            return Ok(());
        }
        let map = &self.skel.maps.overflow;
        let mut exits = self.exits.borrow_mut();
        // Each batch starts at the first key. From the middle of an LPM trie, the kernel needs
        // memory to continue, and it can skip keys when another one is inserted meanwhile. Neither
        // happens at the first key. The number of batches is limited, because a storm of exits can
        // be faster than this loop.
        for _ in 0..=2 * map.max_entries() / OVERFLOW_KEYS {
            let keys: Vec<_> = map.keys().take(OVERFLOW_KEYS as usize).collect();
            if keys.is_empty() {
                self.overflow_total = overflow_total;
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

/// Totals that show which exit records are still to be read.
struct Progress {
    overflow_total: u64,
    to_ring: u64,
    /// Blocks of living threads that are not in slots.
    unslotted: u64,
}

/// Number of records taken from the overflow map in one batch.
const OVERFLOW_KEYS: u32 = 1024;

impl SampleParts for Tracer<'_> {
    fn remotes(&mut self) -> Result<Vec<RemoteRecord>, Error> {
        if let Some(rows) = &mut self.rows {
            rows.begin_sample();
        }
        self.take_rows(true)?;
        Ok(self.rows.as_mut().map(Rows::taken).unwrap_or_default())
    }

    fn tcp(&mut self) -> Result<Vec<TcpRecord>, Error> {
        match &mut self.accounts {
            Some(accounts) => accounts.sample(&mut self.skel.maps),
            None => Ok(Vec::new()),
        }
    }

    fn living(&mut self, extent: Extent) -> Result<Vec<ThreadRecord>, Error> {
        let mut records = Vec::with_capacity(self.expected);
        self.snapshot.read(&mut self.skel, extent, &mut records)?;
        // Iterating over all tasks is expensive. It is only needed for threads without a slot.
        if self.progress()?.unslotted > 0 {
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
        let of_tcp = tcp::losses(&self.skel.maps)?;
        let mut losses = Losses {
            no_memory: decode::counters(&raw.no_memory),
            exits: decode::counters(&raw.exits),
            no_task: decode::counters(&raw.no_task),
            exits_lost: raw.exits_lost,
            exits_losing: raw.exits_losing,
            untracked: raw.untracked,
            cgroups: raw.cgroups,
            remote_unknown: raw.remote_unknown,
            remote_full: raw.remote_full,
            remote_missed: self.missed_ends()?,
            unmatched_msgs: raw.unmatched_msgs,
            unmatched_bytes: raw.unmatched_bytes,
            undecided_msgs: raw.undecided_msgs,
            undecided_bytes: raw.undecided_bytes,
            undecided_cgroups: raw.undecided_cgroups,
            missed_events: self.missed_events()?,
            tcp_unattributed: tcp::tcp(&of_tcp.unattributed),
            tcp_no_row: of_tcp.no_row,
            tcp_no_account: of_tcp.no_account,
            tcp_unseen: self.accounts.as_ref().map_or(0, Accounts::unseen),
            ..Losses::default()
        };
        if let Some(commands) = &self.commands {
            commands.add_losses(&self.skel, &mut losses)?;
        }
        Ok(losses)
    }
}

impl Source for Tracer<'_> {
    fn sample(&mut self, extent: Extent) -> Result<Sample, Error> {
        let mut sampling = mem::take(&mut self.sampling);
        let sample = sampling.take(self, extent, MAX_ATTEMPTS);
        self.sampling = sampling;
        if let (Some(rows), Ok(_)) = (&mut self.rows, &sample) {
            rows.end_sample(&mut self.skel.maps);
        }
        sample
    }

    fn drain(&mut self) -> Result<Vec<ThreadRecord>, Error> {
        self.take_rows(false)?;
        if let Some(accounts) = &mut self.accounts {
            accounts.take(&mut self.skel.maps, false)?;
        }
        let mut attempts = 0;
        loop {
            let progress = self.progress()?;
            let commands = commands::to_read(&self.skel.maps)?.to_ring;
            self.drain_ring()?;
            let overflow = self.drain_overflow(progress.overflow_total);
            let has_commands = self.commands.as_ref().is_none_or(|c| c.has_taken(commands));
            let is_done = self.from_ring >= progress.to_ring && has_commands;
            attempts += 1;
            if (overflow.is_ok() && is_done) || attempts == MAX_ATTEMPTS {
                overflow
                    .map_err(|error| Error::failed("the overflow map could not be read", error))?;
                return Ok(mem::take(&mut *self.exits.borrow_mut()));
            }
            std::thread::yield_now();
        }
    }

    fn cgroups(&mut self) -> Vec<CgroupChange> {
        mem::take(&mut *self.cgroups.borrow_mut())
    }

    fn commands(&mut self) -> Vec<CommandChange> {
        self.commands
            .as_mut()
            .map(Commands::take)
            .unwrap_or_default()
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: libbpf closes the descriptor when the ring buffer is freed. `self` owns the ring
        // buffer, and the returned borrow ends before `self` does.
        Some(unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) })
    }

    fn is_alive(&self, process: ProcessId) -> bool {
        liveness::is_alive(process)
    }

    fn is_reused(&self, process: ProcessId) -> bool {
        liveness::is_reused(process)
    }
}
