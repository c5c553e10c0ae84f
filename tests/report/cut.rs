//! A recording that is cut into files in any way has the same sums.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use flate2::write::GzEncoder;
use netatop::model::{GroupBy, Layout, RemoteMode};
use netatop::report::{Key, Options, ReportFormat, Split, run};
use netatop::rollup::SortKey;
use proptest::prelude::*;

use crate::recordings::{csv, json, layout, reports};

/// The rows of a report on `files`, without what depends on the order of the files.
fn rows(files: Vec<PathBuf>, key: Key, split: Option<Split>) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    let output = directory.path().join("out.csv");
    let options = Options {
        files,
        key: Some(key),
        depth: None,
        split,
        sort: SortKey::Bytes,
        top: None,
        every: None,
        from: None,
        to: None,
        format: Some(ReportFormat::Csv),
        output: Some(output.clone()),
        force: false,
    };
    assert_eq!(run(&options).expect("a report"), 0);
    fs::read(output).expect("the rows")
}

fn compressed(text: &[u8], how: u8) -> Vec<u8> {
    match how {
        0 => text.to_vec(),
        1 => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(text).expect("memory");
            encoder.finish().expect("memory")
        }
        _ => zstd::encode_all(text, 1).expect("memory"),
    }
}

fn layouts() -> impl Strategy<Value = (Layout, Key, Option<Split>)> {
    let remote = layout(GroupBy::Process, false, Some(RemoteMode::Service));
    prop_oneof![
        Just((layout(GroupBy::Process, false, None), Key::Process, None)),
        Just((layout(GroupBy::Process, true, None), Key::Thread, None)),
        Just((layout(GroupBy::Comm, false, None), Key::Comm, None)),
        Just((remote, Key::Comm, Some(Split::Recorded))),
        Just((remote, Key::Cgroup, Some(Split::Address))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_cut_has_the_same_sums(
        (of, key, split) in layouts(),
        seed in any::<u64>(),
        intervals in 1..40_i64,
        places in prop::collection::vec((0..6_usize, any::<bool>()), 400),
        how in prop::collection::vec(0..3_u8, 6),
        order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let made = reports(of, seed, intervals);
        prop_assume!(made.iter().any(|report| !report.rows.is_empty()));
        let directory = tempfile::tempdir().expect("a directory");
        let whole = directory.path().join("whole");
        fs::write(&whole, csv(of, &made)).expect("a file");

        // Each row goes into one of six files, as CSV or as JSON.
        let mut parts: Vec<[Vec<_>; 2]> = (0..6).map(|_| [Vec::new(), Vec::new()]).collect();
        let mut number = 0;
        for report in &made {
            for row in &report.rows {
                let (part, is_json) = places[number % places.len()];
                number += 1;
                let mut one = report.clone();
                one.rows = vec![row.clone()];
                parts[part][usize::from(is_json)].push(one);
            }
        }
        let mut files = Vec::new();
        for part in order {
            for (is_json, rows) in parts[part].iter().enumerate() {
                let text = if is_json == 1 { json(of, rows) } else { csv(of, rows) };
                let path = directory.path().join(format!("{part}-{is_json}"));
                fs::write(&path, compressed(&text, how[part])).expect("a file");
                files.push(path);
            }
        }
        files.retain(|path| fs::metadata(path).expect("a file").len() > 0);
        let cut = rows(files, key, split);
        let whole = rows(vec![whole], key, split);
        // A process keeps the name of its latest row, and two rows can have the same time.
        let sums = |text: &[u8]| -> Vec<String> {
            let mut reader = csv::Reader::from_reader(text);
            let header = reader.headers().expect("a header").clone();
            let skipped = |name: &str| {
                key == Key::Process || key == Key::Thread
            } && ["comm", "uid", "cgroup", "start", "state"].contains(&name);
            let mut rows: Vec<String> = reader
                .records()
                .map(|row| {
                    let row = row.expect("a row");
                    let values = header.iter().zip(row.iter()).filter(|(name, _)| !skipped(name));
                    values.map(|(_, value)| value.to_owned()).collect::<Vec<_>>().join("\u{1f}")
                })
                .collect();
            rows.sort();
            rows
        };
        prop_assert_eq!(sums(&cut), sums(&whole));
    }
}
