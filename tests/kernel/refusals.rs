//! What a user without the rights, or on a host without the means, is told.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use super::harness::NETATOP;

/// A copy that an unprivileged user can start, wherever the tests were built.
fn copy() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("tempdir");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let path = dir.path().join("netatop");
    std::fs::copy(NETATOP, &path).expect("copy");
    let path = path.to_str().expect("utf-8").to_owned();
    (dir, path)
}

fn as_nobody(capabilities: &str) -> Output {
    as_nobody_of(capabilities, &["record", "-d", "10ms"])
}

pub fn as_nobody_of(capabilities: &str, args: &[&str]) -> Output {
    let (_dir, program) = copy();
    let list = |sign| match capabilities {
        "" => "-all".to_owned(),
        some => format!(
            "-all,{}",
            some.split(',')
                .map(|c| format!("{sign}{c}"))
                .collect::<Vec<_>>()
                .join(",")
        ),
    };
    let keep = list("+");
    Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--no-new-privs",
        ])
        .args([
            format!("--inh-caps={keep}"),
            format!("--ambient-caps={keep}"),
        ])
        .arg(&program)
        .args(args)
        .output()
        .expect("setpriv")
}

fn told(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.lines().count() <= 2, "{text}");
    assert!(text.starts_with("netatop: "), "{text}");
    text
}

#[test]
fn an_ordinary_user_is_told_what_is_missing() {
    let text = told(&as_nobody(""));
    assert!(
        text.contains("CAP_BPF and CAP_PERFMON are missing"),
        "{text}"
    );
    assert!(text.contains("sudo") && text.contains("setcap"), "{text}");
}

#[test]
fn one_capability_is_not_enough() {
    let text = told(&as_nobody("bpf"));
    assert!(text.contains("CAP_PERFMON is missing"), "{text}");
}

#[test]
fn both_capabilities_are_enough() {
    let output = as_nobody("bpf,perfmon");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

#[test]
fn root_in_a_user_namespace_is_told_that_it_is_not_root() {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", NETATOP, "record", "-d", "10ms"])
        .output()
        .expect("unshare");
    let text = told(&output);
    assert!(
        text.contains("user namespace") && text.contains("sudo"),
        "{text}"
    );
}

#[test]
fn a_pid_namespace_is_refused_because_it_would_hide_processes() {
    let output = Command::new("unshare")
        .args([
            "--pid",
            "--fork",
            "--mount-proc",
            NETATOP,
            "record",
            "-d",
            "10ms",
        ])
        .output()
        .expect("unshare");
    assert!(told(&output).contains("pid namespace"));
}

/// As a package installs it: everyone may run the program, and a group the copy with capabilities.
#[test]
fn the_copy_with_capabilities_is_for_its_group() {
    let (_dir, program) = copy();
    let script = format!(
        "set -e; mount -t tmpfs none /usr/libexec; mkdir /usr/libexec/netatop; \
         copy=/usr/libexec/netatop/netatop; cp {program} $copy; chown root:54321 $copy; \
         chmod 0750 $copy; PATH=$PATH:/sbin:/usr/sbin setcap cap_bpf,cap_perfmon+ep $copy; \
         exec setpriv --reuid 65534 --regid 65534 --groups \"$1\" --inh-caps=-all \
         {program} record -q -f csv -d 50ms"
    );
    let run = |groups: &str| {
        Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                &script,
                "sh",
                groups,
            ])
            .output()
            .expect("unshare")
    };
    let member = run("54321");
    assert!(member.status.success(), "{member:?}");
    assert!(member.stdout.starts_with(b"time,"), "{member:?}");
    let text = told(&run("65534"));
    assert!(
        text.contains("CAP_BPF") && text.contains("member of the group 54321"),
        "{text}"
    );
}
