//! Costs of netatop apart from events: start and end, and memory at rest, with many processes and
//! after a million exits. The same run measures a stand-in for tracers of the usual design.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::programs;
use super::results::median;
use super::tracer::of_descriptors;

const NETATOP: &str = "netatop record";
const CLASSIC: &str = "classic tracepoints, per-CPU hash";
const CROWDS: [usize; 2] = [10_000, 40_000];
const EXITS: usize = 1_000_000;

/// Threads that send one datagram each and end, four at a time.
pub fn storm(count: usize) {
    let sink = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let to = sink.local_addr().expect("address");
    let sender = UdpSocket::bind("127.0.0.1:0").expect("bind");
    sender.connect(to).expect("connect");
    for _ in 0..count.div_ceil(4) {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let thread = std::thread::Builder::new().stack_size(64 << 10);
                thread
                    .spawn_scoped(scope, || sender.send(&[0; 64]).expect("send"))
                    .expect("a thread");
            }
        });
    }
}

/// One of the two tracers, running.
struct Subject {
    child: Child,
    output: PathBuf,
    _stdout: Lines<BufReader<ChildStdout>>,
    _stderr: Option<Lines<BufReader<ChildStderr>>>,
    /// Time from its start until it reported that it counts, and the CPU time of that.
    started: [Duration; 2],
}

impl Subject {
    fn start(name: &str, classic: &Path) -> Self {
        let output = std::env::temp_dir().join(format!("netatop-life-{}", std::process::id()));
        let netatop = name == NETATOP;
        let mut command = if netatop {
            let mut command = Command::new(env!("CARGO_BIN_EXE_netatop"));
            command.args(["record", "-v", "-i", "1s", "-f", "csv", "--force", "-o"]);
            command.arg(&output).stderr(Stdio::piped());
            command
        } else {
            let mut command = Command::new(std::env::current_exe().expect("own path"));
            command.arg("programs").arg(classic);
            command
        };
        let begun = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut stderr = child.stderr.take().map(|pipe| BufReader::new(pipe).lines());
        let said = |line: Option<std::io::Result<String>>| line.expect("it ended").expect("read");
        match &mut stderr {
            Some(lines) => while !said(lines.next()).contains("attached in") {},
            None => assert_eq!(said(stdout.next()), "ready"),
        }
        let started = [begun.elapsed(), cpu_time(child.id())];
        Self {
            child,
            output,
            _stdout: stdout,
            _stderr: stderr,
            started,
        }
    }

    /// Waits for two intervals.
    fn settle(&self) {
        std::thread::sleep(Duration::from_millis(2500));
    }

    /// Ends the tracer and returns how long that takes.
    fn stop(mut self) -> Duration {
        let begun = Instant::now();
        drop(self.child.stdin.take());
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).expect("signal");
        self.child.wait().expect("wait");
        let took = begun.elapsed();
        let _ = fs::remove_file(&self.output);
        took
    }
}

fn cpu_time(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("schedstat");
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.expect("a number"))
}

/// Bytes of memory: anonymous pages, resident file pages, BPF maps, and this process's share of the
/// file pages that other processes also map. Mapped pages of BPF maps count as maps.
#[derive(Clone, Copy)]
struct Memory([u64; 4]);

impl Memory {
    fn of(pid: u32) -> Self {
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).expect("smaps");
        let (mut anonymous, mut file, mut share, mut of_map) = (0, 0, 0, false);
        for line in smaps.lines() {
            let mut words = line.split_ascii_whitespace();
            let word = words.next().unwrap_or_default();
            let kilobytes: u64 = words.next().and_then(|n| n.parse().ok()).unwrap_or(0);
            match word {
                "Rss:" if !of_map => file += kilobytes << 10,
                "Pss:" if !of_map => share += kilobytes << 10,
                "Anonymous:" if !of_map => anonymous += kilobytes << 10,
                _ if !word.ends_with(':') => of_map = line.contains("bpf-map"),
                _ => {}
            }
        }
        let maps = of_descriptors(pid, "memlock:").iter().sum();
        // Anonymous pages belong to this process alone.
        Self([anonymous, file - anonymous, maps, share - anonymous])
    }

    fn cell(self) -> String {
        let [anonymous, file, maps, share] = self.0.map(|bytes| bytes as f64 / 1e6);
        format!(
            "{:.1} ({anonymous:.1} + {file:.1} + {maps:.1}); {:.1}",
            anonymous + file + maps,
            anonymous + share + maps
        )
    }
}

pub fn main(rounds: usize) {
    let classic = programs::compile("classic").expect("compile");
    let mut figures = Vec::new();
    println!("| | start, ms | CPU time of it | end, ms | size of the program |");
    println!("|---|---|---|---|---|");
    let names = [NETATOP, CLASSIC];
    let mut times: [[Vec<f64>; 3]; 2] = Default::default();
    for round in 0..rounds {
        for place in 0..2 {
            let place = (place + round) % 2;
            let subject = Subject::start(names[place], &classic);
            let [wall, cpu] = subject.started;
            let all = [wall, cpu, subject.stop()].map(|time| time.as_secs_f64() * 1e3);
            for (values, time) in times[place].iter_mut().zip(all) {
                values.push(time);
            }
            figures.push(json!({ "who": names[place], "start_cpu_end_ms": all }));
        }
    }
    let size = fs::metadata(env!("CARGO_BIN_EXE_netatop")).expect("the program");
    for (name, [start, cpu, end]) in names.iter().zip(times) {
        let size = if *name == NETATOP {
            format!("{:.1} MB", size.len() as f64 / 1e6)
        } else {
            "–".to_owned()
        };
        println!(
            "| {name} | {:.1} | {:.1} | {:.1} | {size} |",
            median(start),
            median(cpu),
            median(end)
        );
    }

    println!(
        "\n| memory, MB (anonymous + files + maps); with its share of the files | {NETATOP} | {CLASSIC} |"
    );
    println!("|---|---|---|");
    let mut row = |what: String, memory: Vec<Memory>| {
        let cells: Vec<String> = memory.iter().map(|memory| memory.cell()).collect();
        println!("| {what} | {} |", cells.join(" | "));
        for (name, memory) in names.iter().zip(&memory) {
            figures.push(json!({ "who": name, "when": what, "memory": memory.0 }));
        }
    };
    let both = || names.map(|name| Subject::start(name, &classic));
    let subjects = both();
    subjects[0].settle();
    let measure = |subjects: &[Subject]| -> Vec<Memory> {
        subjects.iter().map(|s| Memory::of(s.child.id())).collect()
    };
    row("at rest".to_owned(), measure(&subjects));
    // The stand-in's table is full by then, and it reports nothing.
    let status = Command::new(std::env::current_exe().expect("own path"))
        .args(["storm", &EXITS.to_string()])
        .status();
    assert!(status.expect("run").success());
    subjects[0].settle();
    row(
        format!("after {EXITS} exits of threads"),
        measure(&subjects),
    );
    let _ = subjects.map(Subject::stop);
    for count in CROWDS {
        let mut crowd = super::sampling::Crowd::make(count);
        let subjects = both();
        crowd.go();
        subjects[0].settle();
        row(format!("{count} processes"), measure(&subjects));
        crowd.end();
        let _ = subjects.map(Subject::stop);
    }
    write(&figures);
}

fn write(figures: &[Value]) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-life.json");
    let mut file = fs::File::create(path).expect("create");
    file.write_all(json!(figures).to_string().as_bytes())
        .expect("write the figures");
}
