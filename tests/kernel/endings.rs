//! The end of a recording: closed terminals, unread errors, full disks, repeated signals, and
//! commands that continue.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use nix::sys::signal::{SigHandler, Signal, signal};
use serde_json::Value;

use super::end_to_end::{send_signal, wait_until_attached};
use super::harness::{NETATOP, Workload, counters, netatop, wait_for, workload};

fn with(args: &[&str]) -> Command {
    let mut command = netatop();
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Starts a recording, and returns when the recording counts.
fn attached(command: &mut Command) -> (Child, BufReader<ChildStderr>) {
    let mut child = command.spawn().expect("netatop");
    let mut messages = BufReader::new(child.stderr.take().expect("piped"));
    wait_until_attached(&mut messages);
    (child, messages)
}

/// Reads the first line of a command's output. The rest can be read later.
fn first_line(output: &mut ChildStdout) -> String {
    let mut line = String::new();
    while !line.ends_with('\n') {
        let mut byte = [0];
        output.read_exact(&mut byte).expect("read");
        line.push(char::from(byte[0]));
    }
    line.trim_end().to_owned()
}

fn row_of(text: &str, pid: &Value) -> Option<Value> {
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a whole line"))
        .find(|row| row["pid"] == *pid)
}

fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Waits until a sent signal has been handled. A second signal before that would be merged with the
/// first.
fn wait_until_taken(child: &Child) {
    wait_for("the signal to be taken", || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
        let pending = status
            .lines()
            .find_map(|line| line.strip_prefix("ShdPnd:"))?;
        (u64::from_str_radix(pending.trim(), 16).ok()? == 0).then_some(())
    });
}

/// A closing terminal sends SIGHUP to its session and again to its foreground process group. Here
/// the second signal arrives while netatop waits for a command that ignores the first.
#[test]
fn a_terminal_that_closes_ends_it_once_with_its_last_sample() {
    let dir = tempfile::tempdir().expect("tempdir");
    let rows = dir.path().join("rows.jsonl");
    let script = format!(
        "trap '' HUP TERM; {} tcp; read line; exit 7",
        workload().display()
    );
    let mut child = with(&["record", "-o"])
        .arg(&rows)
        .args(["--", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .spawn()
        .expect("netatop");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("read");
    for _ in 0..2 {
        send_signal(&child, Signal::SIGHUP);
        wait_until_taken(&child);
    }
    drop(child.stdin.take());
    assert_eq!(child.wait().expect("wait").code(), Some(7));
    let line: Value = serde_json::from_str(&line).expect("json");
    let text = fs::read_to_string(&rows).expect("rows");
    let row = row_of(&text, &line["pid"]).expect("its row");
    let counted = counters(&row, Default::default());
    assert_eq!(counted, counters(&line, counted));
}

/// The same with a real terminal: the kernel sends both signals.
#[test]
fn a_real_terminal_that_closes_leaves_whole_rows() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (rows, log) = (dir.path().join("rows.jsonl"), dir.path().join("log"));
    let socket = dir.path().join("tmux");
    let tmux = |args: &[&str]| {
        let mut command = Command::new("tmux");
        command
            .arg("-S")
            .arg(&socket)
            .args(["-f", "/dev/null"])
            .args(args);
        assert!(command.status().expect("tmux").success());
    };
    let script = format!(
        "{NETATOP} record -v -o {} 2>{}",
        rows.display(),
        log.display()
    );
    tmux(&["new-session", "-d", &script]);
    wait_for("it to attach", || {
        let told = fs::read_to_string(&log).ok()?;
        told.contains("netatop: attached").then_some(())
    });
    let lines = Workload::start(&["tcp"]).finish();
    tmux(&["kill-server"]);
    let row = wait_for("the last sample", || {
        row_of(&fs::read_to_string(&rows).ok()?, &lines[0]["pid"])
    });
    assert_eq!(
        counters(&row, Default::default()),
        counters(&lines[0], Default::default())
    );
}

/// A `nohup` recording in a background shell ignores signals: only its duration ends it.
#[test]
fn with_all_signals_ignored_it_ends_by_its_duration() {
    let mut command = with(&["record", "-v", "-d", "300ms", "-f", "json"]);
    // SAFETY: the closure only sets signal dispositions between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for ignored in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
                signal(ignored, SigHandler::SigIgn)?;
            }
            Ok(())
        });
    }
    let flow = Workload::start(&["flow", "size=10"]);
    let pid = Value::from(flow.pid());
    let (child, _messages) = attached(&mut command);
    for ignored in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGINT,
        Signal::SIGTERM,
    ] {
        send_signal(&child, ignored);
    }
    let output = child.wait_with_output().expect("wait");
    flow.finish();
    assert!(output.status.success(), "{}", output.status);
    let row = row_of(&String::from_utf8(output.stdout).expect("utf-8"), &pid).expect("its row");
    assert!(row["interval"].as_f64() >= Some(0.3), "{row}");
}

#[test]
fn nobody_reading_its_errors_is_no_reason_to_fail() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").expect("full"));
    for (args, status) in [
        (&["record", "-v", "-d", "50ms", "-f", "csv"][..], 0),
        (&["record", "-v", "-i", "10ms", "-d", "50ms"], 0),
        (&["record", "--", "sh", "-c", "exit 3"], 3),
        (&["record", "-d", "50ms", "-o", "/nonexistent/file"], 1),
        (&["record", "--nonsense"], 2),
        (&["record", "-p", "4194304"], 2),
        (&["nonsense"], 2),
        (&[], 2),
    ] {
        let ran = with(args).stderr(full()).output().expect("netatop");
        // If the table goes to standard error, standard error is an output that must be writable.
        let wanted = if args.contains(&"--") { 1 } else { status };
        assert_eq!(ran.status.code(), Some(wanted), "full: {args:?}");
        let mut closed = with(args);
        // SAFETY: the closure only closes a descriptor between fork and exec.
        unsafe {
            closed.pre_exec(|| Ok(nix::unistd::close(2)?));
        }
        let ran = closed.output().expect("netatop");
        assert_eq!(ran.status.code(), Some(wanted), "closed: {args:?}");
        // The first opened file must not get the number of the closed descriptor.
        let text = String::from_utf8_lossy(&ran.stdout);
        assert!(!text.contains("netatop:"), "{text}");
    }
}

#[test]
fn a_closed_standard_output_is_an_error_and_no_panic() {
    for format in ["csv", "json", "table"] {
        let mut closed = with(&["record", "-d", "50ms", "-f", format]);
        // SAFETY: the closure only closes a descriptor between fork and exec.
        unsafe {
            closed.pre_exec(|| Ok(nix::unistd::close(1)?));
        }
        let ran = closed.output().expect("netatop");
        // Rust opens /dev/null in place of the closed stream, so rows would be lost.
        let told = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{told}");
        assert!(
            told.starts_with("netatop: standard output is closed"),
            "{told}"
        );
        let mut full = with(&["record", "-d", "50ms", "-f", format]);
        let device = File::options().write(true).open("/dev/full").expect("full");
        let flow = Workload::start(&["flow", "size=10"]);
        let ran = full.stdout(device).output().expect("netatop");
        flow.finish();
        let told = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{told}");
        assert!(
            told.starts_with("netatop: standard output: could not be written"),
            "{told}"
        );
    }
}

/// A failed recording does not end the command.
#[test]
fn a_full_disk_leaves_the_command_alone_and_is_told_when_it_has_ended() {
    let dir = tempfile::tempdir().expect("tempdir");
    let fifo = dir.path().join("end");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    let script = format!(
        "echo $$; {} udp >/dev/null; echo done; read line <'{}'; echo \"got $line\"",
        workload().display(),
        fifo.display()
    );
    let mut child = with(&[
        "record",
        "-i",
        "10ms",
        "-f",
        "csv",
        "--force",
        "-o",
        "/dev/full",
    ])
    .args(["--", "sh", "-c", &script])
    .spawn()
    .expect("netatop");
    let mut output = child.stdout.take().expect("piped");
    let pid = first_line(&mut output).parse().expect("its pid");
    // Even the header does not fit. The recording has failed when its BPF programs are gone.
    wait_for("the recording to fail", || {
        super::end_to_end::held_by(child.id())
            .is_empty()
            .then_some(())
    });
    assert!(child.try_wait().expect("wait").is_none(), "it waits");
    assert!(state_of(pid).is_some_and(|state| state != 'Z' && state != 'T'));
    fs::write(&fifo, "word\n").expect("write");
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "done\ngot word\n");
    let ran = child.wait_with_output().expect("wait");
    assert_eq!(ran.status.code(), Some(1));
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(
        told.contains("/dev/full") && told.contains("No space left"),
        "{told}"
    );
    assert_eq!(told.matches("/dev/full").count(), 1, "{told}");
    assert!(told.contains("waiting for the command to end"), "{told}");
}

/// timeout(1) sends its signal to the child, and again to the common process group.
#[test]
fn two_signals_within_moments_are_one_request() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    let here = socket.local_addr().expect("address");
    let pid = Value::from(std::process::id());
    let mut lost = 0;
    for _ in 0..20 {
        let (child, _messages) = attached(&mut with(&["record", "-v", "-f", "json"]));
        // Surely within the recording: on a busy host another process may do nothing meanwhile.
        socket.send_to(b"message", here).expect("send");
        send_signal(&child, Signal::SIGINT);
        // While it is pending, another one would be lost.
        wait_until_taken(&child);
        send_signal(&child, Signal::SIGINT);
        let output = child.wait_with_output().expect("wait");
        let rows = String::from_utf8(output.stdout).expect("utf-8");
        lost += u32::from(!output.status.success() || row_of(&rows, &pid).is_none());
    }
    assert_eq!(lost, 0, "recordings without their last rows");
}

/// An output that cannot be written ends the recording, and the command continues. netatop still
/// passes signals on to the command.
#[test]
fn sigterm_is_passed_on_after_the_output_has_failed() {
    let script = "trap 'echo terminated; exit 9' TERM; echo ready; while :; do sleep 0.01; done";
    let mut child = with(&[
        "record",
        "-i",
        "10ms",
        "-f",
        "csv",
        "--force",
        "-o",
        "/dev/full",
    ])
    .args(["--", "sh", "-c", script])
    .spawn()
    .expect("netatop");
    let mut messages = BufReader::new(child.stderr.take().expect("piped"));
    let mut told = String::new();
    while !told.contains("waiting for the command to end") {
        assert_ne!(messages.read_line(&mut told).expect("read"), 0, "{told}");
    }
    let mut output = child.stdout.take().expect("piped");
    assert_eq!(first_line(&mut output), "ready");
    send_signal(&child, Signal::SIGTERM);
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "terminated\n");
    assert_eq!(child.wait().expect("wait").code(), Some(1));
}

#[test]
fn a_command_that_ignores_ctrl_c_is_said_to_be_waited_for() {
    let script = "trap '' INT; echo ready; read line";
    let mut child = with(&["record", "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .spawn()
        .expect("netatop");
    first_line(child.stdout.as_mut().expect("piped"));
    send_signal(&child, Signal::SIGINT);
    let mut messages = BufReader::new(child.stderr.take().expect("piped"));
    let mut told = String::new();
    messages.read_line(&mut told).expect("read");
    assert!(told.contains("waiting for the command to end"), "{told}");
    drop(child.stdin.take());
    assert_eq!(child.wait().expect("wait").code(), Some(1));
}

#[test]
fn sigterm_reaches_the_command() {
    // Do not use one long sleep: a signal to a child before its exec would be lost.
    let script = "trap 'echo terminated; exit 9' TERM; echo ready; while :; do sleep 0.01; done";
    let mut child = with(&["record", "--", "sh", "-c", script])
        .spawn()
        .expect("netatop");
    let mut output = child.stdout.take().expect("piped");
    first_line(&mut output);
    send_signal(&child, Signal::SIGTERM);
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "terminated\n");
    assert_eq!(child.wait().expect("wait").code(), Some(9));
}

/// After the first Ctrl-C, netatop waits for the command, which ignores it. The second Ctrl-C ends
/// netatop.
#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let script = "trap '' INT; echo $$; exec sleep 1000";
    let mut child = with(&["record", "--", "sh", "-c", script])
        .spawn()
        .expect("netatop");
    let mut output = child.stdout.take().expect("piped");
    let pid = first_line(&mut output).parse().expect("its pid");
    let held = super::end_to_end::held_by(child.id());
    send_signal(&child, Signal::SIGINT);
    // Repeat until one signal arrives late enough to count as the second.
    let status = wait_for("a second Ctrl-C to count", || {
        let ended = child.try_wait().expect("wait");
        if ended.is_none() {
            send_signal(&child, Signal::SIGINT);
        }
        ended
    });
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).expect("it lives on");
    assert_eq!(status.code(), Some(130));
    wait_for("programs and maps to go", || {
        (!held.iter().any(super::end_to_end::exists)).then_some(())
    });
}
