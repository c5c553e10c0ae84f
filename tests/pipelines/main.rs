//! Runs every recipe of `docs/pipelines.md` as it stands, on a recording whose sums are known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod postgres;
mod remote;
#[path = "../support/leave_out.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use netatop::model::{Comm, Counters, GroupBy, Health, Layout, Process, Report, Row, State, Who};
use netatop::output::{Csv, Format, Json};

const LAYOUT: Layout = Layout {
    group_by: GroupBy::Process,
    threads: false,
    remote: None,
    names: false,
    tcp: false,
    cmdline: false,
    depth: None,
};

/// One row of the recording: the second of the minute, the process if any, its bytes.
const ROWS: [(i64, Option<u32>, u64); 9] = [
    (4, Some(10), 1_000_000),
    (4, Some(11), 7),
    (5, Some(10), 9),
    (5, Some(11), 4_000_000_000),
    (5, None, 55),
    (6, Some(10), 10),
    (6, Some(11), 5_000_000_000),
    (6, Some(4_194_303), 100),
    (7, Some(4_194_303), 99),
];

fn at(second: i64) -> DateTime<Utc> {
    // 2026-03-01T12:00:00Z; the milliseconds are what some parsers refuse.
    let noon = DateTime::from_timestamp(1_772_366_400, 0).expect("in range");
    noon + TimeDelta::milliseconds(second * 1000 + 5)
}

fn row(second: i64, pid: Option<u32>, bytes: u64) -> Row {
    let who = pid.map_or(Who::Unattributed, |pid| {
        Who::Process(Process {
            pid,
            tid: None,
            comm: Comm::new(b"a,\"b\n"),
            uid: 1000,
            cgroup: Some("/user.slice".into()),
            unit: None,
            container: None,
            cmdline: None,
            start: at(second - 60),
            start_ns: 0,
            state: State::Running,
        })
    });
    Row {
        who,
        counters: Counters {
            tcp_send_msgs: 1,
            tcp_send_bytes: bytes,
            ..Counters::default()
        },
        tcp: Health::default(),
        remote: None,
        remote_name: None,
    }
}

fn write(path: &Path, mut format: impl Format) {
    let mut text = Vec::new();
    format.begin(&mut text);
    for second in 4..=7 {
        let rows = ROWS.iter().filter(|(when, ..)| *when == second);
        let report = Report {
            time: at(second),
            interval: Duration::from_secs(1),
            rows: rows
                .map(|&(when, pid, bytes)| row(when, pid, bytes))
                .collect(),
        };
        format.report(&report, &mut text);
    }
    fs::write(path, text).expect("a recording");
}

/// What each recipe prints: computed from ROWS, without a writer or a reader.
fn truth() -> String {
    let mut sums: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for &(_, pid, bytes) in ROWS.iter().filter(|(second, ..)| *second >= 5) {
        if let Some(pid) = pid {
            let (sum, most) = sums.entry(pid).or_default();
            *sum += bytes;
            *most = bytes.max(*most);
        }
    }
    let mut lines: Vec<_> = sums.into_iter().collect();
    lines.sort_by_key(|(_, (sum, _))| std::cmp::Reverse(*sum));
    let lines = lines.iter();
    lines
        .map(|(pid, (sum, most))| format!("{pid},{sum},{most}\n"))
        .collect()
}

/// The recipes of the page, by name.
fn recipes() -> BTreeMap<String, String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pipelines.md");
    let page = fs::read_to_string(page).expect("the page");
    let parts = page.split("<!-- recipe: ").skip(1);
    let recipe = |part: &str| {
        let (name, rest) = part.split_once(" -->\n```sh\n").expect("a block");
        let (script, _) = rest.split_once("\n```").expect("its end");
        (name.to_owned(), script.to_owned())
    };
    parts.map(recipe).collect()
}

/// A command in an environment where the packages and programs for the tests are found.
fn bash(script: &str) -> Command {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin");
    let path = std::env::var("PATH").expect("PATH");
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", script])
        .env("PATH", format!("{}:{path}", venv.display()));
    command
}

/// Whether the host has what a recipe `needs`. `probe` is a command that succeeds if so.
#[track_caller]
fn has(needs: &str, probe: &str) -> bool {
    let found = bash(probe).output().expect("bash").status.success();
    if !found {
        support::leave_out(
            needs,
            "it is not installed, and scripts/setup --test installs it",
        );
    }
    found
}

/// Runs the recipe in a directory of its own, and compares its output.
#[track_caller]
fn check(name: &str, variables: &[(&str, PathBuf)]) {
    let dir = tempfile::tempdir().expect("tempdir");
    write(
        &dir.path().join("r.csv"),
        Csv::new(LAYOUT, "host".to_owned(), true),
    );
    write(
        &dir.path().join("r.jsonl"),
        Json::new(LAYOUT, "host".to_owned()),
    );
    assert_eq!(run(name, dir.path(), variables), truth(), "{name}");
}

/// Runs the recipe in `dir`, far from UTC, and returns what it prints.
#[track_caller]
fn run(name: &str, dir: &Path, variables: &[(&str, PathBuf)]) -> String {
    let output = bash(&recipes()[name])
        .current_dir(dir)
        .env("TZ", "America/New_York")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("bash");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {errors}");
    let printed = String::from_utf8(output.stdout).expect("utf-8");
    printed.replace('\r', "")
}

/// A test that runs the recipe of its own name if the host has what it needs.
macro_rules! recipes {
    ($($name:ident: $needs:literal, $probe:literal;)*) => {$(
        #[test]
        fn $name() {
            if has($needs, $probe) {
                check(stringify!($name), &[]);
            }
        }
    )*};
}

recipes! {
    duckdb: "duckdb", "python3 -c 'import duckdb'";
    parquet: "duckdb", "python3 -c 'import duckdb'";
    clickhouse: "chdb", "python3 -c 'import chdb'";
    sqlite: "sqlite3", "sqlite3 --version";
    pandas: "pandas", "python3 -c 'import pandas'";
    miller: "mlr", "mlr --version";
    jq: "jq", "jq --version";
}

#[test]
fn postgresql() {
    let Some(server) = postgres::Server::start() else {
        return support::leave_out(
            "postgresql",
            "it is not installed, and scripts/setup --test installs it",
        );
    };
    check(
        "postgresql",
        &[
            ("PGHOST", server.socket()),
            ("PGUSER", "tester".into()),
            ("PGDATABASE", "postgres".into()),
        ],
    );
}

#[test]
fn every_recipe_has_a_test() {
    let names: Vec<String> = recipes().into_keys().collect();
    let tested =
        "clickhouse containers database duckdb jq miller outside pandas parquet postgresql sqlite";
    assert_eq!(names.join(" "), tested);
}
