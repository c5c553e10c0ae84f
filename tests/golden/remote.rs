//! Rows that are split by remote end.

use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use netatop::model::{
    End, GroupBy, Layout, Protocol, Remote, RemoteMode, Report, Role, Row, State,
};
use netatop::output::TableStyle;
use serde_json::Value;

use super::reports::{group, other, process, report, row, unattributed};
use super::{PLAIN, assert_golden, columns, csv, json, table};

const fn split(group_by: GroupBy, mode: RemoteMode) -> Layout {
    Layout {
        group_by,
        threads: false,
        remote: Some(mode),
        names: false,
        tcp: false,
        cmdline: false,
        depth: None,
    }
}

const SERVICE: Layout = split(GroupBy::Process, RemoteMode::Service);
const ADDRESS: Layout = split(GroupBy::Process, RemoteMode::Address);
const SOCKET: Layout = split(GroupBy::Process, RemoteMode::Socket);
const GROUPED: Layout = split(GroupBy::Cgroup, RemoteMode::Service);

pub const WEB: &str = "198.51.100.7";
const LONG: &str = "2001:db8:85a3:8d3:1319:8a2e:370:7348";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The remote end of a TCP client.
pub fn client(address: &str, port: u16) -> Remote {
    Remote {
        protocol: Protocol::Tcp,
        role: Some(Role::Client),
        local_address: None,
        local_port: None,
        remote: End {
            address: ip(address),
            scope: 0,
            port: Some(port),
        },
        netns: None,
    }
}

/// The remote end of a TCP server at `port`.
pub fn server(address: &str, port: u16) -> Remote {
    let plain = client(address, 0);
    Remote {
        role: Some(Role::Server),
        local_port: Some(port),
        remote: End {
            port: None,
            ..plain.remote
        },
        ..plain
    }
}

fn udp(remote: Remote) -> Remote {
    Remote {
        protocol: Protocol::Udp,
        ..remote
    }
}

pub fn with(row: Row, remote: Remote) -> Row {
    Row {
        remote: Some(Rc::new(remote)),
        ..row
    }
}

/// A row of each kind: clients and servers, IPv4 and IPv6, an address of one interface, a network
/// namespace, and a remote end that is not known.
fn by_service() -> Report {
    let nginx = |numbers| row(process(1234, b"nginx: worker"), numbers);
    let mut curl = process(4_194_303, b"curl");
    curl.state = State::Exited;
    let mut link_local = server("fe80::1", 5353);
    link_local.remote.scope = 3;
    let container = Remote {
        netns: Some(4_026_532_741),
        ..client("10.0.3.9", 5432)
    };
    report(vec![
        with(
            nginx([2_000, 123_456_789, 1_000, 65_536, 0, 0, 0, 0]),
            server("203.0.113.200", 443),
        ),
        with(
            nginx([10, 2_000_000, 5, 700, 0, 0, 0, 0]),
            server(LONG, 443),
        ),
        with(nginx([20, 30_000, 20, 500_000, 0, 0, 0, 0]), container),
        with(row(curl, [1, 80, 3, 40_000, 0, 0, 0, 0]), client(LONG, 443)),
        with(
            row(process(77, b"named"), [0, 0, 0, 0, 9, 360, 9, 1_200]),
            udp(client("2001:db8::53", 53)),
        ),
        with(
            row(process(78, b"avahi-daemon"), [0, 0, 0, 0, 1, 90, 0, 0]),
            udp(link_local),
        ),
        row(process(79, b"statsd"), [0, 0, 0, 0, 4, 40, 0, 0]),
        other(12, [12, 144, 0, 0, 1, 0, 2, 0]),
        unattributed([1, 1, 2, 3, 5, 8, 13, 21]),
    ])
}

fn short(mode: RemoteMode) -> Report {
    let nginx = |numbers| row(process(1234, b"nginx: worker"), numbers);
    let mut first = server(WEB, 443);
    let mut second = client("::1", 5432);
    match mode {
        RemoteMode::Address => {
            (first.role, first.local_port) = (None, None);
            (second.role, second.remote.port) = (None, None);
        }
        RemoteMode::Socket => {
            (first.local_address, first.remote.port) = (Some(ip("192.0.2.10")), Some(60_123));
            second.local_address = Some(Ipv6Addr::LOCALHOST.into());
            second.local_port = Some(41_000);
        }
        RemoteMode::Service => {}
    }
    report(vec![
        with(nginx([9, 90_000, 9, 900, 0, 0, 0, 0]), first),
        with(nginx([8, 800, 8, 8_000, 0, 0, 0, 0]), second),
        nginx([0, 0, 1, 5, 0, 0, 0, 0]),
    ])
}

fn grouped() -> Report {
    let key = "/system.slice/system-postgresql.slice/postgresql@16-main.service";
    report(vec![
        with(
            group(
                "/system.slice/nginx.service",
                3,
                [5, 500, 5, 500, 0, 0, 0, 0],
            ),
            server(WEB, 443),
        ),
        with(
            group(key, 17, [4, 400, 4, 400, 0, 0, 0, 0]),
            server("10.0.3.200", 5432),
        ),
        group("", 1, [0, 0, 0, 0, 1, 1, 0, 0]),
        other(2, [1, 2, 0, 0, 0, 0, 0, 0]),
    ])
}

#[test]
fn remote_ends_are_columns_in_csv_and_json() {
    let reports = [by_service()];
    assert_golden("remote_service.csv", &csv(SERVICE, &reports));
    assert_golden("remote_service.jsonl", &json(SERVICE, &reports));
    let reports = [short(RemoteMode::Address)];
    assert_golden("remote_address.csv", &csv(ADDRESS, &reports));
    let reports = [short(RemoteMode::Socket)];
    assert_golden("remote_socket.csv", &csv(SOCKET, &reports));
    assert_golden("remote_socket.jsonl", &json(SOCKET, &reports));
    let reports = [grouped()];
    assert_golden("remote_grouped.csv", &csv(GROUPED, &reports));
    assert_golden("remote_grouped.jsonl", &json(GROUPED, &reports));
}

#[test]
fn a_table_of_remote_ends_is_fitted_to_the_terminal() {
    let service = |style| table(SERVICE, style, by_service());
    assert_golden("remote_service.table", &service(PLAIN));
    assert_golden("remote_service_60.table", &service(columns(60)));
    assert_golden("remote_service_80.table", &service(columns(80)));
    assert_golden("remote_service_120.table", &service(columns(120)));
    assert_golden("remote_service_200.table", &service(columns(200)));
    let usual = |width| table(SERVICE, columns(width), short(RemoteMode::Service));
    assert_golden("remote_short_60.table", &usual(60));
    assert_golden("remote_short_80.table", &usual(80));
    assert_golden("remote_short_120.table", &usual(120));
    let address = |width| table(ADDRESS, columns(width), short(RemoteMode::Address));
    assert_golden("remote_address_80.table", &address(80));
    let socket = |width| table(SOCKET, columns(width), short(RemoteMode::Socket));
    assert_golden("remote_socket_60.table", &socket(60));
    assert_golden("remote_socket_80.table", &socket(80));
    assert_golden("remote_socket_120.table", &socket(120));
    let grouped = |width| table(GROUPED, columns(width), grouped());
    assert_golden("remote_grouped_60.table", &grouped(60));
    assert_golden("remote_grouped_80.table", &grouped(80));
    assert_golden("remote_grouped_120.table", &grouped(120));
}

const NAMED: Layout = Layout {
    names: true,
    ..SERVICE
};

fn named(row: Row, name: &str) -> Row {
    Row {
        remote_name: Some(name.into()),
        ..row
    }
}

/// Names of all kinds: usual ones, none, a very long one, and one that a stranger chose.
fn by_name() -> Report {
    let nginx = |numbers| row(process(1234, b"nginx: worker"), numbers);
    let curl = |numbers| row(process(99, b"curl"), numbers);
    report(vec![
        named(
            with(
                nginx([9, 90_000, 9, 900, 0, 0, 0, 0]),
                server("203.0.113.200", 443),
            ),
            "client.example.org",
        ),
        named(
            with(nginx([8, 800, 8, 8_000, 0, 0, 0, 0]), client(LONG, 5432)),
            "db.example.org",
        ),
        with(nginx([7, 700, 7, 700, 0, 0, 0, 0]), client(WEB, 443)),
        named(
            with(curl([6, 60, 6, 60, 0, 0, 0, 0]), client("192.0.2.6", 443)),
            "ec2-198-51-100-77.eu-central-1.compute.a-very-long-name-of-a-cloud.example.com",
        ),
        named(
            with(curl([5, 50, 5, 50, 0, 0, 0, 0]), client("192.0.2.5", 443)),
            "\u{1b}]0;x\u{7}\n\u{202e},\"ü.example",
        ),
        row(process(79, b"statsd"), [0, 0, 0, 0, 4, 40, 0, 0]),
        other(12, [12, 144, 0, 0, 1, 0, 2, 0]),
    ])
}

#[test]
fn names_are_in_the_place_of_addresses_in_a_table_and_in_a_column_elsewhere() {
    let reports = [by_name()];
    assert_golden("remote_names.csv", &csv(NAMED, &reports));
    assert_golden("remote_names.jsonl", &json(NAMED, &reports));
    let named = |style| table(NAMED, style, by_name());
    assert_golden("remote_names.table", &named(PLAIN));
    assert_golden("remote_names_60.table", &named(columns(60)));
    assert_golden("remote_names_80.table", &named(columns(80)));
    assert_golden("remote_names_120.table", &named(columns(120)));
}

/// People copy addresses. A terminal of 80 columns shows all IPv4 addresses and ports in full.
#[test]
fn the_longest_ipv4_address_is_whole_in_80_columns() {
    let row = |name: &[u8], remote| with(row(process(4_194_303, name), [u64::MAX; 8]), remote);
    let rows = vec![
        row(b"nginx: worker", server("255.255.255.255", 65_535)),
        row(b"kube-controller", client("255.255.255.255", 65_535)),
    ];
    let style = TableStyle {
        repeated: true,
        ..columns(80)
    };
    let text = String::from_utf8(table(SERVICE, style, report(rows))).expect("UTF-8");
    assert!(text.contains(" client - "), "{text}");
    assert!(text.contains(" 255.255.255.255:65535 "), "{text}");
    assert!(text.contains(" server :65535 255.255.255.255 "), "{text}");
}

#[test]
fn rows_of_many_remote_ends_have_none() {
    let text = String::from_utf8(table(SERVICE, columns(120), by_service())).expect("UTF-8");
    for name in ["(other)", "(unattributed)", "total"] {
        let line = text.lines().find(|line| line.contains(name));
        let line = line.expect("a line");
        assert!(!line.contains(" - "), "{line}");
    }
}

/// The expected values of a row's remote end by column; null for absent values.
pub fn remote_values(remote: Option<&Remote>) -> [(&'static str, Value); 7] {
    let of = |value: fn(&Remote) -> Value| remote.map_or(Value::Null, value);
    [
        (
            "protocol",
            of(|r| match r.protocol {
                Protocol::Tcp => "tcp".into(),
                Protocol::Udp => "udp".into(),
            }),
        ),
        (
            "role",
            of(|r| match r.role {
                None => Value::Null,
                Some(Role::Client) => "client".into(),
                Some(Role::Server) => "server".into(),
            }),
        ),
        (
            "local_addr",
            of(|r| r.local_address.map(|a| a.to_string()).into()),
        ),
        ("local_port", of(|r| r.local_port.into())),
        (
            "remote_addr",
            of(|r| match r.remote.scope {
                0 => r.remote.address.to_string().into(),
                scope => format!("{}%{scope}", r.remote.address).into(),
            }),
        ),
        ("remote_port", of(|r| r.remote.port.into())),
        ("netns", of(|r| r.netns.into())),
    ]
}
