//! Regression tests for faults of an earlier daemon, compared with the workload's own counts.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::net::Shutdown;

use netatop::model::Counters;

use super::client::{Client, UNIT};
use super::harness::{Workload, counters, is_left_out, wait_for};
use super::scaled;
use super::server::Server;

/// Runs a scenario with one process, and compares while the process is alive.
fn assert_exact(server: &Server, scenario: &str) {
    let mut client = server.client();
    let mut workload = Workload::start(&[scenario, "hold=1"]);
    let pid = workload.pid();
    let line = workload.line();
    if is_left_out(scenario, std::slice::from_ref(&line)) {
        return;
    }
    let counted = client.ask().of(pid);
    assert_eq!(counted, counters(&line, counted), "{scenario}: {line}");
    workload.finish();
    // Its final counters are the same.
    assert_eq!(
        client.ask().of(pid),
        counted,
        "{scenario}, when it had ended"
    );
}

/// The daemon counted one EAGAIN as 2^64 - 11 bytes.
#[test]
fn failed_calls_count_nothing() {
    assert_exact(&Server::start(&[]), "errors");
}

#[test]
fn peeks_and_the_end_of_a_stream_count_nothing() {
    let server = Server::start(&[]);
    assert_exact(&server, "peek");
    assert_exact(&server, "eof");
}

#[test]
fn every_operation_is_exact_in_a_reply() {
    let server = Server::start(&[]);
    for scenario in [
        "tcp",
        "tcp6",
        "mapped",
        "udp",
        "udp6",
        "empty-datagram",
        "short-buffer",
        "trunc",
        "mmsg",
        "gso",
        "sendfile",
        "io-uring",
        "mptcp",
        "raw",
        "unix",
    ] {
        assert_exact(&server, scenario);
    }
}

/// Processes that are alive at the same time, with their true counters by pid.
pub struct Multitude {
    workload: Workload,
    pub truths: Vec<(u32, Counters)>,
}

impl Multitude {
    pub fn start(count: usize) -> Self {
        let n = format!("n={count}");
        let mut workload = Workload::start(&["live-processes", &n, "list=1"]);
        let truths = (0..count)
            .map(|_| {
                let line = workload.line();
                let pid = line["pid"].as_u64().expect("a pid") as u32;
                (pid, counters(&line, Counters::default()))
            })
            .collect();
        Self { workload, truths }
    }

    /// Asserts that the reply has each process once, with its true counters.
    #[track_caller]
    pub fn assert_in(&self, reply: &super::client::Reply) {
        let by_pid = reply.by_pid();
        for (pid, truth) in &self.truths {
            assert_eq!(by_pid.get(pid), Some(truth), "process {pid}");
        }
        let pids: HashSet<u32> = self.truths.iter().map(|(pid, _)| *pid).collect();
        let records = reply.0.iter().filter(|record| pids.contains(&record.pid));
        assert_eq!(records.count(), pids.len(), "one record each");
    }

    /// Asserts that the reply has none of the processes.
    #[track_caller]
    pub fn assert_not_in(&self, reply: &super::client::Reply) {
        let by_pid = reply.by_pid();
        for (pid, _) in &self.truths {
            assert_eq!(by_pid.get(pid), None, "process {pid}");
        }
    }

    pub fn end(self) {
        self.workload.finish();
    }
}

/// The daemon skipped the entries before pid 1 in its table, and had room for 40,960 processes.
#[test]
fn every_process_is_in_the_reply_however_many_they_are() {
    let _many = super::exits::ManyPids::allow();
    let count = scaled(45_000, 2000);
    let server = Server::start(&[]);
    let mut client = server.client();
    let crowd = Multitude::start(count);
    crowd.assert_in(&client.ask());
    crowd.assert_in(&client.ask());
    // Now the processes have ended.
    let truths = crowd.truths.clone();
    crowd.end();
    let by_pid = client.ask().by_pid();
    for (pid, truth) in truths {
        assert_eq!(by_pid.get(&pid), Some(&truth), "process {pid}, ended");
    }
}

/// A SIGPIPE for a closed connection killed the daemon.
#[test]
fn clients_that_disconnect_early_do_not_affect_others() {
    let mut server = Server::start(&[]);
    let mut good = server.client();
    let crowd = Multitude::start(2000);
    for round in 0..20 {
        let connect = || Client::connect(&server.socket);
        drop(connect());
        connect()
            .stream
            .write_all(b"half a request")
            .expect("write");
        connect().request();
        let mut many_requests = connect();
        for _ in 0..10 {
            many_requests.request();
        }
        drop(many_requests);
        let mut reads_one = connect();
        reads_one.request();
        let mut record = [0; UNIT];
        std::io::Read::read_exact(&mut reads_one.stream, &mut record).expect("a record");
        drop(reads_one);
        let half = connect();
        half.stream.shutdown(Shutdown::Read).expect("shutdown");
        let _ = (&half.stream).write_all(&[0; UNIT]);
        crowd.assert_in(&good.ask());
        assert!(round < 20);
    }
    server.assert_alive();
    crowd.end();
    drop(good);
    server.wait_for_message("not counting");
    server.stop();
}

#[test]
fn a_client_that_does_not_read_does_not_block_others() {
    let server = Server::start(&[]);
    let mut good = server.client();
    let mut deaf = server.client();
    let crowd = Multitude::start(2000);
    let requests = 8;
    for _ in 0..requests {
        deaf.request();
    }
    // More than fits into its socket, so it stays in the middle of a reply.
    for _ in 0..50 {
        crowd.assert_in(&good.ask());
    }
    for _ in 0..requests {
        crowd.assert_in(&deaf.reply());
    }
    crowd.end();
}

/// After any client's request, the daemon forgot ended processes for all clients.
#[test]
fn an_ended_process_is_reported_to_every_client() {
    let server = Server::start(&[]);
    let mut often = server.client();
    let mut others = [server.client(), server.client()];
    let lines = Workload::start(&["udp"]).finish();
    let pid = lines[0]["pid"].as_u64().expect("a pid") as u32;
    let counted = often.ask().of(pid);
    assert_eq!(counted, counters(&lines[0], counted));
    wait_for(
        "the process to be forgotten for the client that asks often",
        || often.ask().of(pid).is_zero().then_some(()),
    );
    for client in &mut others {
        let counted = client.ask().of(pid);
        assert_eq!(counted, counters(&lines[0], counted));
    }
}

fn start_tick(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let (_, rest) = stat.rsplit_once(") ").expect("a name");
    let field = rest.split(' ').nth(19).expect("a start");
    field.parse().expect("a number")
}

/// Starts a workload with this pid and a start time later than `after`, as /proc shows it.
fn with_pid(pid: u32, after: u64, args: &[&str]) -> Workload {
    wait_for("the pid to come again", || {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).expect("ns_last_pid");
        let workload = Workload::start(args);
        if workload.pid() == pid && start_tick(pid) > after {
            return Some(workload);
        }
        // Wait for its end: a zombie would keep its pid.
        workload.finish();
        None
    })
}

/// The daemon lost the counters of the second process.
#[test]
fn a_reused_pid_shows_the_new_process() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut late = server.client();
    let mut first = Workload::start(&["tcp", "hold=1"]);
    let pid = first.pid();
    let start = start_tick(pid);
    let old = first.line();
    let counted = client.ask().of(pid);
    assert_eq!(counted, counters(&old, counted), "{old}");
    first.finish();

    let mut second = with_pid(pid, start, &["udp", "delay-go=1", "hold=1"]);
    for client in [&mut client, &mut late] {
        let nothing = Counters::default();
        assert_eq!(client.ask().of(pid), nothing, "it has done nothing yet");
    }
    second.go();
    let new = second.line();
    for client in [&mut client, &mut late] {
        let reply = client.ask();
        let counted = reply.of(pid);
        assert_eq!(counted, counters(&new, counted), "{new}");
        let records = reply.0.iter().filter(|record| record.pid == pid);
        assert_eq!(
            records.count(),
            1,
            "a second record would be attributed to the new process"
        );
    }
    second.finish();
    // Both have ended. The last record is that of the later process.
    for client in [&mut client, &mut late] {
        let counted = client.ask().of(pid);
        assert_eq!(counted, counters(&new, counted), "{new}");
    }
}

/// The daemon answered a single byte with a full reply.
#[test]
fn a_request_is_answered_once_it_is_complete() {
    let server = Server::start(&[]);
    let mut other = server.client();
    let mut client = server.client();
    for sent in 0..UNIT {
        assert!(!client.has_answer(), "answered after {sent} bytes");
        client.stream.write_all(&[0]).expect("write");
        // The server has completed a loop since.
        other.ask();
    }
    client.reply();
    assert!(!client.has_answer(), "one request, one reply");
}

/// A restarted atop must not show earlier traffic in its first interval.
#[test]
fn a_client_counts_from_its_own_connection() {
    let server = Server::start(&[]);
    let mut first = server.client();
    let mut workload = Workload::start(&["udp-flow", "n=200", "size=50", "hold=1"]);
    let pid = workload.pid();
    let line = workload.line();
    let counted = first.ask().of(pid);
    assert_eq!(counted, counters(&line, counted));
    let mut second = server.client();
    assert_eq!(second.ask().of(pid), Counters::default());
    workload.finish();
    assert_eq!(second.ask().of(pid), Counters::default());
    let after = Workload::start(&["udp"]).finish();
    let pid = after[0]["pid"].as_u64().expect("a pid") as u32;
    let counted = second.ask().of(pid);
    assert_eq!(counted, counters(&after[0], counted));
}
