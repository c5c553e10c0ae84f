//! Decisions on the facts of invented hosts.

use super::HostFacts;
use super::finding::Status;
use super::requirements::*;
use crate::kernel::Seccomp;
use crate::kernel::TracepointKind;

fn able() -> HostFacts {
    HostFacts {
        cap_bpf: true,
        cap_perfmon: true,
        cap_net_admin: true,
        group: None,
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

fn missing_after(change: impl FnOnce(&mut HostFacts)) -> String {
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
fn each_cause_has_a_remedy() {
    let none = missing_after(|f| (f.cap_bpf, f.cap_perfmon) = (false, false));
    assert!(none.contains("CAP_BPF and CAP_PERFMON are missing") && none.contains("sudo"));
    let grouped = missing_after(|f| (f.cap_bpf, f.group) = (false, Some("netatop".to_owned())));
    assert!(grouped.contains("usermod -aG netatop"), "{grouped}");
    let half = missing_after(|f| f.cap_perfmon = false);
    assert!(half.starts_with("CAP_PERFMON is missing") && half.contains("setcap"));
    let btf = missing_after(|f| f.btf = Err("no such file".to_owned()));
    assert!(btf.contains("CONFIG_DEBUG_INFO_BTF") && btf.contains("no such file"));
    let old = missing_after(|f| (f.tracepoints, f.release) = (Some(false), "5.15.0".to_owned()));
    assert!(old.contains("5.15.0") && old.contains("6.3"));
    let files = missing_after(|f| f.open_files = Some(16));
    assert!(files.contains("at most 16 files") && files.contains("ulimit -n"));
    // If no file can be opened, the type information cannot be read either.
    let both = missing_after(|f| (f.open_files, f.btf) = (Some(16), Err("x".to_owned())));
    assert!(both.contains("at most 16 files"), "{both}");
    let bare = missing_after(|f| (f.tracepoints, f.btf) = (None, Err("x".to_owned())));
    assert!(bare.contains("CONFIG_DEBUG_INFO_BTF"));
    let both = missing_after(|f| {
        (f.tracepoints, f.btf) = (None, Err("x".to_owned()));
        f.release = "4.19.0".to_owned();
    });
    assert!(
        both.contains("4.19.0"),
        "a newer kernel comes first: {both}"
    );
    let denied = missing_after(|f| f.seccomp = Seccomp::Denies);
    assert!(denied.contains("denies the system call bpf") && denied.contains("SystemCallFilter="));
    assert!(missing_after(|f| f.seccomp = Seccomp::Kills).contains("kills programs"));
    assert!(missing_after(|f| f.initial_user_namespace = false).contains("user namespace"));
    assert!(missing_after(|f| f.initial_pid_namespace = false).contains("pid namespace"));
}

#[test]
fn a_failed_trial_has_a_cause_and_a_remedy() {
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
        assert_eq!(missing_after(change).lines().count(), 2);
    }
}

#[test]
fn an_older_release_with_the_tracepoints_is_accepted() {
    let mut facts = able();
    facts.release = "5.14.0-503.el9".to_owned();
    assert_eq!(missing(&facts), None);
}

#[test]
fn classic_tracepoints_are_used_if_typed_ones_miss_events_and_tracefs_is_available() {
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
    let met = || Ok("/sys/kernel/tracing");
    let hidden = || Err("Permission denied".to_owned());
    assert_eq!(on("6.19.14-amd64", met()), (TracepointKind::Typed, false));
    assert_eq!(
        on("6.19.14-amd64", hidden()),
        (TracepointKind::Typed, false)
    );
    assert_eq!(on("7.0.0-rc1", met()), (TracepointKind::Classic, false));
    assert_eq!(
        on("7.3.4+deb13-amd64", hidden()),
        (TracepointKind::Typed, true)
    );
    assert_eq!(on("10.1", met()), (TracepointKind::Classic, false));
    assert_eq!(on("noise", met()), (TracepointKind::Typed, false));
}

#[test]
fn only_a_missing_requirement_has_a_remedy() {
    let mut bare = able();
    (bare.cap_bpf, bare.tracepoints) = (false, None);
    bare.proc = Err("/proc is not mounted".to_owned());
    (bare.tracefs, bare.release) = (Err("x".to_owned()), "7.3.4".to_owned());
    for facts in [able(), bare] {
        for finding in findings(&facts) {
            let met = finding.status == Status::Ok;
            assert_eq!(finding.remedy.is_none(), met, "{finding:?}");
        }
    }
}
