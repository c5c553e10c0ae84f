//! What counting needs, whether it is there, and the way out where it is not. Pure: it
//! decides on facts that [`HostFacts`] gathered. `netatop check` shows all of it, and a
//! recording is refused with the first thing that is missing.

use super::HostFacts;
use super::facts::{BTF, parse_release};
use super::finding::{Finding, Status};
use super::kind::wants_classic;
use super::refusal::SECCOMP_REMEDY;
use super::seccomp::Seccomp;

/// The first release with both tracepoints.
const FIRST_RELEASE: (u32, u32) = (6, 3);

/// Everything that the kernel's side depends on, in the order in which it should be put
/// right.
#[must_use]
pub fn findings(facts: &HostFacts) -> Vec<Finding> {
    vec![
        kernel(facts),
        btf(facts),
        tracepoints(facts),
        tracefs(facts),
        user_namespace(facts),
        capabilities(facts),
        seccomp(facts),
        pid_namespace(facts),
        proc(facts),
        lockdown(facts),
        open_files(facts),
    ]
}

/// The first thing that stands in the way, cause and way out; `None` if nothing is known to.
#[must_use]
pub fn missing(facts: &HostFacts) -> Option<String> {
    let mut missing = findings(facts);
    missing.retain(|finding| finding.status == Status::Missing);
    // With too few open files, other things only seem to be missing.
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
    let there = Finding::ok("kernel", "Linux 6.3 or later", format!("Linux {release}"));
    // A vendor's kernel may have the tracepoints under an older number.
    let too_old = parse_release(release).is_some_and(|release| release < FIRST_RELEASE)
        && facts.tracepoints != Some(true);
    if too_old {
        return there.lacking(
            Status::Missing,
            format!(
                "this kernel ({release}) has no tracepoints sock_send_length and sock_recv_length"
            ),
            "they came with Linux 6.3: a newer kernel is needed",
        );
    }
    there
}

fn btf(facts: &HostFacts) -> Finding {
    let there = Finding::ok("btf", "kernel type information (BTF)", BTF);
    match &facts.btf {
        Ok(()) => there,
        Err(error) => there.lacking(
            Status::Missing,
            format!("no type information from the kernel ({error})"),
            "the kernel must be built with CONFIG_DEBUG_INFO_BTF, and /sys must be mounted",
        ),
    }
}

fn tracepoints(facts: &HostFacts) -> Finding {
    let both = "sock_send_length and sock_recv_length";
    let there = Finding::ok("tracepoints", "socket tracepoints", both);
    match facts.tracepoints {
        Some(true) => there,
        Some(false) => there.lacking(
            Status::Missing,
            format!("this kernel ({}) does not have both {both}", facts.release),
            "it must be Linux 6.3 or later, built with CONFIG_NET and CONFIG_TRACEPOINTS",
        ),
        None => there.lacking(
            Status::Missing,
            format!("{both} cannot be looked up without type information"),
            "put that right first",
        ),
    }
}

/// Before Linux 7.0 it is not even looked for: programs of the other kind miss nothing there.
fn tracefs(facts: &HostFacts) -> Finding {
    let found = facts
        .tracefs
        .as_deref()
        .unwrap_or("not needed by this kernel");
    let there = Finding::ok("tracefs", "tracefs", found);
    match &facts.tracefs {
        Err(error) if wants_classic(facts) => there.lacking(
            Status::Optional,
            format!(
                "without it ({error}) events can be missed while more threads are busy \
                 than there are processors; how many is told"
            ),
            TRACEFS_REMEDY,
        ),
        _ => there,
    }
}

const TRACEFS_REMEDY: &str =
    "run it as root, with tracefs mounted: mount -t tracefs tracefs /sys/kernel/tracing";

/// What can be done against missed events on this host; `None` if nothing is known to help.
#[must_use]
pub fn remedy_for_misses(facts: &HostFacts) -> Option<String> {
    tracefs(facts).remedy
}

fn user_namespace(facts: &HostFacts) -> Finding {
    let there = Finding::ok("user_namespace", "initial user namespace", "this is it");
    if facts.initial_user_namespace {
        return there;
    }
    there.lacking(
        Status::Missing,
        "CAP_BPF and CAP_PERFMON count only in the initial user namespace, and this is another one",
        "run it outside of the container or of unshare, with sudo",
    )
}

/// Capabilities on a file that everyone may execute would show everyone all traffic of the host.
const SETCAP: &str = "run it with sudo, or let a group run it: chgrp GROUP FILE, chmod 750 FILE, then \
                      setcap cap_bpf,cap_perfmon+ep FILE";

fn capabilities(facts: &HostFacts) -> Finding {
    let both = "CAP_BPF and CAP_PERFMON";
    let there = Finding::ok("capabilities", "capabilities", both);
    let what = match (facts.cap_bpf, facts.cap_perfmon) {
        (true, true) => return there,
        (false, false) => "CAP_BPF and CAP_PERFMON are missing",
        (true, false) => "CAP_PERFMON is missing",
        (false, true) => "CAP_BPF is missing",
    };
    there.lacking(Status::Missing, what, SETCAP)
}

fn seccomp(facts: &HostFacts) -> Finding {
    let found = match facts.seccomp {
        Seccomp::Absent => "no filter",
        _ => "the filter allows the system call bpf",
    };
    let there = Finding::ok("seccomp", "seccomp filter", found);
    let cause = match facts.seccomp {
        Seccomp::Absent | Seccomp::Allows => return there,
        Seccomp::Denies => "a seccomp filter denies the system call bpf",
        Seccomp::Kills => "a seccomp filter kills programs that make the system call bpf",
    };
    there.lacking(Status::Missing, cause, SECCOMP_REMEDY)
}

/// The trial as a finding: `tried` is what loading and attaching the programs came to, or `None` if
/// it was not tried.
#[must_use]
pub fn trial(tried: Option<Result<(), String>>) -> Finding {
    let there = Finding::ok("programs", "BPF programs", "they load and attach");
    match tried {
        None => there.lacking(
            Status::Optional,
            "not tried, since something above is missing",
            "put that right first",
        ),
        Some(Ok(())) => there,
        Some(Err(text)) => {
            let (cause, remedy) = text
                .split_once('\n')
                .unwrap_or((&text, "see the kernel's log"));
            there.lacking(Status::Missing, cause, remedy)
        }
    }
}

fn pid_namespace(facts: &HostFacts) -> Finding {
    let there = Finding::ok("pid_namespace", "initial pid namespace", "this is it");
    if facts.initial_pid_namespace {
        return there;
    }
    there.lacking(
        Status::Missing,
        "from inside a pid namespace the processes outside of it cannot be told apart",
        "run it on the host, or in a container that shares the host's pid namespace",
    )
}

/// Counting does without it.
fn proc(facts: &HostFacts) -> Finding {
    let there = Finding::ok("proc", "/proc", "that of this pid namespace");
    match &facts.proc {
        Ok(()) => there,
        Err(cause) => there.lacking(
            Status::Optional,
            format!(
                "{cause}: cgroups have no names, and a process that has ended counts as running \
                 while another one has its id"
            ),
            "mount it: mount -t proc proc /proc",
        ),
    }
}

/// In no mode is it in the way: the programs read the kernel's memory through typed
/// pointers only, never by the helpers that `confidentiality` takes away.
fn lockdown(facts: &HostFacts) -> Finding {
    let found = match &facts.lockdown {
        Some(mode) => format!("{mode}; no mode is in the way"),
        None => "not told by this kernel; no mode is in the way".to_owned(),
    };
    Finding::ok("lockdown", "kernel lockdown", found)
}

/// Maps, programs, links and standard streams need 28 of them; libbpf opens a few more on
/// the way, and says something else if it cannot.
const FILES: u64 = 48;

fn open_files(facts: &HostFacts) -> Finding {
    let there = Finding::ok("open_files", "open files", format!("{FILES} or more"));
    match facts.open_files.filter(|limit| *limit < FILES) {
        None => there,
        Some(limit) => there.lacking(
            Status::Missing,
            format!("at most {limit} files may be open at a time, and counting needs {FILES}"),
            "raise the limit: ulimit -n 1024",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::TracepointKind;

    fn able() -> HostFacts {
        HostFacts {
            cap_bpf: true,
            cap_perfmon: true,
            initial_user_namespace: true,
            initial_pid_namespace: true,
            btf: Ok(()),
            tracepoints: Some(true),
            tracefs: Ok("/sys/kernel/tracing"),
            open_files: Some(1024),
            release: "6.12.1".to_owned(),
            seccomp: Seccomp::Absent,
            proc: Ok(()),
            lockdown: None,
        }
    }

    fn told(change: impl FnOnce(&mut HostFacts)) -> String {
        let mut facts = able();
        change(&mut facts);
        missing(&facts).expect("something is missing")
    }

    #[test]
    fn nothing_is_missing_on_an_able_host() {
        assert_eq!(missing(&able()), None);
        let boundless = HostFacts {
            open_files: None,
            ..able()
        };
        assert_eq!(missing(&boundless), None);
    }

    #[test]
    fn each_cause_is_named_with_its_way_out() {
        let none = told(|f| (f.cap_bpf, f.cap_perfmon) = (false, false));
        assert!(none.contains("CAP_BPF and CAP_PERFMON are missing") && none.contains("sudo"));
        let half = told(|f| f.cap_perfmon = false);
        assert!(half.starts_with("CAP_PERFMON is missing") && half.contains("setcap"));
        let btf = told(|f| f.btf = Err("no such file".to_owned()));
        assert!(btf.contains("CONFIG_DEBUG_INFO_BTF") && btf.contains("no such file"));
        let old = told(|f| (f.tracepoints, f.release) = (Some(false), "5.15.0".to_owned()));
        assert!(old.contains("5.15.0") && old.contains("6.3"));
        let files = told(|f| f.open_files = Some(16));
        assert!(files.contains("at most 16 files") && files.contains("ulimit -n"));
        // Without a file to open, the type information cannot be read either.
        let both = told(|f| (f.open_files, f.btf) = (Some(16), Err("x".to_owned())));
        assert!(both.contains("at most 16 files"), "{both}");
        let bare = told(|f| (f.tracepoints, f.btf) = (None, Err("x".to_owned())));
        assert!(bare.contains("CONFIG_DEBUG_INFO_BTF"));
        let both = told(|f| {
            (f.tracepoints, f.btf) = (None, Err("x".to_owned()));
            f.release = "4.19.0".to_owned();
        });
        assert!(
            both.contains("4.19.0"),
            "a newer kernel comes first: {both}"
        );
        let denied = told(|f| f.seccomp = Seccomp::Denies);
        assert!(
            denied.contains("denies the system call bpf") && denied.contains("SystemCallFilter=")
        );
        assert!(told(|f| f.seccomp = Seccomp::Kills).contains("kills programs"));
        assert!(told(|f| f.initial_user_namespace = false).contains("user namespace"));
        assert!(told(|f| f.initial_pid_namespace = false).contains("pid namespace"));
    }

    #[test]
    fn a_trial_that_failed_has_its_cause_and_remedy() {
        let finding = trial(Some(Err("cause\nremedy".to_owned())));
        assert_eq!(finding.status, Status::Missing);
        assert_eq!(
            (finding.found.as_str(), finding.remedy.as_deref()),
            ("cause", Some("remedy"))
        );
        assert_eq!(trial(Some(Ok(()))).status, Status::Ok);
    }

    #[test]
    fn a_message_is_two_lines() {
        for change in [
            (|f| f.cap_bpf = false) as fn(&mut HostFacts),
            |f| f.btf = Err("x".to_owned()),
            |f| f.tracepoints = Some(false),
            |f| f.initial_user_namespace = false,
            |f| f.initial_pid_namespace = false,
            |f| f.open_files = Some(0),
            |f| f.seccomp = Seccomp::Kills,
        ] {
            assert_eq!(told(change).lines().count(), 2);
        }
    }

    #[test]
    fn an_older_number_with_the_tracepoints_is_good_enough() {
        let mut facts = able();
        facts.release = "5.14.0-503.el9".to_owned();
        assert_eq!(missing(&facts), None);
    }

    #[test]
    fn classic_tracepoints_are_taken_where_the_others_miss_events_and_they_can_be_opened() {
        let on = |release: &str, tracefs: Result<&'static str, String>| {
            let facts = HostFacts {
                release: release.to_owned(),
                tracefs,
                ..able()
            };
            (
                TracepointKind::for_host(&facts),
                remedy_for_misses(&facts).is_some(),
            )
        };
        let there = || Ok("/sys/kernel/tracing");
        let hidden = || Err("Permission denied".to_owned());
        assert_eq!(on("6.19.14-amd64", there()), (TracepointKind::Typed, false));
        assert_eq!(
            on("6.19.14-amd64", hidden()),
            (TracepointKind::Typed, false)
        );
        assert_eq!(on("7.0.0-rc1", there()), (TracepointKind::Classic, false));
        assert_eq!(
            on("7.3.4+deb13-amd64", hidden()),
            (TracepointKind::Typed, true)
        );
        assert_eq!(on("10.1", there()), (TracepointKind::Classic, false));
        assert_eq!(on("noise", there()), (TracepointKind::Typed, false));
    }

    #[test]
    fn what_is_there_has_no_way_out_and_what_is_not_has_one() {
        let mut bare = able();
        (bare.cap_bpf, bare.tracepoints) = (false, None);
        bare.proc = Err("/proc is not mounted".to_owned());
        (bare.tracefs, bare.release) = (Err("x".to_owned()), "7.3.4".to_owned());
        for facts in [able(), bare] {
            for finding in findings(&facts) {
                let there = finding.status == Status::Ok;
                assert_eq!(finding.remedy.is_none(), there, "{finding:?}");
            }
        }
    }
}
