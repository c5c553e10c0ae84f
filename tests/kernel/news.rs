//! Changes-only snapshots contain exactly the threads with new traffic.

use netatop::kernel::{Capacity, Filter, Storage, Tracer};
use netatop::model::{Counters, Extent, ThreadRecord};
use netatop::source::Source;

use super::filters::Cgroup;
use super::harness::{Counting, Named, Workload, counters, of_pid};
use super::outcome::scaled;

fn slots(slots: u32) -> Capacity {
    Capacity {
        slots,
        ..Capacity::default()
    }
}

/// Runs `run` with programs that count only the test's own cgroup.
fn in_group(capacity: Capacity, run: impl FnOnce(Tracer<'_>, &Cgroup)) {
    let group = Cgroup::of_test("group");
    let filter = Filter {
        cgroups: vec![group.wanted(1)],
        ..Filter::default()
    };
    let mut storage = Storage::default();
    run(
        Tracer::attach(&mut storage, capacity, &filter).expect("attach"),
        &group,
    );
}

/// Starts a chorus workload in `group`, and waits for all its threads.
fn chorus(named: &Named, group: &Cgroup, threads: usize) -> Workload {
    let mut chorus = named.start(&["chorus", &format!("n={threads}")]);
    group.adopt(chorus.pid());
    chorus.line();
    chorus
}

/// Makes `threads` of the threads send, and returns the total counts so far.
fn sing(chorus: &mut Workload, threads: usize) -> Counters {
    chorus.tell(&threads.to_string());
    counters(&chorus.line(), Counters::default())
}

/// A thread that reuses a slot is shown, even if its counts equal those of the previous owner.
#[test]
fn a_slot_taken_again_is_shown_again() {
    let named = Named::new("netatop-again");
    in_group(slots(16), |tracer, group| {
        let mut counting = Counting::of(tracer, false);
        for threads in [16, 16, 16, 20, 5, 16, 12, 16] {
            let mut singers = chorus(&named, group, threads);
            let truth = sing(&mut singers, threads);
            let interval = counting.interval();
            assert_eq!(named.of(&interval), truth, "{threads} threads");
            assert_eq!(of_pid(&interval, singers.pid()).len(), interval.usage.len());
            singers.finish();
            let after = counting.interval();
            assert!(after.usage.is_empty(), "again: {:?}", after.usage);
        }
    });
}

/// One run of the program returns at most 256 records; the next run returns the rest. Each thread with
/// traffic is shown once, and idle threads are not shown.
#[test]
fn news_of_thousands_are_shown_once_and_silence_not_at_all() {
    const THREADS: usize = 5000;
    let named = Named::new("netatop-news");
    // Enough slots that no set is full.
    in_group(slots(1 << 15), |mut tracer, group| {
        let mut singers = chorus(&named, group, THREADS);
        let mut look = |extent| {
            let sample = tracer.sample(extent).expect("sample");
            assert!(sample.exits.is_empty());
            let mut blocks: Vec<u64> = sample.living.iter().map(|t| t.block).collect();
            blocks.sort_unstable();
            blocks.dedup();
            assert_eq!(blocks.len(), sample.living.len(), "a block twice");
            sample.living
        };
        for round in 1..=5 {
            sing(&mut singers, THREADS);
            let living = look(Extent::Changes);
            assert_eq!(living.len(), THREADS);
            assert!(living.iter().all(|t| t.counters.udp_send_msgs == round));
            assert!(look(Extent::Changes).is_empty(), "nobody did anything");
        }
        let truth = sing(&mut singers, 37);
        assert_eq!(look(Extent::Changes).len(), 37);
        let all = look(Extent::All);
        assert_eq!(all.len(), THREADS);
        assert_eq!(all.iter().map(|t| t.counters).sum::<Counters>(), truth);
        assert!(look(Extent::Changes).is_empty(), "all were shown");
        singers.finish();
    });
}

#[test]
fn who_became_another_program_is_shown_with_its_new_name() {
    let (before, after) = (Named::new("netatop-before"), Named::new("netatop-after"));
    for number in [16, 1 << 14] {
        in_group(slots(number), |mut tracer, group| {
            let mut one = chorus(&before, group, 1);
            let mut look = || -> Vec<ThreadRecord> {
                let sample = tracer.sample(Extent::Changes).expect("sample");
                sample.living
            };
            sing(&mut one, 1);
            let old = look();
            assert_eq!(old.len(), 1);
            assert_eq!(old[0].identity.comm.to_str_lossy(), before.comm());
            one.tell(after.path().to_str().expect("utf-8"));
            one.line();
            assert!(look().is_empty(), "no traffic, no news");
            sing(&mut one, 1);
            let new = look();
            assert_eq!(new.len(), 1);
            assert_eq!(new[0].identity.comm.to_str_lossy(), after.comm());
            assert_eq!(
                (new[0].block, new[0].identity.process),
                (old[0].block, old[0].identity.process)
            );
            assert_eq!(new[0].counters.udp_send_msgs, 2);
            one.finish();
        });
    }
}

/// Reads one set repeatedly while its slots change owners. Every thread shown must be an owner, and
/// must not be shown with the counts of another thread.
#[test]
fn a_slot_that_is_given_back_during_a_look_is_shown_as_its_owners_or_not() {
    let named = Named::new("netatop-hands");
    let n = scaled(200_000);
    in_group(slots(16), |tracer, group| {
        let mut counting = Counting::of(tracer, true);
        let storm = [
            "thread-storm",
            &format!("n={n}"),
            "parallel=2",
            "delay-go=1",
        ];
        let mut storm = named.start(&storm);
        let pid = storm.pid();
        group.adopt(pid);
        storm.go();
        let reader = std::thread::spawn(move || storm.finish());
        while !reader.is_finished() {
            for thread in counting.sample(Extent::Changes).living {
                assert_eq!(thread.identity.process.pid, pid, "{thread:?}");
                assert_eq!(thread.identity.comm.to_str_lossy(), named.comm());
                assert_eq!(thread.counters.udp_send_msgs, 1, "{thread:?}");
            }
        }
        let truth = counters(&reader.join().expect("reader")[0], Counters::default());
        assert_eq!(named.of(&counting.interval()), truth);
        assert!(counting.sample(Extent::All).living.is_empty());
    });
}

/// Threads of two processes with different traffic compete for one free slot.
#[test]
fn one_free_slot_is_one_threads_at_a_time() {
    let names = [Named::new("netatop-small"), Named::new("netatop-large")];
    let (n, crowd) = (scaled(200_000), Named::new("netatop-crowd"));
    in_group(slots(16), |tracer, group| {
        let mut counting = Counting::of(tracer, false);
        let mut singers = chorus(&crowd, group, 15);
        let truth = sing(&mut singers, 15);
        assert_eq!(crowd.of(&counting.interval()), truth);
        let mut storms: Vec<Workload> = names
            .iter()
            .zip(["size=1", "size=1000"])
            .map(|(name, size)| {
                let n = format!("n={n}");
                let storm = name.start(&["thread-storm", &n, size, "parallel=2", "delay-go=1"]);
                group.adopt(storm.pid());
                storm
            })
            .collect();
        storms.iter_mut().for_each(Workload::go);
        let readers: Vec<_> = storms
            .into_iter()
            .map(|storm| std::thread::spawn(move || storm.finish()))
            .collect();
        while readers.iter().any(|reader| !reader.is_finished()) {
            counting.drain();
            std::thread::yield_now();
        }
        let interval = counting.interval();
        for (name, reader) in names.iter().zip(readers) {
            let truth = counters(&reader.join().expect("reader")[0], Counters::default());
            assert_eq!(name.of(&interval), truth);
        }
        singers.finish();
    });
}
