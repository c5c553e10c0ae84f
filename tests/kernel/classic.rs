//! Classic tracepoints count what the typed ones count, on kernels that would take those, too.

use std::process::Command;

use super::harness::KIND;

/// What has something to do with how an event comes to the programs.
const TESTS: [&str; 4] = [
    "operations::",
    "life::",
    "stress::a_hundred_thousand_threads",
    "stress::two_hundred_thousand_processes",
];

/// What follows new tasks: the kernel's functions for that, which are called from Linux 7.0 on,
/// can be called by programs on classic tracepoints since 6.12.
const FOLLOWING: &str = "filters::";

const MOUNT_AND_RUN: &str = "test -d /sys/kernel/tracing/events || \
    mount -t tracefs tracefs /sys/kernel/tracing || exit; exec \"$@\"";

fn can_follow() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut numbers = release.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(12))
}

/// In a process of its own, with a tracefs that nobody else sees where there is none.
#[test]
fn all_is_counted_alike() {
    let program = std::env::current_exe().expect("this program");
    let mut tests = TESTS.to_vec();
    if can_follow() {
        tests.push(FOLLOWING);
    }
    for name in &tests {
        let listed = Command::new(&program).args(["--list", name]).output();
        let listed = listed.expect("this program").stdout;
        let named = String::from_utf8_lossy(&listed).contains(": test\n");
        assert!(named, "no test is called {name}");
    }
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .args(["sh", "-c", MOUNT_AND_RUN, "sh"])
        .arg(program)
        .arg("--test-threads=1")
        .args(tests)
        .env(KIND, "classic")
        .output()
        .expect("unshare");
    // Told only where it is needed: whoever counts tests would take it for more of them.
    let told =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(
        output.status.success(),
        "{}\n{}",
        output.status,
        told.concat()
    );
}
