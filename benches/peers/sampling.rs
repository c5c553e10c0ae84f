//! The cost of a snapshot with many processes: each has sent one datagram and is idle, among as
//! many processes that never sent any.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use chrono::Utc;
use libbpf_rs::{Iter, Link, MapCore, MapFlags, Object, ObjectBuilder};
use netatop::kernel::{Capacity, Filter, Storage, Tracer};
use netatop::model::{Extent, Interval, Layout, Ledger, Process, Report, Row, Who};
use netatop::output::{Csv, Format};
use netatop::source::Source;
use nix::libc;
use rustix::time::{ClockId, clock_gettime};

use super::programs::compile;

const PROCESSES: [usize; 3] = [1_000, 10_000, 40_000];

/// CPU and wall time, in milliseconds.
pub type Cost = [f64; 2];

/// Figures by kind of measurement and by number of processes.
type Measured = BTreeMap<(usize, &'static str), Vec<Cost>>;

const WALK: &str = "bare walk of all tasks";
const FIRST: &str = "first snapshot";
const AGAIN: &str = "snapshot, all changed";
const QUIET: &str = "snapshot, nothing changed";
const CSV: &str = "rows to csv";
const LOOKUPS: &str = "classic: key by key";
const DRAIN: &str = "classic: with a deletion each";

const ORDER: [&str; 7] = [WALK, FIRST, AGAIN, QUIET, CSV, LOOKUPS, DRAIN];

/// Creates `count` processes that will send one datagram each, and as many that will not, and
/// prints a line. After reading a line, lets them send, and prints another line. Ends them when its
/// standard input ends.
pub fn crowd(count: usize) {
    let sink = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let sender = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let to = sink.local_addr().expect("address");
    sender.connect(to).expect("connect");
    let (mut told, tell) = std::io::pipe().expect("a pipe");
    let (wait, go) = std::io::pipe().expect("a pipe");
    let mut children = Vec::with_capacity(2 * count);
    for n in 0..2 * count {
        // SAFETY: this process has one thread, and the child makes four system calls.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: passes numbers only. It makes the child end with this process at the latest.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            // SAFETY: a descriptor of this process, which is not used after this.
            unsafe { libc::close(go.as_raw_fd()) };
            let gone = (&wait).read(&mut [0]).is_ok();
            let done = gone && (n >= count || sender.send(&[0; 64]).is_ok());
            if done && (&tell).write_all(&[1]).is_ok() {
                loop {
                    // SAFETY: waits for a signal.
                    unsafe { libc::pause() };
                }
            }
            // SAFETY: ends the process, which has nothing to clean up.
            unsafe { libc::_exit(1) };
        }
        assert!(child > 0, "no more processes can be made");
        children.push(child);
    }
    println!("made");
    let mut input = BufReader::new(std::io::stdin());
    input.read_line(&mut String::new()).expect("read");
    drop(go);
    told.read_exact(&mut vec![0; 2 * count])
        .expect("all of them");
    println!("ready");
    let _ = input.read_to_end(&mut Vec::new());
    for child in &children {
        // SAFETY: a child of this process that has not been waited for.
        unsafe { libc::kill(*child, libc::SIGKILL) };
    }
    for child in &children {
        let mut status = 0;
        // SAFETY: the status is valid for writing.
        unsafe { libc::waitpid(*child, &mut status, 0) };
    }
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// The cost of `work` in this thread, and its result.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Cost, T) {
    let (wall, cpu) = (Instant::now(), thread_time());
    let result = work();
    let cost = [thread_time() - cpu, wall.elapsed()];
    (cost.map(|time| time.as_secs_f64() * 1e3), result)
}

fn load(name: &str) -> (Object, Vec<Link>) {
    let path = compile(name).expect("compile");
    let open = ObjectBuilder::default().open_file(path).expect("open");
    let object = open.load().expect("load");
    let links = object
        .progs_mut()
        .map(|program| program.attach().expect("attach"))
        .collect();
    (object, links)
}

pub fn main(rounds: usize) {
    let mut measured = Measured::new();
    for count in PROCESSES {
        with_crowd(count, rounds, &mut measured);
        eprintln!("{count} processes measured");
    }
    print(&measured);
    write(&measured);
    draw(&measured);
}

fn with_crowd(count: usize, rounds: usize, measured: &mut Measured) {
    let mut crowd = Crowd::make(count);
    let mut storage = Storage::default();
    let mut tracer = Tracer::attach(&mut storage, Capacity::of_host(), &Filter::default())
        .expect("attach netatop");
    let (classic, _classic_links) = load("classic");
    let (_walk, walk_links) = load("walk");
    crowd.go();

    let mut csv = Csv::new(Layout::default(), "host".to_owned(), true);
    for _ in 0..rounds {
        let mut note = |what, cost| measured.entry((count, what)).or_default().push(cost);
        let (cost, ()) = timed(|| walk(&walk_links[0]));
        note(WALK, cost);
        let mut ledger = Ledger::new(false);
        let (cost, first) = timed(|| look(&mut tracer, &mut ledger, Extent::All));
        note(FIRST, cost);
        // A snapshot of all threads costs the same as one in which all have changed: the ledger
        // takes each record, too, and finds no difference.
        let (cost, _) = timed(|| look(&mut tracer, &mut ledger, Extent::All));
        note(AGAIN, cost);
        assert!(first.usage.len() >= count, "processes are missing");
        let (cost, quiet) = timed(|| look(&mut tracer, &mut ledger, Extent::Changes));
        note(QUIET, cost);
        assert!(quiet.usage.len() < count / 2, "they were to be quiet");
        let report = report(&first);
        let mut out = Vec::new();
        let (cost, ()) = timed(|| csv.report(&report, &mut out));
        black_box(out);
        note(CSV, cost);
        let (cost, seen) = timed(|| read_classic(&classic));
        note(LOOKUPS, cost);
        assert!(
            seen >= count.min(39_000),
            "processes are missing in the hash table"
        );
    }
    // Measured once, because nothing is left afterwards.
    let (cost, _) = timed(|| drain_classic(&classic));
    measured.entry((count, DRAIN)).or_default().push(cost);
    crowd.end();
}

/// A process that runs [`crowd`].
pub struct Crowd {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Crowd {
    /// Starts the crowd. When this returns, all processes exist, and none has sent.
    pub fn make(count: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("own path"))
            .args(["crowd", &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("make the crowd");
        let said = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut crowd = Self { child, said };
        crowd.says("made");
        crowd
    }

    fn says(&mut self, wanted: &str) {
        let line = self.said.next().and_then(Result::ok);
        assert_eq!(line.as_deref(), Some(wanted), "the crowd could not be made");
    }

    /// Lets the crowd send. When this returns, all datagrams have been sent.
    pub fn go(&mut self) {
        let input = self.child.stdin.as_mut().expect("piped");
        input.write_all(b"\n").expect("write");
        self.says("ready");
    }

    pub fn end(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("the crowd's end");
    }
}

fn walk(link: &Link) {
    let mut iter = Iter::new(link).expect("iterate");
    let mut nothing = [0; 64];
    assert_eq!(iter.read(&mut nothing).expect("read"), 0);
}

fn look(tracer: &mut Tracer<'_>, ledger: &mut Ledger, extent: Extent) -> Interval {
    let sample = tracer.sample(extent).expect("sample");
    sample.enter(ledger);
    ledger.interval(|process| tracer.is_alive(process))
}

fn report(interval: &Interval) -> Report {
    let row = |usage: &netatop::model::Usage| Row {
        who: Who::Process(Process {
            pid: usage.last.process.pid,
            tid: None,
            comm: usage.last.comm,
            uid: usage.last.uid,
            cgroup: Some("/".into()),
            unit: None,
            container: None,
            cmdline: None,
            start: Utc::now(),
            start_ns: usage.last.process.start,
            state: usage.state,
        }),
        counters: usage.counters,
        tcp: netatop::model::Health::default(),
        remote: None,
        remote_name: None,
    };
    Report {
        time: Utc::now(),
        interval: Duration::from_secs(1),
        rows: interval.usage.iter().map(row).collect(),
    }
}

/// Reads the hash map key by key: the next key, its lookup, and the sum over the CPUs.
fn read_classic(object: &Object) -> usize {
    let map = object.maps().find(|map| map.name() == "counts_by_process");
    let map = map.expect("the map");
    let mut seen = 0;
    for key in map.keys() {
        let of_cpus = map.lookup_percpu(&key, MapFlags::ANY).expect("look up");
        black_box(sum(of_cpus));
        seen += 1;
    }
    seen
}

/// Reads the hash map, and deletes each key after its lookup, like a daemon that starts every
/// interval with an empty table.
fn drain_classic(object: &Object) -> usize {
    let map = object.maps().find(|map| map.name() == "counts_by_process");
    let map = map.expect("the map");
    let keys: Vec<_> = map.keys().collect();
    for key in &keys {
        let of_cpus = map.lookup_percpu(key, MapFlags::ANY).expect("look up");
        black_box(sum(of_cpus));
        map.delete(key).expect("delete");
    }
    keys.len()
}

fn sum(of_cpus: Option<Vec<Vec<u8>>>) -> [u64; 4] {
    let mut sum = [0; 4];
    for one in of_cpus.into_iter().flatten() {
        for (to, from) in sum.iter_mut().zip(one.chunks_exact(8)) {
            *to += u64::from_ne_bytes(from.try_into().expect("8 bytes"));
        }
    }
    sum
}

fn median(costs: &[Cost], which: usize) -> f64 {
    let mut values: Vec<f64> = costs.iter().map(|cost| cost[which]).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(measured: &Measured) {
    println!("| milliseconds of CPU time (wall time) | 1,000 | 10,000 | 40,000 |");
    println!("|---|---|---|---|");
    for what in ORDER {
        let cells = PROCESSES.map(|count| {
            let costs = &measured[&(count, what)];
            format!("{:.2} ({:.2})", median(costs, 0), median(costs, 1))
        });
        println!("| {what} | {} |", cells.join(" | "));
    }
}

fn write(measured: &Measured) {
    let all: Vec<_> = measured
        .iter()
        .map(|((count, what), costs)| {
            serde_json::json!({ "processes": count, "what": what, "cpu_and_wall_ms": costs })
        })
        .collect();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-sampling.json");
    std::fs::write(path, serde_json::json!(all).to_string()).expect("write the figures");
}

/// Draws the figures on logarithmic axes, where linear growth is a straight line with slope 1.
fn draw(measured: &Measured) {
    const LINES: [(&str, &str); 5] = [
        (WALK, "#888888"),
        (FIRST, "#1f77b4"),
        (AGAIN, "#9467bd"),
        (QUIET, "#2ca02c"),
        (LOOKUPS, "#d62728"),
    ];
    let x = |count: usize| 70.0 + ((count as f64).log10() - 3.0) * 250.0;
    let y = |ms: f64| 320.0 - (ms.max(0.1).log10() + 1.0) * 75.0;
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 700 370\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"700\" height=\"370\" fill=\"white\"/>\n\
         <text x=\"70\" y=\"16\">Milliseconds of CPU time to look at all processes</text>\n",
    );
    for ms in [0.1, 1.0, 10.0, 100.0, 1000.0] {
        let y = y(ms);
        svg += &format!(
            "<path d=\"M70 {y:.1}H480\" stroke=\"#ddd\"/><text x=\"62\" y=\"{:.1}\" \
             text-anchor=\"end\">{ms}</text>\n",
            y + 4.0
        );
    }
    for count in PROCESSES {
        svg += &format!(
            "<text x=\"{:.1}\" y=\"340\" text-anchor=\"middle\">{count}</text>\n",
            x(count)
        );
    }
    svg += "<text x=\"275\" y=\"360\" text-anchor=\"middle\">processes with traffic, among as \
            many without</text>\n";
    for (what, color) in LINES {
        let at: Vec<(f64, f64)> = PROCESSES
            .iter()
            .map(|count| (x(*count), y(median(&measured[&(*count, what)], 0))))
            .collect();
        let points: Vec<String> = at.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        svg += &format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>\n\
             <text x=\"490\" y=\"{:.1}\" fill=\"{color}\">{what}</text>\n",
            points.join(" "),
            at[2].1 + 4.0
        );
    }
    svg += "</svg>\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sampling.svg");
    std::fs::write(path, svg).expect("write the plot");
}
