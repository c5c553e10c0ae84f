//! The requirements of counting: whether each is met, and the remedy if it is not. These functions
//! are pure: they decide on the facts in [`HostFacts`]. `netatop check` shows all findings.
//! `netatop record` refuses to start with the first missing requirement.

use super::HostFacts;
use super::facts::{BTF, parse_release};
use super::finding::{Finding, Status};
use super::kind::wants_classic;
use super::socket_walk::SocketWalk;
use super::udp_ends::UdpEnds;
use crate::host::NO_CGROUPS;

/// The first release with both tracepoints.
const FIRST_RELEASE: (u32, u32) = (6, 3);

/// All requirements of the BPF programs, in the order in which they should be fixed.
#[must_use]
pub fn findings(facts: &HostFacts) -> Vec<Finding> {
    vec![
        kernel(facts),
        btf(facts),
        tracepoints(facts),
        tracefs(facts),
        user_namespace(facts),
        capabilities(facts),
        facts.seccomp.finding(),
        pid_namespace(facts),
        proc(facts),
        lockdown(facts),
        open_files(facts),
    ]
}

/// The cause and remedy of the first missing requirement. `None` if none is missing.
#[must_use]
pub fn missing(facts: &HostFacts) -> Option<String> {
    let mut missing = findings(facts);
    missing.retain(|finding| finding.status == Status::Missing);
    // With too few open files, other requirements only seem to be missing.
    missing.sort_by_key(|finding| finding.id != "open_files");
    missing
        .into_iter()
        .next()
        .map(|finding| match finding.remedy {
            Some(remedy) => format!("{}\n{remedy}", finding.found),
            None => finding.found,
        })
}

fn kernel(facts: &HostFacts) -> Finding {
    let release = &facts.release;
    let met = Finding::ok("kernel", "Linux 6.3 or later", format!("Linux {release}"));
    // A distribution's kernel may have the tracepoints under an older version number.
    let too_old = parse_release(release).is_some_and(|release| release < FIRST_RELEASE)
        && facts.tracepoints != Some(true);
    if too_old {
        return met.lacking(
            Status::Missing,
            format!(
                "this kernel ({release}) has no tracepoints sock_send_length and sock_recv_length"
            ),
            "install a newer kernel: Linux 6.3 introduced these tracepoints",
        );
    }
    met
}

fn btf(facts: &HostFacts) -> Finding {
    let met = Finding::ok("btf", "kernel type information (BTF)", BTF);
    match &facts.btf {
        Ok(()) => met,
        Err(error) => met.lacking(
            Status::Missing,
            format!("no type information from the kernel ({error})"),
            "the kernel must be built with CONFIG_DEBUG_INFO_BTF, and /sys must be mounted",
        ),
    }
}

fn tracepoints(facts: &HostFacts) -> Finding {
    let both = "sock_send_length and sock_recv_length";
    let met = Finding::ok("tracepoints", "socket tracepoints", both);
    match facts.tracepoints {
        Some(true) => met,
        Some(false) => met.lacking(
            Status::Missing,
            format!("this kernel ({}) does not have both {both}", facts.release),
            "it must be Linux 6.3 or later, built with CONFIG_NET and CONFIG_TRACEPOINTS",
        ),
        None => met.lacking(
            Status::Missing,
            format!("{both} cannot be looked up without type information"),
            "put that right first",
        ),
    }
}

/// tracefs is only needed from Linux 7.0 on: before, typed tracepoints miss no events.
fn tracefs(facts: &HostFacts) -> Finding {
    let found = facts
        .tracefs
        .as_deref()
        .unwrap_or("not needed by this kernel");
    let met = Finding::ok("tracefs", "tracefs", found);
    match &facts.tracefs {
        Err(error) if wants_classic(facts) => met.lacking(
            Status::Optional,
            format!(
                "without it ({error}) events can be missed while more threads are busy \
                 than there are CPUs; netatop reports how many"
            ),
            TRACEFS_REMEDY,
        ),
        _ => met,
    }
}

const TRACEFS_REMEDY: &str =
    "run it as root, with tracefs mounted: mount -t tracefs tracefs /sys/kernel/tracing";

/// The remedy for missed events on this host. `None` if none is known.
#[must_use]
pub fn remedy_for_misses(facts: &HostFacts) -> Option<String> {
    tracefs(facts).remedy
}

fn user_namespace(facts: &HostFacts) -> Finding {
    let met = Finding::ok("user_namespace", "initial user namespace", "this is it");
    if facts.initial_user_namespace {
        return met;
    }
    met.lacking(
        Status::Missing,
        "CAP_BPF and CAP_PERFMON count only in the initial user namespace, and this is another one",
        "run it outside the container or unshare, with sudo",
    )
}

/// If every user could execute a file with these capabilities, every user could see all traffic of
/// the host.
const SETCAP: &str = "run it with sudo, or let a group run it: chgrp GROUP FILE, chmod 750 FILE, then \
                      setcap cap_bpf,cap_perfmon+ep FILE";

fn capabilities(facts: &HostFacts) -> Finding {
    let both = "CAP_BPF and CAP_PERFMON";
    let met = Finding::ok("capabilities", "capabilities", both);
    let what = match (facts.cap_bpf, facts.cap_perfmon) {
        (true, true) => return met,
        (false, false) => "CAP_BPF and CAP_PERFMON are missing",
        (true, false) => "CAP_PERFMON is missing",
        (false, true) => "CAP_BPF is missing",
    };
    let remedy = facts.group.as_ref().map_or_else(
        || SETCAP.to_owned(),
        |group| {
            format!(
                "run it with sudo, or become a member of the group {group}: \
                 sudo usermod -aG {group} USER, and a new login"
            )
        },
    );
    met.lacking(Status::Missing, what, &remedy)
}

/// The finding for a trial: `tried` is the result of loading and attaching the programs. `None` if
/// the trial was skipped.
#[must_use]
pub fn trial(tried: Option<Result<(), String>>) -> Finding {
    let met = Finding::ok("programs", "BPF programs", "they load and attach");
    match tried {
        None => met.lacking(
            Status::Optional,
            "not tried because a requirement above is missing",
            "put that right first",
        ),
        Some(Ok(())) => met,
        Some(Err(text)) => {
            let (cause, remedy) = text
                .split_once('\n')
                .unwrap_or((&text, "see the kernel's log"));
            met.lacking(Status::Missing, cause, remedy)
        }
    }
}

/// The finding for a trial with TCP's own account, which is optional.
#[must_use]
pub fn tcp_trial(tried: Option<Result<SocketWalk, String>>) -> Finding {
    let found = match tried {
        Some(Ok(SocketWalk::OpenFiles)) => {
            "its programs load and attach, but cannot visit sockets of other network namespaces that \
             no process has open"
        }
        _ => "its programs load and attach",
    };
    let met = Finding::ok("tcp", "TCP health", found);
    let finding = trial(tried.map(|result| result.map(drop)));
    match finding.remedy {
        None => met,
        Some(remedy) => met.lacking(Status::Optional, finding.found, &remedy),
    }
}

/// Optional: where the remote ends of unconnected UDP sockets come from.
#[must_use]
pub fn udp_remote(udp_ends: UdpEnds) -> Finding {
    let found = |found: &str| Finding::ok("udp_remote", "remote ends of UDP", found);
    match udp_ends {
        UdpEnds::Functions => found("from programs at udp_sendmsg and __skb_recv_udp"),
        UdpEnds::CgroupHooks | UdpEnds::HashedCgroupHooks => found(
            "from cgroup programs, which do not know the sender if the receiver does not ask for it",
        ),
        UdpEnds::NoNetAdmin => found("").lacking(
            Status::Optional,
            "CAP_NET_ADMIN is missing: unconnected UDP has no remote ends",
            "run netatop as root, for example with sudo",
        ),
        UdpEnds::NoCgroups => {
            let [cause, remedy] = NO_CGROUPS;
            let found_cause = format!("{cause}: unconnected UDP has no remote ends");
            found("").lacking(Status::Optional, found_cause, remedy)
        }
        UdpEnds::Refused => found("").lacking(
            Status::Optional,
            "the kernel refused the programs: unconnected UDP has no remote ends",
            "--verbose with a recording shows libbpf's own messages",
        ),
        UdpEnds::NotNeeded => found("").lacking(
            Status::Optional,
            "not tried because a requirement above is missing",
            "put that right first",
        ),
    }
}

fn pid_namespace(facts: &HostFacts) -> Finding {
    let met = Finding::ok("pid_namespace", "initial pid namespace", "this is it");
    if facts.initial_pid_namespace {
        return met;
    }
    met.lacking(
        Status::Missing,
        "processes outside this pid namespace cannot be identified from inside it",
        "run it on the host, or in a container that shares the host's pid namespace",
    )
}

/// Optional: counts are exact without it.
fn proc(facts: &HostFacts) -> Finding {
    let met = Finding::ok("proc", "/proc", "that of this pid namespace");
    match &facts.proc {
        Ok(()) => met,
        Err(cause) => met.lacking(
            Status::Optional,
            format!(
                "{cause}: cgroups have no names, and a process that has ended counts as running \
                 while another one has its id"
            ),
            "mount it: mount -t proc proc /proc",
        ),
    }
}

/// No lockdown mode prevents a recording: the programs read kernel memory only through typed pointers,
/// never with the helpers that `confidentiality` forbids.
fn lockdown(facts: &HostFacts) -> Finding {
    let found = match &facts.lockdown {
        Some(mode) => format!("{mode}; no mode prevents a recording"),
        None => "unknown; no mode prevents a recording".to_owned(),
    };
    Finding::ok("lockdown", "kernel lockdown", found)
}

/// Maps, programs, links, files and standard streams need 60 file descriptors without options, and 92
/// with all of them. The rest is for programs that other kernels need. libbpf has a descriptor for
/// each map, also for maps that are left out. It opens a few more temporarily, and reports a misleading
/// error if it cannot.
const MIN_OPEN_FILES: u64 = 112;

fn open_files(facts: &HostFacts) -> Finding {
    let met = Finding::ok(
        "open_files",
        "open files",
        format!("{MIN_OPEN_FILES} or more"),
    );
    match facts.open_files.filter(|limit| *limit < MIN_OPEN_FILES) {
        None => met,
        Some(limit) => met.lacking(
            Status::Missing,
            format!(
                "at most {limit} files may be open at a time, but counting needs {MIN_OPEN_FILES}"
            ),
            "raise the limit: ulimit -n 1024",
        ),
    }
}
