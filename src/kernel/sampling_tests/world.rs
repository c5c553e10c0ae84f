//! A model of the kernel: threads that start, send, exec and end.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use super::super::sampling::SampleParts;
use crate::error::Error;
use crate::model::{
    Counters, End, Extent, Losses, ProcessId, Protocol, Remote, RemoteRecord, TcpRecord,
    ThreadRecord,
};

/// An event. Its thread is chosen among the living ones.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A new thread. If no living process has the pid, the thread starts a new process.
    Start {
        pid: u32,
    },
    Send {
        thread: usize,
        bytes: u64,
    },
    /// Traffic that is counted with its remote end.
    SendTo {
        thread: usize,
        port: u16,
        bytes: u64,
    },
    End {
        thread: usize,
        lost: bool,
    },
    /// All other threads of the process end, and this thread takes over the process's id.
    Exec {
        thread: usize,
    },
    /// Every thread of the process ends, and a new process gets its pid at once.
    Reuse {
        thread: usize,
    },
    /// The thread's further traffic is counted in an additional block.
    Spare {
        thread: usize,
    },
    NoMemory {
        bytes: u64,
    },
}

/// A model of the kernel that knows the true counts.
#[derive(Default)]
pub(super) struct Kernel {
    pub(super) living: Vec<ThreadRecord>,
    ring: Vec<ThreadRecord>,
    losses: Losses,
    blocks: u64,
    starts: u64,
    tids: u32,
    pub(super) truth: HashMap<ProcessId, u64>,
    /// The part of the truth with this remote port.
    pub(super) truth_to: HashMap<(ProcessId, u16), u64>,
    pub(super) unattributed: u64,
    /// Processes that lost an exit record.
    pub(super) with_losses: HashSet<ProcessId>,
    /// The counters that the last snapshot showed, by block.
    shown: HashMap<u64, Counters>,
    /// Traffic with remote ends that was not taken yet.
    rows: Vec<RemoteRecord>,
    pub(super) by_thread: bool,
    /// Blocks whose threads had such traffic, and those that had some since the last snapshot.
    used: HashSet<u64>,
    news: HashSet<u64>,
    /// Events that happen while a sample is taken, one before each step.
    pub(super) meanwhile: VecDeque<Event>,
}

impl Kernel {
    fn begin(&mut self, process: ProcessId, tid: u32) {
        self.blocks += 1;
        let counters = Counters::default();
        self.living
            .push(ThreadRecord::of_test(self.blocks, process, tid, counters));
    }

    pub(super) fn start(&mut self, pid: u32) {
        let there = self.living.iter().find(|t| t.identity.process.pid == pid);
        let process = there.map(|t| t.identity.process).unwrap_or_else(|| {
            self.starts += 1;
            ProcessId {
                pid,
                start: self.starts,
            }
        });
        self.tids += 1;
        self.begin(process, 1000 + self.tids);
    }

    fn end(&mut self, index: usize, lost: bool) {
        let mut last = self.living.swap_remove(index);
        last.exited = true;
        last.group_dead = self
            .living
            .iter()
            .all(|t| t.identity.process != last.identity.process);
        if last.counters.is_zero() && !self.used.contains(&last.block) {
            return;
        }
        if lost {
            self.losses.exits += last.counters;
            self.losses.exits_lost += 1;
            self.losses.exits_losing += 1;
            self.with_losses.insert(last.identity.process);
        } else {
            self.ring.push(last);
        }
    }

    fn end_all(&mut self, of: ProcessId, but: Option<u64>) {
        let ends = |t: &ThreadRecord| t.identity.process == of && Some(t.block) != but;
        while let Some(index) = self.living.iter().position(ends) {
            self.end(index, false);
        }
    }

    pub(super) fn happen(&mut self, event: &Event) {
        let pick = |thread: usize| thread % self.living.len().max(1);
        match *event {
            Event::Start { pid } => self.start(pid),
            Event::NoMemory { bytes } => {
                self.losses.no_memory.udp_send_msgs += 1;
                self.losses.no_memory.udp_send_bytes += bytes;
                self.unattributed += bytes;
            }
            _ if self.living.is_empty() => {}
            Event::Send { thread, bytes } => {
                let index = pick(thread);
                let one = &mut self.living[index];
                one.counters.udp_send_msgs += 1;
                one.counters.udp_send_bytes += bytes;
                *self.truth.entry(one.identity.process).or_default() += bytes;
            }
            Event::SendTo {
                thread,
                port,
                bytes,
            } => {
                let one = self.living[pick(thread)];
                let process = one.identity.process;
                self.used.insert(one.block);
                self.news.insert(one.block);
                self.rows.push(RemoteRecord {
                    process,
                    tid: self.by_thread.then_some(one.identity.tid),
                    remote: to(port),
                    counters: Counters {
                        udp_send_msgs: 1,
                        udp_send_bytes: bytes,
                        ..Counters::default()
                    },
                });
                *self.truth.entry(process).or_default() += bytes;
                *self.truth_to.entry((process, port)).or_default() += bytes;
            }
            Event::End { thread, lost } => self.end(pick(thread), lost),
            Event::Exec { thread } => {
                let one = self.living[pick(thread)];
                self.end_all(one.identity.process, Some(one.block));
                for same in self.living.iter_mut().filter(|t| t.block == one.block) {
                    same.identity.tid = one.identity.process.pid;
                }
            }
            Event::Reuse { thread } => {
                let process = self.living[pick(thread)].identity.process;
                self.end_all(process, None);
                self.start(process.pid);
            }
            Event::Spare { thread } => {
                let one = self.living[pick(thread)];
                self.begin(one.identity.process, one.identity.tid);
            }
        }
    }

    fn meanwhile(&mut self) {
        if let Some(event) = self.meanwhile.pop_front() {
            self.happen(&event);
        }
    }

    pub(super) fn alive(&self, process: ProcessId) -> bool {
        self.living.iter().any(|t| t.identity.process == process)
    }
}

/// A remote end that differs from others in its port.
fn to(port: u16) -> Remote {
    Remote {
        protocol: Protocol::Udp,
        role: None,
        local_address: None,
        local_port: None,
        remote: End {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            scope: 0,
            port: Some(port),
        },
        netns: None,
    }
}

impl SampleParts for Kernel {
    fn remotes(&mut self) -> Result<Vec<RemoteRecord>, Error> {
        let rows = std::mem::take(&mut self.rows);
        self.meanwhile();
        Ok(rows)
    }

    fn tcp(&mut self) -> Result<Vec<TcpRecord>, Error> {
        Ok(Vec::new())
    }

    fn living(&mut self, extent: Extent) -> Result<Vec<ThreadRecord>, Error> {
        let mut blocks: VecDeque<u64> = self.living.iter().map(|t| t.block).collect();
        let mut seen = Vec::new();
        while let Some(block) = blocks.pop_front() {
            let newest = self.blocks;
            self.meanwhile();
            // Some threads that start meanwhile are still seen.
            if self.blocks > newest && self.blocks.is_multiple_of(2) {
                blocks.push_back(self.blocks);
            }
            let Some(thread) = self.living.iter().find(|t| t.block == block) else {
                continue;
            };
            let is_news =
                !thread.counters.is_zero() && self.shown.get(&block) != Some(&thread.counters);
            if is_news || self.news.remove(&block) || extent == Extent::All {
                self.shown.insert(block, thread.counters);
                seen.push(*thread);
            }
        }
        Ok(seen)
    }

    fn exited(&mut self) -> Result<Vec<ThreadRecord>, Error> {
        let exits = std::mem::take(&mut self.ring);
        self.meanwhile();
        Ok(exits)
    }

    fn losses(&mut self) -> Result<Losses, Error> {
        let losses = self.losses;
        self.meanwhile();
        Ok(losses)
    }
}
