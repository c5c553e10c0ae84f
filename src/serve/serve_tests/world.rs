//! A simulated kernel for the tests of the server. It knows what every process did.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::error::Error;
use crate::model::{Comm, Counters, Extent, Losses, ProcessId, ThreadRecord};
use crate::source::{Sample, Source};

/// Processes that start, send and end.
#[derive(Default)]
pub(super) struct World {
    living: BTreeMap<u32, ThreadRecord>,
    exits: Vec<ThreadRecord>,
    /// Living processes whose threads with traffic have all ended.
    silent: BTreeSet<ProcessId>,
    blocks: u64,
    /// The counters in the last sample, by block.
    shown: BTreeMap<u64, Counters>,
    /// The losses to report with the next sample.
    pub(super) losses: Losses,
    /// The next sample fails.
    pub(super) broken: bool,
    /// Number of samples taken.
    pub(super) samples: u64,
    /// Whether the server is counting, and how often it began.
    pub(super) counting: bool,
    pub(super) begun: u32,
}

impl World {
    /// Starts a new process, with the number of its block as start time.
    pub(super) fn start(&mut self, pid: u32, uid: u32) -> ProcessId {
        self.blocks += 1;
        let process = ProcessId {
            pid,
            start: self.blocks,
        };
        let mut record = ThreadRecord::of_test(self.blocks, process, pid, Counters::default());
        record.identity.comm = Comm::new(format!("p{pid}").as_bytes());
        record.identity.uid = uid;
        record.identity.owner = Some(uid);
        self.living.insert(pid, record);
        process
    }

    pub(super) fn get(&mut self, pid: u32) -> &mut ThreadRecord {
        self.living.get_mut(&pid).expect("alive")
    }

    /// Sends one datagram.
    pub(super) fn send(&mut self, pid: u32, bytes: u64) {
        let record = self.get(pid);
        record.counters.udp_send_msgs += 1;
        record.counters.udp_send_bytes += bytes;
    }

    pub(super) fn exit(&mut self, pid: u32) {
        let mut record = self.living.remove(&pid).expect("alive");
        record.exited = true;
        record.group_dead = true;
        if !record.counters.is_zero() {
            self.exits.push(record);
        }
    }

    /// Ends the process's only thread with traffic. The process lives until `end_silent`.
    pub(super) fn fall_silent(&mut self, pid: u32) -> ProcessId {
        let mut record = self.living.remove(&pid).expect("alive");
        record.exited = true;
        self.exits.push(record);
        self.silent.insert(record.identity.process);
        record.identity.process
    }

    pub(super) fn end_silent(&mut self, process: ProcessId) {
        self.silent.remove(&process);
    }

    pub(super) fn alive(&self, pid: u32) -> Option<ThreadRecord> {
        self.living.get(&pid).copied()
    }
}

/// The world as a source, shared with the test.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no test panicked with it")
    }
}

impl Source for Shared {
    fn sample(&mut self, extent: Extent) -> Result<Sample, Error> {
        let mut world = self.lock();
        world.samples += 1;
        if std::mem::take(&mut world.broken) {
            return Err(Error::Failed("broken on purpose".to_owned()));
        }
        let news = |r: &&ThreadRecord| {
            !r.counters.is_zero()
                && (extent == Extent::All || world.shown.get(&r.block) != Some(&r.counters))
        };
        let living: Vec<_> = world.living.values().filter(news).copied().collect();
        let shown = living.iter().map(|r| (r.block, r.counters));
        world.shown.extend(shown);
        Ok(Sample {
            remotes: Vec::new(),
            tcp: Vec::new(),
            living,
            extent,
            exits: std::mem::take(&mut world.exits),
            losses: world.losses,
        })
    }

    fn drain(&mut self) -> Result<Vec<ThreadRecord>, Error> {
        Ok(std::mem::take(&mut self.lock().exits))
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn is_alive(&self, process: ProcessId) -> bool {
        let world = self.lock();
        let same = |record: ThreadRecord| record.identity.process == process;
        world.alive(process.pid).is_some_and(same) || world.silent.contains(&process)
    }

    fn is_reused(&self, process: ProcessId) -> bool {
        let other = |record: ThreadRecord| record.identity.process != process;
        self.lock().alive(process.pid).is_some_and(other)
    }
}

/// Parses a reply into pid, messages and bytes.
pub(super) fn parse(reply: &[u8]) -> Vec<(u32, u64, u64)> {
    assert_eq!(reply.len() % 96, 0);
    let number = |record: &[u8], at: usize| {
        u64::from_ne_bytes(record[at..at + 8].try_into().expect("eight bytes"))
    };
    let mut records: Vec<_> = reply
        .chunks_exact(96)
        .map(|record| {
            let pid = u32::from_ne_bytes(record[..4].try_into().expect("four bytes"));
            (pid, number(record, 64), number(record, 72))
        })
        .collect();
    assert_eq!(records.pop(), Some((0, 0, 0)), "the end");
    assert!(records.iter().all(|record| record.0 != 0), "{records:?}");
    records
}
