//! `netatop check` predicts whether a recording works on this host.

use std::process::{Command, Output};

use super::harness::NETATOP;
use super::refusals::as_nobody_of;

/// The ids of missing requirements, and whether netatop can record.
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

/// Installs a seccomp filter with this action for bpf(2), as containers and systemd units do.
fn with_filter(command: &mut Command, action: u32) -> &mut Command {
    use std::os::unix::process::CommandExt;

    use nix::libc;

    let statement = |code: u32, k: u32, jt, jf| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    // The number of the system call is the first field of struct seccomp_data.
    let filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            libc::SYS_bpf as u32,
            0,
            1,
        ),
        statement(libc::BPF_RET | libc::BPF_K, action, 0, 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    // SAFETY: the closure owns the filter until the kernel has copied it.
    unsafe {
        command.pre_exec(move || {
            let mut filter = filter;
            let program = libc::sock_fprog {
                len: filter.len() as u16,
                filter: filter.as_mut_ptr(),
            };
            let result = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program);
            (result == 0)
                .then_some(())
                .ok_or_else(std::io::Error::last_os_error)
        })
    }
}

#[test]
fn a_seccomp_filter_is_named_by_check_and_by_record() {
    use nix::libc;

    let errno = |errno: i32| libc::SECCOMP_RET_ERRNO | errno as u32;
    for (action, told) in [
        // Docker's, and older engines'.
        (errno(libc::EPERM), "denies the system call bpf"),
        (errno(libc::ENOSYS), "denies the system call bpf"),
        // What a unit can have as SystemCallErrorNumber=, and what it has without.
        (errno(libc::EACCES), "denies the system call bpf"),
        (errno(libc::EBUSY), "denies the system call bpf"),
        (libc::SECCOMP_RET_KILL_PROCESS, "kills programs"),
        (libc::SECCOMP_RET_KILL_THREAD, "kills programs"),
        (libc::SECCOMP_RET_TRAP, "kills programs"),
    ] {
        let checked = check_by(with_filter(&mut Command::new("env"), action));
        assert_eq!(checked, (vec!["seccomp".to_owned()], false));
        for args in [["record", "-d", "100ms"], ["record", "--", "true"]] {
            let output = with_filter(Command::new(NETATOP).args(args), action).output();
            let output = output.expect("it starts");
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(
                text.contains("seccomp filter") && text.contains(told),
                "{text}"
            );
            assert_eq!(text.lines().count(), 2, "{text}");
        }
    }
}

#[test]
fn a_seccomp_filter_that_allows_bpf_is_no_obstacle() {
    let allow = nix::libc::SECCOMP_RET_ALLOW;
    let checked = check_by(with_filter(&mut Command::new("env"), allow));
    assert_eq!(checked, (vec![], true));
}

#[test]
fn another_cgroup_namespace_is_told_and_no_obstacle() {
    let mut inside = Command::new("unshare");
    let output = inside
        .args(["--cgroup", NETATOP, "check", "-f", "json"])
        .output();
    let output = output.expect("unshare");
    assert_eq!(checked(&output), (vec![], true));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("not the initial cgroup namespace"), "{text}");
}
