//! Whether a process is still there, for those whose busy threads have all ended.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::model::ProcessId;

/// Whether any thread of `process` has not ended. A pid that belongs to another process
/// by now, a zombie, and a /proc that does not tell all count as no.
pub(super) fn is_alive(process: ProcessId) -> bool {
    look(process).is_some_and(|(same, alive)| same && alive)
}

/// Whether the pid of `process` is that of another living one. A /proc that does not tell
/// counts as no.
pub(super) fn is_reused(process: ProcessId) -> bool {
    // Most often there is none: that is told in a tenth of the time.
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    let free = pid.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH));
    !free && look(process).is_some_and(|(same, alive)| !same && alive)
}

fn look(process: ProcessId) -> Option<(bool, bool)> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid)).ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    parse(&stat, process.start, ticks)
}

/// Reads /proc/PID/stat (fs/proc/array.c, do_task_stat): whether it is about the process
/// that started `start` nanoseconds after boot, and whether that one is alive.
pub(super) fn parse(stat: &str, start: u64, ticks_per_second: u64) -> Option<(bool, bool)> {
    // The name in parentheses may hold anything, parentheses and blanks included.
    let (_, rest) = stat.rsplit_once(") ")?;
    let field: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Counted from the state, which is field 3.
    let state = *field.first()?;
    let threads: u64 = field.get(17)?.parse().ok()?;
    let started: u64 = field.get(19)?.parse().ok()?;
    let tick = 1_000_000_000u64.checked_div(ticks_per_second)?;
    let same = started == start.checked_div(tick)?;
    // A first thread that has ended waits as a zombie for the others.
    let ended = matches!(state, "Z" | "X") && threads <= 1;
    Some((same, !ended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stat(state: &str, threads: u32, started: u64) -> String {
        format!(
            "7 (a) b) {state} 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 {threads} 0 {started} 1 2 3"
        )
    }

    #[test]
    fn a_zombie_leader_with_threads_is_alive_and_a_recycled_pid_is_not() {
        let of =
            |state, threads, started| parse(&stat(state, threads, started), 1_234_567_890, 100);
        assert_eq!(of("S", 1, 123), Some((true, true)));
        assert_eq!(of("Z", 3, 123), Some((true, true)));
        assert_eq!(of("Z", 1, 123), Some((true, false)));
        assert_eq!(of("S", 1, 124), Some((false, true)));
        assert_eq!(parse("garbage", 0, 100), None);
    }

    #[test]
    fn this_process_is_alive() {
        let stat = fs::read_to_string("/proc/self/stat").expect("proc");
        let ticks: u64 = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(19)?.parse().ok())
            .expect("start");
        let process = ProcessId {
            pid: std::process::id(),
            start: ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second()),
        };
        assert!(is_alive(process));
        assert!(!is_reused(process));
        let earlier = ProcessId {
            start: 0,
            ..process
        };
        assert!(!is_alive(earlier));
        assert!(is_reused(earlier));
    }

    proptest! {
        #[test]
        fn noise_does_not_panic(stat in ".*", start in any::<u64>(), hz in 0u64..2000) {
            let _ = parse(&stat, start, hz);
        }
    }
}
