//! Collects the usage of an interval until its rows are written, and folds entries early.
//!
//! A recording without `--interval` can last for weeks, and thousands of processes can end every
//! minute. Memory stays bounded where rows are groups, or where `--top` limits the rows. Otherwise
//! each process is a row and stays in memory until the row is written.

use std::mem;

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashSet};
use indexmap::IndexMap;

use super::rows::{Group, Named, Rows};
use crate::host::{Cgroups, user_name};
use crate::model::{Counters, GroupBy, Interval, ProcessId, Row, State, Usage, Who};

/// A process, or a thread of one.
type Key = (ProcessId, Option<u32>);

/// Usage since the rows were last taken.
#[derive(Debug)]
pub struct Pending {
    entries: IndexMap<Key, Entry, RandomState>,
    /// Sums of entries that have ended, where rows are groups.
    groups: HashMap<String, Sum>,
    /// The sum of entries that `--top` will not show.
    other: Sum,
    /// The processes of `other`, where several rows can belong to one process.
    other_owners: HashSet<ProcessId>,
    unattributed: Counters,
    users: HashMap<u32, String>,
    /// How many intervals of the ledger were added.
    parts: u64,
    /// Entries may be folded when there are more than this.
    fold_above: usize,
    room: usize,
}

#[derive(Debug)]
struct Entry {
    named: Named,
    /// The value of `Pending::parts` when the entry last changed.
    changed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    counters: Counters,
    processes: u64,
}

impl Pending {
    /// Folding starts when there are more than `room` entries. After each fold, the limit is `room`
    /// plus twice the number of entries left.
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        Self {
            entries: IndexMap::default(),
            groups: HashMap::default(),
            other: Sum::default(),
            other_owners: HashSet::default(),
            unattributed: Counters::default(),
            users: HashMap::default(),
            parts: 0,
            fold_above: room,
            room,
        }
    }

    /// Adds an interval of the ledger. `alive` returns whether a process still runs.
    pub fn add(
        &mut self,
        rows: &Rows,
        interval: Interval,
        cgroups: &Cgroups,
        alive: impl FnMut(ProcessId) -> bool,
    ) {
        self.parts += 1;
        self.unattributed += interval.unattributed;
        for usage in interval.usage {
            self.add_usage(rows.layout.threads, usage, cgroups);
        }
        for process in interval.ended {
            if let Some(entry) = self.entries.get_mut(&(process, None)) {
                entry.named.usage.state = State::Exited;
            }
        }
        if self.entries.len() > self.fold_above {
            self.fold(rows, alive);
            self.fold_above = 2 * self.entries.len() + self.room;
        }
    }

    fn add_usage(&mut self, threads: bool, usage: Usage, cgroups: &Cgroups) {
        let key = (usage.last.process, threads.then_some(usage.last.tid));
        let mut named = Named::new(usage, cgroups);
        let changed = self.parts;
        if let Some(before) = self.entries.get(&key) {
            named.usage.counters += before.named.usage.counters;
        }
        self.entries.insert(key, Entry { named, changed });
    }

    /// Folds entries that can no longer change: into their groups, or into one sum if `--top` will
    /// not show the entries.
    fn fold(&mut self, rows: &Rows, mut alive: impl FnMut(ProcessId) -> bool) {
        let is_grouped = rows.layout.group_by != GroupBy::Process;
        if !is_grouped && rows.top.is_none() {
            return;
        }
        // The exit record of a thread can arrive one part after its process counts as ended.
        let settled = self.parts.saturating_sub(2);
        let is_final = |(_, entry): &(Key, Entry)| {
            entry.changed <= settled
                && (entry.named.usage.state == State::Exited
                    || !alive(entry.named.usage.last.process))
        };
        let entries = mem::take(&mut self.entries).into_iter();
        let (mut done, kept): (Vec<_>, Vec<_>) = entries.partition(is_final);
        self.entries.extend(kept);
        if is_grouped {
            let by = rows.layout.group_by;
            done.iter()
                .for_each(|(_, entry)| self.add_to_group(by, &entry.named));
            return;
        }
        // `top` final entries sort before the rest, so `--top` cannot show the rest any more.
        let top = rows.top.unwrap_or(usize::MAX).min(done.len());
        done.sort_unstable_by(|(_, one), (_, other)| {
            rows.order(&one.named).cmp(&rows.order(&other.named))
        });
        for (_, entry) in done.split_off(top) {
            self.add_other(rows, &entry.named);
        }
        self.entries.extend(done);
    }

    fn add_other(&mut self, rows: &Rows, named: &Named) {
        let owner = named.usage.last.process;
        let is_new = !rows.layout.threads || self.other_owners.insert(owner);
        self.other.counters += named.usage.counters;
        self.other.processes += u64::from(is_new);
    }

    fn add_to_group(&mut self, by: GroupBy, named: &Named) {
        let key = self.group_key(by, named);
        let sum = self.groups.entry(key).or_default();
        sum.counters += named.usage.counters;
        sum.processes += 1;
    }

    fn group_key(&mut self, by: GroupBy, named: &Named) -> String {
        match by {
            GroupBy::Cgroup => named.cgroup.as_deref().unwrap_or_default().to_owned(),
            GroupBy::User => self
                .users
                .entry(named.usage.last.uid)
                .or_insert_with_key(|uid| user_name(*uid))
                .clone(),
            GroupBy::Comm | GroupBy::Process => named.usage.last.comm.to_str_lossy().into_owned(),
        }
    }

    /// Adds the last interval, and makes rows of all usage added since the last call. The sum of
    /// the rows is the sum of the intervals, with any options.
    pub fn take(&mut self, rows: &Rows, interval: Interval, cgroups: &Cgroups) -> Vec<Row> {
        let mut all = mem::replace(self, Self::with_room(self.room));
        all.unattributed += interval.unattributed;
        // Without earlier entries there is nothing to merge.
        let named: Vec<Named> = if all.entries.is_empty() {
            let usage = interval.usage.into_iter();
            usage.map(|usage| Named::new(usage, cgroups)).collect()
        } else {
            for usage in interval.usage {
                all.add_usage(rows.layout.threads, usage, cgroups);
            }
            let entries = mem::take(&mut all.entries).into_values();
            entries.map(|entry| entry.named).collect()
        };
        let (mut made, rest) = match rows.layout.group_by {
            GroupBy::Process => {
                let (made, rest) = rows.cut(named);
                rest.iter().for_each(|named| all.add_other(rows, named));
                (made, all.other)
            }
            by => {
                named.iter().for_each(|named| all.add_to_group(by, named));
                let groups = all.groups.into_iter().map(|(key, sum)| Group {
                    key,
                    counters: sum.counters,
                    processes: sum.processes,
                });
                let (made, rest) = rows.cut(groups.collect());
                let mut other = Sum::default();
                for group in rest {
                    other.counters += group.counters;
                    other.processes += group.processes;
                }
                (made, other)
            }
        };
        if rest.processes > 0 {
            made.push(Row {
                who: Who::Other {
                    processes: rest.processes,
                },
                counters: rest.counters,
            });
        }
        if !all.unattributed.is_zero() {
            made.push(Row {
                who: Who::Unattributed,
                counters: all.unattributed,
            });
        }
        made
    }

    /// The sum of all usage added since the rows were last taken.
    #[must_use]
    pub fn total(&self) -> Counters {
        let entries = self.entries.values().map(|e| e.named.usage.counters);
        let groups = self.groups.values().map(|sum| sum.counters);
        let folded: Counters = entries.chain(groups).sum();
        folded + self.other.counters + self.unattributed
    }

    /// How many entries are in memory.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len() + self.groups.len()
    }
}
