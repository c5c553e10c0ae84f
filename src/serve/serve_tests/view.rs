//! Tests of the replies to each client with a simulated world that knows what every process did.

use std::time::Duration;

use super::super::accounts::Account;
use super::super::view::Viewer;
use super::bench::Bench;
use crate::model::{Counters, ProcessId};

#[test]
fn a_client_counts_from_its_connection() {
    let mut bench = Bench::new();
    bench.world.lock().start(10, 0);
    bench.world.lock().send(10, 100);
    let mut first = bench.connect(Viewer::All);
    bench.world.lock().send(10, 5);
    let mut second = bench.connect(Viewer::All);
    assert_eq!(bench.ask(&mut first), [(10, 1, 5)]);
    assert_eq!(bench.ask(&mut second), []);
    bench.world.lock().send(10, 7);
    assert_eq!(bench.ask(&mut first), [(10, 2, 12)]);
    assert_eq!(bench.ask(&mut second), [(10, 1, 7)]);
}

#[test]
fn an_exited_process_is_told_to_each_client_for_two_seconds_from_its_first_time() {
    let mut bench = Bench::new();
    let mut often = bench.connect(Viewer::All);
    let mut rarely = bench.connect(Viewer::All);
    bench.world.lock().start(10, 0);
    bench.world.lock().send(10, 1);
    bench.world.lock().exit(10);
    for _ in 0..3 {
        assert_eq!(bench.ask(&mut often), [(10, 1, 1)]);
        bench.passed += Duration::from_secs(1);
    }
    assert_eq!(bench.ask(&mut often), []);
    bench.passed += Duration::from_secs(1000);
    assert_eq!(bench.ask(&mut rarely), [(10, 1, 1)]);
    bench.passed += Duration::from_secs(2);
    assert_eq!(bench.ask(&mut rarely), [(10, 1, 1)]);
    bench.passed += Duration::from_secs(1);
    assert_eq!(bench.ask(&mut rarely), []);
    // No client needs the process any more.
    often.settle(bench.now());
    let needed = often.needs_from().min(rarely.needs_from());
    bench.accounts.forget_before(needed);
    assert_eq!(bench.accounts.ended_kept(), 0);
}

#[test]
fn the_end_of_an_idle_process_is_reported_with_its_total() {
    let mut bench = Bench::new();
    let mut view = bench.connect(Viewer::All);
    bench.world.lock().start(10, 0);
    bench.world.lock().send(10, 100);
    assert_eq!(bench.ask(&mut view), [(10, 1, 100)]);
    bench.world.lock().exit(10);
    assert_eq!(bench.ask(&mut view), [(10, 1, 100)]);
    bench.passed += Duration::from_secs(3);
    assert_eq!(bench.ask(&mut view), []);
}

#[test]
fn a_process_whose_busy_threads_have_ended_is_reported_until_it_ends() {
    let mut bench = Bench::new();
    let mut view = bench.connect(Viewer::All);
    bench.world.lock().start(10, 0);
    bench.world.lock().send(10, 100);
    let process = bench.world.lock().fall_silent(10);
    for _ in 0..3 {
        assert_eq!(bench.ask(&mut view), [(10, 1, 100)]);
        bench.passed += Duration::from_secs(3);
    }
    bench.world.lock().end_silent(process);
    assert_eq!(bench.ask(&mut view), [(10, 1, 100)]);
    bench.passed += Duration::from_secs(3);
    assert_eq!(bench.ask(&mut view), []);
    assert_eq!(bench.accounts.live().count(), 0);
}

#[test]
fn many_silent_processes_are_all_noticed_in_time() {
    let mut bench = Bench::new();
    let mut view = bench.connect(Viewer::All);
    let silent: Vec<ProcessId> = (1..=1000)
        .map(|pid| {
            let mut world = bench.world.lock();
            world.start(pid, 0);
            world.send(pid, 1);
            world.fall_silent(pid)
        })
        .collect();
    assert_eq!(bench.ask(&mut view).len(), 1000);
    for process in silent {
        bench.world.lock().end_silent(process);
    }
    for _ in 0..5 {
        assert_eq!(bench.ask(&mut view).len(), 1000);
    }
    assert_eq!(bench.accounts.live().count(), 0);
}

#[test]
fn a_recycled_pid_shows_the_new_process() {
    let mut bench = Bench::new();
    let mut view = bench.connect(Viewer::All);
    bench.world.lock().start(10, 0);
    bench.world.lock().send(10, 100);
    bench.world.lock().exit(10);
    bench.world.lock().start(10, 0);
    // The new process has no traffic. A record of the old process would be attributed to the new
    // one.
    assert_eq!(bench.ask(&mut view), []);
    bench.world.lock().send(10, 7);
    assert_eq!(bench.ask(&mut view), [(10, 1, 7)]);
    // Both have ended. The later one is last in the reply.
    bench.world.lock().exit(10);
    assert_eq!(bench.ask(&mut view), [(10, 1, 100), (10, 1, 7)]);
}

#[test]
fn of_many_with_the_same_pid_the_last_comes_last() {
    let mut bench = Bench::new();
    let mut view = bench.connect(Viewer::All);
    for bytes in 1..=50 {
        bench.world.lock().start(10, 0);
        bench.world.lock().send(10, bytes);
        bench.world.lock().exit(10);
    }
    let told: Vec<u64> = bench.ask(&mut view).iter().map(|r| r.2).collect();
    assert_eq!(told, (1..=50).collect::<Vec<u64>>());
}

#[test]
fn an_ended_silent_process_is_reported_before_a_later_one_with_its_pid() {
    let mut bench = Bench::new();
    let mut view = bench.connect(Viewer::All);
    bench.world.lock().start(10, 0);
    bench.world.lock().send(10, 100);
    let silent = bench.world.lock().fall_silent(10);
    assert_eq!(bench.ask(&mut view), [(10, 1, 100)]);
    bench.world.lock().end_silent(silent);
    bench.world.lock().start(10, 0);
    bench.world.lock().send(10, 7);
    bench.world.lock().exit(10);
    assert_eq!(bench.ask(&mut view), [(10, 1, 100), (10, 1, 7)]);
}

#[test]
fn silent_processes_do_not_pile_up() {
    let mut bench = Bench::new();
    let mut view = bench.connect(Viewer::All);
    for round in 0..30u32 {
        let mut silent = Vec::new();
        for pid in round * 2000 + 1..=round * 2000 + 2000 {
            let mut world = bench.world.lock();
            world.start(pid, 0);
            world.send(pid, 1);
            silent.push(world.fall_silent(pid));
        }
        bench.ask(&mut view);
        for process in silent {
            bench.world.lock().end_silent(process);
        }
        bench.passed += Duration::from_secs(1);
    }
    let live = bench.accounts.live().count();
    assert!(live < 10 * 2000, "{live}");
}

#[test]
fn a_client_that_connects_before_a_late_record_gets_only_later_traffic() {
    let mut bench = Bench::new();
    let _first = bench.connect(Viewer::All);
    let process = bench.world.lock().start(10, 0);
    bench.world.lock().send(10, 100);
    bench.world.lock().exit(10);
    bench.accounts.sample(&mut bench.world).expect("sample");
    let mut second = bench.connect(Viewer::All);
    bench.world.lock().start(10, 0);
    bench.world.lock().get(10).identity.process = process;
    bench.world.lock().send(10, 5);
    bench.world.lock().exit(10);
    assert_eq!(bench.ask(&mut second), [(10, 1, 5)]);
}

#[test]
fn users_see_what_was_theirs_all_the_time() {
    let mut bench = Bench::new();
    let mut root = bench.connect(Viewer::All);
    let mut user = bench.connect(Viewer::User(1000));
    for (pid, uid) in [(10, 0), (11, 1000), (12, 1001), (13, 1000), (14, 1000)] {
        bench.world.lock().start(pid, uid);
        bench.world.lock().send(pid, 1);
    }
    bench.world.lock().get(13).identity.owner = None;
    assert_eq!(bench.ask(&mut root).len(), 5);
    assert_eq!(bench.ask(&mut user), [(11, 1, 1), (14, 1, 1)]);
    // A program that has switched to another user's credentials no longer belongs to its user, even
    // after it switches back.
    bench.world.lock().get(14).identity.owner = Some(0);
    bench.world.lock().send(14, 1);
    assert_eq!(bench.ask(&mut user), [(11, 1, 1)]);
    bench.world.lock().get(14).identity.owner = Some(1000);
    bench.world.lock().send(14, 1);
    bench.world.lock().exit(14);
    bench.world.lock().exit(11);
    assert_eq!(bench.ask(&mut user), [(11, 1, 1)]);
    assert_eq!(bench.ask(&mut root).len(), 5);
}

#[test]
fn a_late_record_of_an_ended_process_is_told_with_the_rest() {
    let mut bench = Bench::new();
    let mut view = bench.connect(Viewer::All);
    let process = bench.world.lock().start(10, 0);
    bench.world.lock().send(10, 100);
    bench.world.lock().exit(10);
    assert_eq!(bench.ask(&mut view), [(10, 1, 100)]);
    // A second thread of the process that was never seen before.
    bench.world.lock().start(10, 0);
    bench.world.lock().get(10).identity.process = process;
    bench.world.lock().send(10, 5);
    bench.world.lock().exit(10);
    assert_eq!(bench.ask(&mut view).last(), Some(&(10, 2, 105)));
}

#[test]
fn the_number_of_forgotten_processes_is_reported_after_a_long_silence() {
    let mut bench = Bench::new();
    let mut view = bench.connect(Viewer::All);
    let silent = Duration::from_secs(3600);
    for pid in 10..15 {
        bench.world.lock().start(pid, 0);
        bench.world.lock().send(pid, 1);
        bench.world.lock().exit(pid);
    }
    bench.accounts.sample(&mut bench.world).expect("sample");
    bench.passed += silent - Duration::from_secs(1);
    assert!(!view.give_up(&bench.accounts, bench.now(), silent));
    bench.passed += Duration::from_secs(1);
    assert!(view.give_up(&bench.accounts, bench.now(), silent));
    assert!(!view.give_up(&bench.accounts, bench.now(), silent));
    assert_eq!(bench.ask(&mut view), []);
    assert_eq!(view.take_forgotten(), 5);
    assert_eq!(view.take_forgotten(), 0);
}

#[test]
fn documented_sizes_are_correct() {
    assert_eq!(size_of::<(ProcessId, Account)>(), 104);
    assert_eq!(size_of::<(ProcessId, Counters)>(), 80);
}
