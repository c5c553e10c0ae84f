//! Traffic with remote ends until the ledger's interval ends.

use std::mem;
use std::rc::Rc;

use foldhash::HashMap;
use foldhash::fast::RandomState;
use indexmap::IndexMap;

use super::{Counters, Identity, ProcessId, Remote, RemoteRecord, State, Usage};

/// The key of the ledger: a process, or a thread of a process.
pub(super) type Key = (ProcessId, Option<u32>);

/// Rows by process (or thread) and remote end. The kernel says of a row only which process it
/// belongs to. The name, the user and the cgroup come from the records of its threads.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: IndexMap<(Key, Remote), Counters, RandomState>,
    /// Processes (or threads) that the ledger has forgotten since the last interval, and before it.
    /// Rows of them can still arrive: they were counted after the rows of the last interval were
    /// taken and before the end of the process.
    gone: [HashMap<Key, (Identity, bool)>; 2],
    /// Whether rows can arrive. Otherwise nothing is remembered.
    expected: bool,
}

impl Rows {
    /// Expects rows from now on.
    pub(super) fn enable(&mut self) {
        self.expected = true;
    }

    pub(super) fn add(&mut self, records: &[RemoteRecord]) {
        for record in records {
            let key = ((record.process, record.tid), record.remote);
            *self.rows.entry(key).or_default() += record.counters;
        }
    }

    /// Remembers who a forgotten process (or thread) was, and whether it has ended.
    pub(super) fn keep(&mut self, key: Key, last: Identity, exited: bool) {
        if self.expected {
            self.gone[0].insert(key, (last, exited));
        }
    }

    /// Makes usage of all rows. `living` returns the newest identity of a process that the ledger
    /// knows, and whether it has ended. Returns the traffic of rows whose process is not known: its
    /// records were lost.
    pub(super) fn take(
        &mut self,
        living: impl Fn(&Key) -> Option<(Identity, bool)>,
        usage: &mut Vec<Usage>,
    ) -> Counters {
        let mut unowned = Counters::default();
        let [new, old] = &self.gone;
        usage.reserve(self.rows.len());
        for ((key, remote), counters) in mem::take(&mut self.rows) {
            let find =
                |key: &Key| living(key).or_else(|| new.get(key).or_else(|| old.get(key)).copied());
            let (process, thread) = key;
            // exec gives the calling thread the id of its process.
            let known = find(&key).or_else(|| find(&(process, thread.map(|_| process.pid))));
            let Some((last, exited)) = known else {
                unowned += counters;
                continue;
            };
            usage.push(Usage {
                last,
                state: if exited {
                    State::Exited
                } else {
                    State::Running
                },
                counters,
                remote: Some(Rc::new(remote)),
            });
        }
        let [new, old] = &mut self.gone;
        *old = mem::take(new);
        unowned
    }

    /// The traffic of all rows.
    pub(super) fn total(&self) -> Counters {
        self.rows.values().copied().sum()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}
