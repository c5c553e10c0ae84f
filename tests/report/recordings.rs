//! Recordings for the tests, made by the writers of `netatop record`.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use netatop::model::{
    Comm, Counters, End, GroupBy, Health, Layout, Process, Protocol, Remote, RemoteMode, Report,
    Role, Row, State, Who,
};
use netatop::output::{Csv, Format, Json};

/// Numbers that look random, and are the same in each run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub fn below(&mut self, end: u64) -> u64 {
        // Constants of Knuth's MMIX generator.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Names as hostile as a process can make them.
pub const NAMES: [&str; 6] = [
    "nginx",
    "a,\"b\nc",
    "<img src=x>",
    "(other)",
    "naïve 名前",
    "x\u{1b}[31my",
];

pub fn at(second: i64) -> DateTime<Utc> {
    let noon = DateTime::from_timestamp(1_772_366_400, 0).expect("in range");
    noon + TimeDelta::milliseconds(second * 1000 + 3)
}

fn counters(dice: &mut Dice) -> Counters {
    // Large enough that a sum of floats would not be exact.
    let mut bytes = || dice.below(1 << 31) * (1 << 20) + dice.below(1000);
    Counters {
        tcp_send_bytes: bytes(),
        tcp_recv_bytes: bytes(),
        udp_send_bytes: bytes() >> 20,
        udp_recv_bytes: bytes() >> 22,
        tcp_send_msgs: dice.below(1000),
        tcp_recv_msgs: dice.below(1000),
        udp_send_msgs: dice.below(1000),
        udp_recv_msgs: dice.below(1000),
    }
}

fn remote(dice: &mut Dice, mode: RemoteMode) -> Remote {
    let address = match dice.below(5) {
        0 => "2001:db8::7".to_owned(),
        last => format!("192.0.2.{last}"),
    };
    let address: IpAddr = address.parse().expect("an address");
    let role = if dice.below(2) == 0 {
        Role::Client
    } else {
        Role::Server
    };
    let has_ports = mode != RemoteMode::Address;
    let is_socket = mode == RemoteMode::Socket;
    Remote {
        protocol: if dice.below(3) == 0 {
            Protocol::Udp
        } else {
            Protocol::Tcp
        },
        role: has_ports.then_some(role),
        local_address: is_socket.then(|| "192.0.2.200".parse().expect("an address")),
        local_port: (is_socket || (has_ports && role == Role::Server)).then_some(443),
        remote: End {
            address,
            scope: 0,
            port: (is_socket || (has_ports && role == Role::Client))
                .then(|| 5000 + dice.below(3) as u16),
        },
        netns: None,
    }
}

fn who(dice: &mut Dice, layout: Layout) -> Who {
    match dice.below(20) {
        0 => return Who::Unattributed,
        1 => return Who::Other { processes: 3 },
        _ => {}
    }
    let number = dice.below(9);
    let name = NAMES[(number % 6) as usize];
    if layout.group_by != GroupBy::Process {
        return Who::Group {
            // A group of this name cannot be told from the row of the rest.
            key: name.replace("(other)", "other"),
            processes: 1 + number,
        };
    }
    Who::Process(Process {
        pid: 100 + number as u32 / 2,
        tid: layout.threads.then_some(100 + number as u32),
        comm: Comm::new(name.as_bytes()),
        uid: number as u32,
        cgroup: (number > 2).then(|| format!("/system.slice/{number}.service").into()),
        unit: (number > 2).then(|| format!("{number}.service").into()),
        container: (number > 5).then(|| format!("12345678901{number}").into()),
        cmdline: None,
        start: at(number as i64),
        start_ns: number * 1_000_000_007,
        state: State::Running,
    })
}

/// `count` intervals of one second, some of them without rows.
pub fn reports(layout: Layout, seed: u64, count: i64) -> Vec<Report> {
    let mut dice = Dice::new(seed);
    (1..=count)
        .map(|second| {
            let row = |dice: &mut Dice| {
                let who = who(dice, layout);
                let counters = counters(dice);
                let remote = layout
                    .remote
                    .map(|mode| remote(dice, mode))
                    // A row without a process has no remote end, and some others have none either.
                    .filter(|_| matches!(who, Who::Process(_) | Who::Group { .. }))
                    .filter(|_| dice.below(6) > 0)
                    .map(Rc::new);
                Row {
                    who,
                    counters,
                    remote,
                    remote_name: None,
                    tcp: Health::default(),
                }
            };
            let rows = (0..dice.below(8)).map(|_| row(&mut dice)).collect();
            Report {
                time: at(second),
                interval: Duration::from_micros(999_900 + dice.below(300)),
                rows,
            }
        })
        .collect()
}

pub fn layout(group_by: GroupBy, threads: bool, remote: Option<RemoteMode>) -> Layout {
    Layout {
        group_by,
        threads,
        remote,
        ..Layout::default()
    }
}

pub fn csv(layout: Layout, reports: &[Report]) -> Vec<u8> {
    written(Csv::new(layout, "db1".to_owned(), true), reports)
}

pub fn json(layout: Layout, reports: &[Report]) -> Vec<u8> {
    written(Json::new(layout, "db1".to_owned()), reports)
}

fn written(mut format: impl Format, reports: &[Report]) -> Vec<u8> {
    let mut text = Vec::new();
    format.begin(&mut text);
    for report in reports {
        format.report(report, &mut text);
    }
    text
}

/// The columns of TCP health, with values, behind each row of a CSV recording whose names have no
/// line ends.
pub fn with_tcp(csv: &[u8], seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut text = Vec::new();
    for (number, line) in csv.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        text.extend_from_slice(line);
        let more = if number == 0 {
            ",tcp_out_segs,tcp_retrans_segs,tcp_attempt_fails,tcp_rtt_us_min,tcp_rtt_us_avg,tcp_rtt_us_max,tcp_connect_us_avg,tcp_connect_us_max".to_owned()
        } else if dice.below(4) == 0 {
            ",0,0,0,,,,,".to_owned()
        } else {
            let least = 10 + dice.below(1000);
            let out = dice.below(100_000);
            format!(
                ",{out},{},{},{least},{},{},,{}",
                out / 40,
                dice.below(3),
                least + 5,
                least + 500,
                dice.below(9000)
            )
        };
        text.extend_from_slice(more.as_bytes());
        text.push(b'\n');
    }
    text
}
