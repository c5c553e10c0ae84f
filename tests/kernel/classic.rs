//! Classic tracepoints count the same events as typed tracepoints. The tests run on kernels that
//! support both.

use std::process::Command;

use super::harness::{KIND, passes};

/// Tests that depend on how events reach the programs.
const TESTS: [&str; 4] = [
    "operations::",
    "life::",
    "stress::a_hundred_thousand_threads",
    "stress::two_hundred_thousand_processes",
];

/// Tests that follow new tasks. The programs need kernel functions for this, which classic
/// tracepoints can call since Linux 6.12.
const FOLLOWING: [&str; 6] = [
    "filters::",
    "ends::",
    "remote_datagram::",
    "remote_uring::",
    "who::",
    "who_units::",
];

const MOUNT_AND_RUN: &str = "test -d /sys/kernel/tracing/events || \
    mount -t tracefs tracefs /sys/kernel/tracing || exit; exec \"$@\"";

fn can_follow() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut numbers = release.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(12))
}

/// Runs the tests in a separate process, which mounts a private tracefs if there is none.
#[test]
fn all_is_counted_alike() {
    let program = std::env::current_exe().expect("this program");
    let mut tests = TESTS.to_vec();
    if can_follow() {
        tests.extend(FOLLOWING);
    }
    for name in &tests {
        let listed = Command::new(&program).args(["--list", name]).output();
        let listed = listed.expect("this program").stdout;
        let named = String::from_utf8_lossy(&listed).contains(": test\n");
        assert!(named, "no test is called {name}");
    }
    passes(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .args(["sh", "-c", MOUNT_AND_RUN, "sh"])
            .arg(program)
            .arg("--test-threads=1")
            .args(tests)
            .env(KIND, "classic"),
    );
}
