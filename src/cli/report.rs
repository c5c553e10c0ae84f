//! The options of `netatop report`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::values::{depth, interval, top};
use crate::report::{Key, Moment, Options, ReportFormat, Split};
use crate::rollup::SortKey;

/// Each line has a command and its effect, separated by two blanks or more, in at most 80 columns.
const EXAMPLES: &str = "Examples:
  netatop report night.csv               the night on one screen
  netatop report night.csv -o night.html
                                         a page for a browser, in one file
  netatop report web*.csv.zst -g host    several files, a row for each host
  netatop report night.csv --from 01:30 --to 02:00
                                         half an hour of it
  netatop report night.csv -f csv --every 1m -r
                                         rows for each minute and remote end";

/// The options of `netatop report`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Report {
    /// Recordings of netatop record: CSV or JSON Lines, also compressed with gzip or zstd; - is
    /// standard input
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,

    /// What each row stands for; by default the name of the process, or the group of a recording
    /// with --group-by
    #[arg(short, long, value_name = "KEY", value_enum)]
    pub group_by: Option<Key>,

    /// With rows of cgroups, sum up the cgroups below the directories at this depth: 1 for those in
    /// the root
    #[arg(long, value_name = "N", value_parser = depth, allow_negative_numbers = true)]
    pub depth: Option<usize>,

    /// Split rows by remote end, for recordings with --remote: as recorded (also without MODE), by
    /// address and service, or by address
    #[arg(
        short,
        long,
        value_name = "MODE",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "recorded"
    )]
    pub remote: Option<Split>,

    /// Order of the rows
    #[arg(short, long, value_name = "KEY", value_enum, default_value_t)]
    pub sort: SortKey,

    /// Show the first N rows, and the sum of all others in a row (other); by default 10 in a
    /// summary, 200 in a page, and all in CSV and JSON
    #[arg(short = 'n', long, value_name = "N", value_parser = top, allow_negative_numbers = true)]
    pub top: Option<usize>,

    /// Length of the bins of the timeline; in CSV and JSON, write the rows of each TIME
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub every: Option<Duration>,

    /// Report from this time on: 2026-03-01T14:05:00Z, 2026-03-01 14:05, 14:05, or -1h for the last
    /// hour; without a time zone, times are those of this host
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse, allow_hyphen_values = true)]
    pub from: Option<Moment>,

    /// Report up to this time
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse, allow_hyphen_values = true)]
    pub to: Option<Moment>,

    /// Format of the report; by default, that of the ending of OUTPUT, or a table without OUTPUT
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub format: Option<ReportFormat>,

    /// Write to OUTPUT instead of standard output. The ending selects the format: .html for a page,
    /// .csv for CSV, .json, .jsonl or .ndjson for JSON Lines, and .txt, .log, .out or none for a
    /// summary. A further ending .gz or .zst compresses OUTPUT
    #[arg(short, long, value_name = "OUTPUT", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Replace an existing OUTPUT
    #[arg(long, requires = "output")]
    pub force: bool,
}

impl Report {
    /// The report that these options ask for.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            files: self.files.clone(),
            key: self.group_by,
            depth: self.depth,
            split: self.remote,
            sort: self.sort,
            top: self.top,
            every: self.every,
            from: self.from,
            to: self.to,
            format: self.format,
            output: self.output.clone(),
            force: self.force,
        }
    }
}
