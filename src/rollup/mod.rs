//! From usage to rows: naming, grouping, ordering, and summing up what is left out.

use std::cmp::Reverse;
use std::iter;

use chrono::{DateTime, TimeDelta, Utc};
use clap::ValueEnum;
use foldhash::{HashMap, HashSet};

use crate::host::{Cgroups, user_name};
use crate::model::{Counters, GroupBy, Interval, Layout, Process, ProcessId, Row, Usage, Who};

/// What rows are ordered by; numbers in descending order.
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

/// How rows are made.
#[derive(Clone, Debug)]
pub struct Rows {
    /// What a row stands for.
    pub layout: Layout,
    /// Their order.
    pub sort: SortKey,
    /// How many to show; the rest is summed in one row.
    pub top: Option<usize>,
    /// When the host was booted, by its wall clock: turns starts into times of day.
    pub booted: DateTime<Utc>,
}

impl Rows {
    /// The rows of an interval. Their sum is the interval's, whatever the options.
    #[must_use]
    pub fn make(&self, interval: Interval, cgroups: &Cgroups) -> Vec<Row> {
        let unattributed = interval.unattributed;
        let mut rows = match self.layout.group_by {
            GroupBy::Process => self.cut(interval.usage, cgroups),
            by => self.cut(group(by, &interval.usage, cgroups), cgroups),
        };
        if !unattributed.is_zero() {
            rows.push(Row {
                who: Who::Unattributed,
                counters: unattributed,
            });
        }
        rows
    }

    /// Orders them, and sums up what is too much.
    fn cut<C: Candidate>(&self, mut all: Vec<C>, cgroups: &Cgroups) -> Vec<Row> {
        all.sort_unstable_by(|one, other| self.order(one).cmp(&self.order(other)));
        let rest = all.split_off(self.top.unwrap_or(usize::MAX).min(all.len()));
        // In place: there can be as many rows as processes.
        let mut rows: Vec<Row> = all.into_iter().map(|one| one.row(self, cgroups)).collect();
        if !rest.is_empty() {
            // Two rows can have the same process.
            let processes: HashSet<_> = rest.iter().flat_map(Candidate::processes).collect();
            rows.push(Row {
                who: Who::Other {
                    processes: processes.len() as u64,
                },
                counters: rest.iter().map(Candidate::counters).sum(),
            });
        }
        rows
    }

    /// Sorts ascending; ties by name, ids and start (a pid can be used again within an
    /// interval), so that the order is always the same.
    fn order<'c, C: Candidate>(&self, one: &'c C) -> impl Ord + use<'c, C> {
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
        (Reverse(value), one.name(self.layout.threads), ids)
    }
}

/// What can become a row, or a part of `(other)`.
trait Candidate {
    /// The name to sort by, where rows are threads or where they are not.
    fn name(&self, threads: bool) -> &[u8];

    /// Process, its start, thread.
    fn ids(&self) -> (u32, u64, u32);

    fn counters(&self) -> Counters;

    fn processes(&self) -> impl Iterator<Item = ProcessId>;

    fn row(self, rows: &Rows, cgroups: &Cgroups) -> Row;
}

impl Candidate for Usage {
    fn name(&self, threads: bool) -> &[u8] {
        if threads {
            self.last.thread_comm.as_bytes()
        } else {
            self.last.comm.as_bytes()
        }
    }

    fn ids(&self) -> (u32, u64, u32) {
        let ProcessId { pid, start } = self.last.process;
        (pid, start, self.last.tid)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn processes(&self) -> impl Iterator<Item = ProcessId> {
        iter::once(self.last.process)
    }

    fn row(self, rows: &Rows, cgroups: &Cgroups) -> Row {
        let (last, threads) = (&self.last, rows.layout.threads);
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
                cgroup: cgroups.path(last.cgroup).cloned(),
                start: start.unwrap_or(rows.booted),
                state: self.state,
            }),
            counters: self.counters,
        }
    }
}

/// Everything with the same key.
struct Group {
    key: String,
    counters: Counters,
    processes: HashSet<ProcessId>,
}

impl Candidate for Group {
    fn name(&self, _: bool) -> &[u8] {
        self.key.as_bytes()
    }

    fn ids(&self) -> (u32, u64, u32) {
        (0, 0, 0)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn processes(&self) -> impl Iterator<Item = ProcessId> {
        self.processes.iter().copied()
    }

    fn row(self, _: &Rows, _: &Cgroups) -> Row {
        Row {
            who: Who::Group {
                key: self.key,
                processes: self.processes.len() as u64,
            },
            counters: self.counters,
        }
    }
}

fn group(by: GroupBy, usage: &[Usage], cgroups: &Cgroups) -> Vec<Group> {
    let mut groups: HashMap<String, (Counters, HashSet<ProcessId>)> = HashMap::default();
    let mut users: HashMap<u32, String> = HashMap::default();
    for one in usage {
        let key = match by {
            GroupBy::Cgroup => cgroups
                .path(one.last.cgroup)
                .map_or_else(String::new, |path| path.to_string()),
            GroupBy::User => users
                .entry(one.last.uid)
                .or_insert_with_key(|uid| user_name(*uid))
                .clone(),
            GroupBy::Comm | GroupBy::Process => one.last.comm.to_str_lossy().into_owned(),
        };
        let (counters, processes) = groups.entry(key).or_default();
        *counters += one.counters;
        processes.insert(one.last.process);
    }
    groups
        .into_iter()
        .map(|(key, (counters, processes))| Group {
            key,
            counters,
            processes,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Comm, Identity, State};

    /// Two of the same name, pid and traffic: one ended, and the other got its pid.
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
                creds_differ: false,
            },
            state: State::Exited,
            counters: Counters::default(),
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
            rows.make(interval, &Cgroups::default())
        };
        assert_eq!(order([1, 2, 3]), order([3, 1, 2]));
        assert_eq!(order([1, 2, 3]), order([2, 3, 1]));
    }
}
