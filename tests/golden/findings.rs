//! The output of `netatop check` for invented hosts.

use netatop::check::{Atop, CheckFormat, Facts, can_record, write};
use netatop::kernel::{HostFacts, Seccomp, SocketWalk, UdpEnds};

use super::assert_golden;

/// A host that meets all requirements.
fn able() -> Facts {
    Facts {
        host: HostFacts {
            cap_bpf: true,
            cap_perfmon: true,
            cap_net_admin: true,
            group: None,
            initial_user_namespace: true,
            initial_pid_namespace: true,
            btf: Ok(()),
            tracepoints: Some(true),
            tracefs: Ok("/sys/kernel/tracing"),
            release: "6.12.1".to_owned(),
            open_files: Some(1024),
            lockdown: Some("integrity".to_owned()),
            seccomp: Seccomp::Absent,
            proc: Ok(()),
        },
        cgroup2: Some("/sys/fs/cgroup".into()),
        cgroup1: true,
        initial_cgroup_namespace: true,
        host_name: Some("host".to_owned()),
        tried: Some(Ok(())),
        udp_ends: UdpEnds::Functions,
        tried_tcp: Some(Ok(SocketWalk::Accounts)),
        atop: Atop::Version(2, 11),
    }
}

/// A host that meets no requirement.
fn bare() -> Facts {
    Facts {
        host: HostFacts {
            cap_bpf: false,
            cap_perfmon: false,
            cap_net_admin: false,
            group: None,
            initial_user_namespace: false,
            initial_pid_namespace: false,
            btf: Err("/sys/kernel/btf/vmlinux: No such file or directory (os error 2)".to_owned()),
            tracepoints: None,
            tracefs: Err("/sys/kernel/tracing/events: Permission denied".to_owned()),
            release: "5.10.0-30-amd64".to_owned(),
            open_files: Some(16),
            lockdown: None,
            seccomp: Seccomp::Kills,
            proc: Err("/proc is not mounted".to_owned()),
        },
        cgroup2: None,
        cgroup1: false,
        initial_cgroup_namespace: true,
        host_name: None,
        tried: None,
        udp_ends: UdpEnds::NotNeeded,
        tried_tcp: None,
        atop: Atop::Version(2, 8),
    }
}

#[test]
fn findings_are_a_table_and_json_lines() {
    let [able, bare] = [able().findings(), bare().findings()];
    assert!(can_record(&able) && !can_record(&bare));
    let text = |findings, format| write(findings, format).into_bytes();
    assert_golden("check_able.table", &text(&able, CheckFormat::Table));
    assert_golden("check_able.jsonl", &text(&able, CheckFormat::Json));
    assert_golden("check_bare.table", &text(&bare, CheckFormat::Table));
    assert_golden("check_bare.jsonl", &text(&bare, CheckFormat::Json));
}

#[test]
fn sockets_that_cannot_be_visited_are_named() {
    let facts = Facts {
        tried_tcp: Some(Ok(SocketWalk::OpenFiles)),
        ..able()
    };
    assert!(can_record(&facts.findings()));
    let text = write(&facts.findings(), CheckFormat::Table);
    assert!(text.contains("sockets of other network namespaces that no process has open"));
}

#[test]
fn what_is_optional_is_no_obstacle() {
    let mut facts = able();
    (facts.cgroup2, facts.atop) = (None, Atop::Absent);
    assert!(can_record(&facts.findings()));
}
