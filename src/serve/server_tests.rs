//! The server with real sockets and well- and ill-behaved clients, over a world of its own.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::limits::Limits;
use super::listener::Listener;
use super::log::Log;
use super::server::{Counting, Heartbeat, Server};
use super::world::{Shared, parse};
use crate::error::Error;
use crate::source::Source;

struct Worlds(Shared);

impl Counting for Worlds {
    fn during(
        &mut self,
        serve: &mut dyn FnMut(&mut dyn Source) -> Result<(), Error>,
    ) -> Result<(), Error> {
        {
            let mut world = self.0.lock();
            world.counting = true;
            world.begun += 1;
        }
        let served = serve(&mut self.0);
        self.0.lock().counting = false;
        served
    }
}

struct Unwatched;

impl Heartbeat for Unwatched {
    fn every(&self) -> Option<Duration> {
        None
    }

    fn beat(&mut self) {}
}

/// A server in a thread of its own; ends when dropped.
struct Running {
    path: PathBuf,
    world: Shared,
    log: Receiver<String>,
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<Result<(), Error>>>,
    dir: tempfile::TempDir,
}

impl Running {
    fn with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let world = Shared::default();
        let (asked, stop) = rustix::pipe::pipe().expect("a pipe");
        let (say, log) = mpsc::channel();
        let listener = Listener::bind(&path, 0o600).expect("bind");
        let counted = world.clone();
        let thread = thread::spawn(move || {
            let log = Log::new(move |line| {
                let _ = say.send(line.to_owned());
            });
            let mut unwatched = Unwatched;
            Server::new(&listener, asked.as_fd(), &mut unwatched, limits, log, || 0)
                .run(&mut Worlds(counted))
        });
        Self {
            path,
            world,
            log,
            stop: Some(stop),
            thread: Some(thread),
            dir,
        }
    }

    fn new() -> Self {
        Self::with(Limits::new(64))
    }

    /// A client, when the server counts for it.
    fn connect(&self) -> Peer {
        let client = self.connect_only();
        let samples = self.world.lock().samples;
        wait_for("counting", || self.world.lock().counting);
        let mut peer = Peer(client);
        // Answered, so it has its place and its baseline.
        peer.ask();
        assert!(self.world.lock().samples > samples);
        peer
    }

    fn connect_only(&self) -> UnixStream {
        let client = UnixStream::connect(&self.path).expect("connect");
        // For what will never come.
        let limit = Some(Duration::from_secs(60));
        client.set_read_timeout(limit).expect("a limit");
        client
    }

    fn wait_for_log(&self, what: &str) -> String {
        loop {
            let line = self
                .log
                .recv_timeout(Duration::from_secs(60))
                .unwrap_or_else(|_| panic!("nothing was said of {what:?}"));
            if line.contains(what) {
                return line;
            }
        }
    }

    /// Ends it as a signal does.
    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic").expect("a good end");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.end();
            let left = std::fs::read_dir(self.dir.path()).expect("read").count();
            assert_eq!(left, 0, "the socket is left behind");
        }
    }
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ready() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::yield_now();
    }
}

struct Peer(UnixStream);

impl Peer {
    fn ask(&mut self) -> Vec<(u32, u64, u64)> {
        self.0.write_all(&[0xaa; 96]).expect("ask");
        self.answer()
    }

    fn answer(&mut self) -> Vec<(u32, u64, u64)> {
        parse(&self.read_reply())
    }

    /// As atop does it: whatever one `recv` returns is taken for a record.
    fn read_reply(&mut self) -> Vec<u8> {
        let mut reply = Vec::new();
        loop {
            let mut record = [0; 96];
            let count = self.0.read(&mut record).expect("a record");
            assert_eq!(count, 96, "after {} bytes", reply.len());
            reply.extend_from_slice(&record);
            if record[..4] == [0; 4] {
                return reply;
            }
        }
    }

    /// Whether the server has closed the connection.
    fn is_closed(&mut self) -> bool {
        self.0.set_nonblocking(true).expect("set");
        let closed = match self.0.read(&mut [0; 96]) {
            Ok(0) => true,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
            Ok(_) => false,
        };
        self.0.set_nonblocking(false).expect("set");
        closed
    }
}

/// So many processes with one datagram each.
fn populate(world: &Shared, pids: std::ops::RangeInclusive<u32>) {
    let mut world = world.lock();
    for pid in pids {
        world.start(pid, 0);
        world.send(pid, 1);
    }
}

#[test]
fn it_counts_from_the_first_client_to_the_last() {
    let server = Running::new();
    assert!(!server.world.lock().counting);
    let mut first = server.connect();
    server.wait_for_log("first client");
    populate(&server.world, 1..=1);
    let mut second = server.connect();
    assert_eq!(first.ask(), [(1, 1, 1)]);
    assert_eq!(second.ask(), []);
    drop(first);
    server.world.lock().send(1, 2);
    assert_eq!(second.ask(), [(1, 1, 2)]);
    assert_eq!(server.world.lock().begun, 1);
    drop(second);
    wait_for("the end of counting", || !server.world.lock().counting);
    server.wait_for_log("no client is left");
    server.connect();
    assert_eq!(server.world.lock().begun, 2);
}

#[test]
fn less_than_a_request_is_not_answered_and_two_at_once_are_answered_twice() {
    let server = Running::new();
    let mut client = server.connect();
    let mut other = server.connect();
    let before = server.world.lock().samples;
    for _ in 0..95 {
        client.0.write_all(b"x").expect("write");
        other.ask();
    }
    assert!(!client.is_closed());
    assert_eq!(server.world.lock().samples, before + 95);
    client.0.write_all(b"x").expect("write");
    client.answer();
    client.0.write_all(&[1; 96 * 3 + 10]).expect("write");
    for _ in 0..3 {
        client.answer();
    }
    client.0.write_all(&[1; 86]).expect("write");
    client.answer();
}

#[test]
fn a_client_that_closes_one_end_is_answered_and_let_go_of() {
    let server = Running::new();
    let mut stays = server.connect();
    let mut half = server.connect();
    populate(&server.world, 1..=1000);
    half.0.write_all(&[0; 192]).expect("ask twice");
    half.0.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(half.answer().len(), 1000);
    assert_eq!(half.answer().len(), 1000);
    wait_for("the end", || half.is_closed());
    // In the midst of a request.
    let mut quarter = server.connect();
    quarter.0.write_all(&[0; 24]).expect("write");
    quarter.0.shutdown(Shutdown::Write).expect("shut down");
    wait_for("the end", || quarter.is_closed());
    assert_eq!(stays.ask().len(), 1000);
}

#[test]
fn clients_that_leave_early_hurt_nobody() {
    let server = Running::new();
    let mut stays = server.connect();
    populate(&server.world, 1..=5000);
    for i in 0..50 {
        let mut leaves = server.connect_only();
        leaves.write_all(&[0; 96]).expect("ask");
        if i % 2 == 0 {
            leaves.read_exact(&mut [0; 96]).expect("begin to read");
        }
        drop(leaves);
    }
    assert_eq!(stays.ask().len(), 5000);
    wait_for("them to be noticed", || {
        // Each question is a turn, in which the gone are found.
        stays.ask();
        server.world.lock().counting
    });
}

#[test]
fn one_that_does_not_read_stops_nobody_and_is_dropped_in_the_end() {
    let limits = Limits {
        stalled: Duration::from_millis(200),
        ..Limits::new(64)
    };
    let server = Running::with(limits);
    let mut reads = server.connect();
    let mut deaf = server.connect();
    // Far more than a socket holds.
    populate(&server.world, 1..=40_000);
    deaf.0.write_all(&[0; 96 * 20]).expect("ask often");
    for _ in 0..5 {
        assert_eq!(reads.ask().len(), 40_000);
    }
    let line = server.wait_for_log("does not read");
    assert!(
        line.contains(&format!("pid {}", std::process::id())),
        "{line}"
    );
    let mut rest = Vec::new();
    // The requests that were never read make it a reset.
    let _ = deaf.0.read_to_end(&mut rest);
    assert!(rest.len() < 40_000 * 96);
    assert_eq!(reads.ask().len(), 40_000);
}

#[test]
fn too_many_are_refused_and_that_is_said() {
    let server = Running::with(Limits::new(3));
    let mut good: Vec<Peer> = (0..3).map(|_| server.connect()).collect();
    let mut refused = Peer(server.connect_only());
    wait_for("the refusal", || refused.is_closed());
    let line = server.wait_for_log("refused");
    assert!(line.contains("3 already"), "{line}");
    drop(good.pop());
    wait_for("a free place", || {
        let mut next = Peer(server.connect_only());
        next.0.write_all(&[0; 96]).is_ok() && !next.0.read(&mut [0; 96]).is_ok_and(|n| n == 0)
    });
    for client in &mut good {
        client.ask();
    }
}

#[test]
fn too_many_counters_from_before_are_refused() {
    let limits = Limits {
        baselines: 150,
        ..Limits::new(64)
    };
    let server = Running::with(limits);
    let mut first = server.connect();
    populate(&server.world, 1..=100);
    let _second = server.connect();
    let mut third = Peer(server.connect_only());
    wait_for("the refusal", || third.is_closed());
    assert!(server.wait_for_log("refused").contains("memory"));
    assert_eq!(first.ask().len(), 100);
}

#[test]
fn one_that_lets_too_many_exits_pile_up_is_dropped_and_the_others_are_not() {
    let limits = Limits {
        exited: 100,
        ..Limits::new(64)
    };
    let server = Running::with(limits);
    let mut slow = server.connect();
    let mut good = server.connect();
    for pid in 1..=100 {
        populate(&server.world, pid..=pid);
        server.world.lock().exit(pid);
    }
    // Told, but still to be repeated to it.
    assert_eq!(good.ask().len(), 100);
    populate(&server.world, 200..=200);
    server.world.lock().exit(200);
    assert!(good.ask().contains(&(200, 1, 1)));
    let line = server.wait_for_log("dropped");
    assert!(line.contains("100 processes exited"), "{line}");
    wait_for("the end", || slow.is_closed());
    assert!(!good.is_closed());
    good.ask();
}

#[test]
fn failed_counting_drops_the_clients_and_the_next_one_is_served() {
    let server = Running::new();
    let mut client = server.connect();
    server.world.lock().broken = true;
    client.0.write_all(&[0; 96]).expect("ask");
    wait_for("the end", || client.is_closed());
    assert!(server.wait_for_log("failed").contains("on purpose"));
    server.connect();
    assert_eq!(server.world.lock().begun, 2);
}

#[test]
fn losses_are_logged() {
    let server = Running::new();
    let mut client = server.connect();
    server.world.lock().losses.no_memory.udp_send_msgs = 3;
    server.world.lock().losses.no_memory.udp_send_bytes = 30;
    client.ask();
    let line = server.wait_for_log("attributed");
    assert!(line.contains("3 messages, 30 B"), "{line}");
}

#[test]
fn sixty_four_clients_with_ten_bad_ones() {
    let server = Running::new();
    let mut good: Vec<Peer> = (0..54).map(|_| server.connect()).collect();
    let mut bad: Vec<UnixStream> = Vec::new();
    for kind in 0..10u8 {
        let mut client = server.connect_only();
        match kind % 5 {
            0 => {}
            1 => client.write_all(&[7; 50]).expect("half a request"),
            2 => client
                .write_all(&[7; 96 * 40])
                .expect("forty, and reads none"),
            3 => client.shutdown(Shutdown::Write).expect("shut down"),
            _ => client.write_all(&[0xff; 1000]).expect("garbage"),
        }
        bad.push(client);
    }
    populate(&server.world, 1..=2000);
    for round in 1..=3u64 {
        for client in &mut good {
            let reply = client.ask();
            assert_eq!(reply.len(), 2000);
            assert!(reply.iter().all(|record| record.2 == round));
        }
        let mut world = server.world.lock();
        for pid in 1..=2000 {
            world.send(pid, 1);
        }
    }
}

#[test]
fn replies_of_any_length_arrive_in_whole_records() {
    let server = Running::new();
    let mut client = server.connect();
    let mut there = 0;
    // Around the length of one write, and far beyond what a socket holds.
    for processes in [378, 379, 380, 381, 760, 761, 10_000, 40_000] {
        populate(&server.world, there + 1..=processes);
        there = processes;
        assert_eq!(client.ask().len(), processes as usize);
    }
}

#[derive(Clone, Debug)]
enum Act {
    Write(usize),
    Read(usize),
    Close,
    ShutDown,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (1usize..400).prop_map(Act::Write),
        4 => (1usize..5000).prop_map(Act::Read),
        1 => Just(Act::Close),
        1 => Just(Act::ShutDown),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever three clients write, read and close in whatever pieces: a fourth one is
    /// always answered, and each gets as many whole replies as it has sent requests.
    #[test]
    fn nothing_that_clients_do_breaks_the_server(
        acts in prop::collection::vec((0usize..3, act()), 1..60)
    ) {
        let server = Running::new();
        let mut witness = server.connect();
        populate(&server.world, 1..=50);
        let new = || {
            let stream = server.connect_only();
            (stream, 0usize, Vec::new(), false)
        };
        let mut clients = [new(), new(), new()];
        for (which, act) in acts {
            let (stream, sent, got, shut) = &mut clients[which];
            stream.set_nonblocking(true).expect("set");
            match act {
                Act::Write(count) if !*shut => {
                    if let Ok(count) = stream.write(&vec![0x55; count]) {
                        *sent += count;
                    }
                }
                Act::Read(count) => {
                    let mut bytes = vec![0; count];
                    if let Ok(count) = stream.read(&mut bytes) {
                        got.extend_from_slice(&bytes[..count]);
                    }
                }
                Act::ShutDown => {
                    stream.shutdown(Shutdown::Write).expect("shut down");
                    *shut = true;
                }
                Act::Close => clients[which] = new(),
                Act::Write(_) => {}
            }
            prop_assert_eq!(witness.ask().len(), 50);
        }
        for (stream, sent, got, shut) in &mut clients {
            stream.set_nonblocking(false).expect("set");
            if !*shut {
                stream.shutdown(Shutdown::Write).expect("shut down");
            }
            stream.read_to_end(got).expect("the rest");
            // A reply holds a record each, or none for whoever came after; and the end.
            let ends = got.chunks(96).filter(|record| record[..4] == [0; 4]).count();
            prop_assert_eq!(got.len() % 96, 0);
            prop_assert_eq!(ends, *sent / 96);
        }
    }
}
