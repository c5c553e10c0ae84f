//! The order of rows, how many are shown, and the contents of each row.

use std::cmp::Reverse;
use std::rc::Rc;

use chrono::{DateTime, TimeDelta, Utc};
use clap::ValueEnum;

use super::parts::Amount;
use crate::host::{Cgroup, CommandLine, Known};
use crate::model::{Counters, Identity, Layout, Process, ProcessId, Remote, Row, Usage, Who};

/// The sort key of rows. Numbers are sorted in descending order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SortKey {
    /// Bytes sent and received
    #[default]
    Bytes,
    /// Messages sent and received
    Msgs,
    /// Bytes sent
    Sent,
    /// Bytes received
    Received,
    /// TCP bytes
    Tcp,
    /// UDP bytes
    Udp,
    /// Process id, ascending
    Pid,
    /// Name, ascending
    Comm,
}

/// The options for making rows.
#[derive(Clone, Debug)]
pub struct Rows {
    /// What each row stands for.
    pub layout: Layout,
    /// The sort key.
    pub sort: SortKey,
    /// How many to show; the rest is summed in one row.
    pub top: Option<usize>,
    /// Boot time of the host by the wall clock: converts start times to dates.
    pub booted: DateTime<Utc>,
}

impl Rows {
    /// Sorts `all`, and makes rows of the first `top`. Also returns the rest.
    pub(super) fn cut<C: Candidate>(&self, mut all: Vec<C>) -> (Vec<Row>, Vec<C>) {
        all.sort_unstable_by(|one, other| self.order(one).cmp(&self.order(other)));
        let rest = all.split_off(self.top.unwrap_or(usize::MAX).min(all.len()));
        (all.into_iter().map(|one| one.row(self)).collect(), rest)
    }

    /// The key for an ascending sort. Name, ids, start and remote end break ties, so that the order
    /// is always the same. The start is needed because a pid can be reused within an interval.
    pub(super) fn order<'c, C: Candidate>(&self, one: &'c C) -> impl Ord + use<'c, C> {
        let (c, ids) = (one.counters(), one.ids());
        let value = match self.sort {
            SortKey::Bytes => c.bytes(),
            SortKey::Msgs => c.msgs(),
            SortKey::Sent => c.sent_bytes(),
            SortKey::Received => c.received_bytes(),
            SortKey::Tcp => c.tcp_send_bytes.saturating_add(c.tcp_recv_bytes),
            SortKey::Udp => c.udp_send_bytes.saturating_add(c.udp_recv_bytes),
            SortKey::Pid => u64::from(u32::MAX - ids.0),
            SortKey::Comm => 0,
        };
        (
            Reverse(value),
            one.name(self.layout.threads),
            ids,
            one.remote(),
        )
    }
}

/// A candidate for a row: a process, a thread or a group.
pub(super) trait Candidate {
    /// The name to sort by. If `threads` is set, this is the name of the thread.
    fn name(&self, threads: bool) -> &[u8];

    /// Process id, start of the process, thread id.
    fn ids(&self) -> (u32, u64, u32);

    fn counters(&self) -> Counters;

    /// The remote end of its traffic.
    fn remote(&self) -> Option<&Remote>;

    fn row(self, rows: &Rows) -> Row;
}

/// What a process is called, apart from what its records say.
#[derive(Clone, Debug, Default)]
pub(super) struct Called {
    /// `None` if the path is not known.
    pub(super) cgroup: Option<Rc<Cgroup>>,
    /// `None` if it is not known, or if rows do not need it.
    pub(super) command: Option<Rc<CommandLine>>,
}

impl Called {
    pub(super) fn of(last: &Identity, known: &Known) -> Self {
        Self {
            cgroup: known.cgroup(last).cloned(),
            command: known.command(last),
        }
    }
}

/// Usage of a process or thread, and what it is called.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) usage: Usage,
    pub(super) called: Called,
}

impl Named {
    pub(super) fn new(usage: Usage, known: &Known) -> Self {
        let called = Called::of(&usage.last, known);
        Self { usage, called }
    }
}

impl Candidate for Named {
    fn name(&self, threads: bool) -> &[u8] {
        if threads {
            self.usage.last.thread_comm.as_bytes()
        } else {
            self.usage.last.comm.as_bytes()
        }
    }

    fn ids(&self) -> (u32, u64, u32) {
        let ProcessId { pid, start } = self.usage.last.process;
        (pid, start, self.usage.last.tid)
    }

    fn counters(&self) -> Counters {
        self.usage.counters
    }

    fn remote(&self) -> Option<&Remote> {
        self.usage.remote.as_deref()
    }

    fn row(self, rows: &Rows) -> Row {
        let (last, threads) = (&self.usage.last, rows.layout.threads);
        let cgroup = self.called.cgroup.as_deref();
        let command = self.called.command.as_ref().filter(|_| rows.layout.cmdline);
        let since_boot = i64::try_from(last.process.start).unwrap_or(i64::MAX);
        let start = rows
            .booted
            .checked_add_signed(TimeDelta::nanoseconds(since_boot));
        Row {
            who: Who::Process(Process {
                pid: last.process.pid,
                tid: threads.then_some(last.tid),
                comm: if threads { last.thread_comm } else { last.comm },
                uid: last.uid,
                cgroup: cgroup.map(Cgroup::path).cloned(),
                unit: cgroup.and_then(Cgroup::unit).cloned(),
                container: cgroup.and_then(Cgroup::container).cloned(),
                cmdline: command.and_then(|command| command.line()).cloned(),
                start: start.unwrap_or(rows.booted),
                start_ns: last.process.start,
                state: self.usage.state,
            }),
            counters: self.usage.counters,
            tcp: self.usage.tcp,
            remote: self.usage.remote,
            remote_name: None,
        }
    }
}

/// The sum of all processes with the same key, with one remote end if rows are split.
pub(super) struct Group {
    /// Its number in `Groups`.
    pub(super) number: usize,
    pub(super) key: String,
    pub(super) remote: Option<Rc<Remote>>,
    pub(super) amount: Amount,
    pub(super) processes: u64,
}

impl Candidate for Group {
    fn name(&self, _: bool) -> &[u8] {
        self.key.as_bytes()
    }

    fn ids(&self) -> (u32, u64, u32) {
        (0, 0, 0)
    }

    fn counters(&self) -> Counters {
        self.amount.counters
    }

    fn remote(&self) -> Option<&Remote> {
        self.remote.as_deref()
    }

    fn row(self, _: &Rows) -> Row {
        Row {
            who: Who::Group {
                key: self.key,
                processes: self.processes,
            },
            counters: self.amount.counters,
            tcp: self.amount.tcp,
            remote: self.remote,
            remote_name: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Comm, Health, Identity, Interval, State};
    use crate::rollup::Pending;

    /// Processes with the same name, pid and traffic: one ended, and another one got its pid.
    #[test]
    fn rows_that_differ_only_in_their_start_have_one_order() {
        let usage = |start| Usage {
            last: Identity {
                process: ProcessId { pid: 7, start },
                tid: 7,
                comm: Comm::new(b"same"),
                thread_comm: Comm::new(b"same"),
                uid: 0,
                cgroup: 1,
                owner: Some(0),
            },
            state: State::Exited,
            counters: Counters::default(),
            tcp: Health::default(),
            remote: None,
        };
        let rows = Rows {
            layout: Layout::default(),
            sort: SortKey::default(),
            top: None,
            booted: DateTime::UNIX_EPOCH,
        };
        let order = |starts: [u64; 3]| {
            let interval = Interval {
                usage: starts.map(usage).to_vec(),
                ..Interval::default()
            };
            Pending::with_room(0).take(&rows, interval, &Known::default())
        };
        assert_eq!(order([1, 2, 3]), order([3, 1, 2]));
        assert_eq!(order([1, 2, 3]), order([2, 3, 1]));
    }
}
