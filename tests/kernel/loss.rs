//! Loss made on purpose: what cannot be attributed is reported, to the message and byte.

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Instant;

use chrono::{DateTime, Utc};
use netatop::error::Error;
use netatop::kernel::{Capacity, Filter, Storage, Tracer};
use netatop::model::{Counters, Extent, Ledger};
use netatop::output::{Existing, Json, Layout, Lines, Sink};
use netatop::record::{Cgroups, Clock, Rows, Schedule, Session, SortKey, Woken};
use netatop::source::Source;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::end_to_end::{record, send_signal};
use super::filters::{Cgroup, mount};
use super::harness::{NETATOP, Outcome, Workload, counters, wait_for};

/// Runs a storm while nobody takes the exit records; how many were lost is told as well.
fn without_reader(capacity: Capacity, storm: &[&str]) -> (Outcome, u64) {
    let mut workload = Workload::start(&[storm, &["delay-go=1"]].concat());
    let filter = family_of(&workload);
    let mut storage = Storage::default();
    let mut tracer = Tracer::attach(&mut storage, capacity, &filter).expect("attach");
    workload.go();
    let lines = workload.finish();
    let mut ledger = Ledger::new(false);
    let sample = tracer.sample(Extent::Changes).expect("sample");
    sample.enter(&mut ledger);
    let interval = ledger.interval(|_| false);
    let rows = interval.usage.iter().map(|u| u.counters).sum();
    let outcome = Outcome {
        truth: counters(&lines[0], rows),
        rows,
        unattributed: interval.unattributed,
    };
    (outcome, sample.losses.exits_lost)
}

/// It and its descendants: what others on this host lose at the same time is theirs.
fn family_of(workload: &Workload) -> Filter {
    Filter {
        pids: vec![workload.pid()],
        follow: true,
        ..Filter::default()
    }
}

const TINY: Capacity = Capacity {
    slots: 16,
    ring_bytes: 4096,
    overflow: 8,
    spare: 8192,
};

#[test]
fn a_ring_of_one_page_and_a_table_of_eight_lose_nothing_silently() {
    let (outcome, lost) = without_reader(TINY, &["process-storm", "n=2000", "parallel=4"]);
    outcome.assert_complete("process-storm n=2000, a ring of one page, a table of 8, no reader");
    assert!(lost > 1900, "{lost} lost");
    assert_eq!(outcome.unattributed.udp_send_msgs, lost);
}

#[test]
fn a_reader_that_stops_for_thirty_thousand_exits_loses_none() {
    let (outcome, lost) = without_reader(
        Capacity::default(),
        &["process-storm", "n=30000", "parallel=4"],
    );
    outcome.assert_exact("process-storm n=30000, no reader");
    assert_eq!(lost, 0);
}

#[test]
fn a_reader_that_stops_for_a_hundred_thousand_exits_reports_the_rest() {
    let (outcome, lost) = without_reader(
        Capacity::default(),
        &["thread-storm", "n=100000", "parallel=4"],
    );
    outcome.assert_complete("thread-storm n=100000, no reader");
    assert!(lost > 0);
}

/// The whole way to the rows of a file, with sizes that no option sets.
#[test]
fn rows_and_summary_say_what_was_lost() {
    let mut workload = Workload::start(&["thread-storm", "n=5000", "delay-go=1", "hold=1"]);
    let filter = family_of(&workload);
    let mut storage = Storage::default();
    let mut tracer = Tracer::attach(&mut storage, TINY, &filter).expect("attach");
    workload.go();
    let truth = workload.line();
    workload.finish();
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("rows.jsonl");
    let mut sink = Sink::open(&path, Existing::Refuse, Lines::Plain).expect("open");
    let layout = Layout::default();
    let mut json = Json::new(layout, "host".to_owned());
    let rows = Rows {
        layout,
        sort: SortKey::default(),
        top: None,
        booted: Utc::now(),
    };
    let (cgroups, mut clock) = (Cgroups::default(), AtOnce);
    let session = Session::new(&mut tracer, &mut clock, &mut json, &mut sink, rows, cgroups);
    let summary = session.run(Schedule::default()).expect("no error");
    let mut outcome = rows_of(&path, "workload");
    outcome.truth = counters(&truth, outcome.rows);
    outcome.assert_complete("thread-storm n=5000, a ring of one page, a table of 8, in json");
    assert!(summary.losses.exits_lost > 4000, "{:?}", summary.losses);
    assert_eq!(summary.unattributed, outcome.unattributed);
    assert_eq!(summary.total, outcome.truth);
}

/// Ends a session with its first sample.
struct AtOnce;

impl Clock for AtOnce {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn utc(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn wait(&mut self, _: Option<Instant>, _: Option<BorrowedFd<'_>>) -> Result<Woken, Error> {
        Ok(Woken::Ended)
    }
}

/// What a json file shows of one name, and of nobody.
fn rows_of(path: &Path, comm: &str) -> Outcome {
    let text = fs::read_to_string(path).expect("rows");
    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    let of = |comm: &str| -> Counters {
        rows.iter()
            .filter(|row| row["comm"] == comm)
            .map(|row| counters(row, Counters::default()))
            .sum()
    };
    Outcome {
        rows: of(comm),
        unattributed: of("(unattributed)"),
        ..Outcome::default()
    }
}

/// As a host that swaps, a debugger or a full pipe may do it to a recording.
#[test]
fn a_recording_stopped_during_a_hundred_thousand_exits_tells_what_it_lost() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("rows.jsonl");
    let mut workload = Workload::start(&["thread-storm", "n=100000", "delay-go=1"]);
    let pid = workload.pid().to_string();
    let output = path.to_str().expect("utf-8");
    let (mut child, told) = record(&["-p", &pid, "--follow", "-i", "50ms", "-o", output]);
    send_signal(&child, Signal::SIGSTOP);
    wait_for("it to stop", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).ok()?;
        stat.contains(") T ").then_some(())
    });
    workload.go();
    let truth = workload.finish();
    send_signal(&child, Signal::SIGCONT);
    assert!(child.wait().expect("wait").success());
    let mut outcome = rows_of(&path, "workload");
    outcome.truth = counters(&truth[0], outcome.rows);
    outcome.assert_complete("thread-storm n=100000, the recording stopped by SIGSTOP");
    let lost = outcome.unattributed.udp_send_msgs;
    assert!(lost > 0 && lost < 100_000, "{lost}");
    let told = told.join().expect("messages");
    assert!(
        told.contains(&format!("unattributed: {lost} messages")),
        "{told}"
    );
    let why = format!("{lost} threads ended while there was no room for a record of it");
    assert!(told.contains(&why), "{told}");
}

/// What earlier snapshots showed of threads whose exit is lost must not count again.
#[test]
fn a_lost_exit_is_reported_without_what_rows_showed_before() {
    let mut workload = Workload::start(&["live-threads", "n=3000", "delay-go=1"]);
    let filter = family_of(&workload);
    let mut storage = Storage::default();
    let mut tracer = Tracer::attach(&mut storage, TINY, &filter).expect("attach");
    workload.go();
    let truth = workload.line();
    let mut ledger = Ledger::new(false);
    let mut sum = Counters::default();
    let mut take = |tracer: &mut Tracer<'_>| {
        let sample = tracer.sample(Extent::Changes).expect("sample");
        sample.enter(&mut ledger);
        let interval = ledger.interval(|_| false);
        let rows: Counters = interval.usage.iter().map(|u| u.counters).sum();
        sum += rows + interval.unattributed;
        sample.losses.exits_lost
    };
    assert_eq!(take(&mut tracer), 0);
    workload.finish();
    assert!(take(&mut tracer) > 2000, "most exits are lost");
    assert_eq!(sum, counters(&truth, sum), "and nothing is counted twice");
}

/// A cgroup whose memory can be limited, on hosts of either kind.
struct MemoryCgroup {
    path: PathBuf,
    limit: &'static str,
    usage: &'static str,
    unlimited: &'static str,
}

impl MemoryCgroup {
    fn new(name: &str) -> Self {
        let name = format!("netatop-test-{}-{name}", std::process::id());
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let cgroup = if v1.join("memory.limit_in_bytes").exists() {
            Self {
                path: v1.join(name),
                limit: "memory.limit_in_bytes",
                usage: "memory.usage_in_bytes",
                unlimited: "-1",
            }
        } else {
            let root = Path::new("/sys/fs/cgroup");
            fs::write(root.join("cgroup.subtree_control"), "+memory").expect("memory controller");
            Self {
                path: root.join(name),
                limit: "memory.max",
                usage: "memory.current",
                unlimited: "max",
            }
        };
        fs::create_dir(&cgroup.path).expect("mkdir");
        cgroup
    }

    fn set_limit(&self, limit: &str) {
        fs::write(self.path.join(self.limit), limit).expect("limit");
    }

    fn usage(&self) -> u64 {
        let usage = fs::read_to_string(self.path.join(self.usage)).expect("usage");
        usage.trim().parse().expect("a number")
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        wait_for("the cgroup to be empty", || fs::remove_dir(&self.path).ok());
    }
}

/// Starts a recording in `cgroup`, and returns when it counts.
fn record_in(cgroup: &MemoryCgroup, args: &str) -> (Child, JoinHandle<String>) {
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec {NETATOP} record -v {args}",
        cgroup.path.display(),
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stderr(Stdio::piped())
        .spawn()
        .expect("start");
    let mut messages = std::io::BufReader::new(child.stderr.take().expect("piped"));
    super::end_to_end::wait_until_attached(&mut messages);
    let told = std::thread::spawn(move || std::io::read_to_string(messages).expect("read"));
    (child, told)
}

#[test]
fn a_memory_limit_that_is_reached_is_reported_as_unattributed() {
    let cgroup = MemoryCgroup::new("all");
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    // A filter that tracks nobody: what others have no memory for meanwhile is theirs.
    let name = format!("netatop-test-{}-counted", std::process::id());
    let counted = Cgroup::new(mount().expect("cgroup v2").join(&name));
    let mut workload = Workload::start(&["live-threads", "n=20000", "delay-go=1"]);
    counted.adopt(workload.pid());
    let (mut child, told) = record_in(&cgroup, &format!("-c {name} -o {}", file.display()));
    cgroup.set_limit(&(cgroup.usage() + 300_000).to_string());
    workload.go();
    let truth = workload.line();
    // The reader itself needs memory to tell.
    cgroup.set_limit(cgroup.unlimited);
    workload.finish();
    send_signal(&child, Signal::SIGTERM);
    assert!(child.wait().expect("wait").success());

    let mut outcome = rows_of(&file, "workload");
    outcome.truth = counters(&truth, outcome.rows);
    outcome.assert_complete("live-threads n=20000, no memory for their storage");
    assert!(!outcome.unattributed.is_zero(), "the limit was reached");
    let told = told.join().expect("messages");
    assert!(told.contains("no memory to count them"), "{told}");
}

/// Whom it cannot follow it cannot count: what is left is to say how many that were.
#[test]
fn threads_that_cannot_be_followed_for_want_of_memory_are_told() {
    let cgroup = MemoryCgroup::new("followed");
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    let mut workload = Workload::start(&["live-threads", "n=20000", "delay-go=1"]);
    let args = format!("-p {} --follow -o {}", workload.pid(), file.display());
    let (mut child, told) = record_in(&cgroup, &args);
    cgroup.set_limit(&(cgroup.usage() + 300_000).to_string());
    workload.go();
    let truth = workload.line();
    cgroup.set_limit(cgroup.unlimited);
    workload.finish();
    assert!(child.wait().expect("wait").success());

    let outcome = rows_of(&file, "workload");
    let truth = counters(&truth, outcome.rows);
    let missing = truth
        .since(outcome.rows + outcome.unattributed)
        .udp_send_msgs;
    assert!(missing > 0, "the limit was reached");
    let told = told.join().expect("messages");
    // Each of these threads sends one datagram.
    let what = format!("{missing} new tasks could not be followed for want of memory");
    assert!(told.contains(&what), "{missing}: {told}");
}
