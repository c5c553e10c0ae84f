//! Stress: very many short-lived or simultaneous tasks. Every message must be in a row.
//!
//! `NETATOP_TEST_SCALE=1` runs the sizes in the test names; the default is a tenth.

use std::io::{BufRead, BufReader, Read};

use netatop::kernel::{Filter, Storage};
use netatop::model::Counters;
use serde_json::Value;

use super::end_to_end::{interrupt, record};
use super::harness::{Counting, Named, counters, counting, is_left_out, wait_for};
use super::outcome::{Outcome, exact, exact_sum, scaled};

#[test]
fn a_hundred_thousand_threads_that_start_and_end_are_all_counted() {
    let n = scaled(100_000);
    exact_sum(&["thread-storm", &format!("n={n}"), "parallel=4"]);
}

#[test]
fn two_hundred_thousand_processes_with_a_datagram_each_are_all_counted() {
    let n = scaled(200_000);
    exact_sum(&["process-storm", &format!("n={n}"), "parallel=4"]);
}

/// Each process executes another program first, like a process started by a shell.
#[test]
fn twenty_thousand_processes_with_an_exec_each_are_all_counted() {
    let n = scaled(20_000);
    exact_sum(&["process-storm", &format!("n={n}"), "parallel=4", "exec=1"]);
}

#[test]
fn two_thousand_execs_in_a_row_are_one_process() {
    exact(&["exec-chain", &format!("n={}", scaled(2_000))]);
}

/// All tasks exist at once, are sampled, and then end at once.
fn seen_alive_and_gone(scenario: &[&str]) {
    counting(false, |counting| {
        let named = Named::new("netatop-crowd");
        let mut workload = named.start(scenario);
        let line = workload.line();
        if is_left_out(scenario[0], std::slice::from_ref(&line)) {
            return;
        }
        let alive = counting.interval();
        workload.finish();
        let gone = counting.interval();
        let rows = named.of(&alive);
        let outcome = Outcome {
            truth: counters(&line, rows),
            rows,
            unattributed: alive.unattributed + gone.unattributed,
        };
        outcome.assert_exact(&scenario.join(" "));
        assert!(named.of(&gone).is_zero(), "counted again when they ended");
    });
}

#[test]
fn twenty_thousand_living_threads_are_counted_once() {
    seen_alive_and_gone(&["live-threads", &format!("n={}", scaled(20_000))]);
}

#[test]
fn ten_thousand_living_processes_are_counted_once() {
    seen_alive_and_gone(&["live-processes", &format!("n={}", scaled(10_000))]);
}

#[test]
fn a_fork_bomb_is_counted_to_its_last_process() {
    let limit = format!("limit={}", scaled(10_000));
    seen_alive_and_gone(&["fork-bomb", "depth=16", &limit, "hold=1"]);
}

#[test]
fn a_process_with_fifteen_thousand_sockets_is_one_row() {
    let n = format!("n={}", scaled(15_000));
    seen_alive_and_gone(&["many-sockets", &n, "hold=1"]);
}

#[test]
fn everything_that_ends_at_once_under_the_sampler_is_counted_once() {
    counting(false, |counting| {
        let named = Named::new("netatop-ends");
        let n = format!("n={}", scaled(2_000));
        let workload = named.start(&["all-end", &n, "rate=50"]);
        let mut all = Outcome::default();
        let mut take = |counting: &mut Counting<'_>| {
            let interval = counting.interval();
            all.unattributed += interval.unattributed;
            all.rows += named.of(&interval);
            all.rows
        };
        wait_for("traffic of all", || {
            (take(counting).udp_send_msgs > 10_000).then_some(())
        });
        let reader = std::thread::spawn(move || workload.finish());
        while !reader.is_finished() {
            take(counting);
        }
        take(counting);
        let lines = reader.join().expect("reader");
        all.truth = counters(&lines[0], all.rows);
        all.assert_exact(&format!("all-end {n}, sampled all the while"));
    });
}

/// Two recordings of the same host do not affect each other.
#[test]
fn two_recordings_at_once_are_both_exact() {
    let named = Named::new("netatop-both");
    let (mut one, mut two) = (Storage::default(), Storage::default());
    let mut recorders = [
        Counting::new(&mut one, &Filter::default(), false),
        Counting::new(&mut two, &Filter::default(), false),
    ];
    let n = scaled(20_000);
    let lines = named
        .start(&["process-storm", &format!("n={n}"), "parallel=4"])
        .finish();
    for (which, recorder) in recorders.iter_mut().enumerate() {
        let interval = recorder.interval();
        let rows = named.of(&interval);
        let outcome = Outcome {
            truth: counters(&lines[0], rows),
            rows,
            unattributed: interval.unattributed,
        };
        outcome.assert_exact(&format!("process-storm n={n}, recorder {} of 2", which + 1));
    }
}

/// The sum of the program's rows.
fn sum(rows: impl BufRead, comm: &str) -> Outcome {
    let mut sum = Outcome::default();
    for row in rows.lines() {
        let row: Value = serde_json::from_str(&row.expect("read")).expect("a whole line");
        if row["comm"] == comm {
            sum.rows += counters(&row, Counters::default());
        } else if row["comm"] == "(unattributed)" {
            sum.unattributed += counters(&row, Counters::default());
        }
    }
    sum
}

#[test]
fn an_interval_of_ten_milliseconds_or_an_hour_adds_up() {
    for interval in ["10ms", "1h"] {
        let named = Named::new("netatop-every");
        let (mut child, told) = record(&["-f", "json", "-i", interval]);
        let output = child.stdout.take().expect("piped");
        let reader = {
            let comm = named.comm().to_owned();
            std::thread::spawn(move || sum(BufReader::new(output), &comm))
        };
        let flow = named.start(&["flow", "size=300"]);
        let n = format!("n={}", scaled(30_000));
        let mut lines = named.start(&["process-storm", &n, "parallel=4"]).finish();
        lines.extend(named.start(&["threads", "threads=200"]).finish());
        lines.extend(flow.finish());
        interrupt(&child);
        assert!(child.wait().expect("wait").success());
        let mut outcome = reader.join().expect("reader");
        outcome.truth = lines
            .iter()
            .map(|line| counters(line, Counters::default()))
            .sum();
        outcome.assert_exact(&format!(
            "process-storm {n}, threads, flow; every {interval}"
        ));
        let told = told.join().expect("messages");
        assert!(told.contains(", 0 unattributed"), "{told}");
    }
}

#[test]
fn a_command_that_is_a_storm_is_counted_whole() {
    let named = Named::new("netatop-command");
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("rows.jsonl");
    let n = format!("n={}", scaled(50_000));
    let mut child = std::process::Command::new(super::harness::NETATOP)
        .args(["record", "-i", "100ms", "-o"])
        .arg(&file)
        .arg("--")
        .arg(named.path())
        .args(["process-storm", &n, "parallel=4"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("netatop");
    let mut line = String::new();
    let mut output = child.stdout.take().expect("piped");
    output.read_to_string(&mut line).expect("read");
    assert!(child.wait().expect("wait").success());
    let line: Value = serde_json::from_str(&line).expect("its line");
    let rows = std::fs::File::open(&file).expect("rows");
    let mut outcome = sum(BufReader::new(rows), named.comm());
    outcome.truth = counters(&line, Counters::default());
    outcome.assert_exact(&format!("record -- process-storm {n}"));
}
