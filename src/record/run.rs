//! Puts a recording together: output first, then the kernel's side, then the session.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use clap::ValueEnum;
use rustix::time::{ClockId, clock_gettime};

use super::{Cgroups, Progress, Rows, Schedule, Session, SortKey, Summary, SystemClock};
use crate::error::Error;
use crate::kernel::{Capacity, Storage, Tracer, libbpf_messages};
use crate::output::{Csv, Existing, Format, Json, Layout, Look, Sink, Table, bytes, count};

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people
    Table,
    /// With a header, one line a row
    Csv,
    /// JSON Lines: one object a row
    Json,
}

/// Everything that `netatop record` was asked for, checked.
#[derive(Clone, Debug)]
pub struct Options {
    /// When it reports and ends.
    pub schedule: Schedule,
    /// What rows stand for.
    pub layout: Layout,
    /// Their order.
    pub sort: SortKey,
    /// How many of them.
    pub top: Option<usize>,
    /// How they are written; by the ending of `output` without one.
    pub format: Option<OutputFormat>,
    /// Where to; standard output without one.
    pub output: Option<PathBuf>,
    /// What to do if that exists.
    pub existing: Existing,
    /// No progress, no summary.
    pub quiet: bool,
    /// Also libbpf's messages, and how long attaching took.
    pub verbose: bool,
}

/// Records.
///
/// # Errors
///
/// If the output cannot be written, this host cannot count, or something failed on the way.
pub fn run(options: &Options) -> Result<(), Error> {
    let begun = Instant::now();
    libbpf_messages(options.verbose);
    let format = options.format.unwrap_or_else(|| format_of(options));
    // Before anything is attached: a file that cannot be written is no reason to count.
    let mut sink = open(options, format)?;
    let mut writer = writer(options, format, &sink)?;
    let mut clock = SystemClock::new()?;
    let mut storage = Storage::default();
    let mut tracer = Tracer::attach(&mut storage, Capacity::default())?;
    if options.verbose {
        eprintln!(
            "netatop: attached {} ms after the start",
            begun.elapsed().as_millis()
        );
    }
    let rows = Rows {
        layout: options.layout,
        sort: options.sort,
        top: options.top,
        booted: booted(),
    };
    let session = Session::new(
        &mut tracer,
        &mut clock,
        &mut *writer,
        &mut sink,
        rows,
        Cgroups::new(),
    );
    let summary = session
        .with_progress(progress(options, format))
        .run(options.schedule)?;
    if !options.quiet {
        eprintln!("{}", describe(&summary));
    }
    Ok(())
}

fn format_of(options: &Options) -> OutputFormat {
    let ending = options.output.as_ref().and_then(|path| path.extension());
    match ending.and_then(|ending| ending.to_str()) {
        Some("csv") => OutputFormat::Csv,
        Some("json" | "jsonl" | "ndjson") => OutputFormat::Json,
        _ => OutputFormat::Table,
    }
}

fn open(options: &Options, format: OutputFormat) -> Result<Sink, Error> {
    let Some(path) = &options.output else {
        return Ok(Sink::stdout());
    };
    if matches!(options.existing, Existing::Append { .. }) && format == OutputFormat::Table {
        return Err(Error::Usage(
            "--append needs rows that can be told apart later: --format csv or json".to_owned(),
        ));
    }
    Sink::open(path, options.existing)
}

fn writer(options: &Options, format: OutputFormat, sink: &Sink) -> Result<Box<dyn Format>, Error> {
    let layout = options.layout;
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let other_columns = |what: &str| {
        Error::Usage(format!(
            "{} has other columns than this recording would write: {what}\n\
             choose another file, or the options it was made with",
            sink.name()
        ))
    };
    Ok(match format {
        OutputFormat::Table => Box::new(Table::new(layout, look(options))),
        OutputFormat::Csv => {
            let header = Csv::header(layout);
            match sink.first_line() {
                Some(line) if line.trim_ascii_end() != header.trim_ascii_end() => {
                    return Err(other_columns(&String::from_utf8_lossy(line.trim_ascii())));
                }
                there => Box::new(Csv::new(layout, host, there.is_none())),
            }
        }
        OutputFormat::Json => {
            if let Some(line) = sink.first_line() {
                let keys =
                    keys(line).ok_or_else(|| other_columns("its first line is no JSON object"))?;
                let ours: Vec<_> = layout.columns().iter().map(|c| c.id).collect();
                if keys != ours {
                    return Err(other_columns(&keys.join(", ")));
                }
            }
            Box::new(Json::new(layout, host))
        }
    })
}

/// The keys of a JSON object, in their order.
fn keys(line: &[u8]) -> Option<Vec<String>> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line).ok()?;
    Some(object.into_iter().map(|(key, _)| key).collect())
}

fn look(options: &Options) -> Look {
    let repeated = options.schedule.interval.is_some();
    let stdout = io::stdout();
    if options.output.is_some() || !stdout.is_terminal() {
        return Look {
            repeated,
            ..Look::default()
        };
    }
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Look {
        width: rustix::termios::tcgetwinsize(&stdout)
            .ok()
            .map(|size| usize::from(size.ws_col))
            .filter(|columns| *columns > 0),
        color: !no_color,
        escape: true,
        repeated,
    }
}

/// Only for a person who would otherwise stare at nothing.
fn progress(options: &Options, format: OutputFormat) -> Option<Progress> {
    let too_short = options
        .schedule
        .duration
        .is_some_and(|d| d <= Progress::WORTH_IT);
    let rows_run_by = options.schedule.interval.is_some()
        && options.output.is_none()
        && io::stdout().is_terminal();
    let wanted = !options.quiet && !too_short && !rows_run_by && io::stderr().is_terminal();
    let _ = format;
    wanted.then(|| Progress::new(options.schedule.duration))
}

/// When the host was booted, by its wall clock as it stands now.
fn booted() -> DateTime<Utc> {
    let up = clock_gettime(ClockId::Boottime);
    let up = TimeDelta::new(up.tv_sec, u32::try_from(up.tv_nsec).unwrap_or(0));
    let now = Utc::now();
    up.and_then(|up| now.checked_sub_signed(up)).unwrap_or(now)
}

/// The closing line, and one for each kind of loss.
fn describe(summary: &Summary) -> String {
    let mut text = format!(
        "{:.1} s, {} processes, {} messages, {}; unattributed: {} messages, {}",
        summary.elapsed.as_secs_f64(),
        summary.processes,
        count(summary.total.msgs()),
        bytes(summary.total.bytes()),
        count(summary.unattributed.msgs()),
        bytes(summary.unattributed.bytes()),
    );
    let losses = &summary.losses;
    if losses.exits_lost > 0 {
        text.push_str(&format!(
            "\n{} threads ended while there was no room for a record of it: the reader was held up",
            losses.exits_lost
        ));
    }
    if !losses.no_memory.is_zero() {
        text.push_str(&format!(
            "\n{} messages came when the kernel had no memory to count them by thread",
            losses.no_memory.msgs()
        ));
    }
    if !losses.no_task.is_zero() {
        text.push_str(&format!(
            "\n{} messages were no task's",
            losses.no_task.msgs()
        ));
    }
    if losses.missed_events > 0 {
        text.push_str(&format!(
            "\n{} events were missed by the kernel, and nobody knows how large they were",
            losses.missed_events
        ));
    }
    text
}
