//! From snapshots and exit records to what each process did in an interval.
//!
//! A thread is seen again and again: in every snapshot while it lives, and once more in
//! its exit record. Its newest counters *replace* the older ones, so that nothing is
//! counted twice however the two kinds of record are interleaved.

use std::hash::Hash;
use std::mem;

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashSet};
use indexmap::map::{Entry as MapEntry, IndexMap};

use super::interval::{Extent, Interval, Losses, Usage};
use super::{Counters, Identity, ProcessId, State, ThreadRecord};

/// A record that has not come so many snapshots after its thread had gone was lost; one
/// that is being written just then comes with the next.
const STILL_TO_COME: u64 = 1000;

/// What rows are made of: a process, or a thread of one.
type Key = (ProcessId, Option<u32>);

#[derive(Debug)]
struct Block {
    key: Key,
    /// The newest counters seen.
    counters: Counters,
    /// The snapshot in which it was seen last.
    seen: u64,
}

#[derive(Debug)]
struct Entry {
    last: Identity,
    /// Counted since the last interval.
    counters: Counters,
    /// Blocks of it that have not ended.
    live_blocks: u32,
    group_dead: bool,
    /// It is in the ledger's list of those to look at.
    touched: bool,
}

impl Entry {
    /// Puts it on the list, once.
    fn touch(&mut self, key: Key, list: &mut Vec<Key>) {
        if !mem::replace(&mut self.touched, true) {
            list.push(key);
        }
    }
}

/// Tables of large values, which take no more room than there are.
type Table<K, V> = IndexMap<K, V, RandomState>;

/// Adds up records into intervals. Pure: no clock, no kernel, no I/O.
#[derive(Debug, Default)]
pub struct Ledger {
    by_thread: bool,
    blocks: Table<u64, Block>,
    entries: Table<Key, Entry>,
    /// Entries of which something came since the last interval: most did nothing.
    touched: Vec<Key>,
    /// Blocks whose exit record has come, since the last snapshot and the one before:
    /// an older record of theirs must not bring them back.
    ended: [HashSet<u64>; 2],
    snapshots: u64,
    /// The newest snapshot of all threads, if the last interval did not know of it yet.
    all_seen: Option<u64>,
    /// Reported counters of blocks that are gone without an exit record, and the snapshot
    /// that did not show them.
    vanished: HashMap<u64, (u64, Counters)>,
    /// Those of them for which no record will come any more.
    lost: Counters,
    /// The newest totals of what the kernel's side lost, and how much was reported of it.
    losses: Losses,
    reported_unattributed: Counters,
}

impl Ledger {
    /// A ledger with a row per process, or with `by_thread` a row per thread.
    #[must_use]
    pub fn new(by_thread: bool) -> Self {
        Self {
            by_thread,
            ..Self::default()
        }
    }

    /// Takes exit records, at any time and in any order.
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

    /// Takes a snapshot of the living, and the losses read after it.
    ///
    /// Exit records that were written before the snapshot began should come first or
    /// directly after; a later one only means that its process counts as running a
    /// little longer.
    pub fn snapshot(&mut self, records: &[ThreadRecord], extent: Extent, losses: Losses) {
        self.snapshots += 1;
        if extent == Extent::All {
            self.all_seen = Some(self.snapshots);
        }
        // Growing step by step would move everything again and again.
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

    /// Ends the interval: call it after the snapshot and the exit records behind it.
    ///
    /// `alive` is asked about processes of which no thread with traffic is left, but of
    /// which it is not known whether others live on.
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
            // A thread has ended when its record says so; a process when no thread is left.
            let exited = entry.group_dead || (ended && (self.by_thread || !alive(process)));
            if ended && !self.by_thread {
                if exited { &mut gone } else { &mut silent }.push(process);
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
                });
            }
            if ended {
                place.swap_remove();
            }
        }
        // After the busiest moment of a long recording its memory is given back.
        shrink(&mut self.entries);
        shrink(&mut self.blocks);
        Interval {
            usage,
            ended: gone,
            silent,
            unattributed: self.unattributed(),
        }
    }

    /// Messages and bytes since the last interval, for showing how it is going.
    #[must_use]
    pub fn pending(&self) -> Counters {
        let touched = self.touched.iter();
        touched
            .filter_map(|key| self.entries.get(key))
            .map(|entry| entry.counters)
            .sum()
    }

    /// How many entries have changed since the last interval. [`Ledger::interval`] frees those
    /// that have ended.
    #[must_use]
    pub fn changed(&self) -> usize {
        self.touched.len()
    }

    /// How many processes (or threads) it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Everything that is alive as far as the last snapshot tells.
    pub fn living(&self) -> impl Iterator<Item = &Identity> {
        self.entries
            .values()
            .filter(|entry| entry.live_blocks > 0 && !entry.group_dead)
            .map(|entry| &entry.last)
    }

    fn has_ended(&self, block: u64) -> bool {
        self.ended.iter().any(|ended| ended.contains(&block))
    }

    /// Replaces a block's counters by newer ones, and charges the difference.
    fn take(&mut self, record: &ThreadRecord) {
        let last = record.identity;
        let key = (last.process, self.by_thread.then_some(last.tid));
        let (block, is_new) = match self.blocks.entry(record.block) {
            MapEntry::Occupied(block) => (block.into_mut(), false),
            MapEntry::Vacant(place) => {
                // One that was given up for lost goes on from where it was.
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
        // exec by a thread that is not the first gives it another thread id.
        let moved_from = (block.key != key).then_some(block.key);
        block.key = key;

        if let Some(old) = moved_from {
            self.one_less(old);
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
            self.one_less(block.key);
        }
    }

    /// A block of this entry is gone.
    fn one_less(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.live_blocks = entry.live_blocks.saturating_sub(1);
            entry.touch(key, &mut self.touched);
        }
    }

    /// Blocks that a snapshot of all threads did not show and that have no exit record:
    /// the record was lost, or is being written just now and will come.
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

    /// The kernel's side reports all of a lost thread's counters; what snapshots showed
    /// of it is in rows already, and must not be reported again.
    fn unattributed(&mut self) -> Counters {
        let (snapshots, lost) = (self.snapshots, &mut self.lost);
        self.vanished.retain(|_, (gone, counters)| {
            let may_come = snapshots - *gone < STILL_TO_COME;
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

/// Gives back the room of a table that is mostly empty.
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
    fn the_room_of_a_busy_interval_is_given_back() {
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
