//! Filters by the name of a process and by its user, at the moment of each call, compared with what
//! the workload itself counted.

use netatop::kernel::{
    Automaton, Capacity, EndFilter, Filter, RemoteRows, Storage, TaskFilter, TcpRows, UnitPattern,
};
use netatop::model::{Counters, Interval, RemoteMode};
use netatop::text::Glob;
use serde_json::Value;

use super::filters::Cgroup;
use super::harness::{Counting, NOBODY, Named, Workload, counters, of_pid, wait_for};
use super::remote::udp_ends;

pub fn by_names(globs: &[&str]) -> TaskFilter {
    let globs: Vec<Glob> = globs
        .iter()
        .map(|glob| Glob::parse(glob).expect("a glob"))
        .collect();
    TaskFilter {
        names: Some(Automaton::of_names(&globs).expect("small")),
        ..TaskFilter::default()
    }
}

pub fn by_uids(uids: &[u32]) -> TaskFilter {
    TaskFilter {
        uids: uids.to_vec(),
        ..TaskFilter::default()
    }
}

pub fn by_units(units: &[&str]) -> TaskFilter {
    let glob = |text: &str| Glob::parse_without_escapes(text).expect("a glob");
    let unit = |text: &&str| match text.split_once('/') {
        Some((manager, name)) => UnitPattern {
            manager: Some(glob(manager)),
            name: glob(name),
        },
        None => UnitPattern {
            manager: None,
            name: glob(text),
        },
    };
    let units: Vec<UnitPattern> = units.iter().map(unit).collect();
    TaskFilter {
        units: Some(Automaton::of_units(&units).expect("small")),
        ..TaskFilter::default()
    }
}

pub fn filter(who: TaskFilter) -> Filter {
    Filter {
        who,
        ..Filter::default()
    }
}

/// Ways to count: remote ends, threads as rows, TCP's own account.
pub const WAYS: [(Option<RemoteMode>, bool, bool); 5] = [
    (None, false, false),
    (None, true, false),
    (Some(RemoteMode::Service), false, false),
    (Some(RemoteMode::Socket), true, false),
    (None, false, true),
];

pub fn sizes((mode, threads, tcp): (Option<RemoteMode>, bool, bool)) -> Capacity {
    Capacity {
        remote: mode.map(|mode| RemoteRows::of_host(mode, threads, udp_ends())),
        tcp: tcp.then(|| TcpRows::new(threads)),
        ..Capacity::default()
    }
}

/// What a process did in an interval, and the payload that has arrived by TCP's account, if it is
/// recorded.
pub fn done(interval: &Interval, pid: u32) -> (Counters, u64) {
    let mut sums = (Counters::default(), 0);
    for usage in of_pid(interval, pid) {
        sums.0 += usage.counters;
        sums.1 += usage.tcp.get().map_or(0, |tcp| tcp.in_bytes);
    }
    sums
}

/// Tells a workload some lines. After those that begin with `+` it prints what counts, and after
/// those that begin with `-` what does not. `NAME` stands for its program.
fn script(who: &TaskFilter, named: &Named, lines: &[&str]) {
    for way in WAYS {
        let mut told = named.start(&["told"]);
        let pid = told.pid();
        let mut storage = Storage::default();
        let filter = filter(who.clone());
        let mut counting = Counting::with_capacity(&mut storage, sizes(way), &filter, way.1);
        let mut truth = Counters::default();
        for line in lines {
            let (wanted, line) = match line.split_at(1) {
                ("+", line) => (Some(true), line),
                ("-", line) => (Some(false), line),
                _ => (None, *line),
            };
            told.tell(line);
            if let Some(wanted) = wanted {
                let own = counters(&told.line(), Counters::default());
                assert!(own.tcp_recv_bytes > 0 && own.udp_send_msgs > 0);
                truth += if wanted { own } else { Counters::default() };
            }
        }
        told.finish();
        let (mut sum, mut payload) = (Counters::default(), 0);
        // All of it arrives in the process, read or not.
        let expected = if way.2 { truth.tcp_send_bytes } else { 0 };
        wait_for("TCP's account", || {
            let interval = counting.interval();
            assert!(interval.unattributed.is_zero());
            let (counters, bytes) = done(&interval, pid);
            sum += counters;
            payload += bytes;
            (payload >= expected).then_some(())
        });
        assert_eq!(sum, truth, "{way:?} {lines:?}");
        assert_eq!(payload, expected, "{way:?} {lines:?}");
    }
}

#[test]
fn the_name_at_the_moment_of_a_call_decides() {
    let named = Named::new("netatop-who");
    let before = [
        "+traffic",
        "name other",
        "-traffic",
        "name netatop-who-15b",
        "+traffic",
        "name netatop-wh",
        "-traffic",
    ];
    script(&by_names(&["netatop-who*"]), &named, &before);
    let patterns = by_names(&["x", "net[a-z]top-wh?", r"\*", "*[!a-z]who-15b"]);
    script(&patterns, &named, &before);
    script(
        &by_names(&["nothing", "netatop-who2"]),
        &named,
        &["-traffic"],
    );
}

/// As in the column `comm`. The names of other threads mean nothing.
#[test]
fn the_name_is_that_of_the_first_thread() {
    let lines = [
        "+thread other",
        "name other",
        "-thread netatop-first",
        "-traffic",
        "name netatop-first",
        "+thread x",
        "+traffic",
    ];
    script(
        &by_names(&["netatop-first"]),
        &Named::new("netatop-first"),
        &lines,
    );
}

#[test]
fn another_program_has_another_name() {
    let (named, other) = (Named::new("netatop-exec1"), Named::new("netatop-2exec"));
    let exec = |to: &Named| format!("exec {}", to.path().display());
    let (there, back) = (exec(&other), exec(&named));
    let lines = [
        "+traffic",
        &there,
        "-traffic",
        &back,
        "+traffic",
        &there,
        "-thread x",
    ];
    script(&by_names(&["netatop-exec*"]), &named, &lines);
    let lines = [
        "-traffic", &there, "+traffic", "name x", "-traffic", &there, "+traffic",
    ];
    script(&by_names(&["*2exec"]), &named, &lines);
}

#[test]
fn the_user_at_the_moment_of_a_call_decides() {
    let named = Named::new("netatop-user");
    let change = format!("uid {NOBODY}");
    let lines = ["-traffic", "-thread x", &change, "+traffic", "+thread x"];
    script(&by_uids(&[4321, NOBODY]), &named, &lines);
    let lines = ["+traffic", &change, "-traffic", "-thread x"];
    script(&by_uids(&[0]), &named, &lines);
    script(
        &by_uids(&[0, NOBODY]),
        &named,
        &["+traffic", &change, "+traffic"],
    );
}

#[test]
fn a_name_and_a_user_must_both_match() {
    let named = Named::new("netatop-both");
    let change = format!("uid {NOBODY}");
    let lines = ["-traffic", &change, "+traffic", "name other", "-traffic"];
    let who = TaskFilter {
        uids: vec![NOBODY],
        ..by_names(&["netatop-both"])
    };
    script(&who, &named, &lines);
}

/// Each process differs from the first one in one part of the filter.
#[test]
fn all_filters_narrow_each_other() {
    let (named, other) = (Named::new("netatop-all"), Named::new("netatop-rest"));
    let slice = Cgroup::of_test("all.slice");
    let unit = Cgroup::new(slice.0.join("netatop-all.service"));
    let elsewhere = Cgroup::of_test("elsewhere");
    let start = |program: &Named, uid: Option<u32>, cgroup: &Cgroup| {
        let mut told = program.start(&["told"]);
        cgroup.adopt(told.pid());
        if let Some(uid) = uid {
            told.tell(&format!("uid {uid}"));
        }
        told
    };
    let nobody = Some(NOBODY);
    let mut all: Vec<Workload> = vec![
        start(&named, nobody, &unit),
        start(&other, nobody, &unit),
        start(&named, None, &unit),
        start(&named, nobody, &elsewhere),
        start(&named, nobody, &unit),
    ];
    let pids: Vec<u32> = all.iter().map(Workload::pid).collect();
    let loopback = EndFilter {
        networks: vec!["127.0.0.0/8".parse().expect("a network")],
        udp_ends: udp_ends(),
        ..EndFilter::default()
    };
    for ends in [EndFilter::default(), loopback] {
        let is_filtered = ends.is_used();
        let filter = Filter {
            pids: pids[..4].to_vec(),
            cgroups: vec![slice.wanted(1), elsewhere.wanted(1)],
            who: TaskFilter {
                uids: vec![NOBODY],
                units: by_units(&["netatop-*"]).units,
                ..by_names(&["netatop-all"])
            },
            ends,
            ..Filter::default()
        };
        let mut storage = Storage::default();
        let mut counting = Counting::new(&mut storage, &filter, false);
        let lines: Vec<Value> = all
            .iter_mut()
            .map(|told| {
                told.tell("traffic");
                told.line()
            })
            .collect();
        let interval = counting.interval();
        let truth = counters(&lines[0], Counters::default());
        let counted = done(&interval, pids[0]).0;
        if is_filtered {
            // The same traffic over IPv4 and over IPv6.
            assert_eq!(counted + counted, truth);
        } else {
            assert_eq!(counted, truth);
        }
        for pid in &pids[1..] {
            assert!(of_pid(&interval, *pid).is_empty());
        }
        assert!(interval.unattributed.is_zero());
    }
    for told in all {
        told.finish();
    }
}
