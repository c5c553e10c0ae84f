//! What the daemon before it got wrong, each held against what the workload knows.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::net::Shutdown;

use netatop::model::Counters;

use super::client::{Client, UNIT};
use super::harness::{Workload, counters, is_left_out, wait_for};
use super::scaled;
use super::server::Server;

/// Runs a scenario of one process, and compares while that is still there.
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
    // What it had is its last word, too.
    assert_eq!(
        client.ask().of(pid),
        counted,
        "{scenario}, when it had ended"
    );
}

/// One EAGAIN was shown as 2^64 - 11 bytes.
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

/// Processes that are all there at the same time, with their truths by pid.
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

    /// Each is in the reply, once, with what it did.
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

    /// None of them is in the reply.
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

/// It skipped what was in front of pid 1 in its table, and had room for 40,960.
#[test]
fn every_process_is_in_the_reply_however_many_they_are() {
    let _many = super::exits::ManyPids::allow();
    let count = scaled(45_000, 2000);
    let server = Server::start(&[]);
    let mut client = server.client();
    let crowd = Multitude::start(count);
    crowd.assert_in(&client.ask());
    crowd.assert_in(&client.ask());
    // Now they are those that have ended.
    let truths = crowd.truths.clone();
    crowd.end();
    let by_pid = client.ask().by_pid();
    for (pid, truth) in truths {
        assert_eq!(by_pid.get(&pid), Some(&truth), "process {pid}, ended");
    }
}

/// A signal for a closed connection killed it.
#[test]
fn clients_that_leave_early_hurt_nobody() {
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
fn a_client_that_does_not_read_keeps_nobody_waiting() {
    let server = Server::start(&[]);
    let mut good = server.client();
    let mut deaf = server.client();
    let crowd = Multitude::start(2000);
    let requests = 8;
    for _ in 0..requests {
        deaf.request();
    }
    // More than its socket holds, so it stays in the middle of a reply.
    for _ in 0..50 {
        crowd.assert_in(&good.ask());
    }
    for _ in 0..requests {
        crowd.assert_in(&deaf.reply());
    }
    crowd.end();
}

/// Every dead process was forgotten for all, whoever asked.
#[test]
fn an_ended_process_is_told_to_every_client() {
    let server = Server::start(&[]);
    let mut often = server.client();
    let mut others = [server.client(), server.client()];
    let lines = Workload::start(&["udp"]).finish();
    let pid = lines[0]["pid"].as_u64().expect("a pid") as u32;
    let counted = often.ask().of(pid);
    assert_eq!(counted, counters(&lines[0], counted));
    wait_for("it to be forgotten for who asks often", || {
        often.ask().of(pid).is_zero().then_some(())
    });
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

/// Starts a workload that gets this pid, later than `after` as /proc shows it.
fn with_pid(pid: u32, after: u64, args: &[&str]) -> Workload {
    wait_for("the pid to come again", || {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).expect("ns_last_pid");
        let workload = Workload::start(args);
        if workload.pid() == pid && start_tick(pid) > after {
            return Some(workload);
        }
        // To its end: unreaped it would keep the pid.
        workload.finish();
        None
    })
}

/// It lost the counts of the second process.
#[test]
fn a_pid_that_is_used_again_shows_the_new_process() {
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
        assert_eq!(records.count(), 1, "the old one would be taken for it");
    }
    second.finish();
    // Both have ended: the last word is the later one's.
    for client in [&mut client, &mut late] {
        let counted = client.ask().of(pid);
        assert_eq!(counted, counters(&new, counted), "{new}");
    }
}

/// One byte was answered in full.
#[test]
fn a_request_is_answered_when_it_is_whole() {
    let server = Server::start(&[]);
    let mut other = server.client();
    let mut client = server.client();
    for sent in 0..UNIT {
        assert!(!client.has_answer(), "answered after {sent} bytes");
        client.stream.write_all(&[0]).expect("write");
        // The server has been round since.
        other.ask();
    }
    client.reply();
    assert!(!client.has_answer(), "one request, one reply");
}

/// Restarting atop must not show the past as one interval's traffic.
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
