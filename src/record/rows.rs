//! From usage to rows: naming, grouping, ordering, and summing up what is left out.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use clap::ValueEnum;

use super::Cgroups;
use crate::model::{Counters, Interval, Process, ProcessId, Row, Usage, Who};
use crate::output::{GroupBy, Layout};

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
            GroupBy::Process => {
                let usage = interval.usage.into_iter();
                let rows = usage.map(|one| (self.process(&one, cgroups), one.last.process));
                self.cut(rows.collect(), |process, all| {
                    all.insert(*process);
                })
            }
            by => self.cut(group(by, &interval.usage, cgroups), |some, all| {
                all.extend(some);
            }),
        };
        if !unattributed.is_zero() {
            rows.push(Row {
                who: Who::Unattributed,
                counters: unattributed,
            });
        }
        rows
    }

    /// Orders them, and sums up what is too much. `note` puts the processes of a row with
    /// those of others: two rows can have the same one.
    fn cut<P>(
        &self,
        mut rows: Vec<(Row, P)>,
        note: impl Fn(&P, &mut HashSet<ProcessId>),
    ) -> Vec<Row> {
        rows.sort_unstable_by(|(one, _), (other, _)| self.order(one).cmp(&self.order(other)));
        let rest = rows.split_off(self.top.unwrap_or(usize::MAX).min(rows.len()));
        let mut rows: Vec<Row> = rows.into_iter().map(|(row, _)| row).collect();
        if !rest.is_empty() {
            let mut processes = HashSet::new();
            for (_, some) in &rest {
                note(some, &mut processes);
            }
            rows.push(Row {
                who: Who::Other {
                    processes: processes.len() as u64,
                },
                counters: rest.iter().map(|(row, _)| row.counters).sum(),
            });
        }
        rows
    }

    fn process(&self, usage: &Usage, cgroups: &Cgroups) -> Row {
        let last = &usage.last;
        let since_boot = i64::try_from(last.process.start).unwrap_or(i64::MAX);
        let comm = if self.layout.threads {
            last.thread_comm
        } else {
            last.comm
        };
        Row {
            who: Who::Process(Process {
                pid: last.process.pid,
                tid: self.layout.threads.then_some(last.tid),
                comm,
                uid: last.uid,
                cgroup: cgroups.path(last.cgroup).map(str::to_owned),
                start: self
                    .booted
                    .checked_add_signed(TimeDelta::nanoseconds(since_boot))
                    .unwrap_or(self.booted),
                state: usage.state,
            }),
            counters: usage.counters,
        }
    }

    /// Sorts ascending; ties by name, ids and start (a pid can be used again within an
    /// interval), so that the order is always the same.
    fn order<'r>(&self, row: &'r Row) -> impl Ord + use<'r> {
        let c: &Counters = &row.counters;
        let (name, pid, start, tid) = match &row.who {
            Who::Process(p) => (p.comm.as_bytes(), p.pid, Some(p.start), p.tid),
            Who::Group { key, .. } => (key.as_bytes(), 0, None, None),
            Who::Other { .. } | Who::Unattributed => (&[][..], 0, None, None),
        };
        let value = match self.sort {
            SortKey::Bytes => c.bytes(),
            SortKey::Msgs => c.msgs(),
            SortKey::Sent => c.sent_bytes(),
            SortKey::Received => c.received_bytes(),
            SortKey::Tcp => c.tcp_send_bytes.saturating_add(c.tcp_recv_bytes),
            SortKey::Udp => c.udp_send_bytes.saturating_add(c.udp_recv_bytes),
            SortKey::Pid => u64::from(u32::MAX - pid),
            SortKey::Comm => 0,
        };
        (Reverse(value), name, pid, start, tid)
    }
}

fn group(by: GroupBy, usage: &[Usage], cgroups: &Cgroups) -> Vec<(Row, HashSet<ProcessId>)> {
    let mut groups: HashMap<String, (Counters, HashSet<ProcessId>)> = HashMap::new();
    let mut users: HashMap<u32, String> = HashMap::new();
    for one in usage {
        let key = match by {
            GroupBy::Cgroup => cgroups.path(one.last.cgroup).unwrap_or_default().to_owned(),
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
        .map(|(key, (counters, members))| {
            let processes = members.len() as u64;
            let who = Who::Group { key, processes };
            (Row { who, counters }, members)
        })
        .collect()
}

/// The user's name, or the number where it has none.
fn user_name(uid: u32) -> String {
    uzers::get_user_by_uid(uid).map_or_else(
        || uid.to_string(),
        |user| user.name().to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Comm, State, ThreadRecord};

    /// Two of the same name, pid and traffic: one ended, and the other got its pid.
    #[test]
    fn rows_that_differ_only_in_their_start_have_one_order() {
        let usage = |start| Usage {
            last: ThreadRecord {
                block: start,
                process: ProcessId { pid: 7, start },
                tid: 7,
                comm: Comm::new(b"same"),
                thread_comm: Comm::new(b"same"),
                uid: 0,
                cgroup: 1,
                exited: true,
                group_dead: true,
                creds_differ: false,
                counters: Counters::default(),
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
