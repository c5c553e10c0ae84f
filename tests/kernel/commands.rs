//! Command lines: of processes that execute a program during the recording, of those that only fork,
//! and of those that run before it. The truth is what the test itself executes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::cgroups::{recording, rows, rows_and_messages};
use super::end_to_end::send_signal;
use super::harness::workload;
use super::outcome::scaled;

/// Starts a process that sends datagrams, and waits for it. Returns its pid.
fn run(arguments: &[&str]) -> u64 {
    let mut command = Command::new(workload());
    command.args(arguments).stdout(Stdio::null());
    let mut child = command.spawn().expect("the workload");
    let pid = child.id().into();
    assert!(child.wait().expect("wait").success());
    pid
}

fn of_pid(rows: &[Value], pid: u64) -> &Value {
    let mut found = rows.iter().filter(|row| row["pid"] == pid);
    let row = found.next().unwrap_or_else(|| panic!("no row of {pid}"));
    assert!(found.next().is_none(), "two rows of {pid}");
    row
}

/// Each process executes the program with an argument of its own and ends at once.
#[test]
fn short_processes_all_have_their_own_command_line() {
    let count: usize = scaled(20_000).parse().expect("a number");
    let dir = tempfile::tempdir().expect("tempdir");
    let files = ["1.jsonl", "2.jsonl"].map(|name| dir.path().join(name));
    let by_second = recording(&files[0], &["-i", "1s", "--cmdline"]);
    let at_the_end = recording(&files[1], &["--cmdline"]);
    let program = workload();
    let mut expected = BTreeMap::new();
    for number in 0..count {
        let size = format!("size={}", 1 + number % 50_000);
        let line = format!("{} udp {size}", program.display());
        // An id can be used again.
        let pid = run(&["udp", &size]);
        expected.entry(line).or_insert_with(Vec::new).push(pid);
    }
    for (recording, file) in [(by_second, &files[0]), (at_the_end, &files[1])] {
        let mut missing = expected.clone();
        let mut without = 0;
        for row in rows(recording, file) {
            if row["comm"] != "workload" {
                continue;
            }
            let line = row["cmdline"].as_str().unwrap_or_default();
            without += u64::from(line.is_empty());
            if let Some(pids) = missing.get_mut(line) {
                pids.retain(|pid| row["pid"] != *pid);
            }
        }
        missing.retain(|_, pids| !pids.is_empty());
        println!(
            "{}: {count} processes, {without} without command line",
            file.display()
        );
        assert!(
            missing.is_empty(),
            "{}: {} missing",
            file.display(),
            missing.len()
        );
    }
}

/// A shell that runs before the recording, and does what it is told.
struct Shell {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Shell {
    fn start() -> Self {
        let mut child = Command::new("/bin/bash")
            .args([
                "--norc",
                "-c",
                "while read -r line; do eval \"$line\"; done",
                "the shell",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, answers }
    }

    /// Runs a command, and returns the number that it prints.
    fn tell(&mut self, command: &str) -> u64 {
        let input = self.child.stdin.as_mut().expect("piped");
        writeln!(input, "{command}").expect("write");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("read");
        answer.trim().parse().expect("a number")
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SHELL_LINE: &str =
    "/bin/bash --norc -c 'while read -r line; do eval \"$line\"; done' 'the shell'";

/// bash sends a datagram by itself, so no other program has to be executed.
const SEND: &str = "echo x >/dev/udp/127.0.0.1/9";

#[test]
fn a_process_that_only_forks_has_the_command_line_of_its_parent() {
    let mut shell = Shell::start();
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    // Its parent ran before the recording.
    let recording = recording(&file, &["--cmdline"]);
    let shell_pid = shell.tell(&format!("{SEND}; echo $$"));
    let child = shell.tell(&format!("( {SEND}; echo $BASHPID )"));
    let grandchild = shell.tell(&format!("( ( {SEND}; echo $BASHPID ) )"));
    // A child that executes a program has the command line of that.
    let program = workload();
    let executed = shell.tell(&format!(
        "( echo -n $BASHPID; exec {} udp 'files=a b' >/dev/null ); echo",
        program.display()
    ));
    let rows = rows(recording, &file);
    for pid in [shell_pid, child, grandchild] {
        assert_eq!(of_pid(&rows, pid)["cmdline"], SHELL_LINE);
    }
    let expected = format!("{} udp 'files=a b'", program.display());
    assert_eq!(of_pid(&rows, executed)["cmdline"], expected.as_str());
}

/// With `--pid` and with a command, only their processes are reported.
#[test]
fn the_command_and_tracked_processes_have_their_command_line() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    let script = format!("{SEND}; ( {SEND} ); exec {} udp", workload().display());
    let done = super::harness::netatop()
        .args(["record", "-q", "--cmdline", "-i", "1h", "-o"])
        .arg(&file)
        .args(["--", "/bin/bash", "-c", &script, ""])
        .stdout(Stdio::null())
        .status()
        .expect("netatop");
    assert!(done.success());
    let lines: Vec<String> = std::fs::read_to_string(&file)
        .expect("rows")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a row")["cmdline"].to_string())
        .collect();
    let shell = format!("/bin/bash -c '{script}' ''");
    // The last exec is the one that a process is known by, as with its name.
    let expected = [
        Value::from(shell.trim_end_matches(" ''")).to_string(),
        Value::from(format!("{} udp", workload().display())).to_string(),
    ];
    let mut found = lines.clone();
    found.sort();
    let mut wanted = expected.to_vec();
    wanted.sort();
    assert_eq!(found, wanted);

    let mut shell = Shell::start();
    let pid = shell.child.id().to_string();
    let file = dir.path().join("tracked.jsonl");
    let recording = recording(&file, &["--cmdline", "-p", &pid, "--follow"]);
    let child = shell.tell(&format!("( {SEND}; echo $BASHPID )"));
    let executed = shell.tell(&format!(
        "( echo -n $BASHPID; exec {} udp >/dev/null ); echo",
        workload().display()
    ));
    let rows = rows(recording, &file);
    assert_eq!(of_pid(&rows, child)["cmdline"], SHELL_LINE);
    let expected = format!("{} udp", workload().display());
    assert_eq!(of_pid(&rows, executed)["cmdline"], expected.as_str());
}

#[test]
fn a_long_command_line_is_cut_visibly() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    let recording = recording(&file, &["--cmdline"]);
    // Several pages, and exactly as many bytes as fit.
    let program = workload();
    let head = format!("{} udp ", program.display());
    let mut expected = Vec::new();
    for length in [4094, 4095, 4096, 4097, 9000, 100_000] {
        let argument = format!("files={}", "é".repeat((length - head.len() - 6) / 2));
        let argument = format!(
            "{argument}{}",
            "x".repeat(length - head.len() - argument.len())
        );
        let pid = run(&["udp", &argument]);
        let whole = format!("{head}{argument}");
        assert_eq!(whole.len(), length);
        // The last argument ends with a zero.
        let line = if length < 4096 {
            whole
        } else {
            let mut end = 4096.min(length);
            while !whole.is_char_boundary(end) {
                end -= 1;
            }
            format!("{}…", &whole[..end])
        };
        expected.push((pid, line));
    }
    // Arguments that are no text, and a name that is not that of the program.
    let odd = std::ffi::OsString::from_vec(b"\xff\x1b[1m".to_vec());
    let mut command = Command::new("/bin/bash");
    command.arg0("odd name").args(["-c", SEND]).arg(odd);
    let mut child = command.spawn().expect("bash");
    let line = format!("'odd name' -c '{SEND}' \u{fffd}\u{1b}[1m");
    expected.push((child.id().into(), line));
    assert!(child.wait().expect("wait").success());
    let rows = rows(recording, &file);
    for (pid, line) in expected {
        let found = &of_pid(&rows, pid)["cmdline"];
        assert_eq!(*found, line.as_str(), "{}", line.len());
    }
}

/// netatop is stopped until the ring buffer is full. Records of new processes are short and find room
/// where those of exec do not, so a process seems to have the command line of its parent.
#[test]
fn after_a_loss_a_command_line_is_absent_and_never_wrong() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    let recording = recording(&file, &["--cmdline"]);
    send_signal(&recording.child, Signal::SIGSTOP);
    let mut expected = BTreeMap::new();
    for number in 0..1500 {
        let files = format!("files={number:_<3500}");
        let pid = run(&["udp", &files]);
        expected.insert(pid, format!("{} udp {files}", workload().display()));
    }
    send_signal(&recording.child, Signal::SIGCONT);
    let (rows, told) = rows_and_messages(recording, &file);
    let mut without = 0;
    for (pid, line) in expected {
        match &of_pid(&rows, pid)["cmdline"] {
            Value::Null => without += 1,
            found => assert_eq!(*found, line.as_str()),
        }
    }
    assert!(without > 0, "nothing was lost");
    assert!(told.contains("command lines lost"), "{told}");
    let missing = format!("{without} processes without command line");
    assert!(told.contains(&missing), "{missing}: {told}");
}

/// Groups by program add up to what the processes did.
#[test]
fn groups_by_command_add_up_and_tell_scripts_apart() {
    let dir = tempfile::tempdir().expect("tempdir");
    let scripts = ["one.sh", "two.sh"].map(|name| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("{SEND}; {SEND}\n")).expect("a script");
        path
    });
    let file = dir.path().join("rows.jsonl");
    let recording = recording(&file, &["-g", "command"]);
    for (script, times) in scripts.iter().zip([3, 5]) {
        for _ in 0..times {
            let done = Command::new("bash").arg(script).arg("secret").status();
            assert!(done.expect("bash").success());
        }
    }
    let done = Command::new("bash")
        .args(["-c", &format!("{SEND} # secret")])
        .status();
    assert!(done.expect("bash").success());
    let rows = rows(recording, &file);
    let mut found = BTreeMap::new();
    for row in &rows {
        assert!(!row.to_string().contains("secret"), "{row}");
        let key = row["command"].as_str().unwrap_or("none").to_owned();
        let numbers = (row["processes"].as_u64(), row["udp_send_msgs"].as_u64());
        assert!(
            found.insert(key, numbers).is_none(),
            "two rows of one program"
        );
    }
    assert_eq!(found.get("bash one.sh"), Some(&(Some(3), Some(6))));
    assert_eq!(found.get("bash two.sh"), Some(&(Some(5), Some(10))));
    assert_eq!(found.get("bash"), Some(&(Some(1), Some(1))));
}
