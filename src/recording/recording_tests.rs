//! Recordings of every kind, and texts that are none.

use std::io::Cursor;

use clap::ValueEnum;
use proptest::prelude::*;

use super::csv::split;
use super::read::{Ending, read_from};
use super::{Field, Row, Schema, Values};
use crate::error::Error;
use crate::model::{GroupBy, Layout, RemoteMode};
use crate::output::columns;

/// What is compared of a row.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    time: i64,
    interval: u64,
    comm: Option<String>,
    pid: Option<u64>,
    values: Values,
}

fn read(text: &[u8]) -> Result<(Vec<Seen>, Ending), Error> {
    let mut seen = Vec::new();
    let ending = read_from(
        Box::new(Cursor::new(text.to_vec())),
        "f",
        &mut |row: &Row<'_>| {
            seen.push(Seen {
                time: row.time,
                interval: row.interval,
                comm: row.text(Field::Comm)?.map(str::to_owned),
                pid: row.number(Field::Pid)?,
                values: *row.values,
            });
            Ok(())
        },
    )?;
    Ok((seen, ending))
}

/// The same rows as CSV and as JSON.
fn written(rows: &[(String, Option<u32>, Option<u64>)]) -> [Vec<u8>; 2] {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["time", "interval", "pid", "comm", "tcp_rtt_us_min"])
        .expect("memory");
    let mut json = Vec::new();
    for (second, (comm, pid, rtt)) in (1_700_000_000_i64..).zip(rows) {
        let time = chrono::DateTime::from_timestamp(second, 0).expect("in range");
        let time = time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let pid_text = pid.map_or_else(String::new, |pid| pid.to_string());
        let rtt_text = rtt.map_or_else(String::new, |rtt| rtt.to_string());
        csv.write_record([&time, "0.25", &pid_text, comm, &rtt_text])
            .expect("memory");
        let object = serde_json::json!({
            "time": time, "interval": 0.25, "pid": pid, "comm": comm, "tcp_rtt_us_min": rtt,
        });
        json.extend_from_slice(object.to_string().as_bytes());
        json.push(b'\n');
    }
    [csv.into_inner().expect("memory"), json]
}

#[test]
fn a_block_can_end_within_a_name() {
    // Names with line ends, in a text of several blocks.
    let rows: Vec<_> = (0..40_000)
        .map(|number| (format!("a\"\n{number},\n"), Some(number), None))
        .collect();
    for text in written(&rows) {
        let (seen, ending) = read(&text).expect("a recording");
        assert_eq!(seen.len(), rows.len());
        let names = seen.iter().map(|row| row.comm.as_deref());
        assert!(names.eq(rows.iter().map(|row| Some(row.0.as_str()))));
        assert_eq!(ending.rows, 40_000);
    }
}

/// A report names columns that it does not know, and there should be none from this version.
#[test]
fn every_column_of_a_recording_is_known() {
    for &group_by in GroupBy::value_variants() {
        for threads in [false, true] {
            let layout = Layout {
                group_by,
                threads,
                remote: Some(RemoteMode::Socket),
                names: true,
                tcp: true,
                cmdline: group_by == GroupBy::Process,
                depth: None,
            };
            let columns = columns(layout);
            let names = columns.iter().map(|column| column.id.to_owned());
            let schema = Schema::new(names.collect()).expect("the columns of a recording");
            assert_eq!(schema.ignored(), [""; 0], "{layout:?}");
            assert!(schema.has(Field::RemoteName) && schema.has(Field::Time));
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        rows in prop::collection::vec((".{0,20}", any::<Option<u32>>(), any::<Option<u64>>()), 1..30),
    ) {
        for text in written(&rows) {
            let (seen, ending) = read(&text).expect("a recording");
            prop_assert_eq!(ending.rows, rows.len() as u64);
            for (number, (row, seen)) in rows.iter().zip(&seen).enumerate() {
                prop_assert_eq!(seen.time, (1_700_000_000 + number as i64) * 1000);
                prop_assert_eq!(seen.interval, 250_000);
                // CSV cannot tell an empty text from an absent one.
                prop_assert_eq!(seen.comm.as_deref().unwrap_or_default(), &row.0);
                prop_assert_eq!(seen.pid, row.1.map(u64::from));
                prop_assert_eq!(seen.values.get(18), row.2);
            }
        }
    }

    #[test]
    fn noise_is_refused_without_panic(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&noise);
        let _ = read(&[b"time,interval,comm,tcp_send_bytes\n", noise.as_slice()].concat());
        let _ = read(&[b"{\"time\":\"2026-03-01T12:00:00Z\",", noise.as_slice()].concat());
    }

    #[test]
    fn fields_end_where_the_crate_csv_says(
        fields in prop::collection::vec("[^,\"\r\n]{0,20}", 2..40),
    ) {
        // The crate leaves out a byte order mark at the beginning.
        let line = format!("x,{}", fields.join(","));
        let mut ends = Vec::new();
        split(line.as_bytes(), &mut ends);
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
        let record = reader.byte_records().next().expect("a record").expect("fields");
        let mut begin = 0;
        let mut found = Vec::new();
        for end in ends {
            found.push(&line.as_bytes()[begin..end as usize]);
            begin = end as usize + 1;
        }
        prop_assert_eq!(found, record.iter().collect::<Vec<_>>());
    }
}
