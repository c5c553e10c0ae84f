//! Causes for which the kernel refuses the programs.

use std::io::ErrorKind;

use super::seccomp::REMEDY;
use crate::error::Error;
use crate::host::proc::own_status;

/// The cause and the remedy if the kernel refused to load or attach the programs although no
/// requirement was missing. `None` if the error does not identify a cause.
fn cause_of_refusal(kind: ErrorKind, seccomp: bool) -> Option<(&'static str, &'static str)> {
    match kind {
        // Docker's filter returns EPERM, systemd's the value of SystemCallErrorNumber=.
        ErrorKind::PermissionDenied | ErrorKind::Unsupported if seccomp => {
            Some(("a seccomp filter denies the system call bpf", REMEDY))
        }
        ErrorKind::PermissionDenied => Some((
            "the kernel denied it despite the capabilities, perhaps because of a security module or sysctl",
            "check the kernel's log, kernel.unprivileged_bpf_disabled, SELinux and AppArmor",
        )),
        ErrorKind::OutOfMemory => Some((
            "not enough memory for the programs and maps: the memory cgroup may be at its limit",
            "raise the limit (MemoryMax= in a unit), or free memory",
        )),
        _ => None,
    }
}

/// The error for an operation that the kernel refused although no requirement was missing.
pub(super) fn refused(what: &str, error: &libbpf_rs::Error) -> Error {
    let kind = match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        libbpf_rs::ErrorKind::Unsupported => ErrorKind::Unsupported,
        libbpf_rs::ErrorKind::OutOfMemory => ErrorKind::OutOfMemory,
        _ => ErrorKind::Other,
    };
    let text = match cause_of_refusal(kind, own_status().seccomp_filter) {
        Some((cause, remedy)) => {
            format!("the kernel refused to {what} ({error:#}): {cause}\n{remedy}")
        }
        None => format!(
            "the kernel refused to {what}: {error:#}\n\
             --verbose shows libbpf's own messages, and the kernel's log may say more"
        ),
    };
    Error::Failed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_by_the_kernel_has_a_cause() {
        let cause = |kind, seccomp| cause_of_refusal(kind, seccomp).map(|(cause, _)| cause);
        let denied = ErrorKind::PermissionDenied;
        assert!(cause(denied, true).is_some_and(|cause| cause.contains("seccomp")));
        assert!(cause(denied, false).is_some_and(|cause| !cause.contains("seccomp")));
        assert!(cause(ErrorKind::OutOfMemory, false).is_some_and(|cause| cause.contains("memory")));
        assert_eq!(cause(ErrorKind::NotFound, true), None);
    }
}
