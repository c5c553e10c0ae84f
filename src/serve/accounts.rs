//! What every process did since the programs were attached, and which have ended.
//!
//! All clients look at the same accounts, each through a [`super::view::View`] of its own.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::mem;
use std::ops::Bound;

use crate::error::Error;
use crate::model::{Comm, Counters, Extent, Identity, Ledger, ProcessId};
use crate::source::Source;

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Counted since the programs were attached.
    pub total: Counters,
    /// The newest name seen.
    pub comm: Comm,
    /// The user who may see it. `None` if it ever had no owner, or different ones one after the
    /// other: its traffic is then only for clients that see everything.
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

/// Exit records are put into the accounts when there are so many, whether a client asks
/// or not: there they take less room.
const MOST_WAITING: usize = 1 << 14;

/// How many of the processes whose end nothing tells are looked up with each sample: so
/// many, or a quarter if that is more, so that they are no more than four samples late
/// however many come.
const LOOK_UPS: usize = 256;

/// The accounts of all processes.
#[derive(Debug)]
pub struct Accounts {
    ledger: Ledger,
    live: HashMap<ProcessId, Account>,
    /// Those that have ended, in the order in which that was noticed. The place of the
    /// first is `first`; places are never used again.
    ended: VecDeque<(ProcessId, Account)>,
    first: u64,
    /// What ended with the two newest samples: a last record of theirs can still come.
    late: [HashMap<ProcessId, Account>; 2],
    /// Living ones whose end nothing will tell.
    silent: BTreeSet<ProcessId>,
    last_looked_up: Option<ProcessId>,
    /// Exit records in the ledger since the last sample.
    waiting: usize,
    lost: Lost,
}

/// What was lost since counting began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Counted, but for nobody.
    pub unattributed: Counters,
    /// Socket calls that could not be counted.
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
            last_looked_up: None,
            waiting: 0,
            lost: Lost::default(),
        }
    }
}

impl Accounts {
    /// Takes the exit records that wait in `source`, to make room there.
    ///
    /// # Errors
    ///
    /// If the source fails.
    pub fn drain(&mut self, source: &mut dyn Source) -> Result<(), Error> {
        let exits = source.drain()?;
        self.waiting += exits.len();
        self.ledger.exits(&exits);
        if self.waiting < MOST_WAITING {
            return Ok(());
        }
        self.sample(source)
    }

    /// Brings everything up to date.
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
        interval.ended.extend(self.look_up(source));
        // Of two with the same pid, the later one is to be told later.
        interval.ended.sort_unstable();
        for process in interval.ended {
            self.end(process);
        }

        self.lost.unattributed += interval.unattributed;
        self.lost.missed_events = sample.losses.missed_events;
        Ok(())
    }

    /// What was lost so far.
    #[must_use]
    pub fn lost(&self) -> Lost {
        self.lost
    }

    /// What everybody did so far: the living, and those that have just ended, of which a
    /// last record can still come.
    pub fn totals(&self) -> impl Iterator<Item = (ProcessId, &Account)> {
        let late = self.late.iter().rev().flatten();
        late.chain(&self.live)
            .map(|(process, account)| (*process, account))
    }

    /// Processes with traffic that have not ended, in no order.
    pub fn live(&self) -> impl Iterator<Item = (ProcessId, &Account)> {
        self.live
            .iter()
            .map(|(process, account)| (*process, account))
    }

    /// The place behind the last process that has ended.
    #[must_use]
    pub fn end_place(&self) -> u64 {
        self.first + self.ended.len() as u64
    }

    /// Processes that have ended, from a place on. What was forgotten is left out.
    pub fn ended(&self, from: u64) -> impl Iterator<Item = &(ProcessId, Account)> {
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.ended.range(skip.min(self.ended.len())..)
    }

    /// How many processes that have ended are kept.
    #[must_use]
    pub fn ended_kept(&self) -> usize {
        self.ended.len()
    }

    /// Forgets those that ended before a place.
    pub fn forget_before(&mut self, place: u64) {
        let count = usize::try_from(place.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let count = count.min(self.ended.len());
        self.ended.drain(..count);
        self.first += count as u64;
        // A burst is over: what it took is for others again.
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

    /// Looks up whether silent processes are still there, some at a time: to notice a
    /// little late does no harm, since their counters change no more.
    fn look_up(&mut self, source: &dyn Source) -> Vec<ProcessId> {
        let start = self
            .last_looked_up
            .map_or(Bound::Unbounded, Bound::Excluded);
        let most = LOOK_UPS.max(self.silent.len().div_ceil(4));
        let some: Vec<ProcessId> = self
            .silent
            .range((start, Bound::Unbounded))
            .take(most)
            .copied()
            .collect();
        self.last_looked_up = some.last().copied().filter(|_| some.len() == most);
        some.into_iter()
            .filter(|process| !source.is_alive(*process))
            .collect()
    }
}
