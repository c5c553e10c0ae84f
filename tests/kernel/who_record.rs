//! The filters by who as options of `netatop record`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use netatop::model::Counters;
use serde_json::Value;

use super::cgroups::{recording, rows};
use super::filters::{Cgroup, mount};
use super::harness::{NETATOP, NOBODY, Named, Workload, counters, workload};

fn sum<'a>(lines: impl IntoIterator<Item = &'a Value>) -> Counters {
    let lines = lines.into_iter();
    lines.map(|line| counters(line, Counters::default())).sum()
}

/// What a Python process does: some traffic over TCP and UDP, IPv4 and IPv6, and a line with what
/// its calls returned.
const PYTHON: &str = r#"
import json, os, socket
count = dict.fromkeys(("tcp_send_msgs", "tcp_send_bytes", "tcp_recv_msgs", "tcp_recv_bytes",
                       "udp_send_msgs", "udp_send_bytes", "udp_recv_msgs", "udp_recv_bytes"), 0)
def done(what, bytes):
    count[what + "_msgs"] += 1
    count[what + "_bytes"] += bytes
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    listener = socket.create_server((host, 0), family=family)
    client = socket.create_connection(listener.getsockname()[:2])
    server, _ = listener.accept()
    one, other = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
    other.bind((host, 0))
    for size in (1, 100, 1000):
        done("tcp_send", client.send(b"x" * size))
        while size:
            got = len(server.recv(size))
            done("tcp_recv", got)
            size -= got
    for size in (0, 10, 500):
        done("udp_send", one.sendto(b"y" * size, other.getsockname()))
        done("udp_recv", len(other.recvfrom(1000)[0]))
print(json.dumps({"pid": os.getpid(), **count}), flush=True)
"#;

/// Starts a real interpreter.
fn python(script: &Path) -> Child {
    Command::new("python3")
        .arg(script)
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3: scripts/setup --test installs it")
}

fn finish(child: Child) -> Value {
    let output = child.wait_with_output().expect("wait");
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).expect("a line")
}

/// Interpreters that come and go, among other programs. One becomes another program, and others
/// become an interpreter.
#[test]
fn all_interpreters_are_measured_and_nothing_else() {
    let dir = tempfile::tempdir().expect("tempdir");
    let script = dir.path().join("worker");
    fs::write(&script, PYTHON).expect("write");
    // The name of a script with this line is its own. That of the file named by it is not python's.
    let named = dir.path().join("python-by-name");
    fs::write(&named, format!("#!/usr/bin/env python3\n{PYTHON}")).expect("write");
    fs::set_permissions(&named, fs::Permissions::from_mode(0o755)).expect("chmod");
    let other = Named::new("netatop-snake");
    let file = dir.path().join("rows.jsonl");
    let recording = recording(&file, &["-i", "100ms", "--comm", "python*"]);
    let mut lines = Vec::new();
    let mut strangers = Vec::new();
    for round in 0..5 {
        let several: Vec<Child> = (0..4).map(|_| python(&script)).collect();
        let mut told = other.start(&["told"]);
        told.tell("traffic");
        told.line();
        strangers.push(told.pid());
        told.tell("name python");
        told.tell("traffic");
        lines.push(told.line());
        told.tell(&format!("exec {}", workload().display()));
        told.tell("traffic");
        told.line();
        told.finish();
        lines.extend(several.into_iter().map(finish));
        let becoming = format!(
            "'{}' udp >/dev/null; exec python3 \"$0\"",
            workload().display()
        );
        let child = Command::new("sh")
            .args(["-c", &becoming])
            .arg(if round % 2 == 0 { &script } else { &named })
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh");
        lines.push(finish(child));
    }
    let rows = rows(recording, &file);
    for line in &lines {
        let own = rows.iter().filter(|row| row["pid"] == line["pid"]);
        assert_eq!(sum(own), sum([line]), "{line}");
    }
    assert_eq!(sum(&rows), sum(&lines), "others were counted");
    assert!(strangers.len() == 5 && lines.len() == 30);
}

/// Runs `netatop record` until Ctrl-C, while a process does what `act` tells it. Returns the rows.
fn during(args: &[&str], act: impl FnOnce()) -> Vec<Value> {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    let recording = recording(&file, args);
    act();
    rows(recording, &file)
}

#[test]
fn they_combine_with_all_kinds_of_rows() {
    let layouts: [&[&str]; 7] = [
        &[],
        &["-t"],
        &["-g", "comm"],
        &["-g", "unit"],
        &["-r"],
        &["-r=socket", "-g", "user"],
        &["--tcp"],
    ];
    let (named, other) = (Named::new("netatop-kinds"), Named::new("netatop-other"));
    let name = format!("netatop-test-{}-kinds", std::process::id());
    let unit = format!("{name}.service");
    for layout in layouts {
        for (filter, matches) in [
            (["--comm", "netatop-k*", "--unit", &name].as_slice(), true),
            (
                &["--comm", "x", "--comm", "*-kinds", "--uid", "0,nobody"],
                true,
            ),
            (&["--unit", &unit, "--uid", "65534"], true),
            (&["--comm", "netatop-k*", "--uid", "root"], false),
            (&["--comm", "netatop-x*", "--unit", &name], false),
            (&["--comm", "netatop-kinds", "--unit", "netatop-k"], false),
            (
                &["--comm", "netatop-kinds", "--unit", &unit, "--port", "1"],
                false,
            ),
        ] {
            let mut truth = Counters::default();
            let rows = during(&[layout, filter].concat(), || {
                let slice = Cgroup::of_test("kinds.slice");
                let cgroup = Cgroup::new(slice.0.join(&unit));
                for program in [&named, &other] {
                    let mut told = program.start(&["told"]);
                    cgroup.adopt(told.pid());
                    told.tell(&format!("uid {NOBODY}"));
                    told.tell("traffic");
                    let is_wanted = program.comm() == named.comm() || !filter.contains(&"--comm");
                    let line = counters(&told.line(), Counters::default());
                    truth += if is_wanted { line } else { Counters::default() };
                    told.finish();
                }
            });
            let expected = if matches { truth } else { Counters::default() };
            assert!(!truth.is_zero());
            assert_eq!(sum(&rows), expected, "{layout:?} {filter:?} {rows:?}");
            assert_eq!(rows.is_empty(), !matches, "{layout:?} {filter:?} {rows:?}");
        }
    }
}

/// With a command, which is the only process that the other filters then select from.
#[test]
fn they_combine_with_a_command() {
    let (named, other) = (Named::new("netatop-in"), Named::new("netatop-out"));
    let script = "\"$0\" udp; \"$1\" tcp; \"$0\" tcp6";
    let mut stranger = named.start(&["told"]);
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    let output = Command::new(NETATOP)
        .args(["record", "--comm", "netatop-in", "-o"])
        .arg(&file)
        .args(["--", "sh", "-c", script])
        .args([named.path(), other.path()])
        .output()
        .expect("netatop");
    stranger.tell("traffic");
    stranger.line();
    stranger.finish();
    assert!(output.status.success(), "{output:?}");
    let values = |text: &str| -> Vec<Value> {
        text.lines()
            .map(|line| serde_json::from_str(line).expect("json"))
            .collect()
    };
    let lines = values(std::str::from_utf8(&output.stdout).expect("utf-8"));
    let rows = values(&fs::read_to_string(&file).expect("rows"));
    assert_eq!(lines.len(), 3);
    assert_eq!(sum(&rows), sum([&lines[0], &lines[2]]));
    assert!(rows.iter().all(|row| row["pid"] != lines[1]["pid"]));
}

/// A name with a mistake would otherwise look like a service without traffic.
#[test]
fn a_unit_that_does_not_run_is_named_at_the_start() {
    let unit = format!("netatop-runs-{}.service", std::process::id());
    let _running = Cgroup::new(mount().expect("cgroup v2").join(&unit));
    let said = |more: &[&str]| {
        let recorded = Command::new(NETATOP)
            .args(["record", "-d", "50ms", "-f", "csv", "-o", "/dev/null"])
            .args(["--unit", &unit, "--unit", "netatop-runs-*"])
            .args(more)
            .output()
            .expect("netatop");
        assert!(recorded.status.success());
        let text = String::from_utf8(recorded.stderr).expect("UTF-8");
        let lines = text.lines().filter(|line| line.starts_with("netatop:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let absent = ["--unit", "netatop-absent", "--unit", "netatop-gone-*.scope"];
    assert_eq!(said(&[]), [""; 0]);
    assert_eq!(
        said(&absent),
        [
            "netatop: --unit netatop-absent: no such unit runs now; it is measured when it starts",
            "netatop: --unit netatop-gone-*.scope: no such unit runs now; it is measured when it \
             starts",
        ]
    );
    assert_eq!(said(&["-q", "--unit", "netatop-absent"]), [""; 0]);
}

/// `--unit` before its unit exists, with systemd's own layout: the first recording of the whole
/// program. Also a unit that is started again.
#[test]
fn a_unit_that_starts_later_is_measured_from_its_first_message() {
    let name = format!("netatop-test-{}-later", std::process::id());
    let mut lines = Vec::new();
    let rows = during(&["-i", "50ms", "--unit", &name], || {
        for _ in 0..3 {
            let slice = Cgroup::of_test("later.slice");
            let unit = Cgroup::new(slice.0.join(format!("{name}.service")));
            let inner = Cgroup::new(unit.0.join("payload"));
            for cgroup in [&unit, &inner] {
                let script = format!(
                    "echo $$ >'{}/cgroup.procs'; exec '{}' udp-connected",
                    cgroup.0.display(),
                    workload().display()
                );
                let started = Workload::of(Command::new("sh").args(["-c", &script]));
                lines.extend(started.finish());
            }
        }
    });
    assert_eq!(lines.len(), 6);
    for line in &lines {
        let own: Vec<&Value> = rows
            .iter()
            .filter(|row| row["pid"] == line["pid"])
            .collect();
        assert_eq!(sum(own.iter().copied()), sum([line]));
        assert!(
            own.iter()
                .all(|row| row["unit"] == format!("{name}.service"))
        );
    }
    assert_eq!(sum(&rows), sum(&lines));
}
