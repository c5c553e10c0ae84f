//! Filters in the kernel: which processes are counted, and which are not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use netatop::kernel::{Filter, Storage, WantedCgroup};
use netatop::model::{Counters, Interval};
use serde_json::Value;

use super::end_to_end::record;
use super::harness::{
    Counting, NETATOP, Workload, assert_exact, clean_up, counters, is_left_out, of_pid, workload,
};

/// Runs `netatop record -- COMMAND`, and returns its output and rows.
fn command(args: &[&str]) -> (Output, Vec<Value>) {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    let output = Command::new(NETATOP)
        .args(["record", "-o"])
        .arg(&file)
        .arg("--")
        .args(args)
        .output()
        .expect("netatop");
    let rows = fs::read_to_string(&file)
        .expect("rows")
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    (output, rows)
}

fn sum(rows: &[Value]) -> Counters {
    rows.iter()
        .map(|row| counters(row, Counters::default()))
        .sum()
}

#[test]
fn a_command_is_measured_with_its_whole_family_and_nothing_else() {
    let stranger = Workload::start(&["udp-flow", "size=10"]);
    let program = workload();
    let script = format!(
        "'{0}' tcp; ('{0}' udp &); wait; '{0}' fork-tree list=1; exit 7",
        program.display()
    );
    // The output ends only when the background process ends, since that process holds the pipe too.
    let (output, rows) = command(&["sh", "-c", &format!("({script}) | cat; exit 7")]);
    assert_eq!(output.status.code(), Some(7));
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .expect("utf-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    assert!(lines.len() > 200, "{} lines", lines.len());
    assert_eq!(sum(&rows), sum(&lines));
    for line in &lines {
        let row = rows
            .iter()
            .find(|row| row["pid"] == line["pid"])
            .expect("its row");
        assert_eq!(
            counters(row, Counters::default()),
            counters(line, Counters::default())
        );
    }
    assert!(rows.iter().all(|row| row["pid"] != stranger.pid()));
    stranger.finish();
}

#[test]
fn the_exit_status_is_the_commands() {
    let status = |args: &[&str]| command(args).0.status.code();
    assert_eq!(status(&["true"]), Some(0));
    assert_eq!(status(&["/nonexistent/command"]), Some(127));
    assert_eq!(status(&["no-such-command-anywhere"]), Some(127));
    assert_eq!(status(&["/tmp"]), Some(126));
    assert_eq!(status(&["sh", "-c", "kill -TERM $$"]), Some(143));
}

#[test]
fn standard_input_and_output_are_the_commands() {
    let mut child = Command::new(NETATOP)
        .args(["record", "--", "cat"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("netatop");
    use std::io::Write;
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(b"as it is\n")
        .expect("write");
    let output = child.wait_with_output().expect("wait");
    assert_eq!(output.stdout, b"as it is\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no TCP or UDP traffic"));
}

#[test]
fn a_command_that_outlives_the_recording_is_left_running_and_named() {
    let dir = tempfile::tempdir().expect("tempdir");
    let fifo = dir.path().join("end");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    let fifo = fifo.to_str().expect("utf-8");
    let script = format!("echo $$ ; exec cat '{fifo}'");
    let log = dir.path().join("log");
    let status = Command::new(NETATOP)
        .args(["record", "-d", "100ms", "--", "sh", "-c", &script])
        .stdout(fs::File::create(dir.path().join("pid")).expect("file"))
        .stderr(fs::File::create(&log).expect("file"))
        .status()
        .expect("netatop");
    assert_eq!(status.code(), Some(0));
    let pid = fs::read_to_string(dir.path().join("pid")).expect("pid");
    let told = fs::read_to_string(&log).expect("log");
    assert!(
        told.contains(&format!("left running: {}", pid.trim())),
        "{told}"
    );
    // Opening the other end of the FIFO lets the command end.
    fs::write(fifo, "").expect("write");
}

#[test]
fn another_user_can_be_asked_for() {
    let output = Command::new(NETATOP)
        .args(["record", "--user", "nobody", "--", "id", "-u"])
        .output()
        .expect("netatop");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "65534");
    let output = Command::new(NETATOP)
        .args(["record", "--user", "no-such-user", "--", "id", "-u"])
        .output()
        .expect("netatop");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_process_is_followed_or_counted_alone() {
    for follow in [false, true] {
        let mut tree = Workload::start(&[
            "fork-tree",
            "depth=5",
            "processes=200",
            "list=1",
            "delay-go=1",
        ]);
        let mut stranger = Workload::start(&["udp", "delay-go=1"]);
        let pid = tree.pid();
        let filter = Filter {
            pids: vec![pid],
            follow,
            ..Filter::default()
        };
        let mut storage = Storage::default();
        let mut counting = Counting::new(&mut storage, &filter, false);
        stranger.go();
        let other = stranger.pid();
        stranger.finish();
        tree.go();
        let lines = tree.finish();
        let interval = counting.interval();
        assert!(of_pid(&interval, other).is_empty());
        if follow {
            assert!(lines.len() >= 200, "{} lines", lines.len());
            for line in &lines {
                assert_exact(&interval, line);
            }
            assert_eq!(interval.usage.len(), lines.len());
        } else {
            let line = lines
                .iter()
                .find(|line| line["pid"] == pid)
                .expect("its line");
            assert_exact(&interval, line);
            assert_eq!(interval.usage.len(), 1);
        }
    }
}

/// Filters by the pid of a workload before its traffic begins. Returns the counted interval, and the
/// workload's own counts.
fn counted_from_its_start(arguments: &[&str]) -> (Interval, Value) {
    let mut workload = Workload::start(&[arguments, &["delay-go=1"]].concat());
    let filter = Filter {
        pids: vec![workload.pid()],
        ..Filter::default()
    };
    let mut storage = Storage::default();
    let mut counting = Counting::new(&mut storage, &filter, false);
    workload.go();
    let lines = workload.finish();
    (counting.interval(), lines[0].clone())
}

/// All threads of a process are counted, including threads created later.
#[test]
fn threads_made_later_belong_to_their_process() {
    let (interval, line) = counted_from_its_start(&["threads", "threads=50"]);
    assert_exact(&interval, &line);
}

/// The kernel creates io_uring's worker threads without fork.
#[test]
fn workers_of_io_uring_belong_to_their_process() {
    let (interval, line) = counted_from_its_start(&["io-uring"]);
    if !is_left_out("io-uring", std::slice::from_ref(&line)) {
        assert_exact(&interval, &line);
    }
}

#[test]
fn a_recording_of_processes_ends_when_they_have() {
    let mut workload = Workload::start(&["udp", "hold=1"]);
    let pid = workload.pid().to_string();
    let (child, _) = record(&["-q", "-f", "json", "-p", &pid]);
    workload.line();
    workload.finish();
    let output = child.wait_with_output().expect("wait");
    assert!(output.status.success());
}

/// A cgroup v2 directory for one test, removed at the end.
pub struct Cgroup(pub PathBuf);

impl Cgroup {
    pub fn new(path: PathBuf) -> Self {
        fs::create_dir(&path).expect("mkdir");
        Self(path)
    }

    /// A directory below the root with a name that no other test uses.
    pub fn of_test(name: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("netatop-test-{}-{made}-{name}", std::process::id());
        Self::new(mount().expect("cgroup v2").join(name))
    }

    pub fn adopt(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("move");
    }

    pub fn wanted(&self, level: u32) -> WantedCgroup {
        use std::os::unix::fs::MetadataExt;
        WantedCgroup {
            id: fs::metadata(&self.0).expect("stat").ino(),
            level,
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The last process may not have ended completely yet.
        clean_up("the cgroup to be empty", || fs::remove_dir(&self.0).ok());
    }
}

pub fn mount() -> Option<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    mountinfo
        .lines()
        .find(|line| line.contains(" - cgroup2 "))
        .and_then(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
}

#[test]
fn a_cgroup_is_counted_with_what_is_below_it_and_without_its_siblings() {
    let mount = mount().expect("cgroup v2");
    let name = |part: &str| mount.join(format!("netatop-test-{}-{part}", std::process::id()));
    let first = Cgroup::new(name("first"));
    let nested = Cgroup::new(first.0.join("nested"));
    let second = Cgroup::new(name("second"));
    let cases = [
        (vec![first.wanted(1)], [true, true, false]),
        (vec![nested.wanted(2)], [false, true, false]),
        (vec![first.wanted(1), second.wanted(1)], [true, true, true]),
        (
            vec![nested.wanted(2), second.wanted(1)],
            [false, true, true],
        ),
    ];
    for (cgroups, there) in cases {
        let mut senders: Vec<Workload> = [&first, &nested, &second]
            .iter()
            .map(|cgroup| {
                let sender = Workload::start(&["tcp", "delay-go=1"]);
                cgroup.adopt(sender.pid());
                sender
            })
            .collect();
        let filter = Filter {
            cgroups,
            ..Filter::default()
        };
        let mut storage = Storage::default();
        let mut counting = Counting::new(&mut storage, &filter, false);
        senders.iter_mut().for_each(Workload::go);
        let lines: Vec<Value> = senders.into_iter().flat_map(Workload::finish).collect();
        let interval = counting.interval();
        for (line, there) in lines.iter().zip(there) {
            if there {
                assert_exact(&interval, line);
            } else {
                let pid = line["pid"].as_u64().expect("pid") as u32;
                assert!(of_pid(&interval, pid).is_empty(), "{line}");
            }
        }
    }
}

/// Half of the traffic happens inside the cgroup: only that half is counted.
#[test]
fn a_process_that_moves_is_counted_while_it_is_in() {
    let mount = mount().expect("cgroup v2");
    let inside = Cgroup::new(mount.join(format!("netatop-test-{}-moves", std::process::id())));
    let outside = Cgroup::new(mount.join(format!("netatop-test-{}-moved", std::process::id())));
    let mut mover = Workload::start(&["tcp", "delay-go=1", "hold=1"]);
    let pid = mover.pid();
    inside.adopt(pid);
    let filter = Filter {
        cgroups: vec![inside.wanted(1)],
        ..Filter::default()
    };
    let mut storage = Storage::default();
    let mut counting = Counting::new(&mut storage, &filter, false);
    mover.go();
    let line = mover.line();
    assert_exact(&counting.interval(), &line);
    mover.finish();

    let mut leaver = Workload::start(&["tcp", "delay-go=1"]);
    let pid = leaver.pid();
    inside.adopt(pid);
    outside.adopt(pid);
    leaver.go();
    leaver.finish();
    assert!(of_pid(&counting.interval(), pid).is_empty());
}

#[test]
fn filters_narrow_each_other() {
    let mount = mount().expect("cgroup v2");
    let inside = Cgroup::new(mount.join(format!("netatop-test-{}-both", std::process::id())));
    let mut both = Workload::start(&["tcp", "delay-go=1"]);
    let mut only_pid = Workload::start(&["tcp", "delay-go=1"]);
    let mut only_cgroup = Workload::start(&["tcp", "delay-go=1"]);
    inside.adopt(both.pid());
    inside.adopt(only_cgroup.pid());
    let filter = Filter {
        pids: vec![both.pid(), only_pid.pid()],
        follow: false,
        cgroups: vec![inside.wanted(1)],
        ..Filter::default()
    };
    let mut storage = Storage::default();
    let mut counting = Counting::new(&mut storage, &filter, false);
    for one in [&mut both, &mut only_pid, &mut only_cgroup] {
        one.go();
    }
    let absent = [only_pid.pid(), only_cgroup.pid()];
    let lines = both.finish();
    only_pid.finish();
    only_cgroup.finish();
    let interval = counting.interval();
    assert_exact(&interval, &lines[0]);
    for pid in absent {
        assert!(of_pid(&interval, pid).is_empty());
    }
}

#[test]
fn a_cgroup_is_named_by_its_path_also_when_it_is_gone() {
    let mount = mount().expect("cgroup v2");
    let name = format!("netatop-test-{}-named", std::process::id());
    let cgroup = Cgroup::new(mount.join(&name));
    let path: &Path = &cgroup.0;
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec {} tcp",
        path.display(),
        workload().display()
    );
    let (_, rows) = command(&["sh", "-c", &script]);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["cgroup"], format!("/{name}"));
}
