//! The real atop, as a user starts it, on the socket where it looks.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use netatop::model::Counters;
use netatop::serve::DEFAULT_PATH;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::harness::{Workload, counters, wait_for};
use super::server::{Server, public_dir};

/// An atop that knows the socket.
fn program() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fetch-atop");
    let output = Command::new(&script).output().expect("scripts/fetch-atop");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "no atop to test with: {said}");
    PathBuf::from(String::from_utf8(output.stdout).expect("utf-8").trim())
}

/// A server where atop looks for it.
fn server() -> Server {
    assert!(
        UnixStream::connect(DEFAULT_PATH).is_err(),
        "atop looks at {DEFAULT_PATH} only, and another server lives there: end it first"
    );
    Server::at(Path::new(DEFAULT_PATH), &[])
}

/// One process in one sample.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    state: String,
    counters: Counters,
}

/// A sample: the last row of each pid.
type Sample = HashMap<u32, Row>;

/// Reads a line of `-P PRN`, if it is one of a process and not of a thread.
fn row(line: &str) -> Option<(u32, Row)> {
    let (before, after) = line.strip_prefix("PRN ")?.rsplit_once(") ")?;
    let (before, name) = before.split_once(" (")?;
    let pid = before.rsplit_once(' ')?.1.parse().expect("a pid");
    let fields: Vec<&str> = after.split(' ').collect();
    let number = |at: usize| -> u64 { fields[at].parse().expect("a number") };
    if fields.last() != Some(&"y") {
        return None;
    }
    let row = Row {
        name: name.to_owned(),
        state: fields[0].to_owned(),
        counters: Counters {
            tcp_send_msgs: number(2),
            tcp_send_bytes: number(3),
            tcp_recv_msgs: number(4),
            tcp_recv_bytes: number(5),
            udp_send_msgs: number(6),
            udp_send_bytes: number(7),
            udp_recv_msgs: number(8),
            udp_recv_bytes: number(9),
        },
    };
    Some((pid, row))
}

fn samples(text: impl BufRead, mut take: impl FnMut(Sample)) {
    let mut sample = Sample::new();
    for line in text.lines() {
        let line = line.expect("read");
        if line == "SEP" {
            take(std::mem::take(&mut sample));
        }
        sample.extend(row(&line));
    }
}

/// Sum over all samples.
fn sum(samples: &[Sample], pid: u32) -> Counters {
    let of = samples.iter().filter_map(|sample| sample.get(&pid));
    of.map(|row| row.counters).sum()
}

struct Atop {
    child: Child,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Atop {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(program())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start atop");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let samples = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&samples);
        std::thread::spawn(move || {
            self::samples(output, |sample| kept.lock().expect("lock").push(sample));
        });
        Self { child, samples }
    }

    /// One that prints a sample every second, and is connected.
    fn live(server: &Server) -> Self {
        let atop = Self::start(&["-K", "-P", "PRN", "1"]);
        server.wait_for_message("counting, for the first client");
        atop.wait_for_more(1);
        atop
    }

    fn samples(&self) -> Vec<Sample> {
        self.samples.lock().expect("lock").clone()
    }

    /// Waits for so many more samples.
    fn wait_for_more(&self, more: usize) {
        let before = self.samples.lock().expect("lock").len();
        wait_for("samples of atop", || {
            (self.samples.lock().expect("lock").len() >= before + more).then_some(())
        });
    }

    fn stop(&mut self) {
        // In good order, so that process accounting is switched off again.
        let pid = Pid::from_raw(self.child.id() as i32);
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = nix::sys::signal::kill(pid, Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

impl Drop for Atop {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Traffic of either kind, that begins when told and stays when it is done.
fn workloads() -> [Workload; 2] {
    [
        &[
            "flow",
            "size=777",
            "n=500",
            "rate=200",
            "delay-go=1",
            "hold=1",
        ],
        &[
            "udp-flow",
            "size=100",
            "n=600",
            "rate=200",
            "delay-go=1",
            "hold=1",
        ],
    ]
    .map(|args| Workload::start(args))
}

#[test]
fn atop_shows_every_message_and_byte_of_living_processes() {
    let server = server();
    let mut workloads = workloads();
    let mut atop = Atop::live(&server);
    workloads.iter_mut().for_each(Workload::go);
    let lines = workloads.each_mut().map(Workload::line);
    atop.wait_for_more(2);
    atop.stop();
    let samples = atop.samples();
    for (workload, line) in workloads.into_iter().zip(&lines) {
        let pid = workload.pid();
        let shown = sum(&samples, pid);
        assert_eq!(shown, counters(line, shown), "{line}");
        let busy = |sample: &&Sample| !sample[&pid].counters.is_zero();
        let rows = samples.iter().filter(|sample| sample.contains_key(&pid));
        assert!(rows.filter(busy).count() > 1, "in more than one interval");
        workload.finish();
    }
}

#[test]
fn atop_writes_and_reads_back_every_message_and_byte() {
    let dir = public_dir();
    let file = dir.path().join("raw");
    let path = file.to_str().expect("utf-8");
    let server = server();
    let mut workloads = workloads();
    let mut atop = Atop::start(&["-K", "-w", path, "1"]);
    server.wait_for_message("counting, for the first client");
    // It has written a sample with each size that the file takes.
    let wait_for_growth = |times: usize| {
        for _ in 0..times {
            let before = fs::metadata(&file).map_or(0, |there| there.len());
            wait_for("the file to grow", || {
                (fs::metadata(&file).ok()?.len() > before).then_some(())
            });
        }
    };
    wait_for_growth(2);
    workloads.iter_mut().for_each(Workload::go);
    let lines = workloads.each_mut().map(Workload::line);
    // A sample goes out in several writes.
    wait_for_growth(8);
    atop.stop();
    let output = Command::new(program())
        .args(["-r", path, "-P", "PRN"])
        .output()
        .expect("atop -r");
    let mut read = Vec::new();
    samples(output.stdout.as_slice(), |sample| read.push(sample));
    for (workload, line) in workloads.into_iter().zip(&lines) {
        let shown = sum(&read, workload.pid());
        assert_eq!(shown, counters(line, shown), "{line}");
        workload.finish();
    }
}

/// The counters of the new server begin at zero, and atop must not take the difference, nor
/// the whole, for one interval's traffic.
#[test]
fn a_restart_of_the_server_gives_no_spike() {
    let first = server();
    let atop = Atop::live(&first);
    let flow = Workload::start(&["udp-flow", "size=100", "rate=200"]);
    let pid = flow.pid();
    let busy = |samples: &[Sample], from: usize| {
        let new = samples
            .iter()
            .skip(from)
            .filter_map(|sample| sample.get(&pid));
        new.filter(|row| !row.counters.is_zero()).count()
    };
    wait_for("traffic in some samples", || {
        (busy(&atop.samples(), 0) >= 3).then_some(())
    });
    first.stop();
    let second = server();
    let restart = atop.samples().len();
    second.wait_for_message("counting, for the first client");
    wait_for("traffic after the restart", || {
        (busy(&atop.samples(), restart) >= 3).then_some(())
    });
    let lines = flow.finish();
    let samples = atop.samples();
    drop(atop);
    let truth = counters(&lines[0], Counters::default());
    let shown = sum(&samples, pid);
    assert_eq!(shown.max(truth), truth, "more than there was: {shown:?}");
    let rows: Vec<&Row> = samples
        .iter()
        .filter_map(|sample| sample.get(&pid))
        .collect();
    let most = rows.iter().map(|row| row.counters.udp_send_msgs).max();
    assert!(
        most.expect("rows") * 2 <= truth.udp_send_msgs,
        "no spike: {rows:?}"
    );
    // atop needs one sample to notice and one to connect and begin from there.
    let quiet = rows.iter().rev().skip_while(|row| row.counters.is_zero());
    let quiet = quiet.skip_while(|row| !row.counters.is_zero());
    let quiet = quiet.take_while(|row| row.counters.is_zero()).count();
    println!("samples without figures because of the restart: {quiet}");
}

/// Why atop cannot be told of processes that have ended; it learns of them from process
/// accounting.
fn no_accounting() -> Option<&'static str> {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = u64::from_str_radix(effective.expect("CapEff").trim(), 16).expect("hex");
    if !Path::new("/proc/sys/kernel/acct").exists() {
        return Some("the kernel has no process accounting");
    }
    // CAP_SYS_PACCT
    (effective >> 20 & 1 == 0).then_some("root may not switch process accounting on here")
}

#[test]
fn atop_shows_what_ended_processes_have_sent() {
    if let Some(why) = no_accounting() {
        println!("ended processes were NOT TESTED with atop: {why}");
        return;
    }
    const COUNT: usize = 300;
    let server = server();
    let mut atop = Atop::live(&server);
    let n = format!("n={COUNT}");
    let lines = Workload::start(&["process-storm", &n, "rate=100"]).finish();
    atop.wait_for_more(2);
    atop.stop();
    let samples = atop.samples();
    let ended = samples
        .iter()
        .flat_map(HashMap::values)
        .filter(|row| row.name == "workload" && row.state == "E" && !row.counters.is_zero());
    assert_eq!(ended.clone().count(), COUNT, "each of them once");
    let shown = ended.map(|row| row.counters).sum();
    assert_eq!(shown, counters(&lines[0], shown));
}

/// Many atops at a time, in turns with each other: each is told of every ended process.
#[test]
fn an_atop_that_comes_later_counts_from_its_start() {
    let server = server();
    let mut first = Atop::live(&server);
    let mut workload = Workload::start(&["udp-flow", "n=100", "size=40", "hold=1"]);
    let pid = workload.pid();
    let line = workload.line();
    first.wait_for_more(2);
    let second = Atop::start(&["-K", "-P", "PRN", "1"]);
    second.wait_for_more(3);
    first.stop();
    let shown = sum(&first.samples(), pid);
    assert_eq!(shown, counters(&line, shown));
    assert_eq!(sum(&second.samples(), pid), Counters::default());
    workload.finish();
}
