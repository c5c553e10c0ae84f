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
struct Recording {
    child: Child,
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
fn recording(file: &Path, args: &[&str]) -> Recording {
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
fn rows(mut recording: Recording, file: &Path) -> Vec<Value> {
    send_signal(&recording.child, Signal::SIGTERM);
    let mut told = String::new();
    let messages = &mut recording.messages;
    messages.read_to_string(&mut told).expect("UTF-8");
    assert!(recording.child.wait().expect("wait").success(), "{told}");
    assert!(!told.contains("names may be missing"), "{told}");
    let text = fs::read_to_string(file).expect("rows");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a whole line"))
        .collect()
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
    let mut made: HashMap<u64, String> = HashMap::new();
    for number in 0..count {
        let path = parent.0.join(format!("container-{number}"));
        fs::create_dir(&path).expect("mkdir");
        let pid = send_from(&path);
        wait_for("the cgroup to be empty", || fs::remove_dir(&path).ok());
        let name = format!("/{}/container-{number}", name_of(&parent.0));
        made.insert(pid.into(), name);
    }
    for (recording, file) in [(by_second, &files[0]), (at_the_end, &files[1])] {
        let rows = rows(recording, file);
        let mut named = 0;
        for row in rows.iter().filter(|row| row["comm"] == "workload") {
            // Pids are reused in a long run: keep the last row of each pid.
            if row["cgroup"].is_null() {
                panic!("a row without a cgroup: {row}");
            }
            named += u64::from(made.values().any(|name| row["cgroup"] == *name.as_str()));
        }
        assert_eq!(named, count as u64, "{}", file.display());
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
