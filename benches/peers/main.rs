//! Compares the cost of counting with no tracer, with the floor (empty programs) and with other
//! tracers, in turns within one run. Needs root, and a machine that is otherwise idle.
//! `scripts/bench` runs it.
//!
//! `peers` measures everything. `peers compare` measures all loads with all tracers. `peers
//! designs` measures one event counted in several ways. `peers sampling` measures snapshots of many
//! processes. `peers life` measures start, end and memory. `peers remote` measures one event counted
//! by process and remote end, in several ways. `peers tcp` measures TCP's own account.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod connections;
mod life;
mod load;
mod programs;
mod results;
mod sampling;
mod statistics;
mod tracer;

use std::process::Command;

use load::LOADS;
use results::{Outcome, Results};
use tracer::Tracer;

const DESIGNS: &[&str] = &["hash", "storage", "sets", "slots", "slots_mmap", "cached"];

/// Counters split by remote end.
const REMOTE_DESIGNS: &[&str] = &[
    "remote_hash",
    "remote_generation",
    "remote_row",
    "remote_storage",
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|word| !word.starts_with("--"))
        .collect();
    match words[..] {
        ["load", name, units] => load::main(name, units.parse().expect("a number")),
        ["programs", object] => programs::main(object.as_ref()),
        ["crowd", count] => sampling::crowd(count.parse().expect("a number")),
        ["storm", count] => life::storm(count.parse().expect("a number")),
        ["life"] => life::main(rounds(21)),
        ["sampling"] => sampling::main(rounds(15)),
        ["designs"] => designs(),
        ["remote"] => remote_designs(),
        ["dial", port, count] => {
            let count = count.parse().expect("a number");
            connections::dial(port.parse().expect("a port"), count);
        }
        ["tcp"] => tcp(),
        ["commands"] => commands(rounds(41)),
        ["compare"] => compare(rounds(21)),
        // `cargo test --benches` only checks that this builds.
        _ if arguments.iter().any(|word| word == "--bench") => all(),
        _ => {}
    }
}

fn rounds(default: usize) -> usize {
    let given = std::env::var("BENCH_ROUNDS").ok();
    given.and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Measures everything, within minutes.
fn all() {
    compare(rounds(9));
    println!("\n### Looking at many processes\n");
    sampling::main(rounds(5));
    println!("\n### Start, end, size and memory\n");
    life::main(rounds(9));
}

fn compare(rounds: usize) {
    let tracers = vec![
        Tracer::Nothing,
        Tracer::Program("floor"),
        Tracer::Netatop,
        Tracer::Program("classic"),
        Tracer::Bpftrace,
        Tracer::Nethogs,
        Tracer::Bandwhich,
    ];
    let loads: Vec<&str> = LOADS
        .iter()
        .map(|(name, ..)| *name)
        .filter(|name| !["rotation", "udp_rotation", "unconnected", "connections"].contains(name))
        .collect();
    let results = measure(tracers, &loads, rounds);
    results.print_comparison();
    results.print_events("receive");
    results.write("compare");
}

fn designs() {
    let mut tracers = vec![
        Tracer::Nothing,
        Tracer::Program("floor"),
        Tracer::Netatop,
        Tracer::Program("classic"),
    ];
    tracers.extend(DESIGNS.iter().copied().map(Tracer::Program));
    let results = measure(tracers.clone(), &["receive"], rounds(25));
    results.print_events("receive");
    results.write("designs");
    let _kept = statistics::keep();
    tracers.remove(0);
    let results = measure(tracers, &["receive"], rounds(15));
    results.print_runs("receive");
    results.write("runs");
}

/// TCP's own account: events of long-lived connections, and short connections.
fn tcp() {
    let tracers = vec![
        Tracer::Nothing,
        Tracer::Program("floor"),
        Tracer::Netatop,
        Tracer::Remote,
        Tracer::Tcp,
        Tracer::RemoteTcp,
        Tracer::Program("classic"),
    ];
    let loads = ["receive", "rotation", "connections"];
    let results = measure(tracers, &loads, rounds(15));
    for load in loads {
        results.print_events(load);
    }
    results.write("tcp");
    connections::main(rounds(5));
}

/// One socket for each thread, and one thread that takes turns among a thousand.
fn remote_designs() {
    let mut tracers = vec![
        Tracer::Nothing,
        Tracer::Program("floor"),
        Tracer::Netatop,
        Tracer::Remote,
        Tracer::Program("classic"),
        Tracer::BpftraceRemote,
    ];
    tracers.extend(REMOTE_DESIGNS.iter().copied().map(Tracer::Program));
    let loads = [
        "receive",
        "rotation",
        "datagrams",
        "udp_rotation",
        "unconnected",
    ];
    let results = measure(tracers.clone(), &loads, rounds(25));
    for load in loads {
        results.print_events(load);
    }
    results.write("remote");
    let _kept = statistics::keep();
    tracers.remove(0);
    let results = measure(tracers, &loads, rounds(15));
    for load in loads {
        println!("\n### {load}, program alone\n");
        results.print_runs(load);
    }
    results.write("remote-runs");
}

/// Short processes, with and without their command lines.
fn commands(rounds: usize) {
    let tracers = vec![
        Tracer::Nothing,
        Tracer::Program("floor"),
        Tracer::Netatop,
        Tracer::CommandLines,
    ];
    let results = measure(tracers, &["processes"], rounds);
    results.print_comparison();
    results.write("commands");
}

/// Every load with every tracer, `rounds` times in turn.
fn measure(tracers: Vec<Tracer>, loads: &[&'static str], rounds: usize) -> Results {
    let (mut present, mut missing) = (Vec::new(), Vec::new());
    for tracer in tracers {
        match tracer.missing() {
            None => present.push(tracer),
            Some(why) => missing.push(format!("{}: {why}", tracer.name())),
        }
    }
    let mut results = Results::new(&present, missing);
    for round in 0..rounds {
        // The first tracer has the coldest caches, so each round starts with another one.
        for place in 0..present.len() {
            let place = (place + round) % present.len();
            for outcome in visit(&present[place], loads) {
                results.add(place, round, outcome);
            }
        }
        eprint!("\rround {} of {rounds} ", round + 1);
    }
    eprintln!();
    results
}

/// Runs all loads with one tracer.
fn visit(tracer: &Tracer, loads: &[&'static str]) -> Vec<Outcome> {
    let running = tracer.start();
    let started = running.cost();
    let mut outcomes = Vec::new();
    for (name, _, units) in LOADS.iter().filter(|(name, ..)| loads.contains(name)) {
        let (before, runs_before) = (running.cost(), running.runs());
        let output = Command::new(std::env::current_exe().expect("own path"))
            .args(["load", name, &units.to_string()])
            .output()
            .expect("run the load");
        assert!(output.status.success(), "the load {name} failed");
        let after = running.cost();
        let mut outcome = Outcome::new(name, *units, &output.stdout);
        outcome.run = running.runs().each_since(runs_before);
        outcome.own_cpu = after.cpu - before.cpu;
        outcome.memory = after.memory;
        outcome.start_cpu = started.cpu;
        outcomes.push(outcome);
    }
    let seen = running.stop();
    for outcome in &mut outcomes {
        outcome.take_seen(&seen);
    }
    outcomes
}
