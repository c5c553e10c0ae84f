//! Blocks in each of their places: slots that are too few, task storage, and the spare table.
//!
//! Only the workload is counted, so that no thread of somebody else is in the way: by its cgroup, or
//! as tracked processes.

use netatop::kernel::{Capacity, Filter, Storage, is_realtime};
use netatop::model::{Counters, Extent};

use super::filters::Cgroup;
use super::harness::{Counting, Workload, assert_exact, counters, is_left_out, wait_for};
use super::memory::MemoryCgroup;
use super::outcome::{Outcome, finish_exactly, scaled};

/// Where threads find room.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// Half of sixteen slots are free; more threads than that are in task storage.
    FewSlots,
    /// No slot is free.
    TaskStorage,
    /// There is no memory for task storage either.
    SpareTable,
}

impl Place {
    /// How many threads have to stay, so that others go there.
    fn crowd(self) -> usize {
        match self {
            Self::FewSlots => 8,
            Self::TaskStorage => 64,
            Self::SpareTable => 6000,
        }
    }

    fn case(self, what: &str, tracked: bool) -> String {
        let place = match self {
            Self::FewSlots => "8 free slots",
            Self::TaskStorage => "task storage",
            Self::SpareTable => "the spare table",
        };
        format!(
            "{what}, in {place}{}",
            if tracked { ", tracked" } else { "" }
        )
    }
}

/// One set of slots.
fn one_set() -> Capacity {
    Capacity {
        slots: 16,
        spare: 1 << 15,
        ..Capacity::default()
    }
}

/// Runs `run` with these workloads, which wait to begin, when others than they have taken the better
/// places.
fn in_place(
    place: Place,
    tracked: bool,
    workloads: Vec<Workload>,
    run: impl FnOnce(&mut Counting<'_>, Vec<Workload>),
) {
    let group = Cgroup::of_test("places");
    let memory = MemoryCgroup::new("places");
    // If this fails they are to end before their cgroup.
    let workloads = workloads;
    let size = place.crowd().to_string();
    let mut crowd = Workload::start(&["chorus", &format!("n={size}"), "delay-go=1"]);
    let mut filter = Filter::default();
    for workload in workloads.iter().chain([&crowd]) {
        if tracked {
            filter.pids.push(workload.pid());
        } else {
            group.adopt(workload.pid());
        }
    }
    filter.follow = tracked;
    if !tracked {
        filter.cgroups.push(group.wanted(1));
    }
    let mut storage = Storage::default();
    let tracer = memory.attach(&mut storage, one_set(), &filter);
    let mut counting = Counting::of(tracer, false);
    if place == Place::SpareTable {
        memory.end();
    }
    crowd.go();
    crowd.line();
    crowd.tell(&size);
    let line = crowd.line();
    assert_exact(&counting.interval(), &line);

    let before = counting.outside();
    run(&mut counting, workloads);
    let after = counting.outside();
    assert!(after.ended > before.ended, "{after:?}");
    if place == Place::SpareTable {
        assert!(after.spare > before.spare, "{after:?}");
    } else {
        assert!(after.stored > before.stored, "{after:?}");
        // Task storage is refused where two threads create it on one CPU at a time: a real-time
        // kernel takes one of them off in the midst of it.
        let few = if is_realtime() { after.stored / 10 } else { 0 };
        assert!(after.spare <= few, "{after:?}");
    }

    crowd.finish();
    let last = counting.interval();
    assert!(last.usage.is_empty() && last.unattributed.is_zero());
    let left = counting.sample(Extent::All).living;
    assert!(left.is_empty(), "not given back: {left:?}");
    // Else every snapshot would go to every task of the host from then on.
    let after = counting.outside();
    assert_eq!(after.ended, after.stored + after.spare, "{after:?}");
}

/// Threads and processes that begin, change and end.
const LIVES: [&[&str]; 12] = [
    &["udp"],
    &["threads", "threads=50"],
    &["leader-exits"],
    &["exec-thread"],
    &["exec-chain", "n=5"],
    &["exit-group", "threads=24"],
    &["sigkill", "threads=24"],
    &["fork-tree", "depth=5", "processes=200", "list=1"],
    &["passed-socket"],
    &["inherited-socket"],
    &["io-uring"],
    &["zerocopy-send"],
];

fn waiting(scenario: &[&str]) -> Workload {
    Workload::start(&[scenario, &["delay-go=1"]].concat())
}

/// One after the other, each looked at when it has ended.
fn lives_are_exact(place: Place, tracked: bool) {
    let workloads = LIVES.map(waiting).into();
    let mut all = Outcome::default();
    in_place(place, tracked, workloads, |counting, workloads| {
        for (scenario, mut workload) in LIVES.iter().zip(workloads) {
            workload.go();
            let outcome = finish_exactly(counting, workload, &scenario.join(" "));
            all.add(outcome.unwrap_or_default());
        }
    });
    all.assert_exact(&place.case("lives", tracked));
}

/// Each looked at all the while, as fast as possible.
fn lives_are_exact_under_the_sampler(place: Place, tracked: bool) {
    let [threads, processes, live, all] = [50_000, 20_000, 20_000, 1000].map(scaled);
    let n = |count: &str| format!("n={count}");
    // What they are to have done before they are told to end.
    let lives = LIVES.map(|life| (life.join(" "), 0));
    let storms = [
        (format!("thread-storm {} parallel=4", n(&threads)), 0),
        (format!("process-storm {} parallel=4", n(&processes)), 0),
        (format!("live-threads {}", n(&live)), number(&live)),
        (format!("all-end {} rate=50", n(&all)), 20 * number(&all)),
    ];
    let scenarios = lives.into_iter().chain(storms).collect::<Vec<_>>();
    let words = |scenario: &str| waiting(&scenario.split(' ').collect::<Vec<_>>());
    let workloads = scenarios.iter().map(|(one, _)| words(one)).collect();
    let mut sum = Outcome::default();
    in_place(place, tracked, workloads, |counting, workloads| {
        for ((scenario, least), mut workload) in scenarios.iter().zip(workloads) {
            workload.go();
            let one = sampled(counting, workload, *least, scenario);
            assert_eq!(one.rows, one.truth, "{scenario}");
            sum.add(one);
        }
    });
    sum.assert_exact(&place.case("lives and storms, sampled", tracked));
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

/// What becomes of a workload that is looked at all the while, as fast as possible; once it has
/// sent so many messages it may end.
pub fn sampled(counting: &mut Counting<'_>, workload: Workload, least: u64, case: &str) -> Outcome {
    let mut all = Outcome::default();
    let mut take = || {
        let interval = counting.interval();
        all.unattributed += interval.unattributed;
        for usage in &interval.usage {
            // A block that was looked at while it changed hands would be in a wrong name.
            assert_eq!(usage.last.comm.as_bytes(), b"workload", "{case}");
            all.rows += usage.counters;
        }
        all.rows.msgs()
    };
    wait_for("its traffic", || (take() >= least).then_some(()));
    let reader = std::thread::spawn(move || workload.finish());
    while !reader.is_finished() {
        take();
    }
    take();
    let lines = reader.join().expect("reader");
    if is_left_out(case.split(' ').next().unwrap_or(case), &lines) {
        return Outcome::default();
    }
    let truths = lines.iter().map(|line| counters(line, Counters::default()));
    all.truth = truths.sum();
    all
}

macro_rules! places {
    ($($test:ident, $sampled:ident: $place:expr, $tracked:literal;)*) => {
        $(#[test]
        fn $test() {
            lives_are_exact($place, $tracked);
        }

        #[test]
        fn $sampled() {
            lives_are_exact_under_the_sampler($place, $tracked);
        })*
    };
}

places! {
    few_slots, few_slots_sampled: Place::FewSlots, false;
    few_slots_of_tracked, few_slots_of_tracked_sampled: Place::FewSlots, true;
    task_storage, task_storage_sampled: Place::TaskStorage, false;
    task_storage_of_tracked, task_storage_of_tracked_sampled: Place::TaskStorage, true;
    spare_table, spare_table_sampled: Place::SpareTable, false;
    spare_table_of_tracked, spare_table_of_tracked_sampled: Place::SpareTable, true;
}
