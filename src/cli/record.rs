//! The options of `netatop record`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use ipnet::IpNet;

use super::values::{
    Pids, Ports, comm, count, depth, duration, interval, network, pids, ports, top,
};
use crate::model::{GroupBy, Layout, RemoteMode};
use crate::output::{Existing, OutputFormat};
use crate::record::{Options, Targets};
use crate::rollup::SortKey;
use crate::session::Schedule;
use crate::text::Glob;

/// Each line has a command and its effect, separated by two blanks or more, in at most 80 columns.
const EXAMPLES: &str = "Examples, with sudo or as root:
  netatop record -d 30s                  all processes, for 30 seconds
  netatop record -i 1s --count 5         five reports, one every second
  netatop record -p \"$(pgrep -x nginx)\"  only the processes of this name
  netatop record -d 1m -g unit           a row for each service; -g container
  netatop record -i 10s -o traffic.csv   write to a file until Ctrl-C
  netatop record -- curl -sS https://example.org
                                         one command and all that it starts";

/// The options of `netatop record`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Record {
    /// Stop after TIME, such as 30s, 500ms, 5m or 1h30m; a number without a unit is in seconds. By
    /// default, stop on Ctrl-C, when COMMAND ends, or when all processes of --pid have ended
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,

    /// Report every TIME (at least 10ms); by default, report once at the end
    #[arg(short, long, value_name = "TIME", value_parser = interval)]
    pub interval: Option<Duration>,

    /// Stop after N reports; needs --interval
    #[arg(long, value_name = "N", value_parser = count, requires = "interval",
          allow_negative_numbers = true)]
    pub count: Option<u64>,

    /// Measure only the processes with these ids, separated by commas or blanks; stop when all have
    /// ended
    #[arg(short, long = "pid", value_name = "PID", num_args = 1.., value_parser = pids,
          conflicts_with = "command")]
    pub pids: Vec<Pids>,

    /// With --pid, also measure processes that these start during the recording, and their
    /// descendants
    #[arg(long, requires = "pids")]
    pub follow: bool,

    /// Measure only the processes in this cgroup or below it; PATH is a cgroup v2 directory,
    /// absolute or relative to the cgroup v2 root
    #[arg(short, long = "cgroup", value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub cgroups: Vec<PathBuf>,

    /// Measure only the processes whose name (column comm) matches this pattern, such as 'python*'
    #[arg(long = "comm", value_name = "GLOB", value_parser = comm, value_hint = ValueHint::Other)]
    pub comms: Vec<Glob>,

    /// Measure only the processes of these users (names or numbers), separated by commas
    #[arg(long = "uid", value_name = "USER", value_delimiter = ',',
          value_hint = ValueHint::Username, allow_negative_numbers = true)]
    pub uids: Vec<String>,

    /// Measure only the processes of this systemd unit, which may start later; NAME may be a pattern,
    /// such as 'php*.service'
    #[arg(long = "unit", value_name = "NAME")]
    pub units: Vec<String>,

    /// Measure only traffic of which either end has one of these ports, separated by commas
    #[arg(long = "port", value_name = "PORT", value_parser = ports,
          value_hint = ValueHint::Other, allow_negative_numbers = true)]
    pub ports: Vec<Ports>,

    /// Measure only traffic whose remote address is in this network (such as 10.0.0.0/8), or is this
    /// address
    #[arg(long = "net", value_name = "CIDR", value_parser = network,
          value_hint = ValueHint::Other)]
    pub networks: Vec<IpNet>,

    /// Leave out traffic that stays on this host: loopback addresses, and the same address at both
    /// ends
    #[arg(long)]
    pub no_loopback: bool,

    /// Run COMMAND as this user (name or number), with the environment variables that su sets
    #[arg(long, value_name = "NAME", requires = "command", value_hint = ValueHint::Username)]
    pub user: Option<String>,

    /// Write a row for each thread
    #[arg(short, long, conflicts_with = "group_by")]
    pub threads: bool,

    /// What each row stands for
    #[arg(
        short,
        long,
        value_name = "KEY",
        value_enum,
        default_value_t,
        hide_possible_values = false
    )]
    pub group_by: GroupBy,

    /// With --group-by cgroup, sum up the cgroups below the directories at this depth: 1 for those in
    /// the root
    #[arg(long, value_name = "N", value_parser = depth, allow_negative_numbers = true)]
    pub depth: Option<usize>,

    /// Also write the command line of each process. It can contain passwords
    #[arg(long, conflicts_with = "group_by")]
    pub cmdline: bool,

    /// Split rows by the remote end of the traffic: by the address and the port of the service
    /// (also without MODE), by the address, or by the socket
    #[arg(
        short,
        long,
        value_name = "MODE",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "service"
    )]
    pub remote: Option<RemoteMode>,

    /// Look up the names of remote addresses in the background; a row that is written before the
    /// answer has no name
    #[arg(long, requires = "remote")]
    pub resolve: bool,
    /// Also show what TCP says of its connections: segments, retransmissions, round trips,
    /// connections that were opened, failed and were reset
    #[arg(long)]
    pub tcp: bool,

    /// Order of the rows
    #[arg(short, long, value_name = "KEY", value_enum, default_value_t)]
    pub sort: SortKey,

    /// Write the first N rows, and the sum of all others in a row (other)
    #[arg(short = 'n', long, value_name = "N", value_parser = top, allow_negative_numbers = true)]
    pub top: Option<usize>,

    /// Format of the rows; by default, that of the ending of FILE, or a table without FILE
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub format: Option<OutputFormat>,

    /// Write to FILE instead of standard output. The ending selects the format: .csv for CSV,
    /// .json, .jsonl or .ndjson for JSON Lines, and .txt, .log, .out or none for a table. A further
    /// ending .gz or .zst compresses FILE
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Replace an existing FILE; with --append, cut off an unfinished end instead
    #[arg(long, requires = "output")]
    pub force: bool,

    /// Add to an existing FILE with the same columns
    #[arg(long, requires = "output")]
    pub append: bool,

    /// Show no progress and no summary
    #[arg(short, long)]
    pub quiet: bool,

    /// Show the messages of libbpf, and how long attaching took
    #[arg(short, long)]
    pub verbose: bool,

    /// Run COMMAND, and measure it and its descendants from its first instruction to its end
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl Record {
    /// The recording that these options ask for.
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
                comms: self.comms.clone(),
                uids: self.uids.clone(),
                units: self.units.clone(),
                ports: self
                    .ports
                    .iter()
                    .flat_map(|ports| ports.0.clone())
                    .collect(),
                networks: self.networks.clone(),
                no_loopback: self.no_loopback,
                command: self.command.clone(),
                user: self.user.clone(),
            },
            layout: Layout {
                group_by: self.group_by,
                threads: self.threads,
                remote: self.remote,
                names: self.resolve,
                tcp: self.tcp,
                cmdline: self.cmdline,
                depth: self.depth,
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
