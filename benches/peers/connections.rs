//! TCP's own account (`--tcp`) with many connections: what a sample costs while they live, and
//! whether anything is lost of short ones.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use netatop::kernel::{Capacity, Filter, Storage, TcpRows, Tracer};
use netatop::model::{Extent, Tcp};
use netatop::source::{Sample, Source};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use super::results::median;
use super::sampling::timed;

const LIVING: usize = 10_000;
const SHORT: u64 = 100_000;

/// As many open files as are allowed.
fn allow_files() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("many files");
}

/// Connects `count` times to a port, and prints a line. After each line that it reads, it sends a
/// byte on each connection, and prints a line.
pub fn dial(port: u16, count: usize) {
    allow_files();
    let connect = |_| TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let mut all: Vec<TcpStream> = (0..count).map(connect).collect();
    println!("done");
    for line in std::io::stdin().lines() {
        line.expect("read");
        for one in &mut all {
            one.write_all(b"n").expect("send");
        }
        println!("done");
    }
}

/// Living connections, whose clients are in another process.
struct Crowd {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    _servers: Vec<TcpStream>,
}

impl Crowd {
    fn make(count: usize) -> Self {
        allow_files();
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let mut child = Command::new(std::env::current_exe().expect("own path"))
            .args(["dial", &port.to_string(), &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the clients");
        let accept = |_| listener.accept().expect("accept").0;
        let servers = (0..count).map(accept).collect();
        let said = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut crowd = Self {
            child,
            said,
            _servers: servers,
        };
        crowd.wait();
        crowd
    }

    fn wait(&mut self) {
        let line = self.said.next().and_then(Result::ok);
        assert_eq!(line.as_deref(), Some("done"), "the clients ended");
    }

    /// A byte is sent on each connection.
    fn talk(&mut self) {
        let input = self.child.stdin.as_mut().expect("piped");
        input.write_all(b"\n").expect("write");
        self.wait();
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("the clients' end");
    }
}

fn capacity(has_accounts: bool) -> Capacity {
    Capacity {
        tcp: has_accounts.then(|| TcpRows::new(false)),
        ..Capacity::of_host()
    }
}

fn sum(sample: &Sample, pid: u32) -> Tcp {
    let mut sum = Tcp::default();
    let own = |pid_of: u32| pid_of == pid;
    for record in sample.tcp.iter().filter(|r| own(r.owner.process.pid)) {
        sum += record.tcp;
    }
    sum
}

/// Bytes of kernel memory that cannot be taken back.
fn slab() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").expect("/proc");
    let line = text.lines().find_map(|l| l.strip_prefix("SUnreclaim:"));
    let kilobytes = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
    1024.0 * kilobytes.expect("a number")
}

/// Prints one table.
pub fn main(rounds: usize) {
    let mut crowd = Crowd::make(LIVING);
    println!("\n### {LIVING} living connections, both ends on this host\n");
    println!("| | CPU time, ms | wall time, ms |");
    println!("|---|---|---|");
    let mut figures = Vec::new();
    let mut memory = Vec::new();
    for has_accounts in [false, true] {
        let mut kinds: [Vec<[f64; 2]>; 3] = Default::default();
        for _ in 0..rounds {
            let before = slab();
            let mut storage = Storage::default();
            let filter = Filter::default();
            let (start, tracer) =
                timed(|| Tracer::attach(&mut storage, capacity(has_accounts), &filter));
            let mut tracer = tracer.expect("attach");
            memory.push((has_accounts, slab() - before));
            tracer.sample(Extent::All).expect("a sample");
            let (quiet, _) = timed(|| tracer.sample(Extent::Changes).expect("a sample"));
            crowd.talk();
            let (busy, sample) = timed(|| tracer.sample(Extent::Changes).expect("a sample"));
            let losses = sample.losses.tcp_no_account + sample.losses.tcp_no_row;
            assert_eq!(losses, 0, "accounts are missing");
            if has_accounts {
                let sent = sum(&sample, crowd.child.id()).out_bytes;
                assert_eq!(sent, LIVING as u64, "bytes are missing");
            }
            for (kind, cost) in kinds.iter_mut().zip([start, quiet, busy]) {
                kind.push(cost);
            }
        }
        let name = if has_accounts { "with" } else { "without" };
        let what = ["start", "sample, nothing sent", "sample, all have sent"];
        for (what, costs) in what.iter().zip(&kinds) {
            let of = |which: usize| median(costs.iter().map(|cost| cost[which]).collect());
            println!("| {what}, {name} `--tcp` | {:.2} | {:.2} |", of(0), of(1));
            figures.push(json!({ "what": what, "accounts": has_accounts, "cpu_wall_ms": costs }));
        }
    }
    crowd.end();
    // Later rounds use the memory of the first one again.
    let grown = |wanted: bool| {
        let all = memory.iter().filter(|(has, _)| *has == wanted);
        all.map(|(_, bytes)| *bytes).fold(0.0, f64::max)
    };
    let each = (grown(true) - grown(false)) / (2 * LIVING) as f64;
    println!("\nKernel memory for the account of a socket: {each:.0} bytes.");
    figures.push(json!({ "bytes_of_account": each }));
    figures.push(short());
    write(&figures);
}

/// Many short connections, with samples once a second.
fn short() -> serde_json::Value {
    let mut storage = Storage::default();
    let mut tracer =
        Tracer::attach(&mut storage, capacity(true), &Filter::default()).expect("attach");
    let mut load = Command::new(std::env::current_exe().expect("own path"))
        .args(["load", "connections", &SHORT.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the load");
    let pid = load.id();
    let (mut seen, mut last, mut samples) = (Tcp::default(), None, Vec::new());
    let mut is_done = false;
    while !is_done {
        let next = Instant::now() + Duration::from_secs(1);
        while !is_done && Instant::now() < next {
            is_done = load.try_wait().expect("wait").is_some();
            std::thread::sleep(Duration::from_millis(10));
            tracer.drain().expect("exit records");
        }
        let (cost, sample) = timed(|| tracer.sample(Extent::Changes).expect("a sample"));
        samples.push(cost[0]);
        seen += sum(&sample, pid);
        last = Some(sample.losses);
    }
    let mut text = String::new();
    let mut stdout = load.stdout.take().expect("piped");
    stdout.read_to_string(&mut text).expect("its figures");
    assert!(load.wait().expect("wait").success());
    let lost = last.expect("a sample");
    println!(
        "\n{SHORT} short connections: {} opened, {} accepted, {} bytes sent and {} received; \
         {} losses, {} missed events; a sample took {:.2} ms of CPU time.",
        seen.active_opens,
        seen.passive_opens,
        seen.out_bytes,
        seen.in_bytes,
        lost.tcp_no_account + lost.tcp_no_row,
        lost.missed_events,
        median(samples.clone()),
    );
    json!({ "short": SHORT, "load": text, "opened": seen.active_opens,
        "accepted": seen.passive_opens, "out_bytes": seen.out_bytes, "in_bytes": seen.in_bytes,
        "missed_events": lost.missed_events, "samples_cpu_ms": samples })
}

fn write(figures: &[serde_json::Value]) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-connections.json");
    fs::write(path, json!(figures).to_string()).expect("write the figures");
}
