//! `netatop check` says of this host what a recording comes to.

use std::process::{Command, Output};

use super::harness::NETATOP;
use super::refusals::as_nobody_of;

/// The ids of what is missing, and whether netatop can record.
fn checked(output: &Output) -> (Vec<String>, bool) {
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let findings = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let missing = findings
        .filter(|finding| finding["status"] == "missing")
        .map(|finding| finding["id"].as_str().expect("an id").to_owned())
        .collect();
    let able = match output.status.code() {
        Some(0) => true,
        Some(1) => false,
        _ => panic!("{output:?}"),
    };
    (missing, able)
}

fn check_by(command: &mut Command) -> (Vec<String>, bool) {
    let output = command.args([NETATOP, "check", "-f", "json"]).output();
    checked(&output.expect("it starts"))
}

#[test]
fn root_can_record() {
    assert_eq!(check_by(&mut Command::new("env")), (vec![], true));
}

#[test]
fn only_both_capabilities_are_enough() {
    let check = |capabilities| checked(&as_nobody_of(capabilities, &["check", "-f", "json"]));
    let missing = || (vec!["capabilities".to_owned()], false);
    assert_eq!(check(""), missing());
    assert_eq!(check("bpf"), missing());
    assert_eq!(check("perfmon"), missing());
    assert_eq!(check("bpf,perfmon"), (vec![], true));
}

#[test]
fn without_type_information_nothing_can_be_looked_up() {
    let hide = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"";
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c", hide, "sh"]);
    let missing = ["btf", "tracepoints"].map(str::to_owned).to_vec();
    assert_eq!(check_by(&mut shell), (missing, false));
}

#[test]
fn namespaces_are_told() {
    let mut user = Command::new("unshare");
    user.args(["--user", "--map-root-user"]);
    assert_eq!(
        check_by(&mut user),
        (vec!["user_namespace".to_owned()], false)
    );
    let mut pid = Command::new("unshare");
    pid.args(["--pid", "--fork", "--mount-proc"]);
    assert_eq!(
        check_by(&mut pid),
        (vec!["pid_namespace".to_owned()], false)
    );
}
