//! Checks whether classic tracepoints can be opened on this host.

use std::fs;
use std::ptr;

use rustix::io::Errno;

/// Mount points of tracefs, in the order in which libbpf tries them.
const PLACES: [&str; 2] = ["/sys/kernel/debug/tracing", "/sys/kernel/tracing"];
/// The classic tracepoints that netatop uses.
const EVENTS: [&str; 5] = [
    "sock/sock_send_length",
    "sock/sock_recv_length",
    "sched/sched_process_exit",
    "sched/sched_process_exec",
    "task/task_newtask",
];

/// The mount point of tracefs if classic tracepoints can be opened there. The error is the reason
/// why not.
pub(super) fn tracefs() -> Result<&'static str, String> {
    // libbpf uses the first mount point that exists, and does not try the other.
    let [debugfs, own] = PLACES;
    let there = fs::exists(debugfs).unwrap_or(false);
    let place = if there { debugfs } else { own };
    for event in EVENTS {
        let path = format!("{place}/events/{event}/id");
        fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
    }
    // SAFETY: the pointer to the attributes is null, so the kernel opens nothing and reads no
    // memory.
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
    // A kernel that would open an event fails with EFAULT for the null pointer. An earlier refusal,
    // such as by a seccomp filter, has another error.
    let error = std::io::Error::last_os_error();
    if result < 0 && error.raw_os_error() != Some(Errno::FAULT.raw_os_error()) {
        return Err(format!("perf_event_open: {error}"));
    }
    Ok(place)
}
