//! Tests of the server with misbehaving clients: none of them affects another client.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::limits::Limits;
use super::running::{Peer, Running, populate, wait_for};

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

/// Samples keep their minimum distance, regardless of the number of clients and requests.
#[test]
fn requests_that_come_fast_share_samples() {
    let limits = Limits {
        between: Duration::from_millis(50),
        ..Limits::new(64)
    };
    let server = Running::exactly(limits);
    let mut clients: Vec<Peer> = (0..4).map(|_| server.connect()).collect();
    let (begun, before) = (Instant::now(), server.world.lock().samples);
    for client in &mut clients {
        client.0.write_all(&[0; 96 * 10]).expect("ask often");
    }
    for _ in 0..10 {
        for client in &mut clients {
            client.answer();
        }
        // Each newcomer needs a sample, too.
        drop(server.connect_only());
    }
    let taken = server.world.lock().samples - before;
    let most = begun.elapsed().as_millis() / limits.between.as_millis() + 2;
    assert!(u128::from(taken) <= most, "{taken} samples, at most {most}");
    assert!(
        taken >= 10,
        "each request is answered with a sample after it"
    );
}

/// A client that asks again as soon as it is answered does not keep others from connecting.
#[test]
fn a_client_that_asks_all_the_time_does_not_lock_out_newcomers() {
    let limits = Limits {
        between: Duration::from_millis(10),
        ..Limits::new(64)
    };
    let server = Running::exactly(limits);
    let mut hammers = server.connect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                hammers.ask();
            }
        });
        let newcomer = server.connect_only();
        newcomer
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a limit");
        let mut newcomer = Peer(newcomer);
        newcomer.0.write_all(&[0; 96]).expect("ask");
        let answered = newcomer.0.read(&mut [0; 96]);
        over.store(true, Ordering::Relaxed);
        assert_eq!(answered.expect("an answer"), 96);
    });
}

/// A request in pieces wakes the server no more often than a whole one.
#[test]
fn single_bytes_do_not_wake_the_server_each() {
    let limits = Limits {
        between: Duration::from_millis(50),
        ..Limits::new(64)
    };
    let server = Running::exactly(limits);
    let mut client = server.connect();
    let (begun, before) = (Instant::now(), server.waits());
    for _ in 0..95 {
        client.0.write_all(b"x").expect("write");
        // Time enough for a server that would take notice of this byte.
        for _ in 0..1000 {
            thread::yield_now();
        }
    }
    let waits = server.waits() - before;
    // One for the pause, and one for whatever comes after it.
    let most = 2 * (begun.elapsed().as_millis() / limits.between.as_millis() + 2);
    assert!(u128::from(waits) <= most, "{waits} waits, at most {most}");
    client.0.write_all(b"x").expect("write");
    client.answer();
}

#[test]
fn a_client_that_closes_its_sending_side_is_answered_and_dropped() {
    let server = Running::new();
    let mut stays = server.connect();
    let mut half = server.connect();
    populate(&server.world, 1..=1000);
    half.0.write_all(&[0; 192]).expect("ask twice");
    half.0.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(half.answer().len(), 1000);
    assert_eq!(half.answer().len(), 1000);
    wait_for("the end", || half.is_closed());
    // In the middle of a request.
    let mut quarter = server.connect();
    quarter.0.write_all(&[0; 24]).expect("write");
    quarter.0.shutdown(Shutdown::Write).expect("shut down");
    wait_for("the end", || quarter.is_closed());
    assert_eq!(stays.ask().len(), 1000);
}

#[test]
fn clients_that_disconnect_early_do_not_affect_others() {
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
}

#[test]
fn disconnected_clients_free_their_places() {
    let server = Running::with(Limits::new(4));
    let mut stays = server.connect();
    for _ in 0..20 {
        wait_for("a free place", || {
            let mut next = Peer(server.connect_only());
            next.0.write_all(&[0; 96]).is_ok() && next.0.read(&mut [0; 96]).is_ok_and(|n| n == 96)
        });
    }
    stays.ask();
}

#[test]
fn unread_replies_are_bounded() {
    let limits = Limits {
        replies: 3 * 96 * 40_001,
        ..Limits::new(64)
    };
    let server = Running::with(limits);
    let mut clients: Vec<Peer> = (0..4).map(|_| server.connect()).collect();
    populate(&server.world, 1..=40_000);
    for deaf in clients.iter_mut().take(3) {
        deaf.0.write_all(&[0; 96]).expect("ask");
        deaf.0.read_exact(&mut [0; 96]).expect("the first record");
    }
    let mut last = clients.pop().expect("four");
    last.0.write_all(&[0; 96]).expect("ask");
    let line = server.wait_for_log("too much memory");
    assert!(line.contains("dropped"), "{line}");
    for client in &mut clients {
        assert_eq!(client.answer().len(), 39_999);
    }
    assert_eq!(server.connect().ask().len(), 0);
}

#[test]
fn a_client_that_does_not_read_does_not_block_others_and_is_dropped() {
    let limits = Limits {
        stalled: Duration::from_secs(5),
        ..Limits::new(64)
    };
    let server = Running::with(limits);
    let mut reads = server.connect();
    let mut deaf = server.connect();
    // Far more than fits into the socket's buffer.
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
    // The server closes with unread requests, so the client gets a reset.
    let _ = deaf.0.read_to_end(&mut rest);
    assert!(rest.len() < 40_000 * 96);
    assert_eq!(reads.ask().len(), 40_000);
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

/// Each case starts a server, so there are fewer cases than usual unless `PROPTEST_CASES` is set.
fn cases() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 64;
    }
    config
}

proptest! {
    #![proptest_config(cases())]

    /// Three clients write, read and close in arbitrary pieces. A fourth one is always answered,
    /// and each client gets one whole reply per request.
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
            // A reply has one record per process (none for a newcomer), and the end record.
            let ends = got.chunks(96).filter(|record| record[..4] == [0; 4]).count();
            prop_assert_eq!(got.len() % 96, 0);
            prop_assert_eq!(ends, *sent / 96);
        }
    }
}
