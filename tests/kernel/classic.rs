//! Classic tracepoints count what the typed ones count, on kernels that would take those, too.

use std::process::Command;

use super::harness::KIND;

/// What has something to do with how an event comes to the programs.
const TESTS: [&str; 5] = [
    "operations::",
    "life::",
    "filters::",
    "stress::a_hundred_thousand_threads",
    "stress::two_hundred_thousand_processes",
];

const MOUNT_AND_RUN: &str = "test -d /sys/kernel/tracing/events || \
    mount -t tracefs tracefs /sys/kernel/tracing || exit; exec \"$@\"";

/// In a process of its own, with a tracefs that nobody else sees where there is none.
#[test]
fn all_is_counted_alike() {
    let tests = std::env::current_exe().expect("this program");
    for name in TESTS {
        let listed = Command::new(&tests).args(["--list", name]).output();
        let listed = listed.expect("this program").stdout;
        let named = String::from_utf8_lossy(&listed).contains(": test\n");
        assert!(named, "no test is called {name}");
    }
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .arg(MOUNT_AND_RUN)
        .arg("sh")
        .arg(tests)
        .arg("--test-threads=1")
        .args(TESTS)
        .env(KIND, "classic")
        .status()
        .expect("unshare");
    assert!(status.success(), "{status}");
}
