//! Tests with the real atop, as a user starts it, on the default socket.

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

use super::harness::{Workload, counters, leave_out, wait_for};
use super::server::{Server, public_dir};

/// Path of an atop that can connect to the socket.
fn program() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fetch-atop");
    let output = Command::new(&script).output().expect("scripts/fetch-atop");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "no atop to test with: {said}");
    PathBuf::from(String::from_utf8(output.stdout).expect("utf-8").trim())
}

/// A server on the path to which atop connects.
fn server() -> Server {
    assert!(
        UnixStream::connect(DEFAULT_PATH).is_err(),
        "atop connects to {DEFAULT_PATH} only, and another server is listening there: stop it first"
    );
    Server::at(Path::new(DEFAULT_PATH), &[])
}

/// An interval longer than any test: samples are triggered by signal.
const NEVER: &str = "3600";

/// One process in one sample.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    state: String,
    counters: Counters,
}

/// A sample: the last row for each pid.
type Sample = HashMap<u32, Row>;

/// Parses a line of `-P PRN`. `None` if it describes a thread.
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

    /// An atop that prints samples and is connected.
    fn live(server: &Server) -> Self {
        let atop = Self::start(&["-K", "-P", "PRN", NEVER]);
        server.wait_for_message("counting, for the first client");
        atop.wait_for_samples(1);
        atop
    }

    fn samples(&self) -> Vec<Sample> {
        self.samples.lock().expect("lock").clone()
    }

    fn wait_for_samples(&self, count: usize) {
        wait_for("samples of atop", || {
            (self.samples.lock().expect("lock").len() >= count).then_some(())
        });
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Waits until it waits for the next sample.
    fn wait_until_idle(&self) {
        let path = format!("/proc/{}/wchan", self.pid());
        wait_for("atop to wait", || {
            let place = fs::read_to_string(&path).expect("wchan");
            let waits = ["pause", "poll", "suspend"];
            waits.iter().any(|wait| place.contains(wait)).then_some(())
        });
    }

    /// Makes atop take a sample now, before its interval is over.
    fn take_sample(&self) {
        self.wait_until_idle();
        // When this returns, atop is no longer idle.
        nix::sys::signal::kill(self.pid(), Signal::SIGUSR1).expect("kill");
        self.wait_until_idle();
    }

    /// Takes a sample and waits until it has been printed.
    fn sample(&self) {
        let before = self.samples.lock().expect("lock").len();
        self.take_sample();
        self.wait_for_samples(before + 1);
    }

    fn stop(&mut self) {
        // An orderly exit, so that atop switches process accounting off again.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = nix::sys::signal::kill(self.pid(), Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

impl Drop for Atop {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Workloads with TCP and UDP traffic. They begin on command, and stay alive afterwards.
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
    atop.sample();
    workloads.iter_mut().for_each(Workload::go);
    let lines = std::thread::scope(|scope| {
        let lines = scope.spawn(|| workloads.each_mut().map(Workload::line));
        while !lines.is_finished() {
            atop.sample();
        }
        lines.join().expect("lines")
    });
    atop.sample();
    atop.sample();
    atop.stop();
    let samples = atop.samples();
    for (workload, line) in workloads.into_iter().zip(&lines) {
        let pid = workload.pid();
        let shown = sum(&samples, pid);
        assert_eq!(shown, counters(line, shown), "{line}");
        let rows = samples.iter().filter_map(|sample| sample.get(&pid));
        let busy = rows.filter(|row| !row.counters.is_zero()).count();
        assert!(busy > 1, "in more than one interval");
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
    let mut atop = Atop::start(&["-K", "-w", path, NEVER]);
    server.wait_for_message("counting, for the first client");
    atop.take_sample();
    workloads.iter_mut().for_each(Workload::go);
    let lines = std::thread::scope(|scope| {
        let lines = scope.spawn(|| workloads.each_mut().map(Workload::line));
        while !lines.is_finished() {
            atop.take_sample();
        }
        lines.join().expect("lines")
    });
    atop.take_sample();
    atop.stop();
    let output = Command::new(program())
        .args(["-r", path, "-P", "PRN"])
        .output()
        .expect("atop -r");
    let mut read = Vec::new();
    samples(output.stdout.as_slice(), |sample| read.push(sample));
    assert!(read.len() > 3, "{} samples", read.len());
    for (workload, line) in workloads.into_iter().zip(&lines) {
        let shown = sum(&read, workload.pid());
        assert_eq!(shown, counters(line, shown), "{line}");
        workload.finish();
    }
}

/// The counters of the new server begin at zero. atop must not report the difference, or the whole,
/// as the traffic of one interval.
#[test]
fn a_restart_of_the_server_gives_no_spike() {
    let first = server();
    let mut atop = Atop::live(&first);
    let flow = Workload::start(&["udp-flow", "size=100", "rate=500"]);
    let pid = flow.pid();
    let busy = |from: usize| {
        let samples = atop.samples();
        let new = samples.iter().skip(from);
        new.filter_map(|sample| sample.get(&pid))
            .filter(|row| !row.counters.is_zero())
            .count()
    };
    let sample_until_busy = |from: usize| {
        wait_for("traffic in ten samples", || {
            atop.sample();
            (busy(from) >= 10).then_some(())
        });
    };
    sample_until_busy(0);
    first.stop();
    let restart = atop.samples().len();
    let second = server();
    sample_until_busy(restart);
    assert!(second.messages().contains("counting"));
    let lines = flow.finish();
    atop.stop();
    let samples = atop.samples();
    let truth = counters(&lines[0], Counters::default());
    let shown = sum(&samples, pid);
    assert_eq!(shown.max(truth), truth, "more than there was");
    let after = samples[restart..].iter();
    let after = after
        .filter_map(|sample| sample.get(&pid))
        .collect::<Vec<_>>();
    let quiet = after
        .iter()
        .take_while(|row| row.counters.is_zero())
        .count();
    // atop needs one sample to notice the restart, and one to connect and start again.
    assert!(quiet <= 2, "{quiet} samples without figures: {after:?}");
    println!("samples without figures because of the restart: {quiet}");
}

/// The reason why atop cannot learn of ended processes, for which it needs process accounting.
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
fn atop_shows_the_traffic_of_ended_processes() {
    if let Some(why) = no_accounting() {
        leave_out("process-accounting", why);
        return;
    }
    const COUNT: usize = 300;
    const SIZE: u64 = 321;
    let server = server();
    let mut atop = Atop::live(&server);
    let n = format!("n={COUNT}");
    // The processes end between two samples. atop sends its request before it reads the process
    // accounting records. It shows no traffic of processes that end between these two steps.
    let size = format!("size={SIZE}");
    let lines = Workload::start(&["process-storm", &n, &size]).finish();
    atop.sample();
    atop.sample();
    atop.stop();
    let samples = atop.samples();
    let rows = samples.iter().flat_map(HashMap::values);
    let ended = rows.filter(|row| {
        row.name == "workload" && row.state == "E" && row.counters.udp_send_bytes == SIZE
    });
    assert_eq!(ended.clone().count(), COUNT, "each of them once");
    let shown = ended.map(|row| row.counters).sum();
    assert_eq!(shown, counters(&lines[0], shown));
}

/// A second atop, started while another one records.
#[test]
fn an_atop_that_comes_later_counts_from_its_start() {
    let server = server();
    let mut first = Atop::live(&server);
    let mut workload = Workload::start(&["udp-flow", "n=100", "size=40", "hold=1"]);
    let pid = workload.pid();
    let line = workload.line();
    first.sample();
    let second = Atop::start(&["-K", "-P", "PRN", NEVER]);
    second.wait_for_samples(1);
    second.sample();
    second.sample();
    first.stop();
    let shown = sum(&first.samples(), pid);
    assert_eq!(shown, counters(&line, shown));
    assert_eq!(sum(&second.samples(), pid), Counters::default());
    workload.finish();
}
