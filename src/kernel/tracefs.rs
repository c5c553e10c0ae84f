//! Whether classic tracepoints can be opened here.

use std::fs;
use std::ptr;

use rustix::io::Errno;

/// Where tracefs is, in the order in which libbpf looks.
const PLACES: [&str; 2] = ["/sys/kernel/debug/tracing", "/sys/kernel/tracing"];
/// The classic tracepoints that are used.
const EVENTS: [&str; 4] = [
    "sock/sock_send_length",
    "sock/sock_recv_length",
    "sched/sched_process_exit",
    "task/task_newtask",
];

/// Where tracefs is if classic tracepoints can be opened through it; else why not.
pub(super) fn tracefs() -> Result<&'static str, String> {
    // libbpf takes the first that is there, and no other then.
    let [debugfs, own] = PLACES;
    let there = fs::exists(debugfs).unwrap_or(false);
    let place = if there { debugfs } else { own };
    for event in EVENTS {
        let path = format!("{place}/events/{event}/id");
        fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
    }
    // SAFETY: without attributes there is nothing to open, and nothing else is passed.
    let result = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_perf_event_open,
            ptr::null::<u8>(),
            -1,
            0,
            -1,
            0,
        )
    };
    // That there are no attributes is told by a kernel that would open an event; what comes
    // before it (a filter of system calls) tells something else.
    let error = std::io::Error::last_os_error();
    if result < 0 && error.raw_os_error() != Some(Errno::FAULT.raw_os_error()) {
        return Err(format!("perf_event_open: {error}"));
    }
    Ok(place)
}
