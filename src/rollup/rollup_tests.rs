//! Rows that are split by remote end: their sums, their order, and the numbers of processes.

mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use chrono::DateTime;
use clap::ValueEnum;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Pending, Rows, SortKey};
use crate::host::{Cgroups, Known};
use crate::model::{
    Comm, Counters, End, GroupBy, Identity, Interval, Layout, ProcessId, Protocol, Remote,
    RemoteMode, Row, State, Tcp, Usage, Who,
};

/// Processes with pids below this number run during the whole test. The others end at once.
const LASTING: u32 = 2;

fn remote(number: u8) -> Rc<Remote> {
    Rc::new(Remote {
        protocol: Protocol::Tcp,
        role: None,
        local_address: None,
        local_port: None,
        remote: End {
            address: [10, 0, 0, number].into(),
            scope: 0,
            port: Some(443),
        },
        netns: None,
    })
}

fn bytes(bytes: u64) -> Counters {
    Counters {
        tcp_send_msgs: 1,
        tcp_send_bytes: bytes,
        ..Counters::default()
    }
}

/// An account that can be told from the counters: that sums of both go together is tested so.
fn tcp(counters: Counters) -> Tcp {
    Tcp {
        out_segs: 3 * counters.bytes(),
        retrans_segs: counters.msgs(),
        ..Tcp::default()
    }
}

/// Usage of a thread. Two processes have the same name, user and cgroup.
fn usage(pid: u32, tid: u32, end: Option<u8>, counters: Counters) -> Usage {
    let name = Comm::new([b"one", b"two"][pid as usize / 2 % 2]);
    Usage {
        last: Identity {
            process: ProcessId { pid, start: 7 },
            tid,
            comm: name,
            thread_comm: name,
            uid: pid / 2 % 2 * 4_000_000_000,
            cgroup: u64::from(pid / 2 % 2),
            owner: Some(0),
        },
        state: if pid < LASTING {
            State::Running
        } else {
            State::Exited
        },
        counters,
        tcp: tcp(counters).into(),
        remote: end.map(remote),
    }
}

fn rows(group_by: GroupBy, threads: bool, split: bool, top: Option<usize>) -> Rows {
    Rows {
        layout: Layout {
            group_by,
            threads,
            remote: split.then_some(RemoteMode::Address),
            names: false,
            tcp: true,
            ..Layout::default()
        },
        sort: SortKey::default(),
        top,
        booted: DateTime::UNIX_EPOCH,
    }
}

fn interval(usage: Vec<Usage>) -> Interval {
    Interval {
        usage,
        ..Interval::default()
    }
}

/// The cgroups of [`usage`]: one is that of a service, and the other one is not known.
fn known() -> Known {
    Cgroups::of_test([(1, "/system.slice/nginx.service")]).into()
}

/// The rows of all parts. All of them are folded if `room` is 0.
fn made(rows: &Rows, parts: &[Vec<Usage>], room: usize) -> Vec<Row> {
    let (mut pending, known) = (Pending::with_room(room), known());
    let (last, first) = parts.split_last().expect("a part");
    for part in first {
        pending.add(rows, interval(part.clone()), &known, |p| p.pid < LASTING);
    }
    pending.take(rows, interval(last.clone()), &known)
}

/// The sum of rows. Each must have the account that belongs to its counters.
fn sum<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Counters {
    let counters = rows.into_iter().map(|row| {
        assert_eq!(row.tcp, tcp(row.counters).into());
        row.counters
    });
    counters.sum()
}

fn other(rows: &[Row]) -> Option<u64> {
    rows.iter().find_map(|row| match row.who {
        Who::Other { processes } => Some(processes),
        _ => None,
    })
}

#[test]
fn a_process_has_a_row_for_each_remote_end_and_one_for_the_unknown() {
    let part = vec![
        usage(0, 0, Some(1), bytes(5)),
        usage(0, 0, None, bytes(3)),
        usage(0, 0, Some(2), bytes(5)),
    ];
    let ends = |rows: &[Row]| -> Vec<_> { rows.iter().map(|row| row.remote.clone()).collect() };
    for by in GroupBy::value_variants() {
        let split = made(
            &rows(*by, false, true, None),
            std::slice::from_ref(&part),
            0,
        );
        // Equal traffic is in the order of the remote ends.
        assert_eq!(ends(&split), [Some(remote(1)), Some(remote(2)), None]);
        let whole = made(
            &rows(*by, false, false, None),
            std::slice::from_ref(&part),
            0,
        );
        assert_eq!(ends(&whole), [None]);
        assert_eq!(sum(&whole), sum(&split));
    }
}

#[test]
fn a_process_is_counted_once_in_other() {
    let pids = [0, 1, 2, 3];
    let part: Vec<Usage> = pids
        .into_iter()
        .flat_map(|pid| (1..=5).map(move |end| usage(pid, pid, Some(end), bytes(end.into()))))
        .collect();
    for by in GroupBy::value_variants() {
        let rows = rows(*by, false, true, Some(1));
        let parts = [part.clone(), vec![], vec![], vec![]];
        for room in [0, 1000] {
            let made = made(&rows, &parts, room);
            assert_eq!(other(&made), Some(4), "{by:?}");
            assert_eq!(sum(&made), sum_of(&part));
        }
    }
}

#[test]
fn all_rows_of_a_process_say_that_it_has_ended() {
    let running = usage(0, 0, Some(1), bytes(1));
    let exited = Usage {
        state: State::Exited,
        ..usage(0, 0, Some(2), bytes(2))
    };
    let rows = rows(GroupBy::Process, false, true, None);
    for parts in [
        vec![vec![running.clone()], vec![exited.clone()]],
        vec![vec![exited.clone(), running.clone()]],
    ] {
        let made = made(&rows, &parts, 1000);
        assert_eq!(made.len(), 2);
        assert!(made.iter().all(|row| matches!(
            &row.who,
            Who::Process(process) if process.state == State::Exited
        )));
    }
    // Also if its last part has no traffic.
    let mut pending = Pending::with_room(1000);
    let known = Known::default();
    pending.add(&rows, interval(vec![running.clone()]), &known, |_| true);
    let ended = Interval {
        ended: vec![running.last.process],
        ..Interval::default()
    };
    let made = pending.take(&rows, ended, &known);
    assert!(matches!(
        &made.first().expect("a row").who,
        Who::Process(process) if process.state == State::Exited
    ));
}

/// Memory does not grow with the number of processes that ended, each with two remote ends.
#[test]
fn memory_is_bounded_where_rows_are() {
    for (by, top) in [
        (GroupBy::Comm, None),
        (GroupBy::User, Some(3)),
        (GroupBy::Process, Some(3)),
    ] {
        let rows = rows(by, false, true, top);
        let (mut pending, known) = (Pending::with_room(100), Known::default());
        let mut most = 0;
        for part in 0..500 {
            let pids = LASTING + part * 50..LASTING + (part + 1) * 50;
            let both = |pid| [1, 2].map(|end| usage(pid, pid, Some(end), bytes(1)));
            let part = interval(pids.flat_map(both).collect());
            pending.add(&rows, part, &known, |_| false);
            most = most.max(pending.len());
        }
        assert!(most < 2_000, "{by:?}: {most}");
        assert_eq!(pending.total().tcp_send_bytes, 50_000);
    }
}

fn sum_of(usage: &[Usage]) -> Counters {
    usage.iter().map(|usage| usage.counters).sum()
}

/// What a row stands for: its name or pid, and its remote end.
type Owner = (String, Option<Rc<Remote>>);

fn owner(row: &Row) -> Owner {
    let name = match &row.who {
        Who::Process(p) => format!("{} {:?}", p.pid, p.tid),
        Who::Group { key, .. } => key.clone(),
        who => format!("{who:?}"),
    };
    (name, row.remote.clone())
}

/// A thread of a lasting process (`None` for a new process that ends at once), and its traffic by
/// remote end.
type Drawn = (Option<(u32, u32)>, Vec<(Option<u8>, u64)>);

fn parts() -> impl Strategy<Value = Vec<Vec<Usage>>> {
    let whose = prop::option::of((0..LASTING, 0..3u32));
    let one = (whose, vec((prop::option::of(0..4u8), 1..50u64), 1..4));
    vec(vec(one, 0..6), 1..7).prop_map(|parts| {
        let mut next = LASTING;
        let part = |part: Vec<Drawn>| {
            let mut sums: BTreeMap<_, Counters> = BTreeMap::new();
            for (thread, ends) in part {
                next += 1;
                let (pid, tid) = thread.unwrap_or((next, next));
                for (end, sent) in ends {
                    *sums.entry((pid, tid, end)).or_default() += bytes(sent);
                }
            }
            sums.into_iter()
                .map(|((pid, tid, end), counters)| usage(pid, tid, end, counters))
                .collect()
        };
        parts.into_iter().map(part).collect()
    })
}

/// The usage of processes, from that of their threads.
fn by_process(parts: &[Vec<Usage>]) -> Vec<Vec<Usage>> {
    let merged = |part: &Vec<Usage>| {
        let mut sums: BTreeMap<_, Usage> = BTreeMap::new();
        for thread in part {
            let pid = thread.last.process.pid;
            let process = sums.entry((pid, thread.remote.clone()));
            let process = process.or_insert_with(|| {
                let none = Counters::default();
                Usage {
                    remote: thread.remote.clone(),
                    ..usage(pid, pid, None, none)
                }
            });
            process.counters += thread.counters;
            process.tcp = tcp(process.counters).into();
        }
        sums.into_values().collect()
    };
    parts.iter().map(merged).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn split_rows_are_exact_with_any_options(parts in parts()) {
        let all = sum_of(&parts.concat());
        for by in GroupBy::value_variants() {
            for threads in [false, true] {
                if threads && *by != GroupBy::Process {
                    continue;
                }
                let parts = if threads { parts.clone() } else { by_process(&parts) };
                let whole = made(&rows(*by, threads, true, None), &parts, 1000);
                prop_assert_eq!(sum(&whole), all);
                let owners: BTreeSet<Owner> = whole.iter().map(owner).collect();
                prop_assert_eq!(owners.len(), whole.len(), "two rows have the same owner");
                for split in [false, true] {
                    for top in [None, Some(1), Some(3)] {
                        let rows = rows(*by, threads, split, top);
                        let folded = made(&rows, &parts, 0);
                        prop_assert_eq!(&folded, &made(&rows, &parts, 1000));
                        prop_assert_eq!(sum(&folded), all);
                    }
                }
                // The rows of a process add up to its row without remote ends.
                let mut sums: BTreeMap<String, Counters> = BTreeMap::new();
                for row in &whole {
                    *sums.entry(owner(row).0).or_default() += row.counters;
                }
                for row in made(&rows(*by, threads, false, None), &parts, 1000) {
                    prop_assert_eq!(sums.get(&owner(&row).0), Some(&row.counters));
                }
            }
        }
    }

    #[test]
    fn processes_are_counted_once_in_each_row(parts in parts()) {
        let parts = by_process(&parts);
        let usage = parts.concat();
        for by in [GroupBy::Comm, GroupBy::Process] {
            for top in 0..4 {
                let made = made(&rows(by, false, true, Some(top)), &parts, 0);
                let shown: BTreeSet<Owner> = made.iter().map(owner).collect();
                let mut hidden = BTreeSet::new();
                let mut groups: BTreeMap<Owner, BTreeSet<u32>> = BTreeMap::new();
                for usage in &usage {
                    let (pid, comm) = (usage.last.process.pid, usage.last.comm);
                    let name = match by {
                        GroupBy::Process => format!("{pid} None"),
                        _ => comm.to_str_lossy().into_owned(),
                    };
                    let owner = (name, usage.remote.clone());
                    if !shown.contains(&owner) {
                        hidden.insert(pid);
                    }
                    groups.entry(owner).or_default().insert(pid);
                }
                let expected = (!hidden.is_empty()).then_some(hidden.len() as u64);
                prop_assert_eq!(other(&made), expected);
                for row in &made {
                    if let Who::Group { processes, .. } = row.who {
                        prop_assert_eq!(processes, groups[&owner(row)].len() as u64);
                    }
                }
            }
        }
    }
}
