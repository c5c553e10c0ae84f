//! Outputs that stall, are deleted, have limits, or are not files.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::end_to_end::{record, send_signal, wait_until_attached};
use super::harness::{Workload, counters, netatop, wait_for};

/// A pipe with room for one page, filled with empty lines.
fn full_pipe() -> (File, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let size = rustix::pipe::fcntl_setpipe_size(&writer, 4096).expect("a size");
    rustix::io::write(&writer, &vec![b'\n'; size]).expect("room");
    (File::from(reader), writer)
}

/// Starts a recording to `output`, and returns when the recording counts.
fn record_to(output: OwnedFd, args: &[&str]) -> (Child, std::thread::JoinHandle<String>) {
    let mut child = netatop()
        .args(["record", "--verbose"])
        .args(args)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn()
        .expect("netatop");
    let mut messages = std::io::BufReader::new(child.stderr.take().expect("piped"));
    wait_until_attached(&mut messages);
    let rest = std::thread::spawn(move || std::io::read_to_string(messages).expect("read"));
    (child, rest)
}

fn fields(line: &str) -> usize {
    line.split(',').count()
}

/// Checks that every line has as many columns as the header.
#[track_caller]
fn assert_whole(text: &str) {
    assert!(text.ends_with('\n'), "{text:?}");
    let header = text.lines().next().expect("a header");
    assert!(header.starts_with("time,"), "{header}");
    for line in text.lines() {
        assert_eq!(fields(line), fields(header), "{line}");
    }
}

#[test]
fn a_reader_that_stalls_does_not_keep_it_from_ending() {
    let started = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].map(|signal| {
        let (reader, writer) = full_pipe();
        let (child, told) = record_to(writer, &["-i", "10ms", "-f", "csv"]);
        send_signal(&child, signal);
        (signal, reader, child, told)
    });
    for (signal, reader, mut child, told) in started {
        // The pipe is not read before the recording ends.
        let status = child.wait().expect("wait");
        let told = told.join().expect("messages");
        assert_eq!(status.code(), Some(1), "{signal}: {told}");
        assert_eq!(told.lines().count(), 1, "{signal}: {told}");
        assert!(told.starts_with("netatop: standard output: "), "{told}");
        let text = std::io::read_to_string(reader).expect("read");
        assert_eq!(text.trim_start(), "");
    }
}

/// More threads end than fit into the ring buffer and the maps behind it.
#[test]
fn exits_during_a_stall_are_all_counted() {
    let (mut reader, writer) = full_pipe();
    let mut workload = Workload::start(&["thread-storm", "n=150000", "delay-go=1"]);
    let pid = workload.pid().to_string();
    // Not even the header can be written.
    let (mut child, told) = record_to(writer, &["-p", &pid, "--follow", "-f", "csv"]);
    workload.go();
    let truth = workload.finish();
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("read");
    assert!(child.wait().expect("wait").success());
    let text = text.trim_start();
    assert_whole(text);
    let mut lines = text.lines().map(|line| line.split(','));
    let header: Vec<&str> = lines.next().expect("a header").collect();
    let row: serde_json::Map<String, Value> = header
        .iter()
        .map(|name| (*name).to_owned())
        .zip(
            lines
                .next()
                .expect("a row")
                .map(|field| field.parse::<u64>().map_or(Value::Null, Value::from)),
        )
        .collect();
    assert_eq!(
        lines.next().map(Iterator::count),
        None,
        "nothing else: {text}"
    );
    let counted = counters(&row.into(), Default::default());
    assert_eq!(counted, counters(&truth[0], counted));
    let told = told.join().expect("messages");
    assert!(told.contains(" 0 unattributed"), "{told}");
}

/// A size limit, as `ulimit -f` sets it.
#[test]
fn a_limit_on_file_sizes_is_an_error_and_whole_lines_stay() {
    let dir = tempfile::tempdir().expect("tempdir");
    let flow = Workload::start(&["flow", "size=100"]);
    for name in ["r.csv", "r.csv.gz", "r.csv.zst"] {
        let path = dir.path().join(name);
        let mut command = netatop();
        command.args(["record", "-i", "10ms", "-o"]).arg(&path);
        // SAFETY: the closure only sets a limit between fork and exec.
        unsafe { command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_FSIZE, 5_000, 5_000)?)) };
        let ran = command.output().expect("netatop");
        let told = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{told}");
        assert!(
            told.contains(name) && told.contains("File too large"),
            "{told}"
        );
        assert_eq!(told.lines().count(), 1, "{told}");
        assert_whole(&text_of(&path));
    }
    flow.finish();
}

/// Decompresses with the usual tools, which report an unfinished end as an error.
fn text_of(path: &Path) -> String {
    let tool = match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => &["zcat"][..],
        Some("zst") => &["zstdcat"],
        _ => &["cat"],
    };
    let ran = Command::new(tool[0]).arg(path).output().expect("a tool");
    assert!(ran.status.success(), "{tool:?}: {ran:?}");
    String::from_utf8(ran.stdout).expect("UTF-8")
}

/// The command does not inherit netatop's handler of SIGXFSZ.
#[test]
fn a_command_has_the_usual_signal_of_a_size_limit() {
    let script = "grep -E '^Sig(Ign|Blk)' /proc/self/status";
    let own = Command::new("sh")
        .args(["-c", script])
        .output()
        .expect("sh");
    let mut command = Command::new(super::harness::NETATOP);
    let ran = command
        .args(["record", "-q", "-o", "/dev/null", "--", "sh", "-c", script])
        .output()
        .expect("netatop");
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&own.stdout)
    );
}

#[test]
fn a_file_that_is_taken_away_is_an_error_that_names_it() {
    let flow = Workload::start(&["flow", "size=100"]);
    for with_directory in [false, true] {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("r.csv");
        let (mut child, told) = record(&["-i", "10ms", "-o", path.to_str().expect("utf-8")]);
        wait_for("a row", || {
            (fs::read_to_string(&path).ok()?.lines().count() > 1).then_some(())
        });
        if with_directory {
            fs::remove_dir_all(dir.path()).expect("remove");
        } else {
            fs::remove_file(&path).expect("remove");
        }
        assert_eq!(child.wait().expect("wait").code(), Some(1));
        let told = told.join().expect("messages");
        assert!(told.contains("r.csv was deleted"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    flow.finish();
}

/// logrotate empties files with `copytruncate`.
#[test]
fn a_file_that_is_emptied_has_a_header_again_and_no_gap() {
    let flow = Workload::start(&["flow", "size=100"]);
    for append in [&[][..], &["--append"]] {
        for name in ["r.csv", "r.csv.gz"] {
            let dir = tempfile::tempdir().expect("tempdir");
            let path = dir.path().join(name);
            let output = path.to_str().expect("utf-8");
            let (mut child, _) = record(&[&["-i", "10ms", "-o", output], append].concat());
            let grown = || {
                let length = fs::metadata(&path).ok()?.len();
                (length > 1_000).then_some(())
            };
            wait_for("rows", grown);
            File::options()
                .write(true)
                .truncate(true)
                .open(&path)
                .expect("empty it");
            wait_for("rows again", grown);
            send_signal(&child, Signal::SIGINT);
            assert!(child.wait().expect("wait").success());
            assert_whole(&text_of(&path));
        }
    }
    flow.finish();
}

#[test]
fn a_killed_recording_leaves_a_compressed_file_that_is_whole() {
    let flow = Workload::start(&["flow", "size=100"]);
    for name in ["r.csv.gz", "r.csv.zst"] {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join(name);
        let output = path.to_str().expect("utf-8");
        let (mut child, _) = record(&["-i", "10ms", "-o", output]);
        wait_for("some intervals", || {
            (fs::metadata(&path).ok()?.len() > 2_000).then_some(())
        });
        // Decompress also while the file is being written.
        let before = text_of(&path);
        assert_whole(&before);
        child.kill().expect("kill");
        child.wait().expect("wait");
        let text = text_of(&path);
        assert!(text.starts_with(&before));
        assert_whole(&text);
        let (child, _) = record(&["-o", output, "--append"]);
        send_signal(&child, Signal::SIGINT);
        assert!(child.wait_with_output().expect("wait").status.success());
        assert_whole(&text_of(&path));
    }
    flow.finish();
}

#[test]
fn two_recordings_that_begin_together_write_one_header() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("r.csv");
    let flow = Workload::start(&["flow", "size=100"]);
    let both = [(); 2].map(|()| {
        netatop()
            .args(["record", "-d", "300ms", "-i", "50ms", "--append", "-o"])
            .arg(&path)
            .stderr(Stdio::piped())
            .spawn()
            .expect("netatop")
    });
    for child in both {
        let ran = child.wait_with_output().expect("wait");
        assert!(ran.status.success(), "{ran:?}");
    }
    flow.finish();
    let text = text_of(&path);
    assert_whole(&text);
    let headers = text.lines().filter(|line| line.starts_with("time,"));
    assert_eq!(headers.count(), 1);
}

/// Tests the shell's `>(gzip)`, a FIFO, and the names of standard output.
#[test]
fn what_is_not_a_file_needs_no_force() {
    let dir = tempfile::tempdir().expect("tempdir");
    let program = super::harness::NETATOP;
    for script in [
        "$N record -q -d 50ms -f csv -o >(cat >out); wait $!",
        "mkfifo f.csv; cat f.csv >out & $N record -q -d 50ms -o f.csv; wait",
        "$N record -q -d 50ms -f csv -o /dev/stdout >out",
        "$N record -q -d 50ms -f csv -o /dev/stdout | cat >out",
        "$N record -q -d 50ms -f csv -o /dev/fd/7 7>out",
        "$N record -q -d 50ms -f csv -o /dev/stderr 2>out",
        "$N record -q -d 50ms -f csv -- true 2>out",
    ] {
        let ran = Command::new("bash")
            .args(["-c", script])
            .env("N", program)
            .current_dir(dir.path())
            .output()
            .expect("bash");
        assert!(ran.status.success(), "{script}: {ran:?}");
        let text = fs::read_to_string(dir.path().join("out")).expect("out");
        assert_whole(&text);
        fs::remove_file(dir.path().join("out")).expect("remove");
    }
}

/// Standard output can be a socket, for example from inetd. Such a socket cannot be opened by name.
#[test]
fn a_socket_as_standard_output_gets_rows() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let ran = netatop()
        .args([
            "record",
            "-q",
            "-d",
            "50ms",
            "-f",
            "csv",
            "-o",
            "/dev/stdout",
        ])
        .stdout(OwnedFd::from(theirs))
        .output()
        .expect("netatop");
    assert!(ran.status.success(), "{ran:?}");
    assert_whole(&std::io::read_to_string(ours).expect("rows"));
}

/// A program that reads rows from standard error finds no other text there.
#[test]
fn rows_on_standard_error_have_no_summary_behind_them() {
    let dir = tempfile::tempdir().expect("tempdir");
    let log = dir.path().join("both");
    let ran = netatop()
        .args(["record", "-f", "csv", "--", "true"])
        .output()
        .expect("netatop");
    assert_whole(&String::from_utf8(ran.stderr).expect("UTF-8"));
    let both = File::create(&log).expect("create");
    let status = netatop()
        .args(["record", "-d", "50ms", "-f", "csv"])
        .stdout(both.try_clone().expect("dup"))
        .stderr(both)
        .status()
        .expect("netatop");
    assert!(status.success());
    assert_whole(&text_of(&log));
    let ran = netatop()
        .args(["record", "-d", "50ms", "-f", "csv"])
        .output()
        .expect("netatop");
    assert!(
        String::from_utf8_lossy(&ran.stderr).contains("unattributed"),
        "{ran:?}"
    );
}
