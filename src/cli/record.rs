//! The options of `netatop record`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::values::{Pids, count, duration, interval, pids, top};
use crate::model::{GroupBy, Layout};
use crate::output::Existing;
use crate::record::{Options, OutputFormat, Targets};
use crate::rollup::SortKey;
use crate::session::Schedule;

/// Each line is a command and what it does.
const EXAMPLES: &str = "Examples:
  sudo netatop record -d 30s                  all processes, for 30 seconds
  sudo netatop record -i 1s --count 5         five reports, one every second
  sudo netatop record -p \"$(pgrep -x nginx)\"  some processes, by name
  sudo netatop record -d 1m -g cgroup         one row for each service or container
  sudo netatop record -i 10s -o traffic.csv   to a file, until Ctrl-C
  sudo netatop record -- curl -sS https://example.org
                                              one command and all that it starts";

/// Measures which process sends and receives how much, and reports it as a table for people, or
/// as CSV or JSON Lines for programs.
///
/// Messages are socket calls, not packets; bytes are what those calls returned.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Record {
    /// Stop after TIME: 30s, 500ms, 5m, 1h30m; a bare number is seconds. Without it, until Ctrl-C,
    /// until COMMAND ends, or until every --pid has ended
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,

    /// Report every TIME (at least 10ms); without it, once at the end
    #[arg(short, long, value_name = "TIME", value_parser = interval)]
    pub interval: Option<Duration>,

    /// Stop after N reports; with --interval
    #[arg(long, value_name = "N", value_parser = count, requires = "interval",
          allow_negative_numbers = true)]
    pub count: Option<u64>,

    /// Only these processes, with commas or blanks between their ids; ends when all of them have
    #[arg(short, long = "pid", value_name = "PID", num_args = 1.., value_parser = pids,
          conflicts_with = "command")]
    pub pids: Vec<Pids>,

    /// With --pid: also what they fork from now on, and its descendants
    #[arg(long, requires = "pids")]
    pub follow: bool,

    /// Only processes anywhere under this cgroup v2 directory, absolute or relative to the root
    #[arg(short, long = "cgroup", value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub cgroups: Vec<PathBuf>,

    /// Run COMMAND as this user instead of as root
    #[arg(long, value_name = "NAME", requires = "command", value_hint = ValueHint::Username)]
    pub user: Option<String>,

    /// One row per thread
    #[arg(short, long, conflicts_with = "group_by")]
    pub threads: bool,

    /// What a row stands for
    #[arg(
        short,
        long,
        value_name = "KEY",
        value_enum,
        default_value_t,
        hide_possible_values = false
    )]
    pub group_by: GroupBy,

    /// What rows are ordered by
    #[arg(short, long, value_name = "KEY", value_enum, default_value_t)]
    pub sort: SortKey,

    /// Show N rows, and sum up the rest in a row (other)
    #[arg(short = 'n', long, value_name = "N", value_parser = top, allow_negative_numbers = true)]
    pub top: Option<usize>,

    /// How rows are written; by default the ending of --output decides, else it is a table
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub format: Option<OutputFormat>,

    /// Write to FILE instead of standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Replace an existing FILE; with --append, cut off a last line that is not whole
    #[arg(long, requires = "output")]
    pub force: bool,

    /// Add to an existing FILE of the same columns
    #[arg(long, requires = "output")]
    pub append: bool,

    /// No progress, no summary
    #[arg(short, long)]
    pub quiet: bool,

    /// Show libbpf's own messages, and when everything is attached
    #[arg(short, long)]
    pub verbose: bool,

    /// Run COMMAND and measure it with all its descendants, from its first instruction to its end
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl Record {
    /// What it comes to.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            schedule: Schedule {
                duration: self.duration,
                interval: self.interval,
                count: self.count,
                grace: None,
            },
            targets: Targets {
                pids: self.pids.iter().flat_map(|pids| pids.0.clone()).collect(),
                follow: self.follow,
                cgroups: self.cgroups.clone(),
                command: self.command.clone(),
                user: self.user.clone(),
            },
            layout: Layout {
                group_by: self.group_by,
                threads: self.threads,
            },
            sort: self.sort,
            top: self.top,
            format: self.format,
            output: self.output.clone(),
            existing: match (self.append, self.force) {
                (true, repair) => Existing::Append { repair },
                (false, true) => Existing::Replace,
                (false, false) => Existing::Refuse,
            },
            quiet: self.quiet,
            verbose: self.verbose,
        }
    }
}
