//! Tests with processes that end between two requests.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::client::{Client, Tally};
use super::harness::{Workload, counters, wait_for};
use super::scaled;
use super::server::Server;

/// Raises the limit on pids to the kernel's maximum, so that no pid is reused during a test. Many
/// distributions set it to this value.
pub struct ManyPids {
    before: String,
}

impl ManyPids {
    const PATH: &str = "/proc/sys/kernel/pid_max";

    pub fn allow() -> Self {
        let before = fs::read_to_string(Self::PATH).expect("pid_max");
        fs::write(Self::PATH, "4194304").expect("pid_max");
        Self { before }
    }
}

impl Drop for ManyPids {
    fn drop(&mut self) {
        let _ = fs::write(Self::PATH, &self.before);
    }
}

/// Size of a datagram. No other test sends this size.
const SIZE: u64 = 333;

/// Three clients: one asks all the time, one now and then, and one only at the end. Each gets every
/// datagram of a storm of short-lived processes.
#[test]
fn every_datagram_of_a_storm_reaches_every_client() {
    let _many = ManyPids::allow();
    let count = scaled(200_000, 3000);
    let server = Server::start(&[]);
    let mut often = server.client();
    let mut seldom = server.client();
    let mut once = server.client();
    let [mut by_often, mut by_seldom, mut by_once] = [(); 3].map(|()| Tally::new(SIZE));

    let n = format!("n={count}");
    let size = format!("size={SIZE}");
    let storm = Workload::start(&["process-storm", &n, "rate=5000", &size]);
    let over = AtomicBool::new(false);
    let truth = std::thread::scope(|scope| {
        let storm = scope.spawn(|| {
            let lines = storm.finish();
            over.store(true, Ordering::Release);
            lines
        });
        let mut asked = 0;
        while !over.load(Ordering::Acquire) {
            by_often.add(&often.ask());
            asked += 1;
            if asked % 50 == 0 {
                by_seldom.add(&seldom.ask());
            }
        }
        storm.join().expect("storm")
    });
    for (name, client, tally) in [
        ("often", &mut often, &mut by_often),
        ("seldom", &mut seldom, &mut by_seldom),
        ("once", &mut once, &mut by_once),
    ] {
        let last = client.ask();
        tally.add(&last);
        assert_eq!(
            (tally.count(), tally.sum()),
            (count, counters(&truth[0], tally.sum())),
            "the client that asks {name}"
        );
    }
    println!(
        "{count} short-lived processes: server's VmHWM {} KiB",
        server.memory("VmHWM:")
    );
    assert!(
        !server.messages().contains("dropped"),
        "{}",
        server.messages()
    );
}

/// The only client asks once per many exits, as atop does every ten seconds. All exits wait for its
/// requests.
#[test]
fn every_datagram_of_a_storm_reaches_a_client_that_seldom_asks() {
    let _many = ManyPids::allow();
    let rounds = 4;
    let count = scaled(200_000, 3000) / rounds;
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut tally = Tally::new(SIZE);
    let mut sum = netatop::model::Counters::default();
    for _ in 0..rounds {
        let n = format!("n={count}");
        let size = format!("size={SIZE}");
        let lines = Workload::start(&["process-storm", &n, "rate=5000", &size]).finish();
        sum += counters(&lines[0], sum);
        tally.add(&client.ask());
        assert_eq!(tally.sum(), sum);
    }
    assert_eq!(tally.count(), rounds * count);
}

/// atop asks two or three times per sample, and searches the last answer for ended processes.
#[test]
fn an_ended_process_is_repeated_for_two_seconds_and_then_forgotten() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let lines = Workload::start(&["udp"]).finish();
    let pid = lines[0]["pid"].as_u64().expect("a pid") as u32;
    let first = Instant::now();
    let mut told = 0;
    wait_for("the process to be forgotten", || {
        let counted = client.ask().of(pid);
        if !counted.is_zero() {
            assert_eq!(counted, counters(&lines[0], counted));
            told += 1;
            return None;
        }
        assert!(told > 0, "it was never reported");
        // On a slow machine, even more time has passed by the server's clock.
        assert!(
            first.elapsed() > Duration::from_secs(2),
            "after {told} replies"
        );
        Some(())
    });
    // A client that connects later gets no record of it.
    assert!(Client::connect(&server.socket).ask().of(pid).is_zero());
}

/// One process ends while others of its family continue, and one is killed.
#[test]
fn every_kind_of_exit_is_reported_exactly() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for scenario in [
        "sigkill",
        "exit-group",
        "exec-thread",
        "exec-chain",
        "leader-exits",
    ] {
        let lines = Workload::start(&[scenario]).finish();
        assert!(!lines.is_empty(), "{scenario}");
        let reply = client.ask();
        for line in &lines {
            let pid = line["pid"].as_u64().expect("a pid") as u32;
            let counted = reply.of(pid);
            assert_eq!(counted, counters(line, counted), "{scenario}: {line}");
        }
    }
}
