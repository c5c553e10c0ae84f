//! Why the kernel refused the programs.

use std::io::ErrorKind;

/// What to do about a seccomp filter that denies bpf(2).
pub(super) const SECCOMP_REMEDY: &str =
    "allow it: SystemCallFilter=bpf in a unit, or a seccomp profile with bpf for a container";

/// Why the kernel refused to load or attach the programs, although nothing was found missing: the
/// cause and the remedy, if they can be told from the error.
pub(super) fn cause_of_refusal(
    kind: ErrorKind,
    seccomp: bool,
) -> Option<(&'static str, &'static str)> {
    match kind {
        // Docker's filter answers EPERM, systemd's what SystemCallErrorNumber= says.
        ErrorKind::PermissionDenied | ErrorKind::Unsupported if seccomp => Some((
            "a seccomp filter denies the system call bpf",
            SECCOMP_REMEDY,
        )),
        ErrorKind::PermissionDenied => Some((
            "the kernel denies it in spite of the capabilities: a security module or a sysctl may do so",
            "see the kernel's log, and kernel.unprivileged_bpf_disabled, SELinux or AppArmor",
        )),
        ErrorKind::OutOfMemory => Some((
            "there is no memory for the programs and maps: the memory cgroup may be at its limit",
            "raise the limit (MemoryMax= in a unit), or free memory",
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_kernel_names_its_cause() {
        let cause = |kind, seccomp| cause_of_refusal(kind, seccomp).map(|(cause, _)| cause);
        let denied = ErrorKind::PermissionDenied;
        assert!(cause(denied, true).is_some_and(|cause| cause.contains("seccomp")));
        assert!(cause(denied, false).is_some_and(|cause| !cause.contains("seccomp")));
        assert!(cause(ErrorKind::OutOfMemory, false).is_some_and(|cause| cause.contains("memory")));
        assert_eq!(cause(ErrorKind::NotFound, true), None);
    }
}
