//! COMMAND starts only after all programs are attached, and runs as it would without netatop.

use std::fs;
use std::io::{BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, signal, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;
use serde_json::Value;

use super::end_to_end::wait_until_attached;
use super::harness::{NETATOP, counters, netatop, wait_for, workload};

/// Waits for the paused child that will execute the command.
fn waiting_child(netatop: &Child) -> Pid {
    let path = format!("/proc/{0}/task/{0}/children", netatop.id());
    wait_for("the command's process", || {
        let children = fs::read_to_string(&path).ok()?;
        let first: i32 = children.split_whitespace().next()?.parse().ok()?;
        Some(Pid::from_raw(first))
    })
}

/// Ctrl-Z, `fg` and other signals that stop and continue processes.
#[test]
fn signals_while_attaching_do_not_start_the_command() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().expect("tempdir");
        let rows = dir.path().join("rows.jsonl");
        let mut child = netatop()
            .args(["record", "-v", "-o"])
            .arg(&rows)
            .arg("--")
            .arg(workload())
            .arg("tcp")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("netatop");
        let waiting = waiting_child(&child);
        let mut messages = BufReader::new(child.stderr.take().expect("piped"));
        let attached = std::thread::spawn(move || {
            wait_until_attached(&mut messages);
            messages
        });
        let netatop = Pid::from_raw(child.id() as i32);
        let stop_and_continue = |target| {
            for signal in [Signal::SIGSTOP, Signal::SIGCONT] {
                // The process may have ended already.
                let _ = kill(target, signal);
            }
        };
        // Send the signals once: the kernel gives up loading a program under continuous signals.
        stop_and_continue(netatop);
        while !attached.is_finished() {
            stop_and_continue(waiting);
        }
        let mut line = String::new();
        child
            .stdout
            .take()
            .expect("piped")
            .read_to_string(&mut line)
            .expect("read");
        assert!(child.wait().expect("wait").success());
        let line: Value = serde_json::from_str(&line).expect("json");
        let text = fs::read_to_string(&rows).expect("rows");
        let row = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a whole line"))
            .find(|row| row["pid"] == line["pid"])
            .expect("its row");
        let counted = counters(&row, Default::default());
        assert_eq!(counted, counters(&line, counted));
    }
}

#[test]
fn a_netatop_that_is_killed_while_attaching_starts_nothing() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("began");
    let mut tried = 0;
    while tried < 5 {
        let mut child = netatop()
            .args(["record", "-v", "--", "touch"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .expect("netatop");
        let waiting = waiting_child(&child);
        child.kill().expect("kill");
        let mut told = String::new();
        let mut messages = child.stderr.take().expect("piped");
        child.wait().expect("wait");
        wait_for("the command's process to end", || {
            kill(waiting, None).is_err().then_some(())
        });
        messages.read_to_string(&mut told).expect("read");
        if told.contains("netatop: attached") {
            // The kill came after the command was released.
            let _ = fs::remove_file(&file);
            continue;
        }
        assert!(!file.exists(), "{told}");
        tried += 1;
    }
}

/// Prints the inherited state of a process. The shell must not have a pipe of its own while its
/// descriptors are listed, so `find` runs without one. `find` is not the last command either, because
/// the shell would be replaced by it.
const STATE: &str =
    "grep -E '^(Sig(Blk|Ign)|Groups|Cpus_allowed|CapInh|NoNewPrivs)' /proc/self/status
umask
cat /proc/self/limits
cut -d' ' -f5,6,8,18,19 /proc/self/stat
cat /proc/self/oom_score_adj
pwd
env | sort | grep -v '^_='
grep -E '^Sig(Cgt|Pnd)' /proc/$$/status
find /proc/$$/fd -type l -printf '%f %l\\n'
:";

/// The same lines without the inodes of pipes and sockets, which differ between any two processes.
fn without_inodes(state: &str) -> String {
    let line = |line: &str| match line.split_once(":[") {
        Some((kind, _)) => format!("{kind}\n"),
        None => format!("{line}\n"),
    };
    state.lines().map(line).collect()
}

/// A change of the inherited state, made between fork and exec.
type Change = fn() -> std::io::Result<()>;

#[test]
fn a_command_inherits_what_netatop_did() {
    let changes: [(&str, Change); 10] = [
        ("nothing", || Ok(())),
        ("an ignored SIGPIPE", || {
            // SAFETY: the disposition is not a function.
            unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }?;
            Ok(())
        }),
        ("other ignored signals", || {
            for ignored in [Signal::SIGUSR1, Signal::SIGQUIT, Signal::SIGCHLD] {
                // SAFETY: the disposition is not a function.
                unsafe { signal(ignored, SigHandler::SigIgn) }?;
            }
            Ok(())
        }),
        ("blocked signals", || {
            let blocked = SigSet::from_iter([Signal::SIGUSR2, Signal::SIGWINCH]);
            Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None)?)
        }),
        ("a umask and limits", || {
            umask(Mode::from_bits_truncate(0o027));
            Ok(setrlimit(Resource::RLIMIT_NOFILE, 200, 300)?)
        }),
        ("a background job's ignored Ctrl-C", || {
            // SAFETY: the disposition is not a function.
            unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) }?;
            Ok(())
        }),
        ("a priority and a choice of the OOM killer", || {
            // SAFETY: the call changes only this process.
            unsafe { nix::libc::setpriority(nix::libc::PRIO_PROCESS, 0, 5) };
            fs::write("/proc/self/oom_score_adj", "300")
        }),
        ("a closed standard error", || Ok(nix::unistd::close(2)?)),
        ("a closed standard input", || Ok(nix::unistd::close(0)?)),
        ("another descriptor", || {
            // SAFETY: the executed program owns the copy.
            unsafe { nix::libc::dup2(1, 7) };
            Ok(())
        }),
    ];
    for (what, change) in changes {
        let state = |command: &mut Command| {
            command
                .args(["sh", "-c", STATE])
                .current_dir("/usr")
                .env("MARK", "a b");
            // SAFETY: the closure changes only inherited state between fork and exec.
            unsafe { command.pre_exec(change) };
            let output = command.stderr(Stdio::null()).output().expect("it runs");
            assert!(output.status.success(), "{what}");
            without_inodes(&String::from_utf8(output.stdout).expect("UTF-8"))
        };
        let directly = state(Command::new("env").stdin(Stdio::null()));
        let recorded = state(
            Command::new(NETATOP)
                .args(["record", "-q", "-o", "/dev/null", "--"])
                .stdin(Stdio::null()),
        );
        assert_eq!(directly, recorded, "{what}");
        assert!(directly.contains("MARK=a b"), "{directly}");
    }
}

#[test]
fn another_user_gets_the_variables_that_su_sets() {
    let output = Command::new(NETATOP)
        .args(["record", "-q", "--user", "nobody", "--"])
        .args(["sh", "-c", "echo $HOME $USER $LOGNAME $SHELL; id -u; id -G"])
        .output()
        .expect("netatop");
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    let expected = Command::new("su")
        .args(["-s", "/bin/sh", "nobody", "-c"])
        .arg("echo $HOME $USER $LOGNAME $(getent passwd nobody | cut -d: -f7); id -u; id -G")
        .output()
        .expect("su");
    assert_eq!(told, String::from_utf8(expected.stdout).expect("UTF-8"));
}

#[test]
fn a_command_that_does_not_exist_has_no_summary() {
    for (command, status) in [("nonexistent-command", 127), ("/etc/passwd", 126)] {
        let output = Command::new(NETATOP)
            .args(["record", "--", command])
            .output()
            .expect("netatop");
        assert_eq!(output.status.code(), Some(status));
        let told = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(told.starts_with(&format!("netatop: {command}: ")), "{told}");
        assert!(!told.contains("unattributed"), "{told}");
    }
    // A command can end with the same status.
    let output = Command::new(NETATOP)
        .args(["record", "--", "sh", "-c", "exit 127"])
        .output()
        .expect("netatop");
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(told.contains("unattributed"), "{told}");
}
