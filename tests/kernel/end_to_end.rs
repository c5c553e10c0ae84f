//! Runs the program as a user would.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::harness::{NETATOP, Workload, counters, netatop, wait_for};

/// Reads messages until all programs are attached.
pub fn wait_until_attached(messages: &mut impl BufRead) {
    let mut line = String::new();
    while !line.starts_with("netatop: attached") {
        line.clear();
        assert!(
            messages.read_line(&mut line).expect("read") > 0,
            "it never attached"
        );
    }
}

/// Ends a recording with SIGINT.
pub fn interrupt(child: &Child) {
    send_signal(child, nix::sys::signal::Signal::SIGINT);
}

/// Starts a recording, and returns when the recording counts.
pub fn record(args: &[&str]) -> (Child, std::thread::JoinHandle<String>) {
    let mut child = netatop()
        .args(["record", "--verbose"])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start netatop");
    let mut messages = BufReader::new(child.stderr.take().expect("piped"));
    wait_until_attached(&mut messages);
    let rest = std::thread::spawn(move || std::io::read_to_string(messages).expect("read"));
    (child, rest)
}

pub fn send_signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, signal).expect("kill");
}

fn rows(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}")))
        .collect()
}

/// The ids of a process's BPF programs and maps, in bpftool's format. Programs and maps of other
/// processes are left out.
pub fn held_by(pid: u32) -> Vec<[String; 2]> {
    let mut held = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .expect("fdinfo")
        .flatten()
    {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        for line in text.lines() {
            for (key, kind) in [("prog_id:", "prog"), ("map_id:", "map")] {
                if let Some(id) = line.strip_prefix(key) {
                    held.push([kind.to_owned(), id.trim().to_owned()]);
                }
            }
        }
    }
    held
}

pub fn exists([kind, id]: &[String; 2]) -> bool {
    let show = Command::new("bpftool")
        .args([kind, "show", "id", id])
        .output();
    show.expect("bpftool").status.success()
}

#[test]
fn each_way_of_ending_writes_the_last_sample_and_leaves_nothing_behind() {
    use nix::sys::signal::Signal::{SIGINT, SIGKILL, SIGTERM};
    for how in [SIGINT, SIGTERM, SIGKILL] {
        let (child, summary) = record(&["-f", "json"]);
        let lines = Workload::start(&["tcp"]).finish();
        let held = held_by(child.id());
        assert!(
            held.len() > 7 && held.iter().all(exists),
            "it is attached: {held:?}"
        );
        send_signal(&child, how);
        let output = child.wait_with_output().expect("wait");
        if how != SIGKILL {
            assert!(output.status.success(), "{how}: {}", output.status);
            let rows = rows(&String::from_utf8(output.stdout).expect("utf-8"));
            let row = rows
                .iter()
                .find(|r| r["pid"] == lines[0]["pid"])
                .expect("its row");
            let counted = counters(row, Default::default());
            assert_eq!(counted, counters(&lines[0], counted));
            assert_eq!(row["state"], "exited");
            assert!(
                summary
                    .join()
                    .expect("summary")
                    .contains(", 0 unattributed")
            );
        }
        // The kernel frees programs a little after the last reference is dropped.
        wait_for("programs and maps to go", || {
            (!held.iter().any(exists)).then_some(())
        });
    }
}

#[test]
fn intervals_add_up_to_the_whole() {
    let (child, _) = record(&["-f", "json", "-i", "20ms"]);
    let flow = Workload::start(&["flow", "size=3000"]);
    let pid = flow.pid();
    // Wait until the workload has used enough processor time for several intervals.
    wait_for("some traffic", || {
        let io = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let ticks: u64 = io.rsplit_once(") ")?.1.split(' ').nth(12)?.parse().ok()?;
        (ticks > 20).then_some(())
    });
    let lines = flow.finish();
    send_signal(&child, nix::sys::signal::Signal::SIGINT);
    let output = child.wait_with_output().expect("wait");
    let rows = rows(&String::from_utf8(output.stdout).expect("utf-8"));
    let ours: Vec<_> = rows.iter().filter(|r| r["pid"] == pid).collect();
    assert!(ours.len() > 2, "{} intervals", ours.len());
    let sum = ours.iter().map(|r| counters(r, Default::default())).sum();
    let line = lines.iter().find(|l| l["pid"] == pid).expect("its line");
    assert_eq!(counters(line, sum), sum);
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let (mut child, summary) = record(&["-f", "json", "-i", "10ms"]);
    let flow = Workload::start(&["flow", "size=100"]);
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("piped"))
        .read_line(&mut first)
        .expect("read");
    assert!(first.starts_with('{'));
    let status = child.wait().expect("wait");
    assert_eq!(status.code(), Some(0));
    assert_eq!(summary.join().expect("messages"), "");
    flow.finish();
}

/// A user logs out while a recording runs.
#[test]
fn a_hangup_ends_it_unless_it_was_started_with_nohup() {
    use nix::sys::signal::Signal::{SIGHUP, SIGTERM};
    let (child, _) = record(&["-f", "json"]);
    send_signal(&child, SIGHUP);
    assert!(child.wait_with_output().expect("wait").status.success());

    let mut child = Command::new("nohup")
        .args([NETATOP, "record", "--verbose", "-f", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nohup");
    let mut messages = BufReader::new(child.stderr.take().expect("piped"));
    wait_until_attached(&mut messages);
    send_signal(&child, SIGHUP);
    let lines = Workload::start(&["tcp"]).finish();
    send_signal(&child, SIGTERM);
    let output = child.wait_with_output().expect("wait");
    assert!(output.status.success());
    let rows = rows(&String::from_utf8(output.stdout).expect("utf-8"));
    assert!(rows.iter().any(|row| row["pid"] == lines[0]["pid"]));
}
