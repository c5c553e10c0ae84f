//! Recipes for recordings with remote ends. What they print is computed from the rows, with the
//! standard library's knowledge of addresses.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use netatop::model::{
    Comm, Counters, End, GroupBy, Layout, Process, Protocol, Remote, RemoteMode, Report, Role, Row,
    State, Who,
};
use netatop::output::{Csv, Format, Json};

use super::{at, has, run};

/// A row of a recording with remote ends.
struct Known {
    second: i64,
    pid: u32,
    comm: &'static str,
    cgroup: &'static str,
    protocol: Protocol,
    role: Role,
    /// Of the service.
    port: u16,
    remote: &'static str,
    name: Option<&'static str>,
    sent: u64,
    received: u64,
}

const fn known(second: i64, pid: u32, comm: &'static str, remote: &'static str) -> Known {
    Known {
        second,
        pid,
        comm,
        cgroup: "/system.slice/a.service",
        protocol: Protocol::Tcp,
        role: Role::Client,
        port: 443,
        remote,
        name: None,
        sent: 0,
        received: 0,
    }
}

const DOCKER: &str =
    "/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope";
const POD: &str = "/kubepods.slice/kubepods-pod7.slice/cri-containerd-fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210.scope";

/// Rows of a database, and of processes that send to all kinds of addresses.
fn rows() -> Vec<Known> {
    let database = |second, remote, name, sent, received| Known {
        role: Role::Server,
        port: 5432,
        name,
        sent,
        received,
        ..known(second, 1, "postgres", remote)
    };
    let mut rows = vec![
        database(4, "10.0.3.9", None, 1_000, 10),
        database(5, "10.0.3.9", Some("web.example.org"), 2_000, 20),
        database(5, "2001:db8::7", None, 5_000_000_000, 1),
        database(6, "127.0.0.1", Some("localhost"), 3, 4),
        // A client of another database, and another server.
        Known {
            port: 5432,
            sent: 77,
            ..known(6, 2, "psql", "10.0.3.1")
        },
        Known {
            port: 80,
            sent: 78,
            ..database(6, "10.0.3.9", Some("web.example.org"), 0, 5)
        },
    ];
    // The first and the last address of each range, and their neighbours.
    let addresses = [
        "9.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "11.0.0.0",
        "126.255.255.255",
        "127.0.0.0",
        "127.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.254.0.0",
        "169.254.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.16.0.0",
        "172.19.0.1",
        "172.20.0.1",
        "172.29.0.1",
        "172.31.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.168.0.0",
        "192.168.255.255",
        "192.169.0.0",
        "223.255.255.255",
        "224.0.0.0",
        "239.255.255.255",
        "255.255.255.255",
        "110.1.1.1",
        "1.10.0.1",
        "1.127.0.1",
        "::1",
        "::2",
        "fbff::1",
        "fc00::",
        "fdff::1",
        "fe00::1",
        "fe7f::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::fb",
        "2001:db8::7",
        "2a00::fe80",
        "f::1",
        "fc::1",
    ];
    for (number, remote) in (0u32..).zip(addresses) {
        let cgroup = [DOCKER, POD, "/system.slice/a.service"][number as usize % 3];
        for second in [4, 5] {
            rows.push(Known {
                cgroup,
                protocol: [Protocol::Tcp, Protocol::Udp][number as usize % 2],
                sent: 1_000 + 7 * u64::from(number),
                received: 13 * u64::from(number),
                ..known(second, 100 + number % 5, "client", remote)
            });
        }
    }
    rows
}

/// The container of a row, as netatop names it.
fn container(known: &Known) -> Option<String> {
    let id = known.cgroup.rsplit_once('-')?.1.strip_suffix(".scope")?;
    Some(id[..12].to_owned())
}

fn row(known: &Known, group_by: GroupBy) -> Row {
    let is_client = known.role == Role::Client;
    let address: IpAddr = known.remote.parse().expect("an address");
    let is_scoped = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let mut counters = Counters::default();
    match known.protocol {
        Protocol::Tcp => {
            (counters.tcp_send_bytes, counters.tcp_recv_bytes) = (known.sent, known.received);
        }
        Protocol::Udp => {
            (counters.udp_send_bytes, counters.udp_recv_bytes) = (known.sent, known.received);
        }
    }
    Row {
        tcp: netatop::model::Health::default(),
        who: match group_by {
            GroupBy::Container => Who::Group {
                key: container(known).unwrap_or_default(),
                processes: 1,
            },
            _ => Who::Process(Process {
                pid: known.pid,
                tid: None,
                comm: Comm::new(known.comm.as_bytes()),
                uid: 0,
                cgroup: Some(known.cgroup.into()),
                unit: None,
                container: container(known).map(Into::into),
                cmdline: None,
                start: at(0),
                start_ns: 1,
                state: State::Running,
            }),
        },
        counters,
        remote: Some(Rc::new(Remote {
            protocol: known.protocol,
            role: Some(known.role),
            local_address: None,
            local_port: (!is_client).then_some(known.port),
            remote: End {
                address,
                scope: if is_scoped { 3 } else { 0 },
                port: is_client.then_some(known.port),
            },
            netns: None,
        })),
        remote_name: known.name.map(Into::into),
    }
}

fn write(path: &Path, mut format: impl Format, group_by: GroupBy) {
    let mut text = Vec::new();
    format.begin(&mut text);
    for second in 4..=6 {
        let all = rows();
        let of_second = all.iter().filter(|known| known.second == second);
        let mut rows: Vec<Row> = of_second.map(|known| row(known, group_by)).collect();
        // A remote end that is not known, and traffic of nobody.
        rows.push(Row {
            remote: None,
            ..row(&all[0], group_by)
        });
        rows.push(Row {
            who: Who::Unattributed,
            remote: None,
            ..row(&all[0], group_by)
        });
        let report = Report {
            time: at(second),
            interval: Duration::from_secs(1),
            rows,
        };
        format.report(&report, &mut text);
    }
    fs::write(path, text).expect("a recording");
}

/// Runs the recipe on a recording with these options of `record`, and compares what it prints.
#[track_caller]
fn check(name: &str, group_by: GroupBy, names: bool, truth: &str) {
    let layout = Layout {
        tcp: false,
        cmdline: false,
        depth: None,
        group_by,
        threads: false,
        remote: Some(RemoteMode::Service),
        names,
    };
    let dir = tempfile::tempdir().expect("tempdir");
    let host = || "host".to_owned();
    let csv = Csv::new(layout, host(), true);
    write(&dir.path().join("r.csv"), csv, group_by);
    let json = Json::new(layout, host());
    write(&dir.path().join("r.jsonl"), json, group_by);
    let printed = run(name, dir.path(), &[]);
    assert_eq!(printed, truth, "{name}");
}

/// Lines of keys with their bytes sent and received, the largest sender first.
fn lines(sums: BTreeMap<String, (u64, u64)>) -> String {
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, (sent, _))| std::cmp::Reverse(*sent));
    let sums = sums.iter();
    sums.map(|(key, (sent, received))| format!("{key},{sent},{received}\n"))
        .collect()
}

fn summed(rows: &[Known], key: impl Fn(&Known) -> Option<String>) -> String {
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for known in rows {
        if let Some(key) = key(known) {
            let (sent, received) = sums.entry(key).or_default();
            *sent += known.sent;
            *received += known.received;
        }
    }
    lines(sums)
}

/// Whether an address is in the internet, as far as one host can tell.
fn is_outside(address: &str) -> bool {
    match address.parse().expect("an address") {
        IpAddr::V4(v4) => {
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast())
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_multicast())
        }
    }
}

#[test]
fn database() {
    if !has("duckdb", "python3 -c 'import duckdb'") {
        return;
    }
    let rows = rows();
    let truth = summed(&rows, |known| {
        let is_database = known.role == Role::Server && known.port == 5432;
        let mut same = rows.iter().filter(|row| row.remote == known.remote);
        let name = same.find_map(|row| row.name).unwrap_or_default();
        is_database.then(|| format!("{},{name}", known.remote))
    });
    assert_eq!(truth.lines().count(), 3);
    check("database", GroupBy::Process, true, &truth);
}

#[test]
fn outside() {
    if !has("jq", "jq --version") {
        return;
    }
    let truth = summed(&rows(), |known| {
        is_outside(known.remote).then(|| format!("\"{}\"", known.comm))
    });
    assert_eq!(truth.lines().count(), 2, "{truth}");
    check("outside", GroupBy::Process, false, &truth);
}

#[test]
fn containers() {
    if !has("mlr", "mlr --version") {
        return;
    }
    let truth = summed(&rows(), |known| {
        container(known).filter(|_| is_outside(known.remote))
    });
    assert_eq!(truth.lines().count(), 2, "{truth}");
    check("containers", GroupBy::Container, false, &truth);
}
