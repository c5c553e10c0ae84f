//! With events in any order, every client gets everything.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use proptest::prelude::*;

use super::super::view::{View, Viewer};
use super::bench::Bench;
use crate::model::ProcessId;

#[derive(Clone, Debug)]
enum Step {
    Send(u32),
    /// The process ends, and a new process gets its pid.
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

/// A client and the replies that it must get.
struct Client {
    view: View,
    /// By process: bytes since the client connected, and when its end was first reported.
    truth: BTreeMap<ProcessId, (u64, Option<Duration>)>,
}

proptest! {
    /// With events in any order, every reply contains exactly what each living process did since
    /// this client connected. It also contains each ended process, for two seconds from the first
    /// reply after its end.
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
                    // It has a unique pid, so that no other process reuses it.
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
                    // As in atop, the last record of a pid counts.
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
