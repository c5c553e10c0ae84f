//! What one client sees: whose processes, counted from when, and which exits it has been
//! told of.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::accounts::{Account, Accounts};
use super::protocol::{self, Record};
use crate::model::{Counters, ProcessId};

/// Whose processes a client may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// Everybody's: root, or the user of the server.
    All,
    /// Only those that were this user's all the time, as with `/proc/PID/io`.
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

/// Totals at the moment when a client came: it counts from there.
#[derive(Debug, Default)]
pub struct Baseline(HashMap<ProcessId, Counters>);

impl Baseline {
    /// What is there now, of what `viewer` may see.
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

    /// How many totals it holds.
    #[must_use]
    pub fn totals(&self) -> usize {
        self.0.len()
    }
}

/// How long an exited process stays in replies after the first one it was in. atop asks
/// for its list of processes, and again when it has read the records of process
/// accounting, in which it finds those that have ended.
const REPEATED: Duration = Duration::from_secs(2);

/// Replies that follow each other so soon are one for [`REPEATED`], which is made longer
/// by as much: there are never more to remember than fit into it.
const TOGETHER: Duration = Duration::from_millis(50);

/// What one client has been told, and from when it counts.
#[derive(Debug)]
pub struct View {
    viewer: Viewer,
    baseline: Rc<Baseline>,
    /// The place of the first exited process that it has still to be told of, or again.
    from: u64,
    /// Up to which place it had been told, and when for the first time.
    told: VecDeque<(Instant, u64)>,
    asked: Instant,
    /// How many exited processes were forgotten for it, since it asked last.
    forgotten: Option<u64>,
}

impl View {
    /// The view of a client that comes now.
    #[must_use]
    pub fn new(viewer: Viewer, baseline: Rc<Baseline>, accounts: &Accounts, now: Instant) -> Self {
        Self {
            viewer,
            baseline,
            from: accounts.end_place(),
            told: VecDeque::new(),
            asked: now,
            forgotten: None,
        }
    }

    /// What it counts from.
    #[must_use]
    pub fn baseline(&self) -> &Rc<Baseline> {
        &self.baseline
    }

    /// The place from which on it needs exited processes.
    #[must_use]
    pub fn needs_from(&self) -> u64 {
        self.from
    }

    /// Lets go of the exited processes that it has been told of long enough.
    pub fn settle(&mut self, now: Instant) {
        while let Some((told, place)) = self.told.front()
            && now.saturating_duration_since(*told) > REPEATED + TOGETHER
        {
            self.from = *place;
            self.told.pop_front();
        }
    }

    /// Lets go of every exited process that it has been told of, however recently. Returns
    /// whether there were any.
    pub fn settle_all(&mut self) -> bool {
        let told = self.told.back().map(|(_, place)| *place);
        self.told.clear();
        self.from = told.unwrap_or(self.from);
        told.is_some()
    }

    /// Gives up all exited processes if there was no request for `silent`. Returns whether
    /// that begins now.
    pub fn give_up(&mut self, accounts: &Accounts, now: Instant, silent: Duration) -> bool {
        if now.saturating_duration_since(self.asked) < silent {
            return false;
        }
        let told = self.told.back().map_or(self.from, |(_, place)| *place);
        self.told.clear();
        let missed = accounts
            .ended(told)
            .filter(|(_, account)| self.viewer.sees(account));
        let missed = missed.count() as u64;
        self.from = accounts.end_place();
        let begins = self.forgotten.is_none();
        self.forgotten = Some(self.forgotten.unwrap_or(0) + missed);
        begins
    }

    /// How many processes ended unknown to it while it did not ask for too long.
    pub fn take_forgotten(&mut self) -> u64 {
        self.forgotten.take().unwrap_or(0)
    }

    /// How many bytes a reply can take at most, as it is now.
    #[must_use]
    pub fn longest_reply(&self, accounts: &Accounts) -> usize {
        let ended = accounts.ended(self.from).map(|(_, account)| account);
        let all = ended.chain(accounts.live().map(|(_, account)| account));
        (all.filter(|account| self.viewer.sees(account)).count() + 1) * protocol::RECORD
    }

    /// Answers a request: the processes that have ended, then the living, so that with a
    /// pid that was used again the living one is the last word.
    ///
    /// `booted` is when the host was booted, in seconds since the epoch; `is_reused` tells
    /// whether the pid of an ended process is another living one's by now: atop would take
    /// the record for that one's.
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

        let place = accounts.end_place();
        match self.told.back_mut() {
            Some((_, told)) if *told == place => {}
            Some((when, told)) if now.saturating_duration_since(*when) < TOGETHER => *told = place,
            None if self.from == place => {}
            _ => self.told.push_back((now, place)),
        }
        reply
    }

    /// `None` where there is nothing to say to this client.
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
