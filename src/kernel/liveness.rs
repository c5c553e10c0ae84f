//! Whether a process is still there, for those whose busy threads have all ended.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::model::ProcessId;

/// Whether any thread of `process` has not ended. A pid that belongs to another process
/// by now and a zombie count as no; a process that /proc hides (`hidepid`) as yes, until
/// its pid is free.
pub(super) fn is_alive(process: ProcessId) -> bool {
    match owner_of(process) {
        PidOwner::Free => false,
        PidOwner::Hidden => true,
        PidOwner::There { same, alive } => same && alive,
    }
}

/// Whether the pid of `process`, which has ended, is that of another living one. Where
/// /proc hides whose it is, it counts as that.
pub(super) fn is_reused(process: ProcessId) -> bool {
    match owner_of(process) {
        PidOwner::Free => false,
        PidOwner::Hidden => true,
        PidOwner::There { same, alive } => !same && alive,
    }
}

/// Whose a pid is.
enum PidOwner {
    /// Nobody's.
    Free,
    /// /proc does not tell.
    Hidden,
    /// Of the process meant, or of another one; a zombie is not alive.
    There { same: bool, alive: bool },
}

fn owner_of(process: ProcessId) -> PidOwner {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    let is_free = || pid.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH));
    // Most often it is, and that is told in a tenth of the time.
    if is_free() {
        return PidOwner::Free;
    }
    let ticks = rustix::param::clock_ticks_per_second();
    let told = fs::read(format!("/proc/{}/stat", process.pid))
        .ok()
        // Names are bytes.
        .and_then(|stat| parse(&String::from_utf8_lossy(&stat), process.start, ticks));
    match told {
        Some((same, alive)) => PidOwner::There { same, alive },
        // A zombie was there, and its parent has taken note of its end since.
        None if is_free() => PidOwner::Free,
        None => PidOwner::Hidden,
    }
}

/// Reads /proc/PID/stat (fs/proc/array.c, do_task_stat): whether it is about the process
/// that started `start` nanoseconds after boot, and whether that one is alive.
pub(crate) fn parse(stat: &str, start: u64, ticks_per_second: u64) -> Option<(bool, bool)> {
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

    /// A process that is there, as /proc describes it.
    fn process(pid: u32) -> ProcessId {
        let stat = fs::read(format!("/proc/{pid}/stat")).expect("proc");
        let ticks: u64 = String::from_utf8_lossy(&stat)
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(19)?.parse().ok())
            .expect("start");
        ProcessId {
            pid,
            start: ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second()),
        }
    }

    #[test]
    fn this_process_is_alive() {
        let process = process(std::process::id());
        assert!(is_alive(process));
        assert!(!is_reused(process));
        let earlier = ProcessId {
            start: 0,
            ..process
        };
        assert!(!is_alive(earlier));
        assert!(is_reused(earlier));
    }

    /// A process that goes while it is looked at was never another one.
    #[test]
    fn who_is_reaped_meanwhile_is_not_reused() {
        for _ in 0..500 {
            let mut child = std::process::Command::new("/bin/true")
                .spawn()
                .expect("a child");
            let process = process(child.id());
            let reaper = std::thread::spawn(move || child.wait().expect("wait"));
            while !reaper.is_finished() {
                assert!(!is_reused(process));
            }
            reaper.join().expect("reaper");
        }
    }

    #[test]
    fn a_name_that_is_not_utf_8_hides_nobody() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", r#"printf 'caf\351' >/proc/$$/comm; echo; read end"#])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("a shell");
        // It has its name when it says something.
        let mut said = [0];
        let mut output = child.stdout.take().expect("piped");
        std::io::Read::read_exact(&mut output, &mut said).expect("a line");
        let stat = fs::read(format!("/proc/{}/stat", child.id())).expect("proc");
        assert!(String::from_utf8(stat.clone()).is_err(), "{stat:?}");
        let process = process(child.id());
        assert!(is_alive(process) && !is_reused(process));
        drop(child.stdin.take());
        child.wait().expect("wait");
        assert!(!is_alive(process));
    }

    proptest! {
        #[test]
        fn noise_does_not_panic(stat in ".*", start in any::<u64>(), hz in 0u64..2000) {
            let _ = parse(&stat, start, hz);
        }
    }
}
