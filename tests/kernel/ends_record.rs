//! The filters by the ends of traffic as options of `netatop record`.

use std::fs;
use std::process::{Command, Output};

use netatop::model::Counters;
use serde_json::Value;

use super::filters::Cgroup;
use super::harness::{NETATOP, counters, workload};

/// Runs `netatop record ARGS -- COMMAND` and returns its output and the sum of its rows.
fn record(args: &[&str], command: &[&str]) -> (Output, Vec<Value>) {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    let output = Command::new(NETATOP)
        .args(["record", "-o"])
        .arg(&file)
        .args(args)
        .arg("--")
        .args(command)
        .output()
        .expect("netatop");
    assert!(output.status.success(), "{output:?}");
    let rows = fs::read_to_string(&file).expect("rows");
    let rows = rows.lines().map(serde_json::from_str);
    (output, rows.collect::<Result<_, _>>().expect("json"))
}

fn sum<'a>(lines: impl IntoIterator<Item = &'a Value>) -> Counters {
    let lines = lines.into_iter();
    lines.map(|line| counters(line, Counters::default())).sum()
}

/// The lines of the workload.
fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).expect("utf-8").lines();
    text.map(|line| serde_json::from_str(line).expect("json"))
        .collect()
}

/// All traffic of the workload is with loopback addresses: of IPv4, then of IPv6.
#[test]
fn they_combine_with_all_kinds_of_rows_and_other_filters() {
    let cgroup = Cgroup::of_test("ends");
    let script = "echo $$ >\"$1/cgroup.procs\"; \
        \"$0\" mapped; \"$0\" udp; \"$0\" tcp6; \"$0\" udp-connected";
    let program = workload();
    let program = program.to_str().expect("utf-8");
    let path = cgroup.0.display().to_string();
    let layouts: [&[&str]; 6] = [
        &[],
        &["-t"],
        &["-g", "comm"],
        &["-r"],
        &["-r=socket", "-g", "user"],
        &["-c", &path],
    ];
    for layout in layouts {
        for (filter, matches) in [
            (["--net", "127.0.0.0/8", "--net", "::1"].as_slice(), true),
            (&["--net", "10.0.0.0/8"], false),
            (&["--no-loopback"], false),
            (
                &["--net", "127.0.0.0/8", "--net", "::1", "--no-loopback"],
                false,
            ),
            (&["--net", "::1", "--port", "1"], false),
        ] {
            let (output, rows) = record(
                &[layout, filter].concat(),
                &["sh", "-c", script, program, &path],
            );
            let truth = sum(&lines(&output));
            assert!(!truth.is_zero());
            let expected = if matches { truth } else { Counters::default() };
            assert_eq!(sum(&rows), expected, "{layout:?} {filter:?}");
            assert_eq!(rows.is_empty(), !matches, "{layout:?} {filter:?} {rows:?}");
        }
    }
}

/// Only IPv6 is asked for, of processes that use IPv4 too.
#[test]
fn a_process_without_matching_traffic_has_no_row() {
    let script = "\"$0\" tcp; \"$0\" tcp6; \"$0\" udp6; \"$0\" mapped";
    let program = workload();
    let program = program.to_str().expect("utf-8");
    for layout in [["-q"].as_slice(), &["-r"], &["-t"]] {
        let args = [layout, &["--net", "::/0"]].concat();
        let (output, rows) = record(&args, &["sh", "-c", script, program]);
        let lines = lines(&output);
        assert_eq!(sum(&rows), sum(&lines[1..3]), "{layout:?}");
        for (line, there) in lines.iter().zip([false, true, true, false]) {
            let row = rows.iter().find(|row| row["pid"] == line["pid"]);
            assert_eq!(row.is_some(), there, "{layout:?} {line}");
        }
    }
}

/// Without CAP_NET_ADMIN, the remote ends of unconnected UDP sockets are not known.
#[test]
fn the_summary_says_how_much_was_left_out_and_why() {
    let program = workload();
    let program = program.to_str().expect("utf-8");
    // CAP_SYS_ADMIN would do as well.
    const LESS: &str = "-net_admin,-sys_admin";
    let without = |args: &[&str]| {
        let output = Command::new("setpriv")
            .args(["--bounding-set", LESS, "--inh-caps", LESS])
            .args([NETATOP, "record"])
            .args(args)
            .args(["--", program, "udp"])
            .output()
            .expect("setpriv");
        assert!(output.status.success(), "{output:?}");
        let lines = lines(&output);
        let text = String::from_utf8(output.stderr).expect("utf-8");
        (sum(&lines), text)
    };
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.csv");
    let to = ["-f", "csv", "-o", file.to_str().expect("utf-8"), "--force"];
    for filter in [["--net", "127.0.0.0/8"], ["--port", "1"]] {
        let (truth, text) = without(&[&filter, to.as_slice()].concat());
        let line = format!(
            "{} messages left out (2.5 KB), remote end not known",
            truth.msgs()
        );
        assert!(text.contains(&line), "{text}");
        assert!(
            text.contains("unconnected UDP needs CAP_NET_ADMIN"),
            "{text}"
        );
        assert_eq!((truth.msgs(), truth.bytes()), (20, 2547));
        assert_eq!(fs::read_to_string(&file).expect("rows").lines().count(), 1);
    }
    // Both ends are bound to a loopback address, so nothing has to be known.
    let (_, text) = without(&[&["--no-loopback"], to.as_slice()].concat());
    assert!(!text.contains("left out"), "{text}");
}
