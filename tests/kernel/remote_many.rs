//! Very many remote ends, and more than there is room for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use netatop::kernel::{Capacity, Filter, RemoteRows, Storage, Tracer};
use netatop::model::{Counters, Extent, Interval, Protocol, RemoteMode, Role};
use netatop::source::Source;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::harness::{Counting, Workload, counters};
use super::outcome::{Outcome, scaled};
use super::remote::{capacity, family};

const FIRST_PORT: u16 = 10_000;

/// Number of processes of a storm that run at the same time.
const PARALLEL: usize = 4;

/// What became of a storm whose processes each send to a port of their own.
#[derive(Default)]
struct Storm {
    /// By remote port.
    rows: BTreeMap<u16, Counters>,
    processes: BTreeSet<(u32, u64)>,
    /// Traffic in the counters of threads.
    without_row: Counters,
    unattributed: Counters,
}

impl Storm {
    fn add(&mut self, interval: &Interval) {
        for usage in &interval.usage {
            let process = usage.last.process;
            self.processes.insert((process.pid, process.start));
            let Some(remote) = usage.remote.as_deref() else {
                self.without_row += usage.counters;
                continue;
            };
            assert_eq!(remote.protocol, Protocol::Udp);
            assert_eq!(remote.role, Some(Role::Client));
            assert_eq!(remote.remote.address, IpAddr::V4(Ipv4Addr::LOCALHOST));
            let port = remote.remote.port.expect("a service port");
            *self.rows.entry(port).or_default() += usage.counters;
        }
        self.unattributed += interval.unattributed;
    }

    fn outcome(&self, truth: Counters) -> Outcome {
        Outcome {
            truth,
            rows: self.rows.values().copied().sum::<Counters>() + self.without_row,
            unattributed: self.unattributed,
        }
    }
}

/// The workload waits until the programs are attached.
fn start(count: &str) -> (Workload, Filter) {
    let port = format!("port={FIRST_PORT}");
    let count = format!("n={count}");
    let parallel = format!("parallel={PARALLEL}");
    let storm = ["process-storm", &count, &port, &parallel, "delay-go=1"];
    let workload = Workload::start(&storm);
    let filter = Filter {
        pids: vec![workload.pid()],
        follow: true,
        ..Filter::default()
    };
    (workload, filter)
}

/// Runs a storm. Exit records are read all the time; with `sampled`, so are the rows.
fn run(sizes: Capacity, count: &str, sampled: bool) -> (Storm, Counters, u64) {
    let (mut workload, filter) = start(count);
    let mut storage = Storage::default();
    let mut counting = Counting::with_capacity(&mut storage, sizes, &filter, false);
    workload.go();
    let reader = std::thread::spawn(move || workload.finish());
    let mut storm = Storm::default();
    while !reader.is_finished() {
        if sampled {
            storm.add(&counting.interval());
        } else {
            counting.drain();
            std::thread::yield_now();
        }
    }
    let lines = reader.join().expect("reader");
    let losses = counting.sample(Extent::Changes).losses;
    storm.add(&counting.interval());
    // Rows of processes that had ended before their rows were taken.
    storm.add(&counting.interval());
    assert_eq!(losses.remote_unknown, 0);
    let truth = counters(&lines[0], Counters::default());
    (storm, truth, losses.remote_full)
}

fn with_rows(rows: u32) -> Capacity {
    let sizes = capacity(RemoteMode::Service, false);
    Capacity {
        remote: sizes.remote.map(|remote| RemoteRows { rows, ..remote }),
        ..sizes
    }
}

/// Each process and each port is there once.
#[test]
fn short_processes_each_with_an_end_of_its_own() {
    let count = scaled(20_000);
    let number: u16 = count.parse().expect("a number");
    for sampled in [false, true] {
        let sizes = capacity(RemoteMode::Service, false);
        let (storm, truth, full) = run(sizes, &count, sampled);
        let case = format!("process-storm n={count}, an end each, sampled: {sampled}");
        storm.outcome(truth).assert_exact(&case);
        assert_eq!(full, 0);
        assert!(storm.without_row.is_zero(), "{:?}", storm.without_row);
        assert_eq!(storm.processes.len(), usize::from(number));
        let one = Counters {
            udp_send_msgs: 1,
            udp_send_bytes: 32,
            ..Counters::default()
        };
        let expected = (FIRST_PORT..FIRST_PORT + number).map(|port| (port, one));
        assert_eq!(storm.rows, expected.collect());
    }
}

/// What finds no row is in the counters of its thread.
#[test]
fn a_map_of_64_rows_loses_nothing() {
    let count = scaled(20_000);
    for sampled in [false, true] {
        let (storm, truth, full) = run(with_rows(64), &count, sampled);
        let case = format!("process-storm n={count}, 64 rows, sampled: {sampled}");
        storm.outcome(truth).assert_exact(&case);
        assert_eq!(storm.without_row.udp_send_msgs, full);
        assert!(!storm.rows.is_empty(), "there is room for some");
    }
}

/// Nobody takes the rows: the reader has stopped.
#[test]
fn rows_that_nobody_takes_are_reported() {
    let count = scaled(20_000);
    let (mut workload, filter) = start(&count);
    let mut storage = Storage::default();
    let mut counting = Counting::with_capacity(&mut storage, with_rows(64), &filter, false);
    workload.go();
    let lines = workload.finish();
    let losses = counting.sample(Extent::Changes).losses;
    let mut storm = Storm::default();
    storm.add(&counting.interval());
    let truth = counters(&lines[0], Counters::default());
    let case = format!("process-storm n={count}, 64 rows, no reader");
    storm.outcome(truth).assert_exact(&case);
    // The hash map is full, and so is the only set of rows, which has eight. The kernel looks
    // whether the map is full before it counts the new row (is_map_full() in kernel/bpf/hashtab.c),
    // so processes that send at the same moment can get one row each too many.
    let rows = storm.rows.len();
    assert!((64 + 8..64 + 8 + PARALLEL).contains(&rows), "{rows} rows");
    assert_eq!(losses.remote_full, truth.msgs() - rows as u64);
    assert_eq!(storm.without_row.udp_send_msgs, losses.remote_full);
}

/// Number `i` of the many ends of one process.
fn end_of(i: usize) -> SocketAddr {
    let [high, low] = ((i / 20_000) as u16).to_be_bytes();
    let address = Ipv4Addr::new(127, 77, high, low + 1);
    SocketAddr::new(address.into(), FIRST_PORT + (i % 20_000) as u16)
}

fn size_of(i: usize) -> usize {
    1 + i % 50
}

/// Sends one datagram to each of `count` ends, and to the first ends again and again.
fn send_to_many(count: usize) {
    const OFTEN: usize = 7;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("bind");
    for i in 0..count {
        let buf = [1; 100];
        let sent = socket.send_to(&buf[..size_of(i)], end_of(i));
        assert_eq!(sent.expect("sendto"), size_of(i));
        let sent = socket.send_to(&buf[..size_of(i)], end_of(count + i % OFTEN));
        assert_eq!(sent.expect("sendto"), size_of(i));
    }
}

type Ends = BTreeMap<SocketAddr, (u64, u64)>;

fn truth_of_many(count: usize) -> Ends {
    let mut truth = Ends::new();
    for i in 0..count {
        for end in [end_of(i), end_of(count + i % 7)] {
            let (msgs, bytes) = truth.entry(end).or_default();
            *msgs += 1;
            *bytes += size_of(i) as u64;
        }
    }
    truth
}

/// Samples are taken as fast as possible.
#[test]
fn many_ends_of_one_process() {
    let count: usize = scaled(100_000).parse().expect("a number");
    for threads in [false, true] {
        let mut storage = Storage::default();
        let sizes = capacity(RemoteMode::Service, threads);
        let mut counting = Counting::with_capacity(&mut storage, sizes, &family(), threads);
        let (mut ends, mut rest) = (Ends::new(), Counters::default());
        let mut add = |interval: &Interval| {
            for usage in &interval.usage {
                let Some(remote) = usage.remote.as_deref() else {
                    rest += usage.counters;
                    continue;
                };
                let end = remote.remote;
                let end = SocketAddr::new(end.address, end.port.expect("a port"));
                let (msgs, bytes) = ends.entry(end).or_default();
                *msgs += usage.counters.udp_send_msgs;
                *bytes += usage.counters.udp_send_bytes;
            }
            assert!(interval.unattributed.is_zero(), "{interval:?}");
        };
        let sender = std::thread::spawn(move || send_to_many(count));
        let mut rounds = 0;
        while !sender.is_finished() {
            add(&counting.interval());
            rounds += 1;
        }
        sender.join().expect("no panic");
        let losses = counting.sample(Extent::Changes).losses;
        add(&counting.interval());
        assert_eq!((losses.remote_full, losses.remote_unknown), (0, 0));
        assert!(rest.is_zero(), "{rest:?}");
        assert!(rounds > 1);
        assert!(ends == truth_of_many(count), "threads: {threads}");
    }
}

/// Between samples, the reader is woken before the map is full, and takes the rows.
#[test]
fn the_reader_is_woken_to_take_rows() {
    const ROUNDS: usize = 20;
    // More than a quarter of the hash map, also without those that are in sets of rows: at most 128.
    const EACH: usize = 700;
    let mut storage = Storage::default();
    let mut tracer = Tracer::attach(&mut storage, with_rows(1024), &family()).expect("attach");
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("bind");
    for i in 0..ROUNDS * EACH {
        let sent = socket.send_to(&[1; 50][..size_of(i)], end_of(i));
        assert_eq!(sent.expect("sendto"), size_of(i));
        if (i + 1) % EACH == 0 {
            assert!(is_woken(&tracer), "round {}", i / EACH);
            tracer.drain().expect("drain");
            assert!(!is_woken(&tracer), "round {}", i / EACH);
        }
    }
    let sample = tracer.sample(Extent::All).expect("sample");
    let mut ends = Ends::new();
    for row in &sample.remotes {
        let end = row.remote.remote;
        let (msgs, bytes) = ends
            .entry(SocketAddr::new(end.address, end.port.expect("a port")))
            .or_default();
        *msgs += row.counters.udp_send_msgs;
        *bytes += row.counters.udp_send_bytes;
    }
    let expected = (0..ROUNDS * EACH).map(|i| (end_of(i), (1, size_of(i) as u64)));
    assert!(ends == expected.collect(), "{} ends", ends.len());
    assert_eq!(sample.losses.remote_full, 0);
    let threads = sample.living.iter().chain(&sample.exits);
    assert!(threads.map(|thread| thread.counters).all(Counters::is_zero));
}

/// Whether the reader has something to do.
fn is_woken(tracer: &Tracer<'_>) -> bool {
    let fd = tracer.wakeup().expect("a descriptor");
    let mut polled = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())).expect("poll") > 0
}
