//! Collects the usage of an interval until its rows are written, and folds entries early.
//!
//! A recording without `--interval` can last for weeks, and thousands of processes can end every
//! minute. Memory stays bounded where rows are groups, or where `--top` limits the rows. Otherwise
//! each process is a row and stays in memory until the row is written. If rows are split by remote
//! end, a running process needs memory for each of its remote ends.

use std::mem;

use foldhash::HashSet;
use foldhash::fast::RandomState;
use indexmap::IndexMap;
use indexmap::map::Entry as MapEntry;

use super::groups::{Groups, Sum};
use super::parts::{Amount, Parts};
use super::rows::{Called, Named, Rows};
use crate::host::Known;
use crate::model::{
    Counters, GroupBy, Health, Identity, Interval, ProcessId, Row, State, Usage, Who,
};

/// A process, or a thread of one.
type Key = (ProcessId, Option<u32>);

/// Usage since the rows were last taken.
#[derive(Debug)]
pub struct Pending {
    entries: IndexMap<Key, Entry, RandomState>,
    /// The number of parts in `entries`: rows, unless they are groups.
    parts: usize,
    /// Sums of entries that have ended, where rows are groups.
    groups: Groups,
    /// The sum of rows that `--top` will not show.
    other: Sum,
    /// The processes of `other`, where the threads of a process are rows.
    other_owners: HashSet<ProcessId>,
    unattributed: Amount,
    /// How many intervals of the ledger were added.
    intervals: u64,
    /// Entries may be folded when there are more parts than this.
    fold_above: usize,
    room: usize,
}

/// The traffic of a process or thread.
#[derive(Debug)]
struct Entry {
    /// From its newest record.
    last: Identity,
    state: State,
    called: Called,
    parts: Parts,
    /// The value of `Pending::intervals` when the entry last changed.
    changed: u64,
    /// Whether a part of it was added to `Pending::other`.
    in_other: bool,
}

impl Entry {
    /// Takes out its parts, as rows.
    fn take_rows(&mut self) -> impl Iterator<Item = Named> {
        let (last, state, called) = (self.last, self.state, self.called.clone());
        let parts = mem::take(&mut self.parts).into_iter();
        parts.map(move |(remote, amount)| Named {
            usage: Usage {
                last,
                state,
                counters: amount.counters,
                tcp: amount.tcp,
                remote,
            },
            called: called.clone(),
        })
    }
}

impl Pending {
    /// Folding starts when there are more than `room` parts. After each fold, the limit is `room`
    /// plus twice the number of parts left.
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        Self {
            entries: IndexMap::default(),
            parts: 0,
            groups: Groups::default(),
            other: Sum::default(),
            other_owners: HashSet::default(),
            unattributed: Amount::default(),
            intervals: 0,
            fold_above: room,
            room,
        }
    }

    /// Adds an interval of the ledger. `alive` returns whether a process still runs.
    pub fn add(
        &mut self,
        rows: &Rows,
        interval: Interval,
        known: &Known,
        alive: impl FnMut(ProcessId) -> bool,
    ) {
        self.enter(rows, interval, known);
        if self.parts > self.fold_above {
            self.fold(rows, alive);
            self.fold_above = 2 * self.parts + self.room;
        }
    }

    fn enter(&mut self, rows: &Rows, interval: Interval, known: &Known) {
        self.intervals += 1;
        self.add_unattributed(interval.unattributed, interval.unattributed_tcp);
        for usage in interval.usage {
            self.add_usage(rows, usage, known);
        }
        for process in interval.ended {
            if let Some(entry) = self.entries.get_mut(&(process, None)) {
                entry.state = State::Exited;
            }
        }
    }

    fn add_unattributed(&mut self, counters: Counters, tcp: Health) {
        self.unattributed += Amount { counters, tcp };
    }

    fn add_usage(&mut self, rows: &Rows, usage: Usage, known: &Known) {
        let (last, threads) = (usage.last, rows.layout.threads);
        let remote = usage.remote.filter(|_| rows.layout.remote.is_some());
        let called = Called::of(&last, known);
        let amount = Amount {
            counters: usage.counters,
            tcp: usage.tcp,
        };
        let is_new = match self
            .entries
            .entry((last.process, threads.then_some(last.tid)))
        {
            MapEntry::Occupied(mut place) => {
                let entry = place.get_mut();
                (entry.last, entry.called) = (last, called);
                // The other remote ends of this interval may have said that it has ended.
                if entry.changed != self.intervals || usage.state == State::Exited {
                    entry.state = usage.state;
                }
                entry.changed = self.intervals;
                entry.parts.add(remote, amount)
            }
            MapEntry::Vacant(place) => {
                place.insert(Entry {
                    last,
                    state: usage.state,
                    called,
                    parts: Parts::One(remote, amount),
                    changed: self.intervals,
                    in_other: false,
                });
                true
            }
        };
        self.parts += usize::from(is_new);
    }

    /// Folds entries that can no longer change: into their groups, or into one sum if `--top` will
    /// not show them.
    fn fold(&mut self, rows: &Rows, mut alive: impl FnMut(ProcessId) -> bool) {
        let is_grouped = rows.layout.group_by != GroupBy::Process;
        if !is_grouped && rows.top.is_none() {
            return;
        }
        // The exit record of a thread can arrive one interval after its process counts as ended.
        let settled = self.intervals.saturating_sub(2);
        let is_final = |(_, entry): &(Key, Entry)| {
            entry.changed <= settled && (entry.state == State::Exited || !alive(entry.last.process))
        };
        let entries = mem::take(&mut self.entries).into_iter();
        let (mut done, kept): (Vec<_>, Vec<_>) = entries.partition(is_final);
        self.entries.extend(kept);
        if is_grouped {
            done.into_iter()
                .for_each(|(_, entry)| self.add_to_groups(rows, entry));
        } else {
            self.cut_final(rows, &mut done);
            done.retain(|(_, entry)| entry.parts.len() > 0);
            self.entries.extend(done);
        }
        self.parts = self.entries.values().map(|entry| entry.parts.len()).sum();
    }

    /// Moves all rows of final entries to `other`, except for the first `top`. These sort before the
    /// rest, so `--top` cannot show the rest any more.
    fn cut_final(&mut self, rows: &Rows, done: &mut [(Key, Entry)]) {
        let mut all: Vec<(usize, Named)> = Vec::new();
        for (at, (_, entry)) in done.iter_mut().enumerate() {
            all.extend(entry.take_rows().map(|named| (at, named)));
        }
        all.sort_unstable_by(|(_, one), (_, other)| rows.order(one).cmp(&rows.order(other)));
        let rest = all.split_off(rows.top.unwrap_or(usize::MAX).min(all.len()));
        for (at, named) in rest {
            let (counters, tcp) = (named.usage.counters, named.usage.tcp);
            self.other.amount += Amount { counters, tcp };
            if let Some((_, entry)) = done.get_mut(at)
                && !mem::replace(&mut entry.in_other, true)
            {
                let owner = named.usage.last.process;
                let is_new = !rows.layout.threads || self.other_owners.insert(owner);
                self.other.processes += u64::from(is_new);
            }
        }
        for (at, named) in all {
            if let Some((_, entry)) = done.get_mut(at) {
                let (counters, tcp) = (named.usage.counters, named.usage.tcp);
                entry
                    .parts
                    .add(named.usage.remote, Amount { counters, tcp });
            }
        }
    }

    fn add_to_groups(&mut self, rows: &Rows, entry: Entry) {
        self.groups
            .add(rows, &entry.last, &entry.called, entry.parts);
    }

    /// Adds the last interval, and makes rows of all usage added since the last call. The sum of
    /// the rows is the sum of the intervals, with any options.
    pub fn take(&mut self, rows: &Rows, interval: Interval, known: &Known) -> Vec<Row> {
        let mut all = mem::replace(self, Self::with_room(self.room));
        let is_grouped = rows.layout.group_by != GroupBy::Process;
        // Without earlier entries, remote ends and TCP's own account there is nothing to merge.
        let is_merged = all.entries.is_empty() && rows.layout.remote.is_none() && !rows.layout.tcp;
        let (mut made, rest) = if is_grouped {
            if is_merged {
                all.add_unattributed(interval.unattributed, interval.unattributed_tcp);
                for usage in interval.usage {
                    let (last, counters, tcp) = (usage.last, usage.counters, usage.tcp);
                    let called = Called::of(&last, known);
                    let parts = Parts::One(None, Amount { counters, tcp });
                    all.groups.add(rows, &last, &called, parts);
                }
            } else {
                all.enter(rows, interval, known);
                for entry in mem::take(&mut all.entries).into_values() {
                    all.add_to_groups(rows, entry);
                }
            }
            all.groups.into_rows(rows)
        } else {
            let named = if is_merged {
                all.add_unattributed(interval.unattributed, interval.unattributed_tcp);
                let usage = interval.usage.into_iter();
                usage.map(|usage| Named::new(usage, known)).collect()
            } else {
                all.enter(rows, interval, known);
                all.take_named()
            };
            let (made, rest) = rows.cut(named);
            let is_split = rows.layout.threads || rows.layout.remote.is_some();
            for Named { usage, .. } in rest {
                let is_new = !is_split || all.other_owners.insert(usage.last.process);
                let (counters, tcp) = (usage.counters, usage.tcp);
                all.other.amount += Amount { counters, tcp };
                all.other.processes += u64::from(is_new);
            }
            (made, all.other)
        };
        if rest.processes > 0 {
            made.push(Row {
                who: Who::Other {
                    processes: rest.processes,
                },
                counters: rest.amount.counters,
                tcp: rest.amount.tcp,
                remote: None,
                remote_name: None,
            });
        }
        if !all.unattributed.is_zero() {
            made.push(Row {
                who: Who::Unattributed,
                counters: all.unattributed.counters,
                tcp: all.unattributed.tcp,
                remote: None,
                remote_name: None,
            });
        }
        made
    }

    /// Takes out all entries, as rows.
    fn take_named(&mut self) -> Vec<Named> {
        let mut named = Vec::with_capacity(self.parts);
        for mut entry in mem::take(&mut self.entries).into_values() {
            if entry.in_other {
                self.other_owners.insert(entry.last.process);
            }
            named.extend(entry.take_rows());
        }
        named
    }

    /// The sum of all usage added since the rows were last taken.
    #[must_use]
    pub fn total(&self) -> Counters {
        let entries = self.entries.values().map(|entry| entry.parts.total());
        entries.sum::<Counters>()
            + self.groups.total()
            + self.other.amount.counters
            + self.unattributed.counters
    }

    /// How many values are in memory.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.parts + self.groups.len()
    }
}
