//! Whether a seccomp filter lets bpf(2) through.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::ptr;

use libbpf_rs::libbpf_sys;
use rustix::io::Errno;
use rustix::process::Signal;

use super::finding::{Finding, Status};
use crate::host::proc::own_status;

/// What the seccomp filters of this process do to bpf(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// There is no filter.
    Absent,
    /// The call is let through, as far as it can be told.
    Allows,
    /// The call is answered with an error.
    Denies,
    /// The process is killed. That is what `SystemCallFilter=` of systemd does by default.
    Kills,
}

impl Seccomp {
    /// Tries it if there is a filter.
    pub(super) fn of_this_process() -> Self {
        if own_status().seccomp_filter {
            try_in_child()
        } else {
            Self::Absent
        }
    }

    pub(super) fn finding(self) -> Finding {
        let found = match self {
            Self::Absent => "no filter",
            _ => "the filter allows the system call bpf",
        };
        let met = Finding::ok("seccomp", "seccomp filter", found);
        let cause = match self {
            Self::Absent | Self::Allows => return met,
            Self::Denies => "a seccomp filter denies the system call bpf",
            Self::Kills => "a seccomp filter kills programs that make the system call bpf",
        };
        met.lacking(Status::Missing, cause, REMEDY)
    }
}

/// What to do about a filter that denies bpf(2).
pub(super) const REMEDY: &str =
    "allow it: SystemCallFilter=bpf in a unit, or a seccomp profile with bpf for a container";

/// Makes a call that changes nothing, in a child, since a filter can kill the caller.
fn try_in_child() -> Seccomp {
    let mut child = Command::new("/");
    // SAFETY: the closure makes one system call, and allocates nothing.
    unsafe { child.pre_exec(|| Err(look_up_in_no_map())) };
    match child.spawn() {
        // `spawn` returns the error of `pre_exec`.
        Err(error) if error.raw_os_error() == Some(DENIED.raw_os_error()) => Seccomp::Denies,
        Err(_) => Seccomp::Allows,
        // A killed child has not reported an error.
        Ok(mut child) => match child.wait() {
            Ok(status) if status.signal() == Some(Signal::SYS.as_raw()) => Seccomp::Kills,
            _ => Seccomp::Allows,
        },
    }
}

/// The child's answer, which neither `fork` nor bpf(2) gives.
const DENIED: Errno = Errno::CANCELED;

fn look_up_in_no_map() -> io::Error {
    // SAFETY: the kernel refuses the descriptor before it reads a key.
    let result = unsafe { libbpf_sys::bpf_map_lookup_elem(-1, ptr::null(), ptr::null_mut()) };
    // The kernel looks for the map before it looks at rights.
    let is_through = result == -Errno::BADF.raw_os_error();
    io::Error::from(if is_through { Errno::BADF } else { DENIED })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_no_filter_denies_is_told_from_one_that_is_denied() {
        assert_eq!(try_in_child(), Seccomp::Allows);
        assert_eq!(
            look_up_in_no_map().raw_os_error(),
            Some(Errno::BADF.raw_os_error())
        );
    }
}
