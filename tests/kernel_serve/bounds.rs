//! Tests of the server's resource usage: memory, descriptors, time. Times are printed, never
//! asserted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::exits::ManyPids;
use super::faults::Multitude;
use super::harness::{NETATOP, Workload, clean_up, counters, wait_for};
use super::scaled;
use super::server::{Server, public_dir};

/// The resources of the server at one moment.
#[derive(Clone, Copy, Debug)]
struct Resources {
    requests: usize,
    rss: u64,
    descriptors: usize,
    maps: usize,
    programs: usize,
}

impl Resources {
    fn by(server: &Server, requests: usize) -> Self {
        Self {
            requests,
            rss: server.memory("VmRSS:"),
            descriptors: server.descriptors(),
            maps: server.holds("map"),
            programs: server.holds("prog"),
        }
    }
}

/// Allowed growth: more than one reply, and free memory that malloc keeps.
const SLACK_KIB: u64 = 8 << 10;

/// One day of atop's requests at one per second, sent as fast as possible, while processes start
/// and end.
#[test]
fn a_day_of_requests_leaves_nothing_behind() {
    let _many = ManyPids::allow();
    let requests = scaled(100_000, 3000);
    let server = Server::start(&[]);
    let mut client = server.client();
    let over = AtomicBool::new(false);
    let table = std::thread::scope(|scope| {
        let churn = scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                Workload::start(&["process-storm", "n=500", "parallel=1", "rate=500"]).finish();
            }
        });
        let mut table = Vec::new();
        for asked in 0..=requests {
            client.ask();
            if asked % (requests / 10) == 0 {
                table.push(Resources::by(&server, asked));
            }
        }
        over.store(true, Ordering::Release);
        churn.join().expect("churn");
        table
    });
    println!(
        "{:>9} {:>9} {:>5} {:>5} {:>9}",
        "requests", "RSS KiB", "fds", "maps", "programs"
    );
    for held in &table {
        println!(
            "{:>9} {:>9} {:>5} {:>5} {:>9}",
            held.requests, held.rss, held.descriptors, held.maps, held.programs
        );
    }
    // Compare from the second row on: the first one was taken before any activity.
    let early = table[1];
    for late in &table[2..] {
        assert_eq!(
            (late.descriptors, late.maps, late.programs),
            (early.descriptors, early.maps, early.programs),
            "{late:?}"
        );
        assert!(late.rss <= early.rss + SLACK_KIB, "{early:?}, {late:?}");
    }
    drop(client);
    wait_for("the end of counting", || {
        server.held().is_empty().then_some(())
    });
}

/// The memory limit of the unit, in bytes.
fn limit_of_the_unit() -> u64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/systemd/netatop-bpf.service");
    let unit = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let value = unit
        .lines()
        .find_map(|line| line.strip_prefix("MemoryMax="));
    let value = value.expect("MemoryMax= in the unit").trim();
    let (digits, unit) = value.split_at(value.trim_end_matches(char::is_alphabetic).len());
    let factor = match unit {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => panic!("MemoryMax={value}"),
    };
    digits.parse::<u64>().expect("a number") * factor
}

/// A memory cgroup of cgroup v1 or v2.
struct MemoryCgroup {
    path: PathBuf,
    max_usage: &'static str,
}

impl MemoryCgroup {
    fn new(limit: u64) -> Self {
        let name = format!("netatop-test-{}-serve", std::process::id());
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let (path, file, max_usage) = if v1.join("memory.limit_in_bytes").exists() {
            (
                v1.join(name),
                "memory.limit_in_bytes",
                "memory.max_usage_in_bytes",
            )
        } else {
            let root = Path::new("/sys/fs/cgroup");
            fs::write(root.join("cgroup.subtree_control"), "+memory").expect("memory controller");
            (root.join(name), "memory.max", "memory.peak")
        };
        fs::create_dir(&path).expect("mkdir");
        let cgroup = Self { path, max_usage };
        fs::write(cgroup.path.join(file), limit.to_string()).expect("limit");
        cgroup
    }

    fn peak(&self) -> String {
        fs::read_to_string(self.path.join(self.max_usage)).unwrap_or_default()
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        clean_up("the cgroup to be empty", || fs::remove_dir(&self.path).ok());
    }
}

/// With the memory limit of its unit, the server counts every thread, or reports what it could not
/// count.
#[test]
fn the_memory_of_the_unit_is_enough_for_forty_thousand_threads() {
    let _many = ManyPids::allow();
    let limit = limit_of_the_unit();
    let cgroup = MemoryCgroup::new(limit);
    let dir = public_dir();
    let socket = dir.path().join("socket");
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ >\"$1\" && shift && exec \"$@\"", "sh"]);
    command.arg(cgroup.path.join("cgroup.procs"));
    command.args([NETATOP, "serve", "--socket"]).arg(&socket);
    let server = Server::of(command, &socket);
    let mut client = server.client();
    let n = format!("n={}", scaled(40_000, 4000));
    let mut workload = Workload::start(&["live-threads", &n]);
    let pid = workload.pid();
    let truth = workload.line();
    let counted = client.ask().of(pid);
    println!(
        "{n} threads: peak {} of {limit} bytes",
        cgroup.peak().trim()
    );
    if counted != counters(&truth, counted) {
        server.wait_for_message("could not be attributed");
    }
    workload.finish();
    client.ask();
    drop(client);
    let said = server.stop();
    assert!(
        !said.contains("could not be"),
        "the memory was not enough: {said}"
    );
    assert_eq!(counted, counters(&truth, counted));
}

/// Prints the time of a reply, from the request to its last byte.
#[test]
fn the_time_of_a_reply_is_measured() {
    let _many = ManyPids::allow();
    let server = Server::start(&[]);
    let most = scaled(40_000, 1000);
    for processes in [300, 1000, 10_000, 40_000] {
        if processes > most {
            continue;
        }
        let mut client = server.client();
        let crowd = Multitude::start(processes);
        crowd.assert_in(&client.ask());
        let mut times: Vec<_> = (0..11)
            .map(|_| {
                let start = Instant::now();
                client.ask();
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        println!(
            "{processes:>6} processes: reply in {:?} (median), {:?} (longest); server's VmRSS {} KiB",
            times[5],
            times[10],
            server.memory("VmRSS:")
        );
        crowd.end();
    }
}

/// Many clients one after the other, each with its own baseline.
#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let server = Server::start(&[]);
    let mut first = server.client();
    let crowd = Multitude::start(300);
    let mut early = None;
    let rounds = scaled(20_000, 1000);
    for round in 0..rounds {
        let mut client = server.client();
        crowd.assert_not_in(&client.ask());
        if round == rounds / 5 {
            early = Some(Resources::by(&server, round));
        }
    }
    // The server notices disconnected clients before it answers a later request.
    crowd.assert_in(&first.ask());
    let early = early.expect("some rounds");
    let late = Resources::by(&server, rounds);
    assert!(late.rss <= early.rss + SLACK_KIB, "{early:?}, {late:?}");
    wait_for("the descriptors of those who left", || {
        (server.descriptors() <= early.descriptors).then_some(())
    });
    crowd.end();
}
