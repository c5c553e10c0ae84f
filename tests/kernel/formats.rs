//! DuckDB and jq read netatop's files correctly without options.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::end_to_end::record;
use super::harness::{Workload, netatop};

/// The summed columns, in the same order for all programs.
const SUMMED: [&str; 4] = [
    "tcp_send_bytes",
    "tcp_recv_bytes",
    "udp_send_msgs",
    "udp_recv_bytes",
];

type Sums = BTreeMap<u64, [u64; 4]>;

fn add(sums: &mut Sums, row: &Value) {
    let pid = row["pid"].as_u64().expect("pid");
    let sum = sums.entry(pid).or_default();
    for (sum, column) in sum.iter_mut().zip(SUMMED) {
        *sum += row[column].as_u64().expect("an integer");
    }
}

fn duckdb(query: &str) -> Value {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    let script = "import duckdb, json, sys\n\
                  rows = duckdb.sql(sys.argv[1]).fetchall()\n\
                  print(json.dumps(rows, default=str))";
    let output = Command::new(&python)
        .args(["-c", script, query])
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}; scripts/setup --test makes it", python.display()));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("json")
}

#[test]
fn duckdb_and_jq_read_what_the_workload_did() {
    let dir = tempfile::tempdir().expect("tempdir");
    let csv = dir.path().join("r.csv");
    let json = dir.path().join("r.jsonl");
    let text = |path: &Path| path.to_str().expect("utf-8").to_owned();
    let recordings = [&csv, &json].map(|path| record(&["-i", "50ms", "-o", &text(path)]));
    let mut truth = Sums::new();
    for args in [
        &["fork-tree", "list=1"][..],
        &["tcp"],
        &["udp6"],
        &["name", "hex=6122272c0a"],
    ] {
        for line in Workload::start(args).finish() {
            add(&mut truth, &line);
        }
    }
    for (child, _) in recordings {
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("kill");
        assert!(child.wait_with_output().expect("wait").status.success());
    }

    for table in [
        format!("read_csv_auto('{}')", text(&csv)),
        format!("read_json_auto('{}')", text(&json)),
    ] {
        let types: BTreeMap<String, String> = duckdb(&format!("describe select * from {table}"))
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| {
                let cell = |i: usize| row[i].as_str().expect("text").to_owned();
                (cell(0), cell(1))
            })
            .collect();
        for time in ["time", "start"] {
            assert!(types[time].starts_with("TIMESTAMP"), "{table}: {types:?}");
        }
        for number in ["pid", "uid"].iter().chain(&SUMMED) {
            assert_eq!(types[*number], "BIGINT", "{table}: {number}");
        }
        let sums = SUMMED
            .map(|column| format!("sum({column})::bigint"))
            .join(", ");
        let rows = duckdb(&format!(
            "select pid, {sums} from {table} where pid is not null group by pid"
        ));
        let mut counted = Sums::new();
        for row in rows.as_array().expect("rows") {
            let number = |i: usize| row[i].as_u64().expect("a number");
            counted.insert(number(0), [1, 2, 3, 4].map(number));
        }
        counted.retain(|pid, _| truth.contains_key(pid));
        assert_eq!(counted, truth, "{table}");
    }

    let program = "group_by(.pid)[] | {pid: .[0].pid} + (map(to_entries[] | \
                   select(.key | test(\"_(msgs|bytes)$\"))) | group_by(.key) | \
                   map({(.[0].key): (map(.value) | add)}) | add)";
    let output = Command::new("jq")
        .args(["-c", "-s", program, &text(&json)])
        .output()
        .expect("jq");
    let mut counted = Sums::new();
    for line in String::from_utf8(output.stdout).expect("utf-8").lines() {
        add(&mut counted, &serde_json::from_str(line).expect("json"));
    }
    counted.retain(|pid, _| truth.contains_key(pid));
    assert_eq!(counted, truth, "jq");
}

#[test]
fn appending_twice_gives_one_header() {
    let dir = tempfile::tempdir().expect("tempdir");
    let csv = dir.path().join("r.csv");
    let path = csv.to_str().expect("utf-8");
    for _ in 0..2 {
        let (child, _) = record(&["-o", path, "--append"]);
        Workload::start(&["tcp"]).finish();
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("kill");
        assert!(child.wait_with_output().expect("wait").status.success());
    }
    let text = std::fs::read_to_string(&csv).expect("read");
    assert_eq!(
        text.lines()
            .filter(|line| line.starts_with("time,"))
            .count(),
        1
    );
    assert!(
        text.lines()
            .filter(|line| line.contains(",workload,"))
            .count()
            >= 2
    );
}

/// A file system with room for a few pages.
#[test]
fn a_full_disk_is_told_and_whole_lines_stay() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mount = dir.path().to_str().expect("utf-8");
    nix::mount::mount(
        Some("tmpfs"),
        mount,
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some("size=16k"),
    )
    .expect("mount");
    let file = dir.path().join("r.csv");
    let (child, messages) = record(&["-i", "10ms", "-o", file.to_str().expect("utf-8")]);
    let flow = Workload::start(&["flow", "size=100"]);
    let output = child.wait_with_output().expect("wait");
    flow.finish();
    let told = messages.join().expect("messages");
    let text = std::fs::read(&file).expect("read");
    nix::mount::umount(mount).expect("umount");
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("r.csv") && told.contains("No space left"),
        "{told}"
    );
    assert!(text.len() > 1000 && text.ends_with(b"\n"));
    let header = text.split(|b| *b == b'\n').next().expect("header");
    let commas = |line: &[u8]| line.iter().filter(|b| **b == b',').count();
    for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        assert_eq!(commas(line), commas(header));
    }
}

#[test]
fn a_killed_recording_leaves_whole_lines() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("r.jsonl");
    let (mut child, _) = record(&["-i", "10ms", "-o", file.to_str().expect("utf-8")]);
    let flow = Workload::start(&["flow", "size=100"]);
    super::harness::wait_for("some rows", || {
        let text = std::fs::read_to_string(&file).ok()?;
        (text.lines().count() > 5).then_some(())
    });
    child.kill().expect("kill");
    child.wait().expect("wait");
    flow.finish();
    let text = std::fs::read_to_string(&file).expect("read");
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        serde_json::from_str::<Value>(line).expect("a whole line");
    }
}

/// If the wall clock is set between two recordings, `start` changes, and `start_ns` does not.
#[test]
fn a_process_has_the_same_start_in_every_recording() {
    let flow = Workload::start(&["flow", "size=10"]);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", flow.pid())).expect("stat");
    let (_, fields) = stat.rsplit_once(") ").expect("fields");
    let ticks: u64 = fields
        .split(' ')
        .nth(19)
        .and_then(|field| field.parse().ok())
        .expect("start");
    let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    let starts: Vec<u64> = (0..3)
        .map(|_| {
            let output = netatop()
                .args(["record", "-q", "-d", "50ms", "-f", "json"])
                .output()
                .expect("netatop");
            let text = String::from_utf8(output.stdout).expect("UTF-8");
            let row = text
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
                .find(|row| row["pid"] == flow.pid())
                .expect("its row");
            row["start_ns"].as_u64().expect("a number")
        })
        .collect();
    flow.finish();
    assert!(starts.iter().all(|start| *start == starts[0]), "{starts:?}");
    assert_eq!(starts[0] / tick, ticks);
}
