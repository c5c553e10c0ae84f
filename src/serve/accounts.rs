//! The totals of every process since the programs were attached, and the processes that have ended.
//!
//! All clients share the same accounts. Each client has its own [`super::view::View`] of them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::mem;
use std::ops::Bound;

use crate::error::Error;
use crate::model::{Comm, Counters, Extent, Identity, Ledger, ProcessId};
use crate::source::Source;

/// The account of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Traffic since the programs were attached.
    pub total: Counters,
    /// The newest name seen.
    pub comm: Comm,
    /// The user who may see the account. `None` if the process never had an owner, or had different
    /// ones. Then only clients that see everything see its traffic.
    pub owner: Option<u32>,
}

impl Account {
    fn new(last: &Identity) -> Self {
        Self {
            total: Counters::default(),
            comm: last.comm,
            owner: last.owner,
        }
    }

    fn add(&mut self, last: &Identity, counters: Counters) {
        self.total += counters;
        self.comm = last.comm;
        if self.owner != last.owner {
            self.owner = None;
        }
    }
}

/// Once this many exit records are waiting, they are added to the accounts without a request. They
/// take less memory there.
const MAX_WAITING: usize = 1 << 14;

/// Number of silent processes checked with each sample: this many, or a quarter of them if that is
/// more. So the end of any silent process is noticed at most four samples late.
const CHECKS_PER_SAMPLE: usize = 256;

/// The accounts of all processes.
#[derive(Debug)]
pub struct Accounts {
    ledger: Ledger,
    live: HashMap<ProcessId, Account>,
    /// Ended processes, in the order in which their end was noticed. The first one has the position
    /// `first`. Positions are never reused.
    ended: VecDeque<(ProcessId, Account)>,
    first: u64,
    /// Processes that ended in the two newest samples. A last record of them can still arrive.
    late: [HashMap<ProcessId, Account>; 2],
    /// Living processes whose end no record will report.
    silent: BTreeSet<ProcessId>,
    last_checked: Option<ProcessId>,
    /// Exit records in the ledger since the last sample.
    waiting: usize,
    lost: Lost,
}

/// Losses since counting began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Traffic that could not be attributed to a process.
    pub unattributed: Counters,
    /// Events for which the kernel could not run a program: socket calls, and ends of threads.
    pub missed_events: u64,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            ledger: Ledger::new(false),
            live: HashMap::new(),
            ended: VecDeque::new(),
            first: 0,
            late: Default::default(),
            silent: BTreeSet::new(),
            last_checked: None,
            waiting: 0,
            lost: Lost::default(),
        }
    }
}

impl Accounts {
    /// Takes the exit records that are waiting in `source`, to make room there.
    ///
    /// # Errors
    ///
    /// If the source fails.
    pub fn drain(&mut self, source: &mut dyn Source) -> Result<(), Error> {
        let exits = source.drain()?;
        self.waiting += exits.len();
        self.ledger.exits(&exits);
        if self.waiting < MAX_WAITING {
            return Ok(());
        }
        self.sample(source)
    }

    /// Takes a sample and updates all accounts.
    ///
    /// # Errors
    ///
    /// If the source fails.
    pub fn sample(&mut self, source: &mut dyn Source) -> Result<(), Error> {
        let sample = source.sample(Extent::Changes)?;
        sample.enter(&mut self.ledger);
        self.waiting = 0;
        let mut interval = self.ledger.interval(|process| source.is_alive(process));
        for usage in &interval.usage {
            let process = usage.last.process;
            let account = self.live.entry(process).or_insert_with(|| {
                let [new, old] = &self.late;
                let late = new.get(&process).or_else(|| old.get(&process));
                late.copied().unwrap_or_else(|| Account::new(&usage.last))
            });
            account.add(&usage.last, usage.counters);
        }
        let [new, old] = &mut self.late;
        *old = mem::take(new);
        self.silent.extend(interval.silent);
        interval.ended.extend(self.check_silent(source));
        // Of two processes with the same pid, the later one must be reported later.
        interval.ended.sort_unstable();
        for process in interval.ended {
            self.end(process);
        }

        self.lost.unattributed += interval.unattributed;
        self.lost.missed_events = sample.losses.missed_events;
        Ok(())
    }

    /// The losses so far.
    #[must_use]
    pub fn lost(&self) -> Lost {
        self.lost
    }

    /// The totals so far: of living processes, and of recently ended processes, for which a last
    /// record can still arrive.
    pub fn totals(&self) -> impl Iterator<Item = (ProcessId, &Account)> {
        let late = self.late.iter().rev().flatten();
        late.chain(&self.live)
            .map(|(process, account)| (*process, account))
    }

    /// Living processes with traffic, in no particular order.
    pub fn live(&self) -> impl Iterator<Item = (ProcessId, &Account)> {
        self.live
            .iter()
            .map(|(process, account)| (*process, account))
    }

    /// The position after the last ended process.
    #[must_use]
    pub fn end_position(&self) -> u64 {
        self.first + self.ended.len() as u64
    }

    /// Ended processes from a position on. Forgotten processes are missing.
    pub fn ended(&self, from: u64) -> impl Iterator<Item = &(ProcessId, Account)> {
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.ended.range(skip.min(self.ended.len())..)
    }

    /// Number of ended processes that are kept.
    #[must_use]
    pub fn ended_kept(&self) -> usize {
        self.ended.len()
    }

    /// Forgets ended processes before a position.
    pub fn forget_before(&mut self, position: u64) {
        let count = usize::try_from(position.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let count = count.min(self.ended.len());
        self.ended.drain(..count);
        self.first += count as u64;
        // Free the memory of a burst that is over.
        if self.ended.capacity() > 4 * self.ended.len().max(1024) {
            self.ended.shrink_to(2 * self.ended.len());
        }
    }

    fn end(&mut self, process: ProcessId) {
        self.silent.remove(&process);
        if let Some(account) = self.live.remove(&process) {
            self.ended.push_back((process, account));
            self.late[0].insert(process, account);
        }
    }

    /// Checks whether silent processes are still alive, a few at a time. A delay is harmless,
    /// because their counters no longer change.
    fn check_silent(&mut self, source: &dyn Source) -> Vec<ProcessId> {
        let start = self.last_checked.map_or(Bound::Unbounded, Bound::Excluded);
        let max = CHECKS_PER_SAMPLE.max(self.silent.len().div_ceil(4));
        let checked: Vec<ProcessId> = self
            .silent
            .range((start, Bound::Unbounded))
            .take(max)
            .copied()
            .collect();
        self.last_checked = checked.last().copied().filter(|_| checked.len() == max);
        checked
            .into_iter()
            .filter(|process| !source.is_alive(*process))
            .collect()
    }
}
