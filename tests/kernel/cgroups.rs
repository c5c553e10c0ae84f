//! Every row has the name of its cgroup, for short-lived cgroups and unusual names too.

use std::collections::HashMap;
use std::fs;
use std::io::{BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::end_to_end::{send_signal, wait_until_attached};
use super::filters::{Cgroup, mount};
use super::harness::{NETATOP, Workload, netatop, wait_for, workload};
use super::outcome::scaled;

/// A recording to a file.
pub struct Recording {
    pub child: Child,
    messages: BufReader<ChildStderr>,
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Stop the recording after a failed test too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a recording, and returns when the recording counts.
pub fn recording(file: &Path, args: &[&str]) -> Recording {
    let mut child = netatop()
        .args(["record", "-v", "-o"])
        .arg(file)
        .args(args)
        .stderr(Stdio::piped())
        .spawn()
        .expect("netatop");
    let mut messages = BufReader::new(child.stderr.take().expect("piped"));
    wait_until_attached(&mut messages);
    Recording { child, messages }
}

/// Ends a recording, and returns its rows.
pub fn rows(recording: Recording, file: &Path) -> Vec<Value> {
    rows_and_messages(recording, file).0
}

/// The same, and what the recording said at its end.
pub fn rows_and_messages(mut recording: Recording, file: &Path) -> (Vec<Value>, String) {
    send_signal(&recording.child, Signal::SIGTERM);
    let mut told = String::new();
    let messages = &mut recording.messages;
    messages.read_to_string(&mut told).expect("UTF-8");
    assert!(recording.child.wait().expect("wait").success(), "{told}");
    assert!(!told.contains("names may be missing"), "{told}");
    let text = fs::read_to_string(file).expect("rows");
    let rows = text.lines();
    let rows = rows.map(|line| serde_json::from_str(line).expect("a whole line"));
    (rows.collect(), told)
}

/// Runs a process that sends one datagram from this cgroup, and waits for the process to end.
fn send_from(cgroup: &Path) -> u32 {
    let procs = cgroup.join("cgroup.procs");
    let mut command = Command::new(workload());
    command.args(["udp"]).stdout(Stdio::null());
    // SAFETY: the closure only writes a file between fork and exec.
    unsafe { command.pre_exec(move || fs::write(&procs, "0")) };
    let mut child = command.spawn().expect("the workload");
    let pid = child.id();
    assert!(child.wait().expect("wait").success());
    pid
}

#[test]
fn short_lived_cgroups_all_have_names() {
    let count: usize = scaled(20_000).parse().expect("a number");
    let parent = Cgroup::of_test("short");
    let dir = tempfile::tempdir().expect("tempdir");
    let files: Vec<PathBuf> = (0..2)
        .map(|n| dir.path().join(format!("{n}.jsonl")))
        .collect();
    let by_second = recording(&files[0], &["-i", "1s"]);
    let at_the_end = recording(&files[1], &[]);
    // By name: in so many processes, ids are used again.
    let mut pids = HashMap::new();
    for number in 0..count {
        let path = parent.0.join(format!("container-{number}"));
        fs::create_dir(&path).expect("mkdir");
        let pid = send_from(&path);
        wait_for("the cgroup to be empty", || fs::remove_dir(&path).ok());
        let name = format!("/{}/container-{number}", name_of(&parent.0));
        pids.insert(name, pid);
    }
    for (recording, file) in [(by_second, &files[0]), (at_the_end, &files[1])] {
        let mut missing = pids.clone();
        for row in rows(recording, file) {
            assert!(!row["cgroup"].is_null() || row["pid"].is_null(), "{row}");
            if let Some(pid) = row["cgroup"].as_str().and_then(|name| missing.remove(name)) {
                assert_eq!(row["pid"], pid, "{row}");
            }
        }
        assert!(missing.is_empty(), "{}: {missing:?}", file.display());
    }
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

#[test]
fn a_cgroup_can_be_called_anything_and_be_deep() {
    let parent = Cgroup::of_test("names");
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    let recording = recording(&file, &["-i", "50ms"]);
    let mut expected = Vec::new();
    let long = "x".repeat(200);
    for name in ["a,b", "say \"hi\"", "日本語", "-dash", " ", long.as_str()] {
        let path = parent.0.join(name);
        fs::create_dir(&path).expect("mkdir");
        expected.push((send_from(&path), format!("/{}/{name}", name_of(&parent.0))));
        wait_for("the cgroup to be empty", || fs::remove_dir(&path).ok());
    }
    let mut deep = parent.0.clone();
    let mut made = Vec::new();
    for level in 0..12 {
        deep = deep.join(format!("level-{level}"));
        fs::create_dir(&deep).expect("mkdir");
        made.push(deep.clone());
    }
    let below = deep
        .strip_prefix(mount().expect("cgroup v2"))
        .expect("below");
    expected.push((send_from(&deep), format!("/{}", below.display())));
    for path in made.iter().rev() {
        wait_for("the cgroup to be empty", || fs::remove_dir(path).ok());
    }
    let rows = rows(recording, &file);
    for (pid, name) in expected {
        let row = rows.iter().find(|row| row["pid"] == pid).expect("its row");
        assert_eq!(row["cgroup"], name.as_str());
    }
}

/// A restarted service: the new directory has the same name and another id.
#[test]
fn a_cgroup_that_is_made_again_is_named_again() {
    let parent = Cgroup::of_test("again");
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    let path = parent.0.join("service");
    fs::create_dir(&path).expect("mkdir");
    // The first cgroup exists before the recording.
    let recording = recording(&file, &[]);
    let mut pids = Vec::new();
    for _ in 0..3 {
        pids.push(send_from(&path));
        wait_for("the cgroup to be empty", || fs::remove_dir(&path).ok());
        fs::create_dir(&path).expect("mkdir");
    }
    fs::remove_dir(&path).expect("rmdir");
    let rows = rows(recording, &file);
    let name = format!("/{}/service", name_of(&parent.0));
    for pid in pids {
        let row = rows.iter().find(|row| row["pid"] == pid).expect("its row");
        assert_eq!(row["cgroup"], name.as_str());
    }
}

/// Containers that come and go on a host with many. Reports the CPU time that it takes.
#[test]
fn churn_among_many_is_named_and_cheap() {
    let many: usize = scaled(3000).parse().expect("a number");
    let parent = Cgroup::of_test("churn");
    let standing: Vec<Cgroup> = (0..many)
        .map(|number| Cgroup::new(parent.0.join(format!("standing-{number}"))))
        .collect();
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    let recording = recording(&file, &["-i", "100ms"]);
    let begun = std::time::Instant::now();
    let mut made = HashMap::new();
    for number in 0..70 * 5 {
        let path = parent.0.join(format!("container-{number}"));
        fs::create_dir(&path).expect("mkdir");
        made.insert(u64::from(send_from(&path)), name_of(&path));
        wait_for("the cgroup to be empty", || fs::remove_dir(&path).ok());
    }
    let elapsed = begun.elapsed();
    let cpu = cpu_time(recording.child.id());
    println!("churn: {many} cgroups, 350 short-lived ones in {elapsed:?}: {cpu:?} of CPU");
    let rows = rows(recording, &file);
    for (pid, name) in made {
        let path = format!("/{}/{name}", name_of(&parent.0));
        let row = rows.iter().find(|row| row["pid"] == pid).expect("its row");
        assert_eq!(row["cgroup"], path.as_str());
    }
    // Before the directory that they are in.
    drop(standing);
}

/// User and system time of a process, from /proc/PID/stat.
fn cpu_time(pid: u32) -> std::time::Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let (_, rest) = stat.rsplit_once(") ").expect("a name");
    let ticks = rest.split(' ').skip(11).take(2);
    let ticks: u64 = ticks.map(|n| n.parse::<u64>().expect("a number")).sum();
    std::time::Duration::from_millis(10 * ticks)
}

/// The hierarchy is read while it changes, and the changes are reported meanwhile.
#[test]
fn cgroups_that_come_and_go_while_the_recording_starts_are_named() {
    let parent = Cgroup::of_test("start");
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    for round in 0..5 {
        let stop = std::sync::atomic::AtomicBool::new(false);
        let sent = std::thread::scope(|scope| {
            let churn = scope.spawn(|| {
                let mut sent = Vec::new();
                let mut left = 5;
                for number in 0.. {
                    let path = parent.0.join(format!("container-{round}-{number}"));
                    fs::create_dir(&path).expect("mkdir");
                    let pid = send_from(&path);
                    wait_for("the cgroup to be empty", || fs::remove_dir(&path).ok());
                    sent.push((u64::from(pid), name_of(&path)));
                    // A few more after the programs are attached.
                    left -= i32::from(stop.load(std::sync::atomic::Ordering::Acquire));
                    if left == 0 {
                        break;
                    }
                }
                sent
            });
            let recording = recording(&file, &["--force"]);
            stop.store(true, std::sync::atomic::Ordering::Release);
            let sent = churn.join().expect("churn");
            (sent, rows(recording, &file))
        });
        let (sent, rows) = sent;
        // Those that sent before the programs were attached have no row.
        let mut found = 0;
        for row in rows.iter().filter(|row| row["comm"] == "workload") {
            if let Some((_, name)) = sent.iter().find(|(pid, _)| row["pid"] == *pid) {
                let path = format!("/{}/{name}", name_of(&parent.0));
                assert_eq!(row["cgroup"], path.as_str(), "{row}");
                found += 1;
            }
        }
        assert!(found > 0, "nothing happened");
    }
}

/// Nobody takes the changes, and the ring buffer is full.
#[test]
fn changes_that_do_not_fit_are_counted() {
    use netatop::kernel::{Capacity, Filter, Storage, Tracer};
    use netatop::model::Extent;
    use netatop::source::Source;

    let capacity = Capacity {
        cgroup_bytes: 4096,
        ..Capacity::default()
    };
    let mut storage = Storage::default();
    let mut tracer = Tracer::attach(&mut storage, capacity, &Filter::default()).expect("attach");
    let parent = Cgroup::of_test("full");
    for number in 0..200 {
        drop(Cgroup::new(parent.0.join(format!("container-{number}"))));
    }
    let sample = tracer.sample(Extent::Changes).expect("sample");
    let name = name_of(&parent.0);
    let changes = tracer.cgroups();
    // Others of this host may come and go as well.
    let ours = changes.iter().filter(|change| {
        change
            .path
            .as_ref()
            .is_some_and(|path| path.contains(&name))
    });
    let reported = ours.count() as u64;
    assert!(reported > 10 && reported < 401, "{reported}");
    assert!(
        sample.losses.cgroups >= 401 - reported,
        "{:?}",
        sample.losses
    );
}

/// In another cgroup namespace, visible paths differ from the host's paths.
#[test]
fn another_cgroup_namespace_has_no_names_instead_of_wrong_ones() {
    let flow = Workload::start(&["flow", "size=10"]);
    let inside = |args: &[&str]| {
        Command::new("unshare")
            .args(["--cgroup", NETATOP, "record", "-q", "-d", "100ms"])
            .args(args)
            .output()
            .expect("unshare")
    };
    let output = inside(&["-f", "json"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("\"cgroup\":null"), "{text}");
    assert!(!text.contains("\"cgroup\":\""), "{text}");
    let output = inside(&["-g", "cgroup"]);
    flow.finish();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(told.contains("initial cgroup namespace"), "{told}");
}
