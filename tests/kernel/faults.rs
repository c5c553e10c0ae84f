//! Signals at every moment, and hosts with missing requirements: netatop does not panic, writes only
//! whole lines, leaves no programs attached, and its errors name a remedy.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::end_to_end::{exists, held_by, send_signal};
use super::harness::{NETATOP, Workload, counters, netatop, wait_for};

/// Starts a recording to `rows`, with messages in a log file in the same directory.
fn start(rows: &Path, args: &[&str]) -> Child {
    netatop()
        .args(["record", "-i", "10ms", "--force", "-o"])
        .arg(rows)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(rows.with_extension("log")).expect("log"))
        .spawn()
        .expect("netatop")
}

/// Ends a recording after `delay`, and checks its output. Returns whether counting had begun.
fn end_after(delay: Duration, signal: Signal, args: &[&str], ended: &[i32]) -> bool {
    let dir = tempfile::tempdir().expect("tempdir");
    let rows = dir.path().join("rows.jsonl");
    let mut child = start(&rows, args);
    let due = Instant::now() + delay;
    // Wait actively: a sleep would be less precise than the steps between the tested moments.
    while Instant::now() < due {
        std::hint::spin_loop();
    }
    let held = held_by(child.id());
    send_signal(&child, signal);
    // Repeat the signal during the orderly end, as some service managers do.
    send_signal(&child, Signal::SIGTERM);
    let status = child.wait().expect("wait");
    let told = fs::read_to_string(rows.with_extension("log")).expect("log");
    let case = format!("{signal} after {delay:?} {args:?}: {status}: {told}");
    let killed = [Some(signal as i32), Some(Signal::SIGTERM as i32)].contains(&status.signal());
    let in_order = status.code().is_some_and(|code| ended.contains(&code));
    assert!(killed || in_order, "{case}");
    assert!(!told.contains("panicked"), "{case}");
    let text = fs::read_to_string(&rows).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "{case}");
    for line in text.lines() {
        serde_json::from_str::<Value>(line).expect(&case);
    }
    wait_for("programs and maps to go", || {
        (!held.iter().any(exists)).then_some(())
    });
    let parent = child.id().to_string();
    wait_for("the held command to go", || {
        (!command_lines().any(|line| line.contains(&format!("--parent {parent} ")))).then_some(())
    });
    !text.is_empty()
}

fn command_lines() -> impl Iterator<Item = String> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes.filter_map(|process| {
        let line = fs::read(process.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    })
}

/// Tests moments from before the first instruction until after the recording has begun.
fn at_every_moment(args: &[&str], ended: &[i32], signals: &[Signal]) {
    let flow = Workload::start(&["flow", "size=100", "rate=500"]);
    let step = Duration::from_micros(2_500);
    let mut recorded = 0;
    let mut delay = Duration::ZERO;
    for signal in signals.iter().cycle() {
        recorded += u32::from(end_after(delay, *signal, args, ended));
        delay += step;
        // Continue until some recordings had begun to write, even on a slow host.
        if recorded > 6 {
            break;
        }
    }
    flow.finish();
}

#[test]
fn a_signal_at_any_moment_ends_it_cleanly() {
    at_every_moment(&["-q"], &[0], &[Signal::SIGINT, Signal::SIGTERM]);
}

/// SIGTERM is passed on to the command. The exit status is the command's, or that of the signal if
/// the signal came first.
#[test]
fn a_signal_at_any_moment_ends_it_with_its_command() {
    let flow = super::harness::workload();
    let command = [
        "-q",
        "--",
        flow.to_str().expect("utf-8"),
        "flow",
        "rate=500",
        "n=1000000",
    ];
    at_every_moment(&command, &[0, 143], &[Signal::SIGTERM]);
}

/// The command is paused until all programs are attached. If netatop is killed before that, the
/// paused process must end.
#[test]
fn a_kill_at_any_moment_leaves_no_held_command() {
    for step in 0..40 {
        let delay = Duration::from_millis(step * 3);
        end_after(delay, Signal::SIGKILL, &["-q", "--", "true"], &[0]);
    }
}

/// Runs netatop in a new mount namespace after the shell command `hide`.
fn without(hide: &str, args: &str) -> Output {
    let script = format!("{hide} && exec {NETATOP} record {args}");
    std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .stdin(Stdio::null())
        .output()
        .expect("unshare")
}

#[track_caller]
fn assert_refused(output: &Output, parts: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(output.stdout.is_empty(), "{told}");
    assert!(
        told.starts_with("netatop: ") && told.lines().count() <= 2,
        "{told}"
    );
    for part in parts {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
}

const NO_PROC: &str = "mount -t tmpfs none /proc";

#[test]
fn without_proc_it_counts_as_exactly() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (file, fifo) = (dir.path().join("rows"), dir.path().join("fifo"));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    let script = format!(
        "{NO_PROC} && exec {NETATOP} record -v -f json >{} 2>{}",
        file.display(),
        fifo.display()
    );
    let mut child = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .spawn()
        .expect("unshare");
    let mut messages = std::io::BufReader::new(fs::File::open(&fifo).expect("fifo"));
    super::end_to_end::wait_until_attached(&mut messages);
    let lines = Workload::start(&["tcp"]).finish();
    send_signal(&child, Signal::SIGTERM);
    assert!(child.wait().expect("wait").success());
    let text = fs::read_to_string(&file).expect("rows");
    let row = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a whole line"))
        .find(|row| row["pid"] == lines[0]["pid"])
        .expect("its row");
    let counted = counters(&row, Default::default());
    assert_eq!(counted, counters(&lines[0], counted));
    assert_eq!(row["state"], "exited");
}

#[test]
fn what_needs_proc_says_so_where_there_is_none() {
    let output = without(NO_PROC, "-- true");
    assert!(
        output.status.success(),
        "a command does not need it: {output:?}"
    );
    assert_refused(
        &without(NO_PROC, "-d 10ms -c /"),
        &["mountinfo", "/proc must be mounted"],
    );
}

#[test]
fn without_type_information_it_says_where_to_get_it() {
    for hide in ["/sys/kernel/btf", "/sys"] {
        let output = without(&format!("mount -t tmpfs none {hide}"), "-d 10ms");
        assert_refused(
            &output,
            &[
                "/sys/kernel/btf/vmlinux",
                "CONFIG_DEBUG_INFO_BTF",
                "/sys must be mounted",
            ],
        );
    }
}

/// Tests every limit of open files, from the smallest that lets a program start to a sufficient one.
#[test]
fn too_few_files_are_named_whatever_they_are_too_few_for() {
    // Whoever runs the tests may have left files open. They count, too.
    let with = |limit: u32, args: &str| {
        let close = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-";
        without(&format!("{close}; ulimit -n {limit}"), args)
    };
    for limit in 9..112 {
        let output = with(limit, "-d 10ms");
        let files = format!("at most {limit} files");
        assert_refused(&output, &[&files, "ulimit -n 1024"]);
    }
    for limit in [4, 6, 8] {
        let output = with(limit, "-d 10ms");
        assert_refused(&output, &["Too many open files"]);
    }
    let all = "-r --tcp --net 192.0.2.0/24 --port 1 --no-loopback --resolve --cmdline -t -f csv \
               --comm 'x*' --uid root --unit none -d 10ms -p $$ --follow";
    for args in ["-d 10ms", "-- true", all] {
        let output = with(112, args);
        assert!(output.status.success(), "{output:?}");
    }
}

/// A container has its own mount and pid namespaces, and often its own user namespace.
#[test]
fn in_a_container_it_says_where_to_run_it_instead() {
    let output = std::process::Command::new("unshare")
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--ipc",
            "--uts",
            "--cgroup",
        ])
        .args([NETATOP, "record", "-d", "10ms"])
        .output()
        .expect("unshare");
    assert_refused(&output, &["pid namespace", "run it on the host"]);
}
