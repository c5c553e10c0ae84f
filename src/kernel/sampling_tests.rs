//! Tests of samples and the ledger with a model of the kernel: threads start, send, exec and end
//! while a sample is taken.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::sampling::{SampleParts, Sampling};
use crate::error::Error;
use crate::model::{
    Counters, End, Extent, Ledger, Losses, ProcessId, Protocol, Remote, RemoteRecord, State,
    ThreadRecord,
};

/// An event. Its thread is chosen among the living ones.
#[derive(Clone, Debug)]
enum Event {
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

fn event() -> impl Strategy<Value = Event> {
    let thread = || 0usize..64;
    prop_oneof![
        3 => (1u32..5).prop_map(|pid| Event::Start { pid }),
        8 => (thread(), 1u64..1000).prop_map(|(thread, bytes)| Event::Send { thread, bytes }),
        8 => (thread(), 1u16..4, 1u64..1000)
            .prop_map(|(thread, port, bytes)| Event::SendTo { thread, port, bytes }),
        3 => (thread(), any::<bool>()).prop_map(|(thread, lost)| Event::End { thread, lost }),
        1 => thread().prop_map(|thread| Event::Exec { thread }),
        1 => thread().prop_map(|thread| Event::Reuse { thread }),
        1 => thread().prop_map(|thread| Event::Spare { thread }),
        1 => (1u64..1000).prop_map(|bytes| Event::NoMemory { bytes }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Happens(Event),
    /// Exit records are taken. With `again`, the ledger gets them twice.
    Drain {
        again: bool,
    },
    /// A sample with events during each of its parts. With `interval`, it ends an interval.
    Sample {
        meanwhile: Vec<Event>,
        all: bool,
        tries: u32,
        again: bool,
        interval: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => event().prop_map(Step::Happens),
        1 => any::<bool>().prop_map(|again| Step::Drain { again }),
        3 => (vec(event(), 0..12), any::<bool>(), 1u32..4, any::<bool>(), any::<bool>()).prop_map(
            |(meanwhile, all, tries, again, interval)| {
                Step::Sample { meanwhile, all, tries, again, interval }
            }
        ),
    ]
}

/// A model of the kernel that knows the true counts.
#[derive(Default)]
struct Kernel {
    living: Vec<ThreadRecord>,
    ring: Vec<ThreadRecord>,
    losses: Losses,
    blocks: u64,
    starts: u64,
    tids: u32,
    truth: HashMap<ProcessId, u64>,
    /// The part of the truth with this remote port.
    truth_to: HashMap<(ProcessId, u16), u64>,
    unattributed: u64,
    /// Processes that lost an exit record.
    with_losses: HashSet<ProcessId>,
    /// The counters that the last snapshot showed, by block.
    shown: HashMap<u64, Counters>,
    /// Traffic with remote ends that was not taken yet.
    rows: Vec<RemoteRecord>,
    by_thread: bool,
    /// Blocks whose threads had such traffic, and those that had some since the last snapshot.
    used: HashSet<u64>,
    news: HashSet<u64>,
    /// Events that happen while a sample is taken, one before each step.
    meanwhile: VecDeque<Event>,
}

impl Kernel {
    fn begin(&mut self, process: ProcessId, tid: u32) {
        self.blocks += 1;
        let counters = Counters::default();
        self.living
            .push(ThreadRecord::of_test(self.blocks, process, tid, counters));
    }

    fn start(&mut self, pid: u32) {
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

    fn happen(&mut self, event: &Event) {
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

    fn alive(&self, process: ProcessId) -> bool {
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

/// Sums of the rows and of the unattributed row.
#[derive(Default)]
struct Shown {
    rows: HashMap<ProcessId, u64>,
    /// The part with this remote port.
    to: HashMap<(ProcessId, u16), u64>,
    unattributed: u64,
}

impl Shown {
    fn take(&mut self, ledger: &mut Ledger, kernel: &Kernel) -> Vec<(ProcessId, State)> {
        let interval = ledger.interval(|process| kernel.alive(process));
        self.unattributed += interval.unattributed.udp_send_bytes;
        for usage in &interval.usage {
            let (process, bytes) = (usage.last.process, usage.counters.udp_send_bytes);
            *self.rows.entry(process).or_default() += bytes;
            if let Some(port) = usage.remote.as_ref().and_then(|remote| remote.remote.port) {
                *self.to.entry((process, port)).or_default() += bytes;
            }
        }
        let rows = interval.usage.iter();
        rows.map(|usage| (usage.last.process, usage.state))
            .collect()
    }
}

fn take_sample(
    ledger: &mut Ledger,
    (sampling, kernel): (&mut Sampling, &mut Kernel),
    extent: Extent,
    tries: u32,
    again: bool,
) {
    let sample = sampling.take(kernel, extent, tries);
    let sample = sample.expect("the model does not fail");
    kernel.meanwhile.clear();
    sample.enter(ledger);
    if again {
        ledger.exits(&sample.exits);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Rows and the unattributed row add up to the truth. A process without a lost exit record has
    /// all of its traffic in rows.
    #[test]
    fn whatever_happens_while_samples_are_taken_adds_up_to_the_truth(
        steps in vec(step(), 0..80),
        by_thread in any::<bool>(),
    ) {
        let mut ledger = Ledger::new(by_thread).with_remotes(true);
        let (mut sampling, mut kernel) = (Sampling::default(), Kernel::default());
        kernel.by_thread = by_thread;
        let mut shown = Shown::default();
        for step in &steps {
            match step {
                Step::Happens(event) => kernel.happen(event),
                Step::Drain { again } => {
                    let exits = kernel.exited().expect("the model does not fail");
                    ledger.exits(&exits);
                    if *again {
                        ledger.exits(&exits);
                    }
                }
                Step::Sample { meanwhile, all, tries, again, interval } => {
                    kernel.meanwhile = meanwhile.iter().cloned().collect();
                    let extent = if *all { Extent::All } else { Extent::Changes };
                    take_sample(
                        &mut ledger, (&mut sampling, &mut kernel), extent, *tries, *again,
                    );
                    if *interval {
                        shown.take(&mut ledger, &kernel);
                    }
                }
            }
        }
        // Losses during the last sample appear in the next one. A changes-only sample is enough for
        // the sums.
        let extent = if by_thread { Extent::Changes } else { Extent::All };
        take_sample(&mut ledger, (&mut sampling, &mut kernel), extent, 1, false);
        for (process, state) in shown.take(&mut ledger, &kernel) {
            if !by_thread {
                prop_assert_eq!(state == State::Running, kernel.alive(process));
            }
        }

        let truth = kernel.truth.values().sum::<u64>() + kernel.unattributed;
        prop_assert_eq!(shown.rows.values().sum::<u64>() + shown.unattributed, truth);
        for (process, bytes) in &kernel.truth {
            let rows = shown.rows.get(process).copied().unwrap_or(0);
            if kernel.with_losses.contains(process) {
                prop_assert!(rows <= *bytes);
            } else {
                prop_assert_eq!(rows, *bytes, "{:?}", process);
            }
        }
        if kernel.with_losses.is_empty() {
            prop_assert_eq!(shown.unattributed, kernel.unattributed);
            prop_assert_eq!(&shown.to, &kernel.truth_to);
        }
        take_sample(&mut ledger, (&mut sampling, &mut kernel), Extent::All, 1, false);
        prop_assert!(shown.take(&mut ledger, &kernel).is_empty(), "nothing is left");
    }

    /// Counters are exact up to the largest number. A counter that wraps around adds nothing until
    /// it exceeds its old value.
    #[test]
    fn the_largest_counters_are_exact_and_wrapping_is_never_a_huge_number(
        mut totals in vec(any::<u64>(), 1..20),
        wrapped in any::<u64>(),
    ) {
        totals.sort_unstable();
        let mut ledger = Ledger::new(false);
        let (mut sampling, mut kernel) = (Sampling::default(), Kernel::default());
        kernel.start(1);
        let mut shown = 0u64;
        for total in &totals {
            kernel.living[0].counters.udp_send_bytes = *total;
            take_sample(
                &mut ledger, (&mut sampling, &mut kernel), Extent::Changes, 1, false,
            );
            let interval = ledger.interval(|_| true);
            shown += interval.usage.iter().map(|u| u.counters.udp_send_bytes).sum::<u64>();
        }
        let largest = totals.last().copied().unwrap_or_default();
        prop_assert_eq!(shown, largest);
        kernel.living[0].counters.udp_send_bytes = wrapped;
        take_sample(&mut ledger, (&mut sampling, &mut kernel), Extent::Changes, 1, false);
        let interval = ledger.interval(|_| true);
        let more: u64 = interval.usage.iter().map(|u| u.counters.udp_send_bytes).sum();
        prop_assert_eq!(more, wrapped.saturating_sub(largest));
    }
}
