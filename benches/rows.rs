//! Benchmarks of the path from a kernel record to a written row: decoding, the ledger, and the
//! three writers. Needs no root. Measures the CPU time of its single thread.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::time::Duration;

use chrono::DateTime;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use netatop::model::{
    Comm, Counters, Extent, Health, Identity, Layout, Ledger, Losses, Process, ProcessId, Report,
    Row, State, ThreadRecord, Who,
};
use netatop::output::{Csv, Format, Json, Table, TableStyle};
use rustix::time::{ClockId, clock_gettime};

const PROCESSES: [u32; 3] = [1_000, 10_000, 40_000];

/// Measures CPU time, so that other load on the machine does not count.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }

    fn end(&self, begun: Duration) -> Duration {
        self.start() - begun
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn counters(n: u64) -> Counters {
    Counters {
        tcp_send_msgs: n,
        tcp_send_bytes: n * 1_448,
        tcp_recv_msgs: n / 2,
        tcp_recv_bytes: n * 900,
        udp_send_msgs: 1,
        udp_send_bytes: 64,
        udp_recv_msgs: n % 3,
        udp_recv_bytes: n % 3 * 512,
    }
}

fn records(count: u32, times: u64) -> Vec<ThreadRecord> {
    let record = |n: u32| ThreadRecord {
        block: u64::from(n),
        identity: Identity {
            process: ProcessId {
                pid: 1_000 + n,
                start: 1_000_000_000 + u64::from(n) * 10_007,
            },
            tid: 1_000 + n,
            comm: Comm::new(b"postgres"),
            thread_comm: Comm::new(b"postgres"),
            uid: 1_000,
            cgroup: 7,
            owner: Some(0),
        },
        exited: false,
        group_dead: false,
        counters: counters(u64::from(n) * times),
    };
    (1..=count).map(record).collect()
}

fn decode(criterion: &mut Criterion<CpuTime>) {
    const AT_ONCE: usize = 1_000;
    /// Longer than a record: only its start is read.
    const ROOM: usize = 256;
    let (_, parse) = netatop::fuzzing::targets()
        .into_iter()
        .find(|(name, _)| *name == "thread_record")
        .expect("a parser of records");
    let bytes = vec![b'x'; AT_ONCE * ROOM];
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(AT_ONCE as u64));
    group.bench_function("record", |bencher| {
        bencher.iter(|| {
            bytes
                .chunks_exact(ROOM)
                .for_each(|one| parse(black_box(one)))
        });
    });
    group.finish();
}

/// Adds a snapshot to a ledger that knows all of the processes, and ends the interval.
fn ledger(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("ledger");
    for count in PROCESSES {
        group.throughput(Throughput::Elements(count.into()));
        let same = records(count, 1);
        let mut ledger = Ledger::new(false);
        group.bench_function(BenchmarkId::new("none changed", count), |bencher| {
            bencher.iter(|| {
                ledger.snapshot(black_box(&same), Extent::All, Losses::default());
                black_box(ledger.interval(|_| true))
            });
        });
        let mut ledger = Ledger::new(false);
        let mut growing = records(count, 1);
        group.bench_function(BenchmarkId::new("all changed", count), |bencher| {
            bencher.iter(|| {
                for record in &mut growing {
                    record.counters.tcp_send_msgs += 1;
                    record.counters.tcp_send_bytes += 1_448;
                }
                ledger.snapshot(black_box(&growing), Extent::All, Losses::default());
                black_box(ledger.interval(|_| true))
            });
        });
        group.bench_function(BenchmarkId::new("all new", count), |bencher| {
            bencher.iter_batched(
                || Ledger::new(false),
                |mut ledger| {
                    ledger.snapshot(black_box(&same), Extent::All, Losses::default());
                    (ledger.interval(|_| true), ledger)
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn report(count: u32) -> Report {
    let time = |seconds| DateTime::from_timestamp(seconds, 123_000_000).expect("a time");
    let row = |record: ThreadRecord| Row {
        who: Who::Process(Process {
            pid: record.identity.process.pid,
            tid: None,
            comm: record.identity.comm,
            uid: record.identity.uid,
            cgroup: Some("/system.slice/postgresql@15-main.service".into()),
            unit: Some("postgresql@15-main.service".into()),
            container: None,
            cmdline: None,
            start: time(1_790_000_000 + i64::from(record.identity.tid)),
            start_ns: record.identity.process.start,
            state: State::Running,
        }),
        counters: record.counters,
        tcp: Health::default(),
        remote: None,
        remote_name: None,
    };
    Report {
        time: time(1_800_000_000),
        interval: Duration::from_micros(1_000_123),
        rows: records(count, 1).into_iter().map(row).collect(),
    }
}

fn writers(criterion: &mut Criterion<CpuTime>) {
    const ROWS: u32 = 10_000;
    let report = report(ROWS);
    let layout = Layout::default();
    let host = || "host.example".to_owned();
    let formats: [(&str, Box<dyn Format>); 3] = [
        ("csv", Box::new(Csv::new(layout, host(), true))),
        ("json", Box::new(Json::new(layout, host()))),
        (
            "table",
            Box::new(Table::new(layout, TableStyle::default(), |uid| {
                uid.to_string()
            })),
        ),
    ];
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Elements(ROWS.into()));
    // Formatting a table with many rows takes long.
    group.sample_size(20);
    for (name, mut format) in formats {
        let mut out = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                format.report(black_box(&report), &mut out);
                black_box(out.len())
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .with_measurement(CpuTime)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = decode, ledger, writers
}
criterion_main!(benches);
