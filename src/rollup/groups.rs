//! Sums of processes by group, and by remote end if rows are split.

use std::mem;
use std::rc::Rc;

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashSet};
use indexmap::IndexMap;

use super::parts::{Amount, MaybeRemote, Parts};
use super::rows::{Called, Group, Rows};
use crate::host::{Cgroup, user_name};
use crate::model::{Counters, GroupBy, Identity, Layout, Row};
use crate::text::up_to_depth;

/// Counters, and the number of processes that they belong to.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    pub(super) amount: Amount,
    pub(super) processes: u64,
}

#[derive(Debug, Default)]
struct GroupSum {
    sum: Sum,
    /// How many of its processes have traffic in no other group.
    alone: u64,
}

/// The sums of all groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    sums: IndexMap<(String, MaybeRemote), GroupSum, RandomState>,
    /// How many processes have traffic in exactly these groups, which differ in the remote end. It
    /// is needed to count a process once in `(other)`. Empty without `--top`.
    shared: HashMap<Box<[usize]>, u64>,
    users: HashMap<u32, String>,
}

impl Groups {
    /// Adds a process with all its traffic. A process must not be added twice.
    pub(super) fn add(&mut self, rows: &Rows, last: &Identity, called: &Called, parts: Parts) {
        let mut key = self.key(rows.layout, last, called);
        let mut left = parts.len();
        let is_alone = left <= 1;
        let is_shared = !is_alone && rows.top.is_some();
        let mut numbers = Vec::new();
        for (remote, amount) in parts.into_iter() {
            left = left.saturating_sub(1);
            let key = match left {
                0 => mem::take(&mut key),
                _ => key.clone(),
            };
            let place = self.sums.entry((key, remote));
            if is_shared {
                numbers.push(place.index());
            }
            let group = place.or_default();
            group.sum.amount += amount;
            group.sum.processes += 1;
            group.alone += u64::from(is_alone);
        }
        if is_shared {
            numbers.sort_unstable();
            *self.shared.entry(numbers.into()).or_default() += 1;
        }
    }

    fn key(&mut self, layout: Layout, last: &Identity, called: &Called) -> String {
        let text = |name: Option<&Rc<str>>| name.map(|name| name.to_string()).unwrap_or_default();
        let cgroup = called.cgroup.as_deref();
        match layout.group_by {
            GroupBy::Cgroup => {
                let path = cgroup.map_or("", |cgroup| cgroup.path());
                up_to_depth(path, layout.depth).to_owned()
            }
            GroupBy::Command => match &called.command {
                // As ps(1) writes processes without arguments: mostly threads of the kernel.
                Some(command) if command.is_empty() => format!("[{}]", last.comm.to_str_lossy()),
                command => text(command.as_ref().and_then(|command| command.program())),
            },
            GroupBy::Unit => text(cgroup.and_then(Cgroup::unit)),
            GroupBy::Container => text(cgroup.and_then(Cgroup::container)),
            GroupBy::User => self
                .users
                .entry(last.uid)
                .or_insert_with_key(|uid| user_name(*uid))
                .clone(),
            GroupBy::Comm | GroupBy::Process => last.comm.to_str_lossy().into_owned(),
        }
    }

    /// The rows of the first groups, and the sum of the rest. Each process counts once in the rest.
    pub(super) fn into_rows(self, rows: &Rows) -> (Vec<Row>, Sum) {
        let alone: Vec<u64> = self.sums.values().map(|group| group.alone).collect();
        let groups = self.sums.into_iter().enumerate();
        let groups = groups.map(|(number, ((key, remote), group))| Group {
            number,
            key,
            remote,
            amount: group.sum.amount,
            processes: group.sum.processes,
        });
        let (made, rest) = rows.cut(groups.collect());
        let mut other = Sum::default();
        let mut numbers = HashSet::default();
        for group in rest {
            other.amount += group.amount;
            other.processes += alone.get(group.number).copied().unwrap_or_default();
            numbers.insert(group.number);
        }
        for (groups, processes) in self.shared {
            if groups.iter().any(|number| numbers.contains(number)) {
                other.processes += processes;
            }
        }
        (made, other)
    }

    /// The counters of all groups.
    pub(super) fn total(&self) -> Counters {
        let groups = self.sums.values();
        groups.map(|group| group.sum.amount.counters).sum()
    }

    /// How many values are in memory.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sums.len() + self.shared.len()
    }
}
