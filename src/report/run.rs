//! Reads the recordings and writes the report.

use std::path::PathBuf;
use std::time::Duration;

use super::bins::Length;
use super::collect::{Collector, Wanted};
use super::keys::Key;
use super::layout::Style;
use super::lines::Lines;
use super::moment::Moment;
use super::notes::Source;
use super::output::{Destination, ReportFormat};
use super::remote::Split;
use super::{page, rows, summary};
use crate::error::Error;
use crate::recording::parsers::read_from;
use crate::recording::{Input, read};
use crate::rollup::SortKey;
use crate::text::to_stderr;

/// How many rows a summary shows without `--top`.
const SUMMARY_ROWS: usize = 10;
/// How many rows a page has without `--top`.
const PAGE_ROWS: usize = 200;

/// The checked command line of `netatop report`.
#[derive(Clone, Debug)]
pub struct Options {
    /// The recordings; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// What a row stands for. By default, the rows of the recording decide.
    pub key: Option<Key>,
    /// If rows are cgroups: those at this depth below the root, which has depth 0, with all that are
    /// below them. `None`: each cgroup by itself.
    pub depth: Option<usize>,
    /// How rows are split by remote end.
    pub split: Option<Split>,
    /// The order of the rows.
    pub sort: SortKey,
    /// The number of rows to show. By default, a summary shows ten, a page 200, and CSV and JSON
    /// all.
    pub top: Option<usize>,
    /// The length of bins.
    pub every: Option<Duration>,
    /// The beginning of the span that is reported.
    pub from: Option<Moment>,
    /// The end of the span that is reported.
    pub to: Option<Moment>,
    /// The format. If `None`, the ending of `output` decides.
    pub format: Option<ReportFormat>,
    /// The output file. If `None`, the report goes to standard output.
    pub output: Option<PathBuf>,
    /// Whether to replace an existing file.
    pub force: bool,
}

/// Reports, and returns the exit status.
///
/// # Errors
///
/// If the options contradict each other, a file is not a recording, or the output cannot be
/// written.
pub fn run(options: &Options) -> Result<u8, Error> {
    let destination = Destination::decide(options.output.as_deref(), options.format)?;
    let inputs: Vec<Input> = options.files.iter().map(|path| Input::of(path)).collect();
    if inputs
        .iter()
        .filter(|input| **input == Input::Stdin)
        .count()
        > 1
    {
        return Err(Error::Usage(
            "standard input can be read only once".to_owned(),
        ));
    }
    destination.check(options.force, &inputs)?;
    let is_rows = matches!(destination.format, ReportFormat::Csv | ReportFormat::Json);
    let (from, to) = span(options, &inputs)?;
    let every = options.every.map(|every| every.as_millis());
    let mut collector = Collector::new(Wanted {
        key: options.key,
        depth: options.depth,
        split: options.split,
        every: every.map(|every| i64::try_from(every).unwrap_or(i64::MAX)),
        has_rows_by_bin: is_rows && options.every.is_some(),
        has_series: !is_rows,
        has_pairs: !is_rows && options.split.is_none(),
        from,
        to,
    });
    let mut sources = Vec::new();
    for (number, input) in inputs.iter().enumerate() {
        let ending = read(input, &mut |row| collector.take(row))?;
        collector.end_file(number);
        sources.push(Source {
            name: input.name(),
            ending,
        });
    }
    if options.sort == SortKey::Pid && !collector.key().is_single() {
        return Err(Error::Usage(
            "--sort pid needs rows of processes: add -g process".to_owned(),
        ));
    }
    collector.finish()?;
    let top = options.top.or(match destination.format {
        ReportFormat::Table => Some(SUMMARY_ROWS),
        ReportFormat::Html => Some(PAGE_ROWS),
        ReportFormat::Csv | ReportFormat::Json => None,
    });
    let mut lines = Lines::new(&collector, options.sort, top)?;
    if destination.format == ReportFormat::Html {
        page::fit(&mut lines)?;
    }
    if is_rows {
        let mut notes = super::notes::doubts(&collector, &sources);
        if let Some(every) = collector.wanted.every {
            notes.extend(super::notes::short_bins(&collector, Length::fixed(every)));
        }
        for note in notes {
            to_stderr(format!("netatop: {note}"));
        }
    }
    destination.write(options.force, |to| match destination.format {
        ReportFormat::Table => {
            let style = Style::of_stdout(destination.is_terminal());
            to.write_all(summary::text(&collector, &lines, &sources, &style).as_bytes())
        }
        ReportFormat::Csv => rows::write_csv(&collector, &lines, to),
        ReportFormat::Json => rows::write_json(&collector, &lines, to),
        ReportFormat::Html => page::write(&collector, &lines, &sources, to),
    })?;
    Ok(0)
}

/// The span that is reported, in milliseconds since 1970. If it depends on the recording, the files
/// are read twice.
fn span(options: &Options, inputs: &[Input]) -> Result<(Option<i64>, Option<i64>), Error> {
    let moments = [options.from, options.to];
    let span = if moments.iter().flatten().all(|moment| moment.is_absolute()) {
        (0, 0)
    } else {
        if let Some(input) = inputs.iter().find(|input| !input.is_regular()) {
            return Err(Error::Usage(format!(
                "{} can be read only once, so --from and --to need a date: 2026-03-01T14:05:00Z",
                input.name()
            )));
        }
        let mut seen = None;
        for input in inputs {
            read(input, &mut |row| {
                let begin = super::hosts::begin(row.time, row.interval);
                let (from, to) = seen.unwrap_or((begin, row.time));
                seen = Some((from.min(begin), to.max(row.time)));
                Ok(())
            })?;
        }
        seen.unwrap_or((0, 0))
    };
    let from = options.from.map(|moment| moment.resolve(span.0, span.1));
    let after = from.map_or(span.0, |from| from.saturating_add(1));
    let to = options.to.map(|moment| moment.resolve(after, span.1));
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        return Err(Error::Usage("--to is not after --from".to_owned()));
    }
    Ok((from, to))
}

/// Reads a recording from memory and makes every kind of report of it.
pub(crate) fn every_report(recording: &[u8]) {
    for split in [None, Some(Split::Recorded)] {
        let wanted = |is_rows: bool| Wanted {
            split,
            every: is_rows.then_some(1000),
            has_rows_by_bin: is_rows,
            has_series: !is_rows,
            has_pairs: split.is_none() && !is_rows,
            ..Wanted::default()
        };
        for is_rows in [false, true] {
            let mut collector = Collector::new(wanted(is_rows));
            let input = Box::new(std::io::Cursor::new(recording.to_vec()));
            let read = read_from(input, "recording", &mut |row| collector.take(row));
            collector.end_file(0);
            let sources = [Source {
                name: "recording".to_owned(),
                ending: read.unwrap_or_default(),
            }];
            let made = collector.finish();
            let Ok(mut lines) = made.and_then(|()| Lines::new(&collector, SortKey::Bytes, Some(3)))
            else {
                continue;
            };
            let mut sink = std::io::sink();
            // Errors of a sink are impossible, and sums that are too large are refused.
            let _ = rows::write_csv(&collector, &lines, &mut sink);
            let _ = rows::write_json(&collector, &lines, &mut sink);
            if !is_rows {
                summary::text(&collector, &lines, &sources, &Style::PLAIN);
                let _ = page::fit(&mut lines);
                let _ = page::write(&collector, &lines, &sources, &mut sink);
            }
        }
    }
}
