//! Threads and processes that start, change and end.

use netatop::kernel::{Filter, Storage};
use netatop::model::{Counters, Extent, State};

use super::harness::{
    Counting, Named, Workload, assert_exact, counters, counting, is_left_out, of_pid, wait_for,
};
use super::outcome::{exact, exact_split};

#[test]
fn threads_add_up_to_their_process_and_have_rows_of_their_own() {
    counting(true, |counting| {
        let mut workload = Workload::start(&["threads", "threads=50", "hold=1"]);
        let line = workload.line();
        let interval = counting.interval();
        assert_exact(&interval, &line);
        let threads = line["threads"].as_array().expect("threads");
        // The first thread also has traffic.
        assert_eq!(threads.len(), 51);
        for thread in threads {
            let tid = thread["tid"].as_u64().expect("tid") as u32;
            let row = interval
                .usage
                .iter()
                .find(|u| u.last.tid == tid)
                .expect("its row");
            assert_eq!(row.counters, counters(thread, row.counters));
            assert_eq!(
                row.last.thread_comm.to_str_lossy(),
                thread["comm"].as_str().expect("comm")
            );
        }
        workload.finish();
    });
}

#[test]
fn threads_of_a_process_that_has_ended_are_all_there() {
    exact(&["threads", "threads=50"]);
}

#[test]
fn a_process_whose_busy_thread_has_ended() {
    exact(&["worker"]);
}

#[test]
fn a_leader_that_ends_before_its_threads_loses_nothing() {
    exact(&["leader-exits"]);
}

#[test]
fn exec_by_a_thread_loses_nothing() {
    exact(&["exec-thread"]);
}

/// The calling thread takes over the leader's id. Its earlier traffic must not count twice.
#[test]
fn exec_by_a_thread_seen_before_and_after_counts_once() {
    counting(false, |counting| {
        let workload = Workload::start(&["exec-thread"]);
        let pid = workload.pid();
        let reader = std::thread::spawn(move || workload.finish());
        let mut counted = Counters::default();
        let mut add = |interval: &netatop::model::Interval| {
            for usage in of_pid(interval, pid) {
                counted += usage.counters;
            }
        };
        while !reader.is_finished() {
            add(&counting.interval());
        }
        add(&counting.interval());
        let lines = reader.join().expect("reader");
        let line = lines.iter().find(|l| l["pid"] == pid).expect("its line");
        assert_eq!(counted, counters(line, counted));
    });
}

#[test]
fn exec_after_exec_is_one_process() {
    exact(&["exec-chain", "n=5"]);
}

#[test]
fn exit_group_takes_every_thread_along() {
    exact(&["exit-group"]);
}

#[test]
fn a_killed_process_keeps_what_it_did() {
    exact(&["sigkill"]);
}

#[test]
fn a_zombie_has_exited() {
    counting(false, |counting| {
        let mut workload = Workload::start(&["zombie"]);
        let line = workload.line();
        let interval = counting.interval();
        assert_exact(&interval, &line);
        let pid = line["pid"].as_u64().expect("pid") as u32;
        assert_eq!(of_pid(&interval, pid)[0].state, State::Exited);
        workload.finish();
    });
}

#[test]
fn a_process_is_running_until_it_has_exited() {
    counting(false, |counting| {
        let mut workload = Workload::start(&["udp", "hold=1"]);
        let line = workload.line();
        let interval = counting.interval();
        assert_exact(&interval, &line);
        assert_eq!(of_pid(&interval, workload.pid())[0].state, State::Running);
        let pid = workload.pid();
        assert!(counting.living().iter().any(|t| t.process.pid == pid));
        workload.finish();
        assert!(
            of_pid(&counting.interval(), pid).is_empty(),
            "no traffic, no row"
        );
    });
}

#[test]
fn a_name_may_hold_any_byte() {
    // a " , newline escape ÿ(not UTF-8) z
    let hex = "6122272c0a1bff7a";
    counting(false, |counting| {
        let lines = Workload::start(&["name", &format!("hex={hex}")]).finish();
        let interval = counting.interval();
        let pid = lines[0]["pid"].as_u64().expect("pid") as u32;
        let rows = of_pid(&interval, pid);
        let bytes = rows[0].last.comm.as_bytes();
        let got: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(got, hex);
        assert_eq!(rows[0].counters, counters(&lines[0], rows[0].counters));
    });
}

#[test]
fn each_process_of_a_tree_has_its_own_row() {
    exact(&["fork-tree", "depth=5", "processes=200", "list=1"]);
}

#[test]
fn a_socket_passed_on_is_charged_to_whoever_uses_it() {
    exact(&["passed-socket"]);
    exact(&["inherited-socket"]);
}

/// Rows of remote ends find their process, however it starts, changes and ends.
#[test]
fn remote_ends_stay_with_their_process() {
    for args in [
        &["worker"][..],
        &["threads", "threads=20"],
        &["leader-exits"],
        &["exec-thread"],
        &["exec-chain", "n=5"],
        &["exit-group"],
        &["sigkill"],
        &["fork-tree", "depth=3", "processes=50", "list=1"],
        &["passed-socket"],
        &["inherited-socket"],
    ] {
        exact_split(args);
    }
}

#[test]
fn ten_thousand_living_threads_are_all_counted() {
    counting(false, |counting| {
        let mut workload = Workload::start(&["live-threads", "n=10000"]);
        let line = workload.line();
        if is_left_out("live-threads", std::slice::from_ref(&line)) {
            return;
        }
        assert_exact(&counting.interval(), &line);
        workload.finish();
        assert!(counting.interval().unattributed.is_zero());
    });
}

#[test]
fn sampling_as_fast_as_possible_while_everything_ends_counts_once() {
    counting(false, |counting| {
        let named = Named::new("netatop-fast");
        let workload = named.start(&["process-storm", "n=3000", "parallel=4"]);
        let reader = std::thread::spawn(move || workload.finish());
        let mut counted = Counters::default();
        let mut rounds = 0;
        wait_for("the storm to end", || {
            let ended = reader.is_finished();
            let interval = counting.interval();
            rounds += 1;
            assert!(interval.unattributed.is_zero());
            counted += named.of(&interval);
            ended.then_some(())
        });
        let lines = reader.join().expect("reader");
        assert_eq!(counted, counters(&lines[0], counted), "{rounds} rounds");
    });
}

/// The first thread has already exited: a block allocated for it later would never be freed.
#[test]
fn a_first_thread_that_ended_before_is_not_counted_for_ever() {
    let mut workload = Workload::start(&["leader-exits", "hold=1"]);
    let pid = workload.pid();
    workload.line();
    let filter = Filter {
        pids: vec![pid],
        ..Filter::default()
    };
    let mut storage = Storage::default();
    let mut counting = Counting::new(&mut storage, &filter, true);
    let living = counting.sample(Extent::All).living;
    assert!(!living.is_empty(), "the one that waits is tracked");
    assert!(
        living.iter().all(|thread| thread.identity.tid != pid),
        "{living:?}"
    );
    workload.finish();
    let left = counting.sample(Extent::All).living;
    assert!(left.is_empty(), "{left:?}");
}
