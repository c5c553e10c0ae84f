//! Turns snapshots and exit records into the usage of each interval.
//!
//! A thread with new traffic is in the next snapshot, or in its exit record, or in both. Its newest
//! counters *replace* the older ones. So nothing is counted twice, in whatever order the two kinds
//! of records arrive.

use std::hash::Hash;
use std::mem;

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashSet};
use indexmap::map::{Entry as MapEntry, IndexMap};

use super::interval::{Extent, Interval, Losses, Usage};
use super::rows::{Key, Rows};
use super::{
    Counters, Health, Identity, ProcessId, RemoteRecord, State, Tcp, TcpRecord, ThreadRecord,
};

/// An exit record counts as lost if it has not arrived this many snapshots after its thread
/// disappeared. A record that was being written at the time arrives with the next snapshot.
const LOST_AFTER_SNAPSHOTS: u64 = 1000;

#[derive(Debug)]
struct Block {
    key: Key,
    /// The newest counters seen.
    counters: Counters,
    /// Number of the last snapshot or exit record in which it was seen.
    seen: u64,
}

#[derive(Debug)]
struct Entry {
    last: Identity,
    /// Traffic since the last interval.
    counters: Counters,
    /// Number of its blocks that have not ended.
    live_blocks: u32,
    group_dead: bool,
    /// The entry is in the ledger's list of touched entries.
    touched: bool,
}

impl Entry {
    /// Adds the entry to the list, unless it is there already.
    fn touch(&mut self, key: Key, list: &mut Vec<Key>) {
        if !mem::replace(&mut self.touched, true) {
            list.push(key);
        }
    }
}

/// A hash map for large values. Its values are stored without gaps.
type Table<K, V> = IndexMap<K, V, RandomState>;

/// Adds up records into intervals. Pure: no clock, no kernel, no I/O.
#[derive(Debug, Default)]
pub struct Ledger {
    by_thread: bool,
    blocks: Table<u64, Block>,
    entries: Table<Key, Entry>,
    /// Entries with new records since the last interval. Most entries are idle and not in this
    /// list.
    touched: Vec<Key>,
    /// Blocks whose exit record has arrived since the last snapshot, and since the one before. An
    /// older record must not bring such a block back.
    ended: [HashSet<u64>; 2],
    snapshots: u64,
    /// Number of the newest snapshot of all threads, until an interval has used it.
    all_seen: Option<u64>,
    /// Blocks that disappeared without an exit record: the snapshot that did not show them, and
    /// their counters, which rows have already reported.
    vanished: HashMap<u64, (u64, Counters)>,
    /// Sum of the counters of vanished blocks whose exit record is lost.
    lost: Counters,
    /// The newest loss totals.
    losses: Losses,
    reported_unattributed: Counters,
    reported_tcp: Tcp,
    /// Traffic with remote ends, and TCP's own account, since the last interval.
    rows: Rows,
}

impl Ledger {
    /// Creates a ledger with one row per process, or with `by_thread` one row per thread.
    #[must_use]
    pub fn new(by_thread: bool) -> Self {
        Self {
            by_thread,
            ..Self::default()
        }
    }

    /// Expects traffic with remote ends ([`Ledger::remotes`]), or TCP's own account
    /// ([`Ledger::tcp`]).
    #[must_use]
    pub fn with_remotes(mut self, expected: bool) -> Self {
        if expected {
            self.rows.enable();
        }
        self
    }

    /// Adds exit records, at any time and in any order.
    pub fn exits(&mut self, records: &[ThreadRecord]) {
        for record in records {
            if self.has_ended(record.block) {
                continue;
            }
            self.take(record);
            self.end(record.block);
            self.ended[0].insert(record.block);
        }
    }

    /// Adds traffic with remote ends. Its processes must be in the next snapshot, or in exit records
    /// that are added before the interval ends.
    pub fn remotes(&mut self, records: &[RemoteRecord]) {
        self.rows.add(records);
    }

    /// Adds TCP's own account of processes, which need not have any traffic.
    pub fn tcp(&mut self, records: &[TcpRecord]) {
        self.rows.add_tcp(records);
    }

    /// Adds a snapshot of living threads, and the losses that were read after it.
    ///
    /// Exit records that were written before the snapshot began should be added before it or
    /// directly afterwards. If they are added later, their process only counts as running a little
    /// longer.
    pub fn snapshot(&mut self, records: &[ThreadRecord], extent: Extent, losses: Losses) {
        self.snapshots += 1;
        if extent == Extent::All {
            self.all_seen = Some(self.snapshots);
        }
        // Growing the maps step by step would copy them again and again.
        let more = records.len().saturating_sub(self.blocks.len());
        self.blocks.reserve(more);
        self.entries
            .reserve(more.saturating_sub(self.entries.len()));
        for record in records {
            if !self.has_ended(record.block) {
                self.take(record);
            }
        }
        self.losses = losses;
        let [new, old] = &mut self.ended;
        *old = mem::take(new);
    }

    /// Ends the interval. Call it after adding the snapshot and the exit records read after it.
    ///
    /// `alive` is called for processes whose threads with traffic have all ended. It returns
    /// whether other threads of the process are alive.
    pub fn interval(&mut self, mut alive: impl FnMut(ProcessId) -> bool) -> Interval {
        self.find_vanished();
        let mut usage = Vec::with_capacity(self.touched.len());
        let (mut gone, mut silent) = (Vec::new(), Vec::new());
        for key in mem::take(&mut self.touched) {
            let MapEntry::Occupied(mut place) = self.entries.entry(key) else {
                continue;
            };
            let (process, _) = key;
            let entry = place.get_mut();
            entry.touched = false;
            let idle = entry.counters.is_zero();
            if entry.live_blocks > 0 && idle {
                continue;
            }
            let ended = entry.live_blocks == 0;
            // A thread has ended if its record says so. A process has ended if none of its threads
            // is left.
            let exited = entry.group_dead || (ended && (self.by_thread || !alive(process)));
            if ended && !self.by_thread {
                if exited { &mut gone } else { &mut silent }.push(process);
            }
            if ended {
                self.rows.keep(key, entry.last, exited);
            }
            if !idle {
                usage.push(Usage {
                    last: entry.last,
                    state: if exited {
                        State::Exited
                    } else {
                        State::Running
                    },
                    counters: mem::take(&mut entry.counters),
                    tcp: Health::default(),
                    remote: None,
                });
            }
            if ended {
                place.swap_remove();
            }
        }
        let entries = &self.entries;
        let living = |key: &Key| entries.get(key).map(|e| (e.last, e.group_dead));
        let unowned = self.rows.take(living, alive, &mut usage);
        // Free the memory of a busy time that is over.
        shrink(&mut self.entries);
        shrink(&mut self.blocks);
        Interval {
            usage,
            ended: gone,
            silent,
            unattributed: self.unattributed() + unowned,
            unattributed_tcp: self.unattributed_tcp().into(),
        }
    }

    /// Messages and bytes since the last interval, for showing progress.
    #[must_use]
    pub fn pending(&self) -> Counters {
        let touched = self.touched.iter();
        touched
            .filter_map(|key| self.entries.get(key))
            .map(|entry| entry.counters)
            .sum::<Counters>()
            + self.rows.total()
    }

    /// Number of entries that have changed since the last interval. [`Ledger::interval`] frees the
    /// entries that have ended.
    #[must_use]
    pub fn changed(&self) -> usize {
        self.touched.len() + self.rows.len()
    }

    /// Number of processes (or threads) in the ledger.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the ledger has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The processes (or threads) that were alive in the last snapshot.
    pub fn living(&self) -> impl Iterator<Item = &Identity> {
        self.entries
            .values()
            .filter(|entry| entry.live_blocks > 0 && !entry.group_dead)
            .map(|entry| &entry.last)
    }

    fn has_ended(&self, block: u64) -> bool {
        self.ended.iter().any(|ended| ended.contains(&block))
    }

    /// Replaces a block's counters with newer ones, and charges the difference.
    fn take(&mut self, record: &ThreadRecord) {
        let last = record.identity;
        let key = (last.process, self.by_thread.then_some(last.tid));
        let (block, is_new) = match self.blocks.entry(record.block) {
            MapEntry::Occupied(block) => (block.into_mut(), false),
            MapEntry::Vacant(place) => {
                // A vanished block that reappears continues from its old counters.
                let counters = self.vanished.remove(&record.block);
                let counters = counters.map_or(Counters::default(), |(_, counters)| counters);
                let block = Block {
                    key,
                    counters,
                    seen: 0,
                };
                (place.insert(block), true)
            }
        };
        let added = record.counters.since(block.counters);
        block.counters = block.counters.max(record.counters);
        block.seen = self.snapshots;
        // exec by a thread other than the group leader changes its thread id.
        let moved_from = (block.key != key).then_some(block.key);
        block.key = key;

        if let Some(old) = moved_from {
            if let Some(entry) = self.entries.get(&old) {
                self.rows.keep(old, entry.last, entry.group_dead);
            }
            self.drop_block(old);
        }
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            last,
            counters: Counters::default(),
            live_blocks: 0,
            group_dead: false,
            touched: false,
        });
        if is_new || moved_from.is_some() {
            entry.live_blocks += 1;
        }
        entry.last = last;
        entry.counters += added;
        entry.group_dead |= record.group_dead;
        entry.touch(key, &mut self.touched);
    }

    fn end(&mut self, block: u64) {
        if let Some(block) = self.blocks.swap_remove(&block) {
            self.drop_block(block.key);
        }
    }

    /// Removes one block from this entry.
    fn drop_block(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.live_blocks = entry.live_blocks.saturating_sub(1);
            entry.touch(key, &mut self.touched);
        }
    }

    /// Finds blocks that a snapshot of all threads did not show and that have no exit record. The
    /// record was lost, or it is just being written and will arrive.
    fn find_vanished(&mut self) {
        let Some(all_seen) = self.all_seen.take() else {
            return;
        };
        let gone: Vec<u64> = self
            .blocks
            .iter()
            .filter(|(_, block)| block.seen < all_seen)
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            if let Some(block) = self.blocks.get(&id)
                && !block.counters.is_zero()
            {
                self.vanished.insert(id, (self.snapshots, block.counters));
            }
            self.end(id);
        }
    }

    fn unattributed_tcp(&mut self) -> Tcp {
        let total = self.losses.tcp_unattributed;
        total.since(mem::replace(&mut self.reported_tcp, total))
    }

    /// The new unattributed traffic. The losses contain all counters of a thread whose exit record
    /// was lost. The part that snapshots showed is already in rows, and must not be reported again.
    fn unattributed(&mut self) -> Counters {
        let (snapshots, lost) = (self.snapshots, &mut self.lost);
        self.vanished.retain(|_, (gone, counters)| {
            let may_come = snapshots - *gone < LOST_AFTER_SNAPSHOTS;
            if !may_come {
                *lost += *counters;
            }
            may_come
        });
        let late: Counters = self.vanished.values().map(|(_, counters)| *counters).sum();
        let in_rows = late + self.lost;
        let total = self.losses.no_memory + self.losses.no_task + self.losses.exits.since(in_rows);
        let new = total.since(self.reported_unattributed);
        self.reported_unattributed = self.reported_unattributed.max(total);
        new
    }
}

/// Frees the memory of a table that is mostly empty.
fn shrink<K: Eq + Hash, V>(table: &mut Table<K, V>) {
    const SMALL: usize = 1024;
    let used = table.len().saturating_mul(8).max(SMALL);
    if table.capacity() > used {
        table.shrink_to(used / 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_busy_interval_is_freed() {
        let one = Counters {
            udp_send_msgs: 1,
            ..Counters::default()
        };
        let record = |n: u32| ThreadRecord {
            exited: true,
            group_dead: true,
            ..ThreadRecord::of_test(n.into(), ProcessId { pid: n, start: 7 }, n, one)
        };
        let records: Vec<_> = (1..50_000).map(record).collect();
        let mut ledger = Ledger::new(false);
        ledger.snapshot(&records, Extent::All, Losses::default());
        assert_eq!(ledger.interval(|_| true).usage.len(), records.len());
        ledger.snapshot(&[], Extent::All, Losses::default());
        ledger.exits(&records);
        ledger.interval(|_| false);
        assert!(ledger.entries.capacity() < 5_000);
        assert!(ledger.blocks.capacity() < 5_000);
    }
}
