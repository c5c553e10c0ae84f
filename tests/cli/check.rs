//! The command line of `netatop check`.

use std::fs::File;
use std::process::Command;

use super::{NETATOP, Unprivileged, assert_refused, netatop, run};

#[test]
fn each_requirement_is_one_line_of_json_and_the_status_says_what_they_come_to() {
    let ran = netatop(&["check", "--format", "json"]);
    assert_eq!(ran.stderr, "");
    let mut missing = 0;
    let mut ids = Vec::new();
    for line in ran.stdout.lines() {
        let finding: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let status = finding["status"].as_str().expect("a status");
        assert!(["ok", "missing", "optional"].contains(&status), "{line}");
        assert_eq!(finding["remedy"].is_null(), status == "ok", "{line}");
        missing += usize::from(status == "missing");
        ids.push(finding["id"].as_str().expect("an id").to_owned());
    }
    // Scripts rely on these ids: new ids can be added, but existing ids never change.
    let known = [
        "kernel",
        "btf",
        "tracepoints",
        "tracefs",
        "user_namespace",
        "capabilities",
        "seccomp",
        "pid_namespace",
        "proc",
        "lockdown",
        "open_files",
        "programs",
        "udp_remote",
        "tcp",
        "cgroup2",
        "host_name",
        "atop",
    ];
    assert_eq!(ids, known);
    assert_eq!(ran.status, Some(i32::from(missing > 0)));
}

#[test]
fn without_rights_it_says_what_is_missing_and_ends_with_1() {
    let user = Unprivileged::new();
    let ran = user.netatop(&["check"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert_eq!(ran.stderr, "");
    let mut lines = ran.stdout.lines();
    let line = lines.find(|line| line.starts_with("missing   capabilities"));
    assert!(line.is_some_and(|line| line.contains("CAP_BPF and CAP_PERFMON")));
    assert!(lines.next().is_some_and(|line| line.contains("sudo")));
    assert_eq!(
        ran.stdout.lines().last(),
        Some("netatop cannot record here")
    );
}

#[test]
fn what_it_does_not_know_is_refused() {
    assert_refused(&netatop(&["check", "-f", "csv"]), 1, "json");
    assert_refused(&netatop(&["check", "now"]), 1, "now");
}

#[test]
fn a_full_disk_is_told() {
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let ran = run(Command::new(NETATOP).arg("check").stdout(full));
    assert_eq!(ran.status, Some(1));
    assert!(ran.stderr.contains("standard output"), "{ran:?}");
}
