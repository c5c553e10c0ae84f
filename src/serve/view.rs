//! The view of one client: the processes that it may see, its baseline, and the exits reported to
//! it.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::accounts::{Account, Accounts};
use super::protocol::{self, Record};
use crate::model::{Counters, ProcessId};

/// The processes that a client may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// All processes: for root, or the user of the server.
    All,
    /// Only processes whose owner was always this user: see `owner_of` in `bpf/handover.h`.
    User(u32),
}

impl Viewer {
    fn sees(self, account: &Account) -> bool {
        match self {
            Self::All => true,
            Self::User(uid) => account.owner == Some(uid),
        }
    }
}

/// The totals at the moment when a client connected. Its counters start from there.
#[derive(Debug, Default)]
pub struct Baseline(HashMap<ProcessId, Counters>);

impl Baseline {
    /// The current totals of the processes that `viewer` may see.
    #[must_use]
    pub fn new(accounts: &Accounts, viewer: Viewer) -> Self {
        let totals = accounts
            .totals()
            .filter(|(_, account)| viewer.sees(account))
            .map(|(process, account)| (process, account.total));
        let mut totals: HashMap<_, _> = totals.collect();
        totals.shrink_to_fit();
        Self(totals)
    }

    /// Number of totals.
    #[must_use]
    pub fn totals(&self) -> usize {
        self.0.len()
    }
}

/// How long an exited process stays in replies after the first reply that contained it. atop
/// requests the list of processes, and requests it again after reading the process accounting
/// records, in which it finds the ended processes.
const REPEATED: Duration = Duration::from_secs(2);

/// Replies within this time of each other are one group. A group is repeated for [`REPEATED`] plus
/// this time. This limits the number of entries in `reported`.
const MERGE_WINDOW: Duration = Duration::from_millis(50);

/// The state of one client: its baseline and the exits reported to it.
#[derive(Debug)]
pub struct View {
    viewer: Viewer,
    baseline: Rc<Baseline>,
    /// Position of the first exited process that must still be reported or repeated.
    from: u64,
    /// For each group of replies: the time of the first one, and the position up to which exits
    /// were reported.
    reported: VecDeque<(Instant, u64)>,
    asked: Instant,
    /// Number of exited processes forgotten for this client since its last request.
    forgotten: Option<u64>,
}

impl View {
    /// Creates the view of a client that connects now.
    #[must_use]
    pub fn new(viewer: Viewer, baseline: Rc<Baseline>, accounts: &Accounts, now: Instant) -> Self {
        Self {
            viewer,
            baseline,
            from: accounts.end_position(),
            reported: VecDeque::new(),
            asked: now,
            forgotten: None,
        }
    }

    /// The totals from which the client's counters start.
    #[must_use]
    pub fn baseline(&self) -> &Rc<Baseline> {
        &self.baseline
    }

    /// The position from which on the client needs exited processes.
    #[must_use]
    pub fn needs_from(&self) -> u64 {
        self.from
    }

    /// Releases exited processes that have been repeated long enough.
    pub fn settle(&mut self, now: Instant) {
        while let Some((reported, position)) = self.reported.front()
            && now.saturating_duration_since(*reported) > REPEATED + MERGE_WINDOW
        {
            self.from = *position;
            self.reported.pop_front();
        }
    }

    /// Releases every exited process that has been reported, however recently. Returns whether
    /// there were any.
    pub fn settle_all(&mut self) -> bool {
        let reported = self.reported.back().map(|(_, position)| *position);
        self.reported.clear();
        self.from = reported.unwrap_or(self.from);
        reported.is_some()
    }

    /// Releases all exited processes if there was no request for `silent`. Returns whether this
    /// happens for the first time since the last request.
    pub fn give_up(&mut self, accounts: &Accounts, now: Instant, silent: Duration) -> bool {
        if now.saturating_duration_since(self.asked) < silent {
            return false;
        }
        let reported = self
            .reported
            .back()
            .map_or(self.from, |(_, position)| *position);
        self.reported.clear();
        let missed = accounts
            .ended(reported)
            .filter(|(_, account)| self.viewer.sees(account));
        let missed = missed.count() as u64;
        self.from = accounts.end_position();
        let begins = self.forgotten.is_none();
        self.forgotten = Some(self.forgotten.unwrap_or(0) + missed);
        begins
    }

    /// Takes the number of ended processes that were forgotten because the client did not ask for
    /// too long.
    pub fn take_forgotten(&mut self) -> u64 {
        self.forgotten.take().unwrap_or(0)
    }

    /// Maximum size of a reply in bytes at this moment.
    #[must_use]
    pub fn longest_reply(&self, accounts: &Accounts) -> usize {
        let ended = accounts.ended(self.from).map(|(_, account)| account);
        let all = ended.chain(accounts.live().map(|(_, account)| account));
        (all.filter(|account| self.viewer.sees(account)).count() + 1) * protocol::RECORD
    }

    /// Answers a request with the ended processes, followed by the living ones. If a pid was
    /// reused, the living process is the last one with that pid.
    ///
    /// `booted` is the boot time of the host in seconds since the epoch. `is_reused` returns
    /// whether another living process has the pid of an ended process. The record is left out then,
    /// because atop would attribute it to the living process.
    pub fn reply(
        &mut self,
        accounts: &Accounts,
        now: Instant,
        booted: u64,
        mut is_reused: impl FnMut(ProcessId) -> bool,
    ) -> Vec<u8> {
        self.asked = now;
        self.settle(now);
        let mut reply = Vec::with_capacity(self.longest_reply(accounts));
        for (process, account) in accounts.ended(self.from) {
            if let Some(record) = self.record(*process, account, booted)
                && !is_reused(*process)
            {
                protocol::push(&mut reply, &record);
            }
        }
        let mut live: Vec<(ProcessId, Record)> = accounts
            .live()
            .filter_map(|(process, account)| {
                Some((process, self.record(process, account, booted)?))
            })
            .collect();
        live.sort_unstable_by_key(|(process, _)| *process);
        for (_, record) in &live {
            protocol::push(&mut reply, record);
        }
        protocol::push_end(&mut reply);

        let position = accounts.end_position();
        match self.reported.back_mut() {
            Some((_, reported)) if *reported == position => {}
            Some((when, reported)) if now.saturating_duration_since(*when) < MERGE_WINDOW => {
                *reported = position
            }
            None if self.from == position => {}
            _ => self.reported.push_back((now, position)),
        }
        reply
    }

    /// The record for this client. `None` if it may not see the process or there was no traffic.
    fn record(&self, process: ProcessId, account: &Account, booted: u64) -> Option<Record> {
        if !self.viewer.sees(account) {
            return None;
        }
        let before = self.baseline.0.get(&process).copied().unwrap_or_default();
        let counters = account.total.since(before);
        (!counters.is_zero()).then(|| Record {
            pid: process.pid,
            btime: booted.saturating_add(process.start / 1_000_000_000),
            comm: account.comm,
            counters,
        })
    }
}
