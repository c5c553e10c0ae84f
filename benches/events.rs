//! The cost of one event, a one-byte receive from a filled loopback socket: without programs,
//! counted, and rejected by each kind of filter. Needs root.
//!
//! The cases run in turns, so that a change in the machine's speed affects all of them. The output
//! has medians, and their difference to no programs.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use netatop::kernel::{
    Automaton, Capacity, EndFilter, Filter, HostFacts, RemoteRows, Storage, TaskFilter, TcpRows,
    TracepointKind, Tracer, UdpEnds, UnitPattern, WantedCgroup,
};
use netatop::model::RemoteMode;
use netatop::text::Glob;

/// Number of receives per round. All data fits into the receive buffer.
const EVENTS: usize = 100_000;
const ROUNDS: usize = 25;

/// By ends of traffic, all of which is over loopback.
fn cases_by_ends(port: u16) -> Vec<Case> {
    let of = |ends| {
        let filter = Filter {
            ends,
            ..Filter::default()
        };
        Some((filter, TracepointKind::Typed, Capacity::of_host()))
    };
    let ports = |ports: &[u16]| EndFilter {
        ports: ports.to_vec(),
        ..EndFilter::default()
    };
    let network = |network: &str| EndFilter {
        networks: vec![network.parse().expect("a network")],
        ..EndFilter::default()
    };
    let no_loopback = EndFilter {
        no_loopback: true,
        ..EndFilter::default()
    };
    vec![
        ("counted, by --port", of(ports(&[port]))),
        ("counted, by --net", of(network("127.0.0.0/8"))),
        ("filtered out by --port", of(ports(&[1]))),
        ("filtered out by --net", of(network("192.0.2.0/24"))),
        ("filtered out by --no-loopback", of(no_loopback)),
    ]
}

/// By the name of the process, which is the bench's own, by its user and by its unit.
fn cases_by_who() -> Vec<Case> {
    let of = |who: TaskFilter| {
        let filter = Filter {
            who,
            ..Filter::default()
        };
        Some((filter, TracepointKind::Typed, Capacity::of_host()))
    };
    let names = |globs: &[&str]| {
        let globs: Vec<Glob> = globs
            .iter()
            .map(|glob| Glob::parse(glob).expect("a glob"))
            .collect();
        of(TaskFilter {
            names: Some(Automaton::of_names(&globs).expect("small")),
            ..TaskFilter::default()
        })
    };
    let uids = |uids: Vec<u32>| {
        of(TaskFilter {
            uids,
            ..TaskFilter::default()
        })
    };
    let unit = UnitPattern {
        manager: None,
        name: Glob::parse("netatop-bench.service").expect("a glob"),
    };
    let units = of(TaskFilter {
        units: Some(Automaton::of_units(&[unit]).expect("small")),
        ..TaskFilter::default()
    });
    let comm = std::fs::read_to_string("/proc/self/comm").expect("comm");
    let comm = comm.trim();
    vec![
        ("counted, by --comm NAME", names(&[comm])),
        ("counted, by --comm '*'", names(&["*"])),
        (
            "counted, by --uid",
            uids(vec![nix::unistd::getuid().as_raw()]),
        ),
        ("filtered out by --comm NAME", names(&["nginx"])),
        (
            "filtered out by --comm '*NAME*', of 15 bytes",
            names(&["*nginx*"]),
        ),
        ("filtered out by --comm, 20 patterns", names(&TWENTY)),
        ("filtered out by --uid", uids(vec![4321])),
        (
            "filtered out by --uid, 64 users",
            uids((4321..4385).collect()),
        ),
        ("filtered out by --unit", units),
    ]
}

/// Each could match a name of which the first bytes are known.
const TWENTY: [&str; 20] = [
    "*a1*", "*b2*", "*c3*", "*d4*", "*e5*", "*f6*", "*g7*", "*h8*", "*i9*", "*j0*", "k?z*", "l?y*",
    "m?x*", "n?w*", "o?v*", "p?u*", "q?t*", "r?s*", "s?r*", "t?q*",
];

/// By remote end, with TCP's own account, and both.
fn cases_with_more() -> Vec<Case> {
    let rows = RemoteRows::of_host(RemoteMode::Service, false, UdpEnds::NotNeeded);
    let of = |remote, tcp| {
        let capacity = Capacity {
            remote,
            tcp,
            ..Capacity::of_host()
        };
        Some((Filter::default(), TracepointKind::Typed, capacity))
    };
    let tcp = TcpRows::new(false);
    vec![
        ("counted, with --tcp", of(None, Some(tcp))),
        ("counted, with --remote", of(Some(rows), None)),
        ("counted, with --remote --tcp", of(Some(rows), Some(tcp))),
    ]
}

type Case = (&'static str, Option<(Filter, TracepointKind, Capacity)>);

fn cases() -> Vec<Case> {
    // Process 1 exists and is another process. No cgroup has this id.
    let other_process = Filter {
        pids: vec![1],
        ..Filter::default()
    };
    let other_cgroup = Filter {
        cgroups: vec![WantedCgroup {
            id: u64::MAX,
            level: 1,
        }],
        ..Filter::default()
    };
    let this_process = Filter {
        pids: vec![std::process::id()],
        ..Filter::default()
    };
    let all = Filter::default();
    let usual = Capacity::of_host();
    let mut cases = vec![
        ("no programs", None),
        ("counted", Some((all.clone(), TracepointKind::Typed, usual))),
        (
            "counted, by --pid",
            Some((this_process, TracepointKind::Typed, usual)),
        ),
        (
            "filtered out by --pid",
            Some((other_process, TracepointKind::Typed, usual)),
        ),
        (
            "filtered out by --cgroup",
            Some((other_cgroup, TracepointKind::Typed, usual)),
        ),
    ];
    // As on Linux 7.0 and later.
    match HostFacts::gather().tracefs {
        Ok(_) => cases.push((
            "counted, by classic tracepoints",
            Some((all, TracepointKind::Classic, usual)),
        )),
        Err(error) => eprintln!("without classic tracepoints: {error}"),
    }
    cases
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let sender = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (receiver, _) = listener.accept().expect("accept");
    (sender, receiver)
}

/// Runs one round and returns nanoseconds per event.
fn round(
    sender: &mut TcpStream,
    receiver: &mut TcpStream,
    programs: Option<&(Filter, TracepointKind, Capacity)>,
) -> f64 {
    let mut storage = Storage::default();
    let tracer = programs.map(|(filter, kind, capacity)| {
        Tracer::attach_kind(&mut storage, *capacity, filter, *kind).expect("attach")
    });
    let data = vec![0; EVENTS];
    let mut byte = [0];
    std::thread::scope(|scope| {
        scope.spawn(|| sender.write_all(&data).expect("send"));
    });
    let begun = Instant::now();
    for _ in 0..EVENTS {
        receiver.read_exact(&mut byte).expect("receive");
    }
    let nanos = begun.elapsed().as_nanos() as f64 / EVENTS as f64;
    drop(tracer);
    nanos
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    // `cargo test --benches` only checks that this runs.
    let rounds = if std::env::args().any(|arg| arg == "--bench") {
        ROUNDS
    } else {
        1
    };
    // The longest name that a process can have.
    std::fs::write("/proc/self/comm", "events-of-netat").expect("the name");
    let (mut sender, mut receiver) = pair();
    let mut cases = cases();
    cases.extend(cases_by_ends(
        receiver.local_addr().expect("address").port(),
    ));
    cases.extend(cases_by_who());
    cases.extend(cases_with_more());
    let mut measured = vec![Vec::new(); cases.len()];
    for _ in 0..rounds {
        for ((_, programs), values) in cases.iter().zip(&mut measured) {
            values.push(round(&mut sender, &mut receiver, programs.as_ref()));
        }
    }
    let medians: Vec<f64> = measured.iter_mut().map(|values| median(values)).collect();
    println!("| 1-byte TCP receive | ns an event | more than without | ratio |");
    println!("|---|---|---|---|");
    for ((name, _), nanos) in cases.iter().zip(&medians) {
        println!(
            "| {name} | {nanos:.0} | {:.0} | {:.2} |",
            nanos - medians[0],
            nanos / medians[0]
        );
    }
}
