//! Compares the text of all formats, byte for byte, with the files in `expected/`.
//! `UPDATE_GOLDEN=1 cargo test --test golden` updates these files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod findings;
mod properties;
mod remote;
mod reports;
mod tcp;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::FixedOffset;
use netatop::model::{GroupBy, Layout, Report, State, Who};
use netatop::output::{Csv, Format, Json, Table, TableStyle};
use unicode_width::UnicodeWidthStr;

fn expected() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/expected")
}

/// Compares `text` with the file `name`, or updates the file with `UPDATE_GOLDEN`.
#[track_caller]
fn assert_golden(name: &str, text: &[u8]) {
    let path = expected().join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::write(&path, text).expect("the expected file can be written");
        return;
    }
    let wanted = fs::read(&path).unwrap_or_default();
    assert!(text == wanted, "{name} differs:\n{}", diff(&wanted, text));
}

/// The lines that differ, with invisible characters escaped.
fn diff(wanted: &[u8], text: &[u8]) -> String {
    let mut lines = String::new();
    let mut wanted = wanted.split_inclusive(|byte| *byte == b'\n');
    let mut found = text.split_inclusive(|byte| *byte == b'\n');
    for number in 1.. {
        let (wanted, found) = (wanted.next(), found.next());
        if wanted.is_none() && found.is_none() {
            break;
        }
        if wanted == found {
            continue;
        }
        for (sign, line) in [('-', wanted), ('+', found)] {
            if let Some(line) = line {
                writeln!(lines, "{number:4} {sign} {}", line.escape_ascii()).expect("memory");
            }
        }
    }
    lines
}

fn written(mut format: impl Format, reports: &[Report]) -> Vec<u8> {
    let mut text = Vec::new();
    format.begin(&mut text);
    for report in reports {
        format.report(report, &mut text);
    }
    text
}

fn csv(layout: Layout, reports: &[Report]) -> Vec<u8> {
    written(Csv::new(layout, "host".to_owned(), true), reports)
}

fn json(layout: Layout, reports: &[Report]) -> Vec<u8> {
    written(Json::new(layout, "host".to_owned()), reports)
}

fn table(layout: Layout, look: TableStyle, report: Report) -> Vec<u8> {
    written(Table::new(layout, look, |uid| uid.to_string()), &[report])
}

const PROCESSES: Layout = Layout {
    group_by: GroupBy::Process,
    threads: false,
    remote: None,
    names: false,
    tcp: false,
    cmdline: false,
    depth: None,
};

const THREADS: Layout = Layout {
    group_by: GroupBy::Process,
    threads: true,
    remote: None,
    names: false,
    tcp: false,
    cmdline: false,
    depth: None,
};

const COMMAND_LINES: Layout = Layout {
    cmdline: true,
    ..PROCESSES
};

const fn by(group_by: GroupBy) -> Layout {
    Layout {
        group_by,
        threads: false,
        remote: None,
        names: false,
        tcp: false,
        cmdline: false,
        depth: None,
    }
}

/// The style for a file or a pipe.
const PLAIN: TableStyle = TableStyle {
    width: None,
    color: false,
    escape: false,
    repeated: false,
    ascii: false,
    zone: None,
};

/// The style for a terminal without colour.
const fn columns(width: usize) -> TableStyle {
    TableStyle {
        width: Some(width),
        color: false,
        escape: true,
        repeated: false,
        ascii: false,
        zone: None,
    }
}

#[test]
fn processes_exited_ones_and_what_is_nobodys_in_csv_and_json() {
    let reports = [reports::ordinary()];
    assert_golden("ordinary.csv", &csv(PROCESSES, &reports));
    assert_golden("ordinary.jsonl", &json(PROCESSES, &reports));
}

#[test]
fn hostile_names_are_quoted_in_csv_and_json() {
    let reports = [reports::hostile()];
    assert_golden("hostile.csv", &csv(PROCESSES, &reports));
    assert_golden("hostile.jsonl", &json(PROCESSES, &reports));
}

#[test]
fn the_largest_counters_are_exact_in_csv_and_json() {
    let reports = [reports::huge()];
    assert_golden("huge.csv", &csv(PROCESSES, &reports));
    assert_golden("huge.jsonl", &json(PROCESSES, &reports));
}

#[test]
fn threads_have_a_column_of_their_own_in_csv_and_json() {
    let reports = [reports::threads()];
    assert_golden("threads.csv", &csv(THREADS, &reports));
    assert_golden("threads.jsonl", &json(THREADS, &reports));
}

#[test]
fn command_lines_are_the_last_column_in_csv_and_json_and_the_name_in_a_table() {
    let reports = [reports::with_command_lines()];
    assert_golden("cmdline.csv", &csv(COMMAND_LINES, &reports));
    assert_golden("cmdline.jsonl", &json(COMMAND_LINES, &reports));
    let lines = |look| table(COMMAND_LINES, look, reports::with_command_lines());
    assert_golden("cmdline.table", &lines(PLAIN));
    assert_golden("cmdline_80.table", &lines(columns(80)));
    assert_golden("cmdline_200.table", &lines(columns(200)));
}

#[test]
fn groups_have_their_key_and_the_number_of_processes_in_csv_and_json() {
    let comm = [reports::by_comm()];
    assert_golden("by_comm.csv", &csv(by(GroupBy::Comm), &comm));
    assert_golden("by_comm.jsonl", &json(by(GroupBy::Comm), &comm));
    let cgroup = [reports::by_cgroup()];
    assert_golden("by_cgroup.csv", &csv(by(GroupBy::Cgroup), &cgroup));
    assert_golden("by_cgroup.jsonl", &json(by(GroupBy::Cgroup), &cgroup));
    let unit = [reports::by_unit()];
    assert_golden("by_unit.csv", &csv(by(GroupBy::Unit), &unit));
    assert_golden("by_unit.jsonl", &json(by(GroupBy::Unit), &unit));
    let container = [reports::by_container()];
    assert_golden("by_container.csv", &csv(by(GroupBy::Container), &container));
    assert_golden(
        "by_container.jsonl",
        &json(by(GroupBy::Container), &container),
    );
    let command = [reports::by_command()];
    assert_golden("by_command.csv", &csv(by(GroupBy::Command), &command));
    assert_golden("by_command.jsonl", &json(by(GroupBy::Command), &command));
    let user = [reports::by_user()];
    assert_golden("by_user.csv", &csv(by(GroupBy::User), &user));
    assert_golden("by_user.jsonl", &json(by(GroupBy::User), &user));
}

#[test]
fn an_interval_without_traffic_is_no_row() {
    let reports = [reports::empty()];
    assert_eq!(csv(PROCESSES, &reports), Csv::header(PROCESSES));
    assert_eq!(json(PROCESSES, &reports), b"");
}

#[test]
fn the_header_is_written_once_and_not_at_all_where_there_is_one() {
    let reports = [reports::ordinary(), reports::empty(), reports::ordinary()];
    let whole = csv(PROCESSES, &reports);
    let appended = written(Csv::new(PROCESSES, "host".to_owned(), false), &reports);
    assert_eq!(whole, [Csv::header(PROCESSES), appended].concat());
    let headers = whole.windows(9).filter(|part| part == b"time,inte");
    assert_eq!(headers.count(), 1);
}

#[test]
fn a_table_in_a_file_leaves_nothing_out() {
    assert_golden(
        "ordinary.table",
        &table(PROCESSES, PLAIN, reports::ordinary()),
    );
    assert_golden("threads.table", &table(THREADS, PLAIN, reports::threads()));
    assert_golden("huge.table", &table(PROCESSES, PLAIN, reports::huge()));
    assert_golden(
        "instant.table",
        &table(PROCESSES, PLAIN, reports::instant()),
    );
    let cgroup = table(by(GroupBy::Cgroup), PLAIN, reports::by_cgroup());
    assert_golden("by_cgroup.table", &cgroup);
    let user = table(by(GroupBy::User), PLAIN, reports::by_user());
    assert_golden("by_user.table", &user);
}

#[test]
fn an_interval_without_traffic_is_a_sentence_in_a_table() {
    assert_golden("empty.table", &table(PROCESSES, PLAIN, reports::empty()));
    assert_golden(
        "empty_80.table",
        &table(PROCESSES, columns(80), reports::empty()),
    );
}

#[test]
fn a_table_is_fitted_to_the_terminal() {
    let ordinary = |width| table(PROCESSES, columns(width), reports::ordinary());
    assert_golden("ordinary_60.table", &ordinary(60));
    assert_golden("ordinary_80.table", &ordinary(80));
    assert_golden("ordinary_120.table", &ordinary(120));
    assert_golden("ordinary_200.table", &ordinary(200));
    let threads = |width| table(THREADS, columns(width), reports::threads());
    assert_golden("threads_60.table", &threads(60));
    assert_golden("threads_80.table", &threads(80));
    assert_golden("threads_120.table", &threads(120));
    assert_golden(
        "huge_80.table",
        &table(PROCESSES, columns(80), reports::huge()),
    );
    let cgroup = |width| table(by(GroupBy::Cgroup), columns(width), reports::by_cgroup());
    let unit = table(by(GroupBy::Unit), columns(80), reports::by_unit());
    assert_golden("by_unit_80.table", &unit);
    let container = |width| {
        let layout = by(GroupBy::Container);
        table(layout, columns(width), reports::by_container())
    };
    assert_golden("by_container_60.table", &container(60));
    assert_golden("by_container_120.table", &container(120));
    assert_golden("by_cgroup_60.table", &cgroup(60));
    assert_golden("by_cgroup_80.table", &cgroup(80));
    assert_golden("by_cgroup_120.table", &cgroup(120));
    assert_golden("by_cgroup_200.table", &cgroup(200));
}

#[test]
fn hostile_names_are_harmless_on_a_terminal_and_one_line_in_a_file() {
    let hostile = |look| table(PROCESSES, look, reports::hostile());
    assert_golden("hostile.table", &hostile(PLAIN));
    assert_golden("hostile_80.table", &hostile(columns(80)));
    assert_golden("hostile_200.table", &hostile(columns(200)));
    let comm = table(by(GroupBy::Comm), columns(80), reports::by_comm());
    assert_golden("by_comm_80.table", &comm);
}

#[test]
fn a_shortened_name_still_says_that_its_process_has_exited() {
    let mut report = reports::ordinary();
    for row in &mut report.rows {
        if let Who::Process(process) = &mut row.who {
            process.state = State::Exited;
        }
    }
    let text = table(PROCESSES, columns(52), report);
    let text = String::from_utf8(text).expect("UTF-8");
    let exited: Vec<&str> = text.lines().filter(|line| line.contains('<')).collect();
    assert!(exited.iter().any(|line| line.contains('…')), "{text}");
    assert!(exited.iter().all(|line| line.contains('>')), "{text}");
}

#[test]
fn colour_emphasises_the_header_and_the_total() {
    let look = TableStyle {
        color: true,
        ..columns(120)
    };
    assert_golden(
        "color_120.table",
        &table(PROCESSES, look, reports::ordinary()),
    );
}

#[test]
fn repeated_tables_are_headed_by_their_time() {
    let repeated = |look| TableStyle {
        repeated: true,
        zone: FixedOffset::east_opt(5 * 3600 + 1800),
        ..look
    };
    let reports = [reports::ordinary(), reports::empty(), reports::huge()];
    let text = |look, reports: &[Report]| {
        let mut table = Table::new(PROCESSES, repeated(look), |uid| uid.to_string());
        let mut text = Vec::new();
        for report in reports {
            table.report(report, &mut text);
        }
        table.overall(&reports[0], 3, &mut text);
        text
    };
    assert_golden("repeated.table", &text(PLAIN, &reports[..2]));
    assert_golden("repeated_80.table", &text(columns(80), &reports));
    assert_golden("repeated_60.table", &text(columns(60), &reports[..1]));
}

/// The columns of successive tables must have the same positions.
#[test]
fn columns_keep_their_widths_from_table_to_table() {
    let style = TableStyle {
        repeated: true,
        ..columns(100)
    };
    let mut table = Table::new(PROCESSES, style, |uid| uid.to_string());
    let mut header = |report: Report| {
        let mut text = Vec::new();
        table.report(&report, &mut text);
        let text = String::from_utf8(text).expect("UTF-8");
        text.lines().nth(1).expect("a header").to_owned()
    };
    let first = header(reports::ordinary());
    assert_eq!(header(reports::instant()), first);
    assert_eq!(header(reports::hostile()), first);
    assert_eq!(header(reports::ordinary()), first);
}

#[test]
fn the_width_is_asked_for_before_each_table() {
    let widths = std::cell::RefCell::new(vec![200, 60]);
    let mut table = Table::new(PROCESSES, columns(80), |uid| uid.to_string())
        .with_width(move || widths.borrow_mut().pop());
    let mut widest = || {
        let mut text = Vec::new();
        table.report(&reports::ordinary(), &mut text);
        let text = String::from_utf8(text).expect("UTF-8");
        text.lines()
            .map(UnicodeWidthStr::width)
            .max()
            .expect("lines")
    };
    assert!(widest() <= 60);
    assert!(widest() > 120);
}

#[test]
fn a_terminal_with_fewer_abilities_gets_ascii_only() {
    let style = TableStyle {
        ascii: true,
        ..columns(60)
    };
    for report in [reports::hostile(), reports::ordinary()] {
        let text = table(PROCESSES, style, report);
        assert!(text.is_ascii(), "{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn every_expected_file_is_compared_with_something() {
    let tests = concat!(
        include_str!("main.rs"),
        include_str!("findings.rs"),
        include_str!("remote.rs"),
        include_str!("tcp.rs")
    );
    for entry in fs::read_dir(expected()).expect("a directory") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("UTF-8");
        assert!(tests.contains(&format!("\"{name}\"")), "{name} is not used");
    }
}
