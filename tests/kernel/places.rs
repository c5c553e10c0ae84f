//! Blocks in each place: scarce slots, task storage, and the spare map.
//!
//! Only the workload is counted, by its cgroup or as tracked processes, so that threads of other
//! processes take no slots.

use netatop::kernel::{Capacity, Filter, Storage, is_realtime};
use netatop::model::{Counters, Extent};

use super::filters::Cgroup;
use super::harness::{Counting, Workload, assert_exact, counters, is_left_out, wait_for};
use super::memory::MemoryCgroup;
use super::outcome::{Outcome, finish_exactly, scaled};

/// The places in which threads find room for their blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// Half of sixteen slots are free; further threads use task storage.
    FewSlots,
    /// No slot is free.
    TaskStorage,
    /// No slot is free, and there is no memory for task storage.
    SpareTable,
}

impl Place {
    /// How many threads must occupy slots, so that other threads use this place.
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

/// One set of slots. The ring buffer has room for the exit records of all scenarios: what does not
/// fit there goes into the overflow map, which takes memory only when it is needed, and so loses
/// records where there is none ([`Place::SpareTable`]) and the reader is late.
fn one_set() -> Capacity {
    Capacity {
        slots: 16,
        spare: 1 << 15,
        ring_bytes: 1 << 25,
        ..Capacity::default()
    }
}

/// Runs `run` with these waiting workloads, after other threads have taken the better places.
fn in_place(
    place: Place,
    tracked: bool,
    workloads: Vec<Workload>,
    run: impl FnOnce(&mut Counting<'_>, Vec<Workload>),
) {
    let group = Cgroup::of_test("places");
    let memory = MemoryCgroup::new("places");
    // If the test fails, the workloads must end before their cgroup is removed.
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
        // Creating task storage fails if two threads do it on one CPU at the same time. This happens
        // when a real-time kernel preempts one thread during the creation.
        let few = if is_realtime() { after.stored / 10 } else { 0 };
        assert!(after.spare <= few, "{after:?}");
    }

    crowd.finish();
    let last = counting.interval();
    assert!(last.usage.is_empty() && last.unattributed.is_zero());
    let left = counting.sample(Extent::All).living;
    assert!(left.is_empty(), "not given back: {left:?}");
    // Otherwise every later snapshot would iterate over all tasks of the host.
    let after = counting.outside();
    assert_eq!(after.ended, after.stored + after.spare, "{after:?}");
}

/// Scenarios with threads and processes that start, change and end.
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

/// Runs the scenarios one after the other, and samples each after it has ended.
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

/// Samples each scenario continuously, as fast as possible.
fn lives_are_exact_under_the_sampler(place: Place, tracked: bool) {
    let [threads, processes, live, all] = [50_000, 20_000, 20_000, 1000].map(scaled);
    let n = |count: &str| format!("n={count}");
    // The minimum number of messages before each workload is told to end.
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

/// Samples a workload continuously, as fast as possible. The workload may end after `least`
/// messages.
pub fn sampled(counting: &mut Counting<'_>, workload: Workload, least: u64, case: &str) -> Outcome {
    let mut all = Outcome::default();
    let mut take = || {
        let interval = counting.interval();
        all.unattributed += interval.unattributed;
        for usage in &interval.usage {
            // A block read while it changes owners would have a wrong name.
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
