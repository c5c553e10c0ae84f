//! The command line: one definition for the parser, the help, and the man pages.

mod hints;

pub use hints::hint;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};

use crate::check::CheckFormat;
use crate::completions::Shell;
use crate::model::{GroupBy, Layout};
use crate::output::{Existing, OutputFormat};
use crate::record::{Options, Targets};
use crate::rollup::SortKey;
use crate::serve;
use crate::session::Schedule;
use crate::text::shown;

/// Says exactly which process sent and received how much over TCP and UDP
#[derive(Debug, Parser)]
#[command(name = "netatop", version, max_term_width = 100)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure, and report
    Record(Record),
    /// Answer atop on its socket
    Serve(Serve),
    /// Can netatop record on this host, and what is missing
    Check(Check),
    /// Write the completions for a shell
    Completions(Completions),
}

/// Looks for everything that netatop needs, and says of each whether it is there and, if not, how to
/// get it.
///
/// It needs no rights and attaches nothing. It succeeds if netatop can record here and now.
#[derive(Debug, Args)]
pub struct Check {
    /// How it is written
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: CheckFormat,
}

/// Writes to standard output what makes a shell complete subcommands, options and their values.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  netatop record -d 30s                        everything, for 30 seconds
  netatop record -i 1s -n 10                   every second, the ten largest
  netatop record -i 1s --count 5               five times
  netatop record -p \"$(pgrep nginx)\" -d 1m     some processes
  netatop record -g cgroup -d 5m               by service or container
  netatop record -- curl -O https://...        one command, with all that it starts
  netatop record -i 10s -o traffic.csv         to a file, until Ctrl-C";

/// Process ids of one argument.
#[derive(Clone, Debug)]
pub struct Pids(pub Vec<u32>);

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

    /// End after N intervals
    #[arg(long, value_name = "N", requires = "interval", value_parser = count,
          allow_negative_numbers = true)]
    pub count: Option<u64>,

    /// Only these processes, as a list with commas or blanks; ends when all of them have
    #[arg(short, long = "pid", value_name = "PID", value_parser = pids, conflicts_with = "command")]
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

    /// How rows are written; by default the ending of FILE decides, else it is a table
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub format: Option<OutputFormat>,

    /// Write to FILE instead of standard output: .csv, .json, .jsonl or .ndjson, also with .gz or
    /// .zst behind it; a table for .txt, .log, .out or no ending
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Replace an existing FILE; with --append, cut off an unfinished end instead
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

/// Fills the network columns of atop (2.10 or later, started with -K), in place of netatop-bpf:
/// answers on its socket, and counts while somebody is connected.
///
/// Root sees every process; everybody else sees their own.
#[derive(Debug, Args)]
pub struct Serve {
    /// Listen on PATH instead of /run/netatop-bpf-socket
    #[arg(short, long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Who may connect, as the file mode of the socket [default: 666]
    #[arg(short, long, value_name = "OCTAL", value_parser = mode)]
    pub mode: Option<u32>,

    /// Serve at most N clients at a time
    #[arg(long, value_name = "N", value_parser = clients, default_value_t = serve::CLIENTS,
          allow_negative_numbers = true)]
    pub max_clients: usize,

    /// Show libbpf's own messages
    #[arg(short, long)]
    pub verbose: bool,
}

impl Serve {
    /// What it comes to.
    #[must_use]
    pub fn options(&self) -> serve::Options {
        serve::Options {
            socket: self.socket.clone(),
            mode: self.mode,
            max_clients: self.max_clients,
            verbose: self.verbose,
        }
    }
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
                pids: self.pids.iter().flat_map(|list| list.0.clone()).collect(),
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

/// Parses a length of time: units, or a bare number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let length = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?,
        Err(_) => humantime::parse_duration(text).map_err(|error| {
            format!(
                "{}; examples: 30s, 500ms, 5m, 1h30m",
                shown(&error.to_string())
            )
        })?,
    };
    if length.is_zero() {
        return Err("must be greater than zero".to_owned());
    }
    Ok(length)
}

fn interval(text: &str) -> Result<Duration, String> {
    let length = duration(text)?;
    if length < Duration::from_millis(10) {
        return Err("must be at least 10ms".to_owned());
    }
    Ok(length)
}

/// Process ids, separated as pgrep(1) and ps(1) do it: by line ends, blanks or commas.
fn pids(text: &str) -> Result<Pids, String> {
    let is_separator = |c: char| c == ',' || c.is_whitespace();
    let words = text.split(is_separator).filter(|word| !word.is_empty());
    let pids: Result<Vec<u32>, String> = words
        .map(|word| match word.parse() {
            Ok(0) => Err("a process id is greater than zero".to_owned()),
            Ok(pid) => Ok(pid),
            Err(_) => Err(format!(
                "{word} is not a process id; for processes of a name: -p \"$(pgrep NAME)\""
            )),
        })
        .collect();
    match pids? {
        pids if pids.is_empty() => Err("the list is empty; did pgrep find nothing?".to_owned()),
        pids => Ok(Pids(pids)),
    }
}

fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a number of intervals, 1 or more".to_owned()),
        Ok(count) => Ok(count),
    }
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=0o777) => Ok(mode),
        _ => Err("not an octal file mode up to 777, such as 660".to_owned()),
    }
}

fn clients(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(clients @ 1..=10_000) => Ok(clients),
        _ => Err("not a number from 1 to 10000".to_owned()),
    }
}

fn top(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a number of rows, 1 or more".to_owned()),
        Ok(rows) => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completions::completions;
    use clap::CommandFactory;
    use proptest::prelude::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units_or_are_seconds() {
        let of = |text| duration(text).map(|d| d.as_millis());
        assert_eq!(of("30s"), Ok(30_000));
        assert_eq!(of("500ms"), Ok(500));
        assert_eq!(of("1h30m"), Ok(5_400_000));
        assert_eq!(of("5"), Ok(5_000));
        assert_eq!(of("0.5"), Ok(500));
        for bad in ["0", "0s", "-1", "5 parsecs", "", "inf", "NaN", "1e300"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(interval("1ms").is_err());
        assert!(interval("10ms").is_ok());
    }

    #[test]
    fn process_ids_are_separated_as_pgrep_does_it() {
        let of = |text| pids(text).map(|pids| pids.0);
        for text in ["1,22,333", "1\n22\n333\n", " 1 22  333", "1, 22, 333"] {
            assert_eq!(of(text), Ok(vec![1, 22, 333]), "{text:?}");
        }
        for (text, told) in [
            ("", "empty"),
            ("\n", "empty"),
            ("bash", "pgrep"),
            ("1-5", "1-5 is not a process id"),
            ("0", "greater than zero"),
        ] {
            assert!(
                of(text).is_err_and(|error| error.contains(told)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(mode("660"), Ok(0o660));
        assert_eq!(mode("0600"), Ok(0o600));
        for bad in ["", "8", "1777", "-1", "rw"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
        assert_eq!(clients("1"), Ok(1));
        for bad in ["0", "-1", "10001", "x"] {
            assert!(clients(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn process_ids_and_users_are_hinted_at() {
        for (shell, hints) in [
            (Shell::Bash, [("[0-9]*", 2), ("compgen -u", 1)]),
            (Shell::Zsh, [("echo <->", 2), (":_users", 1)]),
            (Shell::Fish, [("_complete_pids", 1), ("_complete_users", 1)]),
        ] {
            let text = completions(shell, &Cli::command());
            for (hint, times) in hints {
                assert_eq!(text.matches(hint).count(), times, "{shell:?}: {hint}");
            }
        }
    }

    proptest! {
        #[test]
        fn noise_is_refused_without_panic(text in ".*") {
            let _ = (duration(&text), interval(&text), top(&text), pids(&text), count(&text));
            let _ = (mode(&text), clients(&text));
            let _ = Cli::try_parse_from(["netatop", "record", "-d", &text, "-n", &text, "-p", &text]);
        }
    }
}
