//! Runs a workload while the BPF programs count, and compares the counts with the workload's own.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use netatop::kernel::{
    Capacity, Filter, SocketWalk, Storage, TracepointKind, Tracer, UnslottedBlocks,
};
use netatop::model::{Counters, Extent, Identity, Interval, Ledger, Usage};
use netatop::source::{Sample, Source};
use nix::sys::signal::{SigHandler, Signal, signal};
use serde_json::Value;

#[path = "../support/leave_out.rs"]
mod support;
pub use support::leave_out;

pub const NETATOP: &str = env!("CARGO_BIN_EXE_netatop");

/// The program with the signal dispositions of a foreground job. Tests that run in the background
/// would otherwise pass on that Ctrl-C is ignored.
pub fn netatop() -> Command {
    let mut command = Command::new(NETATOP);
    // SAFETY: the closure only sets signal dispositions between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for usual in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
                signal(usual, SigHandler::SigDfl)?;
            }
            Ok(())
        })
    };
    command
}

/// The path of the workload program, which cargo builds in the same target directory.
pub fn workload() -> PathBuf {
    let path = PathBuf::from(NETATOP)
        .with_file_name("examples")
        .join("workload");
    assert!(
        path.exists(),
        "build it first: cargo build --example workload"
    );
    path
}

/// The workload under a unique name, to distinguish its traffic from that of other tests and other
/// programs on this host.
pub struct Named {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Named {
    /// Links the workload as `name`, of at most 15 bytes: the kernel truncates longer names.
    pub fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join(name);
        // Use a link: a copied file may still be open for writing, and could not be executed then.
        std::fs::hard_link(workload(), &path)
            .or_else(|_| {
                let copied = Command::new("cp").arg(workload()).arg(&path).status()?;
                copied
                    .success()
                    .then_some(())
                    .ok_or_else(|| std::io::Error::other("cp"))
            })
            .expect("the workload by another name");
        Self { _dir: dir, path }
    }

    pub fn start(&self, args: &[&str]) -> Workload {
        Workload::of(Command::new(&self.path).args(args))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn comm(&self) -> &str {
        self.path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("utf-8")
    }

    /// The counters of this workload in an interval.
    pub fn of(&self, interval: &Interval) -> Counters {
        let ours = interval.usage.iter();
        ours.filter(|u| u.last.comm.as_bytes() == self.comm().as_bytes())
            .map(|u| u.counters)
            .sum()
    }
}

/// Polls until `ready` returns a value. Panics after a deadline.
pub fn wait_for<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    wait_until(Duration::from_secs(120), ready)
        .unwrap_or_else(|| panic!("waited in vain for {what}"))
}

fn wait_until<T>(longest: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + longest;
    loop {
        let value = ready();
        if value.is_some() || Instant::now() >= deadline {
            return value;
        }
        std::thread::yield_now();
    }
}

/// As [`wait_for`], for the end of a test. After a failure it does not wait long and does not panic:
/// a second panic would end all tests, and hide the first.
pub fn clean_up(what: &str, done: impl FnMut() -> Option<()>) {
    if std::thread::panicking() {
        wait_until(Duration::from_secs(2), done);
    } else {
        wait_for(what, done);
    }
}

/// A workload in progress.
pub struct Workload {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Workload {
    pub fn start(args: &[&str]) -> Self {
        Self::of(Command::new(workload()).args(args))
    }

    /// Starts `command`, which executes the workload.
    pub fn of(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the workload");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self {
            child,
            input,
            output,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads the next line that the workload prints.
    pub fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("read");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"))
    }

    /// Starts the traffic of a workload with `delay-go=1`.
    pub fn go(&mut self) {
        self.tell("");
    }

    /// Writes a line to the workload's standard input.
    pub fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("still open");
        input
            .write_all(format!("{line}\n").as_bytes())
            .expect("write");
        input.flush().expect("write");
    }

    /// Lets the workload end, and returns the rest of its lines.
    pub fn finish(mut self) -> Vec<Value> {
        drop(self.input.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("read");
        let status = self.child.wait().expect("wait");
        assert!(status.success(), "the workload failed: {status}");
        rest.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}")))
            .collect()
    }
}

/// An unprivileged user that owns no files.
pub const NOBODY: u32 = 65534;

/// A copy of the workload in `dir` that every user can execute.
pub fn public_workload(dir: &Path, mode: u32) -> PathBuf {
    let path = dir.join("workload");
    fs::copy(workload(), &path).expect("copy");
    fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("chmod");
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("chmod");
    path
}

/// Starts a flow as the user nobody, which creates and removes files on an overlay file system. Root
/// mounts the file system in `dir`, in the workload's own mount namespace, which vanishes with the
/// workload.
pub fn on_overlay(dir: &Path, scenario: &str) -> Workload {
    let program = public_workload(dir, 0o755);
    let script = format!(
        "set -e; cd {dir}; mkdir tmp; mount -t tmpfs none tmp; cd tmp; \
         mkdir lower upper work merged; \
         mount -t overlay none -o lowerdir=lower,upperdir=upper,workdir=work merged; \
         chmod 777 merged; \
         exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups \
         {program} {scenario} size=1 files={dir}/tmp/merged",
        dir = dir.display(),
        program = program.display(),
    );
    let arguments = ["--mount", "--propagation", "private", "sh", "-c", &script];
    Workload::of(Command::new("unshare").args(arguments))
}

/// Whether the kernel cannot do `scenario` at all, and the caller asked to leave it out.
///
/// # Panics
///
/// If the scenario is not supported and the user did not ask to leave it out.
#[track_caller]
pub fn is_left_out(scenario: &str, lines: &[Value]) -> bool {
    let why = lines.iter().find_map(|l| l["unavailable"].as_str());
    if let Some(why) = why {
        leave_out(scenario, why);
    }
    why.is_some()
}

/// The counters in a line of the workload or of netatop's json. A count that the workload cannot
/// know is copied from `other`.
pub fn counters(line: &Value, other: Counters) -> Counters {
    let get = |name: &str, other: u64| line[name].as_u64().unwrap_or(other);
    Counters {
        tcp_send_msgs: get("tcp_send_msgs", other.tcp_send_msgs),
        tcp_send_bytes: get("tcp_send_bytes", other.tcp_send_bytes),
        tcp_recv_msgs: get("tcp_recv_msgs", other.tcp_recv_msgs),
        tcp_recv_bytes: get("tcp_recv_bytes", other.tcp_recv_bytes),
        udp_send_msgs: get("udp_send_msgs", other.udp_send_msgs),
        udp_send_bytes: get("udp_send_bytes", other.udp_send_bytes),
        udp_recv_msgs: get("udp_recv_msgs", other.udp_recv_msgs),
        udp_recv_bytes: get("udp_recv_bytes", other.udp_recv_bytes),
    }
}

/// Runs tests in a separate process. They pass.
pub fn passes(tests: &mut Command) {
    let output = tests.output().expect("a program");
    // Print the output only on failure: scripts would count the inner test results too.
    let told =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(
        output.status.success(),
        "{}\n{}",
        output.status,
        told.concat()
    );
}

/// The environment variable with which `classic.rs` chooses the kind of BPF programs.
pub const KIND: &str = "NETATOP_TEST_KIND";

/// The environment variable with which `tcp_files.rs` chooses how living sockets are found.
pub const WALK: &str = "NETATOP_TEST_WALK";

/// Attaches the default programs of this host, or what the environment variables choose.
fn attach<'a>(storage: &'a mut Storage, mut capacity: Capacity, filter: &Filter) -> Tracer<'a> {
    if let (Some(tcp), Ok(way)) = (&mut capacity.tcp, std::env::var(WALK)) {
        assert_eq!(way, "files", "{WALK} has another value");
        tcp.walk = SocketWalk::OpenFiles;
    }
    match std::env::var(KIND).as_deref() {
        Err(_) => Tracer::attach(storage, capacity, filter),
        Ok("classic") => Tracer::attach_kind(storage, capacity, filter, TracepointKind::Classic),
        Ok("typed") => Tracer::attach_kind(storage, capacity, filter, TracepointKind::Typed),
        Ok(other) => panic!("{KIND} is neither classic nor typed: {other}"),
    }
    .expect("attach")
}

/// The attached programs, and a ledger of their counts.
pub struct Counting<'a> {
    tracer: Tracer<'a>,
    ledger: Ledger,
    missed_events: u64,
}

impl Drop for Counting<'_> {
    /// Prints missed events, since they explain wrong counts.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("events missed by the kernel: {}", self.missed_events);
        }
    }
}

impl<'a> Counting<'a> {
    pub fn new(storage: &'a mut Storage, filter: &Filter, by_thread: bool) -> Self {
        Self::with_capacity(storage, Capacity::default(), filter, by_thread)
    }

    pub fn with_capacity(
        storage: &'a mut Storage,
        capacity: Capacity,
        filter: &Filter,
        by_thread: bool,
    ) -> Self {
        let mut counting = Self::of(attach(storage, capacity, filter), by_thread);
        counting.ledger = Ledger::new(by_thread).with_remotes(capacity.remote.is_some());
        counting
    }

    pub fn of(tracer: Tracer<'a>, by_thread: bool) -> Self {
        Self {
            tracer,
            ledger: Ledger::new(by_thread),
            missed_events: 0,
        }
    }

    /// Takes a sample, without ending the interval.
    pub fn sample(&mut self, extent: Extent) -> Sample {
        let sample = self.tracer.sample(extent).expect("sample");
        self.missed_events = sample.losses.missed_events;
        sample.enter(&mut self.ledger);
        sample
    }

    /// How many program runs the kernel had skipped at the last sample.
    pub fn missed_events(&self) -> u64 {
        self.missed_events
    }

    /// The blocks outside slots, to check that a test uses the intended place.
    pub fn outside(&self) -> UnslottedBlocks {
        self.tracer.unslotted().expect("mapped")
    }

    /// Reads the exit records, as a session does between samples.
    pub fn drain(&mut self) {
        let exits = self.tracer.drain().expect("drain");
        self.ledger.exits(&exits);
    }

    pub fn interval(&mut self) -> Interval {
        self.sample(Extent::Changes);
        let tracer = &self.tracer;
        self.ledger.interval(|process| tracer.is_alive(process))
    }

    pub fn living(&self) -> Vec<Identity> {
        self.ledger.living().copied().collect()
    }
}

/// Counts with the usual sizes while `run` runs.
pub fn counting<T>(by_thread: bool, run: impl FnOnce(&mut Counting<'_>) -> T) -> T {
    let mut storage = Storage::default();
    run(&mut Counting::new(
        &mut storage,
        &Filter::default(),
        by_thread,
    ))
}

pub fn of_pid(interval: &Interval, pid: u32) -> Vec<&Usage> {
    interval
        .usage
        .iter()
        .filter(|u| u.last.process.pid == pid)
        .collect()
}

/// Checks that the counts of a process are equal to the workload's own.
pub fn assert_exact(interval: &Interval, line: &Value) {
    let pid = line["pid"].as_u64().expect("a pid") as u32;
    let rows = of_pid(interval, pid);
    let counted: Counters = rows.iter().map(|u| u.counters).sum();
    assert_eq!(counted, counters(line, counted), "pid {pid}: {line}");
    assert!(
        interval.unattributed.is_zero(),
        "{:?}",
        interval.unattributed
    );
    if let Some(comm) = line["comm"].as_str()
        && let Some(row) = rows.first()
    {
        assert_eq!(row.last.comm.to_str_lossy(), comm);
    }
}
