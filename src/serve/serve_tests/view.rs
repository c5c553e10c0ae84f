//! What each client is told, against a world that knows what every process did.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::accounts::{Account, Accounts};
use super::super::view::{Baseline, View, Viewer};
use super::world::{Shared, parse};
use crate::model::{Counters, ProcessId};
use crate::source::Source;

/// The server's part, without sockets and with a time of its own.
struct Bench {
    world: Shared,
    accounts: Accounts,
    start: Instant,
    passed: Duration,
}

impl Bench {
    fn new() -> Self {
        Self {
            world: Shared::default(),
            accounts: Accounts::default(),
            start: Instant::now(),
            passed: Duration::ZERO,
        }
    }

    fn now(&self) -> Instant {
        self.start + self.passed
    }

    fn connect(&mut self, viewer: Viewer) -> View {
        self.accounts.sample(&mut self.world).expect("sample");
        let baseline = Rc::new(Baseline::new(&self.accounts, viewer));
        View::new(viewer, baseline, &self.accounts, self.now())
    }

    fn ask(&mut self, view: &mut View) -> Vec<(u32, u64, u64)> {
        self.accounts.sample(&mut self.world).expect("sample");
        let world = self.world.clone();
        let now = self.now();
        parse(&view.reply(&self.accounts, now, 0, |process| world.is_reused(process)))
    }
}

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
    // Nobody needs it any more.
    often.settle(bench.now());
    let needed = often.needs_from().min(rarely.needs_from());
    bench.accounts.forget_before(needed);
    assert_eq!(bench.accounts.ended_kept(), 0);
}

#[test]
fn the_end_of_an_idle_process_is_told_with_all_it_did() {
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
fn a_process_whose_busy_threads_have_ended_is_there_until_it_ends() {
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
    // The new one has done nothing: the old one's counts would be taken for its own.
    assert_eq!(bench.ask(&mut view), []);
    bench.world.lock().send(10, 7);
    assert_eq!(bench.ask(&mut view), [(10, 1, 7)]);
    // Both are gone: the later one comes last.
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
fn a_silent_process_that_ended_is_told_before_a_later_one_of_its_pid() {
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
fn who_comes_before_a_late_record_is_told_only_what_came_after() {
    let mut bench = Bench::new();
    let _first = bench.connect(Viewer::All);
    let process = bench.world.lock().start(10, 0);
    bench.world.lock().send(10, 100);
    bench.world.lock().exit(10);
    bench.accounts.sample(&mut bench.world).expect("sample");
    let mut second = bench.connect(Viewer::All);
    bench.world.lock().start(10, 0);
    bench.world.lock().get(10).process = process;
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
    bench.world.lock().get(13).creds_differ = true;
    assert_eq!(bench.ask(&mut root).len(), 5);
    assert_eq!(bench.ask(&mut user), [(11, 1, 1), (14, 1, 1)]);
    // A program that has taken on another user's rights is not its user's any more,
    // not even when it gives them back.
    bench.world.lock().get(14).uid = 0;
    bench.world.lock().send(14, 1);
    assert_eq!(bench.ask(&mut user), [(11, 1, 1)]);
    bench.world.lock().get(14).uid = 1000;
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
    // A second thread of it, seen nowhere before.
    bench.world.lock().start(10, 0);
    bench.world.lock().get(10).process = process;
    bench.world.lock().send(10, 5);
    bench.world.lock().exit(10);
    assert_eq!(bench.ask(&mut view).last(), Some(&(10, 2, 105)));
}

#[test]
fn who_has_not_asked_for_long_is_told_how_much_was_forgotten() {
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
fn what_is_said_of_memory_is_so() {
    assert_eq!(size_of::<(ProcessId, Account)>(), 104);
    assert_eq!(size_of::<(ProcessId, Counters)>(), 80);
}

#[derive(Clone, Debug)]
enum Step {
    Send(u32),
    /// Its pid is another process's from now on.
    Replace(u32),
    Exit(u32),
    Silence(u32),
    Connect,
    Ask(prop::sample::Index),
    Leave(prop::sample::Index),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let pid = 1u32..6;
    prop_oneof![
        4 => pid.clone().prop_map(Step::Send),
        1 => pid.clone().prop_map(Step::Replace),
        1 => pid.clone().prop_map(Step::Exit),
        1 => pid.prop_map(Step::Silence),
        1 => Just(Step::Connect),
        3 => any::<prop::sample::Index>().prop_map(Step::Ask),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        2 => (1u64..3000).prop_map(Step::Pass),
    ]
}

/// What one client must be told.
struct Client {
    view: View,
    /// By process: bytes since it connected, and when it was first told of its end.
    truth: BTreeMap<ProcessId, (u64, Option<Duration>)>,
}

proptest! {
    /// Whatever happens in whatever order: every reply says of each living process
    /// exactly what it did since this client connected, and of each that has ended too,
    /// from the first reply after its end for two seconds.
    #[test]
    fn every_client_is_told_everything(steps in prop::collection::vec(step(), 1..120)) {
        let mut bench = Bench::new();
        let mut clients: Vec<Client> = Vec::new();
        let mut alive: HashMap<u32, ProcessId> = HashMap::new();
        for step in steps {
            match step {
                Step::Send(pid) => {
                    let process = *alive
                        .entry(pid)
                        .or_insert_with(|| bench.world.lock().start(pid, 0));
                    bench.world.lock().send(pid, 3);
                    for client in &mut clients {
                        client.truth.entry(process).or_default().0 += 3;
                    }
                }
                Step::Exit(pid) => {
                    if alive.remove(&pid).is_some() {
                        bench.world.lock().exit(pid);
                    }
                }
                Step::Replace(pid) => {
                    if alive.remove(&pid).is_some() {
                        bench.world.lock().exit(pid);
                    }
                    alive.insert(pid, bench.world.lock().start(pid, 0));
                }
                Step::Silence(pid) => {
                    // With another pid than any other, so that nobody takes it.
                    let pid = pid + 100;
                    if let Some(process) = alive.remove(&pid) {
                        bench.world.lock().end_silent(process);
                        continue;
                    }
                    let process = bench.world.lock().start(pid, 0);
                    bench.world.lock().send(pid, 3);
                    bench.world.lock().fall_silent(pid);
                    alive.insert(pid, process);
                    for client in &mut clients {
                        client.truth.entry(process).or_default().0 += 3;
                    }
                }
                Step::Connect => {
                    let view = bench.connect(Viewer::All);
                    clients.push(Client { view, truth: BTreeMap::new() });
                }
                Step::Leave(which) if !clients.is_empty() => {
                    clients.swap_remove(which.index(clients.len()));
                }
                Step::Pass(ms) => bench.passed += Duration::from_millis(ms),
                Step::Ask(which) if !clients.is_empty() => {
                    let at = which.index(clients.len());
                    let client = &mut clients[at];
                    let reply = bench.ask(&mut client.view);
                    // As atop does: the last record of a pid is the one that counts.
                    let seen: HashMap<u32, u64> = reply.iter().map(|r| (r.0, r.2)).collect();
                    let now = bench.passed;
                    let mut due: HashMap<u32, Option<u64>> = HashMap::new();
                    let mut may: Vec<u32> = Vec::new();
                    for (process, (bytes, told)) in &mut client.truth {
                        let pid = process.pid;
                        if alive.get(&pid) == Some(process) {
                            due.insert(pid, Some(*bytes));
                            continue;
                        }
                        let first = *told.get_or_insert(now);
                        let age = now.checked_sub(first).expect("later");
                        if age <= Duration::from_secs(2) {
                            due.insert(pid, Some(*bytes));
                        } else if age <= Duration::from_millis(2100) {
                            may.push(pid);
                        }
                    }
                    for (pid, process) in &alive {
                        if !client.truth.contains_key(process) {
                            due.insert(*pid, None);
                        }
                    }
                    for (pid, bytes) in &due {
                        if !may.contains(pid) {
                            prop_assert_eq!(seen.get(pid).copied(), *bytes, "pid {}", pid);
                        }
                    }
                    for pid in seen.keys() {
                        prop_assert!(due.contains_key(pid) || may.contains(pid), "pid {}", pid);
                    }
                }
                Step::Leave(_) | Step::Ask(_) => {}
            }
            let needed = clients.iter().map(|c| c.view.needs_from()).min();
            bench.accounts.forget_before(needed.unwrap_or(u64::MAX));
        }
    }
}
