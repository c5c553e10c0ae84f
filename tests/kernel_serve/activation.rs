//! Tests of the server when systemd starts it, passes its socket and watches it.

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::client::Client;
use super::harness::{NETATOP, Workload, counters, wait_for};
use super::server::{Server, public_dir};

/// The socket belongs to systemd, and remains when the server ends.
#[test]
fn a_unit_passes_its_socket() {
    let dir = public_dir();
    let socket = dir.path().join("socket");
    let child = Command::new("systemd-socket-activate")
        .arg("--listen")
        .arg(&socket)
        .args([NETATOP, "serve"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("systemd-socket-activate, of the package systemd");
    let mut server = Server::watch(child, &socket);
    // The first connection starts the server.
    let mut client = Client::connect(&socket);
    client.ask();
    server.wait_for_message("listening on the socket of the unit");
    let lines = Workload::start(&["tcp"]).finish();
    let pid = lines[0]["pid"].as_u64().expect("a pid") as u32;
    let counted = client.ask().of(pid);
    assert_eq!(counted, counters(&lines[0], counted));
    // The process became the server by exec: no other process is in between.
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(server.wait().success());
    assert!(socket.exists(), "the socket belongs to the unit");
}

#[test]
fn socket_options_are_refused_with_a_passed_socket() {
    let dir = public_dir();
    let socket = dir.path().join("socket");
    let child = Command::new("systemd-socket-activate")
        .arg("--listen")
        .arg(&socket)
        .args([NETATOP, "serve", "--mode", "600"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = Ended(child.expect("systemd-socket-activate, of the package systemd"));
    let _client = Client::connect(&socket);
    assert_eq!(child.0.wait().expect("wait").code(), Some(2));
}

/// A minimal service manager.
struct Manager {
    socket: UnixDatagram,
    _dir: tempfile::TempDir,
}

impl Manager {
    fn start(watchdog: Option<Duration>) -> (Self, Server) {
        let dir = public_dir();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bind");
        let limit = Some(Duration::from_secs(120));
        socket.set_read_timeout(limit).expect("timeout");
        let mut command = Command::new(NETATOP);
        let at = dir.path().join("socket");
        command.arg("serve").arg("--socket").arg(&at);
        command.env("NOTIFY_SOCKET", &path);
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        let server = Server::of(command, &at);
        (Self { socket, _dir: dir }, server)
    }

    fn next(&self) -> String {
        let mut text = [0; 256];
        let length = self.socket.recv(&mut text).expect("a message");
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    }
}

#[test]
fn the_server_reports_when_it_is_ready_and_when_it_stops() {
    let (manager, server) = Manager::start(None);
    assert_eq!(manager.next(), "READY=1");
    // A server is ready once a client can connect.
    server.client().ask();
    server.stop();
    assert_eq!(manager.next(), "STOPPING=1");
}

#[test]
fn the_watchdog_is_notified_with_and_without_clients() {
    let (manager, server) = Manager::start(Some(Duration::from_millis(200)));
    assert_eq!(manager.next(), "READY=1");
    for _ in 0..5 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    let mut client = server.client();
    for _ in 0..5 {
        client.ask();
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    // A client that does not read must not make the server look stuck.
    for _ in 0..5 {
        client.request();
    }
    for _ in 0..5 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    // A stopped server sends no notification, so that the watchdog can act.
    server.signal(nix::sys::signal::Signal::SIGSTOP);
    wait_for("it to stop", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).ok()?;
        stat.contains(") T ").then_some(())
    });
    while let Ok(length) = received_now(&manager.socket) {
        assert!(length > 0);
    }
    server.signal(nix::sys::signal::Signal::SIGCONT);
    assert_eq!(manager.next(), "WATCHDOG=1");
}

fn received_now(socket: &UnixDatagram) -> std::io::Result<usize> {
    socket.set_nonblocking(true)?;
    let received = socket.recv(&mut [0; 256]);
    socket.set_nonblocking(false)?;
    received
}

/// The server continues if its log cannot be written, such as with closed standard streams.
#[test]
fn a_log_that_cannot_be_written_does_not_end_it() {
    let dir = public_dir();
    let socket = dir.path().join("socket");
    let (read, write) = nix::unistd::pipe().expect("pipe");
    drop(read);
    let child = Command::new(NETATOP)
        .args(["serve", "--socket"])
        .arg(&socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(write))
        .spawn();
    let mut child = Ended(child.expect("start"));
    let mut client = Client::connect(&socket);
    client.ask();
    assert!(child.0.try_wait().expect("wait").is_none(), "it is there");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.0.id() as i32),
        nix::sys::signal::Signal::SIGTERM,
    )
    .expect("kill");
    assert!(child.0.wait().expect("wait").success());
}

/// A child that is killed when the test ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
