//! Traffic with remote ends, and TCP's own account, until the ledger's interval ends.

use std::cell::RefCell;
use std::mem;
use std::rc::Rc;

use foldhash::HashMap;
use foldhash::fast::RandomState;
use indexmap::IndexMap;

use super::{
    Counters, Health, Identity, ProcessId, Remote, RemoteRecord, State, Tcp, TcpRecord, Usage,
};

/// The key of the ledger: a process, or a thread of a process.
pub(super) type Key = (ProcessId, Option<u32>);

/// Rows by process (or thread) and remote end. The kernel says of a row only which process it
/// belongs to. The name, the user and the cgroup come from the records of its threads.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: IndexMap<(Key, Remote), Counters, RandomState>,
    /// TCP's own account, with what the kernel remembered of the owner. The owner may have ended
    /// long ago.
    tcp: IndexMap<(Key, Option<Remote>), (Identity, Tcp), RandomState>,
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

    pub(super) fn add_tcp(&mut self, records: &[TcpRecord]) {
        for record in records {
            let thread = record.by_thread.then_some(record.owner.tid);
            let key = ((record.owner.process, thread), record.remote);
            let (owner, tcp) = self
                .tcp
                .entry(key)
                .or_insert((record.owner, Tcp::default()));
            *owner = record.owner;
            *tcp += record.tcp;
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
    /// records were lost. `alive` is called for processes that the ledger has
    /// forgotten, and for those that only TCP's account knows.
    pub(super) fn take(
        &mut self,
        living: impl Fn(&Key) -> Option<(Identity, bool)>,
        alive: impl FnMut(ProcessId) -> bool,
        usage: &mut Vec<Usage>,
    ) -> Counters {
        let alive = RefCell::new(alive);
        let mut unowned = Counters::default();
        let [new, old] = &self.gone;
        usage.reserve(self.rows.len() + self.tcp.len());
        // A forgotten process may have been alive in threads without traffic, and have ended since.
        let forgotten = |key: &Key| {
            let (last, exited) = *new.get(key).or_else(|| old.get(key))?;
            let exited = exited || !alive.borrow_mut()(key.0);
            Some((last, exited))
        };
        let find = |key: &Key| living(key).or_else(|| forgotten(key));
        // exec gives the calling thread the id of its process.
        let known = |key: &Key| {
            let (process, thread) = *key;
            find(key).or_else(|| find(&(process, thread.map(|_| process.pid))))
        };
        let state = |exited| match exited {
            true => State::Exited,
            false => State::Running,
        };
        for ((key, remote), counters) in mem::take(&mut self.rows) {
            let Some((last, exited)) = known(&key) else {
                unowned += counters;
                continue;
            };
            usage.push(Usage {
                last,
                state: state(exited),
                counters,
                tcp: Health::default(),
                remote: Some(Rc::new(remote)),
            });
        }
        for ((key, remote), (owner, tcp)) in mem::take(&mut self.tcp) {
            let (last, exited) =
                known(&key).unwrap_or_else(|| (owner, !alive.borrow_mut()(owner.process)));
            usage.push(Usage {
                last,
                state: state(exited),
                counters: Counters::default(),
                tcp: tcp.into(),
                remote: remote.map(Rc::new),
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
        self.rows.len() + self.tcp.len()
    }
}
