//! Tracers as processes: starts them, and reads their costs and their counts.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::load::Numbers;
use super::programs;
use super::statistics::Runs;

/// A tracer that runs beside a load.
#[derive(Clone, Debug, PartialEq)]
pub enum Tracer {
    Nothing,
    /// A program of `benches/bpf`.
    Program(&'static str),
    Netatop,
    /// netatop, with rows split by remote end.
    Remote,
    /// netatop, with TCP's own account.
    Tcp,
    /// netatop, with both.
    RemoteTcp,
    /// netatop, with command lines.
    CommandLines,
    Bpftrace,
    /// bpftrace, which counts by process and IPv4 address.
    BpftraceRemote,
    Nethogs,
    Bandwhich,
}

const BPFTRACE_REMOTE: &str = "
tracepoint:sock:sock_send_length /args->ret >= 0/ {
    $sk = (struct sock *)args->sk;
    @sent[pid, $sk->__sk_common.skc_daddr, $sk->__sk_common.skc_dport] = count();
    @sent_bytes[pid, $sk->__sk_common.skc_daddr, $sk->__sk_common.skc_dport] = sum(args->ret);
}
tracepoint:sock:sock_recv_length /args->ret > 0/ {
    $sk = (struct sock *)args->sk;
    @received[pid, $sk->__sk_common.skc_daddr, $sk->__sk_common.skc_dport] = count();
    @received_bytes[pid, $sk->__sk_common.skc_daddr, $sk->__sk_common.skc_dport] = sum(args->ret);
}";

const BPFTRACE: &str = "
tracepoint:sock:sock_send_length /args->ret >= 0/ {
    @sent_messages[pid] = count(); @sent_bytes[pid] = sum(args->ret);
}
tracepoint:sock:sock_recv_length /args->ret > 0/ {
    @received_messages[pid] = count(); @received_bytes[pid] = sum(args->ret);
}";

impl Tracer {
    /// Name in the tables.
    pub fn name(&self) -> String {
        match self {
            Self::Nothing => "nothing".into(),
            Self::Program("floor") => "empty programs (the floor)".into(),
            Self::Program("classic") => "classic tracepoints, per-CPU hash".into(),
            Self::Program("hash") => "typed tracepoints, per-CPU hash".into(),
            Self::Program("storage") => "task storage alone".into(),
            Self::Program("sets") => "sets of slots by the task's address, alone".into(),
            Self::Program("slots") => "slots by thread id before task storage".into(),
            Self::Program("slots_mmap") => "the same slots, mappable by user space".into(),
            Self::Program("cached") => "slots of each CPU before task storage".into(),
            Self::Program(name) => format!("design: {name}"),
            Self::Netatop => "netatop record -i 1s".into(),
            Self::Remote => "netatop record -r -i 1s".into(),
            Self::Tcp => "netatop record --tcp -i 1s".into(),
            Self::RemoteTcp => "netatop record -r --tcp -i 1s".into(),
            Self::CommandLines => "netatop record --cmdline -i 1s".into(),
            Self::Bpftrace => "bpftrace, counting by pid".into(),
            Self::BpftraceRemote => "bpftrace, by pid, address and port".into(),
            Self::Nethogs => "nethogs lo".into(),
            Self::Bandwhich => "bandwhich -i lo".into(),
        }
    }

    /// The reason why the tracer cannot be measured on this host. `None` if it can.
    pub fn missing(&self) -> Option<String> {
        let classic = matches!(
            self,
            Self::Program("classic") | Self::Bpftrace | Self::BpftraceRemote
        );
        if classic && !Path::new("/sys/kernel/tracing/events/sock").exists() {
            return Some("tracefs is not mounted on /sys/kernel/tracing".to_owned());
        }
        let program = match self {
            Self::Nothing
            | Self::Netatop
            | Self::Remote
            | Self::Tcp
            | Self::RemoteTcp
            | Self::CommandLines => return None,
            Self::Program(name) => return programs::compile(name).err(),
            Self::Bpftrace | Self::BpftraceRemote => "bpftrace",
            Self::Nethogs => "nethogs",
            Self::Bandwhich => "bandwhich",
        };
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|directory| directory.join(program).exists());
        (!found).then(|| format!("{program} is not installed"))
    }

    fn command(&self, output: &PathBuf) -> Option<Command> {
        Some(match self {
            Self::Nothing => return None,
            Self::Program(name) => {
                let mut command = Command::new(std::env::current_exe().expect("own path"));
                command
                    .arg("programs")
                    .arg(programs::compile(name).expect("compiled"));
                command
            }
            Self::Netatop | Self::Remote | Self::Tcp | Self::RemoteTcp | Self::CommandLines => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_netatop"));
                command.args(["record", "-q", "-i", "1s", "-f", "json", "--force", "-o"]);
                command.arg(output);
                if self.has_remote_ends() {
                    command.arg("-r");
                }
                if self.has_accounts() {
                    command.arg("--tcp");
                }
                if *self == Self::CommandLines {
                    command.arg("--cmdline");
                }
                command
            }
            Self::Bpftrace | Self::BpftraceRemote => {
                let mut command = Command::new("bpftrace");
                let program = match self {
                    Self::Bpftrace => BPFTRACE,
                    _ => BPFTRACE_REMOTE,
                };
                command.args(["-f", "json", "-e", program]);
                command.env("BPFTRACE_MAP_KEYS_MAX", "40960");
                command
            }
            Self::Nethogs => {
                let mut command = Command::new("nethogs");
                command.args(["-a", "-t", "-C", "-v", "2", "-d", "1", "lo"]);
                command
            }
            Self::Bandwhich => {
                let mut command = Command::new("bandwhich");
                command.args(["--raw", "--no-resolve", "--processes", "-i", "lo"]);
                command
            }
        })
    }

    fn has_remote_ends(&self) -> bool {
        matches!(self, Self::Remote | Self::RemoteTcp)
    }

    fn has_accounts(&self) -> bool {
        matches!(self, Self::Tcp | Self::RemoteTcp)
    }

    /// Number of BPF links when it is attached. 0 if the number does not show that.
    fn links(&self) -> usize {
        match self {
            Self::Netatop | Self::Remote | Self::Tcp | Self::RemoteTcp | Self::CommandLines => {
                // An iterator and three tracepoints.
                let mut links = 4;
                // Programs at three functions or on four cgroup hooks.
                if self.has_remote_ends() {
                    links += if programs::has_functions() { 3 } else { 4 };
                }
                // Three tracepoints, and one or two iterators over sockets.
                if self.has_accounts() {
                    links += if programs::visits_accounts() { 4 } else { 5 };
                }
                // Two each for command lines and for cgroups.
                if *self == Self::CommandLines {
                    links += 4;
                }
                links
            }
            Self::Program(_) => 2,
            _ => 0,
        }
    }

    /// Starts the tracer. It is attached when this returns.
    pub fn start(&self) -> Running {
        let output = std::env::temp_dir().join(format!("netatop-bench-{}", std::process::id()));
        let child = self.command(&output).map(|mut command| {
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("start the tracer")
        });
        let mut running = Running {
            tracer: self.clone(),
            child,
            output,
        };
        running.wait_until_ready();
        running
    }
}

/// The cost of a tracer itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// CPU time in nanoseconds.
    pub cpu: u64,
    /// Memory of the process and of its BPF maps, in bytes.
    pub memory: u64,
}

/// A running tracer.
pub struct Running {
    tracer: Tracer,
    child: Option<Child>,
    output: PathBuf,
}

impl Running {
    fn wait_until_ready(&mut self) {
        let Some(child) = &self.child else { return };
        let pid = child.id();
        let links = self.tracer.links();
        let deadline = Instant::now() + Duration::from_secs(60);
        if links == 0 {
            // These tracers do not report when they are attached. bpftrace first compiles for a
            // second.
            std::thread::sleep(Duration::from_millis(2500));
            return;
        }
        while of_descriptors(pid, "link_type:").len() < links {
            assert!(Instant::now() < deadline, "{:?} did not start", self.tracer);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Its cost so far.
    pub fn cost(&self) -> Cost {
        let Some(child) = &self.child else {
            return Cost::default();
        };
        let pid = child.id();
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten();
        let cpu = tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
            .sum();
        let resident = fs::read_to_string(format!("/proc/{pid}/status"))
            .ok()
            .and_then(|text| {
                let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
                line.split_whitespace().next()?.parse::<u64>().ok()
            });
        let maps: u64 = of_descriptors(pid, "memlock:").iter().sum();
        Cost {
            cpu,
            memory: resident.unwrap_or(0) * 1024 + maps,
        }
    }

    /// Number of runs of its programs, if the kernel's statistics are enabled.
    pub fn runs(&self) -> Runs {
        let child = self.child.as_ref();
        child.map_or_else(Runs::default, |child| Runs::of(child.id()))
    }

    /// Ends the tracer and returns its counts by process.
    pub fn stop(mut self) -> HashMap<u32, Numbers> {
        let Some(mut child) = self.child.take() else {
            return HashMap::new();
        };
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        if matches!(self.tracer, Tracer::Program(_)) {
            drop(child.stdin.take());
        } else {
            let signal = match self.tracer {
                // No need to wait: its counts are not compared.
                Tracer::Nethogs => Signal::SIGKILL,
                // A job in the background of a shell ignores SIGINT, and so does what it starts.
                _ => Signal::SIGTERM,
            };
            nix::sys::signal::kill(pid, signal).expect("signal");
        }
        let mut text = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let _ = stdout.read_to_string(&mut text);
        child.wait().expect("wait");
        match self.tracer {
            Tracer::Program(_) => {
                let line = text.lines().last().unwrap_or("{}");
                serde_json::from_str(line).unwrap_or_default()
            }
            Tracer::Netatop
            | Tracer::Remote
            | Tracer::Tcp
            | Tracer::RemoteTcp
            | Tracer::CommandLines => from_netatop(&self.output),
            Tracer::Bpftrace => from_bpftrace(&text),
            Tracer::Nothing | Tracer::BpftraceRemote | Tracer::Nethogs | Tracer::Bandwhich => {
                HashMap::new()
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.output);
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The value of `field` in the fdinfo of each open file that has this field.
pub fn of_descriptors(pid: u32, field: &str) -> Vec<u64> {
    let directory = fs::read_dir(format!("/proc/{pid}/fdinfo"));
    directory
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        // A program has the same field, but its memory is not that of a map.
        .filter(|text| field != "memlock:" || text.contains("map_type:"))
        .filter_map(|text| {
            let value = text.lines().find_map(|line| line.strip_prefix(field))?;
            Some(value.trim().parse().unwrap_or(0))
        })
        .collect()
}

fn from_netatop(path: &PathBuf) -> HashMap<u32, Numbers> {
    let mut counts: HashMap<u32, Numbers> = HashMap::new();
    let file = BufReader::new(fs::File::open(path).expect("netatop's output"));
    for line in file.lines() {
        let row: Value = serde_json::from_str(&line.expect("a line")).expect("json");
        let pid = row["pid"].as_u64().unwrap_or(0) as u32;
        let get = |name: &str| row[name].as_u64().expect("a counter");
        let sum = counts.entry(pid).or_default();
        for (to, name) in sum
            .iter_mut()
            .zip(["send_msgs", "send_bytes", "recv_msgs", "recv_bytes"])
        {
            *to += get(&format!("tcp_{name}")) + get(&format!("udp_{name}"));
        }
    }
    counts
}

fn from_bpftrace(text: &str) -> HashMap<u32, Numbers> {
    let mut counts: HashMap<u32, Numbers> = HashMap::new();
    let names = [
        "@sent_messages",
        "@sent_bytes",
        "@received_messages",
        "@received_bytes",
    ];
    for line in text.lines() {
        let Ok(Value::Object(line)) = serde_json::from_str(line) else {
            continue;
        };
        for (place, name) in names.iter().enumerate() {
            let Some(of_pids) = line.get("data").and_then(|d| d.get(name)?.as_object()) else {
                continue;
            };
            for (pid, value) in of_pids {
                let pid = pid.parse().unwrap_or(0);
                counts.entry(pid).or_default()[place] += value.as_u64().unwrap_or(0);
            }
        }
    }
    counts
}
