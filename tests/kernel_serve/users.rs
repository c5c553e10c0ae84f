//! Tests of visibility: root sees everything, and other users see their own processes.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use netatop::model::Counters;
use serde_json::Value;

use super::client::Client;
use super::harness::{NOBODY, Workload, counters, on_overlay, public_workload, wait_for};
use super::server::{Server, public_dir};

/// A user id without an entry in the user database.
const SOMEBODY: u32 = 54321;

fn run_as(uid: u32, program: &Path, args: &[&str]) -> Workload {
    Workload::of(Command::new(program).args(args).uid(uid).gid(uid))
}

/// A client sees traffic after its first sample, which newcomers share if they connect soon
/// after one another. The first reply says that it was taken.
fn begin(clients: &mut [&mut Client]) {
    for client in clients {
        client.ask();
    }
}

#[track_caller]
fn assert_sees(client: &mut Client, pid: u32, line: &Value, sees: bool) {
    let counted = client.ask().of(pid);
    let truth = counters(line, counted);
    assert!(!truth.is_zero(), "it has traffic: {line}");
    let expected = if sees { truth } else { Counters::default() };
    assert_eq!(counted, expected, "process {pid}: {line}");
}

#[test]
fn root_sees_all_and_users_see_their_own() {
    let dir = public_dir();
    let program = public_workload(dir.path(), 0o755);
    let server = Server::start(&[]);
    let mut root = server.client();
    let mut nobody = Client::connect_as(NOBODY, &server.socket);
    let mut somebody = Client::connect_as(SOMEBODY, &server.socket);
    begin(&mut [&mut root, &mut nobody, &mut somebody]);
    for owner in [0, NOBODY, SOMEBODY] {
        let mut workload = run_as(owner, &program, &["udp", "hold=1"]);
        let pid = workload.pid();
        let line = workload.line();
        let mut look = || {
            assert_sees(&mut root, pid, &line, true);
            assert_sees(&mut nobody, pid, &line, owner == NOBODY);
            assert_sees(&mut somebody, pid, &line, owner == SOMEBODY);
        };
        look();
        workload.finish();
        // An ended process does not become visible to all users.
        look();
    }
}

#[test]
fn traffic_of_a_set_user_id_program_is_hidden_from_its_caller() {
    let dir = public_dir();
    let program = public_workload(dir.path(), 0o4755);
    let server = Server::start(&[]);
    let mut root = server.client();
    let mut nobody = Client::connect_as(NOBODY, &server.socket);
    begin(&mut [&mut root, &mut nobody]);
    let mut workload = run_as(NOBODY, &program, &["tcp", "hold=1"]);
    let pid = workload.pid();
    let line = workload.line();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let uids: Vec<&str> = uids.expect("users").split_ascii_whitespace().collect();
    assert_eq!(uids[..2], ["65534", "0"], "it runs as another user");
    assert_sees(&mut root, pid, &line, true);
    assert_sees(&mut nobody, pid, &line, false);
    workload.finish();
    assert_sees(&mut root, pid, &line, true);
    assert_sees(&mut nobody, pid, &line, false);
}

/// A rootless container: its root has all capabilities, but only in its own user namespace.
#[test]
fn a_user_sees_what_runs_in_the_users_own_namespaces() {
    let dir = public_dir();
    let program = public_workload(dir.path(), 0o755);
    let program = program.to_str().expect("UTF-8");
    let server = Server::start(&[]);
    let mut root = server.client();
    let mut nobody = Client::connect_as(NOBODY, &server.socket);
    let mut somebody = Client::connect_as(SOMEBODY, &server.socket);
    begin(&mut [&mut root, &mut nobody, &mut somebody]);
    let mut workload = run_as(
        NOBODY,
        Path::new("unshare"),
        &["-Ur", program, "tcp", "hold=1"],
    );
    let pid = workload.pid();
    let line = workload.line();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    assert_ne!(
        capabilities.map(str::trim),
        Some("0000000000000000"),
        "{status}"
    );
    assert_sees(&mut root, pid, &line, true);
    assert_sees(&mut nobody, pid, &line, true);
    assert_sees(&mut somebody, pid, &line, false);
    workload.finish();
    assert_sees(&mut nobody, pid, &line, true);
    assert_sees(&mut somebody, pid, &line, false);
}

/// During an operation on an overlay file system, a process acts with the credentials of the user
/// that mounted it. The process's own user must still see it.
#[test]
fn a_user_sees_what_works_on_an_overlay_file_system() {
    let dir = public_dir();
    let server = Server::start(&[]);
    let mut nobody = Client::connect_as(NOBODY, &server.socket);
    begin(&mut [&mut nobody]);
    let workload = on_overlay(dir.path(), "udp-flow");
    let pid = workload.pid();
    let mut seen = 0;
    let mut last = Counters::default();
    wait_for("100 replies with more", || {
        let counted = nobody.ask().of(pid);
        assert!(counted.udp_send_msgs >= last.udp_send_msgs, "{counted:?}");
        seen += u32::from(counted != last);
        last = counted;
        (seen >= 100).then_some(())
    });
    let lines = workload.finish();
    let truth = counters(&lines[0], last);
    // Requests close together share a sample.
    wait_for("all of it", || {
        (nobody.ask().of(pid) == truth).then_some(())
    });
}

/// An ordinary user can neither take all connections nor lock out root.
#[test]
fn a_user_cannot_take_every_place() {
    let server = Server::start(&["--max-clients", "8"]);
    let mut root = server.client();
    let mut first = Client::connect_as(NOBODY, &server.socket);
    let mut second = Client::connect_as(NOBODY, &server.socket);
    first.ask();
    second.ask();
    let mut third = Client::connect_as(NOBODY, &server.socket);
    let _ = std::io::Write::write_all(&mut third.stream, &[0; 96]);
    assert!(
        third.try_reply().is_none(),
        "a user gets a quarter of the connections"
    );
    server.wait_for_message("a client was refused");
    root.ask();
    server.client().ask();
    first.ask();
}
