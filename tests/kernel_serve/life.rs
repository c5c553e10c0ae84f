//! Tests of the start and end of counting, of the socket, and of the server.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::client::Client;
use super::harness::{NETATOP, Workload, counters, wait_for};
use super::server::{Server, exists, public_dir};

#[test]
fn the_server_counts_while_there_are_clients() {
    let server = Server::start(&[]);
    assert_eq!(server.held(), [], "nothing is loaded without a client");
    for _ in 0..3 {
        let mut first = server.client();
        let held = server.held();
        assert!(held.len() > 5 && held.iter().all(exists), "{held:?}");
        let second = server.client();
        assert_eq!(server.held(), held, "one set of programs for all clients");
        drop(second);
        let lines = Workload::start(&["udp"]).finish();
        let pid = lines[0]["pid"].as_u64().expect("a pid") as u32;
        let counted = first.ask().of(pid);
        assert_eq!(counted, counters(&lines[0], counted));
        drop(first);
        wait_for("the programs and maps to go", || {
            (server.held().is_empty() && !held.iter().any(exists)).then_some(())
        });
    }
}

#[test]
fn each_way_of_ending_removes_the_socket_and_the_programs() {
    for (how, with_client) in [
        (Signal::SIGTERM, true),
        (Signal::SIGINT, true),
        (Signal::SIGTERM, false),
        (Signal::SIGINT, false),
    ] {
        let dir = public_dir();
        let socket = dir.path().join("socket");
        let mut server = Server::at(&socket, &[]);
        let client = with_client.then(|| server.client());
        let held = server.held();
        assert_eq!(with_client, !held.is_empty());
        server.signal(how);
        let status = server.wait();
        assert!(status.success(), "{how}: {status}");
        assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 0, "{how}");
        drop(client);
        wait_for("the programs and maps to go", || {
            (!held.iter().any(exists)).then_some(())
        });
    }
}

/// The server also ends in the middle of a reply.
#[test]
fn the_server_ends_at_once_although_clients_do_not_read() {
    let mut server = Server::start(&[]);
    let mut client = server.client();
    let crowd = super::faults::Multitude::start(2000);
    for _ in 0..8 {
        client.request();
    }
    server.client();
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    crowd.end();
}

fn refused(socket: &std::path::Path) -> String {
    let output = Command::new(NETATOP)
        .args(["serve", "--socket"])
        .arg(socket)
        .stdin(Stdio::null())
        .output()
        .expect("run");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("utf-8")
}

#[test]
fn a_second_server_is_refused_and_does_not_affect_the_first() {
    let mut server = Server::start(&[]);
    let mut client = server.client();
    let said = refused(&server.socket);
    assert!(said.contains("another server is listening"), "{said}");
    client.ask();
    server.client().ask();
    server.assert_alive();
}

#[test]
fn a_server_of_another_kind_is_left_alone() {
    let dir = public_dir();
    let socket = dir.path().join("socket");
    let _other = UnixListener::bind(&socket).expect("bind");
    let said = refused(&socket);
    assert!(said.contains("another server is listening"), "{said}");
    assert!(socket.exists());
}

#[test]
fn the_socket_of_a_killed_server_is_replaced() {
    let dir = public_dir();
    let socket = dir.path().join("socket");
    let mut killed = Server::at(&socket, &[]);
    let client = killed.client();
    killed.signal(Signal::SIGKILL);
    killed.wait();
    assert!(socket.exists(), "a killed server leaves its socket");
    drop(client);
    let next = Server::at(&socket, &[]);
    next.client().ask();
    next.stop();
    assert!(!socket.exists());
}

/// With few descriptors, the server admits as many clients as it can, and continues.
#[test]
fn sixteen_descriptors_are_a_reason_to_wait_not_to_end() {
    let dir = public_dir();
    let socket = dir.path().join("socket");
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "ulimit -n 16; exec \"$@\"",
            "sh",
            NETATOP,
            "serve",
            "--socket",
        ])
        .arg(&socket);
    let child = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start");
    let mut server = Server::watch(child, &socket);
    let ended = wait_for("a socket, or a refusal", || {
        let messages = server.messages();
        if messages.contains("listening on") {
            return Some(false);
        }
        messages.contains("netatop: ").then_some(true)
    });
    if ended {
        // With too few descriptors to load the programs, the error appears at startup, not when a
        // client connects.
        let status = server.wait();
        assert_eq!(status.code(), Some(1), "{}", server.messages());
        assert!(!socket.exists());
        return;
    }
    // There are more clients than descriptors, and each admitted client is answered.
    let mut clients: Vec<Client> = (0..16).map(|_| Client::connect(&socket)).collect();
    for client in &mut clients {
        client.request();
    }
    let mut answered = 0;
    while let Some(mut client) = (!clients.is_empty()).then(|| clients.remove(0)) {
        answered += usize::from(client.try_reply().is_some());
    }
    assert_eq!(answered, 16, "{}", server.messages());
    server.assert_alive();
}
