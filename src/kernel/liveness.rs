//! Whether a process is still there, for those whose busy threads have all ended.

use std::fs;

use crate::model::ProcessId;

/// Whether any thread of `process` has not ended. A pid that belongs to another process
/// by now, a zombie, and a /proc that does not tell all count as no.
pub(super) fn is_alive(process: ProcessId) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", process.pid))
        .ok()
        .and_then(|stat| {
            parse(
                &stat,
                process.start,
                rustix::param::clock_ticks_per_second(),
            )
        })
        .unwrap_or(false)
}

/// Reads /proc/PID/stat (fs/proc/array.c, do_task_stat) for a process that started
/// `start` nanoseconds after boot.
pub(super) fn parse(stat: &str, start: u64, ticks_per_second: u64) -> Option<bool> {
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
    Some(same && !ended)
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
        assert_eq!(parse(&stat("S", 1, 123), 1_234_567_890, 100), Some(true));
        assert_eq!(parse(&stat("Z", 3, 123), 1_234_567_890, 100), Some(true));
        assert_eq!(parse(&stat("Z", 1, 123), 1_234_567_890, 100), Some(false));
        assert_eq!(parse(&stat("S", 1, 124), 1_234_567_890, 100), Some(false));
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
        assert!(!is_alive(ProcessId {
            start: 0,
            ..process
        }));
    }

    proptest! {
        #[test]
        fn noise_does_not_panic(stat in ".*", start in any::<u64>(), hz in 0u64..2000) {
            let _ = parse(&stat, start, hz);
        }
    }
}
