//! Tests of the server with well-behaved clients.

use std::io::{Read, Write};

use super::super::limits::Limits;
use super::running::{Peer, Running, populate, wait_for};

#[test]
fn the_server_counts_while_there_are_clients() {
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
fn clients_above_the_limit_are_refused_and_logged() {
    let server = Running::with(Limits::new(3));
    let mut good: Vec<Peer> = (0..3).map(|_| server.connect()).collect();
    let mut refused = Peer(server.connect_only());
    wait_for("the refusal", || refused.is_closed());
    let line = server.wait_for_log("refused");
    assert!(line.contains("3 clients are connected"), "{line}");
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
fn clients_with_too_large_baselines_are_refused() {
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
    // The exits were reported to this client, and must still be repeated.
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
fn replies_of_any_length_arrive_in_whole_records() {
    let server = Running::new();
    let mut client = server.connect();
    let mut there = 0;
    // Near the maximum size of one write, and far beyond the socket's buffer.
    for processes in [378, 379, 380, 381, 760, 761, 10_000, 40_000] {
        populate(&server.world, there + 1..=processes);
        there = processes;
        assert_eq!(client.ask().len(), processes as usize);
    }
}
