//! Properties that hold for all reports.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use netatop::model::{
    Comm, Counters, End, GroupBy, Layout, Process, Protocol, Remote, RemoteMode, Report, Role, Row,
    State, Who,
};
use netatop::output::{Table, TableStyle};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::remote::remote_values;
use super::reports::{counters, number};
use super::tcp::{tcp, tcp_values};
use super::{csv, json, written};

type Counter = (&'static str, fn(&Counters) -> u64);

const COUNTERS: [Counter; 8] = [
    ("tcp_send_msgs", |c| c.tcp_send_msgs),
    ("tcp_send_bytes", |c| c.tcp_send_bytes),
    ("tcp_recv_msgs", |c| c.tcp_recv_msgs),
    ("tcp_recv_bytes", |c| c.tcp_recv_bytes),
    ("udp_send_msgs", |c| c.udp_send_msgs),
    ("udp_send_bytes", |c| c.udp_send_bytes),
    ("udp_recv_msgs", |c| c.udp_recv_msgs),
    ("udp_recv_bytes", |c| c.udp_recv_bytes),
];

/// Text with all kinds of special characters.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        any::<char>(),
        prop::char::range('!', 'z'),
        prop::sample::select(vec![
            '\n', '\r', '\t', '\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2067}', '\u{61c}',
            '\u{2028}', '\u{301}', '\u{200d}', '\u{fe0f}', '☎', '語', '👩',
        ]),
    ];
    vec(character, 0..60).prop_map(String::from_iter)
}

/// All names that the kernel allows, and text truncated anywhere, even within a character.
fn comm() -> impl Strategy<Value = Comm> {
    prop_oneof![
        vec(any::<u8>(), 0..=15).prop_map(|bytes| Comm::new(&bytes)),
        text().prop_map(|text| Comm::new(&text.as_bytes()[..text.len().min(15)])),
    ]
}

/// Times whose year has four digits, as RFC 3339 requires.
fn time() -> impl Strategy<Value = DateTime<Utc>> {
    (0i64..253_402_300_800_000).prop_map(|ms| DateTime::from_timestamp_millis(ms).expect("range"))
}

fn layout() -> impl Strategy<Value = Layout> {
    let kinds = prop::sample::select(vec![
        (GroupBy::Process, false),
        (GroupBy::Process, true),
        (GroupBy::Comm, false),
        (GroupBy::Command, false),
        (GroupBy::Cgroup, false),
        (GroupBy::Unit, false),
        (GroupBy::Container, false),
        (GroupBy::User, false),
    ]);
    let modes = prop::sample::select(vec![
        None,
        Some(RemoteMode::Service),
        Some(RemoteMode::Address),
        Some(RemoteMode::Socket),
    ]);
    let all = (kinds, modes, any::<(bool, bool, bool)>());
    all.prop_map(
        |((group_by, threads), remote, (names, tcp, cmdline))| Layout {
            group_by,
            threads,
            remote,
            names: names && remote.is_some(),
            tcp,
            cmdline: cmdline && group_by == GroupBy::Process,
            depth: None,
        },
    )
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u16; 8]>().prop_map(IpAddr::from),
        Just(IpAddr::from([0u16, 0, 0, 0, 0, 0, 0, 1])),
    ]
}

/// A remote end as rows of `mode` have it.
fn remote(mode: Option<RemoteMode>) -> BoxedStrategy<Option<Rc<Remote>>> {
    let Some(mode) = mode else {
        return Just(None).boxed();
    };
    let flags = any::<(bool, bool, u16, u16, Option<u32>, bool)>();
    let scope = prop_oneof![Just(0), any::<u32>()];
    let remote = (flags, scope, address(), address()).prop_map(
        move |((udp, client, here, there, netns, known), scope, local, address)| {
            let is_socket = mode == RemoteMode::Socket;
            let is_split = mode != RemoteMode::Address;
            known.then(|| {
                Rc::new(Remote {
                    protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
                    role: is_split.then_some(if client { Role::Client } else { Role::Server }),
                    local_address: is_socket.then_some(local),
                    local_port: (is_socket || is_split && !client).then_some(here),
                    remote: End {
                        address,
                        scope: if address.is_ipv6() { scope } else { 0 },
                        port: (is_socket || is_split && client).then_some(there),
                    },
                    netns,
                })
            })
        },
    );
    remote.boxed()
}

fn process(layout: Layout) -> impl Strategy<Value = Who> {
    (
        any::<(u32, u32, u32, u64, bool)>(),
        comm(),
        prop::array::uniform4(prop::option::of(text())),
        time(),
    )
        .prop_map(
            move |((pid, tid, uid, start_ns, exited), comm, places, start)| {
                let [cgroup, unit, container, cmdline] = places.map(|text| text.map(Into::into));
                Who::Process(Process {
                    pid,
                    tid: layout.threads.then_some(tid),
                    comm,
                    uid,
                    cgroup,
                    unit,
                    container,
                    cmdline: cmdline.filter(|_| layout.cmdline),
                    start,
                    start_ns,
                    state: if exited {
                        State::Exited
                    } else {
                        State::Running
                    },
                })
            },
        )
}

fn who(layout: Layout) -> BoxedStrategy<Who> {
    let processes = any::<u32>().prop_map(u64::from);
    let rest = prop_oneof![
        processes
            .clone()
            .prop_map(|processes| Who::Other { processes }),
        Just(Who::Unattributed),
    ];
    match layout.group_by {
        GroupBy::Process => prop_oneof![4 => process(layout), 1 => rest].boxed(),
        _ => {
            let group =
                (text(), processes).prop_map(|(key, processes)| Who::Group { key, processes });
            prop_oneof![4 => group, 1 => rest].boxed()
        }
    }
}

fn report() -> impl Strategy<Value = (Layout, Report)> {
    layout().prop_flat_map(|layout| {
        let numbers = prop::array::uniform8(number());
        let row = (
            who(layout),
            numbers,
            remote(layout.remote),
            prop::option::of(text()),
            tcp(layout.tcp),
        );
        let row = row.prop_map(move |(who, numbers, remote, name, tcp)| {
            let is_split = !matches!(who, Who::Other { .. } | Who::Unattributed);
            let remote = remote.filter(|_| is_split);
            let name = name.filter(|_| layout.names && remote.is_some());
            Row {
                remote,
                remote_name: name.map(Into::into),
                who,
                counters: counters(numbers),
                tcp: tcp.into(),
            }
        });
        let interval = prop_oneof![0u64..10_000, any::<u32>().prop_map(u64::from)];
        (Just(layout), time(), interval, vec(row, 0..6)).prop_map(|(layout, time, us, rows)| {
            let interval = Duration::from_micros(us);
            let report = Report {
                time,
                interval,
                rows,
            };
            (layout, report)
        })
    })
}

fn timestamp(time: DateTime<Utc>) -> Value {
    time.to_rfc3339_opts(SecondsFormat::Millis, true).into()
}

/// The expected values of a row by column; null for absent values.
fn values(report: &Report, row: &Row, layout: Layout) -> Vec<(&'static str, Value)> {
    let mut values = vec![
        ("time", timestamp(report.time)),
        (
            "interval",
            (report.interval.as_micros() as f64 / 1e6).into(),
        ),
        ("host", "host".into()),
    ];
    let name: Value = match &row.who {
        Who::Process(process) => process.comm.to_str_lossy().into(),
        // An empty path means an unknown cgroup; a name or user can be empty.
        Who::Group { key, .. } if key.is_empty() && is_place(layout.group_by) => Value::Null,
        Who::Group { key, .. } => key.as_str().into(),
        Who::Other { .. } => "(other)".into(),
        Who::Unattributed => "(unattributed)".into(),
    };
    let process = match &row.who {
        Who::Process(process) => Some(process),
        _ => None,
    };
    let of = |value: fn(&Process) -> Value| process.map_or(Value::Null, value);
    if layout.group_by == GroupBy::Process {
        values.push(("pid", of(|p| p.pid.into())));
        if layout.threads {
            values.push(("tid", of(|p| p.tid.into())));
        }
        values.extend([
            ("comm", name),
            ("uid", of(|p| p.uid.into())),
            ("cgroup", of(|p| p.cgroup.as_deref().into())),
            ("start", of(|p| timestamp(p.start))),
            ("start_ns", of(|p| p.start_ns.into())),
            (
                "state",
                of(|p| match p.state {
                    State::Running => "running".into(),
                    State::Exited => "exited".into(),
                }),
            ),
        ]);
    } else {
        let key = match layout.group_by {
            GroupBy::Command => "command",
            GroupBy::Cgroup => "cgroup",
            GroupBy::Unit => "unit",
            GroupBy::Container => "container",
            GroupBy::User => "user_name",
            _ => "comm",
        };
        let processes = match row.who {
            Who::Group { processes, .. } | Who::Other { processes } => processes.into(),
            _ => Value::Null,
        };
        values.extend([(key, name), ("processes", processes)]);
    }
    values.extend(COUNTERS.map(|(id, get)| (id, get(&row.counters).into())));
    if layout.remote.is_some() {
        values.extend(remote_values(row.remote.as_deref()));
    }
    if layout.names {
        values.push(("remote_name", row.remote_name.as_deref().into()));
    }
    if layout.tcp {
        values.extend(tcp_values(&row.tcp.get().copied().unwrap_or_default()));
    }
    if layout.group_by == GroupBy::Process {
        values.push(("unit", of(|p| p.unit.as_deref().into())));
        values.push(("container", of(|p| p.container.as_deref().into())));
    }
    if layout.cmdline {
        values.push(("cmdline", of(|p| p.cmdline.as_deref().into())));
    }
    values
}

fn is_place(group_by: GroupBy) -> bool {
    !matches!(group_by, GroupBy::Comm | GroupBy::User)
}

/// A value in csv: numbers and text look the same, and an absent value is empty.
fn field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The width of the widest line on a terminal, and that line.
fn widest(text: &str) -> (usize, &str) {
    let lines = text.lines().map(|line| (line.width(), line));
    lines.max().unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn csv_reads_back_as_what_was_written((layout, report) in report()) {
        let text = csv(layout, std::slice::from_ref(&report));
        let mut reader = csv::Reader::from_reader(text.as_slice());
        let header: Vec<String> = reader.headers().expect("a header").iter().map(Into::into).collect();
        let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("rows");
        prop_assert_eq!(records.len(), report.rows.len());
        for (record, row) in records.iter().zip(&report.rows) {
            let wanted = values(&report, row, layout);
            prop_assert_eq!(&header, &wanted.iter().map(|(id, _)| *id).collect::<Vec<_>>());
            for ((id, wanted), found) in wanted.iter().zip(record) {
                if *id == "interval" {
                    prop_assert_eq!(found.parse::<f64>().ok(), wanted.as_f64());
                } else {
                    prop_assert_eq!(found, field(wanted), "{}", id);
                }
            }
        }
    }

    #[test]
    fn json_reads_back_as_what_was_written((layout, report) in report()) {
        let text = String::from_utf8(json(layout, std::slice::from_ref(&report))).expect("UTF-8");
        prop_assert!(text.is_empty() || text.ends_with('\n'));
        let lines: Vec<&str> = text.split_terminator('\n').collect();
        prop_assert_eq!(lines.len(), report.rows.len());
        for (line, row) in lines.iter().zip(&report.rows) {
            let found: serde_json::Map<String, Value> = serde_json::from_str(line).expect("an object");
            for (id, _) in COUNTERS {
                prop_assert!(found[id].is_u64(), "{} is {}", id, found[id]);
            }
            let found: Vec<(&str, Value)> =
                found.iter().map(|(id, value)| (id.as_str(), value.clone())).collect();
            prop_assert_eq!(found, values(&report, row, layout));
        }
    }

    #[test]
    fn no_line_of_a_table_is_wider_than_the_terminal(
        (layout, mut report) in report(),
        width in 60usize..220,
        repeated: bool,
        ascii: bool,
    ) {
        // The kernel has no larger ids (PID_MAX_LIMIT in include/linux/threads.h).
        for row in &mut report.rows {
            if let Who::Process(process) = &mut row.who {
                process.pid %= 1 << 22;
                process.tid = process.tid.map(|tid| tid % (1 << 22));
            }
        }
        let look = TableStyle { width: Some(width), color: false, escape: true, repeated, ascii, zone: None };
        let text = String::from_utf8(written(Table::new(layout, look, |uid| uid.to_string()), &[report])).expect("UTF-8");
        let (widest, line) = widest(&text);
        prop_assert!(widest <= width, "{} > {}: {:?}\n{}", widest, width, line, text);
    }

    #[test]
    fn nothing_in_an_escaped_table_commands_the_terminal(
        (layout, report) in report(),
        width in prop::option::of(40usize..220),
    ) {
        let look = TableStyle { width, color: false, escape: true, repeated: false, ascii: false, zone: None };
        let text = String::from_utf8(written(Table::new(layout, look, |uid| uid.to_string()), &[report])).expect("UTF-8");
        let commands = |c: char| {
            (c.is_control() && c != '\n')
                || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        prop_assert!(!text.contains(commands), "{:?}", text);
    }

    #[test]
    fn each_row_is_one_line_in_every_table(
        (layout, report) in report(),
        escape: bool,
    ) {
        let look = TableStyle { width: None, color: false, escape, repeated: false, ascii: false, zone: None };
        let lines = if report.rows.is_empty() { 1 } else { report.rows.len() + 2 };
        let text = String::from_utf8(written(Table::new(layout, look, |uid| uid.to_string()), &[report])).expect("UTF-8");
        prop_assert_eq!(text.lines().count(), lines, "{}", text);
    }
}
