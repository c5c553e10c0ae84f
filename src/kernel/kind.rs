//! Which kind of programs counts, and what the better one for new kernels needs.

use std::fs;
use std::ptr;

use rustix::io::Errno;

use super::HostFacts;
use super::requirements::parse_release;

/// What the programs that count are attached to. Both kinds count the same, by the same code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Tracepoints whose arguments have types. The cheaper kind, and always there.
    Typed,
    /// Classic ones, which write a record first. They are opened through tracefs.
    Classic,
}

/// From here on a thread can lose the processor in the midst of a program of the typed kind,
/// and until it goes on, the kernel leaves that program out for all other threads there.
/// Classic ones still run with preemption off.
const PREEMPTIBLE: (u32, u32) = (7, 0);

impl Kind {
    /// The one that misses least on this host.
    #[must_use]
    pub fn for_host(facts: &HostFacts) -> Self {
        if wants_classic(facts) && facts.tracefs.is_ok() {
            Self::Classic
        } else {
            Self::Typed
        }
    }
}

/// Whether programs of the typed kind can miss events on this host.
pub(super) fn wants_classic(facts: &HostFacts) -> bool {
    parse_release(&facts.release).is_some_and(|release| release >= PREEMPTIBLE)
}

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
