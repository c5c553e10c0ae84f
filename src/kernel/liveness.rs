//! Whether a process is still alive after all its threads with traffic have ended.

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::host::clock_offset;
use crate::host::proc::{self, Stat};
use crate::model::ProcessId;

/// Whether any thread of `process` is alive. The answer is no for a zombie, and if another process
/// has the pid by now. A process that /proc hides (`hidepid`) counts as alive until its pid is
/// free.
pub(super) fn is_alive(process: ProcessId) -> bool {
    match owner_of(process) {
        PidOwner::Free => false,
        PidOwner::Hidden => true,
        PidOwner::Found { same, alive } => same && alive,
    }
}

/// Whether another living process has the pid of `process`, which has ended. If /proc hides the
/// owner of the pid, the answer is yes.
pub(super) fn is_reused(process: ProcessId) -> bool {
    match owner_of(process) {
        PidOwner::Free => false,
        PidOwner::Hidden => true,
        PidOwner::Found { same, alive } => !same && alive,
    }
}

/// The owner of a pid.
enum PidOwner {
    /// No process has the pid.
    Free,
    /// /proc hides the owner.
    Hidden,
    /// A process has the pid: `same` if it is the expected one. A zombie is not alive.
    Found { same: bool, alive: bool },
}

fn owner_of(process: ProcessId) -> PidOwner {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    let is_free = || pid.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH));
    // The pid is usually free, and this check takes a tenth of the time.
    if is_free() {
        return PidOwner::Free;
    }
    let ticks = rustix::param::clock_ticks_per_second();
    let stat = proc::stat(process.pid);
    // /proc shows starts by the clock of this time namespace.
    let start = process.start.wrapping_add_signed(clock_offset());
    match stat.and_then(|stat| compare(stat, start, ticks)) {
        Some((same, alive)) => PidOwner::Found { same, alive },
        // The pid belonged to a zombie, which its parent has reaped since.
        None if is_free() => PidOwner::Free,
        None => PidOwner::Hidden,
    }
}

/// Whether `stat` belongs to the process that started `start` nanoseconds after boot, and whether
/// its process is alive. `None` if the clock's tick is unknown.
fn compare(stat: Stat, start: u64, ticks_per_second: u64) -> Option<(bool, bool)> {
    let tick = 1_000_000_000u64.checked_div(ticks_per_second)?;
    let same = stat.start == start.checked_div(tick)?;
    // A group leader that has ended stays a zombie until its other threads have ended.
    let ended = matches!(stat.state, 'Z' | 'X') && stat.threads <= 1;
    Some((same, !ended))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use proptest::prelude::*;

    fn stat(state: char, threads: u64, start: u64) -> Stat {
        Stat {
            state,
            threads,
            start,
        }
    }

    #[test]
    fn a_zombie_leader_with_threads_is_alive_and_a_recycled_pid_is_not() {
        let of =
            |state, threads, started| compare(stat(state, threads, started), 1_234_567_890, 100);
        assert_eq!(of('S', 1, 123), Some((true, true)));
        assert_eq!(of('Z', 3, 123), Some((true, true)));
        assert_eq!(of('Z', 1, 123), Some((true, false)));
        assert_eq!(of('S', 1, 124), Some((false, true)));
    }

    /// A running process, as /proc describes it.
    fn process(pid: u32) -> ProcessId {
        let ticks = proc::stat(pid).expect("proc").start;
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

    /// A process that is reaped during the check does not count as reused.
    #[test]
    fn a_process_reaped_during_the_check_is_not_reused() {
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
    fn a_name_that_is_not_utf_8_does_not_hide_a_process() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", r#"printf 'caf\351' >/proc/$$/comm; echo; read end"#])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("a shell");
        // The process has its new name once it has printed a line.
        let mut line = [0];
        let mut output = child.stdout.take().expect("piped");
        std::io::Read::read_exact(&mut output, &mut line).expect("a line");
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
        fn any_numbers_do_not_panic(began in any::<u64>(), start in any::<u64>(), hz in 0u64..2000) {
            let _ = compare(stat('S', 1, began), start, hz);
        }
    }
}
