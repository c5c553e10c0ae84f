//! Gathers facts about this host. `requirements` decides what they mean.

use std::fs::{self, File};
use std::io::{self, Read};

use memchr::memmem;

use super::seccomp::Seccomp;
use super::tracefs::tracefs;
use crate::host::{group_of, proc};
use crate::privileged::COPY;

/// The kernel's own type information.
pub(super) const BTF: &str = "/sys/kernel/btf/vmlinux";
/// The kernel's lockdown mode. The file is absent if securityfs is not mounted.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
/// The names of the tracepoints' prototypes in BTF.
const TRACEPOINTS: [&[u8]; 2] = [
    b"\0btf_trace_sock_send_length\0",
    b"\0btf_trace_sock_recv_length\0",
];
/// Bytes of type information searched at a time. The whole file has several megabytes. After glibc
/// has freed a block of that size, it keeps later blocks of the same size, such as libbpf's,
/// instead of returning them to the kernel.
const BTF_WINDOW: u64 = 64 << 10;
/// `PROC_USER_INIT_INO` and `PROC_PID_INIT_INO` of include/uapi/linux/nsfs.h: the fixed
/// inode numbers of the initial namespaces.
const INITIAL_USER_NS: u64 = 0xEFFF_FFFD;
const INITIAL_PID_NS: u64 = 0xEFFF_FFFC;
/// Capability numbers of include/uapi/linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Facts about this host. A fact that could not be determined counts as present: the kernel then
/// decides when the programs are loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// CAP_BPF, or CAP_SYS_ADMIN, is effective.
    pub cap_bpf: bool,
    /// CAP_PERFMON, or CAP_SYS_ADMIN, is effective.
    pub cap_perfmon: bool,
    /// CAP_NET_ADMIN, or CAP_SYS_ADMIN, is effective.
    pub cap_net_admin: bool,
    /// The group that may run the copy of netatop that has the capabilities, if there is one.
    pub group: Option<String>,
    /// This is the initial user namespace. Capabilities in other user namespaces have no effect on
    /// BPF.
    pub initial_user_namespace: bool,
    /// This is the initial pid namespace. Other pid namespaces show only their own tasks.
    pub initial_pid_namespace: bool,
    /// Whether the kernel's type information can be read. The error is the reason why not.
    pub btf: Result<(), String>,
    /// Both tracepoints exist. `None` if there is no type information to search.
    pub tracepoints: Option<bool>,
    /// Path of tracefs, if classic tracepoints can be opened there. The error is the reason why
    /// not.
    pub tracefs: Result<&'static str, String>,
    /// Maximum number of open files. `None` if there is no limit.
    pub open_files: Option<u64>,
    /// The kernel's release, as `uname -r` prints it.
    pub release: String,
    /// What a seccomp filter does to the system call bpf.
    pub seccomp: Seccomp,
    /// /proc is that of this pid namespace; else the reason.
    pub proc: Result<(), String>,
    /// The lockdown mode: `none`, `integrity` or `confidentiality`. `None` if it cannot be read.
    pub lockdown: Option<String>,
}

impl HostFacts {
    /// Gathers the facts. Needs no privileges.
    #[must_use]
    pub fn gather() -> Self {
        let capabilities = proc::own_status().capabilities;
        let has = |bit: u32| capabilities.is_none_or(|set| set & (1 << bit) != 0);
        let admin = capabilities.is_some_and(|set| set & (1 << CAP_SYS_ADMIN) != 0);
        let btf = File::open(BTF).and_then(|file| contains_all(file, &TRACEPOINTS, BTF_WINDOW));
        let tracepoints = btf.as_ref().ok().copied();
        Self {
            cap_bpf: admin || has(CAP_BPF),
            cap_perfmon: admin || has(CAP_PERFMON),
            cap_net_admin: admin || has(CAP_NET_ADMIN),
            group: group_of(COPY),
            initial_user_namespace: is_namespace("user", INITIAL_USER_NS),
            initial_pid_namespace: is_namespace("pid", INITIAL_PID_NS),
            btf: btf.map(|_| ()).map_err(|error| describe(&error)),
            tracepoints,
            tracefs: tracefs(),
            open_files: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            seccomp: Seccomp::of_this_process(),
            proc: proc::check(),
            lockdown: fs::read_to_string(LOCKDOWN)
                .ok()
                .and_then(|text| parse_lockdown(&text)),
        }
    }
}

/// Whether the file contains each of the names. About `window` bytes are in memory at a time.
fn contains_all(mut file: impl Read, names: &[&[u8]], window: u64) -> io::Result<bool> {
    let overlap = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let mut missing = names.to_vec();
    let mut part = Vec::with_capacity(window as usize + overlap);
    while !missing.is_empty() && file.by_ref().take(window).read_to_end(&mut part)? > 0 {
        missing.retain(|name| memmem::find(&part, name).is_none());
        // A name may cross the end of this part.
        part.drain(..part.len().saturating_sub(overlap));
    }
    Ok(missing.is_empty())
}

fn describe(error: &io::Error) -> String {
    format!("{BTF}: {error}")
}

/// The mode in brackets, as in `none [integrity] confidentiality`.
fn parse_lockdown(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    let (mode, _) = rest.split_once(']')?;
    Some(mode.to_owned())
}

/// Major and minor version of a release such as `6.12.1-amd64`.
pub(super) fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

/// Whether this kernel is built with PREEMPT_RT.
#[must_use]
pub fn is_realtime() -> bool {
    version_names_realtime(rustix::system::uname().version().to_bytes())
}

/// Whether a kernel version names PREEMPT_RT, such as `#1 SMP PREEMPT_RT Debian 6.12.48-1`
/// (UTS_VERSION, set in init/Makefile).
fn version_names_realtime(version: &[u8]) -> bool {
    memmem::find(version, b" PREEMPT_RT").is_some()
}

fn is_namespace(kind: &str, initial: u64) -> bool {
    proc::namespace(kind).is_none_or(|namespace| namespace == initial)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_search_in_parts_finds_the_same_as_a_search_of_the_whole(
            file in "[ab]{0,60}",
            names in proptest::collection::vec("[ab]{1,6}", 0..3),
            window in 1..70_u64,
        ) {
            let bytes: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
            let found = contains_all(file.as_bytes(), &bytes, window).ok();
            prop_assert_eq!(found, Some(names.iter().all(|name| file.contains(name.as_str()))));
        }
    }

    #[test]
    fn release_numbers_are_compared_as_numbers() {
        assert_eq!(parse_release("6.12.1-amd64"), Some((6, 12)));
        assert_eq!(parse_release("6.3"), Some((6, 3)));
        assert!(parse_release("6.10.0") > Some((6, 3)));
        assert_eq!(parse_release("noise"), None);
        assert_eq!(parse_release(""), None);
    }

    #[test]
    fn a_real_time_kernel_is_recognized_by_its_version() {
        assert!(version_names_realtime(
            b"#1 SMP PREEMPT_RT Debian 6.12.48-1 (2025-09-20)"
        ));
        assert!(!version_names_realtime(
            b"#1 SMP PREEMPT_DYNAMIC Debian 6.12.48-1 (2025-09-20)"
        ));
        assert!(!version_names_realtime(b""));
    }

    #[test]
    fn the_lockdown_mode_is_the_one_in_brackets() {
        let mode = |text| parse_lockdown(text);
        assert_eq!(
            mode("none [integrity] confidentiality\n").as_deref(),
            Some("integrity")
        );
        assert_eq!(
            mode("[none] integrity confidentiality\n").as_deref(),
            Some("none")
        );
        assert_eq!(mode("none\n"), None);
        assert_eq!(mode("[none"), None);
    }
}
