//! Property tests: the sum over the rows of each interval is the true sum, with any options and any
//! sequence of thread exits.

use std::collections::{HashSet, VecDeque};

use chrono::DateTime;
use clap::ValueEnum;
use proptest::array::uniform8;
use proptest::collection::vec;
use proptest::prelude::*;

use super::scripted::*;
use crate::host::Cgroups;
use crate::model::{
    Comm, Counters, GroupBy, Identity, Layout, Losses, RemoteMode, Report, Row, ThreadRecord, Who,
};
use crate::rollup::{Rows, SortKey};
use crate::session::{Session, Woken};
use crate::source::Sample;

/// How the exit record of a thread arrives.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The exit record is drained before the interval's sample.
    Drained,
    /// The exit record arrives with the sample.
    Sampled,
    /// The exit record is lost.
    Lost,
}

/// The events of one interval.
#[derive(Clone, Debug)]
struct Step {
    /// Thread number, and the traffic of this thread.
    traffic: Vec<(usize, Counters)>,
    /// Traffic that belongs to no task.
    no_task: Counters,
    /// Threads that end after their traffic. A new thread gets the number.
    ends: Vec<(usize, End)>,
}

const THREADS: usize = 8;

pub(super) fn counters() -> impl Strategy<Value = Counters> {
    // Make zeros frequent: many threads use only one of the eight counters.
    let one = prop_oneof![Just(0), any::<u8>().prop_map(u64::from)];
    uniform8(one).prop_map(|[a, b, c, d, e, f, g, h]| Counters {
        tcp_send_msgs: a,
        tcp_send_bytes: b,
        tcp_recv_msgs: c,
        tcp_recv_bytes: d,
        udp_send_msgs: e,
        udp_send_bytes: f,
        udp_recv_msgs: g,
        udp_recv_bytes: h,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let end = prop_oneof![Just(End::Drained), Just(End::Sampled), Just(End::Lost)];
    let no_task = prop_oneof![Just(Counters::default()), counters()];
    (
        vec((0..THREADS, counters()), 0..6),
        no_task,
        vec((0..THREADS, end), 0..3),
    )
        .prop_map(|(traffic, no_task, ends)| Step {
            traffic,
            no_task,
            ends,
        })
}

/// The samples of the source, and the true sums.
#[derive(Clone, Default)]
struct Script {
    drains: VecDeque<Vec<ThreadRecord>>,
    samples: VecDeque<Sample>,
    /// For each interval: all traffic, and its unattributed part.
    truth: Vec<(Counters, Counters)>,
}

/// A new thread. Each process has two threads; some names, users and cgroups are shared.
fn fresh(number: usize, block: u64) -> ThreadRecord {
    let pid = 10 + number as u32 / 2;
    let plain = thread(block, pid, 100 + number as u32, Counters::default());
    ThreadRecord {
        identity: Identity {
            comm: Comm::new([b"one", b"two"][number / 4]),
            thread_comm: Comm::new([b"a", b"b", b"c"][number % 3]),
            uid: [0, 4_000_000_000][number / 2 % 2],
            cgroup: number as u64 % 2,
            ..plain.identity
        },
        ..plain
    }
}

fn script(steps: &[Step]) -> Script {
    let mut script = Script::default();
    let mut threads: Vec<ThreadRecord> = (0..THREADS).map(|n| fresh(n, n as u64)).collect();
    let mut losses = Losses::default();
    let mut next_block = THREADS as u64;
    for step in steps {
        let (mut all, mut nobody) = (step.no_task, step.no_task);
        let before = threads.clone();
        let (mut drained, mut exits) = (Vec::new(), Vec::new());
        for (number, counters) in &step.traffic {
            threads[*number].counters += *counters;
            all += *counters;
        }
        losses.no_task += step.no_task;
        let mut ended = HashSet::new();
        for (number, end) in step.ends.iter().filter(|(n, _)| ended.insert(*n)) {
            let mut exit = threads[*number];
            exit.exited = true;
            match end {
                End::Drained => drained.push(exit),
                End::Sampled => exits.push(exit),
                End::Lost => {
                    losses.exits += exit.counters;
                    losses.exits_lost += 1;
                    nobody += exit.counters.since(before[*number].counters);
                }
            }
            threads[*number] = fresh(*number, next_block);
            next_block += 1;
        }
        script.drains.push_back(drained);
        script.samples.push_back(Sample {
            living: threads.clone(),
            exits,
            losses,
            ..Sample::default()
        });
        script.truth.push((all, nobody));
    }
    script
}

fn reports(script: &Script, rows: Rows) -> Vec<Report> {
    let time = Time::new();
    let intervals = script.truth.len() as u64;
    let drains = (0..intervals).map(|n| (n * 1_000 + 500, Woken::Records));
    let mut clock = FakeClock::new(&time, drains);
    let mut samples = script.samples.clone();
    let mut source = Scripted::new(&time, |_| Ok(samples.pop_front().expect("a sample")));
    source.drains = script.drains.clone();
    let (mut kept, mut sink) = (Kept::default(), nowhere());
    let cgroups = Cgroups::default();
    Session::new(&mut source, &mut clock, &mut kept, &mut sink, rows, cgroups)
        .run(schedule(Some(intervals * 1_000), Some(1_000)))
        .expect("no error");
    kept.0
}

fn is_named(row: &&Row) -> bool {
    matches!(row.who, Who::Process(_) | Who::Group { .. })
}

/// Compares a report made with `top` with the report of all rows.
fn check_top(report: &Report, whole: &Report, top: usize) -> Result<(), TestCaseError> {
    let named: Vec<&Row> = report.rows.iter().filter(is_named).collect();
    let all: Vec<&Row> = whole.rows.iter().filter(is_named).collect();
    let (shown, rest) = all.split_at(top.min(all.len()));
    prop_assert_eq!(&named, shown);
    let other: Vec<&Row> = report
        .rows
        .iter()
        .filter(|row| matches!(row.who, Who::Other { .. }))
        .collect();
    let sum: Counters = rest.iter().map(|row| row.counters).sum();
    match other.as_slice() {
        [] => prop_assert!(rest.is_empty()),
        [other] => prop_assert!(!rest.is_empty() && other.counters == sum),
        _ => prop_assert!(false, "two rows (other)"),
    }
    Ok(())
}

fn check(script: &Script, layout: Layout, sort: SortKey) -> Result<(), TestCaseError> {
    let with = |top| {
        let booted = DateTime::UNIX_EPOCH;
        let rows = Rows {
            layout,
            sort,
            top,
            booted,
        };
        reports(script, rows)
    };
    let whole = with(None);
    for top in [None, Some(1), Some(3), Some(100)] {
        let reports = with(top);
        prop_assert_eq!(reports.len(), script.truth.len());
        for ((report, whole), (all, nobody)) in reports.iter().zip(&whole).zip(&script.truth) {
            prop_assert_eq!(report.total(), *all);
            let unattributed: Counters = report
                .rows
                .iter()
                .filter(|row| row.who == Who::Unattributed)
                .map(|row| row.counters)
                .sum();
            prop_assert_eq!(unattributed, *nobody);
            check_top(report, whole, top.unwrap_or(usize::MAX))?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_sum_over_the_rows_is_true_with_any_options(
        steps in vec(step(), 1..5),
    ) {
        let script = script(&steps);
        for sort in SortKey::value_variants() {
            for group_by in GroupBy::value_variants() {
                let layout = Layout { group_by: *group_by, ..Layout::default() };
                check(&script, layout, *sort)?;
                if *sort == SortKey::default() {
                    let remote = Some(RemoteMode::default());
                    check(&script, Layout { remote, ..layout }, *sort)?;
                }
            }
            let threads = Layout { group_by: GroupBy::Process, threads: true, ..Layout::default() };
            check(&script, threads, *sort)?;
        }
    }
}

#[test]
fn rows_are_in_the_requested_order() {
    let time = Time::new();
    let named = |pid: u32, name: &[u8], tcp: u64, udp: u64| {
        let counters = Counters {
            tcp_send_bytes: tcp,
            tcp_recv_msgs: udp,
            udp_recv_bytes: udp,
            ..Counters::default()
        };
        let mut record = thread(pid.into(), pid, pid, counters);
        record.identity.comm = Comm::new(name);
        record
    };
    let living = vec![
        named(3, b"b", 5, 50),
        named(1, b"c", 30, 30),
        named(2, b"a", 40, 2),
    ];
    for (sort, pids) in [
        (SortKey::Bytes, [1, 3, 2]),
        (SortKey::Msgs, [3, 1, 2]),
        (SortKey::Sent, [2, 1, 3]),
        (SortKey::Received, [3, 1, 2]),
        (SortKey::Tcp, [2, 1, 3]),
        (SortKey::Udp, [3, 1, 2]),
        (SortKey::Pid, [1, 2, 3]),
        (SortKey::Comm, [2, 3, 1]),
    ] {
        let mut clock = FakeClock::new(&time, [(0, Woken::Stopped)]);
        let sample = Sample {
            living: living.clone(),
            ..Sample::default()
        };
        let mut source = Scripted::new(&time, |_| Ok(sample.clone()));
        let (mut kept, mut sink) = (Kept::default(), nowhere());
        let rows = Rows { sort, ..rows() };
        let cgroups = Cgroups::default();
        Session::new(&mut source, &mut clock, &mut kept, &mut sink, rows, cgroups)
            .run(schedule(None, None))
            .expect("no error");
        let order: Vec<u32> = kept.0[0]
            .rows
            .iter()
            .filter_map(|row| match &row.who {
                Who::Process(process) => Some(process.pid),
                _ => None,
            })
            .collect();
        assert_eq!(order, pids, "{sort:?}");
    }
}
