//! In each kind of namespace a recording is right, or says what is missing.

use std::io::{BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use chrono::{DateTime, TimeDelta, Utc};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::end_to_end::{send_signal, wait_until_attached};
use super::harness::{NETATOP, Workload, counters};

/// What `unshare` starts: a shell that does `setup`, and then becomes netatop.
fn inside(unshare: &[&str], setup: &str, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    let script = format!("{setup} && exec \"$@\"");
    command
        .args(unshare)
        .args(["sh", "-c", &script, "sh", NETATOP])
        .args(args)
        .stdin(Stdio::null());
    command
}

/// A recording in other namespaces.
struct Recording {
    child: Child,
    messages: BufReader<ChildStderr>,
}

impl Recording {
    /// It counts when this returns.
    fn start(unshare: &[&str], setup: &str) -> Self {
        let mut child = inside(unshare, setup, &["record", "-v", "-f", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut messages = BufReader::new(child.stderr.take().expect("piped"));
        wait_until_attached(&mut messages);
        Self { child, messages }
    }

    /// Ends it. Returns the row of this process.
    fn row(mut self, pid: u32) -> Value {
        send_signal(&self.child, Signal::SIGTERM);
        let mut told = String::new();
        self.messages.read_to_string(&mut told).expect("UTF-8");
        let output = self.child.wait_with_output().expect("wait");
        assert!(output.status.success(), "{told}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a whole line"))
            .find(|row| row["pid"] == pid)
            .expect("its row")
    }
}

/// Records a workload outside, while it runs and holds no busy thread any more. Returns its row,
/// which has the counts and the start of the workload.
fn row_of_worker(unshare: &[&str], setup: &str) -> Value {
    let before = Utc::now();
    let mut workload = Workload::start(&["worker", "hold=1", "delay-go=1"]);
    let after = Utc::now();
    let setup = setup.replace("PID", &workload.pid().to_string());
    let recording = Recording::start(unshare, &setup);
    workload.go();
    let line = workload.line();
    let row = recording.row(workload.pid());
    workload.finish();
    let counted = counters(&row, counters(&line, Default::default()));
    assert_eq!(counted, counters(&line, counted), "{row}");
    // The clock may be adjusted meanwhile.
    let margin = TimeDelta::seconds(1);
    let start: DateTime<Utc> = row["start"]
        .as_str()
        .expect("a time")
        .parse()
        .expect("RFC 3339");
    assert!(
        before - margin <= start && start <= after + margin,
        "{before} {row}"
    );
    row
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("its name");
    name.trim_end().to_owned()
}

/// What `netatop check` says in there of `id`: the status and what was found.
fn finding(unshare: &[&str], setup: &str, id: &str) -> (String, String) {
    let output = inside(unshare, setup, &["check", "-f", "json"]).output();
    let text = String::from_utf8(output.expect("unshare").stdout).expect("UTF-8");
    let mut findings = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a whole line"));
    let finding = findings
        .find(|finding| finding["id"] == id)
        .expect("its finding");
    let text = |key: &str| finding[key].as_str().expect("text").to_owned();
    (text("status"), text("found"))
}

/// Its clocks show another time since boot: netatop's own, and /proc's.
#[test]
fn time() {
    for offset in ["86400", "-5"] {
        let unshare = ["--time", "--boottime", offset];
        let row = row_of_worker(&unshare, "true");
        assert_eq!(row["state"], "running", "{row}");
    }
}

#[test]
fn network_and_ipc() {
    for unshare in ["--net", "--ipc"] {
        let row = row_of_worker(&[unshare], "true");
        assert_eq!(row["state"], "running", "{row}");
    }
}

/// A container's name is not that of the host.
#[test]
fn names() {
    let unshare = ["--uts", "--mount"];
    // In place of process 1, which not every root may look at: one that is in the same namespace.
    let found = format!(
        "hostname container && mount --bind /proc/{} /proc/1",
        std::process::id()
    );
    let row = row_of_worker(&unshare, &found);
    assert_eq!(row["host"], host_name().as_str());
    let told = finding(&unshare, &found, "host_name");
    assert_eq!(told, ("ok".to_owned(), host_name()));

    let hidden = "hostname container && mount -t tmpfs none /proc/1";
    let row = row_of_worker(&unshare, hidden);
    assert!(row["host"].is_null(), "{row}");
    let (status, told) = finding(&unshare, hidden, "host_name");
    assert_eq!(status, "optional");
    assert!(told.contains("another UTS namespace"), "{told}");
}

/// /proc describes the processes of a container, which have the same ids as others of the host.
#[test]
fn mounts_with_the_proc_of_another_pid_namespace() {
    let container = "mount -t proc proc /mnt/proc && \
                     echo $((PID - 1)) >/mnt/proc/sys/kernel/ns_last_pid && \
                     { sleep 1000 & } && ls -d /mnt/proc/PID && touch /mnt/ready && wait";
    // It ends with netatop.
    let foreign = &format!(
        "mount -t tmpfs none /mnt && mkdir /mnt/proc && \
         {{ setpriv --pdeathsig KILL unshare --pid --fork --kill-child \
            sh -c '{container}' >/dev/null 2>&1 & }} && \
         until [ -e /mnt/ready ]; do kill -0 $!; done && mount --move /mnt/proc /proc"
    );
    let row = row_of_worker(&["--mount"], foreign);
    assert_eq!(row["state"], "running", "{row}");
    assert!(row["cgroup"].is_null(), "{row}");
    let foreign = foreign.replace("PID", "1000");
    let (status, found) = finding(&["--mount"], &foreign, "proc");
    assert_eq!(status, "optional");
    assert!(found.contains("that of another pid namespace"), "{found}");
}

#[test]
fn mounts_without_proc() {
    let hide = "mount -t tmpfs none /proc";
    let row = row_of_worker(&["--mount"], hide);
    assert_eq!(row["state"], "running", "{row}");
    let (status, found) = finding(&["--mount"], hide, "proc");
    assert_eq!(status, "optional");
    assert!(found.contains("/proc is not mounted"), "{found}");
}

/// The mount is hidden by another one, which has directories of its own.
#[test]
fn mounts_without_a_view_of_the_cgroups() {
    for hide in [
        "umount -a -t cgroup2",
        "mount -t tmpfs none $(findmnt -n -o TARGET -t cgroup2 | head -n 1)",
        "cd $(findmnt -n -o TARGET -t cgroup2 | head -n 1) && mkdir -p netatop-test-part && \
         mount --bind netatop-test-part . && rmdir netatop-test-part",
    ] {
        let hide = format!("{hide} && cd /");
        let row = row_of_worker(&["--mount"], &hide);
        assert!(row["cgroup"].is_null(), "{hide}: {row}");
        let (status, found) = finding(&["--mount"], &hide, "cgroup2");
        assert_eq!(status, "optional");
        assert!(
            found.contains("no cgroup v2 hierarchy is mounted here"),
            "{found}"
        );
        for option in [["-g", "cgroup"], ["-c", "/"]] {
            let args = [&["record", "-d", "10ms"], &option[..]].concat();
            let output = inside(&["--mount"], &hide, &args)
                .output()
                .expect("unshare");
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let told = String::from_utf8(output.stderr).expect("UTF-8");
            assert!(told.contains("mount -t cgroup2"), "{told}");
        }
    }
}
