//! Tests with many well-behaved and misbehaving clients at once, and with many records.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use super::client::{Client, UNIT};
use super::faults::Multitude;
use super::scaled;
use super::server::Server;

const GOOD: usize = 54;
const REQUESTS: usize = 20;

/// Sends one byte at a time, and reads the replies.
fn slow(mut client: Client, crowd: &Multitude, over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        for _ in 0..UNIT {
            client.stream.write_all(&[7]).expect("write");
            std::thread::yield_now();
        }
        crowd.assert_in(&client.reply());
    }
}

/// Asks as often as the socket accepts requests, and never reads.
fn deaf(client: &Client, over: &AtomicBool) {
    client.stream.set_nonblocking(true).expect("nonblocking");
    while !over.load(Ordering::Acquire) {
        match (&client.stream).write(&[0; UNIT]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => panic!("it was dropped: {error}"),
        }
    }
}

/// Closes its sending side after its request, and must still be answered.
fn half_closing(server: &Server, crowd: &Multitude, over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        let mut client = Client::connect(&server.socket);
        // It has just connected, so it sees no traffic of the crowd.
        client.request();
        client.stream.shutdown(Shutdown::Write).expect("shutdown");
        let reply = client.reply();
        assert!(reply.of(crowd.truths[0].0).is_zero());
        assert!(client.try_reply().is_none(), "then it is dropped");
    }
}

/// Sends arbitrary bytes, in lengths that differ from a request's.
fn noise(mut client: Client, crowd: &Multitude, over: &AtomicBool) {
    let mut state = 88_172_645_463_325_252_u64;
    let mut sent = 0;
    let mut answered = 0;
    while !over.load(Ordering::Acquire) {
        let mut bytes = [0; 150];
        for byte in &mut bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        let length = state as usize % bytes.len();
        client.stream.write_all(&bytes[..length]).expect("write");
        sent += length;
        while answered < sent / UNIT {
            crowd.assert_in(&client.reply());
            answered += 1;
        }
        assert!(!client.has_answer(), "an answer to half a request");
    }
}

/// Asks, and disconnects before the answer.
fn early(server: &Server, over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        let mut client = Client::connect(&server.socket);
        let _ = client.stream.write_all(&[0; 3 * UNIT]);
    }
}

#[test]
fn sixty_four_clients_and_the_good_ones_get_everything() {
    // The limit has spare places, because the server may not have noticed yet which clients left.
    let mut server = Server::start(&["--max-clients", "100"]);
    let mut clients: Vec<Client> = (0..GOOD).map(|_| server.client()).collect();
    // Connected before the crowd starts, like the well-behaved clients.
    let [_idle, _silent, slow_1, slow_2, deaf_1, deaf_2, noise_1] =
        [(); 7].map(|()| server.client());
    let crowd = Multitude::start(300);
    let over = AtomicBool::new(false);
    let start = Barrier::new(GOOD);
    std::thread::scope(|scope| {
        let (server, crowd, over, start) = (&server, &crowd, &over, &start);
        scope.spawn(move || slow(slow_1, crowd, over));
        scope.spawn(move || slow(slow_2, crowd, over));
        scope.spawn(move || deaf(&deaf_1, over));
        scope.spawn(move || deaf(&deaf_2, over));
        scope.spawn(move || noise(noise_1, crowd, over));
        scope.spawn(move || half_closing(server, crowd, over));
        scope.spawn(move || early(server, over));
        scope.spawn(move || early(server, over));
        let good: Vec<_> = clients
            .drain(..)
            .map(|mut client| {
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..REQUESTS {
                        crowd.assert_in(&client.ask());
                    }
                })
            })
            .collect();
        let ended: Vec<_> = good.into_iter().map(|good| good.join()).collect();
        over.store(true, Ordering::Release);
        assert!(ended.iter().all(Result::is_ok), "a good client was failed");
    });
    server.assert_alive();
    crowd.end();
}

/// atop takes the result of one `recv` of 96 bytes for a record, and so does this client.
#[test]
fn a_million_records_arrive_whole() {
    let _many = super::exits::ManyPids::allow();
    let processes = scaled(10_000, 2000);
    let records = scaled(1_000_000, 60_000);
    let server = Server::start(&[]);
    let mut client = server.client();
    let crowd = Multitude::start(processes);
    let mut read = 0;
    while read < records {
        let reply = client.ask();
        crowd.assert_in(&reply);
        read += reply.0.len() + 1;
    }
    println!("{read} records in replies of {processes}: none was cut");
    crowd.end();
}
