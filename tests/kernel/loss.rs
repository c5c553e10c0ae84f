//! Loss made on purpose: what cannot be attributed is reported, to the message and byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use netatop::kernel::{Capacity, Filter, Storage, Tracer};
use netatop::model::{Counters, Ledger};
use netatop::source::Source;
use serde_json::Value;

use super::end_to_end::interrupt;
use super::harness::{NETATOP, Workload, counters, wait_for};

/// What rows show of the workload, what they show of nobody, and how many exits were lost.
struct Outcome {
    rows: Counters,
    unattributed: Counters,
    exits_lost: u64,
}

/// Runs a storm while nobody takes the exit records.
fn without_reader(capacity: Capacity, storm: &[&str]) -> (Outcome, Value) {
    let mut storage = Storage::default();
    let mut tracer = Tracer::attach(&mut storage, capacity, &Filter::default()).expect("attach");
    let lines = Workload::start(storm).finish();
    let mut ledger = Ledger::new(false);
    let sample = tracer.sample().expect("sample");
    ledger.snapshot(&sample.living, sample.losses);
    ledger.exits(&sample.exits);
    let interval = ledger.interval(|_| false);
    let rows = interval
        .usage
        .iter()
        .filter(|u| u.last.comm.as_bytes() == b"workload")
        .map(|u| u.counters)
        .sum();
    let outcome = Outcome {
        rows,
        unattributed: interval.unattributed,
        exits_lost: sample.losses.exits_lost,
    };
    (outcome, lines[0].clone())
}

#[test]
fn a_ring_of_one_page_and_a_table_of_eight_lose_nothing_silently() {
    let capacity = Capacity {
        ring_bytes: 4096,
        overflow: 8,
        ..Capacity::default()
    };
    let (outcome, truth) = without_reader(capacity, &["process-storm", "n=2000", "parallel=4"]);
    let sum = outcome.rows + outcome.unattributed;
    assert_eq!(sum, counters(&truth, sum), "{truth}");
    assert!(outcome.exits_lost > 1900, "{} lost", outcome.exits_lost);
    assert_eq!(outcome.unattributed.udp_send_msgs, outcome.exits_lost);
}

#[test]
fn a_reader_that_stops_for_thirty_thousand_exits_loses_none() {
    let (outcome, truth) = without_reader(
        Capacity::default(),
        &["process-storm", "n=30000", "parallel=4"],
    );
    assert_eq!(outcome.rows, counters(&truth, outcome.rows), "{truth}");
    assert!(outcome.unattributed.is_zero());
}

#[test]
fn a_reader_that_stops_for_a_hundred_thousand_exits_reports_the_rest() {
    let (outcome, truth) = without_reader(
        Capacity::default(),
        &["thread-storm", "n=100000", "parallel=4"],
    );
    let sum = outcome.rows + outcome.unattributed;
    assert_eq!(sum, counters(&truth, sum), "{truth}");
    assert!(outcome.exits_lost > 0);
}

/// What earlier snapshots showed of threads whose exit is lost must not count again.
#[test]
fn a_lost_exit_is_reported_without_what_rows_showed_before() {
    let capacity = Capacity {
        ring_bytes: 4096,
        overflow: 8,
        ..Capacity::default()
    };
    let mut storage = Storage::default();
    let mut tracer = Tracer::attach(&mut storage, capacity, &Filter::default()).expect("attach");
    let mut workload = Workload::start(&["live-threads", "n=3000"]);
    let truth = workload.line();
    let mut ledger = Ledger::new(false);
    let mut sum = Counters::default();
    let mut take = |tracer: &mut Tracer<'_>| {
        let sample = tracer.sample().expect("sample");
        ledger.snapshot(&sample.living, sample.losses);
        ledger.exits(&sample.exits);
        let interval = ledger.interval(|_| false);
        let ours = interval
            .usage
            .iter()
            .filter(|u| u.last.comm.as_bytes() == b"workload");
        sum += ours.map(|u| u.counters).sum::<Counters>() + interval.unattributed;
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
    fn new() -> Self {
        let name = format!("netatop-test-{}-memory", std::process::id());
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

#[test]
fn a_memory_limit_that_is_reached_is_reported_as_unattributed() {
    let cgroup = MemoryCgroup::new();
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec {NETATOP} record -v -o {}",
        cgroup.path.display(),
        file.display()
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stderr(Stdio::piped())
        .spawn()
        .expect("start");
    let mut messages = std::io::BufReader::new(child.stderr.take().expect("piped"));
    super::end_to_end::wait_until_attached(&mut messages);
    let told = std::thread::spawn(move || std::io::read_to_string(messages).expect("read"));

    cgroup.set_limit(&(cgroup.usage() + 300_000).to_string());
    let mut workload = Workload::start(&["live-threads", "n=20000"]);
    let truth = workload.line();
    // The reader itself needs memory to tell.
    cgroup.set_limit(cgroup.unlimited);
    workload.finish();
    interrupt(&child);
    assert!(child.wait().expect("wait").success());

    let text = fs::read_to_string(&file).expect("rows");
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
    let unattributed = of("(unattributed)");
    let sum = of("workload") + unattributed;
    assert_eq!(sum, counters(&truth, sum), "{truth}");
    assert!(!unattributed.is_zero(), "the limit was reached");
    let told = told.join().expect("messages");
    assert!(told.contains("no memory to count them"), "{told}");
}
