//! Sums of every layout, against DuckDB.

use std::fs;
use std::path::Path;

use netatop::model::{GroupBy, Layout, RemoteMode, Who};

use crate::recordings::{csv, json, layout, reports, with_tcp};
use crate::{has_package, reported, run_python};

/// Prints the sums of `file` by `keys` as sorted lines. Absent values are empty.
pub const DUCKDB: &str = r#"
import duckdb, sys
duckdb.sql("set timezone = 'UTC'")
file, keys, where = sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "true"
sums = "tcp_send_msgs tcp_send_bytes tcp_recv_msgs tcp_recv_bytes udp_send_msgs udp_send_bytes udp_recv_msgs udp_recv_bytes".split()
read = f"read_csv('{file}', all_varchar = true, header = true, delim = ',', quote = '\"', escape = '\"')" if '.csv' in file else f"read_json('{file}', format = 'newline_delimited')"
there = [row[0] for row in duckdb.sql(f"describe select * from {read}").fetchall()]
numbers = [f"sum({c}::hugeint)" for c in sums + [c for c in "tcp_out_segs tcp_retrans_segs tcp_attempt_fails".split() if c in there]]
numbers += [f"min({c}::hugeint)" for c in ["tcp_rtt_us_min"] if c in there]
numbers += [f"max({c}::hugeint)" for c in ["tcp_rtt_us_max", "tcp_connect_us_max"] if c in there]
rows = duckdb.sql(f"select {keys}, {', '.join(numbers)} from {read} where {where} group by all").fetchall()
print("\x1e".join(sorted("\x1f".join("" if v is None else str(v) for v in row) for row in rows)), end="")
"#;

/// In place of a column: whether a row has no number of processes, so that it is a special row.
const NO_COUNT: &str = "no count";
/// In place of a column: the name of a special row.
const SPECIAL: &str = "special";

/// The values of `columns` in CSV rows of a report, as [`DUCKDB`] prints them.
fn values(text: &str, columns: &[&str]) -> String {
    let mut csv = csv::Reader::from_reader(text.as_bytes());
    let header = csv.headers().expect("a header").clone();
    let value = |row: &csv::StringRecord, name: &str| {
        let place = header.iter().position(|column| column == name);
        row[place.unwrap_or_else(|| panic!("no column {name}"))].to_owned()
    };
    let mut rows: Vec<String> = csv
        .records()
        .map(|row| {
            let row = row.expect("a row");
            let values: Vec<_> = columns
                .iter()
                .map(|name| match *name {
                    NO_COUNT => value(&row, "processes").is_empty().to_string(),
                    SPECIAL if value(&row, "pid").is_empty() => value(&row, "comm"),
                    SPECIAL => String::new(),
                    name => value(&row, name),
                })
                .collect();
            values.join("\u{1f}")
        })
        .collect();
    rows.sort();
    rows.join("\u{1e}")
}

const COUNTERS: [&str; 8] = [
    "tcp_send_msgs",
    "tcp_send_bytes",
    "tcp_recv_msgs",
    "tcp_recv_bytes",
    "udp_send_msgs",
    "udp_send_bytes",
    "udp_recv_msgs",
    "udp_recv_bytes",
];
const TCP: [&str; 6] = [
    "tcp_out_segs",
    "tcp_retrans_segs",
    "tcp_attempt_fails",
    "tcp_rtt_us_min",
    "tcp_rtt_us_max",
    "tcp_connect_us_max",
];

/// Compares the rows of a report with a query. `keys` are expressions of SQL, one for each column.
#[track_caller]
fn compare(dir: &Path, file: &str, args: &[&str], columns: &[&str], keys: &str, has_tcp: bool) {
    let query = run_python(dir, DUCKDB, &[file, keys]);
    let tcp: &[&str] = if has_tcp { &TCP } else { &[] };
    let columns = [columns, &COUNTERS, tcp].concat();
    let found = reported(dir, &[&[file, "-f", "csv"], args].concat());
    let found = values(&found, &columns);
    assert!(found.contains('\u{1e}'), "one row only: {found:?}");
    assert_eq!(found, query, "{file} {args:?}");
}

const REMOTE: [&str; 6] = [
    "protocol",
    "role",
    "local_addr",
    "local_port",
    "remote_addr",
    "remote_port",
];

/// A process can have the name of a special row. A special row has no pid.
const NAME: &str = "comm, (pid is null)::varchar";

fn write(dir: &Path, of: Layout, seed: u64) {
    let made = reports(of, seed, 300);
    fs::write(dir.join("r.csv"), csv(of, &made)).expect("a file");
    fs::write(dir.join("r.jsonl"), json(of, &made)).expect("a file");
}

#[test]
fn rows_of_processes_have_the_sums_that_duckdb_finds() {
    if !has_package("duckdb") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    write(dir, layout(GroupBy::Process, false, None), 1);
    for file in ["r.csv", "r.jsonl"] {
        let keys = "host, pid, start_ns, case when pid is null then comm end";
        compare(
            dir,
            file,
            &["-g", "process"],
            &["host", "pid", "start_ns", SPECIAL],
            keys,
            false,
        );
        compare(
            dir,
            file,
            &[],
            &["host", "comm", NO_COUNT],
            &format!("host, {NAME}"),
            false,
        );
        let keys = "host, case when pid is null then comm else cgroup end";
        compare(
            dir,
            file,
            &["-g", "cgroup"],
            &["host", "cgroup"],
            keys,
            false,
        );
        for depth in 1..=3 {
            let cut = format!("regexp_extract(cgroup, '^(/[^/]*){{1,{depth}}}')");
            compare(
                dir,
                file,
                &["-g", "cgroup", "--depth", &depth.to_string()],
                &["host", "cgroup"],
                &format!("host, case when pid is null then comm else {cut} end"),
                false,
            );
        }
        let keys = "case when pid is null then comm else uid::varchar end";
        compare(dir, file, &["-g", "user"], &["user_name"], keys, false);
    }
}

#[test]
fn rows_of_threads_and_groups_have_the_sums_that_duckdb_finds() {
    if !has_package("duckdb") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    write(dir, layout(GroupBy::Process, true, None), 2);
    let keys = "pid, tid, start_ns, case when pid is null then comm end";
    for file in ["r.csv", "r.jsonl"] {
        compare(
            dir,
            file,
            &["-g", "thread"],
            &["pid", "tid", "start_ns", SPECIAL],
            keys,
            false,
        );
    }
    for (by, column) in [
        (GroupBy::Comm, "comm"),
        (GroupBy::Cgroup, "cgroup"),
        (GroupBy::Unit, "unit"),
        (GroupBy::Container, "container"),
        (GroupBy::User, "user_name"),
    ] {
        write(dir, layout(by, false, None), 3);
        for file in ["r.csv", "r.jsonl"] {
            compare(
                dir,
                file,
                &[],
                &["host", column],
                &format!("host, {column}"),
                false,
            );
        }
    }
}

#[test]
fn rows_of_remote_ends_have_the_sums_that_duckdb_finds() {
    if !has_package("duckdb") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    for mode in [RemoteMode::Service, RemoteMode::Address, RemoteMode::Socket] {
        write(dir, layout(GroupBy::Process, false, Some(mode)), 4);
        for file in ["r.csv", "r.jsonl"] {
            let columns = [&["comm", NO_COUNT][..], &REMOTE].concat();
            let keys = format!("{NAME}, {}", REMOTE.join(", "));
            // A special row is one row, whatever remote ends it stands for.
            compare(dir, file, &["-r"], &columns, &keys, false);
            let columns = ["comm", NO_COUNT, "protocol", "remote_addr"];
            let keys = format!("{NAME}, protocol, remote_addr");
            compare(dir, file, &["-r=address"], &columns, &keys, false);
        }
    }
}

#[test]
fn rows_of_tcp_health_have_the_sums_that_duckdb_finds() {
    if !has_package("duckdb") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let of = layout(GroupBy::Cgroup, false, None);
    let mut made = reports(of, 5, 300);
    for row in made.iter_mut().flat_map(|report| &mut report.rows) {
        if let Who::Group { key, .. } = &mut row.who {
            *key = key.replace(['\n', '"'], "");
        }
    }
    fs::write(dir.join("t.csv"), with_tcp(&csv(of, &made), 6)).expect("a file");
    compare(dir, "t.csv", &[], &["cgroup"], "cgroup", true);
}

#[test]
fn rows_of_a_series_have_the_sums_that_duckdb_finds() {
    if !has_package("duckdb") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    write(dir, layout(GroupBy::Process, false, None), 7);
    // The middle of an interval decides, which DuckDB computes in its own way.
    let keys = format!(
        "strftime(to_timestamp((floor((epoch(time::timestamptz) - interval::double / 2) / 10) + 1) * 10), \
         '%Y-%m-%dT%H:%M:%S.000Z'), {NAME}"
    );
    compare(
        dir,
        "r.csv",
        &["--every", "10s"],
        &["time", "comm", NO_COUNT],
        &keys,
        false,
    );
}

#[test]
fn a_span_has_the_sums_that_duckdb_finds() {
    if !has_package("duckdb") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    write(dir, layout(GroupBy::Process, false, None), 8);
    let middle = "epoch(time::timestamptz) - interval::double / 2";
    let all: [(&[&str], &str); 3] = [
        (
            &[
                "--from",
                "2026-03-01T12:01:00Z",
                "--to",
                "2026-03-01T12:02:00Z",
            ],
            "between 1772366460 and 1772366519.999",
        ),
        // The time zone of the tests is 5:30 hours before UTC.
        (
            &["--from", "17:31", "--to", "17:32"],
            "between 1772366460 and 1772366519.999",
        ),
        (&["--from", "-1m"], "> 1772366400 + 240"),
    ];
    for (args, condition) in all {
        let filter = format!("{middle} {condition}");
        let query = run_python(dir, DUCKDB, &["r.csv", NAME, &filter]);
        let found = reported(dir, &[&["r.csv", "-f", "csv"], args].concat());
        let columns = [&["comm", NO_COUNT][..], &COUNTERS].concat();
        assert_eq!(values(&found, &columns), query, "{args:?}");
    }
}

/// The summary and the page show the same sums; the page is read in `browser.rs`.
#[test]
fn the_summary_shows_the_sums_that_duckdb_finds() {
    if !has_package("duckdb") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    write(dir, layout(GroupBy::Process, false, None), 9);
    let query = run_python(dir, DUCKDB, &["r.csv", "comm, pid is null"]);
    let summary = reported(dir, &["r.csv", "-n", "100"]);
    for row in query.split('\u{1e}') {
        let values: Vec<_> = row.split('\u{1f}').collect();
        let number = |index: usize| values[index].parse::<u64>().expect("a number");
        let short = |value| {
            let text = netatop::text::bytes(value).replace(' ', "");
            text.trim_end_matches('B').to_owned()
        };
        let (sent, received) = (short(number(3) + number(7)), short(number(5) + number(9)));
        let name = values[0].chars().next().expect("a name");
        let line = summary.lines().find(|line| {
            let cells: Vec<_> = line.split_whitespace().collect();
            line.starts_with(name)
                && cells.contains(&sent.as_str())
                && cells.contains(&received.as_str())
        });
        assert!(line.is_some(), "{row:?}: {sent} {received} in\n{summary}");
    }
}
