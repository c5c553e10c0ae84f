//! Sample reports with all kinds of rows.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use netatop::model::{Comm, Counters, Health, Process, Report, Row, State, Who};
use proptest::prelude::*;

/// 2026-03-01T12:00:00Z plus `milliseconds`.
pub fn noon(milliseconds: i64) -> DateTime<Utc> {
    let noon = DateTime::from_timestamp(1_772_366_400, 0).expect("in range");
    noon + TimeDelta::milliseconds(milliseconds)
}

pub fn report(rows: Vec<Row>) -> Report {
    Report {
        time: noon(5),
        interval: Duration::from_micros(10_000_250),
        rows,
    }
}

pub fn counters(numbers: [u64; 8]) -> Counters {
    let [a, b, c, d, e, f, g, h] = numbers;
    Counters {
        tcp_send_msgs: a,
        tcp_send_bytes: b,
        tcp_recv_msgs: c,
        tcp_recv_bytes: d,
        udp_send_msgs: e,
        udp_send_bytes: f,
        udp_recv_msgs: g,
        udp_recv_bytes: h,
    }
}

/// A running process in a cgroup, with a little traffic.
pub fn process(pid: u32, comm: &[u8]) -> Process {
    Process {
        pid,
        tid: None,
        comm: Comm::new(comm),
        uid: 1000,
        cgroup: Some("/user.slice".into()),
        unit: None,
        container: None,
        cmdline: None,
        start: noon(-3_600_000),
        start_ns: 81_000_000_123,
        state: State::Running,
    }
}

pub fn row(process: Process, numbers: [u64; 8]) -> Row {
    Row {
        who: Who::Process(process),
        counters: counters(numbers),
        tcp: Health::default(),
        remote: None,
        remote_name: None,
    }
}

pub fn group(key: &str, processes: u64, numbers: [u64; 8]) -> Row {
    let key = key.to_owned();
    Row {
        who: Who::Group { key, processes },
        counters: counters(numbers),
        tcp: Health::default(),
        remote: None,
        remote_name: None,
    }
}

pub fn other(processes: u64, numbers: [u64; 8]) -> Row {
    Row {
        who: Who::Other { processes },
        counters: counters(numbers),
        tcp: Health::default(),
        remote: None,
        remote_name: None,
    }
}

pub fn unattributed(numbers: [u64; 8]) -> Row {
    Row {
        who: Who::Unattributed,
        counters: counters(numbers),
        tcp: Health::default(),
        remote: None,
        remote_name: None,
    }
}

const ID: &str = "9687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869";

/// One row of each kind: of a service, exited in a container, with a removed cgroup, left out by
/// --top, unattributed.
pub fn ordinary() -> Report {
    let service = Process {
        cgroup: Some("/system.slice/nginx.service".into()),
        unit: Some("nginx.service".into()),
        ..process(1234, b"nginx: worker")
    };
    let exited = Process {
        state: State::Exited,
        cgroup: Some(format!("/system.slice/docker-{ID}.scope").into()),
        unit: Some(format!("docker-{ID}.scope").into()),
        container: Some(ID[..12].into()),
        ..process(4_194_303, b"curl")
    };
    let gone = Process {
        cgroup: None,
        uid: 4_294_967_294,
        ..process(77, b"named")
    };
    report(vec![
        row(service, [2_000, 123_456_789, 1_000, 65_536, 0, 0, 0, 0]),
        row(exited, [1, 80, 3, 40_000, 0, 0, 0, 0]),
        row(gone, [0, 0, 0, 0, 99_999, 6_399_936, 100_000, 51_200_000]),
        other(12, [12, 144, 0, 0, 1, 0, 2, 0]),
        unattributed([1, 1, 2, 3, 5, 8, 13, 21]),
    ])
}

pub fn empty() -> Report {
    report(Vec::new())
}

/// Names that could break a table, a row, a field, or a terminal.
pub fn hostile() -> Report {
    let names: [&[u8]; 14] = [
        b"a,b",
        b"say \"hi\"",
        b"two\nlines",
        b"\r",
        b"tab\there",
        b"red\x1b[31m",
        b"\x07\x08\x7f",
        b"bad\xff\xfeutf8",
        "日本語漢字".as_bytes(),
        "éèêëñöü".as_bytes(),
        b"",
        "\u{202e}gpj.exe".as_bytes(),
        "csi\u{9b}31m".as_bytes(),
        b"total",
    ];
    let rows = (1..).zip(names);
    let rows =
        rows.map(|(pid, name)| row(process(pid, name), [1, u64::from(pid), 0, 0, 0, 0, 0, 0]));
    report(rows.collect())
}

/// Counters whose sum saturates, and an interval too short for averages or rates.
pub fn huge() -> Report {
    Report {
        interval: Duration::from_millis(10),
        ..report(vec![
            row(process(u32::MAX, b"everything"), [u64::MAX; 8]),
            row(process(2, b"nearly"), [u64::MAX - 1; 8]),
            row(process(3, b"bytes"), [1, u64::MAX, 1, u64::MAX, 0, 0, 0, 0]),
            row(process(4, b"messages"), [0, 0, 0, 0, u64::MAX, 1, 0, 0]),
            unattributed([1; 8]),
        ])
    }
}

/// A recording of length zero.
pub fn instant() -> Report {
    Report {
        interval: Duration::ZERO,
        ..ordinary()
    }
}

pub fn threads() -> Report {
    let thread = |tid, name: &[u8], state| Process {
        tid: Some(tid),
        state,
        ..process(1234, name)
    };
    report(vec![
        row(
            thread(1234, b"postgres", State::Running),
            [10, 10_000, 20, 1_000, 0, 0, 0, 0],
        ),
        row(
            thread(1240, b"wal, \"writer\"", State::Exited),
            [0, 0, 0, 0, 7, 70, 0, 0],
        ),
        other(2, [3, 30, 0, 0, 0, 0, 0, 0]),
        unattributed([0, 0, 0, 0, 0, 0, 1, 512]),
    ])
}

pub fn by_comm() -> Report {
    report(vec![
        group("nginx", 16, [2_000, 123_456_789, 1_000, 65_536, 0, 0, 0, 0]),
        group("a\nb,\"c\"", 1, [1, 2, 0, 0, 0, 0, 0, 0]),
        group("", 2, [0, 0, 1, 1, 0, 0, 0, 0]),
        other(120, [12, 144, 0, 0, 1, 0, 2, 0]),
        unattributed([0, 0, 0, 0, 0, 0, 1, 512]),
    ])
}

/// Groups by cgroup. The last group is for cgroups removed before they could be looked up.
pub fn by_cgroup() -> Report {
    let pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0c1d.slice/\
               cri-containerd-5f2d7a0e9b.scope";
    report(vec![
        group(pod, 3, [5, 500, 5, 500, 0, 0, 0, 0]),
        group(
            "/システム.slice/日本語のとても長い名前のサービス.service",
            1,
            [1, 9, 1, 9, 0, 0, 0, 0],
        ),
        group("/", 1, [0, 0, 1, 1, 0, 0, 0, 0]),
        group("", 4, [0, 0, 0, 0, 0, 0, 2, 128]),
    ])
}

/// Groups by unit, and those without one.
pub fn by_unit() -> Report {
    report(vec![
        group("nginx.service", 3, [5, 500, 5, 500, 0, 0, 0, 0]),
        group(
            "user@1000.service/pipewire.service",
            1,
            [1, 9, 1, 9, 0, 0, 0, 0],
        ),
        group("", 4, [0, 0, 0, 0, 0, 0, 2, 128]),
    ])
}

/// Groups by program, and processes whose program is not known.
pub fn by_command() -> Report {
    report(vec![
        group("python3 worker.py", 3, [5, 500, 5, 500, 0, 0, 0, 0]),
        group("[nfsd]", 1, [1, 9, 1, 9, 0, 0, 0, 0]),
        group("", 4, [0, 0, 0, 0, 0, 0, 2, 128]),
    ])
}

/// Processes with command lines, and one without.
pub fn with_command_lines() -> Report {
    let mut report = ordinary();
    let lines = [
        Some("nginx -g 'daemon off;' -c /etc/nginx/a,b.conf"),
        None,
        Some("sh -c 'echo \"it'\\''s\u{1b}[31m\n\"'"),
    ];
    for (row, line) in report.rows.iter_mut().zip(lines) {
        if let Who::Process(process) = &mut row.who {
            process.cmdline = line.map(Into::into);
        }
    }
    report
}

/// Groups by container, and processes in none.
pub fn by_container() -> Report {
    let pod = "pod0b7632a2-a56e-4278-987a-22de18008dbe/0bc5eac79e3a";
    report(vec![
        group(pod, 3, [5, 500, 5, 500, 0, 0, 0, 0]),
        group("123456789012", 1, [1, 9, 1, 9, 0, 0, 0, 0]),
        group("", 4, [0, 0, 0, 0, 0, 0, 2, 128]),
    ])
}

pub fn by_user() -> Report {
    report(vec![
        group("root", 31, [5, 500, 5, 500, 1, 64, 1, 64]),
        group("4294967294", 1, [0, 0, 1, 1, 0, 0, 0, 0]),
        unattributed([0, 0, 1, 1, 0, 0, 0, 0]),
    ])
}

/// Numbers, with edge cases that random numbers would rarely include.
pub fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        0u64..100_000,
        any::<u64>(),
        (0u64..10).prop_map(|below| u64::MAX - below),
    ]
}
