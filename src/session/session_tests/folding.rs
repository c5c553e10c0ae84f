//! Tests of folding in long recordings. Folding does not change any row, and bounds memory if the
//! number of rows is bounded.

use std::collections::VecDeque;

use clap::ValueEnum;
use proptest::collection::vec;
use proptest::prelude::*;

use super::scripted::*;
use super::sums::counters;
use crate::host::{Cgroups, Known};
use crate::model::{
    Comm, Counters, Extent, GroupBy, Health, Identity, Interval, Layout, ProcessId, Row, State,
    ThreadRecord, Usage,
};
use crate::rollup::{Pending, Rows, SortKey};
use crate::session::{Session, Woken};
use crate::source::Sample;

/// Processes with pids below this number run during the whole test.
const LASTING: u32 = 3;

/// One event: a short-lived thread, or traffic of a lasting process.
#[derive(Clone, Debug)]
struct Act {
    /// The number of a lasting process; `None` for a new process that ends at once.
    lasting: Option<u32>,
    kind: usize,
    counters: Counters,
    /// Whether the exit record is returned by `drain` instead of by `sample`.
    drained: bool,
}

fn act() -> impl Strategy<Value = Act> {
    let lasting = prop_oneof![2 => Just(None), 1 => (0..LASTING).prop_map(Some)];
    (lasting, 0..6usize, counters(), any::<bool>()).prop_map(
        |(lasting, kind, counters, drained)| Act {
            lasting,
            kind,
            counters,
            drained,
        },
    )
}

fn record(number: u32, kind: usize, counters: Counters) -> ThreadRecord {
    // Each short-lived process has two threads.
    let pid = if number < LASTING {
        number
    } else {
        LASTING + number / 2
    };
    let plain = thread(number.into(), pid, number + 1000, counters);
    ThreadRecord {
        identity: Identity {
            comm: Comm::new([b"one", b"two"][kind % 2]),
            uid: [0, 4_000_000_000][kind / 2 % 2],
            cgroup: kind as u64 / 3,
            ..plain.identity
        },
        ..plain
    }
}

/// The rows of a recording with one report. Each of the `steps` happens in a second of its own.
fn rows_of(steps: &[Vec<Act>], rows: &Rows, pending: usize) -> Vec<Row> {
    let time = Time::new();
    let mut living: Vec<ThreadRecord> = (0..LASTING)
        .map(|n| record(n, n as usize, Counters::default()))
        .collect();
    let (mut drains, mut samples) = (VecDeque::new(), VecDeque::new());
    let mut number = LASTING;
    for step in steps {
        let (mut drained, mut sampled) = (Vec::new(), Vec::new());
        for act in step {
            if let Some(lasting) = act.lasting {
                living[lasting as usize].counters += act.counters;
                continue;
            }
            number += 1;
            let mut exit = record(number, act.kind, act.counters);
            (exit.exited, exit.group_dead) = (true, true);
            let records = if act.drained {
                &mut drained
            } else {
                &mut sampled
            };
            records.push(exit);
        }
        drains.push_back(drained);
        samples.push_back((living.clone(), sampled));
    }
    let seconds = steps.len() as u64;
    let happens = (0..seconds).map(|n| (n * 1_000 + 500, Woken::Records));
    let mut clock = FakeClock::new(&time, happens);
    let mut taken = 0;
    let mut source = Scripted::new(&time, |now| {
        // All events up to now that no earlier sample contained.
        let due = (now.as_millis() as usize)
            .div_ceil(1_000)
            .min(samples.len());
        let due = &samples.make_contiguous()[taken.min(due)..due];
        taken += due.len();
        let exits = due.iter().flat_map(|(_, exits)| exits.clone()).collect();
        let last = due.last().map_or(&[][..], |(living, _)| living);
        Ok(Sample {
            living: last.to_vec(),
            exits,
            extent: Extent::Changes,
            ..Sample::default()
        })
    });
    source.drains = drains;
    source.alive = |process| process.pid < LASTING;
    let (mut kept, mut sink) = (Kept::default(), nowhere());
    let cgroups = Cgroups::default();
    Session::new(
        &mut source,
        &mut clock,
        &mut kept,
        &mut sink,
        rows.clone(),
        cgroups,
    )
    .with_room(0, pending)
    .run(schedule(Some(seconds * 1_000), None))
    .expect("no error");
    assert_eq!(kept.0.len(), 1);
    kept.0.remove(0).rows
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn folding_changes_no_row(steps in vec(vec(act(), 0..6), 1..8)) {
        for sort in SortKey::value_variants() {
            for by in GroupBy::value_variants() {
                for (threads, top) in [(false, None), (false, Some(1)), (false, Some(3)), (true, Some(2))] {
                    let layout = Layout { group_by: *by, threads, ..Layout::default() };
                    if threads && *by != GroupBy::Process {
                        continue;
                    }
                    let rows = Rows { layout, sort: *sort, top, ..rows() };
                    let folded = rows_of(&steps, &rows, 0);
                    prop_assert_eq!(&folded, &rows_of(&steps, &rows, usize::MAX));
                    let sum: Counters = folded.iter().map(|row| row.counters).sum();
                    let all = steps.iter().flatten().map(|act| act.counters);
                    prop_assert_eq!(sum, all.sum());
                }
            }
        }
    }
}

/// Memory does not grow with the number of short-lived processes.
#[test]
fn memory_is_bounded_where_rows_are() {
    let usage = |pid: u32| Usage {
        last: record(pid, 1, sent(1)).identity,
        state: State::Exited,
        counters: sent(1),
        tcp: Health::default(),
        remote: None,
    };
    let grouped = |group_by| Layout {
        group_by,
        ..Layout::default()
    };
    for (layout, top) in [
        (grouped(GroupBy::Comm), None),
        (grouped(GroupBy::User), Some(10)),
        (grouped(GroupBy::Process), Some(10)),
        (
            Layout {
                group_by: GroupBy::Process,
                threads: true,
                ..Layout::default()
            },
            Some(10),
        ),
    ] {
        let rows = Rows {
            layout,
            top,
            ..rows()
        };
        let mut pending = Pending::with_room(100);
        let known = Known::default();
        let mut most = 0;
        for part in 0..1_000u32 {
            let pids = LASTING + part * 100..LASTING + (part + 1) * 100;
            let interval = Interval {
                usage: pids.map(usage).collect(),
                ..Interval::default()
            };
            pending.add(&rows, interval, &known, |_: ProcessId| false);
            most = most.max(pending.len());
        }
        assert!(most < 2_000, "{layout:?}: {most}");
        assert_eq!(pending.total(), sent(100_000));
        let made = pending.take(&rows, Interval::default(), &known);
        assert_eq!(
            made.iter().map(|row| row.counters).sum::<Counters>(),
            sent(100_000)
        );
    }
}
